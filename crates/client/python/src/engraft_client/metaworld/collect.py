"""Records demonstrations of MetaWorld's scripted expert as a LeRobot dataset."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import numpy as np

from engraft_client.metaworld.dataset import (
    DatasetWriter,
    Episode,
    Robot,
    count_colours,
    encode_png,
)
from engraft_client.metaworld.errors import MetaworldError
from engraft_client.metaworld.expert import demonstrate
from engraft_client.metaworld.instances import NUM_INSTANCES, SPLITS, Instance
from engraft_client.metaworld.progress import Progress
from engraft_client.metaworld.scene import (
    ACTIONS,
    PROPRIO,
    VIEWS,
    Scene,
    SceneConfig,
    task_name,
)
from engraft_client.metaworld.workers import workers

STREAM = 0
"""Tells the random numbers of recording from those of evaluation."""
INSTRUCTIONS = {
    "button-press-topdown-v3": "press the button from above",
    "door-open-v3": "open the door",
    "drawer-close-v3": "close the drawer",
    "drawer-open-v3": "open the drawer",
    "window-open-v3": "open the window",
}
"""What the robot is asked to do; of other tasks it is their name."""


@dataclass(frozen=True)
class CollectConfig:
    """What to record."""

    task: str
    out: Path
    episodes: int
    size: int
    variation: str
    split: str
    seed: int
    noise: float
    num_envs: int


@dataclass(frozen=True)
class Attempt:
    """One try of the expert: everything that it depends on."""

    task: str
    size: int
    instance: Instance
    seed: tuple[int, ...]
    noise: float


def attempts(config: CollectConfig) -> Iterator[Attempt]:
    """The tries, in order: the instances take turns, each at a new place."""
    for number in count():
        instance = Instance(config.split, number % NUM_INSTANCES, config.variation)
        seed = (STREAM, SPLITS.index(config.split), config.seed, number)
        yield Attempt(config.task, config.size, instance, seed, config.noise)


def record(attempt: Attempt) -> Episode | None:
    """Lets the expert try, and draws what it saw if it succeeded."""
    rng = np.random.default_rng(attempt.seed)
    placement = int(rng.integers(2**31))
    with Scene(SceneConfig(attempt.task, placement, attempt.instance, attempt.size)) as scene:
        shown = demonstrate(scene, attempt.noise, rng, scene.max_steps)
        if shown is None:
            return None
        seen = [scene.pictures_at(moment) for moment in shown.moments]
    by_view = {view: [pictures[view] for pictures in seen] for view in VIEWS}
    return Episode(
        proprio=np.stack(shown.proprio),
        actions=np.stack(shown.actions),
        pngs={
            view: [encode_png(picture) for picture in pictures]
            for view, pictures in by_view.items()
        },
        colours={view: count_colours(pictures) for view, pictures in by_view.items()},
    )


def control_rate(config: CollectConfig) -> int:
    """Steps per second of the task, which LeRobot wants whole."""
    with Scene(SceneConfig(config.task, 0, Instance("train", 0, "none"), config.size)) as scene:
        rate = scene.fps
    if abs(rate - round(rate)) > 1e-6:
        raise MetaworldError(f"expected a whole number of steps a second, found {rate}")
    return round(rate)


def collect(config: CollectConfig) -> tuple[int, int, int]:
    """Records the dataset; returns episodes, steps and failed tries, which were dropped.

    The result follows from the configuration alone, however many processes work on it.
    """
    task = task_name(config.task)
    config = replace(config, task=task)
    robot = Robot(
        "metaworld_sawyer", control_rate(config), VIEWS, config.size, PROPRIO, ACTIONS, 1.0
    )
    instruction = INSTRUCTIONS.get(task, task.removesuffix("-v3").replace("-", " "))
    writer = DatasetWriter(config.out, robot, instruction)
    most = 4 * config.episodes + NUM_INSTANCES
    progress = Progress("collect", config.episodes)
    failed = 0
    try:
        with workers(config.num_envs) as pool:
            for episode in in_turn(pool, config, most):
                if episode is None:
                    failed += 1
                else:
                    writer.add_episode(episode)
                progress.show(writer.num_episodes, f"failed {failed}")
                if writer.num_episodes == config.episodes:
                    break
    except KeyboardInterrupt:
        progress.stop()
        kept = f'{writer.num_episodes} finished episodes are whole in "{config.out}"'
        raise MetaworldError(f"stopped: {kept}") from None
    except OSError as error:
        raise MetaworldError(f'cannot write "{config.out}": {error.strerror}') from error
    if writer.num_episodes < config.episodes:
        found = f"found {writer.num_episodes} in {most} tries of the expert"
        hint = "try less --noise or another --variation"
        raise MetaworldError(f"expected {config.episodes} demonstrations, {found}: {hint}")
    return writer.num_episodes, writer.num_steps, failed


def in_turn(pool: Executor, config: CollectConfig, most: int) -> Iterator[Episode | None]:
    """Results in the order of the tries, a few of which are under way at any time."""
    waiting: deque[Future[Episode | None]] = deque()
    for attempt in islice(attempts(config), most):
        waiting.append(pool.submit(record, attempt))
        if len(waiting) > 2 * config.num_envs:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
