"""Observations: what is checked before anything is sent, and the stack of the last ones."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engraft_client.contract import Contract, ViewSpec
from engraft_client.errors import PolicyError

Array = npt.NDArray[Any]
Observation = Mapping[str, Any]
"""``{"rgb": {view: uint8 [height, width, 3]}, "depth": {view: float [height, width] in metres},
"proprio": float [proprio_dim] in the units of the contract}``; depth for views that measure it."""


@dataclass(frozen=True)
class Frame:
    """A checked observation, in the order of the contract.

    Attributes:
        rgb: For each view uint8 ``[height, width, 3]``.
        depth: For each view float32 ``[height, width]`` in metres, or None.
        proprio: float32 ``[proprio_dim]``.
    """

    rgb: tuple[Array, ...]
    depth: tuple[Array | None, ...]
    proprio: Array


def check(contract: Contract, observation: Observation, copy: bool = True) -> Frame:
    """Makes a frame of an observation that keeps the contract.

    Args:
        contract: What is expected.
        observation: What the robot sensed.
        copy: Whether the caller may change its arrays afterwards.

    Raises:
        PolicyError: ``BAD_SHAPE``, ``BAD_DTYPE`` or ``NONFINITE``, with expected and found.
    """
    if not isinstance(observation, Mapping):
        found = type(observation).__name__
        expected = 'a dict with "rgb" and "proprio"'
        raise PolicyError("BAD_SHAPE", f"observation: expected {expected}, found {found}")
    spec = contract.spec
    parts = ["rgb", "depth", "proprio"]
    if unknown := [str(key) for key in observation if key not in parts]:
        expected, found = ", ".join(parts), ", ".join(unknown)
        detail = f"expected the keys {expected}, found `{found}`: rename or leave it out"
        raise PolicyError("BAD_SHAPE", f"observation: {detail}")
    pictures = _views(observation, "rgb", list(spec.views))
    deep = [view for view in spec.views if view.depth]
    depths = _views(observation, "depth", deep)
    rgb = tuple(_rgb(view, pictures[view.name], copy) for view in spec.views)
    depth = tuple(_depth(v, depths[v.name], copy) if v.depth else None for v in spec.views)
    return Frame(rgb, depth, _proprio(contract, observation.get("proprio")))


def _views(observation: Observation, part: str, views: list[ViewSpec]) -> Mapping[str, Any]:
    """The views of one part, which must be those of the contract."""
    given = observation.get(part, {})
    expected = ", ".join(view.name for view in views) or "none"
    if not isinstance(given, Mapping):
        form = f'a dict with the views {expected}, as {{"{part}": {{"NAME": array}}}}'
        found = type(given).__name__
        raise PolicyError("BAD_SHAPE", f"{part}: expected {form}, found {found}")
    if set(given) != {view.name for view in views}:
        found = ", ".join(map(str, given)) or "none"
        hint = "give every camera under the name it had in training"
        raise PolicyError("BAD_SHAPE", f"{part} views: expected {expected}, found {found}: {hint}")
    return given


def _rgb(view: ViewSpec, given: Any, copy: bool) -> Array:
    what, shape = f"rgb view `{view.name}`", (view.height, view.width, 3)
    picture = np.asarray(given)
    if picture.dtype != np.uint8:
        hint = "pictures have values from 0 to 255"
        if picture.dtype.kind == "f":
            hint += ", so scale floats from 0 to 1 with (255 * x).round().astype(np.uint8)"
        found = f"{picture.dtype} {list(picture.shape)}"
        raise PolicyError("BAD_DTYPE", f"{what}: expected uint8, found {found}: {hint}")
    if picture.shape != shape:
        hint = "resize it as was done in training"
        if picture.shape == (3, view.height, view.width):
            hint = "move the colours last with np.moveaxis(x, 0, -1)"
        elif picture.shape == (view.width, view.height, 3) and view.width != view.height:
            hint = "rows come before columns, so swap the first two axes"
        raise _shape(what, shape, picture.shape, hint)
    return np.array(picture, order="C") if copy else np.ascontiguousarray(picture)


def _depth(view: ViewSpec, given: Any, copy: bool) -> Array:
    # A NaN says that nothing was measured there, so depth is not searched for one.
    what, shape = f"depth view `{view.name}`", (view.height, view.width)
    metres = np.asarray(given)
    if metres.dtype.kind != "f":
        hint = "depth is in metres, so divide millimetres by 1000"
        raise PolicyError("BAD_DTYPE", f"{what}: expected float32, found {metres.dtype}: {hint}")
    if metres.shape != shape:
        raise _shape(what, shape, metres.shape, "resize it as was done in training")
    return np.array(metres, "<f4", order="C") if copy else np.ascontiguousarray(metres, "<f4")


def _proprio(contract: Contract, given: Any) -> Array:
    dimensions = contract.spec.proprio
    names = ", ".join(map(str, dimensions)) or "none"
    if given is None and dimensions:
        shape = [len(dimensions)]
        raise PolicyError("BAD_SHAPE", f"proprio: expected float32 {shape} ({names}), found none")
    values = np.asarray([] if given is None else given)
    if values.dtype.kind not in "fiu":
        hint = "give a row of plain numbers"
        raise PolicyError("BAD_DTYPE", f"proprio: expected float32, found {values.dtype}: {hint}")
    if values.shape != (len(dimensions),):
        raise _shape("proprio", (len(dimensions),), values.shape, f"its numbers are {names}")
    with np.errstate(over="ignore"):
        floats = np.array(values, "<f4")
    for dimension, value in zip(dimensions, floats, strict=True):
        if not np.isfinite(value):
            hint = "check that sensor, a policy cannot do without it"
            detail = f"proprio `{dimension.name}`: expected a finite number, found {value}: {hint}"
            raise PolicyError("NONFINITE", detail)
    return floats


def _shape(what: str, expected: tuple[int, ...], found: tuple[int, ...], hint: str) -> PolicyError:
    detail = f"{what}: expected shape {list(expected)}, found {list(found)}: {hint}"
    return PolicyError("BAD_SHAPE", detail)


class FrameStack:
    """The last `num_frames` observations; the first repeats before the start of an episode."""

    def __init__(self, num_frames: int) -> None:
        self._frames: deque[Frame] = deque(maxlen=num_frames)
        self._num_frames = num_frames

    def push(self, frame: Frame) -> None:
        """Adds the newest; the oldest is forgotten."""
        missing = self._num_frames - 1 if not self._frames else 0
        self._frames.extend([frame] * (missing + 1))

    def clear(self) -> None:
        """Forgets everything, for a new episode."""
        self._frames.clear()

    def arrays(self) -> list[tuple[str, Array]]:
        """The stack by the names of the protocol, oldest first.

        ``rgb.V`` uint8 ``[frames, height, width, 3]``, ``depth.V`` float32
        ``[frames, height, width]`` where view V has depth, ``proprio`` float32 ``[frames, dim]``.
        A single frame is not copied.
        """
        arrays: list[tuple[str, Array]] = []
        newest = self._frames[-1]
        for v in range(len(newest.rgb)):
            arrays.append((f"rgb.{v}", _stack([frame.rgb[v] for frame in self._frames])))
            depth = [d for frame in self._frames if (d := frame.depth[v]) is not None]
            if depth:
                arrays.append((f"depth.{v}", _stack(depth)))
        arrays.append(("proprio", _stack([frame.proprio for frame in self._frames])))
        return arrays


def _stack(arrays: list[Array]) -> Array:
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
