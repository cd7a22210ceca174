#!/usr/bin/env python3
"""Writes the golden datasets lerobot_video_v30 and lerobot_video_v21 with the lerobot package itself.

    pip install lerobot==0.4.4                                        # v3.0, with av 15.1.0
    python tests/golden/make_lerobot_video.py tests/golden/lerobot_video_v30
    pip install --no-deps --target OLD lerobot==0.3.3 datasets==3.6.0  # v2.1
    PYTHONPATH=OLD python tests/golden/make_lerobot_video.py tests/golden/lerobot_video_v21

Both hold three episodes of two cameras as AV1 video: in v3.0 all episodes of a camera share one
file, in v2.1 each has its own. Beside each dataset lies what the lerobot package reads back through
PyAV: `expected_front.png` and `expected_wrist.png`, all frames one below the other.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

LENGTHS = [5, 8, 3]
VIEWS = [("front", 64, 48), ("wrist", 72, 64)]
FPS = 10


def picture(episode: int, step: int, view: int) -> np.ndarray:
    """Smooth colours that move, so that a frame is never mistaken for its neighbour."""
    _, width, height = VIEWS[view]
    y, x = np.mgrid[0:height, 0:width]
    phase = step * 0.7 + episode * 2.1 + view
    channels = [np.sin(x / 9 + phase), np.cos(y / 7 - phase), np.sin((x + y) / 11 + 2 * phase)]
    return np.uint8(np.round(127.5 + 100 * np.stack(channels, -1)))


def features() -> dict:
    vector = {"dtype": "float32", "shape": (2,), "names": ["shoulder", "gripper"]}
    video = {
        f"observation.images.{name}": {
            "dtype": "video",
            "shape": (height, width, 3),
            "names": ["height", "width", "channels"],
        }
        for name, width, height in VIEWS
    }
    return {"observation.state": vector, "action": vector, **video}


def main(root: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    scratch = Path(tempfile.mkdtemp()) / "set"
    dataset = LeRobotDataset.create("golden/video", FPS, features(), root=scratch, robot_type="arm", use_videos=True)
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            frame = {f"observation.images.{name}": picture(episode, step, view) for view, (name, _, _) in enumerate(VIEWS)}
            frame["observation.state"] = np.float32([episode, step])
            frame["action"] = np.float32([episode, step + 1])
            if dataset.meta.info["codebase_version"] == "v2.1":
                dataset.add_frame(frame, task="wave")
            else:
                dataset.add_frame({**frame, "task": "wave"})
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()
    read = LeRobotDataset("golden/video", scratch, video_backend="pyav")
    frames = [read[index] for index in range(sum(LENGTHS))]
    shutil.rmtree(scratch / "images", ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(scratch, root)
    for name, _, _ in VIEWS:
        stacked = [np.uint8(np.round(f[f"observation.images.{name}"].numpy() * 255)).transpose(1, 2, 0) for f in frames]
        Image.fromarray(np.concatenate(stacked)).save(root / f"expected_{name}.png", optimize=True)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main(Path(sys.argv[1]))
