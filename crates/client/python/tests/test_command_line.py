"""The command line and the README, as people type them."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fake_server import FakeServer

from engraft_client.__main__ import main

README = Path(__file__).parents[1] / "README.md"
SOURCE = Path(__file__).parents[1] / "src"


def run(*arguments):
    """Exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


class TheCommandLine(unittest.TestCase):
    def setUp(self):
        self.server = FakeServer()
        self.addCleanup(self.server.stop)

    def test_a_status_is_for_people_or_programs(self):
        code, out, _ = run("status", self.server.endpoint)
        self.assertEqual(code, 0)
        self.assertRegex(out, r"model +fake \(a{12}\)")
        self.assertRegex(out, r"total +1\.00 +2\.00 +3\.00 +4\.00")
        _, out, _ = run("status", self.server.endpoint, "--json")
        self.assertEqual(json.loads(out)["latency"][0]["p99"], 3000)
        self.assertEqual(self.server.of("hello"), [], "it takes no client's place")

    def test_a_ping(self):
        code, out, _ = run("ping", self.server.endpoint)
        self.assertEqual(code, 0)
        self.assertIn("answers within", out)
        _, out, _ = run("ping", self.server.endpoint, "--json")
        self.assertGreater(json.loads(out)["round_trip_ms"], 0)

    def test_a_contract(self):
        code, out, _ = run("contract", self.server.endpoint)
        self.assertEqual(code, 0)
        self.assertIn("view         wrist: uint8 [3, 2, 3], depth float32 [3, 2] in m", out)
        self.assertIn("action       0: elbow [rad], -2 to 2", out)
        _, out, _ = run("contract", self.server.endpoint, "--json")
        self.assertEqual(json.loads(out)["spec"]["actions"][1]["name"], "wrist")

    def test_a_token_comes_from_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "token"
            path.write_text("open sesame\n")
            run("contract", self.server.endpoint, "--token-file", str(path))
            self.assertEqual(self.server.of("hello")[0]["token"], "open sesame")
            path.write_text("")
            for wrong in [path, Path(folder) / "none"]:
                code, _, err = run("contract", self.server.endpoint, "--token-file", str(wrong))
                self.assertEqual(code, 2)
                self.assertIn(str(wrong), err)

    def test_a_failure_is_one_line(self):
        for verb in ["status", "ping", "contract"]:
            code, out, err = run(verb, "tcp://127.0.0.1:9", "--timeout", "0.2")
            self.assertEqual((code, out, err.count("\n")), (2, "", 1))
            self.assertTrue(err.startswith("engraft_client: TIMEOUT: no connection"), err)


class WithoutGymnasium(unittest.TestCase):
    def python(self, *arguments):
        """Of an interpreter in which gymnasium is not installed."""
        with tempfile.TemporaryDirectory() as folder:
            missing = "raise ModuleNotFoundError('No module named gymnasium', name='gymnasium')"
            (Path(folder) / "gymnasium.py").write_text(missing)
            path = os.pathsep.join([folder, str(SOURCE), os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, "PYTHONPATH": path}
            command = [sys.executable, *arguments]
            return subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60
            )

    def test_the_command_says_in_one_line_what_to_type(self):
        done = self.python("-m", "engraft_client.gym", "--env", "x:y", "--server", "tcp://h:1")
        said = "engraft_client.gym: gymnasium is missing: pip install gymnasium\n"
        self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", said))

    def test_a_program_is_told_where_it_asks(self):
        done = self.python("-c", "import engraft_client.gym as g; print(g.wilson_interval(1, 2))")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.python("-c", "from engraft_client.gym import evaluate")
        self.assertEqual(done.returncode, 1)
        last = done.stderr.splitlines()[-1]
        self.assertEqual(
            last, "ImportError: engraft_client.gym.evaluate needs gymnasium: pip install gymnasium"
        )


class TheReadme(unittest.TestCase):
    def snippets(self, language):
        return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)

    def python(self, server, *arguments):
        command = [sys.executable, *arguments]
        command = [part.replace("tcp://127.0.0.1:5555", server.endpoint) for part in command]
        path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_snippets_run_as_written(self):
        snippets = self.snippets("python")
        self.assertGreaterEqual(len(snippets), 3)
        with FakeServer(num_frames=1) as server:
            printed = [
                self.python(server, "-c", snippet)
                for snippet in snippets
                if "engraft_client.gym" not in snippet
            ]
        self.assertIn("elbow rad (-2.0, 2.0)", printed[0])
        self.assertNotIn("TIMEOUT", "".join(printed))
        self.assertIn("(4, 2) for tick 0", printed[2])

    def test_the_commands_run_as_written(self):
        text = "".join(self.snippets("sh")).replace("\\\n", " ")
        commands = [shlex.split(line, comments=True) for line in text.splitlines()]
        commands = [command for command in commands if "engraft_client" in command]
        self.assertGreaterEqual(len(commands), 3)
        with FakeServer() as server:
            for command in commands:
                self.assertTrue(self.python(server, *command[1:]))


if __name__ == "__main__":
    unittest.main()
