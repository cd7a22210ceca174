#!/usr/bin/env python3
"""Writes the golden datasets lerobot_v30 and lerobot_v21 with the lerobot package itself.

    pip install lerobot==0.4.4                                        # v3.0
    python tests/golden/make_lerobot.py tests/golden/lerobot_v30
    pip install --no-deps --target OLD lerobot==0.3.3 datasets==3.6.0  # v2.1
    PYTHONPATH=OLD python tests/golden/make_lerobot.py tests/golden/lerobot_v21

Every number follows from its place, by the formulas below. They are also those of the example
`make_sample`, so that judges hold both packages against the same values.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

LENGTHS = [5, 8, 3]
TASKS = ["open the drawer", 'schließe die "Tür"']
VIEWS = [("front", 16, 12), ("wrist", 10, 8)]
PROPRIO = ["shoulder", "elbow", "gripper"]
ACTIONS = ["shoulder", "elbow"]
FPS = 10


def picture(episode: int, step: int, view: int) -> np.ndarray:
    """Pixels of one view: [height, width, 3] of uint8."""
    _, width, height = VIEWS[view]
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((7 * x + 13 * y + 50 * c + 3 * step + 11 * episode + 29 * view) % 256).astype(np.uint8)


def depth(step: int) -> np.ndarray:
    """Depth of the first view: [height, width] in metres."""
    _, width, height = VIEWS[0]
    return ((400 + np.arange(height * width) + 7 * step) / 1000).astype(np.float32).reshape(height, width)


def proprio(episode: int, step: int) -> np.ndarray:
    return np.float32((episode * 100 + step) * 0.125 + np.arange(3))


def action(episode: int, step: int) -> np.ndarray:
    return np.float32((episode * 100 + step) * 0.0625 - np.arange(2))


def features() -> dict:
    """The features of the sample, as lerobot's users write them."""
    pictures = {
        f"observation.images.{name}": {
            "dtype": "image",
            "shape": (height, width, 3),
            "names": ["height", "width", "channels"],
        }
        for name, width, height in VIEWS
    }
    return {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": PROPRIO},
        "action": {"dtype": "float32", "shape": (2,), "names": ACTIONS},
        **pictures,
    }


def frame(episode: int, step: int) -> dict:
    pictures = {f"observation.images.{name}": picture(episode, step, view) for view, (name, _, _) in enumerate(VIEWS)}
    return {"observation.state": proprio(episode, step), "action": action(episode, step), **pictures}


def add_episode(dataset, episode: int, length: int) -> None:
    """Adds one episode through lerobot, whose interface has moved between versions."""
    for step in range(length):
        task = TASKS[episode % 2]
        if dataset.meta.info["codebase_version"] == "v2.1":
            dataset.add_frame(frame(episode, step), task=task)
        else:
            dataset.add_frame({**frame(episode, step), "task": task})
    dataset.save_episode()


def write(root: Path) -> None:
    """Writes the sample into `root` with whichever lerobot is installed."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset.create(
        "engraft/golden", FPS, features(), root=root, robot_type="sample_arm", use_videos=False
    )
    for episode, length in enumerate(LENGTHS):
        add_episode(dataset, episode, length)
    if hasattr(dataset, "finalize"):
        dataset.finalize()
    shutil.rmtree(root / "images", ignore_errors=True)  # where frames wait while recording


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_DATASETS_CACHE"] = cache
        write(Path(sys.argv[1]))
