"""Writes a model's arm as the bridge's description of it."""

from dataclasses import dataclass
from pathlib import Path

from engraft_client.mujoco.arm import Arm
from engraft_client.simulator import Joint, SimulatorError

SETPOINT_HZ = 100
# What a joint that turns may do; one that slides does as much of its range as this is of a radian.
_VELOCITY, _ACCELERATION, _JERK, _LEASH = 1.0, 6.0, 60.0, 0.3


@dataclass(frozen=True)
class Gripper:
    """Which joint is the gripper, and at which end of its range it is open."""

    joint: str
    open_at_max: bool


def arm_toml(robot: str, arm: Arm, gripper: Gripper | None) -> str:
    """The description, as text.

    Args:
        robot: The model's name.
        arm: Its joints.
        gripper: The joint that the policy has from 0, open, to 1, closed.
    """
    names = [joint.name for joint in arm.joints]
    if gripper is not None and gripper.joint not in names:
        joints = ", ".join(names)
        raise SimulatorError(
            f"--gripper: expected one of the arm's joints ({joints}), found `{gripper.joint}`"
        )
    lines = [
        f"# The arm of the model {robot}, written by engraft-mujoco. Names and ranges are the",
        "# model's. The limits of velocity, acceleration and jerk are guesses that suit a small",
        "# arm: check them. A leash is longer than what actuators stay behind at full velocity.",
        f'name = "{robot}"',
        'protocol = "simulator"',
        f"setpoint_hz = {SETPOINT_HZ}",
    ]
    for place, (joint, slides) in enumerate(zip(arm.joints, arm.slides, strict=True)):
        lines += ["", "[[joints]]", f'name = "{joint.name}"', f"id = {place + 1}"]
        lines.append(f'model = "{robot}"')
        if gripper is not None and joint.name == gripper.joint:
            lines += _gripper(joint, gripper.open_at_max)
        else:
            lines += [f"min_rad = {joint.min_rad:.6f}", f"max_rad = {joint.max_rad:.6f}"]
        size = joint.max_rad - joint.min_rad if slides else 1.0
        for name, number in (
            ("max_velocity", _VELOCITY),
            ("max_acceleration", _ACCELERATION),
            ("max_jerk", _JERK),
            ("leash_rad", _LEASH),
        ):
            lines.append(f"{name} = {number * size:.6g}")
    return "\n".join([*(_decimal(line) for line in lines), ""])


def _gripper(joint: Joint, open_at_max: bool) -> list[str]:
    """Its angle grows as it closes."""
    lines = ['unit = "gripper"']
    if not open_at_max:
        return [*lines, f"min_rad = {joint.min_rad:.6f}", f"max_rad = {joint.max_rad:.6f}"]
    span = joint.max_rad - joint.min_rad
    ticks = round(joint.max_rad * 1e6)
    return [
        *lines,
        "inverted = true",
        f"zero_ticks = {ticks}",
        "min_rad = 0.0",
        f"max_rad = {span:.6f}",
    ]


def _decimal(line: str) -> str:
    """TOML's floats have a point."""
    name, equals, value = line.partition(" = ")
    limits = name.startswith("max_") or name == "leash_rad"
    whole = limits and equals and "." not in value and "e" not in value
    return f"{line}.0" if whole else line


def write_once(path: Path, text: str) -> bool:
    """Writes a new file; leaves one that is there, whose limits somebody may have checked."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise SimulatorError(f"cannot write {path}: {error.strerror}") from error
    return True
