"""The dataset that MetaWorld's demonstrations are written to."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from engraft_client.metaworld.errors import MetaworldError

pytest.importorskip("PIL", reason="pictures need Pillow: pip install pillow")
pq = pytest.importorskip("pyarrow.parquet", reason="tables need pyarrow: pip install pyarrow")

from PIL import Image  # noqa: E402

from engraft_client.metaworld.dataset import (  # noqa: E402
    DatasetWriter,
    Episode,
    Robot,
    count_colours,
    encode_png,
)

ROBOT = Robot("arm", 80, ("front", "wrist"), 8, (("hand_x", "m"),), (("dx", "1"), ("dy", "1")), 1.0)


def pictures(num_steps: int, view: int) -> list[np.ndarray]:
    """Pictures that all differ."""
    return [np.full((8, 8, 3), 10 * step + view, np.uint8) for step in range(num_steps)]


def episode(num_steps: int) -> Episode:
    """Numbers that follow from their place."""
    seen = {view: pictures(num_steps, at) for at, view in enumerate(ROBOT.views)}
    return Episode(
        proprio=np.arange(num_steps, dtype=np.float32)[:, None],
        actions=np.linspace(-1, 1, 2 * num_steps, dtype=np.float32).reshape(num_steps, 2),
        pngs={view: [encode_png(picture) for picture in all_of] for view, all_of in seen.items()},
        colours={view: count_colours(all_of) for view, all_of in seen.items()},
    )


def test_what_is_written_is_a_dataset_after_each_episode(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "data", ROBOT, "open the drawer")
    for number, num_steps in enumerate([5, 3]):
        writer.add_episode(episode(num_steps))
        info = json.loads((tmp_path / "data/meta/info.json").read_text())
        assert info["total_episodes"] == number + 1
    assert info["total_frames"] == 8 and info["fps"] == 80 and info["splits"] == {"train": "0:2"}
    rows = pq.read_table(tmp_path / "data/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [
        (0, 5),
        (5, 8),
    ]
    second = pq.read_table(tmp_path / "data/data/chunk-000/file-001.parquet").to_pydict()
    assert second["index"] == [5, 6, 7] and second["episode_index"] == [1, 1, 1]
    assert second["observation.state"] == [[0.0], [1.0], [2.0]]
    assert second["timestamp"] == pytest.approx([0, 1 / 80, 2 / 80])
    picture = Image.open(io.BytesIO(second["observation.images.wrist"][2]["bytes"]))
    np.testing.assert_array_equal(np.asarray(picture), pictures(3, 1)[2])
    stats = json.loads((tmp_path / "data/meta/stats.json").read_text())
    assert stats["action"]["min"] == [-1.0, pytest.approx(-7 / 9)]
    assert not list((tmp_path / "data").rglob("*.part"))


def test_the_task_is_the_index_of_its_table(tmp_path: Path) -> None:
    DatasetWriter(tmp_path, ROBOT, "open the drawer")
    table = pq.read_table(tmp_path / "meta/tasks.parquet")
    assert table.to_pylist() == [{"task_index": 0, "task": "open the drawer"}]
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MetaworldError, match="expected a new or empty folder"):
        DatasetWriter(tmp_path, ROBOT, "open the drawer")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
