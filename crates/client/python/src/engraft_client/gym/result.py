"""What an evaluation found: one row per episode, and what they come to."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engraft_client.interval import wilson_interval


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        seed: What the environment was reset with.
        success: Whether any of its steps was said to be a success; None if nothing was said.
        total_reward: The sum of its rewards, ``return`` in JSON.
        steps: How many steps it had.
        ended: ``terminated`` or ``truncated`` by the environment, or ``max_steps``.
        out_of_range: How many actions lay outside the action space, before any clipping.
        latencies_ms: Milliseconds from question to answer, of each request.
    """

    seed: int
    success: bool | None
    total_reward: float
    steps: int
    ended: str
    out_of_range: int = 0
    latencies_ms: tuple[float, ...] = field(default=(), repr=False)

    def row(self) -> dict[str, Any]:
        """As plain data, with percentiles in place of all latencies."""
        return {
            "seed": self.seed,
            "success": self.success,
            "return": self.total_reward,
            "steps": self.steps,
            "ended": self.ended,
            "out_of_range": self.out_of_range,
            "requests": len(self.latencies_ms),
            **_latency(self.latencies_ms),
        }


@dataclass(frozen=True)
class Result:
    """All episodes of an evaluation, in the order of their seeds.

    Attributes:
        env: The environment's name.
        model: Name of the model that was evaluated.
        model_hash: Its hash.
        fingerprint: That of the contract's robot.
        options: How the policy was asked: merge, executed and the like.
        episodes: One row each.
        wall_secs: How long all of it took.
    """

    env: str
    model: str
    model_hash: str
    fingerprint: str
    options: dict[str, Any]
    episodes: tuple[Episode, ...]
    wall_secs: float

    @property
    def num_successes(self) -> int:
        """How many episodes succeeded."""
        return sum(episode.success is True for episode in self.episodes)

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1; None if there is an episode of which it is not known."""
        if not self.episodes or any(episode.success is None for episode in self.episodes):
            return None
        return self.num_successes / len(self.episodes)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The Wilson 95% interval of the success rate, where that is known."""
        known = self.success_rate is not None
        return wilson_interval(self.num_successes, len(self.episodes)) if known else None

    @property
    def mean_return(self) -> float:
        """The mean of the sums of rewards."""
        return float(np.mean([episode.total_reward for episode in self.episodes]))

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        latencies = [ms for episode in self.episodes for ms in episode.latencies_ms]
        return {
            "env": self.env,
            "model": {"name": self.model, "hash": self.model_hash},
            "fingerprint": self.fingerprint,
            "options": self.options,
            "num_episodes": len(self.episodes),
            "num_successes": self.num_successes,
            "success_rate": self.success_rate,
            "success_interval_95": self.interval,
            "mean_return": self.mean_return,
            **_latency(latencies),
            "wall_secs": round(self.wall_secs, 3),
            "episodes": [episode.row() for episode in self.episodes],
        }

    def to_json(self) -> str:
        """As JSON, in which a number that is not finite is null."""
        return json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False)

    def __str__(self) -> str:
        found = self.to_dict()
        lines = [f"{self.env}: {len(self.episodes)} episodes of {self.model}"]
        if self.interval is None:
            lines.append("success   not known: the environment does not say, give success=")
        else:
            low, high = (f"{100 * bound:.0f}%" for bound in self.interval)
            rate = f"{100 * self.num_successes / len(self.episodes):.0f}%"
            count = f"{self.num_successes} of {len(self.episodes)}"
            lines.append(f"success   {rate}, {count} (95% interval {low} to {high})")
        lines.append(f"return    {self.mean_return:g} on average")
        if found["latency_p50_ms"] is not None:
            p50, p99 = found["latency_p50_ms"], found["latency_p99_ms"]
            lines.append(f"latency   {p50:.1f} ms (p50), {p99:.1f} ms (p99)")
        if outside := sum(episode.out_of_range for episode in self.episodes):
            lines.append(f"actions   {outside} outside the action space")
        lines.append(f"time      {self.wall_secs:.1f} s")
        return "\n".join(lines)


def _latency(latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """Percentiles that were measured, none in between."""
    if not latencies_ms:
        return {"latency_p50_ms": None, "latency_p99_ms": None}
    p50, p99 = np.percentile(latencies_ms, [50, 99], method="inverted_cdf")
    return {"latency_p50_ms": round(float(p50), 3), "latency_p99_ms": round(float(p99), 3)}


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
