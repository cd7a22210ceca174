"""A policy behind a server, asked for one action at a time or for whole chunks."""

import logging
import time
from collections.abc import Callable
from types import TracebackType

from engraft_client.chunks import ChunkQueue, Floats, Merge
from engraft_client.connection import Connection
from engraft_client.contract import Contract, Model, RobotSpec
from engraft_client.conversation import Conversation, Question
from engraft_client.errors import PolicyError
from engraft_client.keys import Key
from engraft_client.observation import FrameStack, Observation, check
from engraft_client.reply import Reply, Status

_log = logging.getLogger("engraft_client")


class Policy:
    """A conversation with a policy server.

    It says hello at once. Use it from one thread at a time, and one per robot or environment.

    >>> with Policy("tcp://127.0.0.1:5555") as policy:  # doctest: +SKIP
    ...     action = policy.act({"rgb": {"front": picture}, "proprio": joints})

    Args:
        endpoint: Where the server listens, as ``tcp://HOST:PORT``.
        token: The word that lets clients in, where the server asks for one.
        merge: What becomes of actions for which an older chunk had others: ``latest``,
            ``weighted[:NEW]``, ``ensemble[:DECAY]`` or ``hold:FROZEN:RAMP``, see `Merge`.
        timeout: Seconds after which a call gives up.
        name: This client's name in the server's log.
        server_key: The server's public key, 40 characters of Z85 or the path of a certificate.
        client_key: The path of a secret certificate; without it, one is made for this run.
        refill: `act` waits for a new chunk when fewer actions than this are left. The default of 1
            plays every chunk out.
        executed: Says the same the other way round: how many actions of each chunk are played
            before the next one is asked for.
        ahead: `act` asks for a new chunk when fewer actions than this are left, and does not wait
            for it while there are actions to play.
        robot: The robot that will be driven; the server refuses one that its policy does not fit.
        on_model_change: Called with the old and the new `Model` when the server answers with
            another one. Without it, that is logged as a warning.

    Raises:
        PolicyTimeout: Nobody answers there.
        PolicyError: The server refuses, or an argument is wrong.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        token: str | None = None,
        merge: str | Merge = "latest",
        timeout: float = 2.0,
        name: str = "python",
        server_key: Key | None = None,
        client_key: Key | None = None,
        refill: int | None = None,
        executed: int | None = None,
        ahead: int | None = None,
        robot: RobotSpec | None = None,
        on_model_change: Callable[[Model, Model], None] | None = None,
    ) -> None:
        self.on_model_change = on_model_change
        self._queue = ChunkQueue(merge)
        given = {"refill": refill, "executed": executed, "ahead": ahead}
        given = {option: count for option, count in given.items() if count is not None}
        if len(given) > 1:
            found = " and ".join(given)
            raise PolicyError("BAD_OPTION", f"expected refill, executed or ahead, found {found}")
        for option, count in given.items():
            if not isinstance(count, int) or count < 1:
                detail = f"{option}: expected a number of actions from 1, found {count}"
                raise PolicyError("BAD_OPTION", detail)
        hello: dict[str, object] = {"client": name}
        if token is not None:
            hello["token"] = token
        if robot is not None:
            hello["spec"] = robot.to_wire()
        connection = Connection(endpoint, timeout, server_key, client_key)
        self._talk = Conversation(connection, hello, self._model_changed)
        self._timeout = connection.timeout
        try:
            self._talk.greet(self._deadline())
            self._refill = self._when(refill, executed, ahead)
        except BaseException:
            self._talk.close()
            raise
        self._ahead = ahead is not None
        self._frames = FrameStack(self.contract.num_frames)
        self._tick, self._episode = 0, 0
        self._last_reply: Reply | None = None

    def _when(self, refill: int | None, executed: int | None, ahead: int | None) -> int:
        """How few actions may be left before a new chunk is asked for."""
        if executed is None:
            return refill or ahead or 1
        horizon = self.contract.horizon
        if executed > horizon:
            detail = f"executed: expected at most the {horizon} actions of a chunk, found"
            raise PolicyError("BAD_OPTION", f"{detail} {executed}")
        return horizon - executed + 1

    @property
    def contract(self) -> Contract:
        """What the policy was trained for: views, dimensions and units, rate, frames, horizon."""
        return self._talk.contract

    @property
    def model(self) -> Model:
        """The model that answers; another one after the server took in a new one."""
        return self._talk.model

    @property
    def tick(self) -> int:
        """The control tick of the next observation; 0 begins an episode."""
        return self._tick

    @property
    def episode(self) -> int:
        """How many episodes were begun by `reset`."""
        return self._episode

    @property
    def last_reply(self) -> Reply | None:
        """The newest chunk with its timings, if there was one."""
        return self._last_reply

    def reset(self) -> None:
        """Begins an episode: the frame stack, the queue and the open question are forgotten."""
        self._episode += 1
        self._tick = 0
        self._frames.clear()
        self._queue.clear()
        self._talk.give_up()

    def act(self, observation: Observation) -> Floats:
        """One control tick: what is sensed now goes in, the action for now comes out.

        Args:
            observation: ``{"rgb": {view: uint8 [height, width, 3]}, "proprio": float [dim]}``, and
                ``"depth": {view: float [height, width]}`` in metres for views that measure it.

        Returns:
            float32 ``[action_dim]`` in the units of the contract.

        Raises:
            PolicyError: Before the tick counts if the observation does not keep the contract;
                after it if the server does not answer.
        """
        self._observe(observation)
        tick, until = self._tick - 1, self._deadline()
        if self._ahead:
            self._look_ahead(tick)
        elif self._queue.remaining(tick) < self._refill:
            self._take(tick, self._ask(tick, until))
        while (action := self._queue.action(tick)) is None:
            # Nothing is left to play, so now it has to be waited for.
            if self._talk.open_since is None:
                self._talk.ask(self._question(tick), until)
            self._take(tick, self._wait(until))
        return action

    def infer(
        self, observation: Observation, deadline_ms: int = 0, attention: bool = False
    ) -> Reply:
        """One control tick, and the whole chunk for it; the queue of `act` has no part in it.

        Args:
            observation: As for `act`; the ones before it in the frame stack are those of the calls
                of `act`, `infer` and `observe` since `reset`.
            deadline_ms: Milliseconds after its arrival from which on the model need not begin; 0
                is no such limit. A passed one is the error ``DEADLINE``.
            attention: Whether to send back where the policy looked.

        Returns:
            The chunk: `Reply.actions` is float32 ``[horizon, action_dim]``.
        """
        if not 0 <= deadline_ms < 1 << 32:
            detail = f"deadline_ms: expected milliseconds from 0, found {deadline_ms}"
            raise PolicyError("BAD_OPTION", detail)
        self._observe(observation)
        return self._ask(self._tick - 1, self._deadline(), int(deadline_ms), attention)

    def observe(self, observation: Observation) -> None:
        """One control tick without a question: the observation only joins the frame stack.

        For whoever plays the chunks of `infer`: policies with several frames expect those of
        neighbouring ticks.
        """
        self._observe(observation)

    def status(self) -> Status:
        """How the server fares: its model, load, counts and latency."""
        return self._talk.status(self._deadline())

    def reload(self, timeout: float = 60.0) -> Model:
        """Has the server read its run anew, as its training left it by now.

        No request is lost: the model before answers until the new one does. The question that
        `act` has open stays open, and `on_model_change` is called where the model is another.

        Args:
            timeout: Seconds to wait for it; reading a run and trying it out takes some.

        Returns:
            The model that answers from now on, with its name and its hash.

        Raises:
            ReloadRefused: The server may not, or cannot; the model before goes on.
            PolicyTimeout: It did not answer in time, and may still change its model.
        """
        if not timeout > 0:
            detail = f"timeout: expected seconds above 0, found {timeout}"
            raise PolicyError("BAD_OPTION", detail)
        return self._talk.reload(time.monotonic() + timeout)

    def ping(self) -> float:
        """Seconds to the server and back; it answers while its model is at work, too."""
        return self._talk.ping(self._deadline())

    def close(self) -> None:
        """Says goodbye and closes the socket; waits a fifth of a second at most."""
        self._talk.close()

    def __enter__(self) -> "Policy":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _observe(self, observation: Observation) -> None:
        # A single frame of which the answer is waited for need not be kept.
        copy = self.contract.num_frames > 1 or self._ahead
        self._frames.push(check(self.contract, observation, copy))
        self._tick += 1

    def _question(self, tick: int, deadline_ms: int = 0, attention: bool = False) -> Question:
        fields = {
            "episode": self._episode,
            "tick": tick,
            "t_obs_nanos": time.monotonic_ns(),
            "deadline_millis": deadline_ms,
            "attention": attention,
        }
        return Question(fields, self._frames.arrays())

    def _ask(self, tick: int, until: float, deadline_ms: int = 0, attention: bool = False) -> Reply:
        self._talk.ask(self._question(tick, deadline_ms, attention), until)
        return self._wait(until)

    def _wait(self, until: float) -> Reply:
        reply = self._talk.answer(until)
        if reply is None:
            raise self._talk.timed_out()
        self._last_reply = reply
        return reply

    def _take(self, tick: int, reply: Reply) -> None:
        self._queue.push(tick, reply.first_tick, reply.actions)

    def _look_ahead(self, tick: int) -> None:
        """Takes what came, and asks for more, without waiting for anything.

        A failure is only worth a warning while there are actions to play: the next tick asks again.
        """
        now = time.monotonic()
        left = self._queue.remaining(tick)
        try:
            if self._talk.open_since is not None:
                if (reply := self._talk.answer(now)) is not None:
                    self._last_reply = reply
                    self._take(tick, reply)
                elif now - self._talk.open_since > self._timeout:
                    raise self._talk.timed_out()
            if self._queue.remaining(tick) < self._refill and self._talk.open_since is None:
                self._talk.ask(self._question(tick), now)
        except PolicyError as error:
            if left == 0 or error.code == "CONTRACT_CHANGED":
                raise
            _log.warning("%s; %d action(s) are left to play", error, left)

    def _model_changed(self, old: Model, new: Model) -> None:
        if self.on_model_change is not None:
            self.on_model_change(old, new)
            return
        hashes = (old.hash[:12], new.hash[:12])
        _log.warning("the server changed its model: %s %s", f"{old.name} to {new.name},", hashes)
