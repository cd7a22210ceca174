"""One episode: an environment, a policy, and what came of them."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from engraft_client.contract import Contract
from engraft_client.errors import PolicyError
from engraft_client.gym.result import Episode
from engraft_client.observation import Observation
from engraft_client.policy import Policy

Env = gymnasium.Env[Any, Any]
Observe = Callable[[Any, Any], Observation]
"""From (what the environment gives, the environment) to an observation of the policy."""
Success = Callable[[Mapping[str, Any]], bool]
"""From the `info` of a step to whether the task is done."""

MAX_STEPS = 10_000  # of an environment that names no limit of its own
_SUCCESS_KEYS = ("success", "is_success")


def check_spaces(env: Any, contract: Contract) -> None:
    """Checks that the environment takes the actions that the policy gives.

    Raises:
        PolicyError: ``BAD_SHAPE``, with expected and found.
    """
    actions = contract.spec.actions
    space = getattr(env, "action_space", None)
    names = ", ".join(map(str, actions))
    expected = f"a Box of floats [{len(actions)}] ({names})"
    hint = "evaluate a policy that was trained for this environment, or wrap the environment"
    if not isinstance(env, gymnasium.Env):
        raise PolicyError(
            "BAD_OPTION",
            f"make_env: expected a gymnasium.Env, found {type(env).__name__}: return one"
            " environment, several at once are made with num_envs=",
        )
    if (
        not isinstance(space, gymnasium.spaces.Box)
        or space.shape != (len(actions),)
        or np.dtype(space.dtype).kind != "f"
    ):
        raise PolicyError("BAD_SHAPE", f"action space: expected {expected}, found {space}: {hint}")


def step_limit(env: Env, max_steps: int | None) -> int:
    """How many steps an episode may have: what was asked for, or the environment's own limit."""
    own = env.spec.max_episode_steps if env.spec is not None else None
    return max_steps or own or MAX_STEPS


def play(
    env: Env,
    policy: Policy,
    observe: Observe,
    seed: int,
    max_steps: int,
    clip: bool = False,
    success: Success | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Episode:
    """Plays one episode.

    Args:
        env: Whose action space `check_spaces` has seen.
        policy: Whose new episode this is.
        observe: Makes observations of what the environment gives.
        seed: For the environment.
        max_steps: After so many it is over.
        clip: Whether actions are clipped to the action space.
        success: Reads success from the `info` of a step, in place of its ``success`` or
            ``is_success``.
        stopped: Asked before every step; ends the episode at once.
    """
    low, high = _bounds(env)
    given, _ = env.reset(seed=seed)
    policy.reset()
    total, steps, outside, ended = 0.0, 0, 0, "max_steps"
    done: bool | None = None
    latencies: list[float] = []
    while steps < max_steps and not stopped():
        before = policy.last_reply
        action = policy.act(observe(given, env))
        if (reply := policy.last_reply) is not None and reply is not before:
            latencies.append(reply.round_trip_ms)
        outside += int(((action < low) | (action > high)).any())
        action = np.clip(action, low, high) if clip else action
        given, reward, terminated, truncated, info = env.step(action.astype(low.dtype))
        total, steps = total + float(reward), steps + 1
        said = _success(info) if success is None else bool(success(info))
        done = said if done is None or said else done
        if terminated or truncated:
            ended = "terminated" if terminated else "truncated"
            break
    return Episode(seed, done, total, steps, ended, outside, tuple(latencies))


def _bounds(env: Env) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    return space.low, space.high


def _success(info: Mapping[str, Any]) -> bool | None:
    """What a step says of success, if it says anything."""
    for key in _SUCCESS_KEYS:
        if key in info:
            value = np.asarray(info[key])
            if value.size != 1:
                found = f"found {value.size} values in info[{key!r}]"
                detail = f"success: expected one value, {found}: give success="
                raise PolicyError("BAD_OPTION", detail)
            return bool(value.reshape(()))
    return None
