"""A model of MuJoCo behind the sockets of `SimulatorServer`."""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engraft_client.mujoco.arm import find_arm
from engraft_client.mujoco.painter import Painter
from engraft_client.mujoco.physics import mujoco
from engraft_client.simulator import (
    WATCHDOG_SECS,
    Description,
    Sight,
    SimulatorError,
    SimulatorServer,
    State,
    View,
)

SCENE = Path(__file__).with_name("scene.xml")
# Where physics is slower than the wall's clock, it does not try to make good more than this.
_BEHIND_SECS = 0.1
# So that whoever asks never waits long for physics to let go.
_STEPS_AT_ONCE = 5


@dataclass(frozen=True)
class Goal:
    """A joint that has to come so far for the task to be done."""

    joint: str
    least: float


@dataclass(frozen=True)
class MujocoConfig:
    """What of a model is served.

    Attributes:
        scene: The MJCF file.
        joints: Those of the arm; all that position actuators move where none is named.
        actuators: Those of the joints; found where none is named.
        cameras: Those that are looked through.
        size: Side of a picture, in pixels.
        task: In words.
        goal: When the task is done; None where nothing says so.
        vary: By how much, in metres or radians, joints beside the arm's stand elsewhere from one
            seed to another; of a free body its x and y.
        watchdog_secs: Seconds without a command after which the arm holds.
    """

    scene: Path = SCENE
    joints: Sequence[str] = ()
    actuators: Sequence[str] = ()
    cameras: Sequence[str] = ()
    size: int = 224
    task: str = ""
    goal: Goal | None = None
    vary: Sequence[tuple[str, float]] = ()
    watchdog_secs: float = WATCHDOG_SECS


class MujocoServer(SimulatorServer):
    """Moves a model in real time on a thread of its own, and has it drawn in another process.

    The model's keyframes are the instances of the task: each says where everything stands, and
    where the arm should begin.
    """

    def __init__(self, config: MujocoConfig) -> None:
        super().__init__()
        self.config = config
        try:
            self.model: Any = mujoco.MjModel.from_xml_path(str(config.scene))
        except (ValueError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise SimulatorError(f"cannot read the scene {config.scene}: {first}") from error
        self.data: Any = mujoco.MjData(self.model)
        self.arm = find_arm(self.model, config.joints, config.actuators)
        self.robot: str = mujoco_name(self.model)
        self.instances = [self.model.key(i).name or f"key{i}" for i in range(self.model.nkey)]
        _known(self.model, "camera", config.cameras)
        beside = [name for name, _ in config.vary] + ([config.goal.joint] if config.goal else [])
        _known(self.model, "joint", beside)
        if self.instances:
            mujoco.mj_resetDataKeyframe(self.model, self.data, 0)
        mujoco.mj_forward(self.model, self.data)
        self._hold()
        self._lock = threading.Lock()
        self._has_torque, self._failed = False, ""
        self._ended = threading.Event()
        self._physics = threading.Thread(target=self._run_physics, daemon=True)
        self._views = [View(name, config.size, config.size) for name in config.cameras]
        self._painter: Painter | None = None
        if self._views:
            try:
                self._painter = Painter(config.scene, config.cameras, config.size)
            except SimulatorError as reason:
                self._views = []
                print(
                    f"engraft-mujoco: no eyes, the arm alone is served: {reason}", file=sys.stderr
                )

    def start(self, listen: str, insecure_plaintext: bool = False) -> str:
        """See `SimulatorServer.start`; physics begins."""
        endpoint = super().start(listen, insecure_plaintext)
        self._physics.start()
        return endpoint

    def stop(self) -> None:
        """Stops to answer, and physics."""
        if self._painter is not None:
            self._painter.close()
        super().stop()
        self._ended.set()
        if self._physics.is_alive():
            self._physics.join()

    def describe(self) -> Description:
        """What the model is."""
        return Description(
            name=self.robot,
            version=f"mujoco {mujoco.__version__}",
            joints=self.arm.joints,
            task=self.config.task,
            views=self._views,
            instances=self.instances,
            step_secs=self.model.opt.timestep,
            watchdog_secs=self.config.watchdog_secs,
        )

    def sense(self) -> State:
        """How the arm is now."""
        arm, data = self.arm, self.data
        with self._lock:
            if self._failed:
                raise SimulatorError(self._failed)
            return State(
                time_secs=data.time,
                position_rad=data.qpos[arm.positions],
                velocity_rad_s=data.qvel[arm.velocities],
                torque=self._has_torque,
                effort=data.actuator_force[arm.actuators] / arm.forces,
            )

    def command(self, goal_rad: Sequence[float]) -> None:
        """Every actuator pulls its joint towards its goal."""
        with self._lock:
            self.data.ctrl[self.arm.actuators] = goal_rad

    def torque(self, on: bool) -> None:
        """The actuators hold the joints where they are, with torque and without."""
        with self._lock:
            self._hold()
            self._has_torque = on

    def hold(self) -> None:
        """The same, when nobody commands any more."""
        with self._lock:
            self._hold()

    def _hold(self) -> None:
        self.data.ctrl[self.arm.actuators] = self.data.qpos[self.arm.positions]

    def reset(self, instance: int, seed: int) -> Sequence[float] | None:
        """Puts everything but the arm to where the keyframe has it."""
        model, data, arm = self.model, self.data, self.arm
        there = mujoco.MjData(model)
        if self.instances:
            mujoco.mj_resetDataKeyframe(model, there, instance)
        start = there.qpos[arm.positions].copy()
        random = np.random.default_rng(seed)
        for name, most in self.config.vary:
            joint = model.joint(name)
            axes = 2 if model.jnt_type[joint.id] == int(mujoco.mjtJoint.mjJNT_FREE) else 1
            first = joint.qposadr[0]
            there.qpos[first : first + axes] += random.uniform(-most, most, axes)
        with self._lock:
            for target, source, own in (
                (data.qpos, there.qpos, arm.positions),
                (data.qvel, there.qvel, arm.velocities),
                (data.ctrl, there.ctrl, arm.actuators),
            ):
                kept = target[own].copy()
                target[:] = source
                target[own] = kept
            data.mocap_pos[:], data.mocap_quat[:] = there.mocap_pos, there.mocap_quat
            mujoco.mj_forward(model, data)
        if not self.instances:
            return None
        bounds = zip(start, arm.joints, strict=True)
        return [min(max(angle, joint.min_rad), joint.max_rad) for angle, joint in bounds]

    def look(self) -> Sight:
        """What the cameras see: of one moment, drawn while time goes on."""
        if self._painter is None:
            return super().look()
        data, goal = self.data, self.config.goal
        with self._lock:
            time_secs, qpos = data.time, data.qpos.copy()
            mocap = data.mocap_pos.copy(), data.mocap_quat.copy()
        done = goal and qpos[self.model.joint(goal.joint).qposadr[0]] >= goal.least
        return Sight(
            time_secs=time_secs,
            pictures=self._painter.paint(qpos, *mocap),
            position_rad=qpos[self.arm.positions],
            success=None if goal is None else bool(done),
        )

    def _run_physics(self) -> None:
        """Steps as many times as there was time for."""
        step, due = self.model.opt.timestep, time.monotonic()
        while not self._ended.wait(step):
            now = time.monotonic()
            due = max(due, now - _BEHIND_SECS)
            steps = min(int((now - due) / step), _STEPS_AT_ONCE)
            due += steps * step
            with self._lock:
                if self._failed or not steps:
                    continue
                before = self.data.time
                mujoco.mj_step(self.model, self.data, steps)
                # MuJoCo begins anew by itself when its numbers are none any more.
                if self.data.time < before:
                    self._failed = "its physics came to numbers that are none: start it anew"


def mujoco_name(model: Any) -> str:
    """What the MJCF calls its model."""
    return bytes(model.names).split(b"\0", 1)[0].decode(errors="replace")


def _known(model: Any, kind: str, names: Sequence[str]) -> None:
    of = {"camera": (model.ncam, model.camera), "joint": (model.njnt, model.joint)}
    count, one = of[kind]
    known = [one(i).name for i in range(count)]
    for name in names:
        if name not in known:
            all_ = ", ".join(filter(None, known)) or "none"
            raise SimulatorError(f"expected a {kind} of the model, found `{name}`: it has {all_}")
