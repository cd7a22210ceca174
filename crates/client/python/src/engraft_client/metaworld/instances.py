"""Instances of an object: what it looks like and how it is shaped, in two sets that share nothing.

An instance is a number in a split. Its colours, textures and proportions follow from the two
alone, so the same instance comes back in every run, at whatever place a seed puts it. Training and
held-out instances are drawn from alternate parts of the same ranges: no hue, no texture and no
proportion of one is found in the other. Their lights are drawn from the same range, each on its
own, and some of MetaWorld's woods and tiles resemble one another across the two.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "heldout")
VARIATIONS = ("none", "look", "shape", "all")
NUM_INSTANCES = 25
"""Instances of each split."""
HUE_BANDS = 6
"""Bands of the colour wheel, dealt to the splits in turn."""
SCALE_RANGE = (0.85, 1.15)
"""How far the sides of an object are stretched."""
SCALE_CELLS = 8
"""Parts of that range, dealt to the splits in turn."""


@dataclass(frozen=True)
class Instance:
    """One of the instances of a split, and what of it differs from the stock object."""

    split: str
    number: int
    variation: str

    @property
    def changes_look(self) -> bool:
        """Whether colours, textures and lights differ."""
        return self.variation in ("look", "all")

    @property
    def changes_shape(self) -> bool:
        """Whether proportions differ."""
        return self.variation in ("shape", "all")

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers of this instance, the same in every run; each purpose has its own."""
        split = SPLITS.index(self.split)
        return np.random.default_rng([*purpose.encode(), split, self.number])


def draw_colour(rng: np.random.Generator, split: str) -> tuple[float, float, float]:
    """A colour of a split's hues: red, green and blue in 0..1."""
    band = 2 * int(rng.integers(HUE_BANDS // 2)) + SPLITS.index(split)
    hue = (band + rng.uniform(0.1, 0.9)) / HUE_BANDS
    return colorsys.hsv_to_rgb(hue, rng.uniform(0.4, 0.95), rng.uniform(0.35, 0.95))


def draw_scale(rng: np.random.Generator, split: str) -> np.ndarray:
    """How a split's object is stretched along x, y and z."""
    low, high = SCALE_RANGE
    cells = 2 * rng.integers(SCALE_CELLS // 2, size=3) + SPLITS.index(split)
    return low + (high - low) * (cells + rng.uniform(0.0, 1.0, size=3)) / SCALE_CELLS


def split_textures(names: Sequence[str], split: str) -> list[str]:
    """The textures of a split: every other name in alphabetical order."""
    return sorted(names)[SPLITS.index(split) :: 2]
