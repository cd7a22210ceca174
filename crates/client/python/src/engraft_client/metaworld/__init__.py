"""MetaWorld as a robot on the wire: demonstrations to record, and a served policy to play.

`engraft-metaworld collect drawer-open --out data/drawer-open` records MetaWorld's scripted expert
as a LeRobot dataset, `engraft train` and `engraft serve` do what they do with any robot's data,
and `engraft-metaworld evaluate drawer-open` plays what is served, in closed loop.

Needs the extra `metaworld` (`pip install 'engraft-client[metaworld]'`) and an OpenGL that draws
without a screen: on Debian `apt-get install libegl1 libgl1-mesa-dri`. `MUJOCO_GL=egl` is set where
nothing else is; `MUJOCO_GL=osmesa` with `libosmesa6` works too, and takes longer.
"""
