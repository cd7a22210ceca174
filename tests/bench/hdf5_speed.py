#!/usr/bin/env python3
"""Reads the same rows of the same files with h5py and with engraft, and prints the ratio.

    cargo build --release -p engraft-datasets --example hdf5_speed
    python tests/bench/hdf5_speed.py

Each reads 4 frames of 2 views of 224 x 224 x 3 pixels, at random places and one after the other,
on one thread, with the file in the page cache. They take turns, and the best round of each counts,
so that others on the machine disturb neither. Above 1, engraft is the faster one. Both sum the
same pixels, and the sums must agree.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SPEED = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/examples/hdf5_speed")
DEMOS, STEPS, SIDE, FRAMES, ROUNDS, TURNS = 10, 60, 224, 4, 4, 4
VIEWS = ["agentview_image", "robot0_eye_in_hand_image"]


def write(path: Path, **how) -> None:
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = '{"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}'
        for number in range(DEMOS):
            demo = data.create_group(f"demo_{number}")
            demo["actions"] = random.normal(size=(STEPS, 7))
            demo["obs/robot0_eef_pos"] = random.normal(size=(STEPS, 3))
            for view in VIEWS:
                pixels = random.integers(0, 256, (STEPS, SIDE // 8, SIDE // 8, 3), np.uint8)
                pixels = pixels.repeat(8, 1).repeat(8, 2)
                demo.create_dataset(f"obs/{view}", data=pixels, **how)


def read(path: Path, places: list) -> tuple:
    best, total = float("inf"), 0
    with h5py.File(path, "r") as file:
        images = [[file[f"data/demo_{demo}/obs/{view}"] for view in VIEWS] for demo in range(DEMOS)]
        for _ in range(ROUNDS):
            start = time.perf_counter()
            total = 0
            for demo, step in places:
                for dataset in images[demo]:
                    frames = dataset[step : step + FRAMES]
                    total += int(frames.reshape(FRAMES, -1)[:, SIDE * SIDE * 3 // 2].sum())
            best = min(best, time.perf_counter() - start)
    return best, total


def main() -> None:
    random = np.random.default_rng(1)
    pairs = zip(random.integers(0, DEMOS, 300), random.integers(0, STEPS - FRAMES + 1, 300))
    orders = {
        "random": [(int(demo), int(step)) for demo, step in pairs],
        "in order": [(demo, step) for demo in range(DEMOS) for step in range(0, STEPS - FRAMES + 1, FRAMES)],
    }
    layouts = {
        "in one run": {},
        "a chunk per frame": {"chunks": (1, SIDE, SIDE, 3)},
        "gzip, a chunk per frame": {"chunks": (1, SIDE, SIDE, 3), "compression": "gzip"},
        "gzip, chunks as h5py likes": {"compression": "gzip"},
        "lzf, a chunk per frame": {"chunks": (1, SIDE, SIDE, 3), "compression": "lzf"},
    }
    with tempfile.TemporaryDirectory() as folder:
        for layout, how in layouts.items():
            path = Path(folder) / "demo.hdf5"
            write(path, **how)
            for order, places in orders.items():
                lines = "\n".join(f"{demo} {step}" for demo, step in places)
                command = [str(SPEED), str(path), str(ROUNDS)]
                theirs, ours = float("inf"), float("inf")
                for _ in range(TURNS):
                    best, expected = read(path, places)
                    theirs = min(theirs, best)
                    result = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True)
                    _, best, total = result.stdout.split()
                    assert int(total) == expected, f"{layout}: sum {total}, expected {expected}"
                    ours = min(ours, float(best))
                samples = len(places)
                print(
                    f"{layout:27} {order:9} h5py {theirs / samples * 1e3:7.3f} ms a sample, "
                    f"engraft {ours / samples * 1e3:7.3f} ms: {theirs / ours:5.2f} x"
                )


if __name__ == "__main__":
    main()
