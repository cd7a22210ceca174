#!/usr/bin/env python3
"""What a cycle of six Dynamixel servos takes of the host: ours, rustypot's and dynamixel-sdk's.

    python tests/bench/dynamixel_cost.py [--cycles 1000] [--rounds 7]

Needs dynamixel-sdk and rustypot. All three drive `firmware-bridge/examples/emulate_koch.rs` over
its pseudo-terminal, which has no delay, and take turns within one run. A cycle is one sync read and
one sync write of goals. All read current, velocity and position, ten bytes a servo, with a plain and
with a fast sync read. The SDK asks the port again and again while it waits, which on a busy machine
keeps the emulator from answering. Medians are of each
round; their median is printed, and the ratios are of each round's medians.
"""

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import dynamixel_sdk as dxl
import rustypot

ROOT = Path(__file__).resolve().parents[2]
IDS = [1, 2, 3, 4, 5, 6]
FROM, BYTES, GOAL = 126, 10, 116


def start(name: str, *words: str) -> subprocess.Popen[str]:
    command = ["cargo", "run", "--release", "--quiet", "--locked", "-p", "firmware-bridge", "--example", name, "--"]
    command = [str(Path(os.environ["EXAMPLES"]) / name)] if "EXAMPLES" in os.environ else command
    return subprocess.Popen([*command, *words], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def told(process: subprocess.Popen[str], line: str | None = None) -> str:
    """Says a line, if there is one, and hears the answer."""
    assert process.stdin is not None and process.stdout is not None
    if line is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def timed(cycle: Callable[[int], bool], cycles: int) -> list[float]:
    """Times of the cycles that came about: on a busy machine an SDK gives some up."""
    times = []
    for number in range(cycles):
        began = time.perf_counter()
        if cycle(2000 + number % 100):
            times.append((time.perf_counter() - began) * 1e6)
    return times


def by_rustypot(path: str, cycles: int, fast: bool) -> list[float]:
    servos = rustypot.Xl330PyController(path, 1_000_000, 1.0)
    servos.set_fast_sync_read(fast)

    def cycle(goal: int) -> bool:
        found = servos.sync_read_raw_data(IDS, FROM, BYTES)
        assert len(found) == len(IDS), found
        servos.sync_write_raw_data(IDS, GOAL, [list(goal.to_bytes(4, "little"))] * len(IDS))
        return True

    times = timed(cycle, cycles)
    servos.close()
    return times


def by_sdk(path: str, cycles: int, fast: bool) -> list[float]:
    port, handler = dxl.PortHandler(path), dxl.PacketHandler(2.0)
    assert port.openPort() and port.setBaudRate(1_000_000)
    reader = dxl.GroupSyncRead(port, handler, FROM, BYTES)
    writer = dxl.GroupSyncWrite(port, handler, GOAL, 4)
    for servo in IDS:
        reader.addParam(servo)
        writer.addParam(servo, [0, 0, 0, 0])

    def cycle(goal: int) -> bool:
        result = reader.fastSyncRead() if fast else reader.txRxPacket()
        for servo in IDS:
            reader.getData(servo, 132, 4)
            writer.changeParam(servo, list(goal.to_bytes(4, "little")))
        return dxl.COMM_SUCCESS == result == writer.txPacket()

    times = timed(cycle, cycles)
    port.closePort()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    emulator = start("emulate_koch")
    path = told(emulator)
    bridge = start("dynamixel_cost", path, "--cycles", str(args.cycles))

    def ours() -> list[float]:
        return [float(word) for word in told(bridge, "go").split()]

    def ours_plain() -> list[float]:
        def firmware(version: int) -> None:
            for servo in IDS:
                assert told(emulator, f"set {servo} 6 {version}") == "ok"

        firmware(40)  # too old for the fast one
        times = ours()
        firmware(46)
        return times

    runs: dict[str, Callable[[], list[float]]] = {
        "engraft, fast": ours,
        "engraft, plain": ours_plain,
        "rustypot, plain": lambda: by_rustypot(path, args.cycles, False),
        "rustypot, fast": lambda: by_rustypot(path, args.cycles, True),
        "dynamixel-sdk, plain": lambda: by_sdk(path, args.cycles, False),
        "dynamixel-sdk, fast": lambda: by_sdk(path, args.cycles, True),
    }
    medians: dict[str, list[float]] = {name: [] for name in runs}
    tails: dict[str, list[float]] = {name: [] for name in runs}
    lost = dict.fromkeys(runs, 0)
    for number in range(args.rounds):
        order = list(runs.items())
        for name, run in order[number % len(order):] + order[: number % len(order)]:
            times = run()
            lost[name] += args.cycles - len(times)
            medians[name].append(statistics.median(times))
            tails[name].append(sorted(times)[len(times) * 99 // 100])
    own = medians["engraft, fast"]
    print(f"{args.rounds} rounds of {args.cycles} cycles, six servos, no wire delay")
    for name, found in medians.items():
        ratio = statistics.median(theirs / our for theirs, our in zip(found, own, strict=True))
        print(f"{name:22} median {statistics.median(found):7.1f} us, p99 {statistics.median(tails[name]):7.1f} us, "
              f"{ratio:5.2f} x ours, {lost[name]} cycles lost")
    for process in (bridge, emulator):
        process.communicate(timeout=30)
        assert process.returncode == 0


if __name__ == "__main__":
    main()
