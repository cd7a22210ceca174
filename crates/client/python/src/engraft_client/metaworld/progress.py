"""A progress bar on stderr: redrawn in a terminal, a line now and then elsewhere."""

import sys
import time

WIDTH = 24
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Tells how many of `total` are done."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._start = time.monotonic()
        self._told = -SECONDS_BETWEEN_LINES
        self._is_terminal = sys.stderr.isatty()

    def show(self, done: int, note: str) -> None:
        """Draws the bar with a note behind it."""
        elapsed = time.monotonic() - self._start
        is_last = done >= self._total
        if not self._is_terminal and not is_last and elapsed - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = elapsed
        full = WIDTH * done // max(self._total, 1)
        bar = "#" * full + "." * (WIDTH - full)
        line = f"{self._what} [{bar}] {done}/{self._total} {note} {elapsed:.0f} s"
        if self._is_terminal:
            print(f"\r\x1b[K{line}", end="\n" if is_last else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Leaves the bar where it is, so that what follows starts on a line of its own."""
        if self._is_terminal:
            print(file=sys.stderr, flush=True)
