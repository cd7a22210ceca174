"""A policy against a server that is late, gone, changed, or that refuses."""

import logging
import pickle
import time
import unittest

import numpy as np
from case import Case, observation, wait_for
from fake_server import FakeServer, contract

from engraft_client import Model, Policy, PolicyError, PolicyTimeout, ReloadRefused

NOBODY = "tcp://127.0.0.1:9"


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


class AReload(Case):
    def test_it_tells_the_model_that_answers_from_now_on(self):
        server = self.server()
        changes = []
        policy = self.policy(server, on_model_change=lambda *models: changes.append(models))
        self.assertEqual(policy.reload(), Model("fake", "a" * 64))
        self.assertEqual(changes, [], "the same one is no change")
        server.model = {"name": "better", "hash": "b" * 64}
        better = policy.reload()
        self.assertEqual((better, policy.model), (Model("better", "b" * 64), better))
        self.assertEqual(changes, [(Model("fake", "a" * 64), better)])
        policy.infer(observation())
        self.assertEqual((len(changes), len(server.of("hello"))), (1, 1))

    def test_a_refusal_has_a_type_and_leaves_the_model(self):
        server = self.server()
        policy = self.policy(server)
        detail = "no client may change the model: start with --allow-reload"

        def refuse(server, peer, header, arrays):
            if header["t"] == "reload":
                server.refuse(peer, "BAD_FRAME", detail)
            return header["t"] == "reload"

        server.answer = refuse
        error = self.refused("BAD_FRAME", policy.reload, detail, server.endpoint)
        self.assertIsInstance(error, ReloadRefused)
        self.assertEqual(pickle.loads(pickle.dumps(error)).code, "BAD_FRAME")
        self.assertEqual(policy.infer(observation()).model_hash, "a" * 64)

    def test_a_question_that_is_open_is_answered_all_the_same(self):
        server = self.server(horizon=4)
        policy = self.policy(server, ahead=4)
        waiting = []

        def late(server, peer, header, arrays):
            if header["t"] == "infer" and header["tick"] == 1:
                waiting.append((peer, header, arrays))
                return True
            if header["t"] == "reload":
                server.reply(*waiting.pop())  # from the model before
                server.model = {"name": "better", "hash": "b" * 64}
            return False

        server.answer = late
        policy.on_model_change = lambda old, new: None
        policy.act(observation(1))
        policy.act(observation(2))
        wait_for(lambda: waiting)
        self.assertEqual(policy.reload().name, "better")
        self.assertEqual(policy.act(observation(3)).tolist(), [2, 2])
        self.assertEqual(policy.last_reply.model_hash, "a" * 64)

    def test_a_server_that_forgot_stops_or_is_silent_is_an_error_in_time(self):
        server = self.server()
        policy = self.policy(server)
        server.forget()
        self.assertEqual(policy.reload().name, "fake")
        self.assertEqual(len(server.of("hello")), 2)

        def leave(server, peer, header, arrays):
            server.send(peer, "goodbye")
            return True

        server.answer = leave
        self.refused("GOODBYE", policy.reload, "start it again")
        server.answer = lambda _, __, header, ___: header["t"] == "reload"
        with self.assertRaises(PolicyTimeout):
            policy.reload(timeout=0.2)
        self.refused("BAD_OPTION", lambda: policy.reload(timeout=0), "timeout")


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
