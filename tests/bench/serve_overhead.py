#!/usr/bin/env python3
"""What a policy server takes beside the network: ours, and one as GR00T's is, in Python.

    python tests/bench/serve_overhead.py [--requests 1000] [--clients 1]
    python tests/bench/serve_overhead.py --clients 8 --stand-in 3 [--load 0.5]

Needs the packages of tests/judges/requirements-heavy.txt, and pyzmq and msgpack-numpy. Starts our
example `untrained` (Hansen's ConvNet, two views of 224 x 224 x 3) and a REP server that does the
same work with msgpack-numpy and the same network in PyTorch. The same client asks both in turn, in
GR00T's dialect; one client back to back, several at 10 Hz each, as robots do. Overhead is the round
trip less the time that the server says its network took; of several clients it also has what each
waits for the others' turn of the network.

With `--stand-in` nothing is computed: both wait so many milliseconds instead, as a processor does
that has another one for its network, and see two frames of two 96 x 64 pictures. All clients
together ask for `--load` of what that network can, each at times of its own that differ by up to a
fifth. So the network is the same for both, and what one waits for it, too.

What neither server can help, the client's own work and the sockets', is in the overhead. So a third
server is asked, which reads nothing and only waits as long as a network would: "floor" is its
overhead, in which several clients wait for each other, too, and "above" is what half of the answers
of the other two have beyond it in the same round. "inside" is what lies between a server's having
the request and its having the answer packed, less the network and the wait for it. "no turns" is
the overhead less the wait for the others' turns of the network, which our server alone can tell
from what lies in a socket. Ratios are of each round of runs; their median is printed.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import msgpack_numpy
import numpy as np
import zmq

ROOT = Path(__file__).resolve().parents[2]
SIDE, JOINTS, HORIZON, RATE, JITTER = 224, 7, 8, 10, 0.2
VIEWS = ["front", "wrist"]
COMPUTED = 2.0  # milliseconds that the floor computes in place of the ConvNet
INSIDE = ["decode", "preprocess", "encode"]


def pytorch():
    """Hansen's ConvNet, as a function from an observation to a chunk and what it took."""
    import torch

    torch.manual_seed(0)
    layers, channels = [], 3
    for kernel in [7, 5, 3, 3, 3, 3]:
        layers += [torch.nn.Conv2d(channels, 32, kernel, 2), torch.nn.ReLU()]
        channels = 32
    convnet = torch.nn.Sequential(*layers, torch.nn.Flatten())
    with torch.inference_mode():
        size = convnet(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
    projection = torch.nn.Sequential(torch.nn.Linear(size, 128), torch.nn.LayerNorm(128))
    head = torch.nn.Sequential(
        torch.nn.Linear(len(VIEWS) * 128 + JOINTS, 256),
        torch.nn.ReLU(),
        torch.nn.Linear(256, HORIZON * JOINTS),
    )
    mean, std = torch.zeros(JOINTS), torch.ones(JOINTS)

    @torch.inference_mode()
    def get_action(observation):
        video, state = observation["video"], observation["state"]["state"]
        for name in VIEWS:
            assert video[name].dtype == np.uint8 and video[name].shape == (1, 1, SIDE, SIDE, 3)
        assert state.dtype == np.float32 and state.shape == (1, 1, JOINTS)
        pictures = np.concatenate([video[name][:, 0] for name in VIEWS])
        pictures = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        proprio = (torch.from_numpy(state[:, 0]) - mean) / std
        began = time.perf_counter()
        features = projection(convnet(pictures)).reshape(1, -1)
        actions = head(torch.cat([features, proprio], 1)).reshape(1, HORIZON, JOINTS)
        infer = time.perf_counter() - began
        return [{"action": (actions * std + mean).numpy()}, {"timings_ms": {"infer": infer * 1e3}}]

    return get_action


def waiting(millis: float):
    """The same for a network that is somewhere else."""

    def get_action(observation):
        video, state = observation["video"], observation["state"]
        for name in VIEWS:
            assert video[name].dtype == np.uint8 and video[name].shape == (1, 2, 64, 96, 3)
        for name, dim in [("arm", 2), ("gripper", 1)]:
            assert state[name].dtype == np.float32 and state[name].shape == (1, 2, dim)
        began = time.perf_counter()
        time.sleep(millis / 1e3)
        infer = time.perf_counter() - began
        actions = {name: np.repeat(state[name][:, -1:], HORIZON, 1) for name in state}
        return [actions, {"timings_ms": {"infer": infer * 1e3}}]

    return get_action


def serve_floor(millis: float, computes: bool) -> None:
    """A server that does nothing: the processor is busy or asleep meanwhile, as with a network."""
    socket = zmq.Context().socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}", flush=True)
    actions = {"action": np.zeros((1, HORIZON, JOINTS), np.float32)}
    while True:
        socket.recv()
        began = time.perf_counter()
        if computes:
            while time.perf_counter() - began < millis / 1e3:
                pass
        else:
            time.sleep(millis / 1e3)
        info = {"timings_ms": {"infer": (time.perf_counter() - began) * 1e3}}
        socket.send(msgpack.packb([actions, info], default=msgpack_numpy.encode))


def observation(stand_in: bool, rng) -> dict:
    shape = (1, 2, 64, 96, 3) if stand_in else (1, 1, SIDE, SIDE, 3)
    video = {name: rng.integers(0, 256, shape, np.uint8) for name in VIEWS}
    state = {"arm": (1, 2, 2), "gripper": (1, 2, 1)} if stand_in else {"state": (1, 1, JOINTS)}
    return {"video": video, "state": {name: np.zeros(shape, np.float32) for name, shape in state.items()}}


def serve_python(stand_in: float | None) -> None:
    """A server that works as `gr00t.policy.server_client.PolicyServer` does."""
    get_action = waiting(stand_in) if stand_in else pytorch()
    socket = zmq.Context().socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    seen = observation(bool(stand_in), np.random.default_rng(0))
    for _ in range(20):
        get_action(seen)
    print(f"tcp://127.0.0.1:{port}", flush=True)
    while True:
        message = socket.recv()
        began = time.perf_counter()
        request = msgpack.unpackb(message, object_hook=msgpack_numpy.decode)
        answer = get_action(request["data"]["observation"])
        msgpack.packb(answer, default=msgpack_numpy.encode)
        timings = answer[1]["timings_ms"]
        timings["inside"] = (time.perf_counter() - began) * 1e3 - timings["infer"]
        socket.send(msgpack.packb(answer, default=msgpack_numpy.encode))


def client(endpoint: str, stand_in: bool, requests: int, rate: float, seed: int, results) -> None:
    rng = np.random.default_rng(seed)
    socket = zmq.Context().socket(zmq.REQ)
    socket.setsockopt(zmq.RCVTIMEO, 60_000)
    socket.connect(endpoint)
    data = {"observation": observation(stand_in, rng), "options": None}
    request = {"endpoint": "get_action", "data": data}
    packed = msgpack.packb(request, default=msgpack_numpy.encode)
    overheads, insides, no_turns, next_at = [], [], [], time.perf_counter() + rng.uniform(0, 1 / (rate or RATE))
    for step in range(requests + 20):
        if rate:
            time.sleep(max(0.0, next_at - time.perf_counter()))
            next_at += rng.uniform(1 - JITTER, 1 + JITTER) / rate
        began = time.perf_counter()
        socket.send(packed)
        answer = socket.recv()
        trip = time.perf_counter() - began
        _, info = msgpack.unpackb(answer, object_hook=msgpack_numpy.decode, strict_map_key=False)
        if step >= 20:
            timings = info["timings_ms"]
            overheads.append(trip * 1e3 - timings["infer"])
            no_turns.append(overheads[-1] - timings.get("queue", 0))
            insides.append(timings.get("inside") or sum(timings.get(stage, 0) for stage in INSIDE))
    results.put((overheads, insides, no_turns))


def measure(command: list, stand_in: bool, clients: int, requests: int, rate: float) -> dict:
    """p50 and p99 of the overhead in milliseconds; each client asks at that rate, 0 is back to back."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    # Freed memory is kept, as by `engraft serve`.
    environment = {**os.environ, "MIMALLOC_PURGE_DELAY": "-1"}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as server:
        endpoint = server.stdout.readline().strip()
        results, each = multiprocessing.Queue(), requests // clients
        words = [(endpoint, stand_in, each, rate, seed, results) for seed in range(clients)]
        all_of = [multiprocessing.Process(target=client, args=its_own) for its_own in words]
        for process in all_of:
            process.start()
        got = [results.get(timeout=300) for _ in all_of]
        overheads, insides, no_turns = (sum(parts, []) for parts in zip(*got))
        for process in all_of:
            process.join()
        server.kill()
    all_p = lambda what: [float(value) for value in np.percentile(what, [50, 99])]  # noqa: E731
    names = ["p50", "p99", "inside p50", "inside p99", "no turns p50", "no turns p99"]
    return dict(zip(names, all_p(overheads) + all_p(insides) + all_p(no_turns)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--stand-in", type=float, metavar="MS", help="wait so long instead of a network")
    parser.add_argument("--load", type=float, default=0.5, help="share of what the stand-in can (0.5)")
    parser.add_argument("--python-server", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--floor-server", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.python_server:
        serve_python(args.stand_in)
        return
    if args.floor_server:
        serve_floor(args.stand_in or COMPUTED, computes=args.stand_in is None)
        return
    build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "engraft-serve", "--examples"]
    if "EXAMPLES" not in os.environ:
        subprocess.run(build, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    examples = Path(os.environ.get("EXAMPLES", target / "release/examples"))
    ours = [str(examples / "untrained"), "tcp://127.0.0.1:*", str(SIDE)]
    theirs = [sys.executable, __file__, "--python-server"]
    floor = [sys.executable, __file__, "--floor-server"]
    if args.stand_in:
        millis = str(args.stand_in)
        ours = [str(examples / "stand_in"), "tcp://127.0.0.1:*", "rgb", "forward", millis]
        theirs += ["--stand-in", millis]
        floor += ["--stand-in", millis]
    report = {}
    for clients in args.clients:
        rate = RATE if clients > 1 else 0
        if args.stand_in:
            rate = args.load * 1e3 / args.stand_in / clients
            print(f"{clients} client(s) at {rate:.1f} requests a second each", flush=True)
        rounds = [
            [measure(command, bool(args.stand_in), clients, args.requests, rate) for command in (ours, theirs, floor)]
            for _ in range(args.pairs)
        ]
        for one, other, least in rounds:
            for which in (one, other):
                which["above p50"] = which["p50"] - least["p50"]
        for part in rounds[0][0]:
            if "turns" in part:
                continue
            ratio = statistics.median(b[part] / a[part] for a, b, _ in rounds)
            one, other = [statistics.median(each[i][part] for each in rounds) for i in (0, 1)]
            print(f"{clients} client(s)  {part:<10}  engraft {one:6.2f} ms, Python {other:6.2f} ms: {ratio:.1f} x less", flush=True)
        own = [statistics.median(each[0][f"no turns {part}"] for each in rounds) for part in ("p50", "p99")]
        print(f"{clients} client(s)  no turns    engraft p50 {own[0]:.2f} ms, p99 {own[1]:.2f} ms", flush=True)
        least = [statistics.median(each[2][part] for each in rounds) for part in ("p50", "p99")]
        print(f"{clients} client(s)  floor       p50 {least[0]:.2f} ms, p99 {least[1]:.2f} ms", flush=True)
        report[f"{clients} clients"] = rounds
    print(json.dumps(report))


if __name__ == "__main__":
    main()
