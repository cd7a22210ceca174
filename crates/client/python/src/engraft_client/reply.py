"""What a server answers: chunks of actions, and how it fares."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engraft_client.chunks import Floats
from engraft_client.contract import Contract, Model, read_model
from engraft_client.errors import PolicyError
from engraft_client.wire import Message


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """Where the policy looked: weights float32 ``[height, width]`` that sum to 1.

    Attributes:
        view: The name of the view.
        tap: The layer that it was taken at.
        weights: Its values, in a coarser grid than the picture's.
    """

    view: str
    tap: str
    weights: Floats


@dataclass(frozen=True, eq=False)
class Reply:
    """A chunk of actions.

    Attributes:
        actions: float32 ``[horizon, action_dim]`` in the units of the contract.
        first_tick: The control tick that the first action is for.
        episode: The count of episodes of the observation.
        timings: Microseconds by stage: decode, queue, preprocess, infer, encode.
        round_trip_ms: Milliseconds from question to answer, on this machine's clock.
        model_hash: Hash of the model that answered.
        attention: Where the policy looked, if it was asked for and is known.
    """

    actions: Floats
    first_tick: int
    episode: int
    timings: dict[str, int]
    round_trip_ms: float
    model_hash: str
    attention: tuple[AttentionMap, ...] = ()


@dataclass(frozen=True)
class Percentiles:
    """Latency of one stage over the last answers, in microseconds."""

    stage: str
    p50: int
    p95: int
    p99: int
    p999: int


@dataclass(frozen=True)
class Status:
    """How the server fares.

    Attributes:
        model: The policy behind it.
        uptime_millis: Time since it began to listen.
        clients: Clients that said hello and not goodbye.
        waiting: Observations that wait for the model.
        busy: Whether the model is at work.
        received: Messages received.
        replied: Chunks sent.
        stale: Observations that a newer one replaced.
        refused: Messages refused for any other reason.
        late: Chunks that took longer than the server was told they should.
        latency: Latency of each stage, and of them all as ``total``.
        others: What a newer server says besides.
    """

    model: Model
    uptime_millis: int
    clients: int
    waiting: int
    busy: bool
    received: int
    replied: int
    stale: int
    refused: int
    late: int = 0
    latency: tuple[Percentiles, ...] = ()
    others: dict[str, Any] = field(default_factory=dict)


def read_reply(message: Message, contract: Contract, round_trip_ms: float) -> Reply:
    """A reply that keeps the contract.

    Raises:
        PolicyError: ``BAD_REPLY`` when it does not.
    """
    expected = (contract.horizon, contract.spec.action_dim)
    given = message.arrays.get("actions")
    if given is None or given.shape != expected or given.dtype.kind != "f":
        found = "none" if given is None else f"{given.dtype} {list(given.shape)}"
        detail = f"expected float32 {list(expected)}, found {found}"
        raise PolicyError("BAD_REPLY", f"actions of the server: {detail}")
    actions = given.astype(np.float32)
    if not np.isfinite(actions).all():
        at = int(np.argwhere(~np.isfinite(actions))[0][1])
        name = contract.spec.actions[at].name
        raise PolicyError("BAD_REPLY", f"action `{name}` of the server is no finite number")
    timings = message.get("timings", dict)
    return Reply(
        actions=actions,
        first_tick=message.get("first_tick", int),
        episode=message.get("episode", int),
        timings={str(stage): int(micros) for stage, micros in timings.items()},
        round_trip_ms=round_trip_ms,
        model_hash=message.get("model_hash", str),
        attention=_attention(message, contract),
    )


def _attention(message: Message, contract: Contract) -> tuple[AttentionMap, ...]:
    maps = []
    for i, meta in enumerate(message.fields.get("attention", [])):
        try:
            view = contract.spec.views[int(meta["view"])].name
            weights = message.arrays[f"attention.{i}"].astype(np.float32)
            maps.append(AttentionMap(view, str(meta["tap"]), weights))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__} {error}"
            raise PolicyError("BAD_REPLY", f"cannot read attention map {i}: {reason}") from error
    return tuple(maps)


def read_status(message: Message) -> Status:
    """What a status says."""
    fields = dict(message.fields)
    try:
        latency = tuple(
            Percentiles(
                str(stage["stage"]),
                *(int(stage.get(p, 0)) for p in ("p50", "p95", "p99", "p999")),
            )
            for stage in fields.pop("latency", [])
        )
        model = read_model(fields.pop("model"))
        busy = bool(fields.pop("busy"))
        names = ["uptime_millis", "clients", "waiting", "received", "replied", "stale", "refused"]
        counts = {name: int(fields.pop(name)) for name in names}
        late = int(fields.pop("late", 0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__} {error}"
        raise PolicyError("BAD_REPLY", f"cannot read the status of the server: {reason}") from error
    return Status(model=model, busy=busy, late=late, latency=latency, others=fields, **counts)
