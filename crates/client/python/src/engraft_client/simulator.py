"""Makes a simulator an arm of `firmware-bridge`: a subclass says what happens in it.

`SimulatorServer` hides the sockets. `firmware-bridge run --arm my_arm.toml --port
tcp://127.0.0.1:5570` then moves the simulator's arm as it moves a real one. The protocol is
described in ``crates/wire/src/simulator.rs``.
"""

import math
import re
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import zmq

from engraft_client import wire
from engraft_client.errors import PolicyError
from engraft_client.observation import Array

VERSION = 1
WATCHDOG_SECS = 0.25
_MAX_REQUEST_BYTES = 64 << 10
_ENDPOINT = re.compile(r"tcp://(?P<host>.+):(?P<port>\d{1,5}|\*)")
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|\[::1\]")
# How often a thread looks whether it shall end, and whether the watchdog's time has passed.
_LOOK_MILLIS = 20
# How far a goal may lie outside: a bridge rounds to millionths.
_SLACK_RAD = 1e-5


class SimulatorError(Exception):
    """Why something was not done, in one line; the bridge is told."""


@dataclass(frozen=True)
class Joint:
    """A joint, and what it takes: radians, or metres where it slides."""

    name: str
    min_rad: float
    max_rad: float


@dataclass(frozen=True)
class View:
    """A camera's picture."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Description:
    """What a simulator is.

    Attributes:
        name: Which robot: the `model` of every joint in the bridge's description of the arm.
        version: What simulates it, and which release.
        joints: From the base outwards, eight at most.
        task: In words.
        views: The cameras, in order; without one there are no eyes.
        instances: Names of the task's instances, for `reset`.
        step_secs: Seconds of a step of the physics.
        watchdog_secs: Seconds without a command after which `hold` is called.
    """

    name: str
    version: str
    joints: Sequence[Joint]
    task: str = ""
    views: Sequence[View] = ()
    instances: Sequence[str] = ()
    step_secs: float = 0.002
    watchdog_secs: float = WATCHDOG_SECS


@dataclass(frozen=True)
class State:
    """How the arm is, each number in the order of the joints.

    Attributes:
        time_secs: On the simulated clock.
        position_rad: Where each joint is.
        velocity_rad_s: How fast it moves.
        torque: Whether the arm has torque.
        effort: How hard each joint pushes, as a part of its most, signed.
    """

    time_secs: float
    position_rad: Sequence[float]
    velocity_rad_s: Sequence[float]
    torque: bool
    effort: Sequence[float] | None = None


@dataclass(frozen=True)
class Sight:
    """What the cameras see.

    Attributes:
        time_secs: On the simulated clock.
        pictures: A uint8 picture [height, width, 3] for each view, in order.
        position_rad: Where the joints are in the pictures.
        success: Whether the task is done; None where nobody can tell.
    """

    time_secs: float
    pictures: Sequence[Array]
    position_rad: Sequence[float]
    success: bool | None = None


# The kind of an answer, its fields and its arrays.
_Answer = tuple[str, dict[str, Any], list[tuple[str, Array]]]
_Verbs = dict[str, Callable[[dict[str, Any]], _Answer]]


class SimulatorServer(ABC):
    """A simulator behind two sockets. Subclass it, then `serve` or `start`.

    `sense`, `command`, `torque` and `hold` are called by one thread, `reset` and `look` by another,
    so that drawing never makes an arm wait: what both touch needs a lock, and what draws without
    letting go of Python's own lock belongs in another process. The simulated clock has to go on by
    itself, as fast as the wall's.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._torque, self._held = False, True
        self._commanded = 0.0
        self._eyes_port: int | None = None

    @abstractmethod
    def describe(self) -> Description:
        """What this is. The same each time."""

    @abstractmethod
    def sense(self) -> State:
        """How the arm is now."""

    @abstractmethod
    def command(self, goal_rad: Sequence[float]) -> None:
        """Takes a goal for each joint, within its range; called only while there is torque."""

    @abstractmethod
    def torque(self, on: bool) -> None:
        """Gives torque or takes it. Every goal becomes the place where the joint is.

        Without torque joints stay where they are, as if a brake held them.
        """

    def hold(self) -> None:
        """Nobody commanded for a while: every goal becomes the place where the joint is."""
        self.command(self.sense().position_rad)

    def reset(self, instance: int, seed: int) -> Sequence[float] | None:
        """Places everything but the arm; returns where the arm should begin, if that matters."""
        raise SimulatorError(f"expected no episodes, found instance {instance}, seed {seed}")

    def look(self) -> Sight:
        """What the cameras see now."""
        raise SimulatorError("expected no cameras to be looked through: there are none")

    def serve(self, listen: str, insecure_plaintext: bool = False) -> None:
        """Answers until `stop` is called from elsewhere, or Ctrl-C.

        Args:
            listen: ``tcp://HOST:PORT``; the cameras are at the next port, or at any that is free.
            insecure_plaintext: Whether other machines may reach it. Nothing is encrypted.
        """
        self.start(listen, insecure_plaintext)
        try:
            self._stopped.wait()
        finally:
            self.stop()

    def start(self, listen: str, insecure_plaintext: bool = False) -> str:
        """Answers on threads of its own; returns where. See `serve`."""
        matched = _ENDPOINT.fullmatch(listen)
        if matched is None:
            raise SimulatorError(f"expected tcp://HOST:PORT to listen at, found `{listen}`")
        host, port = matched["host"], matched["port"]
        if not _LOOPBACK.fullmatch(host) and not insecure_plaintext:
            raise SimulatorError(
                f"`{listen}` can be reached from other machines and nothing is encrypted:"
                " listen at tcp://127.0.0.1:PORT, or allow it with --insecure-plaintext"
            )
        self._stopped.clear()
        sockets = [_socket(f"tcp://{host}:{port}")]
        self.endpoint = _bound(sockets[0])
        if self.describe().views:
            sockets.append(_eyes(host, _port(self.endpoint) + 1))
            self._eyes_port = _port(_bound(sockets[1]))
        both: _Verbs = {"describe": self._describe}
        arm: _Verbs = {"sense": self._sense, "command": self._command, "torque": self._torqued}
        eyes: _Verbs = {"reset": self._reset, "look": self._look}
        for socket, verbs in zip(sockets, (arm, eyes), strict=False):
            work = threading.Thread(target=self._run, args=(socket, {**both, **verbs}), daemon=True)
            self._threads.append(work)
            work.start()
        return self.endpoint

    def stop(self) -> None:
        """Stops to answer; may be called twice."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self, socket: "zmq.Socket[bytes]", verbs: _Verbs) -> None:
        try:
            while not self._stopped.is_set():
                if socket.poll(_LOOK_MILLIS):
                    socket.send_multipart(_answer(socket.recv_multipart(), verbs))
                if "command" in verbs:
                    self._watch()
        finally:
            socket.close(0)

    def _watch(self) -> None:
        """A bridge that says nothing any more moves nothing any more."""
        silent = time.monotonic() - self._commanded
        if self._torque and not self._held and silent > self.describe().watchdog_secs:
            self._held = True
            self.hold()

    def _describe(self, _: dict[str, Any]) -> _Answer:
        is_ = self.describe()
        fields: dict[str, Any] = {
            "name": is_.name,
            "version": is_.version,
            "task": is_.task,
            "joints": [vars(joint) for joint in is_.joints],
            "views": [{**vars(view), "depth": False} for view in is_.views],
            "instances": list(is_.instances),
            "step_secs": float(is_.step_secs),
            "watchdog_secs": float(is_.watchdog_secs),
        }
        if self._eyes_port is not None:
            fields["eyes_port"] = self._eyes_port
        return "description", fields, []

    def _sense(self, _: dict[str, Any]) -> _Answer:
        is_ = self.sense()
        fields = {
            "time_secs": float(is_.time_secs),
            "position_rad": _numbers(is_.position_rad),
            "velocity_rad_s": _numbers(is_.velocity_rad_s),
            "torque": is_.torque,
        }
        if is_.effort is not None:
            fields["effort"] = _numbers(is_.effort)
        return "state", fields, []

    def _command(self, asked: dict[str, Any]) -> _Answer:
        goals, joints = asked.get("goal_rad"), self.describe().joints
        if not self._torque:
            raise SimulatorError("torque is off: switch it on before a command")
        if not isinstance(goals, list) or len(goals) != len(joints):
            found = len(goals) if isinstance(goals, list) else "none"
            raise SimulatorError(f"goal_rad: expected {len(joints)} numbers, found {found}")
        for joint, goal in zip(joints, goals, strict=True):
            least, most = joint.min_rad - _SLACK_RAD, joint.max_rad + _SLACK_RAD
            if not isinstance(goal, (int, float)) or not least <= goal <= most:
                bounds = f"{joint.min_rad:g} to {joint.max_rad:g}"
                raise SimulatorError(f"joint {joint.name}: expected {bounds}, found {goal}")
        self.command([float(goal) for goal in goals])
        self._commanded, self._held = time.monotonic(), False
        return self._sense(asked)

    def _torqued(self, asked: dict[str, Any]) -> _Answer:
        on = asked.get("on")
        if not isinstance(on, bool):
            raise SimulatorError(f"on: expected true or false, found {on}")
        self.torque(on)
        self._torque, self._held = on, True
        return self._sense(asked)

    def _reset(self, asked: dict[str, Any]) -> _Answer:
        instance, seed = asked.get("instance"), asked.get("seed")
        count = max(1, len(self.describe().instances))
        if not isinstance(instance, int) or not 0 <= instance < count:
            raise SimulatorError(f"instance: expected 0 to {count - 1}, found {instance}")
        if not isinstance(seed, int):
            raise SimulatorError(f"seed: expected a whole number, found {seed}")
        start = self.reset(instance, seed)
        return "placed", {} if start is None else {"start_rad": _numbers(start)}, []

    def _look(self, _: dict[str, Any]) -> _Answer:
        seen = self.look()
        fields: dict[str, Any] = {"time_secs": float(seen.time_secs)}
        if seen.success is not None:
            fields["success"] = bool(seen.success)
        pictures = [np.ascontiguousarray(picture, np.uint8)[None] for picture in seen.pictures]
        arrays: list[tuple[str, Array]] = [
            (f"rgb.{view}", picture) for view, picture in enumerate(pictures)
        ]
        arrays.append(("proprio", np.array([seen.position_rad], "<f4")))
        return "sight", fields, arrays


def _numbers(values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise SimulatorError(f"expected finite numbers, found {numbers}: start the simulator anew")
    return numbers


def _socket(endpoint: str) -> "zmq.Socket[bytes]":
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REP)
    socket.linger = 0
    socket.maxmsgsize = _MAX_REQUEST_BYTES
    socket.ipv6 = "[" in endpoint
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        raise SimulatorError(f"cannot listen at `{endpoint}`: {error}") from error
    return socket


def _bound(socket: "zmq.Socket[bytes]") -> str:
    """Where a socket listens, its port known."""
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _port(endpoint: str) -> int:
    return int(endpoint.rsplit(":", 1)[1])


def _eyes(host: str, port: int) -> "zmq.Socket[bytes]":
    try:
        return _socket(f"tcp://{host}:{port}")
    except SimulatorError:
        return _socket(f"tcp://{host}:*")


def _answer(frames: list[bytes], verbs: _Verbs) -> list[bytes | memoryview]:
    """The answer to any bytes."""
    seq = 0
    try:
        asked = _header(frames)
        seq = asked["seq"]
        verb = verbs.get(asked["t"])
        if verb is None:
            known = ", ".join(verbs)
            raise SimulatorError(f"expected one of {known} here, found `{asked['t']}`")
        kind, fields, arrays = verb(asked)
        return wire.encode(kind, {"seq": seq, **fields}, arrays)
    except SimulatorError as error:
        detail = str(error)
    except PolicyError as error:
        detail = error.detail
    except Exception as error:  # whatever it is, the bridge is told and nothing else ends
        detail = f"{type(error).__name__}: {error}"
        print(f"the simulator failed: {detail}", file=sys.stderr)
    return wire.encode("error", {"seq": seq, "detail": detail[:1000]})


def _header(frames: list[bytes]) -> dict[str, Any]:
    try:
        header = msgpack.unpackb(frames[0]) if len(frames) == 1 else None
    except (ValueError, msgpack.UnpackException, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("t"), str):
        raise SimulatorError("expected one msgpack map with `v`, `t` and `seq`")
    if header.get("v") != VERSION:
        raise SimulatorError(f"expected version {VERSION}, found {header.get('v')}")
    if not isinstance(header.get("seq"), int):
        raise SimulatorError(f"seq: expected a whole number, found {header.get('seq')}")
    return header
