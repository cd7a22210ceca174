"""A policy against a server in a thread: numbers, frames, ticks, time and change."""

import logging
import time
import unittest

import numpy as np
from fake_server import FakeServer, contract

from engraft_client import Model, Policy, PolicyError, PolicyTimeout

NOBODY = "tcp://127.0.0.1:9"


def observation(number=0.0):
    """One that can be told from others by its number."""
    grey = int(number) % 256
    return {
        "rgb": {
            "front": np.full((4, 6, 3), grey, np.uint8),
            "wrist": np.full((3, 2, 3), grey, np.uint8),
        },
        "depth": {"wrist": np.full((3, 2), number, np.float32)},
        "proprio": np.array([number, 0], np.float32),
    }


class Case(unittest.TestCase):
    def server(self, **what):
        server = FakeServer(**what)
        self.addCleanup(server.stop)
        return server

    def policy(self, server, **options):
        policy = Policy(server.endpoint, **options)
        self.addCleanup(policy.close)
        return policy

    def refused(self, code, call, *words):
        with self.assertRaises(PolicyError) as caught:
            call()
        self.assertEqual(caught.exception.code, code, caught.exception)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        return caught.exception


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


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.005)


class Time(Case):
    def test_nobody_there_is_said_in_time(self):
        began = time.monotonic()
        with self.assertRaises(PolicyTimeout) as caught:
            Policy(NOBODY, timeout=0.3)
        self.assertLess(time.monotonic() - began, 2)
        self.assertIsInstance(caught.exception, PolicyError)
        self.assertIsInstance(caught.exception, TimeoutError)
        for word in [NOBODY, "0.3 s", "check", "firewall"]:
            self.assertIn(word, str(caught.exception))

    def test_one_that_takes_messages_and_does_not_answer_is_another_matter(self):
        server = self.server()
        server.answer = lambda *_: True
        with self.assertRaises(PolicyTimeout) as caught:
            Policy(server.endpoint, timeout=0.3)
        for word in [server.endpoint, "status", "timeout="]:
            self.assertIn(word, str(caught.exception))

    def test_a_late_reply_is_dropped(self):
        server = self.server()
        policy = self.policy(server, timeout=1)
        late = []

        def keep(server, peer, header, arrays):
            if header["t"] == "infer" and not late:
                late.append((peer, header, arrays))
                return True
            if header["t"] == "infer":
                server.reply(*late[0])  # the late one comes right before the one asked for
            return False

        server.answer = keep
        with self.assertRaises(PolicyTimeout):
            policy.infer(observation(1))
        reply = policy.infer(observation(2))
        self.assertEqual((reply.first_tick, reply.actions[0].tolist()), (1, [1, 2]))

    def test_a_reply_of_the_last_episode_is_dropped(self):
        server = self.server(horizon=4)
        waiting = []

        def keep(server, peer, header, arrays):
            later = header["t"] == "infer" and header["tick"] == 1
            if later:
                waiting.append((peer, header, arrays))
            return later

        server.answer = keep
        policy = self.policy(server, ahead=4, timeout=5)
        policy.act(observation(1))
        policy.act(observation(1))
        wait_for(lambda: waiting)
        policy.reset()
        server.reply(*waiting.pop())
        self.assertEqual(policy.act(observation(3)).tolist(), [0, 3])

    def test_a_welcome_that_comes_too_late_does_not_confuse(self):
        server = self.server()
        policy = self.policy(server, timeout=1)
        server.forget()
        peers = []

        def silent_once(server, peer, header, arrays):
            if header["t"] == "hello" and not peers:
                peers.append(peer)
                return True
            return False

        server.answer = silent_once
        with self.assertRaises(PolicyTimeout):
            policy.infer(observation(1))
        self.assertEqual(policy.infer(observation(2)).first_tick, 1)


class Change(Case):
    def test_a_server_that_forgot_is_greeted_again(self):
        server = self.server()
        policy = self.policy(server)
        policy.infer(observation(1))
        server.forget()
        self.assertEqual(policy.infer(observation(2)).actions[0].tolist(), [1, 2])
        self.assertEqual(len(server.of("hello")), 2)
        seqs = [header["seq"] for header in server.of("infer")]
        self.assertEqual(seqs, sorted(set(seqs)))

    def test_a_server_that_was_started_anew_is_found(self):
        server = FakeServer()
        policy = self.policy(server, timeout=10)
        policy.infer(observation(1))
        server.stop()
        again = self.server(endpoint=server.endpoint)
        self.assertEqual(policy.infer(observation(2)).first_tick, 1)
        self.assertEqual(len(again.of("hello")), 1)

    def test_a_server_that_never_knows_the_session_is_not_asked_for_ever(self):
        server = self.server()
        policy = self.policy(server)

        def forgetful(server, peer, header, arrays):
            server.forget()
            return False

        server.answer = forgetful
        self.refused("NO_SESSION", lambda: policy.infer(observation()), "say hello")
        self.assertEqual(len(server.of("hello")), 2)

    def test_a_goodbye_is_an_error_now_and_a_hello_next_time(self):
        server = self.server()
        policy = self.policy(server)

        def leave(server, peer, header, arrays):
            if header["t"] == "infer":
                server.send(peer, "goodbye")
            return header["t"] == "infer"

        server.answer = leave
        self.refused("GOODBYE", lambda: policy.infer(observation()), "start it again")
        server.answer = lambda *_: False
        policy.infer(observation())
        self.assertEqual(len(server.of("hello")), 2)

    def test_a_new_model_is_told(self):
        server = self.server()
        changes = []
        policy = self.policy(server, on_model_change=lambda *models: changes.append(models))
        policy.act(observation())
        server.model = {"name": "better", "hash": "b" * 64}
        policy.infer(observation())
        self.assertEqual(policy.model, Model("better", "b" * 64))
        self.assertEqual(changes, [(Model("fake", "a" * 64), policy.model)])
        policy.infer(observation())
        self.assertEqual((len(changes), len(server.of("hello"))), (1, 2))
        policy.on_model_change = None
        server.model = {"name": "best", "hash": "c" * 64}
        with self.assertLogs("engraft_client", logging.WARNING) as logs:
            policy.infer(observation())
        self.assertIn("better to best", logs.output[0])

    def test_a_server_started_with_another_model_is_told_too(self):
        server = self.server()
        changes = []
        policy = self.policy(server, on_model_change=lambda *models: changes.append(models))
        server.forget()
        server.model = {"name": "better", "hash": "b" * 64}
        policy.infer(observation())
        self.assertEqual([new.name for _, new in changes], ["better"])

    def test_a_welcome_that_lags_behind_the_model_is_no_endless_change(self):
        server = self.server()
        changes = []
        policy = self.policy(server, on_model_change=lambda *models: changes.append(models))
        infer_with = {"model_hash": "b" * 64}

        def lag(server, peer, header, arrays):
            if header["t"] == "infer":
                server.reply(peer, header, arrays, **infer_with)
            return header["t"] == "infer"

        server.answer = lag
        policy.infer(observation())
        policy.infer(observation())
        self.assertEqual(len(changes), 1)
        self.assertEqual((policy.model.hash, len(server.of("hello"))), ("b" * 64, 2))

    def test_another_contract_is_an_error_again_and_again(self):
        for how in ["restart", "swap"]:
            server = self.server()
            policy = self.policy(server)
            server.contract = contract(horizon=5)
            if how == "restart":
                server.forget()
            else:
                server.model = {"name": "better", "hash": "b" * 64}
            for _ in range(2):
                call = lambda policy=policy: policy.infer(observation())  # noqa: E731
                self.refused("CONTRACT_CHANGED", call, "horizon: expected 4, found 5", "Policy")


class Refusals(Case):
    def test_errors_of_the_server_keep_their_name(self):
        server = self.server()
        policy = self.policy(server)

        def too_late(server, peer, header, arrays):
            if header["t"] == "infer":
                server.refuse(peer, "STALE", "of another request", header["seq"] - 1)
                server.refuse(peer, "DEADLINE", "the model was not free", header["seq"])
            return header["t"] == "infer"

        server.answer = too_late
        error = self.refused("DEADLINE", lambda: policy.infer(observation()))
        self.assertEqual(error.detail, "the model was not free")

    def test_a_hello_that_is_refused(self):
        server = self.server()

        def refuse(server, peer, header, arrays):
            server.refuse(peer, "UNAUTHORIZED", "the token is not the server's")
            return True

        server.answer = refuse
        self.refused("UNAUTHORIZED", lambda: Policy(server.endpoint), "token", server.endpoint)

    def test_an_answer_that_breaks_the_promise(self):
        server = self.server()
        policy = self.policy(server)
        wrong = {
            "expected float32 [4, 2], found float32 [3, 2]": np.zeros((3, 2)),
            "`wrist` of the server is no finite number": np.float32([[0, np.nan]] * 4),
        }
        for words, actions in wrong.items():

            def answer(server, peer, header, arrays, actions=actions):
                if header["t"] == "infer":
                    fields = {k: header[k] for k in ("session", "seq", "episode", "t_obs_nanos")}
                    fields |= {"first_tick": header["tick"], "model_hash": "a" * 64, "timings": {}}
                    server.send(peer, "reply", [("actions", actions)], **fields)
                return header["t"] == "infer"

            server.answer = answer
            self.refused("BAD_REPLY", lambda: policy.infer(observation()), words)

    def test_what_is_no_message_is_an_error(self):
        server = self.server()
        policy = self.policy(server)
        for frames in [[b"\xc1"], [b"\x80"], [b"\x82\xa1v\x01\xa1t\xa5reply", b"more"], []]:

            def answer(server, peer, header, arrays, frames=frames):
                if header["t"] == "infer":
                    server.socket.send_multipart([peer, b"", *frames])
                return header["t"] == "infer"

            server.answer = answer
            with self.assertRaises(PolicyError) as caught:
                policy.infer(observation())
            self.assertIn(caught.exception.code, ["BAD_REPLY", "BAD_VERSION"])

    def test_arguments_are_checked(self):
        at = self.server().endpoint
        wrong = [
            ({"merge": "newest"}, "hold:FROZEN:RAMP"),
            ({"refill": 0}, "refill"),
            ({"executed": 1, "ahead": 2}, "executed and ahead"),
            ({"executed": 5}, "at most the 4 actions of a chunk, found 5"),
            ({"timeout": 0}, "timeout"),
            ({"server_key": "short"}, "server_key"),
            ({"client_key": "x"}, "server_key"),
        ]
        for options, word in wrong:
            with self.subTest(word):
                self.refused("BAD_OPTION", lambda o=options: Policy(at, **o), word)
        for endpoint in ["localhost:5555", "tcp://localhost", "http://x:1", "tcp://h:123456"]:
            call = lambda endpoint=endpoint: Policy(endpoint)  # noqa: E731
            self.refused("BAD_OPTION", call, endpoint, "tcp://127.0.0.1:5555")


if __name__ == "__main__":
    unittest.main()
