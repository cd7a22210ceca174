"""Writes a LeRobot v3.0 dataset, one whole episode at a time.

Pictures are PNG inside parquet, so nothing is lost. An episode is on disk when `add_episode`
returns: first its data, then the metadata that names it, each file replaced in one go. Whoever is
stopped in between loses that episode only.
"""

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from engraft_client.metaworld.errors import MetaworldError
from engraft_client.metaworld.statistics import FeatureStats

FILES_PER_CHUNK = 1000
STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
INDICES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Robot:
    """What is recorded: the robot's name and rate, and names and units of its numbers."""

    name: str
    fps: int
    views: Sequence[str]
    size: int
    proprio: Sequence[tuple[str, str]]
    actions: Sequence[tuple[str, str]]
    action_bound: float

    def features(self) -> dict[str, dict[str, Any]]:
        """The columns, as `info.json` describes them."""

        def vector(dimensions: Sequence[tuple[str, str]]) -> dict[str, Any]:
            names = [name for name, _ in dimensions]
            return {"dtype": "float32", "shape": [len(names)], "names": names}

        picture = {
            "dtype": "image",
            "shape": [self.size, self.size, 3],
            "names": ["height", "width", "channels"],
        }
        indices = {
            name: {"dtype": kind, "shape": [1], "names": None} for name, kind in INDICES.items()
        }
        views = {IMAGES + view: picture for view in self.views}
        return {STATE: vector(self.proprio), ACTION: vector(self.actions), **views, **indices}

    def described(self) -> dict[str, Any]:
        """What LeRobot has no place for, units and bounds, as `meta/engraft.json` has it."""
        bounds = {"min": -self.action_bound, "max": self.action_bound}
        return {
            "name": self.name,
            "control_hz": float(self.fps),
            "views": [
                {"name": view, "width": self.size, "height": self.size, "depth": False}
                for view in self.views
            ],
            "proprio": [{"name": name, "unit": unit} for name, unit in self.proprio],
            "actions": [{"name": name, "unit": unit, **bounds} for name, unit in self.actions],
        }


@dataclass(frozen=True)
class Episode:
    """One demonstration: float32 `[steps, dim]` twice, and for each view a PNG for each step."""

    proprio: np.ndarray
    actions: np.ndarray
    pngs: Mapping[str, Sequence[bytes]]
    colours: Mapping[str, np.ndarray]
    """For each view how often each value occurs: int64 `[3, 256]`."""


class DatasetWriter:
    """Writes a dataset of one task into a folder that is new or empty."""

    def __init__(self, root: Path, robot: Robot, task: str) -> None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise MetaworldError(
                f'expected a new or empty folder, found "{root}" in use: choose another --out'
            )
        self.root, self.robot, self.task = root, robot, task
        self.num_steps = 0
        self._rows: list[dict[str, Any]] = []
        self._stats: dict[str, FeatureStats] = {}
        try:
            self._write_json("meta/engraft.json", {"format": 1, "robot": robot.described()})
            self._write_table("meta/tasks.parquet", *task_table(task))
        except OSError as error:
            raise MetaworldError(f'cannot write "{root}": {error.strerror}') from error

    @property
    def num_episodes(self) -> int:
        """Episodes that are on disk."""
        return len(self._rows)

    def add_episode(self, episode: Episode) -> None:
        """Writes an episode; when this returns, it is safe."""
        number, num_steps = self.num_episodes, len(episode.actions)
        chunk, file = divmod(number, FILES_PER_CHUNK)
        columns = self._columns(episode)
        self._write_table(
            f"data/chunk-{chunk:03d}/file-{file:03d}.parquet",
            pa.table(columns),
            ("huggingface", hugging_face(self.robot.features())),
        )
        stats = self._episode_stats(episode, columns)
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [self.task],
            "length": num_steps,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self.num_steps,
            "dataset_to_index": self.num_steps + num_steps,
        }
        for feature, values in stats.items():
            row |= {f"stats/{feature}/{name}": value for name, value in values.to_plain().items()}
            self._stats[feature] = values.merged(self._stats.get(feature))
        self._rows.append({**row, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self.num_steps += num_steps
        self._write_table(
            "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(self._rows), None
        )
        self._write_json(
            "meta/stats.json", {key: stats.to_plain() for key, stats in self._stats.items()}
        )
        self._write_info()

    def _columns(self, episode: Episode) -> dict[str, pa.Array]:
        num_steps = len(episode.actions)
        steps = np.arange(num_steps, dtype=np.int64)

        def vectors(values: np.ndarray) -> pa.Array:
            flat = pa.array(values.astype(np.float32).reshape(-1))
            return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

        pictures = {
            IMAGES + view: pa.array(
                [{"bytes": png, "path": None} for png in episode.pngs[view]], PICTURE
            )
            for view in self.robot.views
        }
        return {
            STATE: vectors(episode.proprio),
            ACTION: vectors(episode.actions),
            **pictures,
            "timestamp": pa.array((steps / self.robot.fps).astype(np.float32)),
            "frame_index": pa.array(steps),
            "episode_index": pa.array(np.full(num_steps, self.num_episodes, np.int64)),
            "index": pa.array(self.num_steps + steps),
            "task_index": pa.array(np.zeros(num_steps, np.int64)),
        }

    def _episode_stats(
        self, episode: Episode, columns: Mapping[str, pa.Array]
    ) -> dict[str, FeatureStats]:
        num_steps = len(episode.actions)
        vectors = {STATE: episode.proprio, ACTION: episode.actions}
        stats = {name: FeatureStats.of_vectors(values) for name, values in vectors.items()}
        for view in self.robot.views:
            stats[IMAGES + view] = FeatureStats.of_colours(episode.colours[view], num_steps)
        for name in INDICES:
            values = columns[name].to_numpy(zero_copy_only=False)
            stats[name] = FeatureStats.of_vectors(values[:, None])
        return stats

    def _write_info(self) -> None:
        info = {
            "codebase_version": "v3.0",
            "robot_type": self.robot.name,
            "total_episodes": self.num_episodes,
            "total_frames": self.num_steps,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.robot.fps,
            "splits": {"train": f"0:{self.num_episodes}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": None,
            "features": self.robot.features(),
        }
        self._write_json("meta/info.json", info)

    def _write_json(self, name: str, value: Any) -> None:
        self._replace(name, (json.dumps(value, indent=4) + "\n").encode())

    def _write_table(self, name: str, table: pa.Table, note: tuple[str, Any] | None) -> None:
        if note is not None:
            table = table.replace_schema_metadata({note[0]: json.dumps(note[1])})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="snappy")
        self._replace(name, buffer.getvalue())

    def _replace(self, name: str, content: bytes) -> None:
        """Writes a file whole: whoever is stopped on the way leaves the old one."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".part")
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


def encode_png(pixels: np.ndarray) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def count_colours(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """How often each value occurs in each channel: int64 `[3, 256]`."""
    counts = np.zeros((3, 256), np.int64)
    for picture in pictures:
        for channel in range(3):
            counts[channel] += np.bincount(picture[..., channel].reshape(-1), minlength=256)
    return counts


def task_table(task: str) -> tuple[pa.Table, tuple[str, Any]]:
    """The table of tasks, and the note by which pandas makes the task its index."""

    def column(name: str, kind: str, numpy_type: str) -> dict[str, Any]:
        return {
            "name": name,
            "field_name": name,
            "pandas_type": kind,
            "numpy_type": numpy_type,
            "metadata": None,
        }

    note = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "engraft-client"},
        "pandas_version": "2.0.0",
    }
    return pa.table({"task_index": pa.array([0], pa.int64()), "task": [task]}), ("pandas", note)


def hugging_face(features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The columns, as the `datasets` package describes them."""

    def described(feature: Mapping[str, Any]) -> dict[str, Any]:
        if feature["dtype"] == "image":
            return {"_type": "Image"}
        value = {"dtype": feature["dtype"], "_type": "Value"}
        if feature["names"] is None:
            return value
        return {"feature": value, "length": feature["shape"][0], "_type": "Sequence"}

    return {"info": {"features": {name: described(feature) for name, feature in features.items()}}}
