#!/usr/bin/env python3
"""LeRobot itself against our calibration and our emulated SO-101.

    python tests/judges/arms_heavy.py [--values 20000]

Needs lerobot and feetech-servo-sdk. Random calibrations and values go through LeRobot's own
normalization and through `firmware-bridge/examples/calibrated.rs`, and have to come out the same
to the last bit; a file that LeRobot saves is read and written again byte for byte; then LeRobot's
bus drives the emulator of `firmware-bridge/examples/emulate_arm.rs`. EXAMPLES names a folder that
holds the examples built. Exits 1 at the first difference.
"""

import argparse
import math
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import draccus
from bridge import ROOT, emulated, example, passed
from lerobot.motors import Motor, MotorCalibration, MotorNormMode
from lerobot.motors.feetech import FeetechMotorsBus

MODES = {
    "lerobot_deg": MotorNormMode.DEGREES,
    "lerobot_m100": MotorNormMode.RANGE_M100_100,
    "lerobot_0_100": MotorNormMode.RANGE_0_100,
}
NAMES = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]


def normalization(count: int) -> None:
    rng, lines, expected = random.Random(3), [], []
    for _ in range(count):
        unit = rng.choice(list(MODES))
        low = rng.randrange(0, 4000)
        joint = MotorCalibration(1, rng.randrange(2), 0, low, rng.randrange(low + 1, 4097))
        bus = FeetechMotorsBus("", {"joint": Motor(1, "sts3215", MODES[unit])}, {"joint": joint})
        words = f"{unit} {joint.range_min} {joint.range_max} {joint.drive_mode}"
        ticks = rng.randrange(-500, 5000)
        lines.append(f"decode {words} {ticks}")
        expected.append(float(bus._normalize({1: ticks})[1]))
        value = rng.uniform(-200, 200)
        lines.append(f"encode {words} {value!r}")
        expected.append(bus._unnormalize({1: value})[1])
    for value in ["NaN", "inf", "-inf"]:
        lines.append(f"encode lerobot_m100 0 4095 0 {value}")
        expected.append(None)
    text = "".join(f"{line}\n" for line in lines)
    run = subprocess.run(example("calibrated"), cwd=ROOT, input=text, text=True, capture_output=True, check=True)
    found = [None if word == "none" else float(word) for word in run.stdout.split()]
    assert len(found) == len(expected)
    for line, ours, theirs in zip(lines, found, expected, strict=True):
        assert ours == theirs, f"{line}: ours {ours!r}, LeRobot's {theirs!r}"
    passed(f"{2 * count} values are LeRobot's to the last bit, and what is not finite is none")


def files() -> None:
    calibration = {
        name: MotorCalibration(i + 1, i % 2, 37 * i - 90, 700 + i, 3300 - i)
        for i, name in enumerate(NAMES)
    }
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder, "theirs.json"), Path(folder, "ours.json")
        with open(theirs, "w") as file, draccus.config_type("json"):
            draccus.dump(calibration, file, indent=4)
        subprocess.run([*example("calibrated"), theirs, ours], cwd=ROOT, check=True)
        assert ours.read_bytes() == theirs.read_bytes(), "the file is not LeRobot's"
        with open(ours) as file, draccus.config_type("json"):
            assert draccus.load(dict[str, MotorCalibration], file) == calibration
    passed("a calibration file is LeRobot's byte for byte")


def lerobot_drives(path: str) -> None:
    motors = {name: Motor(i + 1, "sts3215", MotorNormMode.DEGREES) for i, name in enumerate(NAMES)}
    motors["gripper"].norm_mode = MotorNormMode.RANGE_0_100
    bus = FeetechMotorsBus(path, motors)
    bus.connect()
    assert bus.broadcast_ping() == {i + 1: 777 for i in range(6)}
    calibration = {
        name: MotorCalibration(i + 1, 0, 40 * i - 100, 1000, 3000 + i) for i, name in enumerate(NAMES)
    }
    bus.disable_torque()
    bus.configure_motors()
    bus.write_calibration(calibration)
    assert bus.is_calibrated and bus.read_calibration() == calibration
    raw = bus.sync_read("Present_Position", normalize=False)
    assert raw == {name: 2048 - (40 * i - 100) for i, name in enumerate(NAMES)}, raw
    bus.sync_write("Goal_Position", raw, normalize=False)
    bus.enable_torque()
    goals = dict.fromkeys(NAMES[:5], 20.0) | {"gripper": 75.0}
    bus.sync_write("Goal_Position", goals)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = bus.sync_read("Present_Position")
        if all(math.isclose(found[name], goals[name], abs_tol=0.2) for name in NAMES):
            break
    assert all(math.isclose(found[name], goals[name], abs_tol=0.2) for name in NAMES), found
    bus.disconnect()
    passed("LeRobot's bus connects, calibrates, reads and moves the emulated arm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=20_000)
    args = parser.parse_args()
    normalization(args.values)
    files()
    with emulated() as path:
        lerobot_drives(path)
    print(f"arms: {2 * args.values} values, a file and an emulated arm agree with LeRobot")


if __name__ == "__main__":
    try:
        main()
    except AssertionError:
        traceback.print_exc()
        sys.exit("LeRobot and ours disagree")
