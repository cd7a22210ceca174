#!/usr/bin/env python3
"""Frames per second of our reader beside the lerobot package's own loader, on the same files.

    python tests/bench/loader_speed.py [FOLDER] [--episodes 10] [--steps 200] [--side 224] [--windows 1200]

Needs the packages of tests/judges/requirements-heavy.txt. Writes a LeRobot v3.0 dataset with two
cameras in AV1 through the lerobot package, then reads windows of 4 frames x 2 views, random and in
order: with lerobot's dataset in a torch DataLoader of two workers, and with our example
`loader_speed` on two threads. Runs alternate; the ratios of each pair and their median are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FPS = 30
BATCH = 8


def write_dataset(folder: Path, episodes: int, steps: int, side: int) -> None:
    """A dataset of moving shapes over a textured ground, with some noise, as a camera would see."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    picture = {"dtype": "video", "shape": (side, side, 3), "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": (7,), "names": [f"joint_{i}" for i in range(7)]}
    features = {
        "observation.images.front": picture,
        "observation.images.wrist": picture,
        "observation.state": vector,
        "action": vector,
    }
    dataset = LeRobotDataset.create("bench/loader", FPS, features, root=folder, robot_type="bench", use_videos=True)
    random = np.random.default_rng(0)
    ground = random.integers(60, 190, (side // 8, side // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    ground = np.pad(ground, ((0, side - ground.shape[0]), (0, side - ground.shape[1]), (0, 0)), "edge")
    for episode in range(episodes):
        for step in range(steps):
            frame = {"task": "move", "observation.state": np.full(7, step, np.float32)}
            frame["action"] = np.full(7, step + 1, np.float32)
            for view, name in enumerate(["front", "wrist"]):
                pixels = np.roll(ground, (step + view * 3, episode), (0, 1)).copy()
                x, y = (step * 2 + episode * 17) % (side - 40), (step + view * 31) % (side - 40)
                pixels[y : y + 40, x : x + 40] = [220, 40 + view * 90, 60]
                pixels = np.clip(pixels.astype(np.int16) + random.integers(-6, 7, pixels.shape), 0, 255)
                frame[f"observation.images.{name}"] = pixels.astype(np.uint8)
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()


def tree_megabytes(pid: int) -> float:
    """Memory of a process and its children, shared pages counted once."""
    total, todo = 0, [pid]
    while todo:
        at = todo.pop()
        try:
            rollup = Path(f"/proc/{at}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
            for task in Path(f"/proc/{at}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except (OSError, ValueError):
            continue
    return total / 1e3


def theirs(folder: Path, mode: str, windows: int, backend: str) -> dict:
    """Frames per second of lerobot's loader; runs in a process of its own."""
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    deltas = [i / FPS for i in (-3, -2, -1, 0)]
    names = ["observation.images.front", "observation.images.wrist"]
    dataset = LeRobotDataset("bench/loader", folder, delta_timestamps=dict.fromkeys(names, deltas), video_backend=backend)
    order = [(i * 2_654_435_761 if mode == "random" else i) % len(dataset) for i in range(windows)]
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, sampler=order, num_workers=2)
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], tree_megabytes(os.getpid()))

    threading.Thread(target=watch, daemon=True).start()
    frames, start, first = 0, None, 0
    for batch in loader:
        frames += sum(batch[name].shape[0] * batch[name].shape[1] for name in names)
        if start is None:  # the workers' start is not counted
            start, first = time.perf_counter(), frames
    secs = time.perf_counter() - start
    stop.set()
    return {"frames_per_sec": (frames - first) / secs, "secs": secs, "peak_megabytes": peak[0]}


def run(command: list) -> dict:
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--windows", type=int, default=1200)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--backend", default="pyav", help="torchcodec or pyav")
    parser.add_argument("--theirs", choices=["random", "sequential"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.theirs:
        print(json.dumps(theirs(args.folder, args.theirs, args.windows, args.backend)))
        return
    if args.folder is None:
        args.folder = Path(tempfile.mkdtemp()) / "set"
    if not args.folder.exists():
        write_dataset(args.folder, args.episodes, args.steps, args.side)
    subprocess.run(
        ["cargo", "build", "--quiet", "--release", "--locked", "-p", "engraft-datasets", "--example", "loader_speed"],
        cwd=ROOT,
        check=True,
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    example = str(target / "release/examples/loader_speed")
    me = [sys.executable, __file__, str(args.folder), "--windows", str(args.windows), "--backend", args.backend]
    shards = tempfile.mkdtemp()
    report = {}
    for mode in ["random", "sequential"]:
        for ours, more in [("decoding", []), ("from a shard", [shards])]:
            pairs = []
            for _ in range(args.pairs):
                one = run([example, str(args.folder), mode, str(args.windows), "2", *more])
                pairs.append((one, run([*me, "--theirs", mode])))
            speed = statistics.median(a["frames_per_sec"] / b["frames_per_sec"] for a, b in pairs)
            memory = statistics.median(a["peak_megabytes"] / b["peak_megabytes"] for a, b in pairs)
            a, b = pairs[0]
            print(
                f"{mode:<10} {ours:<12} {a['frames_per_sec']:8.0f} frames/s, lerobot ({args.backend}) "
                f"{b['frames_per_sec']:6.0f}: ratio {speed:.2f}; memory {a['peak_megabytes']:.0f} MB of "
                f"{b['peak_megabytes']:.0f} MB: ratio {memory:.2f}",
                flush=True,
            )
            report[f"{mode} {ours}"] = {"speed_ratio": speed, "memory_ratio": memory, "pairs": pairs}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
