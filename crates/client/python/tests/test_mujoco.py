"""MuJoCo itself: the scene that comes along, models of others, and the command line."""

import os
import subprocess
import sys
import tempfile
import time
import unittest
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from case import wait_for

from engraft_client.simulator import SimulatorError

SOURCE = Path(__file__).parents[1] / "src"

if find_spec("mujoco"):
    from engraft_client.mujoco.describe import Gripper, arm_toml, write_once
    from engraft_client.mujoco.server import Goal, MujocoConfig, MujocoServer

MODEL = """
<mujoco model="other">
  <compiler angle="radian"/>
  <worldbody>
    <body><joint name="lift" type="slide" axis="0 0 1" range="0 0.5"/><geom size="0.1" mass="1"/>
      <body><joint name="turn" axis="0 0 1" range="-3 3"/><geom size="0.1" pos="0.2 0 0" mass="1"/>
      </body>
    </body>
    <body name="ball" pos="1 0 0"><freejoint name="ball"/><geom size="0.05" mass="0.1"/></body>
  </worldbody>
  <actuator>{actuators}</actuator>
</mujoco>
"""
SERVOS = """
<position joint="lift" kp="500" kv="50" ctrlrange="0.1 0.9" ctrllimited="true"/>
<position name="turner" joint="turn" kp="50" kv="5"/>
<motor joint="turn"/>
"""


def model(folder, actuators=SERVOS):
    path = Path(folder) / "model.xml"
    path.write_text(MODEL.format(actuators=actuators))
    return path


@unittest.skipUnless(find_spec("mujoco"), "MuJoCo is not installed: pip install mujoco")
class AModel(unittest.TestCase):
    def start(self, **config):
        server = MujocoServer(MujocoConfig(**config))
        server.start("tcp://127.0.0.1:*")
        self.addCleanup(server.stop)
        return server

    def test_our_own_needs_no_flags_and_goes_where_it_is_told(self):
        server = self.start()
        names = [joint.name for joint in server.describe().joints]
        self.assertEqual(len(names), 6)
        self.assertEqual((names[0], names[-1]), ("shoulder_pan", "gripper"))
        goal = [0.2, -0.7, 1.9, 0.3, -0.1, -0.4]
        server.torque(True)
        server.command(goal)
        wait_for(lambda: np.allclose(server.sense().position_rad, goal, atol=0.02))
        state = server.sense()
        self.assertTrue(state.torque)
        self.assertTrue(all(abs(effort) <= 1 for effort in state.effort))

    def test_without_torque_joints_stay_where_they_are(self):
        server = self.start()
        before = server.sense()
        wait_for(lambda: server.sense().time_secs > 0.5)
        np.testing.assert_allclose(server.sense().position_rad, before.position_rad, atol=0.01)

    def test_its_clock_is_the_wall_s(self):
        server = self.start()
        wall, before = time.monotonic(), server.sense().time_secs
        time.sleep(0.5)
        passed = server.sense().time_secs - before
        # A machine with other work may hold it up; it never runs ahead.
        self.assertGreater(passed, 0.1)
        self.assertLess(passed, time.monotonic() - wall + 0.01)

    def test_an_instance_is_a_keyframe_and_a_seed_varies_it(self):
        server = self.start(vary=[("cabinet_y", 0.02)], goal=Goal("drawer", 0.08))
        place = server.model.joint("cabinet_y").qposadr[0]

        def cabinet(instance, seed):
            start = server.reset(instance, seed)
            self.assertEqual(len(start), 6)
            return server.data.qpos[place]

        arm = np.array(server.sense().position_rad)
        seen = [cabinet(1, 5), cabinet(1, 6), cabinet(1, 5), cabinet(2, 5)]
        self.assertEqual(seen[0], seen[2])
        self.assertNotEqual(seen[0], seen[1])
        self.assertTrue(all(abs(y - 0.1) <= 0.02 for y in seen[:2]) and seen[3] < -0.07, seen)
        np.testing.assert_allclose(server.sense().position_rad, arm, atol=0.01)

    def test_a_drawer_that_is_open_is_seen_to_be(self):
        server = self.start(cameras=["front"], size=32, goal=Goal("drawer", 0.08))
        if not server.describe().views:
            self.skipTest("nothing draws here")
        shut = server.look()
        self.assertFalse(shut.success)
        self.assertEqual(shut.pictures[0].shape, (32, 32, 3))
        server.data.qpos[server.model.joint("drawer").qposadr[0]] = 0.1
        seen = server.look()
        self.assertTrue(seen.success)
        self.assertGreater(np.abs(seen.pictures[0].astype(int) - shut.pictures[0]).max(), 30)

    def test_of_another_model_the_range_is_what_joint_and_actuator_take(self):
        with tempfile.TemporaryDirectory() as folder:
            server = self.start(scene=model(folder), vary=[("ball", 0.1)])
        joints = {joint.name: (joint.min_rad, joint.max_rad) for joint in server.arm.joints}
        self.assertEqual(joints, {"lift": (0.1, 0.5), "turn": (-3, 3)})
        self.assertEqual(server.describe().instances, [])
        self.assertIsNone(server.reset(0, 1))
        ball = server.model.joint("ball").qposadr[0]
        first = server.data.qpos[ball : ball + 2].copy()
        self.assertLess(np.abs(first - [1, 0]).max(), 0.1)
        server.reset(0, 2)
        self.assertGreater(np.abs(server.data.qpos[ball : ball + 2] - first).max(), 1e-4)

    def test_what_it_has_not_is_said_with_what_it_has(self):
        with tempfile.TemporaryDirectory() as folder:
            path = model(folder)
            for config, words in (
                ({"joints": ["elbow"]}, "found `elbow`: it has lift, turn, ball"),
                ({"joints": ["turn"], "actuators": ["lifter"]}, "`lifter` to be a position"),
                ({"joints": ["ball"]}, "expected a position actuator"),
                ({"cameras": ["front"]}, "found `front`: it has none"),
                ({"goal": Goal("door", 1)}, "found `door`"),
            ):
                with self.assertRaisesRegex(SimulatorError, words):
                    MujocoServer(MujocoConfig(scene=path, **config))
            with self.assertRaisesRegex(SimulatorError, "found none"):
                MujocoServer(MujocoConfig(scene=model(folder, '<motor joint="turn"/>')))
            with self.assertRaisesRegex(SimulatorError, "cannot read the scene"):
                MujocoServer(MujocoConfig(scene=Path(folder) / "none.xml"))

    def test_physics_that_fails_is_an_error_and_no_jump(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(folder.name)  # where MuJoCo writes that it failed
        server = self.start()
        wait_for(lambda: server.sense().time_secs > 0.1)
        with server._lock:
            server.data.qvel[0] = np.nan

        def failed():
            try:
                server.sense()
            except SimulatorError:
                return True
            return False

        wait_for(failed)

    def test_the_description_has_the_model_s_names_and_ranges(self):
        with tempfile.TemporaryDirectory() as folder:
            server = MujocoServer(MujocoConfig(scene=model(folder)))
            text = arm_toml(server.robot, server.arm, Gripper("lift", True))
            self.assertIn('name = "turn"\nid = 2\nmodel = "other"\nmin_rad = -3.0', text)
            # It is open at 0.5 m, and its angle grows as it closes.
            closes = "inverted = true\nzero_ticks = 500000\nmin_rad = 0.0\nmax_rad = 0.400000"
            self.assertIn(closes, text)
            self.assertIn("max_velocity = 0.4\n", text)
            with self.assertRaisesRegex(SimulatorError, "--gripper"):
                arm_toml(server.robot, server.arm, Gripper("hand", True))
            path = Path(folder) / "arm.toml"
            self.assertTrue(write_once(path, text))
            self.assertFalse(write_once(path, "other"))
            self.assertEqual(path.read_text(), text)


@unittest.skipUnless(find_spec("mujoco"), "MuJoCo is not installed: pip install mujoco")
class TheCommandLine(unittest.TestCase):
    def command(self, *arguments, **environment):
        path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "engraft_client.mujoco", *arguments]
        environment = {**os.environ, "PYTHONPATH": path, **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, text=True, **pipes)

    def test_without_a_gl_the_arm_alone_is_served(self):
        # A display that is not there, and a way to draw of which MuJoCo cannot even be imported.
        for way in ("glfw", "none"):
            gl = {"MUJOCO_GL": way, "DISPLAY": ""}
            with self.command("--listen", "tcp://127.0.0.1:*", **gl) as server:
                self.assertRegex(server.stdout.readline(), r"^tcp://127\.0\.0\.1:\d+\n")
                server.terminate()
                self.assertEqual(server.wait(20), 0)
                said = server.stderr.read()
            self.assertIn(
                f"engraft-mujoco: no eyes, the arm alone is served: MUJOCO_GL={way}", said
            )
            self.assertIn("seen by no camera", said)

    def test_a_failure_is_one_line(self):
        for arguments in (["none.xml"], ["--size", "7"], ["--gripper", "gripper"]):
            with self.command(*arguments) as server:
                out, err = server.communicate(timeout=60)
            self.assertEqual((server.returncode, out, err.count("\n")), (2, "", 1), err)
            self.assertTrue(err.startswith("engraft-mujoco: "), err)


if __name__ == "__main__":
    unittest.main()
