#!/usr/bin/env python3
"""Has LeRobot drive the emulated servos of a Koch arm, as it drives real ones.

    python tests/judges/arms_dynamixel_heavy.py

Needs lerobot and dynamixel-sdk. Starts `firmware-bridge/examples/emulate_koch.rs`.
"""

import sys
import time
from pathlib import Path

from lerobot.motors import Motor, MotorCalibration, MotorNormMode
from lerobot.motors.dynamixel import DynamixelMotorsBus, OperatingMode

sys.path.insert(0, str(Path(__file__).resolve().parent))
from dynamixel_light import agree, example, passed

NAMES = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]


def judge(path: str) -> None:
    models = ["xl430-w250"] * 2 + ["xl330-m288"] * 4
    motors = {
        name: Motor(at + 1, model, MotorNormMode.DEGREES if name != "gripper" else MotorNormMode.RANGE_0_100)
        for at, (name, model) in enumerate(zip(NAMES, models, strict=True))
    }
    calibration = {
        name: MotorCalibration(id=at + 1, drive_mode=0, homing_offset=-100 * at, range_min=500, range_max=3500)
        for at, name in enumerate(NAMES)
    }
    bus = DynamixelMotorsBus(path, motors, calibration)
    bus.connect()
    passed("lerobot finds every motor, of the model that it expects")

    bus.disable_torque()
    bus.configure_motors()
    for name in NAMES:
        mode = OperatingMode.CURRENT_POSITION if name == "gripper" else OperatingMode.EXTENDED_POSITION
        bus.write("Operating_Mode", name, mode.value)
    bus.write_calibration(calibration)
    agree(bus.read_calibration(), calibration, "the calibration, read back")
    assert bus.is_calibrated, "lerobot finds the motors calibrated"
    found = bus.sync_read("Present_Position", normalize=False)
    agree(found, {name: 2048 - 100 * at for at, name in enumerate(NAMES)}, "present = actual + offset")
    passed("lerobot configures and calibrates")

    bus.sync_write("Goal_Position", found, normalize=False)
    bus.enable_torque()
    goals = {name: value + (150 if at % 2 else -150) for at, (name, value) in enumerate(found.items())}
    bus.sync_write("Goal_Position", goals, normalize=False)
    deadline = time.monotonic() + 5
    while (now := bus.sync_read("Present_Position", normalize=False)) != goals:
        assert time.monotonic() < deadline, f"expected {goals} within 5 s, found {now}"
    passed("lerobot moves every joint to its goal")

    bus.sync_write("Goal_Position", {name: 0.0 for name in NAMES if name != "gripper"})
    deadline = time.monotonic() + 5
    while max(abs(v) for n, v in bus.sync_read("Present_Position").items() if n != "gripper") > 0.1:
        assert time.monotonic() < deadline, "the middle of the range is reached within 5 s"
    passed("lerobot moves in degrees, too")
    bus.disconnect()


def main() -> None:
    with example("emulate_koch") as emulator:
        judge(emulator.stdout.readline().strip())


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, ConnectionError, RuntimeError) as error:
        sys.exit(f"arms_dynamixel: lerobot and we disagree: {error}")
