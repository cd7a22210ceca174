#!/usr/bin/env python3
"""MetaWorld judges the whole line: its expert is recorded, a policy learns from that and is played.

    tests/judges/metaworld.py target/debug/engraft

Needs the packages of requirements-metaworld.txt. First the tests of `engraft_client.metaworld`, of
which none may be skipped; then `collect`, `engraft train`, `engraft serve` and `evaluate` as a user
runs them, far too briefly for a policy that succeeds. Prints one line per check and exits 1 at the
first that fails.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "crates/client/python"
RECIPE = ROOT / "policies/recipes/lfs-metaworld.toml"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACKAGE / "src")}
EPISODES, MAX_STEPS, HORIZON = 2, 20, 8


def run(*command, cwd=ROOT):
    done = subprocess.run(command, env=ENVIRONMENT, cwd=cwd, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metaworld(*words):
    return run(sys.executable, "-m", "engraft_client.metaworld", *words)


def judge_tests():
    paths = sorted(str(path) for path in (PACKAGE / "tests").glob("test_metaworld*.py"))
    words = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *paths]
    summary = run(sys.executable, *words, cwd=PACKAGE).strip().splitlines()[-1]
    assert int(summary.split()[0]) >= 25 and "skipped" not in summary, summary
    print(f"ok  the package's tests with the simulator: {summary}")


@contextlib.contextmanager
def served(engraft, folder):
    """Where a run is served."""
    with open(folder / "serve.log", "w") as log:
        command = [engraft, "serve", folder / "run", "--bind", "tcp://127.0.0.1:*"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server:
            endpoint = server.stdout.readline().split()[-1:]
            assert endpoint and endpoint[0].startswith("tcp://"), (folder / "serve.log").read_text()
            try:
                yield endpoint[0]
            finally:
                server.terminate()
            assert server.wait(60) == 0, "a server that is told to stop does so without an error"


def judge_line(engraft, folder):
    said = metaworld("collect", "drawer-open", "--episodes", "3", "--size", "64", "--out", str(folder / "data"))
    assert said.startswith("3 demonstrations"), said
    facts = json.loads(run(engraft, "data", "inspect", str(folder / "data"), "--json"))
    assert facts["num_episodes"] == 3, facts
    print(f"ok  the expert's demonstrations, read by engraft: {facts['num_steps']} steps")
    words = ["--data", str(folder / "data"), "--out", str(folder / "run"), "--steps", "4", "--plain"]
    run(engraft, "train", str(RECIPE), *words)
    with served(engraft, folder) as endpoint:
        words = ["--split", "heldout", "--episodes", str(EPISODES), "--max-steps", str(MAX_STEPS)]
        files = ["--json", str(folder / "result.json"), "--sheet", str(folder / "sheet.png")]
        said = metaworld("evaluate", "drawer-open", "--server", endpoint, *words, *files)
    result = json.loads((folder / "result.json").read_text())
    rows = result["rows"]
    assert len(rows) == EPISODES and f"of {EPISODES}" in said, said
    for row in rows:
        # A chunk is played to its end before the next is asked for.
        assert row["success"] or row["steps"] == MAX_STEPS, row
        assert row["requests"] == -(-row["steps"] // HORIZON), row
    assert result["successes"] == sum(row["success"] for row in rows)
    assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")
    print(f"ok  trained, served and played: {said.strip()}")


def main():
    engraft = Path(sys.argv[1]).resolve()
    judge_tests()
    with tempfile.TemporaryDirectory() as folder:
        judge_line(engraft, Path(folder))
    print("MetaWorld agrees")


if __name__ == "__main__":
    main()
