"""What the judges of the firmware bridge share: its examples, and an emulated arm."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def example(name: str) -> list[str]:
    """The command that runs an example of the bridge."""
    if "EXAMPLES" in os.environ:
        return [str(Path(os.environ["EXAMPLES"]) / name)]
    return ["cargo", "run", "--quiet", "--locked", "-p", "firmware-bridge", "--example", name, "--"]


@contextlib.contextmanager
def emulated() -> Iterator[str]:
    """The serial port of an emulated SO-101."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [*example("emulate_arm"), "so101", "--fast"]
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as arm:
        yield arm.stdout.readline().strip()
        arm.stdin.close()
        assert arm.wait(30) == 0, "the emulator stops without an error"


def passed(what: str) -> None:
    print(f"ok  {what}", flush=True)
