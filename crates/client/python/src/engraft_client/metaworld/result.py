"""What came of an evaluation, for people and for programs."""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engraft_client.contract import Model
from engraft_client.interval import wilson_interval
from engraft_client.metaworld.errors import MetaworldError
from engraft_client.metaworld.statistics import percentile

PACKAGES = ("engraft-client", "metaworld", "mujoco", "numpy")


@dataclass(frozen=True)
class Episode:
    """One episode: where it took place, how it ended, and how long each answer took."""

    number: int
    instance: int
    placement: int
    expert_failures: int
    """Places that were left out before, because the expert failed there."""
    success: bool
    steps: int
    latencies_ms: tuple[float, ...]

    def to_plain(self) -> dict[str, Any]:
        """A row of the result."""
        return {
            "episode": self.number,
            "instance": self.instance,
            "seed": self.placement,
            "expert_failures": self.expert_failures,
            "success": self.success,
            "steps": self.steps,
            "requests": len(self.latencies_ms),
            "latency_p50_ms": percentile(self.latencies_ms, 0.5),
            "latency_p99_ms": percentile(self.latencies_ms, 0.99),
        }


@dataclass(frozen=True)
class Evaluation:
    """All episodes of an evaluation."""

    settings: dict[str, Any]
    model: Model
    episodes: tuple[Episode, ...]
    wall_secs: float

    @property
    def successes(self) -> int:
        """Episodes in which the task was done."""
        return sum(episode.success for episode in self.episodes)

    def __str__(self) -> str:
        won, played = self.successes, len(self.episodes)
        low, high = wilson_interval(won, played)
        latencies = [one for episode in self.episodes for one in episode.latencies_ms]
        p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
        name = f"{self.settings['task']} {self.settings['split']}"
        rate = f"{won} of {played} ({won / played:.0%}; {low:.0%} to {high:.0%} Wilson 95 %)"
        model = f"{self.model.name} {self.model.hash[:12]}"
        return f"{name}: {rate}; answers {p50:.1f} ms p50, {p99:.1f} ms p99; {model}"

    def to_plain(self) -> dict[str, Any]:
        """As the JSON file has it."""
        low, high = wilson_interval(self.successes, len(self.episodes))
        latencies = [one for episode in self.episodes for one in episode.latencies_ms]
        return {
            "settings": self.settings,
            "model": {"name": self.model.name, "hash": self.model.hash},
            "episodes": len(self.episodes),
            "successes": self.successes,
            "success_rate": self.successes / len(self.episodes),
            "wilson_95": [low, high],
            "latency_p50_ms": percentile(latencies, 0.5),
            "latency_p99_ms": percentile(latencies, 0.99),
            "wall_secs": self.wall_secs,
            "versions": versions(),
            "rows": [episode.to_plain() for episode in self.episodes],
        }

    def write(self, path: Path) -> None:
        """Writes the JSON file."""
        try:
            path.write_text(json.dumps(self.to_plain(), indent=1) + "\n")
        except OSError as error:
            raise MetaworldError(f'cannot write "{path}": {error.strerror}') from error


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
