"""Evaluates a gymnasium environment against a policy server, on the command line.

python -m engraft_client.gym --env PACKAGE:ENV_ID --server tcp://127.0.0.1:5555 --episodes 20
"""

import argparse
import functools
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engraft_client.__main__ import add_server_options, server_options
from engraft_client.errors import PolicyError

try:
    import gymnasium

    from engraft_client.gym.episode import Env
    from engraft_client.gym.evaluate import evaluate
except ModuleNotFoundError as error:
    if __name__ != "__main__" or error.name != "gymnasium":
        raise
    print("engraft_client.gym: gymnasium is missing: pip install gymnasium", file=sys.stderr)
    sys.exit(2)


def load(name: str, option: str) -> Any:
    """A function by its name, ``MODULE:FUNCTION``."""
    module, colon, function = name.partition(":")
    expected = f"{option}: expected MODULE:FUNCTION, found `{name}`"
    if not (module and colon and function):
        raise PolicyError("BAD_OPTION", f"{expected}: write it as my_module:observe")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        hint = "run it from the folder of the module, or install its package"
        raise PolicyError("BAD_OPTION", f"{expected} ({error}): {hint}") from error


def make(env_id: str, arguments: dict[str, Any]) -> Env:
    """An environment by its name, ``PACKAGE:ENV_ID``; the package is imported first."""
    try:
        return gymnasium.make(env_id, **arguments)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        reason = " ".join(str(error).split())
        hint = "check name and --env-args, and that the package that registers it is installed"
        detail = f"--env: cannot make `{env_id}` ({reason}): {hint}"
        raise PolicyError("BAD_OPTION", detail) from error


def env_arguments(text: str) -> dict[str, Any]:
    """Keywords for the environment, from a JSON object."""
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        example = '{"obs_type": "pixels"}'
        detail = f"--env-args: expected a JSON object such as {example}, found `{text}`"
        raise PolicyError("BAD_OPTION", detail)
    return arguments


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m engraft_client.gym",
        description="Evaluates a gymnasium environment against a policy server.",
    )
    add = parser.add_argument
    add("--env", required=True, metavar="PACKAGE:ENV_ID", help="the environment, as gym_x:X-v0")
    add("--env-args", default="{}", metavar="JSON", help="keywords for it, as a JSON object")
    add("--server", required=True, metavar="ENDPOINT", help="as tcp://127.0.0.1:5555")
    add("--episodes", type=int, default=10, metavar="N", help="how many to play (10)")
    add("--seed", type=int, default=0, metavar="N", help="of the first one; then one more each (0)")
    add("--num-envs", type=int, default=1, metavar="N", help="how many play at once (1)")
    add("--processes", action="store_true", help="in processes rather than threads")
    add("--max-steps", type=int, metavar="N", help="end an episode after so many steps")
    add("--clip", action="store_true", help="clip actions to the action space")
    add("--observe", metavar="MODULE:FUNCTION", help="from (obs, env) to an observation")
    add("--success", metavar="MODULE:FUNCTION", help="from a step's info to whether it is done")
    add("--merge", default="latest", metavar="HOW", help="how chunks that overlap are merged")
    add("--executed", type=int, metavar="N", help="actions of each chunk that are played (all)")
    add("--json", type=Path, metavar="FILE", help="write the result there, - for stdout")
    add("--no-progress", action="store_true", help="show no bar")
    add_server_options(parser, timeout=10.0)
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> str:
    """Evaluates; what there is to print."""
    options = {**server_options(args), "merge": args.merge, "executed": args.executed}
    result = evaluate(
        functools.partial(make, args.env, env_arguments(args.env_args)),
        args.server,
        episodes=args.episodes,
        seeds=args.seed,
        observe=load(args.observe, "--observe") if args.observe else None,
        num_envs=args.num_envs,
        processes=args.processes,
        progress=not args.no_progress,
        max_steps=args.max_steps,
        clip=args.clip,
        success=load(args.success, "--success") if args.success else None,
        options={key: value for key, value in options.items() if value is not None},
    )
    if args.json is None:
        return str(result)
    if str(args.json) == "-":
        return result.to_json()
    try:
        args.json.write_text(result.to_json() + "\n")
    except OSError as error:
        # The numbers were hard to come by, so they are not lost with the file.
        print(result, file=sys.stderr)
        detail = f"--json: cannot write `{args.json}` ({error.strerror})"
        raise PolicyError("BAD_OPTION", detail) from error
    return str(result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when it is done, 2 when it failed, with one line on stderr."""
    args = parse(arguments)
    try:
        print(run(args))
    except PolicyError as error:
        print(f"engraft_client.gym: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
