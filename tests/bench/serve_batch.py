#!/usr/bin/env python3
"""Whether a server should answer several clients together: `--batch`, measured.

    python tests/bench/serve_batch.py [--clients 8] [--secs 10] [--pairs 3] [--side 96 224]
    python tests/bench/serve_batch.py --stand-in 3 --further 0 1.5 2.7 [--load 0.5]

Needs numpy, pyzmq and msgpack. Starts our example `untrained`, once with a batch of one and once
with one of as many as there are clients, by turns. Each client asks again as soon as it has its
answer. Prints answers per second and the p50 and p99 of an answer, medians over the pairs, and the
ratios of each pair.

With `--stand-in` the network is somewhere else and takes so many milliseconds, and `--further` for
each answer that it gives with another. All clients together ask for `--load` of what it can one by
one, each at times of its own that differ by up to a fifth.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "crates/client/python/src"))
from engraft_client import Policy  # noqa: E402


def client(endpoint: str, secs: float, rate: float, seed: int, results) -> None:
    took, rng = [], np.random.default_rng(seed)
    with Policy(endpoint, timeout=60.0) as policy:
        observation = policy.contract.example()
        end = time.perf_counter() + secs
        next_at = time.perf_counter() + (rng.uniform(0, 1 / rate) if rate else 0)
        while time.perf_counter() < end:
            if rate:
                time.sleep(max(0.0, next_at - time.perf_counter()))
                next_at += rng.uniform(0.8, 1.2) / rate
            began = time.perf_counter()
            policy.infer(observation)
            took.append((time.perf_counter() - began) * 1e3)
    results.put(took)


def measure(command: list, clients: int, secs: float, rate: float = 0) -> dict:
    """Each client asks at that rate; 0 is back to back."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as server:
        endpoint, results = server.stdout.readline().strip(), multiprocessing.Queue()
        words = [(endpoint, secs, rate, seed, results) for seed in range(clients)]
        all_of = [multiprocessing.Process(target=client, args=its_own) for its_own in words]
        for process in all_of:
            process.start()
        took = sum((results.get(timeout=secs + 120) for _ in all_of), [])
        for process in all_of:
            process.join()
        server.kill()
    p50, p99 = np.percentile(took, [50, 99])
    return {"answers/s": len(took) / secs, "p50 ms": p50, "p99 ms": p99}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--secs", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--side", type=int, nargs="+", default=[96, 224])
    parser.add_argument("--stand-in", type=float, metavar="MS", help="wait so long instead of a network")
    parser.add_argument("--further", type=float, nargs="+", default=[0.0], metavar="MS")
    parser.add_argument("--load", type=float, default=0.5, help="share of what the stand-in can (0.5)")
    args = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    if "EXAMPLES" not in os.environ:
        build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "engraft-serve", "--examples"]
        subprocess.run(build, cwd=ROOT, check=True)
    examples = Path(os.environ.get("EXAMPLES", target / "release/examples"))
    where, turn, rate = "tcp://127.0.0.1:*", [1, args.clients], 0.0
    if args.stand_in:
        rate = args.load * 1e3 / args.stand_in / args.clients
        alone = [examples / "stand_in", where, "forward", str(args.stand_in), "batch"]
        cases = {f"{ms} ms more": [[*alone, str(batch), str(ms)] for batch in turn] for ms in args.further}
    else:
        untrained = [examples / "untrained", where]
        cases = {f"{side} px": [[*untrained, str(side), str(batch)] for batch in turn] for side in args.side}
    for case, ways in cases.items():
        pairs = [[measure(way, args.clients, args.secs, rate) for way in ways] for _ in range(args.pairs)]
        for part in pairs[0][0]:
            one, other = (statistics.median(pair[i][part] for pair in pairs) for i in (0, 1))
            ratio = statistics.median(pair[1][part] / pair[0][part] for pair in pairs)
            print(f"{case}  {part:<10} one by one {one:8.1f}, together {other:8.1f}: {ratio:.2f} of it", flush=True)


if __name__ == "__main__":
    main()
