"""Statistics of a dataset's columns and of what an evaluation took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


@dataclass(frozen=True)
class FeatureStats:
    """Bounds, mean, deviation and quantiles of a column, for each dimension or channel."""

    count: int
    min: np.ndarray
    max: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    quantiles: np.ndarray
    """`[5, dim]`, in the order of `QUANTILES`."""
    is_picture: bool = False

    @classmethod
    def of_vectors(cls, values: np.ndarray) -> "FeatureStats":
        """Of `[count, dim]` numbers, of which there is at least one."""
        exact = values.astype(np.float64)
        quantiles = np.quantile(exact, list(QUANTILES.values()), axis=0)
        bounds = exact.min(0), exact.max(0)
        return cls(len(exact), *bounds, exact.mean(0), exact.std(0), quantiles)

    @classmethod
    def of_colours(cls, counts: np.ndarray, num_pictures: int) -> "FeatureStats":
        """Of pictures in which each value of each channel occurs `counts` times; scaled to 0..1."""
        values = np.arange(256) / 255.0
        total = counts.sum(1)
        mean = counts @ values / total
        std = np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0.0))
        low = np.array([np.flatnonzero(channel)[0] for channel in counts]) / 255.0
        high = np.array([np.flatnonzero(channel)[-1] for channel in counts]) / 255.0
        below = counts.cumsum(1) / total[:, None]
        quantiles = np.array(
            [(below <= q).sum(1).clip(max=255) / 255.0 for q in QUANTILES.values()]
        )
        return cls(num_pictures, low, high, mean, std, quantiles, is_picture=True)

    def merged(self, other: "FeatureStats | None") -> "FeatureStats":
        """Of both: exact but for the quantiles, which become an envelope, as LeRobot has it."""
        if other is None:
            return self
        count = self.count + other.count
        share = self.count / count
        mean = share * self.mean + (1 - share) * other.mean

        def spread(stats: FeatureStats) -> np.ndarray:
            return np.asarray(stats.std**2 + (stats.mean - mean) ** 2)

        std = np.sqrt(share * spread(self) + (1 - share) * spread(other))
        is_low = np.array(list(QUANTILES.values()))[:, None] <= 0.5
        lower, upper = (
            np.minimum(self.quantiles, other.quantiles),
            np.maximum(self.quantiles, other.quantiles),
        )
        low, high = np.minimum(self.min, other.min), np.maximum(self.max, other.max)
        quantiles = np.where(is_low, lower, upper)
        return FeatureStats(count, low, high, mean, std, quantiles, self.is_picture)

    def to_plain(self) -> dict[str, list[Any]]:
        """As `stats.json` has it; a picture's numbers are `[3, 1, 1]`."""

        def nested(values: np.ndarray) -> list[Any]:
            plain: list[Any] = values.astype(float).tolist()
            return [[[value]] for value in plain] if self.is_picture else plain

        named = {"min": self.min, "max": self.max, "mean": self.mean, "std": self.std}
        quantiles = dict(zip(QUANTILES, self.quantiles, strict=True))
        plain = {name: nested(values) for name, values in (named | quantiles).items()}
        return {**plain, "count": [self.count]}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of the others lie; `None` of nothing."""
    return float(np.quantile(values, share)) if len(values) else None
