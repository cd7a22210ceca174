"""What of MetaWorld's side needs no simulator."""

import json
from pathlib import Path

import numpy as np
import pytest

from engraft_client.contract import Contract, Dimension, Model, RobotSpec, ViewSpec
from engraft_client.interval import wilson_interval
from engraft_client.metaworld import cli, scene
from engraft_client.metaworld.errors import MetaworldError
from engraft_client.metaworld.instances import (
    HUE_BANDS,
    NUM_INSTANCES,
    SCALE_CELLS,
    SCALE_RANGE,
    SPLITS,
    Instance,
    draw_colour,
    draw_scale,
    split_textures,
)
from engraft_client.metaworld.result import Episode, Evaluation
from engraft_client.metaworld.statistics import FeatureStats, percentile


def test_training_and_heldout_instances_share_neither_hue_nor_proportion_nor_texture() -> None:
    import colorsys

    low, high = SCALE_RANGE
    for at, split in enumerate(SPLITS):
        for number in range(NUM_INSTANCES):
            rng = Instance(split, number, "all").rng("object")
            hue = colorsys.rgb_to_hsv(*draw_colour(rng, split))[0]
            assert int(hue * HUE_BANDS) % 2 == at
            scale = draw_scale(rng, split)
            cells = np.floor((scale - low) / (high - low) * SCALE_CELLS).astype(int)
            assert (cells % 2 == at).all()
            assert (low <= scale).all() and (scale <= high).all()
    names = ["wood.png", "brick.png", "metal.png"]
    assert split_textures(names, "train") == ["brick.png", "wood.png"]
    assert split_textures(names, "heldout") == ["metal.png"]


def test_an_instance_is_the_same_in_every_run_and_differs_from_all_others() -> None:
    def drawn(split: str, number: int) -> float:
        return float(Instance(split, number, "all").rng("object").uniform())

    assert drawn("train", 3) == drawn("train", 3)
    every = {drawn(split, number) for split in SPLITS for number in range(NUM_INSTANCES)}
    assert len(every) == 2 * NUM_INSTANCES


def test_the_wilson_interval_is_that_of_the_textbook() -> None:
    assert wilson_interval(45, 50) == pytest.approx((0.7864, 0.9565), abs=1e-4)
    low, high = wilson_interval(0, 50)
    assert low == pytest.approx(0.0) and high == pytest.approx(0.0713, abs=1e-4)
    assert wilson_interval(50, 50)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_percentiles_of_nothing_are_none() -> None:
    assert percentile([], 0.5) is None
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3))
    whole = FeatureStats.of_vectors(values)
    merged = FeatureStats.of_vectors(values[:15]).merged(FeatureStats.of_vectors(values[15:]))
    assert merged.count == 40
    np.testing.assert_allclose(merged.mean, whole.mean)
    np.testing.assert_allclose(merged.std, whole.std)
    np.testing.assert_array_equal(merged.min, whole.min)


def test_statistics_of_pictures_are_scaled_to_one() -> None:
    counts = np.zeros((3, 256), np.int64)
    counts[:, 0], counts[:, 255] = 30, 10
    stats = FeatureStats.of_colours(counts, 2).to_plain()
    assert stats["mean"] == [[[0.25]]] * 3
    assert stats["q50"] == [[[0.0]]] * 3
    assert stats["max"] == [[[1.0]]] * 3
    assert stats["count"] == [2]


def test_a_result_has_its_interval_and_a_row_for_each_episode(tmp_path: Path) -> None:
    episodes = [Episode(i, i, 100 + i, 0, i > 0, 50, (2.0, 4.0)) for i in range(4)]
    settings = {"task": "drawer-open-v3", "split": "train"}
    result = Evaluation(settings, Model("lfs", "ab" * 32), tuple(episodes), 1.0)
    assert str(result).startswith("drawer-open-v3 train: 3 of 4 (75%; 30% to 95% Wilson 95 %)")
    result.write(tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["successes"] == 3
    assert written["rows"][0]["latency_p50_ms"] == 3.0
    assert written["model"]["hash"] == "ab" * 32


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["collect", "drawer-open"], "--out"),
        (["collect", "drawer-open", "--out", "x", "--episodes", "0"], "1..100000, found `0`"),
        (["collect", "drawer-open", "--out", "x", "--noise", "loud"], "0..1, found `loud`"),
        (["evaluate", "drawer-open", "--split", "test"], "invalid choice"),
        (["evaluate", "drawer-open", "--sheet", "x.gif"], "ends in .png, found `x.gif`"),
        ([], "VERB"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert len(lines) == 1 and told in lines[0] and "--help" in lines[0]


def test_without_metaworld_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scene, "find_spec", lambda name: None)
    assert cli.main(["collect", "drawer-open", "--out", "x"]) == 2
    assert "pip install 'engraft-client[metaworld]'" in capsys.readouterr().err


def contract(views: tuple[ViewSpec, ...], proprio: str = "hand_x") -> Contract:
    """A policy's contract, MetaWorld's but for what is given."""
    dimensions = [Dimension(name, unit) for name, unit in scene.PROPRIO]
    dimensions[0] = Dimension(proprio, "m")
    actions = tuple(Dimension(name, unit) for name, unit in scene.ACTIONS)
    return Contract(RobotSpec("arm", 80.0, views, tuple(dimensions), actions), 1, 8, "")


def test_a_policy_of_another_robot_is_refused_with_what_was_expected() -> None:
    pytest.importorskip("PIL", reason="the contact sheet needs Pillow: pip install pillow")
    from engraft_client.metaworld.evaluate import picture_size

    wrist = ViewSpec("wrist", 128, 128)
    assert picture_size(contract((ViewSpec("front", 128, 128), wrist))) == 128
    for views, proprio, told in [
        ((ViewSpec("top", 128, 128),), "hand_x", "views of MetaWorld: expected square pictures"),
        ((ViewSpec("front", 96, 96), wrist), "hand_x", "front [96, 96, 3], wrist [128, 128, 3]"),
        ((wrist,), "elbow", "expected hand_x, hand_y, hand_z, gripper_opening, found a policy"),
    ]:
        with pytest.raises(MetaworldError, match="train on a dataset") as refused:
            picture_size(contract(views, proprio))
        assert told in str(refused.value)
