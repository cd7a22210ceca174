#!/usr/bin/env python3
"""Writes the golden datasets below tests/golden/rlds, as TFDS lays them out, without TensorFlow.

    pip install protobuf==7.36.2 google-crc32c==1.9.0 pillow==13.0.0 numpy==2.4.6
    python tests/golden/make_rlds.py tests/golden/rlds

`bridge` is described by features.json and has two splits; `plain` has records alone, and actions
in parts. Records are encoded by protobuf, checksums are Google's, pictures Pillow's. Every number
follows from its place, by the formulas below.
"""

import io
import json
import struct
import sys
from pathlib import Path

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image

WIDTH, HEIGHT = 10, 8
LENGTHS = [3, 5, 4, 2]  # two files of train, then val
TASKS = ["open the drawer", 'schließe die "Tür"']


def example_class():
    """The class of `tf.train.Example`, from its published definition."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    lists = [("BytesList", kinds.TYPE_BYTES), ("FloatList", kinds.TYPE_FLOAT), ("Int64List", kinds.TYPE_INT64)]
    for name, kind in lists:
        message = file.message_type.add(name=name)
        message.field.add(name="value", number=1, label=kinds.LABEL_REPEATED, type=kind)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, (name, _)) in enumerate(zip(["bytes_list", "float_list", "int64_list"], lists), 1):
        where = {"type": kinds.TYPE_MESSAGE, "type_name": f".tensorflow.{name}", "label": kinds.LABEL_OPTIONAL}
        feature.field.add(name=field, number=number, oneof_index=0, **where)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
    message = {"type": kinds.TYPE_MESSAGE, "label": kinds.LABEL_OPTIONAL}
    entry.field.add(name="value", number=2, type_name=".tensorflow.Feature", **message)
    entries = {"type": kinds.TYPE_MESSAGE, "type_name": ".tensorflow.Features.FeatureEntry"}
    features.field.add(name="feature", number=1, label=kinds.LABEL_REPEATED, **entries)
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, type_name=".tensorflow.Features", **message)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


EXAMPLE = example_class()


def encode(values: dict) -> bytes:
    """An example of lists of bytes, and of arrays, whose steps are their first axis."""
    example = EXAMPLE()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, list):
            feature.bytes_list.value.extend(value)
        elif value.dtype.kind == "f":
            feature.float_list.value.extend(value.ravel().tolist())
        else:
            feature.int64_list.value.extend(value.ravel().astype(int).tolist())
    return example.SerializeToString()


def masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def write_records(path: Path, records: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + masked_crc(length) + record + masked_crc(record))


def picture(episode: int, step: int, view: int) -> np.ndarray:
    """Pixels of a step: [height, width, 3] of uint8."""
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    return ((7 * x + 13 * y + 50 * c + 3 * step + 11 * episode + 29 * view) % 256).astype(np.uint8)


def millimetres(step: int) -> np.ndarray:
    return (400 + np.arange(HEIGHT * WIDTH) + 7 * step).astype(np.uint16).reshape(HEIGHT, WIDTH)


def numbers(episode: int, length: int, first: float, width: int) -> np.ndarray:
    """[length, width] of float32."""
    steps = episode * 100 + np.arange(length)[:, None]
    return np.float32(first + steps * 0.125 + np.arange(width))


def packed(pixels: np.ndarray, kind: str = "png", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def flags(length: int) -> dict:
    at = np.arange(length)
    return {"steps/is_first": at == 0, "steps/is_last": at == length - 1, "steps/is_terminal": at == length - 1}


def bridge(episode: int, length: int) -> bytes:
    steps = range(length)
    task = TASKS[episode % 2].encode()
    metres = [np.float32(millimetres(step)) / np.float32(1000) for step in steps]
    return encode({
        **flags(length),
        "episode_metadata/file_path": [f"/raw/{episode}.npy".encode()],
        "steps/action": numbers(episode, length, 1, 7),
        "steps/observation/state": numbers(episode, length, -2, 3),
        "steps/observation/image_0": [packed(picture(episode, step, 0)) for step in steps],
        "steps/observation/wrist_image": [packed(picture(episode, step, 1), "jpeg", quality=95) for step in steps],
        "steps/observation/wrist_depth": [packed(millimetres(step)) for step in steps],
        "steps/observation/float_depth": [packed(depth[..., None].view(np.uint8)) for depth in metres],
        "steps/language_instruction": [task] * length,
        "steps/language_embedding": np.zeros((length, 4), np.float32),
        "steps/reward": np.float32(np.arange(length) == length - 1),
    })


def plain(episode: int, length: int) -> bytes:
    steps = range(length)
    return encode({
        "steps/action/world_vector": numbers(episode, length, 0, 3),
        "steps/action/rotation_delta": numbers(episode, length, 3, 3),
        "steps/action/open_gripper": np.arange(length) % 2 == 0,
        "steps/action/terminate_episode": np.arange(length) == length - 1,
        "steps/observation/joint_position": numbers(episode, length, -1, 2),
        "steps/observation/gripper_position": -np.arange(length),
        "steps/observation/image": [packed(picture(episode, step, 0)) for step in steps],
        "steps/observation/natural_language_instruction": [TASKS[episode % 2].encode()] * length,
        **flags(length),
    })


def tensor(shape: list, dtype: str) -> dict:
    dimensions = {"dimensions": [str(side) for side in shape]} if shape else {}
    return {"tensor": {"shape": dimensions, "dtype": dtype, "encoding": "none"}}


def image(shape: list, dtype: str, encoding: str) -> dict:
    return {"image": {"shape": {"dimensions": [str(side) for side in shape]}, "dtype": dtype, "encodingFormat": encoding}}


def describe(root: Path, steps: dict, splits: list) -> None:
    """features.json and dataset_info.json; `splits` are names and lengths of files."""

    def dictionary(all: dict) -> dict:
        kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
        return {"pythonClassName": kind, "featuresDict": {"features": all}}

    def nested(all: dict) -> dict:
        return {k: dictionary(nested(v[""])) if "" in v else v for k, v in all.items()}

    sequence = {"sequence": {"feature": dictionary(nested(steps)), "length": "-1"}}
    metadata = dictionary({"file_path": {"text": {}}})
    features = dictionary({"steps": sequence, "episode_metadata": metadata})
    (root / "features.json").write_text(json.dumps(features, indent=1) + "\n")
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    splits = [
        {"name": name, "filepathTemplate": template, "shardLengths": [str(n) for n in lengths]}
        for name, lengths in splits
    ]
    info = {"name": root.parent.name, "version": root.name, "fileFormat": "tfrecord", "splits": splits}
    (root / "dataset_info.json").write_text(json.dumps(info, indent=1) + "\n")


def write_bridge(root: Path) -> None:
    episodes = [bridge(episode, length) for episode, length in enumerate(LENGTHS)]
    write_records(root / "bridge-train.tfrecord-00000-of-00002", episodes[:2])
    write_records(root / "bridge-train.tfrecord-00001-of-00002", episodes[2:3])
    write_records(root / "bridge-val.tfrecord-00000-of-00001", episodes[3:])
    observation = {
        "state": tensor([3], "float32"),
        "image_0": image([HEIGHT, WIDTH, 3], "uint8", "png"),
        "wrist_image": image([-1, -1, 3], "uint8", "jpeg"),
        "wrist_depth": image([HEIGHT, WIDTH, 1], "uint16", "png"),
        "float_depth": image([HEIGHT, WIDTH, 1], "float32", "png"),
    }
    steps = {
        "observation": {"": observation},
        "action": tensor([7], "float32"),
        "language_instruction": {"text": {}},
        "language_embedding": tensor([4], "float32"),
        "reward": tensor([], "float32"),
        **{name.split("/")[1]: tensor([], "bool") for name in flags(1)},
    }
    describe(root, steps, [("train", [2, 1]), ("val", [1])])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_bridge(folder / "bridge" / "1.0.0")
    write_records(folder / "plain" / "plain-train.tfrecord-00000-of-00002", [plain(0, 3), plain(1, 2)])
