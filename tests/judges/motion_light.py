#!/usr/bin/env python3
"""Solves the motions of the bridge's joints with Ruckig, the reference of the solver that it uses.

    python tests/judges/motion_light.py [--problems N]

Needs ruckig. Starts firmware-bridge/examples/plan_motion.rs, which prints random motions as JSON.
For each it compares the state after one period, the quickest stop, and for targets at rest the
whole way, which the joint plans anew from its own set-point at every period. Exits 1 at the first
that differs.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruckig import ControlInterface, InputParameter, Result, Ruckig, Trajectory

ROOT = Path(__file__).resolve().parents[2]
SHARE = 1.0 - 1e-7  # The bridge gives its solver this much of the limits.
WAY = 5e-3  # Part of a way that the joint may be off on it: planned anew at a limit, it brakes a little early.


def problems(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """What the bridge planned; EXAMPLES names a folder that holds its program built."""
    name = "plan_motion"
    command = ["cargo", "run", "--quiet", "--locked", "-p", "firmware-bridge", "--example", name, "--"]
    command = [str(Path(os.environ["EXAMPLES"]) / name)] if "EXAMPLES" in os.environ else command
    command += ["--problems", str(count), "--seed", str(seed)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    assert process.returncode == 0, f"the example exits with {process.returncode}"


def solve(problem: dict[str, Any], state: list[float], moving: float, *, stop: bool = False) -> Trajectory:
    """Ruckig's way, in the frame of a target that moves steadily and is at zero now."""
    share = 1.0 if stop else SHARE
    inputs = InputParameter(1)
    position, velocity, acceleration = state
    inputs.current_position = [position]
    inputs.current_velocity = [velocity - moving]
    inputs.current_acceleration = [acceleration]
    inputs.max_velocity = [problem["velocity"] * share - moving]
    inputs.min_velocity = [-problem["velocity"] * share - moving]
    inputs.max_acceleration = [problem["acceleration"] * share]
    inputs.max_jerk = [problem["jerk"] * share]
    if stop:
        inputs.control_interface = ControlInterface.Velocity
    trajectory = Trajectory(1)
    result = Ruckig(1).calculate(inputs, trajectory)
    assert result == Result.Working, f"Ruckig says {result} of {problem}"
    return trajectory


def near(found: float, expected: float, tolerance: float, what: str, problem: dict[str, Any]) -> float:
    off = abs(found - expected)
    assert off <= tolerance, f"{what}: expected {expected}, found {found}, problem {problem | {'way': []}}"
    return off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    count, solved, braked, ways, worst, slowest = 0, 0, 0, 0, 0.0, 0.0
    for problem in problems(args.problems, args.seed):
        count += 1
        state, period = problem["state"], problem["period"]
        # The quickest stop.
        stop = solve(problem, [0.0, *state[1:]], 0.0, stop=True)
        near(problem["stop"]["secs"], stop.duration, 1e-9, "seconds to stop", problem)
        end = state[0] + stop.at_time(stop.duration)[0][0]
        near(problem["stop"]["end"], end, 1e-9, "position after a stop", problem)
        extrema = stop.position_extrema[0]
        near(problem["stop"]["low"], state[0] + extrema.min, 1e-8, "lowest of a stop", problem)
        near(problem["stop"]["high"], state[0] + extrema.max, 1e-8, "highest of a stop", problem)
        # One period towards the target, which is described for its end.
        assert problem["author"] != "Unsolved", f"no way was found: {problem | {'way': []}}"
        if problem["author"] == "Brake":
            braked += 1
            continue
        solved += 1
        position, moving = problem["target"]
        way = solve(problem, [state[0] - (position - moving * period), *state[1:]], moving)
        p, v, a = (value[0] for value in way.at_time(period))
        expected = [p + position, v + moving, a]
        scale = [1.0, problem["velocity"], problem["acceleration"]]
        for found, value, unit, name in zip(problem["next"], expected, scale, ("position", "velocity", "acceleration")):
            worst = max(worst, near(found, value, 1e-8 * max(unit, 1.0), f"{name} after a period", problem))
        if moving == 0.0:
            # Planned anew at each period, it still takes the time of the best way.
            periods = math.ceil(way.duration / period)
            if periods < len(problem["way"]):
                size = abs(state[0] - position) + problem["velocity"] ** 2 / problem["acceleration"]
                for tick in range(1, periods + 1):
                    expected_position = way.at_time(tick * period)[0][0] + position
                    off = near(problem["way"][tick][0], expected_position, WAY * size, f"position after {tick} periods", problem)
                    slowest = max(slowest, off / size)
                near(problem["way"][periods][0], position, 1e-6, "position at the end of the way", problem)
                ways += 1
    assert count == args.problems and solved > count / 2, f"{solved} solved of {count}"
    print(f"{count} motions: {solved} states after a period agree to {worst:.1e}, {braked} braked, all stops agree, "
          f"{ways} whole ways planned anew every period end when the best do, at most {slowest:.1e} of their size off meanwhile")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        traceback.print_exc()
        sys.exit(f"the bridge and Ruckig disagree: {error}")
