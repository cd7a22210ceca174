#!/usr/bin/env python3
"""What an honest client notices while others misbehave, and what the server's memory does.

    python tests/bench/serve_attack.py [--seconds 10] [--connections 10000] [--json FILE]

Needs numpy, pyzmq and msgpack. Starts our example `untrained` (two views of 96 x 96 x 3) and asks it
ten times a second, in the native dialect, while one attack after the other goes on beside it:

- silent: connections that say nothing, as many as told;
- greeters: clients that only ever say hello, each on a connection of its own;
- flood: damaged messages as fast as they are taken;
- oversize: frames just below what the server says it takes, of 15 MB and of 40 MB;
- slow readers: clients that ask and never read what they are answered.

Each attack is a process of its own, with the lowest priority: what it does to make its messages, a
stranger would do on another machine. Prints the honest client's p50 and p99 of everything but the
network, before and during each, the latter as a multiple of what it is beside nobody, and by how
much the server's resident memory grew.
"""

import argparse
import json
import multiprocessing
import os
import resource
import socket as plain
import subprocess
import time
from pathlib import Path

import msgpack
import numpy as np
import zmq

ROOT = Path(__file__).resolve().parents[2]
SIDE, JOINTS, RATE = 96, 7, 10
VIEWS = 2


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


class Native:
    """A client of the native dialect, no more than is needed here."""

    def __init__(self, endpoint: str, context: zmq.Context):
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 20_000)
        self.socket.setsockopt(zmq.SNDTIMEO, 20_000)
        self.socket.connect(endpoint)
        self.seq = 0

    def send(self, kind: str, arrays=(), **fields) -> None:
        described = [
            {"k": name, "d": {"uint8": "u1", "float32": "f4"}[str(a.dtype)], "s": list(a.shape)} for name, a in arrays
        ]
        header = {"v": 1, "t": kind, **fields, "arrays": described}
        self.socket.send_multipart([b"", msgpack.packb(header), *(a.tobytes() for _, a in arrays)])

    def receive(self) -> dict:
        return msgpack.unpackb(self.socket.recv_multipart()[1])

    def hello(self) -> None:
        self.send("hello", client="bench")
        welcome = self.receive()
        self.session, self.max_bytes = welcome["session"], welcome["max_bytes"]

    def ask(self, arrays) -> None:
        self.seq += 1
        self.send("infer", arrays, session=self.session, seq=self.seq)


def observation() -> list:
    rng = np.random.default_rng(0)
    views = [(f"rgb.{view}", rng.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)) for view in range(VIEWS)]
    return [*views, ("proprio", np.zeros((1, JOINTS), np.float32))]


def honest(client: Native, seconds: float) -> list:
    """Milliseconds of everything but the network."""
    arrays, took = observation(), []
    end = next_at = time.perf_counter()
    end += seconds
    while time.perf_counter() < end:
        time.sleep(max(0.0, next_at - time.perf_counter()))
        next_at += 1 / RATE
        began = time.perf_counter()
        client.ask(arrays)
        reply = client.receive()
        assert reply["t"] == "reply", reply
        took.append((time.perf_counter() - began) * 1e3 - reply["timings"]["infer"] / 1e3)
    return took


def silent(endpoint: str, count: int, stop, reached) -> None:
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    connections = []
    for _ in range(count):
        try:
            connections.append(plain.create_connection((host, int(port)), timeout=5))
        except OSError:
            break
        if stop.is_set():
            break
    reached.value = len(connections)
    stop.wait()
    for connection in connections:
        connection.close()


def greeters(endpoint: str, _: int, stop, reached) -> None:
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4000)
    clients = []
    while not stop.is_set():
        if len(clients) < 1000:
            clients.append(Native(endpoint, context))
            clients[-1].send("hello", client="greeter")
            reached.value = len(clients)
        else:
            time.sleep(0.05)
    context.destroy(linger=0)


def flood(endpoint: str, _: int, stop, __) -> None:
    rng, context = np.random.default_rng(1), zmq.Context()
    client = Native(endpoint, context)
    whole = msgpack.packb({"v": 1, "t": "infer", "session": bytes(16), "seq": 1, "arrays": []})
    while not stop.is_set():
        damaged = bytearray(whole * 4)
        for place in rng.integers(0, len(damaged), 5):
            damaged[place] = rng.integers(256)
        client.socket.send_multipart([b"", bytes(damaged), bytes(1000)])
        while client.socket.poll(0):
            client.socket.recv_multipart()
        time.sleep(0.0005)
    context.destroy(linger=0)


def oversize(endpoint: str, _: int, stop, __) -> None:
    context, turn = zmq.Context(), 0
    asker = Native(endpoint, context)
    asker.hello()
    sizes = [asker.max_bytes - 1, 15 << 20, 40 << 20]
    asker.send("goodbye", session=asker.session)
    asker.receive()
    while not stop.is_set():
        client = Native(endpoint, context)
        client.socket.send_multipart([b"", b"\x80", bytes(sizes[turn % len(sizes)])])
        turn += 1
        stop.wait(0.1)
        client.socket.close()
    context.destroy(linger=0)


def slow_readers(endpoint: str, _: int, stop, __) -> None:
    context, arrays, clients = zmq.Context(), observation(), []
    for _ in range(8):
        client = Native(endpoint, context)
        client.socket.setsockopt(zmq.RCVHWM, 1)
        client.socket.setsockopt(zmq.RCVBUF, 4096)
        client.hello()
        clients.append(client)
    while not stop.is_set():
        for client in clients:
            client.send("status")
            client.ask(arrays)
        stop.wait(0.5)
    context.destroy(linger=0)


def nobody(*_) -> None:
    """No attack."""


def attacking(attack, *words) -> None:
    os.nice(19)
    attack(*words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "engraft-serve", "--example", "untrained"]
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    if "EXAMPLES" not in os.environ:
        subprocess.run(build, cwd=ROOT, check=True)
    examples = Path(os.environ.get("EXAMPLES", target / "release/examples"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    rows = {}
    with subprocess.Popen([examples / "untrained", "tcp://127.0.0.1:*", str(SIDE)], text=True, **pipes) as server:
        endpoint = server.stdout.readline().strip()
        client = Native(endpoint, zmq.Context())
        client.hello()  # strangers may take all places but those of clients that are at work
        honest(client, 3)
        for attack in [None, silent, greeters, flood, oversize, slow_readers]:
            before, stop = resident_mb(server.pid), multiprocessing.Event()
            name, reached = attack.__name__ if attack else "nobody", multiprocessing.Value("Q", 0)
            words = (endpoint, args.connections, stop, reached)
            attacker = multiprocessing.Process(target=attacking, args=(attack or nobody, *words))
            attacker.start()
            time.sleep(1)
            took = honest(client, args.seconds)
            peak = resident_mb(server.pid)
            stop.set()
            attacker.join()
            assert server.poll() is None, f"the server is gone after {name}"
            p50, p99 = np.percentile(took, [50, 99])
            times = p99 / rows.get("nobody", {"p99_ms": p99})["p99_ms"]
            rows[name] = {"p50_ms": p50, "p99_ms": p99, "times": times, "grew_mb": peak - before, "answers": len(took)}
            connections = f", {reached.value} connections" if reached.value else ""
            print(
                f"{name:<13} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms, {times:4.1f} times  memory {before:6.1f} to "
                f"{peak:6.1f} MB, {len(took)} answers{connections}",
                flush=True,
            )
        server.kill()
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
