"""What a policy server expects and gives: the robot, its cameras, joints, units and rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engraft_client.errors import PolicyError


@dataclass(frozen=True)
class ViewSpec:
    """One camera: its name, the size of its picture in pixels, and whether it measures depth."""

    name: str
    width: int
    height: int
    depth: bool = False

    def __str__(self) -> str:
        depth = " and depth" if self.depth else ""
        return f"{self.name} [{self.height}, {self.width}, 3]{depth}"


@dataclass(frozen=True)
class Dimension:
    """One number of proprio or of an action: its name, its unit, and its bounds where known.

    The unit is ``rad``, ``m``, ``rad/s``, ``1`` and the like, or empty where it is not known.
    """

    name: str
    unit: str
    min: float | None = None
    max: float | None = None

    @property
    def range(self) -> tuple[float, float] | None:
        """Both bounds, in its unit, where both are known."""
        return None if self.min is None or self.max is None else (self.min, self.max)

    def __str__(self) -> str:
        return f"{self.name} [{self.unit}]"


@dataclass(frozen=True)
class RobotSpec:
    """What a robot senses and accepts.

    Attributes:
        name: The robot's name.
        rate_hz: Observations and actions per second.
        views: The cameras, in order.
        proprio: What proprio holds, in order.
        actions: What an action holds, in order.
    """

    name: str
    rate_hz: float
    views: tuple[ViewSpec, ...]
    proprio: tuple[Dimension, ...]
    actions: tuple[Dimension, ...]

    @property
    def proprio_dim(self) -> int:
        """Width of proprio."""
        return len(self.proprio)

    @property
    def action_dim(self) -> int:
        """Width of an action."""
        return len(self.actions)

    def to_wire(self) -> dict[str, Any]:
        """As plain data in the words of the protocol."""

        def dimension(d: Dimension) -> dict[str, Any]:
            bounds = {"min": d.min, "max": d.max}
            known = {key: value for key, value in bounds.items() if value is not None}
            return {"name": d.name, "unit": d.unit, **known}

        return {
            "name": self.name,
            "control_hz": self.rate_hz,
            "views": [
                {"name": v.name, "width": v.width, "height": v.height, "depth": v.depth}
                for v in self.views
            ],
            "proprio": [dimension(d) for d in self.proprio],
            "actions": [dimension(d) for d in self.actions],
        }


@dataclass(frozen=True)
class Contract:
    """What the served policy was trained for, and what it therefore expects and gives.

    Attributes:
        spec: The robot.
        num_frames: Observations in a request, oldest first.
        horizon: Actions in a reply.
        fingerprint: SHA-256 of the robot without its name, in hex.
    """

    spec: RobotSpec
    num_frames: int
    horizon: int
    fingerprint: str

    def difference(self, other: "Contract") -> str | None:
        """The first thing in which `other` is not this contract, if there is one."""
        ours, theirs = self._lines(), other._lines()
        for what, expected in ours.items():
            if expected != theirs[what]:
                return f"{what}: expected {expected}, found {theirs[what]}"
        if self.fingerprint != other.fingerprint:
            return f"fingerprint: expected {self.fingerprint}, found {other.fingerprint}"
        return None

    def _lines(self) -> dict[str, str]:
        spec = self.spec

        def listed(dimensions: tuple[Dimension, ...]) -> str:
            each = (f"{d} in {d.min} .. {d.max}" if d.range else str(d) for d in dimensions)
            return ", ".join(each) or "nothing"

        return {
            "rate": f"{spec.rate_hz:g} Hz",
            "views": ", ".join(map(str, spec.views)) or "none",
            "proprio": listed(spec.proprio),
            "actions": listed(spec.actions),
            "frames": str(self.num_frames),
            "horizon": str(self.horizon),
        }

    def example(self) -> dict[str, Any]:
        """An observation that keeps the contract, for trying out and warming up.

        Grey pictures, depth of one metre, proprio in the middle of its range.
        """
        spec = self.spec
        middle = [(d.range[0] + d.range[1]) / 2 if d.range else 0.0 for d in spec.proprio]
        return {
            "rgb": {v.name: np.full((v.height, v.width, 3), 128, np.uint8) for v in spec.views},
            "depth": {
                v.name: np.ones((v.height, v.width), np.float32) for v in spec.views if v.depth
            },
            "proprio": np.array(middle, np.float32),
        }


@dataclass(frozen=True)
class Model:
    """Which policy answers: its name, and the SHA-256 of its weights and configuration in hex."""

    name: str
    hash: str


def read_model(data: Mapping[str, Any]) -> Model:
    """The model of a welcome or a status."""
    try:
        return Model(str(data["name"]), str(data["hash"]))
    except (KeyError, TypeError) as error:
        raise _unreadable("model", error) from error


def read_contract(data: Mapping[str, Any], fingerprint: str) -> Contract:
    """The contract of a welcome."""

    def bound(value: Any) -> float | None:
        return None if value is None else float(value)

    def dimensions(all_data: list[dict[str, Any]]) -> tuple[Dimension, ...]:
        return tuple(
            Dimension(str(d["name"]), str(d["unit"]), bound(d.get("min")), bound(d.get("max")))
            for d in all_data
        )

    try:
        spec = data["spec"]
        views = tuple(
            ViewSpec(str(v["name"]), int(v["width"]), int(v["height"]), bool(v.get("depth", False)))
            for v in spec["views"]
        )
        robot = RobotSpec(
            name=str(spec["name"]),
            rate_hz=float(spec["control_hz"]),
            views=views,
            proprio=dimensions(spec["proprio"]),
            actions=dimensions(spec["actions"]),
        )
        num_frames, horizon = int(data["num_frames"]), int(data["horizon"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable("contract", error) from error
    if num_frames < 1 or horizon < 1:
        detail = f"expected at least one frame and action, found {num_frames} and {horizon}"
        raise PolicyError("BAD_REPLY", f"contract of the server: {detail}")
    return Contract(robot, num_frames, horizon, fingerprint)


def _unreadable(what: str, error: Exception) -> PolicyError:
    reason = f"{type(error).__name__} {error}"
    return PolicyError("BAD_REPLY", f"cannot read the {what} that the server sent: {reason}")
