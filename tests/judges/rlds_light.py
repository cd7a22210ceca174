#!/usr/bin/env python3
"""Judges RLDS datasets with protobuf and Pillow: what they write, engraft reads value by value.

    python tests/judges/rlds_light.py [SEED]

Features, splits, files and pictures are drawn anew from SEED, which is printed. PNG must be equal
to the pixel. JPEG leaves decoders room to round: 99.8 of 100 values must be within 2 of Pillow's,
and none further than 6.
"""

import io
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from datasets_light import ROOT, run
from PIL import Image

sys.path.insert(0, str(ROOT / "tests" / "golden"))
import make_rlds as sample  # noqa: E402


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A slope in each channel, with a little noise."""
    y, x = np.mgrid[0:height, 0:width]
    slopes = rng.integers(-4, 5, (2, 3))
    smooth = 128 + x[..., None] * slopes[0] + y[..., None] * slopes[1] + rng.integers(-8, 9, (height, width, 3))
    return np.clip(smooth, 0, 255).astype(np.uint8)


FURTHEST = np.zeros(256, np.int64)  # how many values of JPEG differ from Pillow's by how much


class Variant:
    """One layout of a dataset: which features there are, and of what size."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.described = bool(rng.integers(2))
        self.sizes = {
            f"{name}": (int(rng.integers(8, 40)), int(rng.integers(8, 40)), str(rng.choice(["png", "jpeg"])))
            for name in ["front_image", "image_0"][: rng.integers(1, 3)]
        }
        self.depth = self.described and bool(rng.integers(2))
        self.action = {"steps/action": int(rng.integers(1, 12))}
        if rng.integers(2):
            parts = ["world_vector", "rotation_delta", "zoom"]
            self.action = {f"steps/action/{part}": int(rng.integers(1, 4)) for part in parts}
        self.state = int(rng.integers(1, 30))
        self.flagged = bool(rng.integers(2))
        self.whole = bool(rng.integers(2))  # the state is of whole numbers

    def episode(self) -> dict:
        """Values by key: arrays, lists of pictures, and the task."""
        rng, length = self.rng, int(self.rng.integers(1, 30))
        found = {key: np.float32(rng.normal(size=(length, width))) for key, width in self.action.items()}
        state = rng.normal(0, 1e3, (length, self.state))
        found["steps/observation/state"] = state.astype(np.int64) if self.whole else np.float32(state)
        for name, (height, width, _) in self.sizes.items():
            found[f"steps/observation/{name}"] = [picture(rng, height, width) for _ in range(length)]
        if self.depth:
            height, width, _ = self.sizes["front_image"]
            depth = rng.integers(0, 2**16, (length, height, width)).astype(np.uint16)
            found["steps/observation/front_depth"] = list(depth)
        found["task"] = str(rng.choice(["", "open it", "öffne die Tür — 開けて"]))
        return found

    def encode(self, episode: dict) -> bytes:
        """The record of an episode; its pictures become what Pillow decodes again."""
        values = {key: value for key, value in episode.items() if key != "task"}
        for key, pictures in values.items():
            if isinstance(pictures, list):
                kind = self.sizes.get(key.rsplit("/", 1)[1], (0, 0, "png"))[2]
                packed = [sample.packed(one, kind, **({"quality": 90} if kind == "jpeg" else {})) for one in pictures]
                episode[key] = [np.asarray(Image.open(io.BytesIO(data))) for data in packed]
                values[key] = packed
        length = len(episode["steps/observation/state"])
        values["steps/language_instruction"] = [episode["task"].encode()] * length
        values["episode_metadata/id"] = np.arange(1)
        return sample.encode(values | (sample.flags(length) if self.flagged else {}))

    def describe(self, root: Path, splits: list) -> None:
        observation = {"state": sample.tensor([self.state], "int64" if self.whole else "float32")}
        for name, (height, width, kind) in self.sizes.items():
            shape = [height, width, 3] if self.rng.integers(2) else [-1, -1, 3]
            observation[name] = sample.image(shape, "uint8", kind)
        if self.depth:
            height, width, _ = self.sizes["front_image"]
            observation["front_depth"] = sample.image([height, width, 1], "uint16", "png")
        steps = {"observation": {"": observation}, "language_instruction": {"text": {}}}
        parts = {key.rsplit("/", 1)[1]: sample.tensor([width], "float32") for key, width in self.action.items()}
        steps |= parts if "action" in parts else {"action": {"": parts}}
        if self.flagged:
            steps |= {key.split("/")[1]: sample.tensor([], "bool") for key in sample.flags(1)}
        sample.describe(root, steps, splits)


def judge_episode(variant: Variant, found: dict, expected: dict) -> None:
    assert found["task"] == expected["task"], found["task"]
    actions = np.concatenate([expected[key] for key in variant.action], 1)
    assert len(found["steps"]) == len(actions), (len(found["steps"]), len(actions))
    for at, step in enumerate(found["steps"]):
        assert np.array_equal(np.float32(step["action"]), actions[at]), "action"
        assert np.array_equal(np.float32(step["proprio"]), np.float32(expected["steps/observation/state"][at])), "state"
        for view, (name, (_, _, kind)) in zip(step["views"], sorted(variant.sizes.items()), strict=True):
            rgb = np.int64(view["rgb"]).reshape(view["shape"])
            apart = np.abs(rgb - expected[f"steps/observation/{name}"][at])
            assert apart.max() <= (6 if kind == "jpeg" else 0), f"{name}: {apart.max()} from Pillow's"
            if kind == "jpeg":
                FURTHEST[:] += np.bincount(apart.ravel(), minlength=256)
        if variant.depth:
            depth = np.float64(step["views"][0]["depth"]).reshape(step["views"][0]["shape"][:2])
            assert np.abs(depth * 1000 - expected["steps/observation/front_depth"][at]).max() < 1e-2, "depth"


def judge(rng: np.random.Generator, folder: Path, number: int) -> str:
    variant = Variant(rng)
    root = folder / str(number) / "robot_set" / "1.0.0"
    splits, written = [], {}
    for split in ["train", "val"][: rng.integers(1, 3)]:
        lengths = [int(rng.integers(1, 4)) for _ in range(rng.integers(1, 4))]
        for shard, length in enumerate(lengths):
            episodes = [variant.episode() for _ in range(length)]
            name = f"robot_set-{split}.tfrecord-{shard:05}-of-{len(lengths):05}"
            sample.write_records(root / name, [variant.encode(episode) for episode in episodes])
            written.setdefault(split, []).extend(episodes)
        splits.append((split, lengths))
    if variant.described:
        variant.describe(root, splits)
    for split in [None, *written]:
        expected = written[split] if split else [episode for all in written.values() for episode in all]
        dump = json.loads(run("dump", root.parent, "--fps", "5", *(["--mask", split] if split else [])))
        for found, episode in zip(dump["episodes"], expected, strict=True):
            judge_episode(variant, found, episode)
        assert not any("announces" in line or "files" in line for line in dump["info"]["warnings"])
    return "described" if variant.described else "bare"


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else time.time_ns() % 2**32
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        kinds = [judge(rng, Path(folder), number) for number in range(25)]
    near = FURTHEST[:3].sum() / FURTHEST.sum()
    assert near > 0.998, f"only {near:.2%} of JPEG is within 2 of Pillow's"
    print(f"{FURTHEST.sum()} values of JPEG: {near:.3%} within 2, the furthest {np.flatnonzero(FURTHEST)[-1]}")
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    print(f"engraft reads what protobuf and Pillow write: {counts}")


if __name__ == "__main__":
    main()
