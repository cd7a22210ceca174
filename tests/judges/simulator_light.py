#!/usr/bin/env python3
"""The bridge moves a model of MuJoCo, and MuJoCo says how that went.

    python tests/judges/simulator_light.py

Needs mujoco, numpy, pyzmq and msgpack. Starts `engraft-mujoco` of crates/client/python from its folder, and the
`firmware-bridge` that lies beside the folder EXAMPLES; without that, cargo builds one. Prints one line per check and
exits 1 at the first that fails.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq
from bridge import ROOT, passed

CLIENT = ROOT / "crates/client/python/src"
sys.path[:0] = [str(CLIENT), str(CLIENT.parent / "tests")]
from fake_server import FakeServer  # noqa: E402

# What the description that engraft-mujoco writes allows each joint that turns.
VELOCITY, ACCELERATION = 1.0, 6.0
# Actuators are springs, which swing a little beyond what is asked for, more where a busy machine has set-points
# arrive in bunches. Accelerations are means over a window, since set-points are steps and felt as such.
SWING, BUNCHED = 1.25, 3.0
WINDOW_SECS = 0.05
START = {"shoulder_pan": 0.0, "shoulder_lift": -0.9, "elbow_flex": 2.1, "wrist_flex": 0.3}
GOAL = {"shoulder_pan": 0.8, "shoulder_lift": -0.3, "elbow_flex": 1.5, "wrist_flex": -0.2}
# Pictures of the policy that looks, and actions of its chunks.
SIDE, HORIZON = 96, 8
# Joints carry the arm's weight with actuators that give way a little.
SAG_RAD = 0.02


def soon(what: str, holds: Callable[[], bool], secs: float = 20.0) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + secs, f"not within {secs} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def bridge(*arguments: str) -> list[str]:
    """A command of the bridge."""
    if "EXAMPLES" in os.environ:
        return [str(Path(os.environ["EXAMPLES"]).parent / "firmware-bridge"), *arguments]
    return ["cargo", "run", "--quiet", "--locked", "-p", "firmware-bridge", "--", *arguments]


class Simulator:
    """`engraft-mujoco` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(CLIENT), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "engraft_client.mujoco", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.endpoint = self.process.stdout.readline().strip()
        assert self.endpoint, "engraft-mujoco did not start"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Witness:
    """Reads MuJoCo's own numbers over a connection of its own, a few hundred times a second."""

    def __init__(self, endpoint: str) -> None:
        self.rows: list[tuple[float, np.ndarray, np.ndarray]] = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(endpoint,), daemon=True)
        self.thread.start()

    def run(self, endpoint: str) -> None:
        with zmq.Context.instance().socket(zmq.REQ) as socket:
            socket.linger, socket.rcvtimeo = 0, 5000
            socket.connect(endpoint)
            while not self.stopped.wait(0.004):
                socket.send(msgpack.packb({"v": 1, "t": "sense", "seq": len(self.rows)}))
                try:
                    state = msgpack.unpackb(socket.recv())
                except zmq.Again:
                    return  # it was killed
                now = np.array(state["position_rad"]), np.array(state["velocity_rad_s"])
                self.rows.append((state["time_secs"], *now))

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()

    def since(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times, positions and velocities of joints that turn freely; each moment of physics once."""
        times, positions, velocities = (np.array(all_) for all_ in zip(*self.rows[row:], strict=True))
        first = np.flatnonzero(np.diff(times, prepend=-1.0) > 0)
        return times[first], positions[first][:, :4], velocities[first][:, :4]

    @property
    def now(self) -> np.ndarray:
        return self.rows[-1][1][:4]


def fastest(witness: Witness, row: int) -> tuple[float, float]:
    """The greatest velocity that MuJoCo had, and the greatest mean acceleration over a window."""
    times, _, velocities = witness.since(row)
    later = np.searchsorted(times, times + WINDOW_SECS)
    pairs = [(i, j) for i, j in enumerate(later) if j < len(times) and times[j] - times[i] < 2 * WINDOW_SECS]
    assert len(pairs) > 20, f"{len(pairs)} windows in {len(times)} readings"
    changes = [np.abs(velocities[j] - velocities[i]).max() / (times[j] - times[i]) for i, j in pairs]
    return float(np.abs(velocities).max()), float(max(changes))


class Bridge:
    """The bridge, and an operator's verbs."""

    def __init__(self, folder: Path, port: str) -> None:
        self.journal, self.told = folder / "run.journal", folder / "bridge.txt"
        with self.told.open("w") as told:
            self.process = subprocess.Popen(
                bridge("run", "--arm", str(folder / "arm.toml"), "--port", port, "--no-policy",
                       "--control", "tcp://127.0.0.1:*", "--telemetry", "tcp://127.0.0.1:*",
                       "--journal", str(self.journal)),
                cwd=ROOT, stderr=told)
        soon("the bridge is there", lambda: self.said(r"verbs at (\S+),") != "", 300)  # cargo may build it
        self.control = self.said(r"verbs at (\S+),")

    def said(self, pattern: str) -> str:
        assert self.process.poll() is None, self.told.read_text()
        found = re.search(pattern, self.told.read_text())
        return found[1] if found else ""

    def verb(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(bridge(*words, "--control", self.control), cwd=ROOT, text=True,
                              capture_output=True, timeout=60)
        assert code == done.returncode, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def status(self) -> str:
        """How the bridge and its arm are; empty while there is no bridge."""
        done = subprocess.run(bridge("status", "--control", self.control), cwd=ROOT, text=True,
                              capture_output=True, timeout=60)
        return done.stdout

    def is_in(self, state: str) -> bool:
        return f"  {state}" in self.status().split("\n", 1)[0]


def words(joints: dict[str, float]) -> list[str]:
    return [f"{name}={angle}" for name, angle in joints.items()]


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[tuple[Simulator, Bridge]]:
    simulator = Simulator("--listen", "tcp://127.0.0.1:*", "--describe", str(folder / "arm.toml"))
    try:
        arm = Bridge(folder, simulator.endpoint)
        try:
            yield simulator, arm
        finally:
            arm.process.kill()
            arm.process.wait()
    finally:
        simulator.kill()


def judge_goto(arm: Bridge, witness: Witness) -> None:
    before = witness.now.copy()
    time.sleep(0.5)
    assert np.abs(witness.now - before).max() < SAG_RAD, "nothing moves before torque"
    arm.verb("torque", "on")
    row = len(witness.rows)
    arm.verb("goto", *words(GOAL), "--speed", "1")
    off = np.array(list(GOAL.values()))
    soon("MuJoCo's joints are where they were sent", lambda: np.abs(witness.now - off).max() < SAG_RAD)
    velocity, acceleration = fastest(witness, row)
    assert 0.5 * VELOCITY < velocity < SWING * VELOCITY, f"{velocity} rad/s"
    assert acceleration < BUNCHED * ACCELERATION, f"{acceleration} rad/s^2"
    passed(f"it came to where it was sent; at most {velocity:.3f} of {VELOCITY} rad/s and {acceleration:.2f} of "
           f"{ACCELERATION} rad/s^2 over {1e3 * WINDOW_SECS:.0f} ms, as MuJoCo saw it")


def judge_estop(arm: Bridge, witness: Witness) -> None:
    """An emergency stop halfway: with the limits' deceleration, and for good."""
    row = len(witness.rows)
    command = bridge("goto", *words(START), "--speed", "0.5", "--control", arm.control)
    way = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start = np.array(list(START.values()))
    soon("it is on its way", lambda: np.abs(witness.now - np.array(list(GOAL.values()))).max() > 0.1)
    arm.verb("estop")
    assert way.wait(20) != 0, "whoever sent it is told that it did not get there"
    assert np.abs(witness.now - start).max() > 0.1, "it did not come to where it was going"
    soon("it stands", lambda: np.abs(witness.rows[-1][2][:4]).max() < 0.01, 5)
    there = witness.now.copy()
    time.sleep(0.5)
    assert np.abs(witness.now - there).max() < SAG_RAD, "it stays"
    velocity, acceleration = fastest(witness, row)
    assert velocity < SWING * VELOCITY and acceleration < BUNCHED * ACCELERATION, (velocity, acceleration)
    assert arm.is_in("Estop"), arm.status()
    arm.verb("reset")
    soon("it is looked at anew", lambda: arm.is_in("Idle"))
    passed(f"an emergency stop on the way: at most {acceleration:.2f} rad/s^2, and it stays where it stopped")


def judge_return(simulator: Simulator, arm: Bridge) -> Simulator:
    """A simulator that dies is a fault; another one at its place is found and gets no torque by itself."""
    arm.verb("torque", "on")
    simulator.kill()
    missed = soon("it is missed", lambda: arm.is_in("Fault"))
    again = Simulator("--listen", simulator.endpoint)
    try:
        time.sleep(1)
        assert arm.is_in("Fault"), "a fault stays until it is reset"
        arm.verb("reset")
        soon("it is found", lambda: arm.is_in("Idle"))
        arm.verb("torque", "on")
        arm.verb("goto", "shoulder_pan=0.3")
        passed(f"a simulator that was killed is a fault, seen {missed:.1f} s later, and its return is found")
    except BaseException:
        again.kill()
        raise
    return again


def judge_bare(folder: Path) -> None:
    """The same way without the bridge: what it keeps from happening would be seen."""
    simulator = Simulator("--listen", "tcp://127.0.0.1:*")
    witness = Witness(simulator.endpoint)
    try:
        soon("readings come", lambda: len(witness.rows) > 10)
        with zmq.Context.instance().socket(zmq.REQ) as socket:
            socket.linger, socket.rcvtimeo = 0, 5000
            socket.connect(simulator.endpoint)
            row = len(witness.rows)
            for fields in ({"t": "torque", "on": True},
                           {"t": "command", "goal_rad": [*GOAL.values(), 0.0, -0.8]}):
                socket.send(msgpack.packb({"v": 1, "seq": 1, **fields}))
                answer = msgpack.unpackb(socket.recv())
                assert answer["t"] == "state", answer
        time.sleep(1)
        velocity, acceleration = fastest(witness, row)
        assert velocity > 3 * VELOCITY and acceleration > 3 * BUNCHED * ACCELERATION, (velocity, acceleration)
        passed(f"the same goal at once, without the bridge: {velocity:.1f} rad/s and {acceleration:.0f} rad/s^2")
    finally:
        witness.stop()
        simulator.kill()


def judge_eyes(folder: Path) -> None:
    """A policy that turns the arm is shown what MuJoCo draws of it; MuJoCo says that it is done."""
    simulator = Simulator("--listen", "tcp://127.0.0.1:*", "--size", str(SIDE), "--success", "shoulder_pan=0.3",
                          "--vary", "cabinet_y=0")
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def turn(server: FakeServer, peer: bytes, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> bool:
        if header["t"] != "infer":
            return False
        seen.append((arrays["rgb.0"][-1], arrays["proprio"][-1]))
        actions = np.tile(arrays["proprio"][-1], (HORIZON, 1))
        actions[:, 0] += 0.04 * np.arange(1, HORIZON + 1)
        fields = {key: header[key] for key in ("session", "seq", "episode", "t_obs_nanos")}
        timings = dict.fromkeys(["decode", "queue", "preprocess", "infer", "encode"], 1)
        server.send(peer, "reply", [("actions", actions)], **fields, first_tick=header["tick"],
                    model_hash=server.model["hash"], timings=timings)
        return True

    joints = [{"name": name, "unit": "1" if name == "gripper" else "rad"} for name in (*GOAL, "wrist_roll", "gripper")]
    views = [{"name": "front", "width": SIDE, "height": SIDE, "depth": False}]
    try:
        with FakeServer(num_frames=1, horizon=HORIZON, views=views, proprio=joints, actions=joints) as server:
            server.answer = turn
            done = subprocess.run(
                bridge("run", "--arm", str(folder / "arm.toml"), "--port", simulator.endpoint, "--eyes", "remote",
                       "--torque-on", "--policy", server.endpoint, "--control", "tcp://127.0.0.1:*",
                       "--telemetry", "tcp://127.0.0.1:*", "--json"),
                cwd=ROOT, capture_output=True, text=True, timeout=120)
    finally:
        simulator.kill()
    if "it has no eyes" in done.stderr:
        print("--  nothing draws here: the eyes are not judged", flush=True)
        return
    assert done.returncode == 0, done.stderr
    episode = json.loads(done.stdout)["episodes"][0]
    assert (episode["instance_name"], episode["outcome"]) == ("middle", "success"), episode
    (first, at_first), (last, at_last) = seen[0], seen[-1]
    assert at_last[0] > 0.1 + at_first[0], (at_first, at_last)
    drawn = [drawing(angles) for angles in (at_first, at_last)]
    right = [np.abs(one - other).mean() for one, other in zip((first, last), drawn, strict=True)]
    wrong = np.abs(drawn[0] - drawn[1]).mean()
    assert max(right) < 0.4 * wrong, (right, wrong)
    passed(f"a policy saw what MuJoCo draws of the arm ({max(right):.2f} grey levels off, where another pose is "
           f"{wrong:.2f}), and the task was done after {episode['steps']} steps")


def drawing(angles: np.ndarray) -> np.ndarray:
    """The scene with the arm there, drawn here."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(CLIENT / "engraft_client/mujoco/scene.xml"))
    model.vis.quality.offsamples = 0
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    data.qpos[:6] = [*angles[:5], 1.2 * (angles[5] - 1)]  # the gripper goes from 0, open, to 1
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, SIDE, SIDE) as renderer:
        renderer.update_scene(data, camera="front")
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            renderer.scene.flags[effect] = 0
        return renderer.render().astype(float)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with rig(folder) as (simulator, arm):
            soon("the arm is connected", lambda: arm.is_in("Idle"))
            witness = Witness(simulator.endpoint)
            soon("readings come", lambda: len(witness.rows) > 10)
            judge_goto(arm, witness)
            judge_estop(arm, witness)
            witness.stop()
            simulator = judge_return(simulator, arm)
            arm.verb("shutdown")
            assert arm.process.wait(20) == 0, "it ends when it is asked to"
            simulator.kill()
            verified = subprocess.run(bridge("verify", str(arm.journal)), cwd=ROOT, text=True,
                                      capture_output=True, timeout=60)
            assert verified.returncode == 0, verified.stdout + verified.stderr
            passed(verified.stdout.strip())
        judge_bare(folder)
        judge_eyes(folder)


if __name__ == "__main__":
    try:
        main()
    except AssertionError:
        traceback.print_exc()
        sys.exit("MuJoCo and this judge disagree with the bridge")
