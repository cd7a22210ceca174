#!/usr/bin/env python3
"""Drives a policy server with this repository's own Python client, crates/client/python.

    python tests/judges/client_light.py

Runs the package's unit tests, then starts the server of `crates/serve/examples/stand_in.rs`, which
tells every joint to stay where it is. Installs nothing: the package is imported from its folder.
Needs gymnasium, numpy, pyzmq and msgpack.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "crates/client/python"
sys.path[:0] = [str(PACKAGE / "src"), str(Path(__file__).resolve().parent)]
from engraft_client import Policy, PolicyError, PolicyTimeout  # noqa: E402
from engraft_client.gym import evaluate  # noqa: E402
from groot_light import TOKEN  # noqa: E402
from serve_light import passed, stand_in  # noqa: E402

HORIZON = 8
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACKAGE / "src")}


def run(*arguments, cwd=PACKAGE):
    """Runs Python with the package at hand; what it printed."""
    done = subprocess.run([sys.executable, *arguments], env=ENVIRONMENT, cwd=cwd, text=True,
                          capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def judge_unit_tests():
    """The package's own; of those of MetaWorld what needs no simulator."""
    names = sorted(path.stem for path in (PACKAGE / "tests").glob("test_*.py"))
    names = [name for name in names if not name.startswith("test_metaworld")]
    printed = run("-m", "unittest", "-v", *names, cwd=PACKAGE / "tests")
    for line in printed.splitlines():
        if "skipped" in line:
            print(f"    {line}")
    summary = next(line for line in printed.splitlines() if line.startswith("Ran "))
    assert int(summary.split()[1]) >= 70, summary
    passed(f"the package's own tests: {summary}")
    paths = sorted(str(path) for path in (PACKAGE / "tests").glob("test_metaworld*.py"))
    summary = run("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *paths).strip()
    assert int(summary.splitlines()[-1].split()[0]) >= 17, summary
    passed(f"of MetaWorld's: {summary.splitlines()[-1]}")


def refused(code, call, *words):
    try:
        call()
    except PolicyError as error:
        assert error.code == code, error
        assert all(word in error.detail for word in words), error
        return error
    raise AssertionError(f"expected {code}, found no error")


def observation(policy, joints):
    return {**policy.contract.example(), "proprio": np.float32(joints)}


def judge_actions(endpoint):
    rng = np.random.default_rng(1)
    with Policy(endpoint, timeout=30) as policy:
        contract = policy.contract
        assert policy.model.name == "stand-in" and len(contract.fingerprint) == 64
        assert [(v.name, v.width, v.height, v.depth) for v in contract.spec.views] == [
            ("front", 96, 64, True), ("wrist", 96, 64, False)], contract
        assert [d.name for d in contract.spec.actions] == ["shoulder", "elbow", "gripper"]
        assert (contract.spec.rate_hz, contract.num_frames, contract.horizon) == (10, 2, HORIZON)
        passed("the contract is that of the server")

        before = policy.status().replied
        for tick in range(3 * HORIZON):
            joints = rng.uniform(-1, 1, 3).astype(np.float32)
            if tick % HORIZON == 0:
                asked = joints  # the whole chunk stays there
            action = policy.act(observation(policy, joints))
            assert action.dtype == np.float32 and np.array_equal(action, asked), (tick, action)
        assert policy.status().replied - before == 3
        passed(f"{3 * HORIZON} ticks took 3 requests, and every joint stays where it is")

        policy.reset()
        reply = policy.infer(observation(policy, [1, 0, -1]), attention=True)
        assert np.array_equal(reply.actions, np.tile(np.float32([1, 0, -1]), (HORIZON, 1)))
        assert (reply.episode, reply.first_tick, reply.model_hash) == (1, 0, "0" * 64), reply
        assert set(reply.timings) == {"decode", "queue", "preprocess", "infer", "encode"}
        assert 19e3 < reply.timings["infer"] < 1e3 * reply.round_trip_ms, reply
        passed(f"a whole chunk after {reply.round_trip_ms:.1f} ms; a ping takes "
               f"{1e3 * min(policy.ping() for _ in range(5)):.2f} ms")

        refused_before = policy.status().refused
        good = observation(policy, [0, 0, 0])
        narrow = {**good["rgb"], "front": good["rgb"]["front"][:, :84]}
        refused("BAD_SHAPE", lambda: policy.act({**good, "rgb": narrow}), "[64, 96, 3]", "[64, 84, 3]")
        refused("BAD_SHAPE", lambda: policy.act({**good, "depth": {}}), "front")
        refused("NONFINITE", lambda: policy.act({**good, "proprio": [0, np.nan, 0]}), "elbow")
        assert policy.status().refused == refused_before, "it is refused before it is sent"
        passed("what does not keep the contract is never sent")

        spec = contract.spec
        degrees = replace(spec, actions=tuple(replace(d, unit="deg") for d in spec.actions))
        refused("CONTRACT_MISMATCH", lambda: Policy(endpoint, robot=degrees), "elbow [deg]")
        with Policy(endpoint, robot=spec):
            passed("a robot that does not fit is refused, and one that fits is not")
    assert clients(endpoint) == 0
    passed("whoever left takes no place")


def clients(endpoint):
    return json.loads(run("-m", "engraft_client", "status", endpoint, "--json"))["clients"]


def judge_ahead(endpoint):
    """A model of 20 ms must not hold up a tick that has an action to play."""
    with Policy(endpoint, ahead=6, merge="ensemble", timeout=30) as policy:
        seen = observation(policy, [0.5, 0, 0])
        policy.act(seen)
        took = []
        for _ in range(40):
            began = time.perf_counter()
            action = policy.act(seen)
            took.append(time.perf_counter() - began)
            assert np.allclose(action, [0.5, 0, 0]), action
            time.sleep(0.01)
        newest = policy.last_reply
        assert newest is not None and newest.first_tick > 20, newest
        assert np.median(took) < 0.015, took
        passed(f"asked ahead, a tick takes {1e3 * np.median(took):.2f} ms")


def judge_many(endpoint):
    """Several at once, each with its own session; a deadline that passes while they are served."""
    stop, failures = threading.Event(), []

    def play(number):
        try:
            with Policy(endpoint, timeout=30, name=f"judge {number}", executed=1) as policy:
                while not stop.is_set():
                    action = policy.act(observation(policy, [number / 10, 0, 0]))
                    assert np.allclose(action, [number / 10, 0, 0]), (number, action)
        except Exception as error:  # said below, on the thread that judges
            failures.append(error)

    threads = [threading.Thread(target=play, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    with Policy(endpoint, timeout=30) as policy:
        seen, passed_by = observation(policy, [0, 0, 0]), 0
        for _ in range(50):
            try:
                policy.infer(seen, deadline_ms=1)
            except PolicyError as error:
                assert error.code == "DEADLINE", error
                passed_by += 1
                break
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not failures, failures
        assert passed_by, "a model that is busy was free 50 times"
    passed("three clients at once got their own actions, and a fourth its DEADLINE")


def judge_restart():
    """The server leaves and comes back at the same port, in the middle of an episode."""
    with stand_in() as (endpoint, server):
        policy = Policy(endpoint, timeout=5)
        policy.act(observation(policy, [0, 0, 0]))
        server.stdin.close()
        server.wait(30)
        server.stdin = open(os.devnull)  # for whoever closes it once more
    gone = refused_in_time(lambda: policy.infer(observation(policy, [1, 0, 0])))
    command = [str(Path(os.environ["EXAMPLES"]) / "stand_in")] if "EXAMPLES" in os.environ else [
        "cargo", "run", "--quiet", "--locked", "-p", "engraft-serve", "--example", "stand_in", "--"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, endpoint], cwd=ROOT, text=True, **pipes) as again:
        assert again.stdout.readline().strip() == endpoint
        reply = policy.infer(observation(policy, [1, 0, 0]))
        assert reply.first_tick == 2 and reply.actions[0, 0] == 1, reply
        policy.close()
        again.stdin.close()
        assert again.wait(30) == 0
    passed(f"a server that left is missed ({gone.code}), and found again")


def refused_in_time(call):
    began = time.monotonic()
    try:
        call()
    except PolicyError as error:
        assert time.monotonic() - began < 10
        assert error.code in ("GOODBYE", "TIMEOUT"), error
        return error
    raise AssertionError("a server that is gone answered")


def judge_token():
    with stand_in("token", TOKEN) as (endpoint, _):
        refused("UNAUTHORIZED", lambda: Policy(endpoint), "token", endpoint)
        refused("UNAUTHORIZED", lambda: Policy(endpoint, token="wrong"), "token")
        with Policy(endpoint, token=TOKEN, timeout=30) as policy:
            policy.act(observation(policy, [0, 0, 0]))
    passed("a token lets in who knows it")


class Still(gymnasium.Env):
    """An arm that succeeds as soon as it is told to stay where it is."""

    action_space = gymnasium.spaces.Box(-1.0, 1.0, (3,))

    def look(self):
        picture = np.zeros((64, 96, 3), np.uint8)
        return {"pixels": {"front": picture, "wrist": picture}, "agent_pos": self.joints}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.joints = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self.look(), {}

    def step(self, action):
        return self.look(), 0.0, False, False, {"success": np.array_equal(action, self.joints)}


def judge_gym():
    with stand_in("rgb") as (endpoint, _):
        result = evaluate(Still, endpoint, episodes=6, num_envs=3, max_steps=12)
    found = json.loads(result.to_json())
    assert (found["success_rate"], found["env"]) == (1, "Still"), found
    assert [(row["steps"], row["requests"]) for row in found["episodes"]] == [(12, 2)] * 6, found
    assert found["latency_p50_ms"] > 19 and found["success_interval_95"][0] > 0.6, found
    passed(f"six episodes in three environments: {found['latency_p50_ms']:.1f} ms (p50)")


def main():
    judge_unit_tests()
    with stand_in() as (endpoint, _):
        judge_actions(endpoint)
        judge_ahead(endpoint)
        judge_many(endpoint)
        print(run("-m", "engraft_client", "contract", endpoint).rstrip())
        print(run("-m", "engraft_client", "status", endpoint).rstrip())
    with contextlib.suppress(PolicyTimeout):
        Policy(endpoint, timeout=0.5)
        raise AssertionError("nobody listens there any more")
    judge_restart()
    judge_token()
    judge_gym()


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, PolicyError):
        traceback.print_exc()
        sys.exit("the server and this judge disagree")
