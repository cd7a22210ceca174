#!/usr/bin/env python3
"""Judges replay buffers with zarr itself: what it writes, engraft reads value by value.

    python tests/judges/zarr_light.py [SEED]

Compressors, chunks, types, separators and stores are drawn anew from SEED, which is printed. Then
a chunk is taken away: engraft must name its file, where zarr would hand out zeros.
"""

import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numcodecs
import numpy as np
import zarr
from datasets_light import run

SIDES = (24, 20)
INTEGERS = ["|u1", "<u2", ">u4", "<u8", "|i1", "<i2", "<i4", ">i4", "<i8"]
FLOATS = ["<f2", "<f4", ">f4", "<f8", ">f8"]


def compressor(rng: np.random.Generator):
    kind = rng.integers(7)
    if kind < 3:
        cname = rng.choice(numcodecs.blosc.list_compressors())
        block = int(rng.choice([0, 0, 512, 1024, 4096, 10000]))
        return numcodecs.Blosc(str(cname), int(rng.integers(10)), int(rng.integers(-1, 3)), blocksize=block)
    simple = [None, numcodecs.Zstd(int(rng.integers(1, 20))), numcodecs.LZ4()]
    simple += [numcodecs.Zlib(int(rng.integers(1, 10))), numcodecs.GZip(int(rng.integers(1, 10)))]
    return simple[rng.integers(len(simple))]


def values(rng: np.random.Generator, shape: tuple, dtype: str) -> np.ndarray:
    """Noise, or a slope that compresses well."""
    if rng.integers(2):
        found = rng.normal(0, 30, shape)
    else:
        found = np.linspace(-100, 100, int(np.prod(shape))).reshape(shape)
    if dtype[1] == "u":
        found = np.abs(found)
    return np.clip(found, -120, 250 if dtype[1] == "u" else 120).astype(dtype)


def chunks(rng: np.random.Generator, shape: tuple) -> tuple:
    rows = int(rng.integers(1, shape[0] + 3))
    inner = [int(rng.choice([side, side, rng.integers(1, side + 2)])) for side in shape[1:]]
    if len(shape) > 2 and rng.integers(2):
        return (1, *shape[1:])
    return (rows, *inner)


def judge(rng: np.random.Generator, folder: Path, number: int) -> str:
    """Writes a buffer with zarr and holds engraft's reading of it against the arrays."""
    ends = np.cumsum(rng.integers(1, 40, int(rng.integers(1, 5))))
    steps, (height, width) = int(ends[-1]), SIDES
    widths = int(rng.integers(1, 9)), int(rng.integers(1, 40))
    colour = rng.integers(0, 256, (steps, height, width, 3)).astype(np.uint8)
    colour[::3] = np.arange(width)[:, None].astype(np.uint8)
    arrays = {
        "action": values(rng, (steps, widths[0]), str(rng.choice(FLOATS))),
        "state": values(rng, (steps, widths[1]), str(rng.choice(FLOATS + INTEGERS))),
        "front_image": colour,
        "top_rgb": np.float32(colour) if rng.integers(2) else colour.transpose(0, 3, 1, 2),
        "front_depth": np.abs(values(rng, (steps, height, width), str(rng.choice(["<f4", "<f2"])))),
        "grey_image": colour[..., :1],
    }
    zipped = bool(rng.integers(2))
    path = folder / f"{number}.zarr{'.zip' if zipped else ''}"
    packing = int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    store = zarr.ZipStore(str(path), compression=packing, mode="w") if zipped else zarr.DirectoryStore(str(path))
    group = zarr.open_group(store, mode="w")
    for name, array in arrays.items():
        where = {"chunks": chunks(rng, array.shape), "dimension_separator": str(rng.choice([".", "/"]))}
        made = group.create_dataset(f"data/{name}", shape=array.shape, dtype=array.dtype, compressor=compressor(rng), **where)
        made[:] = array
    end_type = str(rng.choice(["<i8", "<i4", "<u4"]))
    group.create_dataset("meta/episode_ends", data=ends.astype(end_type), compressor=compressor(rng))
    store.close()

    dump = json.loads(run("dump", path, "--fps", "10"))
    assert [view["name"] for view in dump["spec"]["views"]] == ["front", "grey", "top"], dump["spec"]
    start = 0
    for episode, end in zip(dump["episodes"], ends, strict=True):
        assert len(episode["steps"]) == end - start
        for row, step in enumerate(episode["steps"], start):
            for key, name in [("action", "action"), ("proprio", "state")]:
                assert np.array_equal(np.float32(step[key]), np.float32(arrays[name][row])), (path, name, row)
            front, grey, top = (np.uint8(view["rgb"]).reshape(view["shape"]) for view in step["views"])
            assert np.array_equal(front, colour[row]) and np.array_equal(top, colour[row]), (path, row)
            assert np.array_equal(grey, colour[row][..., :1].repeat(3, -1)), (path, row)
            depth = np.float32(step["views"][0]["depth"]).reshape(SIDES)
            assert np.array_equal(depth, np.float32(arrays["front_depth"][row])), (path, "depth", row)
        start = end
    return "archive" if zipped else "folder"


def judge_missing(folder: Path) -> None:
    """Zarr fills what is missing with zeros; engraft names the file."""
    path = folder / "missing.zarr"
    group = zarr.open_group(zarr.DirectoryStore(str(path)), mode="w")
    group.create_dataset("data/action", data=np.ones((8, 2), np.float32), chunks=(4, 2))
    group.create_dataset("meta/episode_ends", data=np.int64([4, 8]))
    (path / "data/action/1.0").unlink()
    assert not zarr.open(str(path), "r")["data/action"][4:].any(), "zarr has become careful"
    try:
        run("dump", path, "--fps", "10", stderr=subprocess.PIPE)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode()
        assert "action/1.0" in said and "copy the dataset again" in said, said
    else:
        raise AssertionError("a missing chunk was read as zeros")


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else time.time_ns() % 2**32
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        kinds = [judge(rng, Path(folder), number) for number in range(25)]
        judge_missing(Path(folder))
    counts = ", ".join(f"{kinds.count(kind)} {kind}s" for kind in sorted(set(kinds)))
    print(f"engraft reads what zarr {zarr.__version__} writes: {counts}")


if __name__ == "__main__":
    main()
