"""A simulator behind its sockets: what a bridge asks, and everything that is no question."""

import threading
import time
import unittest

import msgpack
import numpy as np
import zmq
from case import wait_for

from engraft_client.simulator import (
    Description,
    Joint,
    Sight,
    SimulatorError,
    SimulatorServer,
    State,
    View,
)


class Toy(SimulatorServer):
    """Two joints that are where they are told to be."""

    def __init__(self, views=1):
        super().__init__()
        self.at, self.on, self.held, self.drawing = [0.0, 0.5], False, 0, threading.Event()
        self.drawing.set()
        self.is_ = Description(
            name="toy",
            version="1",
            joints=[Joint("lift", -1, 1), Joint("turn", -2, 2)],
            task="be quick",
            views=[View("front", 4, 3)] * views,
            instances=["here", "there"],
            watchdog_secs=0.1,
        )

    def describe(self):
        return self.is_

    def sense(self):
        return State(1.5, self.at, [0, 0], self.on, effort=[0.5, -0.5])

    def command(self, goal_rad):
        self.at = list(goal_rad)

    def torque(self, on):
        self.on = on

    def hold(self):
        self.held += 1

    def reset(self, instance, seed):
        if seed == 13:
            raise SimulatorError("not today")
        return [instance, 0.25]

    def look(self):
        self.drawing.wait(10)
        return Sight(2.5, [np.full((3, 4, 3), 7, np.uint8)], self.at, success=self.at[0] > 0.5)


class ASimulator(unittest.TestCase):
    def start(self, toy):
        toy.start("tcp://127.0.0.1:*")
        self.addCleanup(toy.stop)
        return toy

    def ask_raw(self, endpoint, *frames):
        with zmq.Context.instance().socket(zmq.REQ) as socket:
            socket.linger, socket.rcvtimeo = 0, 10_000
            socket.connect(endpoint)
            socket.send_multipart(frames)
            header, *arrays = socket.recv_multipart()
            return msgpack.unpackb(header), arrays

    def ask(self, endpoint, kind, **fields):
        return self.ask_raw(endpoint, msgpack.packb({"v": 1, "t": kind, "seq": 7, **fields}))

    def eyes(self, toy):
        port = self.ask(toy.endpoint, "describe")[0]["eyes_port"]
        return f"tcp://127.0.0.1:{port}"

    def test_it_says_what_it_is(self):
        toy = self.start(Toy())
        said, _ = self.ask(toy.endpoint, "describe")
        self.assertEqual((said["v"], said["t"], said["seq"]), (1, "description", 7))
        self.assertEqual(said["joints"][1], {"name": "turn", "min_rad": -2, "max_rad": 2})
        self.assertEqual(
            said["views"], [{"name": "front", "width": 4, "height": 3, "depth": False}]
        )
        self.assertEqual(said["instances"], ["here", "there"])
        self.assertNotIn("eyes_port", self.ask(self.start(Toy(views=0)).endpoint, "describe")[0])

    def test_a_command_needs_torque_and_is_answered_with_the_state(self):
        toy = self.start(Toy())
        refused, _ = self.ask(toy.endpoint, "command", goal_rad=[0.1, 0.2])
        self.assertIn("torque is off", refused["detail"])
        self.assertTrue(self.ask(toy.endpoint, "torque", on=True)[0]["torque"])
        state, _ = self.ask(toy.endpoint, "command", goal_rad=[0.25, -1])
        self.assertEqual(state["position_rad"], [0.25, -1])
        self.assertEqual((state["time_secs"], state["effort"]), (1.5, [0.5, -0.5]))

    def test_goals_that_no_joint_takes_are_refused_with_the_joint(self):
        toy = self.start(Toy())
        self.ask(toy.endpoint, "torque", on=True)
        for goals, words in (
            ([0.0], "expected 2 numbers, found 1"),
            (None, "found none"),
            ([0.0, 2.5], "joint turn: expected -2 to 2, found 2.5"),
            ([float("nan"), 0.0], "joint lift"),
            (["far", 0.0], "joint lift"),
        ):
            said, _ = self.ask(toy.endpoint, "command", goal_rad=goals)
            self.assertEqual((said["t"], said["seq"]), ("error", 7))
            self.assertIn(words, said["detail"])
        self.assertEqual(toy.at, [0.0, 0.5])

    def test_it_holds_once_when_nobody_commands_any_more(self):
        toy = self.start(Toy())
        self.ask(toy.endpoint, "torque", on=True)
        time.sleep(0.3)
        self.assertEqual(toy.held, 0, "nothing was commanded yet")
        self.ask(toy.endpoint, "command", goal_rad=[0.25, 0])
        wait_for(lambda: toy.held)
        time.sleep(0.3)
        self.assertEqual(toy.held, 1)

    def test_a_picture_that_takes_long_holds_up_no_arm(self):
        toy = self.start(Toy())
        eyes = self.eyes(toy)
        toy.drawing.clear()
        seen = []
        looker = threading.Thread(target=lambda: seen.append(self.ask(eyes, "look")))
        looker.start()
        self.assertEqual(self.ask(toy.endpoint, "sense")[0]["t"], "state")
        self.assertEqual(seen, [])
        toy.drawing.set()
        looker.join(10)
        (sight, arrays), *_ = seen
        self.assertEqual((sight["success"], sight["time_secs"]), (False, 2.5))
        self.assertEqual(
            sight["arrays"],
            [
                {"k": "rgb.0", "d": "u1", "s": [1, 3, 4, 3]},
                {"k": "proprio", "d": "f4", "s": [1, 2]},
            ],
        )
        self.assertEqual(arrays[0], b"\7" * 36)
        np.testing.assert_array_equal(np.frombuffer(arrays[1], "<f4"), [0, 0.5])

    def test_an_episode_begins_where_it_says(self):
        eyes = self.eyes(self.start(Toy()))
        placed, _ = self.ask(eyes, "reset", instance=1, seed=3)
        self.assertEqual((placed["t"], placed["start_rad"]), ("placed", [1.0, 0.25]))
        self.assertIn("0 to 1, found 2", self.ask(eyes, "reset", instance=2, seed=3)[0]["detail"])
        self.assertEqual(self.ask(eyes, "reset", instance=0, seed=13)[0]["detail"], "not today")

    def test_what_is_no_request_is_an_error_and_the_next_one_is_answered(self):
        toy = self.start(Toy())
        whole = msgpack.packb({"v": 1, "t": "sense", "seq": 1})
        wrong = [
            [whole[:-1]],
            [whole, b"more"],
            [b""],
            [b"\x91" * 5000],
            [msgpack.packb([1, 2])],
            [msgpack.packb({"v": 2, "t": "sense", "seq": 1})],
            [msgpack.packb({"v": 1, "t": "sense"})],
            [msgpack.packb({"v": 1, "t": "look", "seq": 1})],
            [msgpack.packb({"v": 1, "t": "torque", "seq": 1, "on": 1})],
        ]
        for frames in wrong:
            self.assertEqual(self.ask_raw(toy.endpoint, *frames)[0]["t"], "error", frames)
        self.assertEqual(self.ask(toy.endpoint, "sense")[0]["t"], "state")

    def test_what_fails_inside_is_told_and_numbers_that_are_none_are_not(self):
        toy = self.start(Toy())
        toy.at = [float("nan"), 0.0]
        self.assertIn("finite", self.ask(toy.endpoint, "sense")[0]["detail"])
        toy.sense = None
        self.assertIn("TypeError", self.ask(toy.endpoint, "sense")[0]["detail"])

    def test_other_machines_are_kept_out_unless_told_otherwise(self):
        for endpoint in ("tcp://*:5570", "tcp://0.0.0.0:5570"):
            with self.assertRaisesRegex(SimulatorError, "--insecure-plaintext"):
                Toy().start(endpoint)
        with self.assertRaisesRegex(SimulatorError, "expected tcp://HOST:PORT"):
            Toy().start("127.0.0.1:5570")
        toy = self.start(Toy())
        with self.assertRaisesRegex(SimulatorError, "cannot listen"):
            Toy().start(toy.endpoint)


if __name__ == "__main__":
    unittest.main()
