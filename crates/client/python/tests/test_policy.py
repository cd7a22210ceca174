"""A policy against a server in a thread: numbers, frames, ticks and chunks."""

import logging
import time
import unittest

import numpy as np
from case import Case, observation, wait_for

from engraft_client import Model, Policy, PolicyTimeout


class AConversation(Case):
    def test_the_welcome_tells_contract_and_model(self):
        server = self.server()
        policy = self.policy(server, name="arm 3", token="open sesame")
        spec = policy.contract.spec
        self.assertEqual([view.name for view in spec.views], ["front", "wrist"])
        self.assertEqual((spec.rate_hz, policy.contract.num_frames), (10, 2))
        self.assertEqual((policy.contract.horizon, policy.contract.fingerprint), (4, "f" * 64))
        self.assertEqual((spec.actions[0].name, spec.actions[0].range), ("elbow", (-2, 2)))
        self.assertEqual(policy.model, Model("fake", "a" * 64))
        hello = server.of("hello")[0]
        self.assertEqual((hello["client"], hello["token"]), ("arm 3", "open sesame"))
        with self.assertRaises(AttributeError):
            policy.contract.horizon = 5

    def test_a_robot_goes_out_in_the_words_of_the_protocol(self):
        server = self.server()
        robot = self.policy(server).contract.spec
        self.policy(server, robot=robot)
        self.assertEqual(server.of("hello")[1]["spec"], server.contract["spec"])

    def test_a_chunk_comes_back_with_its_timings(self):
        policy = self.policy(self.server())
        policy.act(observation(1))
        reply = policy.infer(observation(2), attention=True)
        self.assertEqual(reply.actions.dtype, np.float32)
        np.testing.assert_array_equal(reply.actions, [[1, 2], [2, 2], [3, 2], [4, 2]])
        self.assertEqual((reply.first_tick, reply.model_hash), (1, "a" * 64))
        self.assertEqual(reply.timings["infer"], 400)
        self.assertEqual([(m.view, m.tap) for m in reply.attention], [("wrist", "last")])
        self.assertGreater(reply.round_trip_ms, 0)

    def test_sequence_numbers_rise_and_frames_are_stacked(self):
        server = self.server()
        policy = self.policy(server)
        for number in [5, 6]:
            policy.infer(observation(number))
        policy.observe(observation(7))
        policy.infer(observation(8), deadline_ms=30)
        policy.reset()
        policy.infer(observation(9))
        asked = [(header, arrays) for header, arrays in server.requests if header["t"] == "infer"]
        seqs = [header["seq"] for header, _ in asked]
        self.assertEqual(seqs, sorted(set(seqs)))
        ticks = [(header["episode"], header["tick"]) for header, _ in asked]
        self.assertEqual(ticks, [(0, 0), (0, 1), (0, 3), (1, 0)])
        self.assertEqual([header["deadline_millis"] for header, _ in asked], [0, 0, 30, 0])
        stacks = [[5, 5], [5, 6], [7, 8], [9, 9]]  # the first repeats before the start
        for (_, arrays), stack in zip(asked, stacks, strict=True):
            self.assertEqual(arrays["proprio"][:, 0].tolist(), stack)
            self.assertEqual(arrays["rgb.0"].shape, (2, 4, 6, 3))
            self.assertEqual(arrays["rgb.1"][:, 0, 0, 0].tolist(), stack)
            self.assertEqual(arrays["depth.1"][:, 0, 0].tolist(), stack)
            self.assertNotIn("depth.0", arrays)

    def test_what_the_caller_changes_afterwards_does_not_change_the_stack(self):
        server = self.server()
        policy, reused = self.policy(server), observation(1)
        policy.infer(reused)
        reused["proprio"][:] = 2
        reused["rgb"]["front"][:] = 2
        policy.infer(reused)
        arrays = server.requests[-1][1]
        self.assertEqual(arrays["proprio"][:, 0].tolist(), [1, 2])
        self.assertEqual(arrays["rgb.0"][:, 0, 0, 0].tolist(), [1, 2])

    def test_large_pictures_that_are_not_contiguous_arrive_as_they_are(self):
        view = {"name": "front", "width": 200, "height": 300, "depth": False}
        server = self.server(num_frames=1, views=[view])
        policy = self.policy(server)
        picture = np.random.default_rng(1).integers(0, 256, (3, 200, 300), np.uint8).T
        policy.infer({"rgb": {"front": picture.transpose(0, 1, 2)}, "proprio": [0, 0]})
        np.testing.assert_array_equal(server.requests[-1][1]["rgb.0"][0], picture)

    def test_a_ping_and_a_status_are_answered(self):
        policy = self.policy(self.server())
        self.assertLess(policy.ping(), 1)
        status = policy.status()
        self.assertEqual((status.model.name, status.replied, status.busy), ("fake", 3, False))
        self.assertEqual((status.latency[0].stage, status.latency[0].p99), ("total", 3000))
        self.assertEqual(status.others, {"colour": "red"})

    def test_goodbye_is_said_and_the_policy_is_closed(self):
        server = self.server()
        with Policy(server.endpoint) as policy:
            policy.act(observation())
        self.assertEqual(len(server.of("goodbye")), 1)
        self.refused("CLOSED", lambda: policy.infer(observation()), "Policy")
        policy.close()


class Chunks(Case):
    def asked(self, server):
        return [header["tick"] for header in server.of("infer")]

    def act(self, policy, count):
        return [float(policy.act(observation())[0]) for _ in range(count)]

    def test_a_chunk_is_played_out_before_the_next_is_asked_for(self):
        server = self.server()
        policy = self.policy(server)
        self.assertEqual(self.act(policy, 9), list(range(9)))
        self.assertEqual(self.asked(server), [0, 4, 8])
        policy.reset()
        self.assertEqual(self.act(policy, 2), [0, 1])

    def test_so_many_of_each_chunk_are_executed(self):
        server = self.server()
        self.act(self.policy(server, executed=3), 7)
        self.assertEqual(self.asked(server), [0, 3, 6])
        server.requests.clear()
        self.act(self.policy(server, refill=4), 3)
        self.assertEqual(self.asked(server), [0, 1, 2])

    def test_chunks_are_merged(self):
        server = self.server(horizon=2)

        def zeros_then_ones(server, peer, header, arrays):
            if header["t"] == "infer":
                value = float(header["tick"] > 0)
                actions = np.full((2, 2), value)
                fields = {k: header[k] for k in ("session", "seq", "episode", "t_obs_nanos")}
                server.send(
                    peer,
                    "reply",
                    [("actions", actions)],
                    first_tick=header["tick"],
                    model_hash=server.model["hash"],
                    timings={},
                    **fields,
                )
            return header["t"] == "infer"

        server.answer = zeros_then_ones
        policy = self.policy(server, refill=2, merge="weighted:0.25")
        self.assertEqual(self.act(policy, 2), [0, 0.25])


class AskingAhead(Case):
    def test_a_late_chunk_is_merged_when_it_is_there_and_nothing_waits(self):
        server = self.server(horizon=8)
        waiting = []

        def keep(server, peer, header, arrays):
            later = header["t"] == "infer" and header["tick"] > 0
            if later:
                waiting.append((peer, header, arrays))
            return later

        server.answer = keep
        policy = self.policy(server, ahead=6, timeout=5)
        played = [float(policy.act(observation(1))[1]) for _ in range(3)]
        self.assertEqual(played, [1, 1, 1])
        played = [float(policy.act(observation(2))[1]) for _ in range(3)]
        self.assertEqual(played, [1, 1, 1], "old actions while the answer is on its way")
        wait_for(lambda: waiting)
        # Asked at tick 3, when 5 of 8 were left; only one question is open at a time.
        self.assertEqual([header["tick"] for _, header, _ in waiting], [3])
        server.reply(*waiting.pop())
        wait_for(lambda: policy._talk._connection._socket.poll(0))
        action = policy.act(observation(3))
        self.assertEqual(action.tolist(), [6, 2], "tick 6 of the chunk that was seen at tick 3")

    def test_what_is_on_its_way_is_not_the_callers_array(self):
        view = {"name": "front", "width": 200, "height": 200, "depth": False}
        server = self.server(num_frames=1, views=[view])
        picture = np.full((200, 200, 3), 1, np.uint8)
        for options, shared in [({}, True), ({"ahead": 2}, False)]:
            policy = self.policy(server, **options)
            policy.act({"rgb": {"front": picture}, "proprio": [0, 0]})
            sent = dict(policy._frames.arrays())["rgb.0"]
            self.assertEqual(np.shares_memory(sent, picture), shared)

    def test_an_empty_queue_waits(self):
        policy = self.policy(self.server(horizon=4), ahead=2, timeout=5)
        for tick in range(40):
            self.assertEqual(float(policy.act(observation())[0]), tick)

    def test_a_silent_server_is_an_error_only_when_nothing_is_left_to_play(self):
        server = self.server(horizon=4)
        policy = self.policy(server, ahead=3, timeout=1)
        policy.act(observation())
        server.answer = lambda *_: True
        with self.assertLogs("engraft_client", logging.WARNING) as logs:
            policy.act(observation())
            policy.act(observation())
            time.sleep(1.2)
            policy.act(observation())
        self.assertIn("1 action(s) are left to play", logs.output[0])
        with self.assertRaises(PolicyTimeout):
            policy.act(observation())

    def test_a_new_server_is_greeted_without_waiting(self):
        server = self.server(horizon=4)
        policy = self.policy(server, ahead=3, timeout=5)
        policy.act(observation())
        server.forget()
        for tick in range(1, 12):
            self.assertEqual(float(policy.act(observation())[0]), tick)
        self.assertEqual(len(server.of("hello")), 2)


if __name__ == "__main__":
    unittest.main()
