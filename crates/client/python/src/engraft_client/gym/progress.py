"""A bar on a terminal that says how far an evaluation is."""

import sys
import time
from typing import TextIO

_WIDTH = 30


class Progress:
    """Shown on a terminal only: nothing is written into files and pipes.

    Args:
        total: Episodes to play.
        show: Whether to show anything at all.
        out: Where; stderr if it is left out.
    """

    def __init__(self, total: int, show: bool = True, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._show = show and self._out.isatty()
        self._total, self._began = total, time.monotonic()
        self._done, self._successes = 0, 0
        self._known = True
        self._draw()

    def add(self, success: bool | None) -> None:
        """One more episode is over."""
        self._done += 1
        self._known &= success is not None
        self._successes += bool(success)
        self._draw()

    def close(self) -> None:
        """Ends the line."""
        if self._show:
            self._out.write("\n")
            self._out.flush()

    def line(self) -> str:
        """The bar, the count, the successes so far, and the time that is left."""
        full = _WIDTH * self._done // max(1, self._total)
        parts = [f"[{'#' * full}{'.' * (_WIDTH - full)}] {self._done}/{self._total} episodes"]
        if self._done:
            if self._known:
                parts.append(f"{100 * self._successes / self._done:.0f}% success")
            each = (time.monotonic() - self._began) / self._done
            parts.append(f"{each * (self._total - self._done):.0f} s left")
        return ", ".join(parts)

    def _draw(self) -> None:
        if self._show:
            self._out.write(f"\r{self.line()}\x1b[K")
            self._out.flush()
