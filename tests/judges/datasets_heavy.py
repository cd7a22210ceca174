#!/usr/bin/env python3
"""Judges LeRobot datasets with the lerobot package itself, in both directions.

    python tests/judges/datasets_heavy.py

v3.0 is judged with the lerobot of this environment, v2.1 with lerobot 0.3.3, which is put into
target/judges-lerobot-v21 without its dependencies (or taken from the folder LEROBOT_V21).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
CACHE = tempfile.TemporaryDirectory()
os.environ["HF_DATASETS_CACHE"] = CACHE.name
sys.path.insert(0, str(Path(__file__).resolve().parent))
from datasets_light import ROOT, judge_dump, run, same, sample  # noqa: E402

OLD = ["lerobot==0.3.3", "datasets==3.6.0"]


def judge_opened(dataset, lengths: list) -> None:
    """Every value that lerobot hands out, against the formulas."""
    assert (dataset.num_episodes, dataset.num_frames) == (len(lengths), sum(lengths))
    assert (dataset.fps, dataset.meta.robot_type) == (sample.FPS, "sample_arm")
    at = 0
    for episode, length in enumerate(lengths):
        for step in range(length):
            item = dataset[at]
            same(item["observation.state"].numpy(), sample.proprio(episode, step), "proprio")
            same(item["action"].numpy(), sample.action(episode, step), "action")
            for view, (name, _, _) in enumerate(sample.VIEWS):
                pixels = (item[f"observation.images.{name}"] * 255).round().byte().permute(1, 2, 0)
                same(pixels.numpy(), sample.picture(episode, step, view), f"{name} {episode}/{step}")
            assert item["task"] == sample.TASKS[episode % 2], item["task"]
            counters = [item[key].item() for key in ["index", "episode_index", "frame_index", "task_index"]]
            assert counters == [at, episode, step, episode % 2], counters
            at += 1


def judge_stats(stats: dict, reference: dict, version: str) -> None:
    """Statistics by lerobot and by engraft of the same data."""
    assert set(stats) == set(reference), set(stats) ^ set(reference)
    for name, parts in reference.items():
        for part in ["min", "max", "mean", "std", "count"]:
            found, expected = stats[name][part], parts[part]
            if version == "v3.0" and part == "std" and "images" in name:
                continue  # lerobot 0.4.4 squares pixels in 8 bits; the light judge has numpy's value
            assert found.shape == expected.shape, f"{name}/{part}: {found.shape} for {expected.shape}"
            close = abs(found - expected).max() <= 1e-6 * max(1.0, abs(expected).max())
            assert close, f"{name}/{part}: {found} for {expected}"


def judge(folder: Path, version: str) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    def opened(root: Path, **options):
        return LeRobotDataset("engraft/judge", root=root, **options)

    ours, theirs = folder / "ours", folder / "theirs"
    run("make_sample", ours, version)
    judge_opened(opened(ours), sample.LENGTHS)
    windows = {"action": [0.0, 0.1, 0.2], "observation.state": [-0.1, 0.0]}
    item = opened(ours, delta_timestamps=windows)[4]  # the last step of the first episode
    same(item["action"].numpy(), [sample.action(0, 4)] * 3, "window")
    assert item["action_is_pad"].tolist() == [False, True, True]
    print(f"{version}: lerobot opens what engraft writes")

    timed = folder / "timed"
    run("make_sample", timed, version, "times")
    dataset = opened(timed)
    judge_opened(dataset, sample.LENGTHS)
    captured = [(item["capture_time"].item(), item["dropped_frames"].item()) for item in map(dataset.__getitem__, range(5))]
    for (secs, dropped), expected in zip(captured, [(0, 0), (0.1, 0), (0.7, 5), (0.8, 0), (0.9, 0)]):
        assert abs(secs - expected[0]) < 1e-6 and dropped == expected[1], captured
    run("make_sample", timed, "append", "times")
    judge_opened(opened(timed), [*sample.LENGTHS, 4])
    print(f"{version}: lerobot opens recordings with true times")

    sample.write(theirs)
    judge_dump(json.loads(run("dump", theirs)), sample.LENGTHS)
    judge_stats(opened(ours).meta.stats, opened(theirs).meta.stats, version)
    print(f"{version}: engraft opens what lerobot writes, and their statistics agree")

    for root in [ours, theirs]:
        run("make_sample", root, "append")
        lengths = [*sample.LENGTHS, 4]
        judge_opened(opened(root), lengths)
        dataset = opened(root)
        dataset.episode_buffer = dataset.create_episode_buffer()
        sample.add_episode(dataset, 4, 6)
        if hasattr(dataset, "finalize"):
            dataset.finalize()
        judge_opened(opened(root), [*lengths, 6])
        dump = json.loads(run("dump", root))
        judge_dump(dump, [*lengths, 6])
        run("make_sample", root, "append")
        judge_dump(json.loads(run("dump", root)), [*lengths, 6, 4])
    judge_stats(opened(ours).meta.stats, opened(theirs).meta.stats, version)
    print(f"{version}: both record on where the other stopped")


def main() -> None:
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as folder:
            judge(Path(folder), sys.argv[1])
        return
    subprocess.run([sys.executable, __file__, "v3.0"], check=True)
    old = os.environ.get("LEROBOT_V21")
    if old is None:
        old = str(ROOT / "target" / "judges-lerobot-v21")
        if not Path(old).is_dir():
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", old]
            subprocess.run([*install, *OLD], check=True)
    environment = {**os.environ, "PYTHONPATH": old}
    subprocess.run([sys.executable, __file__, "v2.1"], check=True, env=environment)


if __name__ == "__main__":
    main()
