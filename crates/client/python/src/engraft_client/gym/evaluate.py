"""Evaluates a policy behind a server in a gymnasium environment, in several at once if asked."""

import contextlib
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from engraft_client.contract import Model
from engraft_client.errors import PolicyError
from engraft_client.gym.episode import Env, Observe, Success, check_spaces, play, step_limit
from engraft_client.gym.observe import guess
from engraft_client.gym.progress import Progress
from engraft_client.gym.result import Episode, Result
from engraft_client.policy import Policy

TIMEOUT_SECS = 10.0  # unless the options say otherwise: several environments share the model
_SHOWN = ("merge", "refill", "executed", "ahead")  # no token and no key goes into a result


@dataclass(frozen=True)
class _Job:
    """What each worker does; see `evaluate`."""

    make_env: Callable[[], Env]
    address: str
    options: dict[str, Any]
    observe: Observe | None
    success: Success | None
    max_steps: int | None
    clip: bool


@dataclass(frozen=True)
class _About:
    """What was evaluated."""

    env: str
    model: Model
    fingerprint: str


def evaluate(
    make_env: Callable[[], Env],
    policy_address: str,
    *,
    episodes: int | None = None,
    seeds: int | Sequence[int] = 0,
    observe: Observe | None = None,
    num_envs: int = 1,
    processes: bool = False,
    progress: bool = True,
    max_steps: int | None = None,
    clip: bool = False,
    success: Success | None = None,
    options: Mapping[str, Any] | None = None,
) -> Result:
    """Plays episodes and counts successes.

    Args:
        make_env: Makes a gymnasium environment whose actions are a Box of the policy's width.
        policy_address: Where the server listens, as ``tcp://HOST:PORT``.
        episodes: How many to play; by default 10, or one per seed.
        seeds: One for each episode, or the first of them.
        observe: From (what the environment gives, the environment) to an observation of the
            policy; by default the guess of `engraft_client.gym.guess`.
        num_envs: How many environments play at once, each with its own session.
        processes: Whether they run in processes rather than threads; then what is given here has
            to be importable, and a script has to start under ``if __name__ == "__main__":``.
        progress: Whether to show a bar, if stderr is a terminal.
        max_steps: Ends an episode after so many steps; by default the environment's own limit.
        clip: Whether actions are clipped to the action space; otherwise they go in as they are.
        success: From the `info` of a step to whether the task is done; by default its ``success``
            or ``is_success``. An episode succeeds if one of its steps does.
        options: Further keywords of `engraft_client.Policy`, such as token and executed; the
            timeout is 10 s by default.

    Raises:
        PolicyError: The server, the environment and what is asked do not fit together, or the
            server's model changes meanwhile (``MODEL_CHANGED``).
    """
    all_seeds = _seeds(episodes, seeds)
    for name, count in [("num_envs", num_envs), ("max_steps", max_steps)]:
        if count is not None and count < 1:
            raise PolicyError("BAD_OPTION", f"{name}: expected a number from 1, found {count}")
    asked = dict(options or {})
    job = _Job(make_env, policy_address, asked, observe, success, max_steps, clip)
    began, bar = time.monotonic(), Progress(len(all_seeds), progress)
    found: dict[int, tuple[Episode, _About]] = {}
    try:
        rows = _rows(job, all_seeds, min(num_envs, len(all_seeds)), processes)
        with contextlib.closing(rows):
            for index, row, about in rows:
                found[index] = (row, about)
                bar.add(row.success)
    finally:
        bar.close()
    models = {about.model for _, about in found.values()}
    if len(models) > 1:
        raise _changed(*sorted(models, key=lambda model: model.hash)[:2])
    about = found[0][1]
    shown = {key: str(value) for key, value in asked.items() if key in _SHOWN}
    shown |= {"clip": str(clip), "num_envs": str(num_envs)}
    return Result(
        env=about.env,
        model=about.model.name,
        model_hash=about.model.hash,
        fingerprint=about.fingerprint,
        options=shown,
        episodes=tuple(found[index][0] for index in range(len(all_seeds))),
        wall_secs=time.monotonic() - began,
    )


def _seeds(episodes: int | None, seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, int):
        count = 10 if episodes is None else episodes
        if count < 1:
            raise PolicyError("BAD_OPTION", f"episodes: expected a number from 1, found {count}")
        return list(range(seeds, seeds + count))
    given = [int(seed) for seed in seeds]
    if not given or (episodes is not None and episodes != len(given)):
        expected = "one for each episode" if episodes is None else f"{episodes}, one per episode"
        raise PolicyError("BAD_OPTION", f"seeds: expected {expected}, found {len(given)}")
    return given


def _changed(old: Model, new: Model) -> PolicyError:
    names = f"{old.name} ({old.hash[:12]}) and {new.name} ({new.hash[:12]})"
    hint = "evaluate again while nobody changes the server's model"
    return PolicyError("MODEL_CHANGED", f"expected one model, found {names}: {hint}")


def _stop(old: Model, new: Model) -> None:
    raise _changed(old, new)


_Row = tuple[int, Episode, _About]
_Rows = Generator[_Row, None, None]


def _episodes(job: _Job, tasks: Any, stop: Any) -> _Rows:
    """Plays what is in the queue `tasks`, with one environment and one session."""
    env = job.make_env()
    try:
        usual = {"name": "engraft_client.gym", "timeout": TIMEOUT_SECS}
        options = {**usual, "on_model_change": _stop, **job.options}
        with Policy(job.address, **options) as policy:
            check_spaces(env, policy.contract)
            observe = job.observe or guess(policy.contract)
            name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
            limit = step_limit(env, job.max_steps)
            while not stop.is_set():
                try:
                    index, seed = tasks.get_nowait()
                except queue.Empty:
                    return
                row = play(env, policy, observe, seed, limit, job.clip, job.success, stop.is_set)
                if stop.is_set():
                    return
                yield index, row, _About(name, policy.model, policy.contract.fingerprint)
    finally:
        if hasattr(env, "close"):
            env.close()


def _rows(job: _Job, seeds: list[int], num_envs: int, processes: bool) -> _Rows:
    """All episodes as they end, in any order."""
    with contextlib.ExitStack() as stack:
        executor: Executor
        if processes:
            context = multiprocessing.get_context("spawn")
            manager = stack.enter_context(context.Manager())
            tasks, rows, stop = manager.Queue(), manager.Queue(), manager.Event()
            executor = ProcessPoolExecutor(num_envs, mp_context=context)
        else:
            tasks, rows, stop = queue.Queue(), queue.Queue(), threading.Event()
            executor = ThreadPoolExecutor(num_envs, thread_name_prefix="env")
        for task in enumerate(seeds):
            tasks.put(task)
        if num_envs == 1 and not processes:
            # On this thread, since some renderers want to be on the first one.
            yield from _episodes(job, tasks, stop)
            return
        stack.enter_context(executor)
        stack.callback(stop.set)  # before the executor waits for its workers
        futures = [executor.submit(_work, job, tasks, rows, stop) for _ in range(num_envs)]
        for _ in seeds:
            yield _next(rows, futures)


def _work(job: _Job, tasks: Any, rows: Any, stop: Any) -> None:
    with contextlib.closing(_episodes(job, tasks, stop)) as episodes:
        for row in episodes:
            rows.put(row)


def _next(rows: Any, futures: "list[Future[None]]") -> _Row:
    """The next episode that ends, or the error of a worker."""
    while True:
        over = all(future.done() for future in futures)
        for future in futures:
            if future.done():
                future.result()
        try:
            row: _Row = rows.get(timeout=0.1)
            return row
        except queue.Empty:
            if over:
                raise RuntimeError("the workers ended before all episodes were played") from None
