#!/usr/bin/env python3
"""Asks a policy server for as long as you like, and looks at its memory.

    python tests/bench/serve_soak.py [--secs 60] [--requests N] [--side 48]

Needs pyzmq, msgpack-numpy and numpy. Starts our example `untrained`, asks it from four processes
in GR00T's dialect, each by turns with what fits and with what does not, and drops its connection
now and then. Memory at the end must be within 5 % of memory after 10,000 requests.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import msgpack_numpy
import numpy as np
import zmq

ROOT = Path(__file__).resolve().parents[2]
JOINTS, FIRST, CLIENTS = 7, 10_000, 4
# A client of this dialect leaves its place behind for ten seconds, and there are 64.
RECONNECT = 2000


def client(endpoint: str, side: int, count, stop) -> None:
    context = zmq.Context()

    def connect():
        socket = context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 60_000)
        socket.connect(endpoint)
        return socket

    def request(side):
        video = {name: np.zeros((1, 1, side, side, 3), np.uint8) for name in ["front", "wrist"]}
        observation = {"video": video, "state": {"state": np.zeros((1, 1, JOINTS), np.float32)}}
        data = {"observation": observation, "options": None}
        return msgpack.packb({"endpoint": "get_action", "data": data}, default=msgpack_numpy.encode)

    socket, fits, wrong, step = connect(), request(side), request(side + 1), 0
    while not stop.is_set():
        step += 1
        if step % RECONNECT == 0:
            socket.close()
            socket = connect()
        refused = step % 10 == 0
        socket.send(wrong if refused else fits)
        answer = msgpack.unpackb(socket.recv(), strict_map_key=False)
        assert isinstance(answer, dict) == refused, answer
        with count.get_lock():
            count.value += 1


def resident_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1e3
    raise ValueError("no VmRSS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--secs", type=float, default=60)
    parser.add_argument("--requests", type=int, help="stop after so many instead")
    parser.add_argument("--side", type=int, default=48)
    args = parser.parse_args()
    build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "engraft-serve", "--example", "untrained"]
    if "EXAMPLES" not in os.environ:
        subprocess.run(build, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    examples = Path(os.environ.get("EXAMPLES", target / "release/examples"))
    command = [str(examples / "untrained"), "tcp://127.0.0.1:*", str(args.side)]
    # Freed memory is kept, as by `engraft serve`.
    environment = {**os.environ, "MIMALLOC_PURGE_DELAY": "-1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as server:
        endpoint = server.stdout.readline().strip()
        count, stop = multiprocessing.Value("Q", 0), multiprocessing.Event()
        clients = [multiprocessing.Process(target=client, args=(endpoint, args.side, count, stop)) for _ in range(CLIENTS)]
        for process in clients:
            process.start()
        began, first, told = time.monotonic(), None, 0
        while all(process.is_alive() for process in clients):
            time.sleep(0.05)
            done, secs = count.value, time.monotonic() - began
            if first is None and done >= FIRST:
                first = resident_megabytes(server.pid)
            if secs >= told:
                print(f"{secs:6.0f} s  {done:9} requests  {resident_megabytes(server.pid):.1f} MB", flush=True)
                told += 30
            if first is not None and (done >= args.requests if args.requests else secs >= args.secs):
                break
        last, done = resident_megabytes(server.pid), count.value
        alive = all(process.is_alive() for process in clients)
        stop.set()
        for process in clients:
            process.join()
        server.stdin.close()
        stopped = server.wait(30) == 0
    print(f"after {FIRST} requests {first:.1f} MB, after {done} {last:.1f} MB: {last / first:.3f} of it")
    sys.exit(0 if alive and stopped and last <= first * 1.05 else 1)


if __name__ == "__main__":
    main()
