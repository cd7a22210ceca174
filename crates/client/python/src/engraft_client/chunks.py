"""Chunks that overlap, played one action at a time."""

import re
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engraft_client.errors import PolicyError

Floats = npt.NDArray[np.float32]

_NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COUNT = re.compile(r"\+?\d+", re.ASCII)


@dataclass(frozen=True)
class Merge:
    """What becomes of actions for which an older chunk had others.

    - ``latest``: the newer ones are played.
    - ``weighted:NEW``: a mean in which the newer ones count `new` (above 0, up to 1) and the older
      ones what is left to 1. Without a number 0.7.
    - ``ensemble:DECAY``: a mean over all chunks, in which the one of index `i`, 0 for the oldest,
      counts ``exp(-decay * i)``. Smooth, and slow to react. Without a number 0.01.
    - ``hold:FROZEN:RAMP``: the next `frozen` older ones are played; then the older give way to the
      newer, evenly over `ramp` actions.
    """

    kind: str = "latest"
    new: float = 1.0
    decay: float = 0.0
    frozen: int = 0
    ramp: int = 0

    @classmethod
    def parse(cls, text: str) -> "Merge":
        """Reads one of the four forms of text."""
        kind, *numbers = text.split(":")
        match kind, numbers:
            case "latest", []:
                return cls()
            case "weighted", []:
                return cls("weighted", new=0.7)
            case "weighted", [new] if (value := _number(new)) is not None and 0 < value <= 1:
                return cls("weighted", new=value)
            case "ensemble", []:
                return cls("ensemble", decay=0.01)
            case "ensemble", [decay] if (value := _number(decay)) is not None:
                return cls("ensemble", decay=value)
            case "hold", [frozen, ramp] if _COUNT.fullmatch(frozen) and _COUNT.fullmatch(ramp):
                return cls("hold", frozen=int(frozen), ramp=int(ramp))
        forms = "latest, weighted:NEW, ensemble:DECAY or hold:FROZEN:RAMP"
        raise PolicyError("BAD_OPTION", f"merge: expected {forms}, found `{text}`")

    def __str__(self) -> str:
        match self.kind:
            case "weighted":
                return f"weighted:{_text(self.new)}"
            case "ensemble":
                return f"ensemble:{_text(self.decay)}"
            case "hold":
                return f"hold:{self.frozen}:{self.ramp}"
        return self.kind


def _number(text: str) -> float | None:
    """A finite 32-bit float that is not negative, as the server's side reads it."""
    if not _NUMBER.fullmatch(text):
        return None
    with np.errstate(over="ignore"):
        value = float(np.float32(float(text)))
    return value if np.isfinite(value) else None


def _text(value: float) -> str:
    return np.format_float_positional(np.float32(value), trim="-")


@dataclass
class _Slot:
    """The action of one tick, out of one chunk or several."""

    values: Floats
    weight: np.float32  # what the chunks in it count together, and how many they are: ensembles
    chunks: int = 1


class ChunkQueue:
    """Plays chunks one action at a time, by absolute tick.

    A chunk says for which tick its first action was meant. Late, repeated and overlapping chunks
    then need no special care: what lies in the past is never played, and where chunks overlap,
    the merge says what is.

    >>> queue = ChunkQueue()
    >>> queue.push(10, 10, np.float32([[0.5], [0.75]]))
    True
    >>> float(queue.action(11)[0])
    0.75
    >>> queue.action(12) is None  # the chunk is played out
    True
    """

    def __init__(self, merge: Merge | str = "latest") -> None:
        self.merge = Merge.parse(merge) if isinstance(merge, str) else merge
        self._slots: deque[_Slot] = deque()
        self._first = 0  # the tick of the first slot
        self._newest: int | None = None  # the first tick of the newest chunk

    def push(self, now: int, first_tick: int, actions: Floats) -> bool:
        """Offers, at tick `now`, a chunk whose first action belongs to `first_tick`.

        Args:
            now: The running control tick.
            first_tick: The tick of the observation that the chunk was made from.
            actions: float32 ``[horizon, action_dim]`` in physical units.

        Returns:
            Whether it was taken: a chunk made from an observation no newer than the newest one is
            not, nor is one that lies in the past as a whole.
        """
        end = first_tick + len(actions)
        if end <= now or (self._newest is not None and first_tick <= self._newest):
            return False
        self._newest = first_tick
        # From where on the new chunk counts; what the old ones have before that stays.
        start = max(first_tick, now)
        if not self._slots or not self._first <= start <= self._first + len(self._slots):
            self._slots.clear()
            self._first = start
        while self._slots and self._first < now:
            self._slots.popleft()
            self._first += 1
        while len(self._slots) > end - self._first:
            self._slots.pop()
        for tick in range(start, end):
            values = np.array(actions[tick - first_tick], np.float32)
            if tick - self._first < len(self._slots):
                self._merge_into(self._slots[tick - self._first], tick - now, values)
            else:
                self._slots.append(_Slot(values, np.float32(1)))
        return True

    def action(self, tick: int) -> Floats | None:
        """The action meant for `tick`, float32 ``[action_dim]``, if there is one."""
        step = tick - self._first
        return self._slots[step].values if 0 <= step < len(self._slots) else None

    def remaining(self, tick: int) -> int:
        """How many actions are left to play, the one of `tick` included."""
        return max(0, self._first + len(self._slots) - max(tick, self._first))

    def clear(self) -> None:
        """Forgets everything, for a new episode or a stop."""
        self._slots.clear()
        self._first, self._newest = 0, None

    def _merge_into(self, slot: _Slot, ahead: int, new: Floats) -> None:
        """Merges a newer action into a slot that is played `ahead` ticks from now."""
        share = self._share(slot, ahead)
        slot.values = new if share >= 1 else slot.values + share * (new - slot.values)

    def _share(self, slot: _Slot, ahead: int) -> np.float32:
        """What the newer action counts, from 0 to 1."""
        merge = self.merge
        if merge.kind == "weighted":
            return np.float32(merge.new)
        if merge.kind == "ensemble":
            weight = np.exp(np.float32(-merge.decay) * np.float32(slot.chunks))
            slot.chunks += 1
            slot.weight = np.float32(slot.weight + weight)
            return np.float32(weight / slot.weight)
        if merge.kind == "hold":
            ramped = ahead - merge.frozen
            if ramped < 0:
                return np.float32(0)
            if ramped < merge.ramp:
                return np.float32((ramped + 1) / (merge.ramp + 1))
        return np.float32(1)
