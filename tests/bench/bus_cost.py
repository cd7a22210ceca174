#!/usr/bin/env python3
"""What reading and commanding six Feetech servos costs the host: ours and others' clients.

    python tests/bench/bus_cost.py [--periods 1000] [--rounds 7]

Needs lerobot, feetech-servo-sdk and rustypot; a client that is not installed is left out. Each
drives the same emulated SO-101 (`firmware-bridge/examples/emulate_arm.rs`, a pseudo-terminal
without the delay of a wire), in turn in every round: a period is one sync read and one sync write
of goals. Ours and the last read position, velocity and load; the others, position. Medians
are over all periods; ratios are of the medians of each round, and their median is printed.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BAUD, IDS, GOAL, POSITION = 1_000_000, [1, 2, 3, 4, 5, 6], 42, 56
GOALS = [2048] * 6


def example(name: str) -> list[str]:
    """The command that runs an example of the bridge."""
    if "EXAMPLES" in os.environ:
        return [str(Path(os.environ["EXAMPLES"]) / name)]
    return ["cargo", "run", "--quiet", "--release", "-p", "firmware-bridge", "--example", name, "--"]


@contextlib.contextmanager
def emulated() -> Iterator[str]:
    """The serial port of an emulated arm."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [*example("emulate_arm"), "so101", "--fast"]
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as arm:
        yield arm.stdout.readline().strip()
        arm.stdin.close()


def timed(period: Callable[[], object], periods: int) -> list[float]:
    """Microseconds of each."""
    micros = []
    for _ in range(periods):
        began = time.perf_counter()
        period()
        micros.append((time.perf_counter() - began) * 1e6)
    return micros


def ours(path: str, periods: int) -> list[float]:
    command = [*example("bus_cost"), path, str(periods)]
    run = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True)
    return [float(line) for line in run.stdout.split()]


def rustypot(path: str, periods: int, length: int = 2) -> list[float]:
    import rustypot

    arm = rustypot.Sts3215PyController(path, BAUD, 1.0)

    def period() -> None:
        arm.sync_read_raw_data(IDS, POSITION, length)
        arm.sync_write_raw_data(IDS, GOAL, [[goal & 255, goal >> 8] for goal in GOALS])

    try:
        return timed(period, periods)
    finally:
        arm.close()


def rustypot_block(path: str, periods: int) -> list[float]:
    return rustypot(path, periods, 6)


def vendor(path: str, periods: int) -> list[float]:
    import scservo_sdk as scs

    port, handler = scs.PortHandler(path), scs.PacketHandler(0)
    assert port.openPort() and port.setBaudRate(BAUD)

    def set_timeout(length: int) -> None:  # its own is exceeded on a busy machine
        port.packet_start_time = port.getCurrentTime()
        port.packet_timeout = 1000 + length

    port.setPacketTimeout = set_timeout
    reader = scs.GroupSyncRead(port, handler, POSITION, 2)
    writer = scs.GroupSyncWrite(port, handler, GOAL, 2)
    for id_, goal in zip(IDS, GOALS, strict=True):
        reader.addParam(id_)
        writer.addParam(id_, [goal & 255, goal >> 8])

    def period() -> None:
        assert reader.txRxPacket() == scs.COMM_SUCCESS
        assert writer.txPacket() == scs.COMM_SUCCESS

    try:
        return timed(period, periods)
    finally:
        port.closePort()


def lerobot(path: str, periods: int) -> list[float]:
    from lerobot.motors import Motor, MotorNormMode
    from lerobot.motors.feetech import FeetechMotorsBus

    motors = {f"joint_{id_}": Motor(id_, "sts3215", MotorNormMode.DEGREES) for id_ in IDS}
    bus = FeetechMotorsBus(path, motors)
    bus.connect()
    goals = dict(zip(motors, GOALS, strict=True))

    def period() -> None:
        bus.sync_read("Present_Position", normalize=False)
        bus.sync_write("Goal_Position", goals, normalize=False)

    try:
        return timed(period, periods)
    finally:
        bus.disconnect(disable_torque=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--periods", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    clients = {
        "ours": ours,
        "rustypot": rustypot,
        "vendor's SDK": vendor,
        "LeRobot": lerobot,
        "rustypot, our block": rustypot_block,
    }
    micros: dict[str, list[list[float]]] = {name: [] for name in clients}
    with emulated() as path:
        for i in range(args.rounds):
            order = list(clients) if i % 2 == 0 else list(clients)[::-1]
            for name in [name for name in order if name in micros]:
                try:
                    micros[name].append(clients[name](path, args.periods))
                except ImportError as error:
                    print(f"{name} is left out: {error}")
                    del micros[name]
    print(f"{args.rounds} rounds of {args.periods} periods, microseconds per period")
    mine = [statistics.median(run) for run in micros["ours"]]
    for name, runs in micros.items():
        every = sorted(sum(runs, []))
        p99 = every[len(every) * 99 // 100]
        ratios = [statistics.median(run) / own for run, own in zip(runs, mine, strict=True)]
        print(f"{name:20} p50 {statistics.median(every):7.1f}  p99 {p99:7.1f}  x{statistics.median(ratios):.2f}"
              f" of ours ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
