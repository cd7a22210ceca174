"""A contact sheet: for each episode what both cameras saw at its start, its middle and its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

CAPTION = 14
"""Height of a caption in pixels."""
GAP = 3
COLUMNS = 2
"""Episodes beside each other."""
SUCCESS, FAILURE = (40, 150, 60), (190, 50, 40)


@dataclass(frozen=True)
class Strip:
    """One episode's pictures, in order, for each camera."""

    caption: str
    success: bool
    pictures: Mapping[str, Sequence[np.ndarray]]

    def draw(self) -> Image.Image:
        """The pictures in a row below a caption, on green after a success and on red elsewhere."""
        row = [picture for pictures in self.pictures.values() for picture in pictures]
        height, width = row[0].shape[:2]
        colour = SUCCESS if self.success else FAILURE
        strip = Image.new("RGB", ((width + GAP) * len(row) + GAP, height + CAPTION + GAP), colour)
        names = ", ".join(self.pictures)
        ended = "success" if self.success else "failure"
        text = f"{self.caption}, {ended} ({names}: first, middle, last)"
        ImageDraw.Draw(strip).text((GAP, 1), text, fill="white")
        for at, picture in enumerate(row):
            strip.paste(Image.fromarray(picture), (GAP + at * (width + GAP), CAPTION))
        return strip


def draw_sheet(strips: Sequence[Strip]) -> Image.Image:
    """All strips, of which there is at least one, in two columns."""
    drawn = [strip.draw() for strip in strips]
    width, height = (side + GAP for side in drawn[0].size)
    num_rows = -(-len(drawn) // COLUMNS)
    columns = min(COLUMNS, len(drawn))
    sheet = Image.new("RGB", (width * columns - GAP, height * num_rows - GAP), "black")
    for at, strip in enumerate(drawn):
        row, column = divmod(at, COLUMNS)
        sheet.paste(strip, (column * width, row * height))
    return sheet
