#!/usr/bin/env python3
"""Speaks the native dialect to a running policy server, in another language.

    python tests/judges/serve_light.py [tcp://127.0.0.1:5555]

Without an endpoint it starts the server of `crates/serve/examples/stand_in.rs`. Needs pyzmq,
msgpack and numpy. Prints one line per check and exits 1 at the first that fails.
The protocol is described in crates/wire/src/native.rs; this file was written from that text.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import msgpack
import numpy as np
import zmq

VERSION = 1
ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def stand_in(*words):
    """What a server without a policy says first, and its process; EXAMPLES names a folder that holds it built."""
    name = "stand_in"
    command = ["cargo", "run", "--quiet", "--locked", "-p", "engraft-serve", "--example", name, "--"]
    command = [str(Path(os.environ["EXAMPLES"]) / name)] if "EXAMPLES" in os.environ else command
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, "tcp://127.0.0.1:*", *words], cwd=ROOT, text=True, **pipes) as server:
        yield server.stdout.readline().strip(), server
        server.stdin.close()
        assert server.wait(30) == 0, "the server stops without an error"


class Client:
    """One socket; DEALER by default, REQ to show that both kinds of client look alike."""

    def __init__(self, endpoint, kind=zmq.DEALER, timeout_ms=60_000):
        self.socket = zmq.Context.instance().socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
        self.socket.setsockopt(zmq.SNDTIMEO, timeout_ms)
        self.socket.connect(endpoint)
        self.dealer = kind == zmq.DEALER

    def send(self, kind, arrays=(), **fields):
        described = [
            {"k": name, "d": {"uint8": "u1", "float32": "f4"}[str(a.dtype)], "s": list(a.shape)}
            for name, a in arrays
        ]
        header = {"v": VERSION, "t": kind, **fields}
        if described:
            header["arrays"] = described
        self.send_raw([msgpack.packb(header)] + [np.ascontiguousarray(a).tobytes() for _, a in arrays])

    def send_raw(self, frames):
        self.socket.send_multipart(([b""] if self.dealer else []) + frames)

    def receive(self):
        frames = self.socket.recv_multipart()
        if self.dealer:
            assert frames[0] == b"", "the first frame is empty"
            frames = frames[1:]
        header = msgpack.unpackb(frames[0])
        assert header["v"] == VERSION
        arrays = {}
        for meta, data in zip(header.get("arrays", []), frames[1:], strict=True):
            dtype = {"u1": np.uint8, "f4": np.dtype("<f4")}[meta["d"]]
            arrays[meta["k"]] = np.frombuffer(data, dtype).reshape(meta["s"])
        return header, arrays

    def ask(self, kind, arrays=(), **fields):
        self.send(kind, arrays, **fields)
        return self.receive()


def stack(contract, rng, frames=None):
    """A frame stack that keeps the contract: made-up pictures, proprio in the middle of its range."""
    frames = contract["num_frames"] if frames is None else frames
    arrays = []
    for i, view in enumerate(contract["spec"]["views"]):
        size = (frames, view["height"], view["width"])
        arrays.append((f"rgb.{i}", rng.integers(0, 256, size + (3,), dtype=np.uint8)))
        if view.get("depth"):
            arrays.append((f"depth.{i}", rng.uniform(0.3, 1.5, size).astype(np.float32)))
    middle = [
        (d["min"] + d["max"]) / 2 if d.get("min") is not None and d.get("max") is not None else 0.0
        for d in contract["spec"]["proprio"]
    ]
    arrays.append(("proprio", np.tile(np.float32(middle), (frames, 1))))
    return arrays


def passed(what):
    print(f"ok  {what}", flush=True)


def refused(answer, name):
    header, _ = answer
    assert header["t"] == "error", header
    assert header["name"] == name, header
    return header


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint", nargs="?")
    parser.add_argument("--requests", type=int, default=20)
    args = parser.parse_args()
    with contextlib.nullcontext((args.endpoint, None)) if args.endpoint else stand_in() as (endpoint, _):
        judge(endpoint, args.requests)


def judge(endpoint, requests):
    rng = np.random.default_rng(1)
    client = Client(endpoint)

    header, _ = client.ask("ping", seq=7)
    assert (header["t"], header["seq"]) == ("pong", 7), header
    passed("a ping is answered")

    welcome, _ = client.ask("hello", client="serve_light.py")
    assert welcome["t"] == "welcome" and len(welcome["session"]) == 16, welcome
    contract, session = welcome["contract"], welcome["session"]
    spec = contract["spec"]
    assert len(welcome["fingerprint"]) == 64 and len(welcome["model"]["hash"]) >= 6
    passed(f"welcome to {welcome['model']['name']}: {contract['num_frames']} frame(s) in, "
           f"{contract['horizon']} action(s) of {len(spec['actions'])} out")

    # The same observation twice gives the same chunk, with every echo.
    observation, chunks, seq = stack(contract, rng), [], 0
    for _ in range(2):
        seq += 1
        reply, arrays = client.ask("infer", observation, session=session, seq=seq, episode=3,
                                   tick=40 + seq, t_obs_nanos=5, attention=False)
        assert reply["t"] == "reply", reply
        assert (reply["seq"], reply["episode"], reply["first_tick"]) == (seq, 3, 40 + seq), reply
        assert reply["t_obs_nanos"] == 5 and reply["session"] == session
        assert reply["model_hash"] == welcome["model"]["hash"]
        assert set(reply["timings"]) == {"decode", "queue", "preprocess", "infer", "encode"}
        actions = arrays["actions"]
        assert actions.shape == (contract["horizon"], len(spec["actions"])), actions.shape
        assert np.isfinite(actions).all()
        chunks.append(actions)
    assert np.array_equal(*chunks), "the same request gives the same chunk"
    passed("a request is answered, twice the same")

    if_asked, arrays = client.ask("infer", observation, session=session, seq=(seq := seq + 1),
                                  episode=0, tick=0, t_obs_nanos=0, attention=True)
    assert if_asked["t"] == "reply", if_asked
    for i, meta in enumerate(if_asked["attention"]):
        weights = arrays[f"attention.{i}"]
        assert weights.ndim == 2 and meta["view"] < len(spec["views"]) and meta["tap"]
        assert abs(weights.sum() - 1) < 1e-3, weights.sum()
    passed(f"{len(if_asked['attention'])} attention map(s) when asked for")

    error = refused(client.ask("infer", observation, session=session, seq=seq), "REPLAY")
    assert error["seq"] == seq
    refused(client.ask("infer", observation, session=session, seq=seq - 1), "STALE")
    refused(client.ask("infer", observation, session=bytes(16), seq=seq + 1), "NO_SESSION")
    passed("a replay, an old request and an unknown session are refused")

    def ask(arrays):
        nonlocal seq
        seq += 1
        return client.ask("infer", arrays, session=session, seq=seq)

    error = refused(ask(stack(contract, rng, contract["num_frames"] + 1)), "BAD_SHAPE")
    assert "expected" in error["detail"] and "found" in error["detail"], error
    wider = [(k, np.concatenate([a, a], axis=2) if k.startswith("rgb") else a) for k, a in observation]
    error = refused(ask(wider), "BAD_SHAPE")
    floats = [(k, a.astype(np.float32) if k.startswith("rgb") else a) for k, a in observation]
    refused(ask(floats), "BAD_DTYPE")
    broken = [(k, a * np.float32("nan") if k == "proprio" else a) for k, a in observation]
    if len(spec["proprio"]):
        refused(ask(broken), "NONFINITE")
    refused(ask([pair for pair in observation if pair[0] != "proprio"]), "BAD_SHAPE")
    passed("wrong shapes, types and numbers are refused with expected and found")

    client.send_raw([b"\xc1 not msgpack"])
    refused(client.receive(), "BAD_FRAME")
    client.send_raw([msgpack.packb({"v": 99, "t": "ping"})])
    refused(client.receive(), "BAD_VERSION")
    client.send_raw([msgpack.packb({"v": 1, "t": "launch"})])
    refused(client.receive(), "BAD_FRAME")
    client.send_raw([b"\x91" * 1000 + b"\xc0"])
    refused(client.receive(), "TOO_LARGE")
    client.send_raw([bytes(70_000)])
    refused(client.receive(), "TOO_LARGE")
    client.send_raw([msgpack.packb({"v": 1, "t": "ping"})] + [b""] * 40)
    refused(client.receive(), "TOO_LARGE")
    passed("what is no message is refused and the server lives on")

    # A robot with another unit does not fit; the policy's own does.
    wrong = {**spec, "actions": [{**d, "unit": "furlong"} for d in spec["actions"]]}
    error = refused(client.ask("hello", client="serve_light.py", spec=wrong), "CONTRACT_MISMATCH")
    assert "furlong" in error["detail"], error
    own, _ = client.ask("hello", client="serve_light.py", spec=spec)
    assert own["t"] == "welcome" and own["session"] != session, own
    session, seq = own["session"], 0
    passed("a robot that does not fit is refused")

    # A burst: whatever is overtaken is said to be stale, the last is answered.
    burst = 8
    for _ in range(burst):
        seq += 1
        client.send("infer", observation, session=session, seq=seq)
    answers = [client.receive()[0] for _ in range(burst)]
    replied = [a["seq"] for a in answers if a["t"] == "reply"]
    stale = [a["seq"] for a in answers if a["t"] == "error" and a["name"] == "STALE"]
    assert sorted(replied + stale) == list(range(1, burst + 1)), answers
    assert seq in replied, answers
    passed(f"of a burst of {burst}, {len(replied)} were answered and {len(stale)} were stale")

    # A second client, of the other kind, is answered while the first one's request runs.
    other = Client(endpoint, zmq.REQ)
    client.send("infer", observation, session=session, seq=(seq := seq + 1))
    began = time.perf_counter()
    header, _ = other.ask("ping", seq=1)
    ping = time.perf_counter() - began
    assert header["t"] == "pong" and client.receive()[0]["t"] == "reply"
    passed(f"a ping beside a running request took {ping * 1e3:.1f} ms")

    trips = []
    for _ in range(requests):
        began = time.perf_counter()
        reply, _ = client.ask("infer", observation, session=session, seq=(seq := seq + 1))
        assert reply["t"] == "reply", reply
        trips.append((time.perf_counter() - began) * 1e3)
    status, _ = other.ask("status")
    assert status["t"] == "status" and status["replied"] >= requests, status
    assert {"decode", "queue", "preprocess", "infer", "encode", "total"} == {
        stage["stage"] for stage in status["latency"]}
    passed(f"round trip {np.median(trips):.1f} ms, of which the policy "
           f"{next(s['p50'] for s in status['latency'] if s['stage'] == 'infer') / 1e3:.1f} ms")

    assert client.ask("goodbye", session=session)[0]["t"] == "goodbye"
    refused(client.ask("infer", observation, session=session, seq=seq + 1), "NO_SESSION")
    passed("goodbye")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, zmq.Again) as error:
        traceback.print_exc()
        sys.exit("the server and this judge disagree")
