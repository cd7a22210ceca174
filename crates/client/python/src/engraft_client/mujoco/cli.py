"""`engraft-mujoco`: the command line."""

import argparse
import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from engraft_client.simulator import WATCHDOG_SECS, SimulatorError

PIP_LINE = "pip install 'engraft-client[mujoco]'"
_TASK = "open the drawer"
_NICE = -10


class Parser(argparse.ArgumentParser):
    """Says on one line what is wrong."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Ends the program with status 2."""
        print(f"{self.prog}: {message}: type `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def names(text: str) -> list[str]:
    """Reads names with commas between."""
    return [name for name in text.split(",") if name]


def size(text: str) -> int:
    """Reads the side of a picture."""
    if not text.isascii() or not text.isdigit() or not 16 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a whole number in 16..1024, found `{text}`")
    return int(text)


def seconds(text: str) -> float:
    """Reads a length of time."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.01 <= value <= 10.0:
        raise argparse.ArgumentTypeError(f"expected seconds in 0.01..10, found `{text}`")
    return value


def named(text: str) -> tuple[str, float]:
    """Reads JOINT=NUMBER."""
    name, equals, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not equals or not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected JOINT=NUMBER, found `{text}`")
    return name, value


def gripper(text: str) -> tuple[str, bool]:
    """Reads JOINT=min or JOINT=max: where it is open."""
    name, _, end = text.partition("=")
    if not name or end not in ("min", "max"):
        raise argparse.ArgumentTypeError(
            f"expected JOINT=min or JOINT=max, at which the gripper is open, found `{text}`"
        )
    return name, end == "max"


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    one = Parser(
        prog="engraft-mujoco",
        description="Serves a MuJoCo model as an arm of firmware-bridge, and as its cameras.",
    )
    add = one.add_argument
    add("scene", nargs="?", type=Path, metavar="MJCF", help="the model; an arm before a drawer")
    add("--joints", type=names, metavar="A,B", help="the arm's joints, from the base outwards")
    add("--actuators", type=names, metavar="A,B", help="the joints' position actuators")
    add("--cameras", type=names, metavar="A,B", help="cameras to look through")
    add("--size", type=size, default=224, help="side of a picture (default 224)")
    add("--listen", default="tcp://127.0.0.1:5570", metavar="ENDPOINT", help="for the bridge")
    add("--insecure-plaintext", action="store_true", help="let other machines reach it")
    add("--task", help="the task in words")
    add(
        "--success",
        type=named,
        metavar="JOINT=LEAST",
        help="the task is done where this joint has come so far",
    )
    add(
        "--vary",
        type=named,
        action="append",
        metavar="JOINT=MOST",
        help="from seed to seed this joint stands elsewhere, by so much at most; repeatable",
    )
    add("--gripper", type=gripper, metavar="JOINT=END", help="a gripper, open at min or at max")
    add("--describe", type=Path, metavar="FILE", help="write the arm's TOML there, if it is new")
    add(
        "--watchdog",
        type=seconds,
        default=WATCHDOG_SECS,
        metavar="SECONDS",
        help=f"hold after so long without a command (default {WATCHDOG_SECS:g})",
    )
    return one


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line: 0 done, 2 failed."""
    args = parser().parse_args(arguments)
    if find_spec("mujoco") is None:
        print(f"engraft-mujoco: mujoco is missing: {PIP_LINE}", file=sys.stderr)
        return 2
    try:
        return run(args)
    except SimulatorError as error:
        print(f"engraft-mujoco: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    from engraft_client.mujoco.describe import Gripper, arm_toml, write_once
    from engraft_client.mujoco.server import SCENE, Goal, MujocoConfig, MujocoServer

    ours = args.scene is None
    goal = args.success or (("drawer", 0.08) if ours else None)
    config = MujocoConfig(
        scene=args.scene or SCENE,
        joints=args.joints or (),
        actuators=args.actuators or (),
        cameras=args.cameras if args.cameras is not None else (["front"] if ours else []),
        size=args.size,
        task=args.task if args.task is not None else (_TASK if ours else ""),
        goal=None if goal is None else Goal(*goal),
        vary=args.vary or ([("cabinet_y", 0.02)] if ours else []),
        watchdog_secs=args.watchdog,
    )
    # Threads that answer must not wait long for one another, nor for other programs, where the
    # system lets them go first.
    sys.setswitchinterval(0.0005)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    server = MujocoServer(config)
    hand = args.gripper or (("gripper", False) if ours else None)
    if args.describe is not None:
        text = arm_toml(server.robot, server.arm, None if hand is None else Gripper(*hand))
        done = write_once(args.describe, text)
        told = "check its limits" if done else "it was there, and stays as it is"
        print(f"the arm's description is {args.describe}: {told}", file=sys.stderr)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    endpoint = server.start(args.listen, args.insecure_plaintext)
    print(endpoint, flush=True)
    views = ", ".join(view.name for view in server.describe().views) or "no camera"
    joints = ", ".join(joint.name for joint in server.arm.joints)
    print(f"{server.robot}: {joints}; seen by {views}", file=sys.stderr)
    ended.wait()
    server.stop()
    return 0
