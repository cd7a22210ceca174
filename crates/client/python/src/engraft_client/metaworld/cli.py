"""`engraft-metaworld`: the command line."""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from engraft_client.metaworld.errors import MetaworldError
from engraft_client.metaworld.instances import SPLITS, VARIATIONS


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within bounds."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"expected a whole number in {least}..{most}, found `{text}`"
            )
        return int(text)

    return read


def png(text: str) -> Path:
    """Reads the name of a PNG file."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png, found `{text}`")
    return Path(text)


def share(text: str) -> float:
    """Reads a number in 0..1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a number in 0..1, found `{text}`")
    return value


class Parser(argparse.ArgumentParser):
    """Says on one line what is wrong."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Ends the program with status 2."""
        print(f"{self.prog}: {message}: type `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    top = Parser(prog="engraft-metaworld", description="MetaWorld as a robot on the wire.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, told: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=told, description=told)
        one.add_argument("task", metavar="TASK", help="a task of MetaWorld, such as drawer-open")
        one.add_argument(
            "--episodes", type=whole(1, 100_000), default=50, help="how many (default 50)"
        )
        one.add_argument(
            "--variation",
            choices=VARIATIONS,
            default="all",
            help="what differs between instances: colours, textures and lights (look), "
            "proportions (shape), nothing or all (default)",
        )
        one.add_argument(
            "--split", choices=SPLITS, default="train", help="which instances (default train)"
        )
        one.add_argument(
            "--seed", type=whole(0, 2**31), default=0, help="where objects stand (default 0)"
        )
        one.add_argument(
            "--num-envs", type=whole(1, 64), default=2, help="scenes at a time (default 2)"
        )
        return one

    record = verb(
        "collect",
        "Record the scripted expert as a LeRobot dataset. Failed demonstrations are dropped.",
    )
    record.add_argument(
        "--out", type=Path, required=True, help="the dataset's folder, new or empty"
    )
    record.add_argument(
        "--size", type=whole(16, 1024), default=128, help="side of a picture (default 128)"
    )
    record.add_argument(
        "--noise",
        type=share,
        default=0.1,
        help="deviation of what is added to the actions as they are executed, "
        "not to those that are recorded (default 0.1)",
    )
    play = verb("evaluate", "Play a served policy in closed loop, and say how often it succeeds.")
    play.add_argument("--server", default="tcp://127.0.0.1:5555", help="where the policy is served")
    play.add_argument(
        "--executed", type=whole(1, 1000), help="actions played of each chunk (default all)"
    )
    play.add_argument(
        "--max-steps", type=whole(1, 500), default=500, help="steps of an episode (default 500)"
    )
    play.add_argument("--json", type=Path, help="write the result there")
    play.add_argument(
        "--sheet", type=png, help="write a PNG with first, middle and last pictures there"
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line: 0 done, 2 failed."""
    args = parser().parse_args(arguments)
    try:
        return run_collect(args) if args.verb == "collect" else run_evaluate(args)
    except MetaworldError as error:
        print(f"engraft-metaworld: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        told = "expected the scenes to go on, found that one ended by itself: try fewer --num-envs"
        print(f"engraft-metaworld: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("engraft-metaworld: stopped", file=sys.stderr)
        return 2


def run_collect(args: argparse.Namespace) -> int:
    """`collect`."""
    from engraft_client.metaworld.scene import require_metaworld

    require_metaworld()
    from engraft_client.metaworld.collect import CollectConfig, collect

    config = CollectConfig(
        task=args.task,
        out=args.out,
        episodes=args.episodes,
        size=args.size,
        variation=args.variation,
        split=args.split,
        seed=args.seed,
        noise=args.noise,
        num_envs=args.num_envs,
    )
    episodes, steps, failed = collect(config)
    print(f'{episodes} demonstrations, {steps} steps in "{args.out}"; {failed} failed ones dropped')
    print(f"look at it: engraft data inspect {args.out}")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """`evaluate`."""
    from engraft_client.metaworld.scene import require_metaworld

    require_metaworld()
    from engraft_client.metaworld.evaluate import EvaluateConfig, evaluate

    config = EvaluateConfig(
        task=args.task,
        server=args.server,
        episodes=args.episodes,
        variation=args.variation,
        split=args.split,
        seed=args.seed,
        num_envs=args.num_envs,
        executed=args.executed,
        max_steps=args.max_steps,
        json=args.json,
        sheet=args.sheet,
    )
    print(evaluate(config))
    return 0
