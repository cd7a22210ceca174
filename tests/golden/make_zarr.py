#!/usr/bin/env python3
"""Writes the golden replay buffers below tests/golden/zarr with zarr itself.

    pip install zarr==2.18.7 numcodecs==0.15.2 numpy==2.4.6 imagecodecs==2026.3.6
    python tests/golden/make_zarr.py tests/golden/zarr

`pusht.zarr` is laid out as the PushT data of diffusion_policy: pictures as float32 from 0 to 255.
`codecs.zarr.zip` holds the same numbers under each compressor, and pictures as JPEG 2000 and
JPEG XL. Every number follows from its place, by the formulas below.
"""

import sys
import zipfile
from pathlib import Path

import numcodecs
import numpy as np
import zarr

ENDS = [5, 12, 20]
WIDTH, HEIGHT = 10, 8
ROWS, COLUMNS = 700, 3


def picture(row: int) -> np.ndarray:
    """Pixels of a step: [height, width, 3] of uint8."""
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    return ((7 * x + 13 * y + 50 * c + 3 * row) % 256).astype(np.uint8)


def numbers(first: int, width: int) -> np.ndarray:
    """[20, width] of float32."""
    return np.float32(first + np.arange(ENDS[-1])[:, None] * 0.125 + np.arange(width))


def table(dtype: str) -> np.ndarray:
    """[ROWS, COLUMNS] of small whole numbers, below zero where the type allows."""
    row, column = np.arange(ROWS)[:, None], np.arange(COLUMNS)
    values = (row * row * 7 + row // 9 + 13 * column) % 101
    if dtype[1] == "b":
        return values % 2 == 1
    return (values - (0 if dtype[1] == "u" else 50)).astype(dtype)


def write_pusht(root: Path) -> None:
    group = zarr.open_group(zarr.DirectoryStore(str(root)), mode="w")
    data, meta = group.create_group("data"), group.create_group("meta")
    lz4 = numcodecs.Blosc("lz4", 5, numcodecs.Blosc.NOSHUFFLE)
    img = np.float32([picture(row) for row in range(ENDS[-1])])
    data.create_dataset("img", data=img, chunks=(6, HEIGHT, WIDTH, 3), compressor=lz4)
    data.create_dataset("state", data=numbers(-2, 5), chunks=(16, 5), compressor=lz4)
    data.create_dataset("action", data=numbers(1, 2), chunks=(16, 2), compressor=lz4)
    keypoint = numbers(0, 18).reshape(-1, 9, 2)
    data.create_dataset("keypoint", data=keypoint, chunks=(7, 4, 2), compressor=lz4)
    meta.create_dataset("episode_ends", data=np.int64(ENDS), compressor=None)


def compressors() -> dict:
    found = {
        "plain": None,
        "zstd": numcodecs.Zstd(3),
        "zlib": numcodecs.Zlib(4),
        "gzip": numcodecs.GZip(4),
        "lz4": numcodecs.LZ4(),
    }
    for cname in ["blosclz", "lz4", "lz4hc", "zlib", "zstd"]:
        for shuffle, name in enumerate(["whole", "bytes", "bits"]):
            found[f"blosc_{cname}_{name}"] = numcodecs.Blosc(cname, 5, shuffle)
    found["blosc_blocks"] = numcodecs.Blosc("lz4", 9, numcodecs.Blosc.SHUFFLE, blocksize=1024)
    found["blosc_split"] = numcodecs.Blosc("blosclz", 9, numcodecs.Blosc.SHUFFLE, blocksize=1024)
    found["blosc_stored"] = numcodecs.Blosc("zstd", 0)
    return found


def write_codecs(path: Path) -> None:
    from imagecodecs.numcodecs import Jpeg2k, Jpegxl, register_codecs

    register_codecs(verbose=False)
    path.unlink(missing_ok=True)
    with zarr.ZipStore(str(path), compression=zipfile.ZIP_DEFLATED, mode="w") as store:
        group = zarr.open_group(store, mode="w")
        data, meta = group.create_group("data"), group.create_group("meta")
        meta.create_dataset("episode_ends", data=np.int64(ENDS), compressor=None)
        for name, compressor in compressors().items():
            data.create_dataset(name, data=table("<f4"), chunks=(500, 3), compressor=compressor)
        for dtype in ["|b1", "|u1", "<u2", "<u4", "<u8", "|i1", ">i2", "<i4", ">i8", "<f2", ">f4", "<f8"]:
            zlib = numcodecs.Zlib(9)
            data.create_dataset(f"dtype_{dtype[1:]}", data=table(dtype), chunks=(500, 2), compressor=zlib)
        pictures = np.array([picture(row) for row in range(ENDS[-1])])
        each = {"chunks": (1, HEIGHT, WIDTH, 3)}
        jpeg2k = Jpeg2k(level=0, reversible=True)
        data.create_dataset("jpeg2k_image", data=pictures, compressor=jpeg2k, **each)
        jpegxl = Jpegxl(lossless=True)
        data.create_dataset("jpegxl_image", data=pictures, compressor=jpegxl, **each)
        parts = {"chunks": (3, 5, 4, 2), "compressor": numcodecs.Zstd(9)}
        data.create_dataset("parts_image", data=pictures, **parts)
        first = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        data.create_dataset("first_image", data=first, chunks=(7, 3, HEIGHT, WIDTH), compressor=numcodecs.Zstd(9))
        depth = np.float32(pictures[..., 0]) * np.float32(0.01)
        data.create_dataset("jpeg2k_depth", data=depth, chunks=(4, HEIGHT, WIDTH), compressor=numcodecs.Zstd(9))
        data.create_dataset("action", data=numbers(1, 2), chunks=(16, 2), dimension_separator="/")
        data.create_dataset("robot_eef_pose", data=numbers(-2, 6), chunks=(16, 4))
        data.create_dataset("robot_joint_vel", data=numbers(-2, 6), chunks=(16, 4))
        data.create_dataset("timestamp", data=1e9 + np.arange(ENDS[-1]) / 20, chunks=(16,))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_pusht(folder / "pusht.zarr")
    write_codecs(folder / "codecs.zarr.zip")
