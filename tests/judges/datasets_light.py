#!/usr/bin/env python3
"""Judges LeRobot datasets with numpy and pyarrow alone, in both directions.

    python tests/judges/datasets_light.py

What engraft writes is taken apart file by file and held against formulas; what pyarrow writes in
layouts that engraft never writes (one row group for two episodes, lists of doubles, pictures with
their channels first) is read by engraft and held against the same formulas.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import make_lerobot as sample  # noqa: E402


def run(example: str, *arguments) -> str:
    """Runs an example of engraft-datasets; EXAMPLES names a folder that holds them built."""
    command = ["cargo", "run", "--quiet", "--locked", "-p", "engraft-datasets", "--example", example, "--"]
    command = [str(Path(os.environ["EXAMPLES"]) / example)] if "EXAMPLES" in os.environ else command
    result = subprocess.run([*command, *map(str, arguments)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return result.stdout.decode()


def decode_png(data: bytes) -> np.ndarray:
    """Pixels of a PNG of 8-bit RGB or 16-bit grey: [height, width, channels]."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "not a PNG"
    at, packed, header = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert checksum == zlib.crc32(kind + body), f"checksum of {kind}"
        header = struct.unpack(">IIBBBBB", body) if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    width, height, bits, color, *rest = header
    assert (bits, color) in [(8, 2), (16, 0)] and not any(rest), header
    step = 3 if color == 2 else 2
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * step).astype(int)
    rows = np.zeros((height + 1, (width + 1) * step), int)  # a border of zeros above and left
    for y, (kind, *line) in enumerate(lines, 1):
        for x, value in enumerate(line, step):
            left, up, corner = rows[y, x - step], rows[y - 1, x], rows[y - 1, x - step]
            guess = left + up - corner
            paeth = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            rows[y, x] = (value + [0, left, up, (left + up) // 2, paeth][kind]) % 256
    pixels = rows[1:, step:].astype(np.uint8)
    if color == 0:
        return pixels.view(">u2").reshape(height, width, 1)
    return pixels.reshape(height, width, 3)


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of 8-bit RGB without filters."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines.tobytes()))
        + chunk(b"IEND", b"")
    )


def same(found, expected, what: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    assert np.array_equal(found, expected), f"{what} differs: {found} for {expected}"


def judge_rows(table: pa.Table, episode: int, length: int, start: int, has_depth: bool) -> None:
    """Every value of one episode's rows."""
    steps = range(length)
    column = lambda name: table.column(name).to_pylist()  # noqa: E731
    proprio = [sample.proprio(episode, step) for step in steps]
    same(np.float32(column("observation.state")), proprio, "proprio")
    same(np.float32(column("action")), [sample.action(episode, step) for step in steps], "action")
    for view, (name, _, _) in enumerate(sample.VIEWS):
        for step, cell in enumerate(column(f"observation.images.{name}")):
            same(decode_png(cell["bytes"]), sample.picture(episode, step, view), f"{name} {episode}/{step}")
    if has_depth:
        for step, cell in enumerate(column("observation.depth.front")):
            same(decode_png(cell["bytes"])[..., 0], np.round(sample.depth(step) * 1000), f"depth {step}")
    same(np.float32(column("timestamp")), np.float32(np.arange(length) / sample.FPS), "timestamp")
    same(column("frame_index"), np.arange(length), "frame_index")
    same(column("episode_index"), np.full(length, episode), "episode_index")
    same(column("index"), np.arange(start, start + length), "index")
    same(column("task_index"), np.full(length, episode % 2), "task_index")


def pixel_stats(pixels: np.ndarray) -> dict:
    axes = (0, 1, 2)
    parts = {"min": pixels.min(axes), "max": pixels.max(axes), "mean": pixels.mean(axes), "std": pixels.std(axes)}
    return {name: (values / 255).reshape(3, 1, 1) for name, values in parts.items()}


def judge_stats(stats: dict, episodes: list) -> None:
    """Statistics over `episodes`, but for merged quantiles, which are an envelope."""
    lengths = [sample.LENGTHS[episode] for episode in episodes]
    steps = [(episode, step) for episode, length in zip(episodes, lengths) for step in range(length)]
    for name, values in [
        ("observation.state", np.float64([sample.proprio(*at) for at in steps])),
        ("action", np.float64([sample.action(*at) for at in steps])),
    ]:
        found = stats[name]
        expected = {part: getattr(values, part)(0) for part in ["min", "max", "mean", "std"]}
        if len(episodes) == 1:
            quantiles = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
            expected |= {part: np.quantile(values, q, 0) for part, q in quantiles.items() if part in found}
        for part, value in expected.items():
            assert np.allclose(found[part], value, rtol=1e-9, atol=1e-12), f"{name}/{part}: {found[part]} for {value}"
        assert found["count"] == [len(steps)], f"{name}/count"
    for view, (name, _, _) in enumerate(sample.VIEWS):
        pixels = np.float64([sample.picture(*at, view) for at in steps])
        for part, value in pixel_stats(pixels).items():
            found = np.asarray(stats[f"observation.images.{name}"][part])
            assert found.shape == (3, 1, 1) and np.allclose(found, value), f"{name}/{part}"
        assert stats[f"observation.images.{name}"]["count"] == [len(steps)]


def judge_written(root: Path, version: str, has_depth: bool) -> None:
    run("make_sample", root, version, *(["depth"] if has_depth else []))
    assert not list(root.rglob("*.tmp")), "a file was left behind"
    info = json.loads((root / "meta/info.json").read_text())
    total = sum(sample.LENGTHS)
    expected = {
        "codebase_version": version,
        "robot_type": "sample_arm",
        "total_episodes": 3,
        "total_frames": total,
        "total_tasks": 2,
        "chunks_size": 1000,
        "fps": sample.FPS,
        "splits": {"train": "0:3"},
        "video_path": None,
    }
    assert {key: info[key] for key in expected} == expected, info
    features = json.loads(json.dumps(sample.features()))
    assert {key: info["features"][key] for key in features} == features
    robot = json.loads((root / "meta/engraft.json").read_text())["robot"]
    assert [dimension["unit"] for dimension in robot["actions"]] == ["rad", "rad"]

    start = 0
    for episode, length in enumerate(sample.LENGTHS):
        v3 = f"data/chunk-000/file-{episode:03d}.parquet"
        path = root / (v3 if version == "v3.0" else f"data/chunk-000/episode_{episode:06d}.parquet")
        file = pq.ParquetFile(path)
        assert file.num_row_groups == 1
        table = file.read()
        assert table.column_names == list(info["features"])
        hugging_face = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert list(hugging_face) == table.column_names
        assert hugging_face["observation.images.front"] == {"_type": "Image"}
        assert table.schema.field("action").type == pa.list_(pa.field("element", pa.float32()), 2)
        judge_rows(table, episode, length, start, has_depth)
        start += length

    tasks = sample.TASKS
    if version == "v3.0":
        table = pq.read_table(root / "meta/tasks.parquet")
        assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]
        assert table.to_pydict() == {"task_index": [0, 1], "task": tasks}
        rows = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
        for episode, row in enumerate(rows):
            assert (row["episode_index"], row["length"]) == (episode, sample.LENGTHS[episode])
            assert row["tasks"] == [tasks[episode % 2]]
            assert row["dataset_to_index"] - row["dataset_from_index"] == row["length"]
            assert (row["data/chunk_index"], row["data/file_index"]) == (0, episode)
            nested = {}
            for key, value in row.items():
                if key.startswith("stats/"):
                    _, name, part = key.split("/")
                    nested.setdefault(name, {})[part] = value
            assert list(nested) == list(info["features"])
            judge_stats(nested, [episode])
        judge_stats(json.loads((root / "meta/stats.json").read_text()), [0, 1, 2])
    else:
        lines = lambda name: [json.loads(line) for line in (root / f"meta/{name}.jsonl").open()]  # noqa: E731
        assert lines("tasks") == [{"task_index": at, "task": task} for at, task in enumerate(tasks)]
        expected = [
            {"episode_index": at, "tasks": [tasks[at % 2]], "length": n} for at, n in enumerate(sample.LENGTHS)
        ]
        assert lines("episodes") == expected
        for episode, line in enumerate(lines("episodes_stats")):
            assert line["episode_index"] == episode
            judge_stats(line["stats"], [episode])
    judge_dump(json.loads(run("dump", root)), sample.LENGTHS)
    print(f"{version}{' with depth' if has_depth else ''}: pyarrow reads what engraft writes")


def judge_dump(dump: dict, lengths: list) -> None:
    """What engraft reads, against the formulas."""
    assert [len(episode["steps"]) for episode in dump["episodes"]] == lengths
    assert [view["name"] for view in dump["spec"]["views"]] == [name for name, _, _ in sample.VIEWS]
    for at, episode in enumerate(dump["episodes"]):
        assert episode["task"] == sample.TASKS[at % 2]
        for step, values in enumerate(episode["steps"]):
            same(np.float32(values["proprio"]), sample.proprio(at, step), "proprio")
            same(np.float32(values["action"]), sample.action(at, step), "action")
            for view, found in enumerate(values["views"]):
                pixels = np.uint8(found["rgb"]).reshape(found["shape"])
                same(pixels, sample.picture(at, step, view), f"view {view}")
                if found["depth"] is not None:
                    depth = np.float32(found["depth"]).reshape(found["shape"][:2])
                    assert np.abs(depth - sample.depth(step)).max() < 1e-6, "depth"


def judge_times(root: Path, version: str) -> None:
    """The true times of a recording beside the nominal ones, in every file that tells of them."""
    run("make_sample", root, version, "times")
    features = json.loads((root / "meta/info.json").read_text())["features"]
    assert features["capture_time"] == {"dtype": "float64", "shape": [1], "names": None}
    assert features["dropped_frames"] == {"dtype": "int64", "shape": [1], "names": None}
    for path, length in zip(sorted(root.glob("data/*/*.parquet")), sample.LENGTHS):
        table = pq.read_table(path)
        assert table.column_names == list(features)
        hugging_face = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert hugging_face["capture_time"] == {"dtype": "float64", "_type": "Value"}
        assert table.schema.field("capture_time").type == pa.float64()
        steps = np.arange(length)
        same(np.float32(table.column("timestamp").to_pylist()), np.float32(steps / sample.FPS), "timestamp")
        late = steps / sample.FPS + np.where(steps < 2, 0, 0.5)
        assert np.allclose(table.column("capture_time").to_pylist(), late, atol=1e-9), "capture_time"
        same(table.column("dropped_frames").to_pylist(), np.where(steps == 2, 5, 0), "dropped_frames")
    judge_dump(json.loads(run("dump", root)), sample.LENGTHS)
    print(f"{version}: true times stand beside nominal ones")


def judge_killed(root: Path, version: str, *times: str) -> None:
    """Kills recordings at any moment; every finished episode stays, and the next one goes on."""
    run("make_sample", root, version, *times)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = [str(Path(os.environ.get("EXAMPLES", target / "debug/examples")) / "make_sample"), str(root), "append", *times]
    start = time.monotonic()
    subprocess.run(command, check=True)
    usual = time.monotonic() - start
    lengths, killed = [*sample.LENGTHS, 4], 0
    for attempt in range(40):
        with subprocess.Popen(command) as process:
            try:
                killed += process.wait(timeout=usual * (attempt + 1) / 30) != 0
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
        dump = json.loads(run("dump", root))
        grown = len(dump["episodes"]) - len(lengths)
        assert grown in [0, 1], f"{grown} episodes from one recording"
        lengths += [4] * grown
        judge_dump(dump, lengths)
    run("make_sample", root, "append", *times)
    dump = json.loads(run("dump", root))
    judge_dump(dump, [*lengths, 4])
    assert not dump["info"]["warnings"], dump["info"]["warnings"]
    assert killed > 0, "no recording was killed"
    print(f"{version}: {killed} recordings killed, {len(lengths) - 4} episodes finished, none lost")


def write_foreign(root: Path) -> None:
    """The sample as converters lay it out: two files, rows that know no row groups, old lists."""
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [(episode, step) for episode, length in enumerate(sample.LENGTHS) for step in range(length)]
    columns = {
        "index": pa.array(range(len(rows))),
        "episode_index": pa.array([episode for episode, _ in rows]),
        "frame_index": pa.array([step for _, step in rows]),
        "task_index": pa.array([episode % 2 for episode, _ in rows]),
        "timestamp": pa.array([step / sample.FPS for _, step in rows], pa.float64()),
        "observation.state": pa.array([sample.proprio(*at) for at in rows], pa.list_(pa.float64())),
        "action": pa.array([sample.action(*at) for at in rows], pa.large_list(pa.float32())),
        "next.reward": pa.array([0.0 for _ in rows]),
    }
    for view, (name, _, _) in enumerate(sample.VIEWS):
        cells = [{"bytes": encode_png(sample.picture(*at, view)), "path": None} for at in rows]
        columns[f"observation.images.{name}"] = pa.array(cells, picture)
    table = pa.table(columns)
    split = sum(sample.LENGTHS[:2])
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(table[:split], root / "data/chunk-000/file-000.parquet", row_group_size=4)
    pq.write_table(table[split:], root / "data/chunk-000/file-001.parquet", compression="zstd")
    episodes = {
        "episode_index": range(3),
        "tasks": [[sample.TASKS[at % 2]] for at in range(3)],
        "dataset_from_index": np.cumsum([0, *sample.LENGTHS[:2]]),
        "dataset_to_index": np.cumsum(sample.LENGTHS),
        "data/chunk_index": [0, 0, 0],
        "data/file_index": [0, 0, 1],
    }
    pq.write_table(pa.table(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": sample.TASKS})
    pq.write_table(tasks, root / "meta/tasks.parquet")
    features = json.loads(json.dumps(sample.features()))
    for name, width, height in sample.VIEWS:
        axes = {"shape": [3, height, width], "names": ["channel", "height", "width"]}
        features[f"observation.images.{name}"] |= axes
    features["action"]["names"] = {"motors": sample.ACTIONS}
    features["next.reward"] = {"dtype": "float64", "shape": [1], "names": None}
    info = {
        "codebase_version": "v3.0",
        "robot_type": None,
        "fps": sample.FPS,
        "total_episodes": 700,
        "total_frames": 1,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": features,
        "unknown": {"key": []},
    }
    (root / "meta/info.json").write_text(json.dumps(info))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        judge_written(folder / "v30", "v3.0", False)
        judge_written(folder / "depth", "v3.0", True)
        judge_written(folder / "v21", "v2.1", False)
        judge_killed(folder / "killed_v30", "v3.0")
        judge_killed(folder / "killed_v21", "v2.1")
        judge_times(folder / "times_v30", "v3.0")
        judge_times(folder / "times_v21", "v2.1")
        judge_killed(folder / "killed_times", "v3.0", "times")
        write_foreign(folder / "foreign")
        dump = json.loads(run("dump", folder / "foreign"))
        judge_dump(dump, sample.LENGTHS)
        warnings = "\n".join(dump["info"]["warnings"])
        assert "total_episodes = 700, the data has 3" in warnings, warnings
        assert "total_frames = 1, the data has 16" in warnings, warnings
        print("engraft reads what pyarrow writes")


if __name__ == "__main__":
    main()
