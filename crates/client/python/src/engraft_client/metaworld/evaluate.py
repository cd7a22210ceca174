"""Plays a served policy in closed loop and says how often it succeeds."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engraft_client.contract import Contract, Model
from engraft_client.errors import PolicyError
from engraft_client.metaworld.errors import MetaworldError
from engraft_client.metaworld.expert import demonstrate
from engraft_client.metaworld.instances import NUM_INSTANCES, SPLITS, Instance
from engraft_client.metaworld.progress import Progress
from engraft_client.metaworld.result import Episode, Evaluation
from engraft_client.metaworld.scene import (
    ACTIONS,
    PROPRIO,
    VIEWS,
    Scene,
    SceneConfig,
    task_name,
)
from engraft_client.metaworld.sheet import Strip, draw_sheet
from engraft_client.metaworld.workers import workers
from engraft_client.policy import Policy

STREAM = 1
"""Tells the random numbers of evaluation from those of recording."""
TIMEOUT_SECS = 30.0
"""How long an answer may take while the server works for all scenes."""
MOST_PLACES = 20
"""Places at which the expert may fail before an episode is given up."""
MOST_STRIPS = 12
"""Episodes that a contact sheet shows."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What to play, and where to write what came of it."""

    task: str
    server: str
    episodes: int
    variation: str
    split: str
    seed: int
    num_envs: int
    executed: int | None
    max_steps: int
    json: Path | None = None
    sheet: Path | None = None


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Plays all episodes; what they are follows from the configuration alone."""
    config = replace(config, task=task_name(config.task))
    for path in (config.json, config.sheet):
        if path is not None and not path.absolute().parent.is_dir():
            hint = f"mkdir -p {path.parent}"
            raise MetaworldError(f'expected a folder for "{path}", found none: type {hint}')
    size, model = look_at_policy(config)
    progress = Progress("evaluate", config.episodes)
    episodes: list[Episode] = []
    strips: dict[int, Strip] = {}
    start = time.monotonic()
    try:
        with workers(min(config.num_envs, config.episodes)) as pool:
            for episode, strip in outcomes(pool, config, size):
                episodes.append(episode)
                if strip is not None:
                    strips[episode.number] = strip
                won = sum(one.success for one in episodes)
                progress.show(len(episodes), f"success {won}/{len(episodes)}")
    except PolicyError as error:
        raise MetaworldError(str(error)) from error
    episodes.sort(key=lambda episode: episode.number)
    settings = {key: value for key, value in vars(config).items() if key not in ("json", "sheet")}
    result = Evaluation(settings, model, tuple(episodes), time.monotonic() - start)
    if config.json is not None:
        result.write(config.json)
    if config.sheet is not None:
        draw_sheet([strips[number] for number in sorted(strips)]).save(config.sheet)
    return result


def look_at_policy(config: EvaluateConfig) -> tuple[int, Model]:
    """The side of the pictures that the served policy wants, and which one it is."""
    try:
        with Policy(config.server, timeout=5.0, name="metaworld") as policy:
            contract, model = policy.contract, policy.model
    except PolicyError as error:
        hint = "type `engraft serve RUN` in another terminal"
        raise MetaworldError(
            f"{error}; {hint}" if error.code == "TIMEOUT" else str(error)
        ) from error
    if config.executed is not None and config.executed > contract.horizon:
        found = f"found --executed {config.executed}"
        raise MetaworldError(f"expected at most {contract.horizon} actions of a chunk, {found}")
    return picture_size(contract), model


def picture_size(contract: Contract) -> int:
    """The side of the pictures that a policy wants, if it was trained on this robot at all."""

    def misfit(what: str, expected: str, found: str) -> MetaworldError:
        hint = "train on a dataset of `engraft-metaworld collect`"
        ours = f"{what} of MetaWorld: expected {expected}, found a policy for {found or 'none'}"
        return MetaworldError(f"{ours}: {hint}")

    spec = contract.spec
    for what, dimensions, known in (
        ("proprio", spec.proprio, PROPRIO),
        ("actions", spec.actions, ACTIONS),
    ):
        expected = ", ".join(name for name, _ in known)
        found = ", ".join(one.name for one in dimensions)
        if found != expected:
            raise misfit(what, expected, found)
    sides = {side for view in spec.views for side in (view.width, view.height)}
    is_known = all(view.name in VIEWS and not view.depth for view in spec.views)
    if not is_known or len(sides) != 1:
        expected = f"square pictures of one size from {' and '.join(VIEWS)}"
        raise misfit("views", expected, ", ".join(map(str, spec.views)))
    return sides.pop()


def outcomes(
    pool: Executor, config: EvaluateConfig, size: int
) -> Iterator[tuple[Episode, Strip | None]]:
    """Episodes as they end, some with pictures."""
    numbers = range(config.episodes)
    every = max(1, config.episodes // MOST_STRIPS)
    shown = set(numbers[::every][:MOST_STRIPS]) if config.sheet is not None else set()
    for done in as_completed(
        [pool.submit(play, config, size, number, number in shown) for number in numbers]
    ):
        yield done.result()


_policies: dict[str, Policy] = {}
"""The session of this process, which serves all its episodes."""


def play(
    config: EvaluateConfig, size: int, number: int, is_shown: bool
) -> tuple[Episode, Strip | None]:
    """Plays one episode, at the first place where the expert can do the task."""
    if config.server not in _policies:
        _policies[config.server] = Policy(config.server, timeout=TIMEOUT_SECS, name="metaworld")
    policy = _policies[config.server]
    for place in range(MOST_PLACES):
        seed = (STREAM, SPLITS.index(config.split), config.seed, number, place)
        rng = np.random.default_rng(seed)
        instance = Instance(config.split, (number + place) % NUM_INSTANCES, config.variation)
        placement = int(rng.integers(2**31))
        with Scene(SceneConfig(config.task, placement, instance, size)) as scene:
            if demonstrate(scene, 0.0, rng, scene.max_steps) is None:
                continue
            scene.reset()
            return play_in(scene, policy, config, number, place, is_shown)
    raise MetaworldError(
        f"expected a place where the expert can do {config.task}, found none in {MOST_PLACES}: "
        "try another --variation"
    )


def play_in(
    scene: Scene, policy: Policy, config: EvaluateConfig, number: int, place: int, is_shown: bool
) -> tuple[Episode, Strip | None]:
    """Lets the policy act in a scene until it succeeds or time is up."""
    views = [view.name for view in policy.contract.spec.views]
    keeps_frames = policy.contract.num_frames > 1
    moments, latencies, steps = [], [], 0
    actions: deque[np.ndarray] = deque()
    policy.reset()
    while steps < config.max_steps and not scene.success:
        # Pictures take most of the time, so they are drawn only for steps that the policy sees.
        if not actions or keeps_frames:
            observation = {"rgb": scene.pictures(views), "proprio": scene.proprio}
        if not actions:
            asked = time.perf_counter()
            actions.extend(policy.infer(observation).actions[: config.executed])
            latencies.append(1000.0 * (time.perf_counter() - asked))
        elif keeps_frames:
            policy.observe(observation)
        moments.append(scene.snapshot())
        scene.step(actions.popleft())
        steps += 1
    moments.append(scene.snapshot())
    config_of = scene.config
    episode = Episode(
        number=number,
        instance=config_of.instance.number,
        placement=config_of.placement,
        expert_failures=place,
        success=scene.success,
        steps=steps,
        latencies_ms=tuple(latencies),
    )
    if not is_shown:
        return episode, None
    seen = [scene.pictures_at(moments[at]) for at in (0, len(moments) // 2, -1)]
    rows = {view: [pictures[view] for pictures in seen] for view in VIEWS}
    return episode, Strip(
        f"{number}: instance {episode.instance}, {steps} steps", scene.success, rows
    )
