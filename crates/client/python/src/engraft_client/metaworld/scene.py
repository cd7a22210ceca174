"""One episode's scene: MetaWorld's arm and object, seen by two cameras."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from engraft_client.metaworld.errors import MetaworldError
from engraft_client.metaworld.instances import Instance

VIEWS = ("front", "wrist")
PROPRIO = (("hand_x", "m"), ("hand_y", "m"), ("hand_z", "m"), ("gripper_opening", "1"))
"""What proprio holds; the gripper is 1 when it is wide open."""
ACTIONS = (("dx", "1"), ("dy", "1"), ("dz", "1"), ("gripper_effort", "1"))
"""What an action holds, each in -1..1: 1 moves the hand's target by 1 cm or closes the gripper."""
PIP_LINE = "pip install 'engraft-client[metaworld]'"

Snapshot = tuple[np.ndarray, np.ndarray, np.ndarray]
"""What a picture of a moment needs: joint positions, and where the hand is held."""


@dataclass(frozen=True)
class SceneConfig:
    """Which scene: the task, the seed of where its object stands, which one, and the pictures."""

    task: str
    placement: int
    instance: Instance
    size: int


def require_metaworld() -> None:
    """Says what to install where MetaWorld is absent, and how to draw where nothing else does."""
    missing = [
        name
        for name in ("metaworld", "mujoco", "packaging", "PIL", "pyarrow")
        if find_spec(name) is None
    ]
    if missing:
        raise MetaworldError(
            f"expected MetaWorld to be installed, found no `{missing[0]}`: type {PIP_LINE}"
        )
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("LP_NUM_THREADS", "1")  # scenes run beside each other; one core each
    warnings.filterwarnings("ignore", module=r"(metaworld|gymnasium)")


def task_name(task: str) -> str:
    """The full name of a task, of which `-v3` may be left out."""
    require_metaworld()
    from metaworld.policies import ENV_POLICY_MAP

    full = task if task.endswith("-v3") else f"{task}-v3"
    if full not in ENV_POLICY_MAP:
        known = ", ".join(sorted(name.removesuffix("-v3") for name in ENV_POLICY_MAP))
        raise MetaworldError(f"expected a task of MetaWorld, found `{task}`: choose one of {known}")
    return full


class Scene:
    """An episode in MetaWorld. Close it, or use it in a `with`: it holds a drawing context.

    After construction and after `reset` the arm is where an episode starts. `success` becomes true
    at the first step at which MetaWorld calls the task done, and stays so.
    """

    def __init__(self, config: SceneConfig) -> None:
        require_metaworld()
        import metaworld
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

        from engraft_client.metaworld import variation

        self.config = config
        tasks: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        self.env: Any = tasks[f"{config.task}-goal-observable"](seed=config.placement)
        textures = Path(metaworld.__file__).parent / "assets" / "textures"
        variation.apply(self.env.model, self.env.data, config.instance, textures)
        self._renderer: Any = None
        self.success = False
        self.state = np.zeros(0)
        self.reset()

    def __enter__(self) -> "Scene":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what it draws with."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self.env.close()

    @property
    def fps(self) -> float:
        """Control steps per second."""
        return 1.0 / float(self.env.dt)

    @property
    def max_steps(self) -> int:
        """Steps after which MetaWorld wants a reset."""
        return int(self.env.max_path_length)

    def reset(self) -> None:
        """Puts arm and object back to where they were at the start."""
        import mujoco

        self.state = self.env.reset()[0]
        mujoco.mj_forward(self.env.model, self.env.data)  # a reset leaves places one tick behind
        self.success = False

    def step(self, action: np.ndarray) -> None:
        """Moves on by one control step."""
        self.state, _, _, _, info = self.env.step(np.clip(action, -1.0, 1.0))
        self.success = self.success or bool(info["success"])

    @property
    def proprio(self) -> np.ndarray:
        """Where the hand is, and how far the gripper is open; nothing of the object."""
        return self.state[: len(PROPRIO)].astype(np.float32)

    def pictures(self, views: Sequence[str] = VIEWS) -> dict[str, np.ndarray]:
        """What the cameras see: [size, size, 3] of uint8 each."""
        return {view: self._draw(view) for view in views}

    def snapshot(self) -> Snapshot:
        """What `pictures_at` needs to draw this moment later."""
        data = self.env.data
        return data.qpos.copy(), data.mocap_pos.copy(), data.mocap_quat.copy()

    def pictures_at(self, moment: Snapshot) -> dict[str, np.ndarray]:
        """What the cameras saw at a moment. The episode cannot go on after this: reset first."""
        import mujoco

        data = self.env.data
        data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = moment
        mujoco.mj_forward(self.env.model, data)
        return self.pictures()

    def _draw(self, view: str) -> np.ndarray:
        import mujoco

        if self._renderer is None:
            # Without multisampling and shadows a picture takes a tenth of the time.
            self.env.model.vis.quality.offsamples = 0
            self._renderer = mujoco.Renderer(self.env.model, self.config.size, self.config.size)
            self._options = mujoco.MjvOption()
            self._options.sitegroup[:] = 0  # sites show the goal
            self._front = front_camera()
        camera = self._front if view == "front" else "gripperPOV"
        self._renderer.update_scene(self.env.data, camera=camera, scene_option=self._options)
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[effect] = 0
        return np.array(self._renderer.render())


def front_camera() -> Any:
    """A camera beside the table, closer to the object than those that MetaWorld has."""
    import mujoco

    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = (0.0, 0.68, 0.12)
    camera.distance, camera.azimuth, camera.elevation = 1.05, 125.0, -28.0
    return camera
