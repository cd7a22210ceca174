"""MuJoCo as an arm of `firmware-bridge`, and as its cameras.

`engraft-mujoco scene.xml --joints a,b,c --cameras front` serves any MJCF whose joints are moved by
position actuators. `firmware-bridge run --port` moves it like a real arm.

Needs the extra `mujoco` (`pip install 'engraft-client[mujoco]'`) and, for pictures, an OpenGL that
draws without a screen: on Debian `apt-get install libegl1 libgl1-mesa-dri`. `MUJOCO_GL` says what
draws, `egl` where it says nothing; `osmesa` with `libosmesa6` works too.
"""
