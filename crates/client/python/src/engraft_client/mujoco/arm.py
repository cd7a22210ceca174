"""Which joints of a model are the arm, and what moves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engraft_client.mujoco.physics import mujoco
from engraft_client.simulator import Joint, SimulatorError

MAX_JOINTS = 8


@dataclass(frozen=True)
class Arm:
    """The arm's joints, each with its place in `qpos`, `qvel` and `ctrl`.

    Attributes:
        joints: Names and ranges, in order.
        slides: Whether each slides rather than turns.
        positions: Indices into `qpos`.
        velocities: Indices into `qvel`.
        actuators: Indices into `ctrl`.
        forces: The most that each actuator gives; infinite where nothing bounds it.
    """

    joints: list[Joint]
    slides: list[bool]
    positions: np.ndarray
    velocities: np.ndarray
    actuators: np.ndarray
    forces: np.ndarray


def find_arm(model: Any, joints: Sequence[str], actuators: Sequence[str]) -> Arm:
    """Finds the arm in a model.

    Args:
        model: The `MjModel`.
        joints: Their names, from the base outwards; of all that a position actuator moves where
            none is named.
        actuators: The position actuator of each joint; found by the joint where none is named.
    """
    if not joints:
        moved = [int(model.actuator_trnid[i, 0]) for i in range(model.nu) if _is_servo(model, i)]
        joints = [model.joint(i).name for i in sorted(set(moved))]
    if not 1 <= len(joints) <= MAX_JOINTS:
        found = f"{len(joints)} ({', '.join(joints)})" if joints else "none"
        raise SimulatorError(
            f"expected 1 to {MAX_JOINTS} joints that position actuators move, found {found}:"
            " name those of the arm with --joints"
        )
    if actuators and len(actuators) != len(joints):
        raise SimulatorError(f"expected {len(joints)} actuators, found {len(actuators)}")
    known = [model.joint(i).name for i in range(model.njnt)]
    for name in joints:
        if name not in known:
            named = ", ".join(filter(None, known))
            raise SimulatorError(f"expected a joint of the model, found `{name}`: it has {named}")
    ids = [model.joint(name).id for name in joints]
    motors = [
        _servo(model, joint, actuators[place] if actuators else None)
        for place, joint in enumerate(ids)
    ]
    bounded = model.actuator_forcelimited[motors].astype(bool)
    return Arm(
        joints=[_joint(model, joint, motor) for joint, motor in zip(ids, motors, strict=True)],
        slides=[bool(model.jnt_type[joint] == int(mujoco.mjtJoint.mjJNT_SLIDE)) for joint in ids],
        positions=model.jnt_qposadr[ids],
        velocities=model.jnt_dofadr[ids],
        actuators=np.array(motors),
        forces=np.where(bounded, np.abs(model.actuator_forcerange[motors]).max(1), np.inf),
    )


def _is_servo(model: Any, actuator: int) -> bool:
    """Whether an actuator pulls one joint towards the place in `ctrl`."""
    if model.actuator_trntype[actuator] != int(mujoco.mjtTrn.mjTRN_JOINT):
        return False
    joint = model.jnt_type[model.actuator_trnid[actuator, 0]]
    gain, bias = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
    return bool(
        joint in (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
        and model.actuator_gaintype[actuator] == int(mujoco.mjtGain.mjGAIN_FIXED)
        and model.actuator_biastype[actuator] == int(mujoco.mjtBias.mjBIAS_AFFINE)
        and gain[0] > 0
        and bias[1] == -gain[0]
        and model.actuator_gear[actuator, 0] == 1
    )


def _servo(model: Any, joint: int, name: str | None) -> int:
    of_joint = [
        i
        for i in range(model.nu)
        if _is_servo(model, i)
        and model.actuator_trnid[i, 0] == joint
        and name in (None, model.actuator(i).name)
    ]
    if len(of_joint) == 1:
        return of_joint[0]
    wanted = "a position actuator" if name is None else f"`{name}` to be a position actuator"
    raise SimulatorError(
        f"joint {model.joint(joint).name}: expected {wanted} with gear 1, found {len(of_joint)}:"
        " give the model one (<position joint=.../>), or choose with --actuators"
    )


def _joint(model: Any, joint: int, actuator: int) -> Joint:
    """The range that both the joint and its actuator take."""
    name, bounds = model.joint(joint).name, []
    if model.jnt_limited[joint]:
        bounds.append(model.jnt_range[joint])
    if model.actuator_ctrllimited[actuator]:
        bounds.append(model.actuator_ctrlrange[actuator])
    if not bounds:
        raise SimulatorError(f"joint {name}: expected a range, found none: give it one (range=...)")
    least, most = max(low for low, _ in bounds), min(high for _, high in bounds)
    if not least < most:
        raise SimulatorError(f"joint {name}: its range and its actuator's have nothing in common")
    return Joint(name, float(least), float(most))
