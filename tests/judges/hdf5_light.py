#!/usr/bin/env python3
"""Judges HDF5 datasets with h5py alone, in both directions.

    python tests/judges/hdf5_light.py

What h5py writes, in every layout that its users ask for, is read by engraft and held against
formulas; what engraft writes is opened by h5py the way robomimic does it.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import make_lerobot as sample  # noqa: E402


def run(example: str, *arguments) -> str:
    """Runs an example of engraft-datasets; EXAMPLES names a folder that holds them built."""
    command = ["cargo", "run", "--quiet", "--locked", "-p", "engraft-datasets", "--example", example, "--"]
    command = [str(Path(os.environ["EXAMPLES"]) / example)] if "EXAMPLES" in os.environ else command
    result = subprocess.run([*command, *map(str, arguments)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return result.stdout.decode()


def same(found, expected, what: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    assert np.array_equal(found, expected), f"{what} differs: {found} for {expected}"


def arrays(seed: int) -> dict:
    """One demonstration; some of it packs well, some does not."""
    random = np.random.default_rng(seed)
    length = 9 + seed
    steps = np.arange(length)
    smooth = (steps[:, None, None, None] + np.arange(24 * 20 * 3).reshape(24, 20, 3) // 7) % 256
    return {
        "actions": random.normal(size=(length, 7)),
        "obs/robot0_eef_pos": random.normal(size=(length, 3)).astype(np.float32),
        "obs/robot0_gripper_qpos": random.integers(-9, 9, (length, 2)).astype(np.int16),
        "obs/a_image": smooth.astype(np.uint8),
        "obs/b_image": random.integers(0, 256, (length, 24, 20, 3), np.uint8),
        "obs/a_depth": random.integers(0, 999, (length, 24, 20, 1)).astype(np.float32) / 128,
    }


def write(path: Path, libver, how: dict, rows_per_chunk, order: str) -> None:
    with h5py.File(path, "w", libver=libver) as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        for demo in range(2):
            for name, value in arrays(demo).items():
                value = value.astype(value.dtype.newbyteorder(order))
                options = dict(how)
                if rows_per_chunk == "auto":
                    options["chunks"] = True
                elif rows_per_chunk == "split":
                    options["chunks"] = tuple(max(1, side // 2) for side in value.shape)
                elif rows_per_chunk == "growing":
                    options["maxshape"] = (None, *value.shape[1:])
                elif rows_per_chunk is not None:
                    options["chunks"] = (rows_per_chunk, *value.shape[1:])
                data.create_dataset(f"demo_{demo}/{name}", data=value, **options)


def judge_read(folder: Path) -> int:
    filters = [
        {},
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        {"compression": "lzf", "shuffle": True},
        {"fletcher32": True},
    ]
    layouts = [None, "auto", "split", "growing", 1, 4]
    count = 0
    for libver, how, rows in itertools.product(["earliest", ("v110", "v110"), "latest"], filters, layouts):
        path = folder / "variant.hdf5"
        write(path, libver, how, rows, ">" if count % 5 == 4 else "<")
        what = f"libver {libver}, {how}, chunks {rows}"
        try:
            dump = json.loads(run("dump", path, "--fps", 20))
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"{what}: not read") from error
        assert [view["name"] for view in dump["spec"]["views"]] == ["a", "b"], what
        for demo, episode in enumerate(dump["episodes"]):
            wanted = arrays(demo)
            assert len(episode["steps"]) == len(wanted["actions"]), what
            for step, values in enumerate(episode["steps"]):
                same(np.float32(values["action"]), np.float32(wanted["actions"][step]), what)
                parts = [wanted["obs/robot0_eef_pos"][step], wanted["obs/robot0_gripper_qpos"][step]]
                same(np.float32(values["proprio"]), np.float32(np.concatenate(parts)), what)
                for view, name in zip(values["views"], "ab"):
                    pixels = np.uint8(view["rgb"]).reshape(view["shape"])
                    same(pixels, wanted[f"obs/{name}_image"][step], what)
                metres = np.float32(values["views"][0]["depth"]).reshape(24, 20, 1)
                same(metres, wanted["obs/a_depth"][step], what)
        path.unlink()
        count += 1
    return count


def judge_links(path: Path) -> None:
    """Links to other files are not followed, links within the file are left out, nothing else is."""
    for libver in ["earliest", "latest"]:
        with h5py.File(path, "w", libver=libver) as file:
            for demo in range(3):
                group = file.create_group(f"data/demo_{demo}")
                group["actions"] = np.full((3, 2), demo)
                group["obs/position"] = np.ones((3, 2))
                group["obs/linked"] = h5py.SoftLink(f"/data/demo_{demo}/obs/position")
                group["obs/dangling"] = h5py.SoftLink("/nowhere")
                if demo == 2:
                    group["obs/outside"] = h5py.ExternalLink("/etc/passwd", "/x")
            file["data/demo_3"] = h5py.SoftLink("/data/demo_0")
            file["data/demo_4"] = file["data/demo_1"]
        dump = json.loads(run("dump", path, "--fps", 20))
        actions = [episode["steps"][0]["action"][0] for episode in dump["episodes"]]
        assert actions == [0, 1, 2, 1], actions
        names = {feature["name"] for feature in dump["info"]["features"]}
        assert names == {"actions", "obs/position"}, names
    print("links lead nowhere")


def judge_written(path: Path, packed: bool) -> None:
    """Opens what engraft wrote the way robomimic's SequenceDataset does."""
    run("make_sample", path, "robomimic-gzip" if packed else "robomimic")
    with h5py.File(path, "r", swmr=True, libver="latest") as file:
        demos = sorted(file["data"].keys(), key=lambda name: int(name[5:]))
        assert demos == [f"demo_{episode}" for episode in range(len(sample.LENGTHS))]
        assert file["data"].attrs["total"] == sum(sample.LENGTHS)
        environment = json.loads(file["data"].attrs["env_args"])
        assert environment["env_kwargs"]["control_freq"] == sample.FPS, environment
        assert {"env_name", "type", "env_kwargs"} <= set(environment)
        robot = json.loads(file["data"].attrs["engraft"])
        assert [dimension["unit"] for dimension in robot["actions"]] == ["rad", "rad"]
        masks = {name: [demo.decode("utf-8") for demo in np.array(file[f"mask/{name}"])] for name in file["mask"]}
        assert masks == {"train": ["demo_0", "demo_2"], "valid": ["demo_1"]}, masks
        for episode, (name, length) in enumerate(zip(demos, sample.LENGTHS)):
            demo = file[f"data/{name}"]
            assert demo.attrs["num_samples"] == length
            assert json.loads(demo.attrs["ep_meta"])["lang"] == sample.TASKS[episode % 2]
            steps = range(length)
            same(demo["actions"][()], [sample.action(episode, step) for step in steps], "actions")
            same(demo["obs/state"][()], [sample.proprio(episode, step) for step in steps], "state")
            same(demo["rewards"][()], np.zeros(length), "rewards")
            same(demo["dones"][()], np.arange(length) == length - 1, "dones")
            for view, (camera, width, height) in enumerate(sample.VIEWS):
                images = demo[f"obs/{camera}_image"]
                assert images.dtype == np.uint8 and images.chunks == (1, height, width, 3)
                assert images.compression == ("gzip" if packed else None)
                same(images[()], [sample.picture(episode, step, view) for step in steps], camera)
                same(images[length // 2], sample.picture(episode, length // 2, view), camera)
            metres = [sample.depth(step)[..., None] for step in steps]
            same(demo["obs/front_depth"][()], metres, "depth")
    with h5py.File(path, "r+") as file:  # what others add stays whole beside what is there
        file["data/demo_0"].create_group("next_obs")["state"] = file["data/demo_0/obs/state"][()]
        file["data"].attrs["note"] = "a" * 300
        file.create_group("data/demo_99")["actions"] = np.zeros((2, 2), np.float32)
    with h5py.File(path, "r") as file:
        assert len(file["data"]) == len(sample.LENGTHS) + 1
        file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
    print(f"h5py reads what engraft writes{', packed' if packed else ''}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        judge_written(folder / "plain.hdf5", False)
        judge_written(folder / "packed.hdf5", True)
        judge_links(folder / "links.hdf5")
        print(f"engraft reads what h5py writes in {judge_read(folder)} layouts")


if __name__ == "__main__":
    main()
