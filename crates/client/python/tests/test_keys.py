"""CURVE keys, against a socket that asks for them."""

import os
import tempfile
import unittest
from pathlib import Path

import zmq
import zmq.auth
from fake_server import FakeServer

from engraft_client import Policy, PolicyError, PolicyTimeout
from engraft_client.keys import client_pair, server_public_key


@unittest.skipUnless(zmq.has("curve"), "this ZeroMQ was built without CURVE")
class Keys(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.public_file, self.secret_file = map(
            Path, zmq.auth.create_certificates(self.folder, "server")
        )
        self.public, self.secret = zmq.auth.load_certificate(self.secret_file)

    def server(self):
        def prepare(socket):
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = self.public, self.secret

        server = FakeServer(prepare=prepare)
        self.addCleanup(server.stop)
        return server

    def test_a_key_in_any_form_opens_the_door(self):
        server = self.server()
        _, mine = map(Path, zmq.auth.create_certificates(self.folder, "robot"))
        mine.chmod(0o600)
        for options in [
            {"server_key": self.public_file},
            {"server_key": str(self.public_file)},
            {"server_key": self.public.decode(), "client_key": mine},
        ]:
            with Policy(server.endpoint, **options) as policy:
                policy.act(policy.contract.example())

    def test_without_the_right_key_it_stays_shut_and_the_reason_is_named(self):
        server = self.server()
        with self.assertRaises(PolicyTimeout) as caught:
            Policy(server.endpoint, timeout=0.5)
        self.assertIn("a server with keys needs server_key=", str(caught.exception))
        other, _ = zmq.curve_keypair()
        with self.assertRaises(PolicyTimeout) as caught:
            Policy(server.endpoint, timeout=0.5, server_key=other.decode())
        self.assertIn("server_key= and client_key=", str(caught.exception))
        self.assertEqual(server.requests, [])

    def test_what_is_no_key_is_an_error(self):
        def refused(call, *words):
            with self.assertRaises(PolicyError) as caught:
                call()
            self.assertEqual(caught.exception.code, "BAD_OPTION")
            for word in words:
                self.assertIn(word, str(caught.exception))

        refused(lambda: server_public_key("x" * 39), "server_key", "create_certificates")
        refused(lambda: server_public_key(self.folder / "none"), "none")
        self.public_file.write_text('curve\n    public-key = "short"\n')
        refused(lambda: server_public_key(self.public_file), "40 characters")
        refused(lambda: client_pair(self.folder / "none"), "client_key")
        public_only, secret = map(Path, zmq.auth.create_certificates(self.folder, "robot"))
        refused(lambda: client_pair(public_only), ".key_secret")
        if os.name == "posix":
            secret.chmod(0o644)
            refused(lambda: client_pair(secret), "644", "chmod 600")


if __name__ == "__main__":
    unittest.main()
