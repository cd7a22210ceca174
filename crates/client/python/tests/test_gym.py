"""The gymnasium wrapper, with a small environment and a server in a thread."""

import contextlib
import functools
import io
import json
import os
import re
import shlex
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

import case
import numpy as np
from fake_server import contract, joint

from engraft_client import PolicyTimeout
from engraft_client.contract import read_contract

try:
    import gymnasium
    import toy_env

    from engraft_client.gym import evaluate, guess, wilson_interval
    from engraft_client.gym.__main__ import main
    from engraft_client.gym.progress import Progress
except ImportError as error:
    raise unittest.SkipTest(f"gymnasium is not installed: {error}") from error

VIEW = {"name": "front", "width": 6, "height": 4, "depth": False}
README = Path(__file__).parents[1] / "README.md"


def make_toy(**options):
    return gymnasium.make("Toy-v0", **options)


class Case(case.Case):
    def server(self, **what):
        return super().server(**{"views": [VIEW], "num_frames": 1, **what})


class AnEvaluation(Case):
    def test_every_episode_has_its_row(self):
        server = self.server()
        result = evaluate(make_toy, server.endpoint, seeds=[0, 2, 5, 6])
        rows = [(e.seed, e.success, e.total_reward, e.steps, e.ended) for e in result.episodes]
        self.assertEqual(
            rows,
            [
                (0, True, 0, 8, "truncated"),  # it succeeded at step 3, and for that step alone
                (2, True, 12, 6, "terminated"),
                (5, True, 40, 8, "truncated"),
                (6, False, 48, 8, "truncated"),
            ],
        )
        self.assertEqual((result.success_rate, result.env), (0.75, "Toy-v0"))
        self.assertEqual([len(e.latencies_ms) for e in result.episodes], [2, 2, 2, 2])
        # The actions of tick 5 on are 5 and more, beyond the 4 of the action space.
        self.assertEqual([e.out_of_range for e in result.episodes], [3, 1, 8, 8])
        episodes = {(h["episode"], h["tick"]) for h in server.of("infer")}
        self.assertEqual(episodes, {(e, t) for e in range(1, 5) for t in (0, 4)})
        self.assertEqual(len(server.of("goodbye")), 1)

    def test_json_holds_what_people_compare(self):
        options = {"executed": 1, "token": "open sesame"}
        result = evaluate(
            make_toy, self.server().endpoint, episodes=4, seeds=4, clip=True, options=options
        )
        data = json.loads(result.to_json())
        self.assertEqual((data["num_episodes"], data["num_successes"]), (4, 2))
        low, high = data["success_interval_95"]
        self.assertTrue(0 < low < data["success_rate"] < high < 1)
        self.assertEqual([row["seed"] for row in data["episodes"]], [4, 5, 6, 7])
        self.assertEqual([row["return"] for row in data["episodes"]], [32, 32, 32, 32])
        self.assertEqual(data["episodes"][0]["requests"], 8)
        self.assertLessEqual(data["latency_p50_ms"], data["latency_p99_ms"])
        self.assertEqual(data["model"], {"name": "fake", "hash": "a" * 64})
        self.assertEqual(data["options"], {"executed": "1", "clip": "True", "num_envs": "1"})
        self.assertNotIn("sesame", result.to_json() + str(result))
        self.assertIn("success   50%, 2 of 4 (95% interval 15% to 85%)", str(result))

    def test_success_is_read_where_it_is_said(self):
        endpoint = self.server().endpoint
        make = functools.partial(make_toy, tells="is_success")
        self.assertEqual(evaluate(make, endpoint, episodes=1).success_rate, 1)
        make = functools.partial(make_toy, tells="")
        result = evaluate(make, endpoint, episodes=1)
        self.assertIsNone(result.success_rate)
        self.assertIsNone(json.loads(result.to_json())["success_interval_95"])
        self.assertIn("give success=", str(result))
        make = functools.partial(make_toy, tells="won")
        result = evaluate(make, endpoint, seeds=[1, 9], success=lambda info: info["won"])
        self.assertEqual(result.success_rate, 0.5)

    def test_several_environments_give_the_same_rows_as_one(self):
        server = self.server()
        one = evaluate(make_toy, server.endpoint, episodes=9)
        for processes in [False, True]:
            server.requests.clear()
            path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
            with environment(PYTHONPATH=os.pathsep.join(path)):
                many = evaluate(
                    make_toy
                    if not processes
                    else functools.partial(gymnasium.make, "toy_env:Toy-v0"),
                    server.endpoint,
                    episodes=9,
                    num_envs=3,
                    processes=processes,
                )
            sessions = {header["session"] for header in server.of("infer")}
            self.assertLessEqual(len(sessions), 3)
            self.assertEqual(len(server.of("hello")), 3)
            plain = [
                [(e.seed, e.success, e.total_reward, e.steps) for e in result.episodes]
                for result in (one, many)
            ]
            self.assertEqual(*plain)

    def test_an_observation_can_be_made_by_the_caller(self):
        server = self.server()

        def observe(given, env):
            self.assertEqual(env.unwrapped.steps, given["pixels"][0, 0, 0])
            return {"rgb": {"front": given["pixels"] + 100}, "proprio": given["agent_pos"] + 1}

        evaluate(make_toy, server.endpoint, episodes=1, observe=observe, max_steps=2)
        arrays = server.requests[1][1]
        self.assertEqual(arrays["rgb.0"][0, 0, 0, 0], 100)
        self.assertEqual(arrays["proprio"].tolist(), [[1, 1]])

    def test_an_episode_ends_after_so_many_steps(self):
        result = evaluate(make_toy, self.server().endpoint, episodes=1, max_steps=3)
        self.assertEqual((result.episodes[0].steps, result.episodes[0].ended), (3, "max_steps"))

    def test_actions_are_clipped_only_if_asked(self):
        seen = []

        class Watched(gymnasium.Wrapper):
            def step(self, action):
                seen.append(float(action[0]))
                return super().step(action)

        for clip in [False, True]:
            make = lambda: Watched(make_toy())  # noqa: E731
            evaluate(make, self.server().endpoint, episodes=1, clip=clip)
        self.assertEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 4, 4, 4])


class WhatDoesNotFit(Case):
    def test_an_action_space_of_another_width(self):
        at = self.server().endpoint
        wide = functools.partial(make_toy, width=3)
        self.refused("BAD_SHAPE", lambda: evaluate(wide, at), "[2] (elbow [rad], wrist", "(3,)")
        self.refused("BAD_OPTION", lambda: evaluate(dict, at), "make_env", "dict")
        cart = lambda: gymnasium.make("CartPole-v1")  # noqa: E731
        self.refused("BAD_SHAPE", lambda: evaluate(cart, at), "Discrete(2)")

    def test_numbers_that_make_no_sense(self):
        for options, word in [
            ({"episodes": 0}, "episodes"),
            ({"seeds": []}, "seeds"),
            ({"seeds": [1, 2], "episodes": 3}, "expected 3, one per episode, found 2"),
            ({"num_envs": 0}, "num_envs"),
            ({"max_steps": 0}, "max_steps"),
        ]:
            call = lambda o=options: evaluate(make_toy, "tcp://127.0.0.1:9", **o)  # noqa: E731
            self.refused("BAD_OPTION", call, word)

    def test_a_server_that_is_not_there_and_an_environment_that_fails(self):
        for num_envs in [1, 2]:
            options = {"episodes": 4, "num_envs": num_envs, "options": {"timeout": 0.3}}
            with self.assertRaises(PolicyTimeout):
                evaluate(make_toy, "tcp://127.0.0.1:9", **options)
            stuck = functools.partial(make_toy, stuck=True)
            with self.assertRaisesRegex(RuntimeError, "stuck"):
                evaluate(stuck, self.server().endpoint, **options)

    def test_one_that_fails_ends_the_others_at_once(self):
        """The second environment would play for ever."""
        made, lock = [], threading.Lock()

        class Endless(gymnasium.Wrapper):
            def step(self, action):
                time.sleep(0.001)
                return (*super().step(action)[:2], False, False, {})

        def make():
            with lock:
                made.append(0)
                first = len(made) == 1
            return make_toy(stuck=True) if first else Endless(toy_env.Toy())

        began = time.monotonic()
        with self.assertRaisesRegex(RuntimeError, "stuck"):
            evaluate(make, self.server().endpoint, episodes=2, num_envs=2)
        self.assertLess(time.monotonic() - began, 5)

    def test_a_model_that_changes_spoils_an_evaluation(self):
        server = self.server()

        def swap(server, peer, header, arrays):
            if header["t"] == "infer" and header["episode"] == 2:
                server.model = {"name": "better", "hash": "b" * 64}
            return False

        server.answer = swap
        call = lambda: evaluate(make_toy, server.endpoint, episodes=3)  # noqa: E731
        self.refused("MODEL_CHANGED", call, "fake", "better")


class AGuess(Case):
    def contract(self, views=(VIEW,), proprio=("elbow", "wrist")):
        joints = [joint(name) for name in proprio]
        return read_contract(contract(views=list(views), proprio=joints), "")

    def test_one_reading_is_taken(self):
        picture, pose = np.zeros((4, 6, 3), np.uint8), np.float32([1, 2])
        second = {**VIEW, "name": "top"}
        both = {"front": picture, "top": picture}
        state = {"agent_pos": pose}
        for given, spec, views, numbers in [
            ({"pixels": picture, **state}, self.contract(), ["front"], 2),
            ({"pixels": {"top": picture}, **state}, self.contract(), ["front"], 2),
            ({"pixels": both, "state": pose}, self.contract([VIEW, second]), ["front", "top"], 2),
            ({"pixels": both, "state": pose}, self.contract(), ["front"], 2),
            ({**both, "proprio": pose}, self.contract([VIEW, second]), ["front", "top"], 2),
            ({"rgb": {"front": picture}, "proprio": pose}, self.contract(), ["front"], 2),
            (picture, self.contract(proprio=[]), ["front"], 0),
            (pose, self.contract(views=[]), [], 2),
        ]:
            found = guess(spec)(given, None)
            self.assertEqual(list(found.get("rgb", {})), views)
            self.assertEqual(len(found.get("proprio", [])), numbers)

    def test_more_than_one_reading_or_none_is_an_error_that_names_both_sides(self):
        picture, pose = np.zeros((4, 6, 3), np.uint8), np.float32([1, 2])
        second = {**VIEW, "name": "top"}
        one, two = self.contract(), self.contract([VIEW, second])
        deep = self.contract([{**VIEW, "depth": True}])
        for given, spec in [
            (pose, one),
            (picture, one),
            ({"pixels": picture}, one),
            ({"pixels": picture, "agent_pos": pose[:1]}, one),
            ({"pixels": picture, "agent_pos": pose, "state": pose}, one),
            ({"pixels": picture, "image": picture, "agent_pos": pose}, one),
            ({"pixels": picture, "agent_pos": pose}, two),
            ({"pixels": {"a": picture, "b": picture}, "agent_pos": pose}, two),
            ({"pixels": picture, "agent_pos": pose}, deep),
            (3, one),
        ]:
            call = lambda given=given, spec=spec: guess(spec)(given, None)  # noqa: E731
            words = ["front [4, 6, 3]", "elbow [rad], wrist [rad]", "observe="]
            self.refused("BAD_OBSERVATION", call, *words)
        call = lambda: guess(two)({"pixels": picture, "agent_pos": pose}, None)  # noqa: E731
        self.refused("BAD_OBSERVATION", call, "{pixels: uint8 [4, 6, 3], agent_pos: float32 [2]}")


class Numbers(unittest.TestCase):
    def test_the_interval_is_wilsons(self):
        # Of tables: any implementation of Wilson's score without correction gives them.
        for successes, trials, expected in [
            (0, 10, (0, 0.2775)),
            (5, 10, (0.2366, 0.7634)),
            (10, 10, (0.7225, 1)),
            (0, 0, (0, 1)),
        ]:
            np.testing.assert_allclose(wilson_interval(successes, trials), expected, atol=1e-4)

    def test_the_bar_is_for_terminals(self):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        terminal, pipe = Terminal(), io.StringIO()
        for out in [terminal, pipe]:
            bar = Progress(2, out=out)
            bar.add(True)
            bar.add(False)
            bar.close()
        self.assertEqual(pipe.getvalue(), "")
        self.assertIn(f"[{'#' * 15}{'.' * 15}] 1/2 episodes, 100% success", terminal.getvalue())
        self.assertIn("2/2 episodes, 50% success, 0 s left", terminal.getvalue())


class TheCommandLine(Case):
    def run_it(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
        return code, out.getvalue(), err.getvalue()

    def test_it_evaluates_and_writes_json(self):
        usual = ["--env", "toy_env:Toy-v0", "--server", self.server().endpoint]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.json"
            code, printed, _ = self.run_it(
                *[*usual, "--episodes", "3", "--seed", "5", "--json", str(out), "--num-envs", "2"]
            )
            self.assertEqual(code, 0)
            self.assertIn("success   33%, 1 of 3", printed)
            self.assertEqual(json.loads(out.read_text())["num_successes"], 1)
            code, printed, _ = self.run_it(*usual, "--episodes", "1", "--json", "-")
            self.assertEqual(json.loads(printed)["num_episodes"], 1)
            code, _, err = self.run_it(*usual, "--episodes", "1", "--json", f"{folder}/no/x.json")
            self.assertEqual(code, 2)
            self.assertIn("success   100%, 1 of 1", err, "the numbers are not lost")

    def test_a_failure_is_one_line(self):
        at = self.server().endpoint
        for arguments, words in [
            (["--env", "Nothing-v0"], ["--env", "Nothing-v0", "installed"]),
            (["--env", "no_such_package:X-v0"], ["--env", "no_such_package"]),
            (["--env", "toy_env:Toy-v0", "--env-args", "[]"], ["--env-args", "JSON object"]),
            (["--env", "toy_env:Toy-v0", "--env-args", '{"a": 1}'], ["--env-args"]),
            (["--env", "toy_env:Toy-v0", "--observe", "x"], ["--observe", "MODULE:FUNCTION"]),
            (["--env", "toy_env:Toy-v0", "--success", "toy_env:x"], ["--success", "toy_env:x"]),
            (["--env", "toy_env:Toy-v0", "--executed", "99"], ["executed", "99"]),
        ]:
            code, _, err = self.run_it("--server", at, *arguments)
            self.assertEqual((code, err.count("\n")), (2, 1), err)
            for word in words:
                self.assertIn(word, err)

    def test_the_snippet_of_the_readme_runs_as_written(self):
        snippets = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        snippets = [text for text in snippets if "engraft_client.gym" in text]
        self.assertEqual(len(snippets), 1)
        code = snippets[0].replace("tcp://127.0.0.1:5555", self.server().endpoint)
        code = code.replace("gym_pusht/PushT-v0", "Toy-v0").replace("import gym_pusht", "")
        code = code.replace(', obs_type="pixels_agent_pos"', "")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, str(README), "exec"), {"__name__": "snippet"})
        self.assertIn("episodes of fake", out.getvalue())

    def test_the_command_of_the_readme_runs(self):
        text = README.read_text().replace("\\\n", " ")
        (line,) = [line for line in text.splitlines() if "-m engraft_client.gym" in line]
        arguments = shlex.split(line)[3:]
        with tempfile.TemporaryDirectory() as folder:
            changes = {
                "gym_pusht:gym_pusht/PushT-v0": "toy_env:Toy-v0",
                "tcp://127.0.0.1:5555": self.server().endpoint,
                '{"obs_type": "pixels_agent_pos"}': "{}",
                "out.json": f"{folder}/out.json",
            }
            self.assertEqual(set(changes) - set(arguments), set())
            code, printed, _ = self.run_it(*(changes.get(word, word) for word in arguments))
            self.assertEqual(code, 0)
            self.assertIn("20 episodes of fake", printed)
            self.assertTrue(Path(folder, "out.json").is_file())


@contextlib.contextmanager
def environment(**variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    unittest.main()
