"""What a person at the robot asks a policy server, on the command line.

python -m engraft_client status tcp://127.0.0.1:5555
"""

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engraft_client.connection import Connection
from engraft_client.contract import Dimension
from engraft_client.conversation import Conversation
from engraft_client.errors import PolicyError
from engraft_client.policy import Policy


def add_server_options(parser: argparse.ArgumentParser, timeout: float = 2.0) -> None:
    """Adds what says how a server is reached: time, token and keys."""
    parser.add_argument(
        "--timeout", type=float, default=timeout, metavar="SECS", help=f"give up after ({timeout})"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the word that lets clients in"
    )
    parser.add_argument(
        "--server-key", metavar="KEY", help="the server's public key: certificate or 40 characters"
    )
    parser.add_argument(
        "--client-key", type=Path, metavar="FILE", help="secret certificate of this client"
    )


def server_options(args: argparse.Namespace) -> dict[str, Any]:
    """The same as keywords of `Policy`."""
    keys = {"server_key": args.server_key, "client_key": args.client_key}
    return {"timeout": args.timeout, "token": read_token(args.token_file), **keys}


def read_token(path: Path | None) -> str | None:
    """The token in a file, without the line's end."""
    if path is None:
        return None
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        detail = f"--token-file: expected a file with the server's token, found `{path}` ({error})"
        raise PolicyError("BAD_OPTION", detail) from error
    if not token:
        raise PolicyError("BAD_OPTION", f"--token-file: expected a token, `{path}` is empty")
    return token


@contextlib.contextmanager
def without_hello(args: argparse.Namespace) -> Iterator[tuple[Conversation, float]]:
    """A conversation that takes no client's place, and its deadline."""
    connection = Connection(args.endpoint, args.timeout, args.server_key, args.client_key)
    with contextlib.closing(Conversation(connection, {}, lambda old, new: None)) as talk:
        yield talk, time.monotonic() + args.timeout


def status(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """How the server fares, as data and as lines."""
    with without_hello(args) as (talk, until):
        found = talk.status(until)
    waits = "at work" if found.busy else "idle"
    counts = f"{found.replied} answered, {found.stale} stale, {found.refused} refused"
    lines = [
        f"model     {found.model.name} ({found.model.hash[:12]})",
        f"up        {_duration(found.uptime_millis / 1000)}",
        f"clients   {found.clients}, model {waits}, {found.waiting} waiting",
        f"messages  {found.received} received: {counts}, {found.late} late",
    ]
    lines += [f"{key:9} {value}" for key, value in found.others.items()]
    if found.latency:
        lines.append("latency in ms      p50      p95      p99    p99.9")
    for stage in found.latency:
        values = (stage.p50, stage.p95, stage.p99, stage.p999)
        lines.append(f"{stage.stage:13}" + "".join(f"{value / 1e3:9.2f}" for value in values))
    return dataclasses.asdict(found), lines


def ping(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The time to the server and back, the best of a few, as data and as lines."""
    with without_hello(args) as (talk, until):
        talk.ping(until)  # the first one waits for the connection, too
        best = min(talk.ping(until) for _ in range(5)) * 1e3
    data = {"endpoint": args.endpoint, "round_trip_ms": round(best, 3)}
    return data, [f"{args.endpoint} answers within {best:.2f} ms"]


def contract(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """What the policy was trained for, as data and as lines."""
    with Policy(args.endpoint, name="python -m engraft_client", **server_options(args)) as policy:
        found, model = policy.contract, policy.model
    spec = found.spec
    lines = [
        f"model        {model.name} ({model.hash[:12]})",
        f"robot        {spec.name} at {spec.rate_hz:g} Hz",
        f"frames       {found.num_frames}, the newest last",
        f"horizon      {found.horizon} actions, {found.horizon / spec.rate_hz:.2f} s",
    ]
    for view in spec.views:
        depth = f", depth float32 [{view.height}, {view.width}] in m" if view.depth else ""
        lines.append(f"view         {view.name}: uint8 [{view.height}, {view.width}, 3]{depth}")
    lines += [f"proprio      {_dimension(i, d)}" for i, d in enumerate(spec.proprio)]
    lines += [f"action       {_dimension(i, d)}" for i, d in enumerate(spec.actions)]
    lines.append(f"fingerprint  {found.fingerprint}")
    return {"model": dataclasses.asdict(model), **dataclasses.asdict(found)}, lines


def _dimension(index: int, dimension: Dimension) -> str:
    unit = dimension.unit or "unit unknown"
    bounds = [f"{b:g}" if b is not None else "?" for b in (dimension.min, dimension.max)]
    known = "" if bounds == ["?", "?"] else f", {bounds[0]} to {bounds[1]}"
    return f"{index}: {dimension.name} [{unit}]{known}"


def _duration(secs: float) -> str:
    minutes, secs = divmod(int(secs), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min {secs} s" if hours else f"{minutes} min {secs} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb: 0 it is done, 2 it failed, with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m engraft_client", description="Asks an engraft policy server how it is."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb, text in [
        ("status", status, "model, load, counts and latency of the server"),
        ("ping", ping, "how long a message takes to the server and back"),
        ("contract", contract, "robot, views, dimensions, units and rate of its policy"),
    ]:
        sub = verbs.add_parser(name, help=text, description=(verb.__doc__ or "").splitlines()[0])
        sub.add_argument("endpoint", help="where it listens, as tcp://127.0.0.1:5555")
        sub.add_argument("--json", action="store_true", help="print data for programs")
        add_server_options(sub)
        sub.set_defaults(run=verb)
    args = parser.parse_args(arguments)
    try:
        data, lines = args.run(args)
    except PolicyError as error:
        print(f"engraft_client: {error}", file=sys.stderr)
        return 2
    print(json.dumps(data, indent=2) if args.json else "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
