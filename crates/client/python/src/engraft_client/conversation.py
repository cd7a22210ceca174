"""One conversation with a policy server: hello, questions in order, and what comes back.

At most one question is open at a time. All waiting has a deadline, in seconds of
`time.monotonic`; a deadline that has passed makes a call look for what is there and return.
"""

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engraft_client import wire
from engraft_client.connection import Connection
from engraft_client.contract import Contract, Model, read_contract, read_model
from engraft_client.errors import PolicyError, PolicyTimeout, ReloadRefused
from engraft_client.observation import Array
from engraft_client.reply import Reply, Status, read_reply, read_status

_FAREWELL_SECS = 0.2


@dataclass
class Question:
    """A request for a chunk, and how far it got.

    Attributes:
        fields: Of its header, without session and sequence number.
        arrays: The frame stack.
        seq: Its number once it was sent in the running session.
        sent_at: When that was, in seconds of `time.monotonic`.
        repeated: Whether it is sent again, in a new session.
    """

    fields: dict[str, Any]
    arrays: list[tuple[str, Array]]
    seq: int | None = None
    sent_at: float = 0.0
    repeated: bool = False


class Conversation:
    """What the two have said so far.

    Args:
        connection: The socket, which becomes this conversation's own.
        hello: Fields of the hello.
        tell: Called with the old and the new model when another one answers.
    """

    contract: Contract
    model: Model

    def __init__(
        self,
        connection: Connection,
        hello: dict[str, Any],
        tell: Callable[[Model, Model], None],
    ) -> None:
        self._connection, self._hello, self._tell = connection, hello, tell
        self._session: bytes | None = None
        self._max_bytes = wire.MAX_BYTES
        self._greeting = False  # whether a hello is on its way
        self._met = False  # whether there ever was a welcome
        self._answering: str | None = None  # hash of a model that answered and is not yet known
        self._seqs = itertools.count(1)
        self._question: Question | None = None
        self._asked_at = 0.0
        self._held: tuple[wire.Message, float] | None = None  # a reply of a model not yet known
        self._outcome: Reply | PolicyError | None = None
        self._pong: int | None = None
        self._status: Status | None = None
        self._reloading = False  # whether the server was asked to and has not answered
        self._reloaded: PolicyError | Model | None = None

    def greet(self, until: float) -> None:
        """Says hello and waits for the welcome."""
        if not self._greeting:
            self._say_hello(until)
        self._wait(lambda: not self._greeting, until)

    @property
    def greeting(self) -> bool:
        """Whether a hello is on its way."""
        return self._greeting

    @property
    def open_since(self) -> float | None:
        """When the question was asked whose answer was not taken yet, if there is one.

        In seconds of `time.monotonic`.
        """
        return None if self._question is None and self._outcome is None else self._asked_at

    def ask(self, question: Question, until: float) -> None:
        """Sends a question, after a hello where the server knows this client no more."""
        self.give_up()
        question.sent_at = self._asked_at = time.monotonic()
        self._question = question
        try:
            if self._session is not None:
                self._send(until)
            elif not self._greeting:
                self._say_hello(until)
        except PolicyError:
            self._question = None
            raise

    def answer(self, until: float) -> Reply | None:
        """The answer to the open question, or None if it is not there by then.

        Raises:
            PolicyError: What the server has against it; the question is open no more.
        """
        while self._outcome is None:
            message = self._connection.receive(until)
            if message is None:
                return None
            self._hear(message, until)
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, PolicyError):
            raise outcome
        return outcome

    def give_up(self) -> None:
        """Forgets the open question; its answer will be dropped."""
        self._question, self._held, self._outcome = None, None, None

    def timed_out(self) -> PolicyTimeout:
        """Forgets the open question, and a hello that was not answered, and says so."""
        self.give_up()
        if self._greeting:
            # A late welcome would name a session that a later hello ends.
            self._greeting = False
            self._connection.reconnect()
        return self._connection.silent()

    def ping(self, until: float) -> float:
        """Seconds that a ping takes there and back."""
        seq, began = next(self._seqs), time.monotonic()
        self._connection.send(wire.encode("ping", {"seq": seq}), until)
        self._wait(lambda: self._pong == seq, until)
        return time.monotonic() - began

    def status(self, until: float) -> Status:
        """How the server fares."""
        self._status = None
        self._connection.send(wire.encode("status", {}), until)
        self._wait(lambda: self._status is not None, until)
        assert self._status is not None
        return self._status

    def reload(self, until: float) -> Model:
        """The model that the server answers with once it has read its run anew."""
        outcome = self._ask_reload(until)
        if isinstance(outcome, PolicyError) and outcome.code == "NO_SESSION":
            self._session = None  # the server was started anew
            outcome = self._ask_reload(until)
        if isinstance(outcome, PolicyError):
            raise outcome
        return outcome

    def _ask_reload(self, until: float) -> PolicyError | Model:
        if self._session is None:
            self.greet(until)
        self._connection.send(wire.encode("reload", {"session": self._session}), until)
        self._reloading, self._reloaded = True, None
        try:
            self._wait(lambda: self._reloaded is not None, until)
        finally:
            self._reloading, outcome, self._reloaded = False, self._reloaded, None
        assert outcome is not None
        return outcome

    def close(self) -> None:
        """Says goodbye if the server listens, waits a moment for it to be heard, and closes."""
        session, self._session = self._session, None
        with contextlib.suppress(PolicyError):
            if session is not None:
                now = time.monotonic()
                self._connection.send(wire.encode("goodbye", {"session": session}), now)
                until = now + min(_FAREWELL_SECS, self._connection.timeout)
                while message := self._connection.receive(until):
                    if message.kind == "goodbye":
                        break
        self._connection.close()

    def _wait(self, done: Callable[[], bool], until: float) -> None:
        while not done():
            message = self._connection.receive(until)
            if message is None:
                raise self.timed_out() if self._greeting else self._connection.silent()
            self._hear(message, until)

    def _say_hello(self, until: float) -> None:
        self._session = None
        self._connection.send(wire.encode("hello", self._hello), until)
        self._greeting = True

    def _send(self, until: float) -> None:
        question = self._question
        assert question is not None
        seq = next(self._seqs)
        fields = {"session": self._session, "seq": seq, **question.fields}
        frames = wire.encode("infer", fields, question.arrays, self._max_bytes)
        self._connection.send(frames, until)
        question.seq = seq

    def _hear(self, message: wire.Message, until: float) -> None:
        """Takes note of a message; what answers nothing that is open is dropped."""
        match message.kind:
            case "welcome":
                self._welcomed(message, until)
            case "reply":
                self._replied(message, until)
            case "error":
                self._refused(message, until)
            case "pong":
                self._pong = message.get("seq", int)
            case "status":
                self._status = read_status(message)
            case "reloaded":
                self._changed(read_model(message.fields))
            case "goodbye":
                self._session = None
                at = self._connection.endpoint
                detail = f"the server at {at} stopped: start it again, then go on"
                gone = PolicyError("GOODBYE", detail)
                if self._question is not None:
                    self._fail(gone)
                if self._reloading:
                    self._reloaded = gone

    def _fail(self, error: PolicyError) -> None:
        self._question, self._held, self._outcome = None, None, error

    def _welcomed(self, message: wire.Message, until: float) -> None:
        fingerprint = message.get("fingerprint", str)
        contract = read_contract(message.get("contract", dict), fingerprint)
        model = read_model(message.get("model", dict))
        session = message.get("session", bytes)
        max_bytes = message.get("max_bytes", int)
        self._greeting = False
        if self._met and (difference := self.contract.difference(contract)) is not None:
            self._session = None
            self.give_up()
            hint = "make a new Policy, after you made sure that its model fits this robot"
            raise PolicyError("CONTRACT_CHANGED", f"the server's {difference}: {hint}")
        self._session, self._max_bytes = session, max_bytes
        if not self._met:
            self.contract, self.model, self._met = contract, model, True
        elif self._answering is not None:
            # A model that answered may be newer than what the welcome says.
            model = Model(model.name, self._answering)
        self._answering = None
        self._now(model)
        if self._held is not None:
            self._settle(*self._held)
        elif self._question is not None and self._question.seq is None:
            self._send(until)

    def _changed(self, model: Model) -> None:
        """The server has read its run anew; what it answered meanwhile is of a model known now."""
        self._reloaded = model if self._reloading else None
        self._now(model)

    def _now(self, model: Model) -> None:
        """This model answers; who wants to know is told where it is another one."""
        if model != self.model:
            old, self.model = self.model, model
            self._tell(old, model)

    def _replied(self, message: wire.Message, until: float) -> None:
        question = self._question
        if question is None or question.seq is None or message.fields.get("seq") != question.seq:
            return
        round_trip_ms = (time.monotonic() - question.sent_at) * 1e3
        model_hash = message.get("model_hash", str)
        if model_hash == self.model.hash:
            self._settle(message, round_trip_ms)
            return
        # Only a welcome says what the new model is called and whether it keeps the contract.
        self._answering, self._held = model_hash, (message, round_trip_ms)
        if not self._greeting:
            self._say_hello(until)

    def _settle(self, message: wire.Message, round_trip_ms: float) -> None:
        question, self._question, self._held = self._question, None, None
        assert question is not None
        reply = read_reply(message, self.contract, round_trip_ms)
        if reply.first_tick != (tick := question.fields["tick"]):
            detail = f"first_tick of the server: expected {tick}, found {reply.first_tick}"
            raise PolicyError("BAD_REPLY", detail)
        self._outcome = reply

    def _refused(self, message: wire.Message, until: float) -> None:
        name, detail = message.get("name", str), message.get("detail", str)
        seq, question = message.fields.get("seq"), self._question
        mine = question is not None and question.seq is not None and seq == question.seq
        if mine and question is not None and name == "NO_SESSION" and not question.repeated:
            question.seq, question.repeated = None, True
            self._say_hello(until)
        elif mine:
            self._fail(PolicyError(name, detail))
        elif seq is None and self._reloading and not self._greeting:
            self._reloaded = ReloadRefused(name, f"{detail} (server {self._connection.endpoint})")
        elif seq is None:
            error = PolicyError(name, f"{detail} (server {self._connection.endpoint})")
            self._greeting = False
            if self._question is None:
                raise error
            self._fail(error)
