"""The socket to a policy server: it never waits longer than it is told."""

import contextlib
import math
import re
import time
from collections.abc import Sequence

import zmq

from engraft_client import keys, wire
from engraft_client.errors import PolicyError, PolicyTimeout

_ENDPOINT = re.compile(r"tcp://.+:\d{1,5}|(ipc|inproc)://.+")
# What the server asks of the other side, too: after so long a silence a connection is made anew.
_HEARTBEAT_MILLIS, _LOST_MILLIS = 500, 1500
# A frame that is lent to ZeroMQ has another thread say when it is given back, which takes longer
# than copying a picture of 224 x 224.
_LENT_BYTES = 256 << 10


class Connection:
    """A `DEALER` socket. Use it from one thread at a time.

    Args:
        endpoint: ``tcp://HOST:PORT``, ``ipc://PATH`` or ``inproc://NAME``.
        timeout: Seconds that messages about silence name; each call brings its own deadline.
        server_key: The server's public key, where it asks for CURVE: see `engraft_client.keys`.
        client_key: The secret certificate by which the server knows this client.
    """

    def __init__(
        self,
        endpoint: str,
        timeout: float,
        server_key: keys.Key | None = None,
        client_key: keys.Key | None = None,
    ) -> None:
        if not isinstance(endpoint, str) or not _ENDPOINT.fullmatch(endpoint):
            hint = "write tcp://127.0.0.1:5555 for a server on this machine"
            detail = f"endpoint: expected tcp://HOST:PORT, found `{endpoint}`: {hint}"
            raise PolicyError("BAD_OPTION", detail)
        if not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
            detail = f"timeout: expected seconds above 0, found {timeout}"
            raise PolicyError("BAD_OPTION", detail)
        if client_key is not None and server_key is None:
            hint = "give server_key=, by which this client knows the server, too"
            raise PolicyError("BAD_OPTION", f"client_key: expected a server_key with it: {hint}")
        self.endpoint, self.timeout = endpoint, float(timeout)
        self._server_key = None if server_key is None else keys.server_public_key(server_key)
        self._pair = None if server_key is None else keys.client_pair(client_key)
        self._socket: zmq.Socket[bytes] | None = None
        self.reconnect()

    def reconnect(self) -> None:
        """Connects anew, as a client that the server does not know; what was on its way is lost."""
        self.close()
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket = socket
        socket.linger = 0
        socket.copy_threshold = _LENT_BYTES
        socket.maxmsgsize = wire.MAX_BYTES
        socket.heartbeat_ivl, socket.heartbeat_timeout = _HEARTBEAT_MILLIS, _LOST_MILLIS
        socket.ipv6 = "[" in self.endpoint
        socket.immediate = True  # nothing is queued for a server that is not there
        if self._server_key is not None and self._pair is not None:
            socket.curve_serverkey = self._server_key
            socket.curve_publickey, socket.curve_secretkey = self._pair
        try:
            socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            self.close()
            detail = f"endpoint: expected tcp://HOST:PORT, found `{self.endpoint}` ({error})"
            raise PolicyError("BAD_OPTION", detail) from error

    def close(self) -> None:
        """Closes the socket at once; what was not sent is forgotten."""
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None

    def send(self, frames: Sequence[bytes | memoryview], until: float) -> None:
        """Sends a message once there is a connection, large frames without copying them.

        Args:
            frames: As `wire.encode` makes them.
            until: When to give up, in seconds of `time.monotonic`.

        Raises:
            PolicyTimeout: When nobody takes it in time.
        """
        socket = self._open()
        while True:
            with contextlib.suppress(zmq.Again):
                socket.send_multipart([b"", *frames], zmq.DONTWAIT, copy=False)
                return
            left = until - time.monotonic()
            if left <= 0 or not socket.poll(math.ceil(left * 1000), zmq.POLLOUT):
                raise self._unreachable()

    def receive(self, until: float) -> wire.Message | None:
        """The next message, or None if there is none by `until`, of `time.monotonic`."""
        socket = self._open()
        left = max(0.0, until - time.monotonic())
        if not socket.poll(math.ceil(left * 1000), zmq.POLLIN):
            return None
        try:
            frames = socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        if frames[0] != b"":
            raise PolicyError("BAD_REPLY", "cannot read what the server sent: no empty frame first")
        return wire.decode(frames[1:])

    def silent(self) -> PolicyTimeout:
        """What to say when the server took a message and did not answer."""
        return PolicyTimeout(
            f"no answer from {self.endpoint} within {self.timeout:g} s: see whether it is busy with"
            f" `python -m engraft_client status {self.endpoint}`, or give a longer timeout="
        )

    def _unreachable(self) -> PolicyTimeout:
        plain = "a server with keys needs server_key= and client_key="
        curve = "server_key= and client_key= have to be those that the server knows"
        return PolicyTimeout(
            f"no connection to {self.endpoint} within {self.timeout:g} s: check that the server"
            " runs, that host and port are right and that no firewall is between;"
            f" {plain if self._pair is None else curve}"
        )

    def _open(self) -> "zmq.Socket[bytes]":
        if self._socket is None:
            raise PolicyError("CLOSED", "this policy was closed: make a new Policy")
        return self._socket
