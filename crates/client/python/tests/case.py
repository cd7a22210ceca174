"""What the tests of a policy share."""

import time
import unittest

import numpy as np
from fake_server import FakeServer

from engraft_client import Policy, PolicyError


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


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.005)
