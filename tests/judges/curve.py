#!/usr/bin/env python3
"""Judges keys and encryption by pyzmq: who is let in, by which files, and what can be read on the way.

    EXAMPLES=target/debug/examples tests/judges/curve.py target/debug/engraft

Both programs must be built with a ZeroMQ that has CURVE (crates/wire/system-zmq.toml). Needs pyzmq,
msgpack and numpy. Prints one line per check and exits 1 at the first that fails.
"""

import os
import socket as plain
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgpack
import zmq
import zmq.auth

from serve_light import stand_in

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "crates/client/python/src"))
from engraft_client import Policy, PolicyError  # noqa: E402

HELLO = [b"", msgpack.packb({"v": 1, "t": "hello", "client": "judge"})]


def engraft(*words):
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def hello(endpoint, server=None, client=None, timeout_ms=20_000):
    """What the server answers a greeting, or nothing; keys are (public, secret) as pyzmq has them."""
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    if server:
        socket.curve_serverkey = server
        socket.curve_publickey, socket.curve_secretkey = client
    socket.connect(endpoint)
    socket.send_multipart(HELLO)
    answer = msgpack.unpackb(socket.recv_multipart()[1]) if socket.poll(timeout_ms) else None
    socket.close()
    return answer


class Wire:
    """Passes on what two ends say, and keeps it."""

    def __init__(self, endpoint):
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        self.there, self.said = (host, int(port)), bytearray()
        self.listener = plain.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = plain.create_connection(self.there)
            for one, other in [(near, far), (far, near)]:
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one, other):
        try:
            while said := one.recv(1 << 16):
                self.said += said
                other.sendall(said)
            other.shutdown(plain.SHUT_WR)
        except OSError:
            pass


def check_files(folder):
    for name in ["server", "robot", "stranger"]:
        code, out, err = engraft("keys", "new", str(folder / name))
        assert code == 0 and "keep it" in err, (code, err)
        public, secret = (Path(line) for line in out.split("\n")[:2])
        assert secret.stat().st_mode & 0o777 == 0o600, oct(secret.stat().st_mode)
        assert zmq.auth.load_certificate(public)[1] is None, "the public file has a secret in it"
        assert zmq.auth.load_certificate(secret)[0] == zmq.auth.load_certificate(public)[0]
        assert zmq.curve_public(zmq.auth.load_certificate(secret)[1]) == zmq.auth.load_certificate(public)[0]
    code, _, err = engraft("keys", "new", str(folder / "robot"))
    assert code == 2 and "File exists" in err and err.count("\n") == 1, err
    theirs, _ = zmq.auth.create_certificates(folder, "theirs")
    code, out, err = engraft("keys", "show", theirs)
    assert code == 0 and out.split()[0].encode() == zmq.auth.load_certificate(theirs)[0], (out, err)


def check_access(folder):
    key = {name: zmq.auth.load_certificate(folder / f"{name}.key_secret") for name in ["server", "robot", "stranger"]}
    known = folder / "clients"
    known.mkdir()
    (folder / "robot.key").rename(known / "robot.key")
    with stand_in("curve", str(folder / "server.key_secret"), str(known)) as (endpoint, _):
        welcome = hello(endpoint, key["server"][0], key["robot"])
        assert welcome["t"] == "welcome", welcome
        print("a client whose key is known is welcome")
        assert hello(endpoint, key["server"][0], key["stranger"], 1000) is None
        assert hello(endpoint, key["stranger"][0], key["robot"], 1000) is None
        assert hello(endpoint, timeout_ms=1000) is None
        print("a stranger, a client that expects another server, and one in the clear hear nothing")

        wire = Wire(endpoint)
        assert hello(wire.endpoint, key["server"][0], key["robot"])["t"] == "welcome"
        assert len(wire.said) > 500 and b"shoulder" not in wire.said and b"hello" not in wire.said
        print("what goes over the wire cannot be read")

        files = {"server_key": folder / "server.key", "client_key": folder / "robot.key_secret"}
        with Policy(endpoint, timeout=20.0, **files) as policy:
            assert policy.contract.spec.proprio[0].name == "shoulder"
        try:
            Policy(endpoint, timeout=1.0, server_key=folder / "server.key", client_key=folder / "stranger.key_secret")
        except PolicyError as error:
            assert "\n" not in str(error), error
        else:
            raise AssertionError("a stranger got a policy")
        print("the Python client takes the same files")

        code, out, err = engraft(
            "status", endpoint, "--server-key", str(folder / "server.key"), "--client-key", str(folder / "robot.key_secret")
        )
        assert code == 0 and "stand-in" in out, (code, out, err)
        code, _, err = engraft("status", endpoint)
        assert code == 2 and err.count("\n") == 1, err
        os.chmod(folder / "robot.key_secret", 0o644)
        code, _, err = engraft(
            "status", endpoint, "--server-key", str(folder / "server.key"), "--client-key", str(folder / "robot.key_secret")
        )
        assert code == 2 and "chmod 600" in err, err
        print("the command takes them too, unless others can read the secret")

    with stand_in() as (endpoint, _):
        wire = Wire(endpoint)
        assert hello(wire.endpoint)["t"] == "welcome"
        assert b"shoulder" in wire.said and b"hello" in wire.said
        print("without keys all of it can be read, as the server says")


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_files(Path(folder))
        print("keys made here are pyzmq's, and pyzmq's are shown here")
        check_access(Path(folder))


if __name__ == "__main__":
    COMMAND = sys.argv[1]
    main()
