"""MetaWorld itself: scenes, the expert, and a recording through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("MUJOCO_GL", "egl")  # before MuJoCo is imported, which looks there once
pytest.importorskip("metaworld", reason="MetaWorld is not installed: pip install metaworld")

from engraft_client.metaworld.errors import MetaworldError
from engraft_client.metaworld.expert import demonstrate
from engraft_client.metaworld.instances import Instance
from engraft_client.metaworld.scene import Scene, SceneConfig, task_name


def scene(variation: str = "none", split: str = "train", number: int = 0) -> Scene:
    instance = Instance(split, number, variation)
    return Scene(SceneConfig("drawer-open-v3", 7, instance, 64))


def test_the_rate_is_that_of_the_model() -> None:
    with scene() as one:
        assert one.fps == pytest.approx(80.0)


def test_a_task_may_leave_out_its_version_and_must_exist() -> None:
    assert task_name("drawer-open") == "drawer-open-v3"
    with pytest.raises(MetaworldError, match="found `fold-towel`: choose one of assembly"):
        task_name("fold-towel")


def test_instances_look_different_and_the_same_one_looks_the_same() -> None:
    seen = []
    for which in [("train", 0), ("train", 1), ("heldout", 0), ("train", 0)]:
        with scene("all", *which) as one:
            seen.append(one.pictures()["front"].tobytes())
    assert seen[0] == seen[3]
    assert len(set(seen)) == 3


def test_a_picture_drawn_later_is_the_one_that_was_seen() -> None:
    with scene() as one:
        moments, seen = [], []
        for _ in range(3):
            moments.append(one.snapshot())
            seen.append(one.pictures())
            one.step(np.array([0.5, 1.0, -0.5, 1.0]))
        for moment, pictures in zip(moments, seen, strict=True):
            for view, picture in one.pictures_at(moment).items():
                np.testing.assert_array_equal(picture, pictures[view])


def test_the_expert_succeeds_again_after_a_reset() -> None:
    with scene("all") as one:
        first = demonstrate(one, 0.0, np.random.default_rng(0), 500)
        one.reset()
        assert not one.success
        second = demonstrate(one, 0.0, np.random.default_rng(1), 500)
    assert first is not None and second is not None
    np.testing.assert_allclose(first.actions, second.actions)


def test_recording_follows_from_the_seed_however_many_scenes_there_are(tmp_path: Path) -> None:
    for num_envs in ("1", "2"):
        out = tmp_path / num_envs
        command = [sys.executable, "-m", "engraft_client.metaworld", "collect", "drawer-open"]
        options = ["--episodes", "2", "--size", "32", "--out", str(out), "--num-envs", num_envs]
        done = subprocess.run(command + options, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("2 demonstrations")
    for name in ("data/chunk-000/file-001.parquet", "meta/stats.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert json.loads((tmp_path / "1/meta/info.json").read_text())["total_episodes"] == 2


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engraft_client.metaworld", "evaluate", "drawer-open"]
    options = ["--server", "tcp://127.0.0.1:1", "--episodes", "1"]
    done = subprocess.run(command + options, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "engraft serve" in done.stderr
