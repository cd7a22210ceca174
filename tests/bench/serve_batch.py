#!/usr/bin/env python3
"""Whether a server should answer several clients together: `--batch`, measured.

    python tests/bench/serve_batch.py [--clients 8] [--secs 10] [--pairs 3] [--side 96 224]

Needs numpy, pyzmq and msgpack. Starts our example `untrained`, once with a batch of one and once
with one of as many as there are clients, by turns. Each client asks again as soon as it has its
answer. Prints answers per second and the p50 and p99 of an answer, medians over the pairs, and the
ratios of each pair.
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


def client(endpoint: str, secs: float, results) -> None:
    took = []
    with Policy(endpoint, timeout=60.0) as policy:
        observation = policy.contract.example()
        end = time.perf_counter() + secs
        while time.perf_counter() < end:
            began = time.perf_counter()
            policy.infer(observation)
            took.append((time.perf_counter() - began) * 1e3)
    results.put(took)


def measure(examples: Path, side: int, batch: int, clients: int, secs: float) -> dict:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    words = ["tcp://127.0.0.1:*", str(side), str(batch)]
    with subprocess.Popen([examples / "untrained", *words], text=True, **pipes) as server:
        endpoint, results = server.stdout.readline().strip(), multiprocessing.Queue()
        all_of = [multiprocessing.Process(target=client, args=(endpoint, secs, results)) for _ in range(clients)]
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
    args = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    if "EXAMPLES" not in os.environ:
        build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "engraft-serve", "--example", "untrained"]
        subprocess.run(build, cwd=ROOT, check=True)
    examples = Path(os.environ.get("EXAMPLES", target / "release/examples"))
    for side in args.side:
        turn = [1, args.clients]
        pairs = [[measure(examples, side, batch, args.clients, args.secs) for batch in turn] for _ in range(args.pairs)]
        for part in pairs[0][0]:
            one, other = (statistics.median(pair[i][part] for pair in pairs) for i in (0, 1))
            ratio = statistics.median(pair[1][part] / pair[0][part] for pair in pairs)
            print(f"{side} px  {part:<10} one by one {one:8.1f}, together {other:8.1f}: {ratio:.2f} of it", flush=True)


if __name__ == "__main__":
    main()
