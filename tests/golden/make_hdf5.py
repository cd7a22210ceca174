#!/usr/bin/env python3
"""Writes the golden HDF5 files as robomimic, ALOHA and SpawnNet lay them out.

    pip install h5py==3.16.0 numpy==2.4.6 pillow==13.0.0
    python tests/golden/make_hdf5.py tests/golden/hdf5

Every number follows from its place, by the formulas below, which the tests in `datasets/src`
repeat. Pillow packs the JPEG pictures as OpenCV would: of an array it takes the first channel for
red, where OpenCV takes it for blue, so the channels are turned around before.
"""

import io
import json
import pickle
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

LENGTHS = {0: 4, 1: 3, 3: 5, 10: 2}  # of robomimic's demonstrations, by number
FILES = {0: 4, 2: 3, 10: 2}  # of ALOHA's and SpawnNet's, by number
SIZE = (8, 6)  # width and height


def picture(episode: int, step: int, view: int) -> np.ndarray:
    """Pixels of one view: [height, width, 3] of uint8."""
    width, height = SIZE
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((7 * x + 13 * y + 50 * c + 3 * step + 11 * episode + 29 * view) % 256).astype(np.uint8)


def flat(episode: int, step: int) -> np.ndarray:
    """A picture of one colour, which JPEG keeps."""
    width, height = SIZE
    return np.tile(np.uint8([200 - 9 * step, 60 + 10 * episode, 40]), (height, width, 1))


def depth(episode: int, step: int, view: int) -> np.ndarray:
    """Depth of one view: [height, width] in metres, which 16 bits hold exactly."""
    width, height = SIZE
    return ((np.arange(height * width) + 64 * step + 16 * episode + 8 * view) / 128).reshape(height, width)


def numbers(width: int, episode: int, step: int, scale: float) -> np.ndarray:
    return (episode * 100 + step) * scale + np.arange(width)


def rows(length: int, value) -> np.ndarray:
    return np.stack([value(step) for step in range(length)])


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., ::-1])).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def write_robomimic(path: Path, pictures: bool, pack: dict, libver: str = "earliest") -> None:
    with h5py.File(path, "w", libver=libver) as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(LENGTHS.values())
        environment = {
            "env_name": "Lift",
            "env_version": "1.4.1",
            "type": 1,
            "env_kwargs": {"control_freq": 20, "robots": ["Panda"]},
        }
        data.attrs["env_args"] = json.dumps(environment)
        for number in [10, 0, 3, 1]:
            length = LENGTHS[number]
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length + (number == 3)  # one of them lies
            put = lambda name, value, **how: demo.create_dataset(  # noqa: E731
                name, data=rows(length, value), **how
            )
            put("actions", lambda t: numbers(7, number, t, 0.0625))
            put("action_dict/abs_pos", lambda t: np.float32(numbers(3, number, t, 0.5)))
            put("rewards", lambda t: np.float64(t))
            put("dones", lambda t: np.int64(t == length - 1))
            put("states", lambda t: numbers(9, number, t, 2.0))
            for group in ["obs", "next_obs"]:
                put(f"{group}/robot0_eef_pos", lambda t: numbers(3, number, t, 0.125))
                put(f"{group}/robot0_eef_quat", lambda t: numbers(4, number, t, 0.25))
                put(f"{group}/robot0_gripper_qpos", lambda t: np.float32(numbers(2, number, t, 0.5)))
                put(f"{group}/object", lambda t: numbers(10, number, t, 1.0))
            if number != 10:
                put("obs/sometimes", lambda t: numbers(2, number, t, 1.0))
            if pictures:
                put("obs/agentview_image", lambda t: picture(number, t, 0), **pack)
                turned = lambda t: picture(number, t, 1).transpose(2, 0, 1)  # noqa: E731
                put("obs/robot0_eye_in_hand_image", turned, **pack)
                put("obs/agentview_depth", lambda t: np.float32(depth(number, t, 0))[..., None], **pack)
        masks = file.create_group("mask")
        masks["train"] = np.array([b"demo_3", b"demo_0"])
        masks.create_dataset("valid", data=["demo_10"], dtype=h5py.string_dtype())
        masks["wrong"] = np.array([b"demo_0", b"demo_7"])


def write_aloha(folder: Path, compress: bool) -> None:
    folder.mkdir()
    for number, length in FILES.items():
        with h5py.File(folder / f"episode_{number}.hdf5", "w", rdcc_nbytes=2 * 1024**2) as file:
            file.attrs["sim"] = not compress
            file.attrs["compress"] = compress
            put = lambda name, value, **how: file.create_dataset(  # noqa: E731
                name, data=rows(length, value), **how
            )
            put("observations/qpos", lambda t: numbers(14, number, t, 0.125))
            put("observations/qvel", lambda t: numbers(14, number, t, 0.25))
            put("observations/effort", lambda t: numbers(14, number, t, 0.5))
            put("action", lambda t: numbers(14, number, t, 0.0625))
            if not compress:
                for view, camera in enumerate(["cam_high", "cam_low"]):
                    name = f"observations/images/{camera}"
                    put(name, lambda t: picture(number, t, view), chunks=(1, SIZE[1], SIZE[0], 3))
                continue
            packed = [jpeg(flat(number, step)) for step in range(length)]
            lengths = [len(row) for row in packed]
            padded = np.zeros((length, max(lengths) + 5), np.uint8)
            for row, data in zip(padded, packed):
                row[: len(data)] = np.frombuffer(data, np.uint8)
            file.create_dataset("observations/images/cam_high", data=padded, chunks=(1, padded.shape[1]))
            file["compress_len"] = np.float32([lengths])


def write_spawnnet(folder: Path, pickled: bool = False) -> None:
    (folder / "none/bag").mkdir(parents=True)
    for number, length in FILES.items():
        with h5py.File(folder / f"none/bag/traj_{number}.h5", "w") as file:
            for trajectory in ["dict_str_traj_10", "dict_str_traj_9"]:
                group = file.create_group(trajectory)
                shift = 0 if trajectory.endswith("_9") else 100
                put = lambda name, value, **how: group.create_dataset(  # noqa: E731
                    name, data=rows(length, value) + shift, **how
                )
                views = lambda t: np.stack([picture(number, t, v).transpose(2, 0, 1) for v in [0, 1]])  # noqa: E731
                put("dict_str_obs/dict_str_rgb", views)
                metres = lambda t: np.stack([depth(number, t, v)[None] for v in [0, 1]])  # noqa: E731
                kind = np.float16 if number == 2 else np.float32
                group["dict_str_obs/dict_str_depth"] = rows(length, metres).astype(kind)
                put("dict_str_obs/dict_str_state", lambda t: np.float32(numbers(7, number, t, 0.125)))
                if pickled and number == 2:
                    group["dict_str_actions"] = np.void(pickle.dumps([1.0, 2.0]))
                else:
                    put("dict_str_actions", lambda t: np.float32(numbers(8, number, t, 0.0625)))
                group["dict_str_infos"] = np.void(pickle.dumps({"success": True}))


def main() -> None:
    root = Path(sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    write_robomimic(root / "image.hdf5", True, {"compression": "gzip", "chunks": True})
    write_robomimic(root / "latest.hdf5", True, {"compression": "lzf", "shuffle": True}, "latest")
    write_robomimic(root / "low_dim.hdf5", False, {})
    write_aloha(root / "aloha", False)
    write_aloha(root / "aloha_compressed", True)
    write_spawnnet(root / "spawnnet")
    write_spawnnet(root / "pickled", True)


if __name__ == "__main__":
    main()
