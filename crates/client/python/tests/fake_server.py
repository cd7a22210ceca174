"""A policy server in a thread, as good or bad as a test wants it."""

import contextlib
import threading
import time

import msgpack
import numpy as np
import zmq

VIEWS = [
    {"name": "front", "width": 6, "height": 4, "depth": False},
    {"name": "wrist", "width": 2, "height": 3, "depth": True},
]


def joint(name):
    return {"name": name, "unit": "rad", "min": -2.0, "max": 2.0}


SPEC = {
    "name": "arm",
    "control_hz": 10.0,
    "views": VIEWS,
    "proprio": [joint("elbow"), joint("wrist")],
    "actions": [joint("elbow"), joint("wrist")],
}


def contract(num_frames=2, horizon=4, **spec):
    return {"spec": {**SPEC, **spec}, "num_frames": num_frames, "horizon": horizon}


class FakeServer:
    """Answers each request as a server does, unless `answer` is set.

    Its actions say what they were made from: ``[first tick + step, newest proprio 0]``.

    Attributes:
        answer: Called with server, peer, header and arrays; whether it took care of the request.
        requests: All headers that came, with their arrays.
    """

    def __init__(self, endpoint="tcp://127.0.0.1:*", prepare=None, **what):
        self.contract = contract(**what)
        self.model = {"name": "fake", "hash": "a" * 64}
        self.fingerprint = "f" * 64
        self.answer = lambda *_: False
        self.requests = []
        self.sessions = {}
        self.made = 0
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.linger = 0
        if prepare is not None:
            prepare(self.socket)
        self._bind(endpoint)
        self.endpoint = self.socket.last_endpoint.decode()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _bind(self, endpoint):
        """A port that was in use a moment ago is free after another one."""
        until = time.monotonic() + 10
        while True:
            try:
                self.socket.bind(endpoint)
                return
            except zmq.ZMQError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopped.set()
        self.thread.join(10)
        self.socket.close(0)

    def of(self, kind):
        """The headers of one kind that came."""
        return [header for header, _ in self.requests if header["t"] == kind]

    def forget(self):
        """As a server that was started anew: no session is known."""
        self.sessions.clear()

    def send(self, peer, kind, arrays=(), **fields):
        header = {"v": 1, "t": kind, **fields}
        if arrays:
            header["arrays"] = [{"k": k, "d": "f4", "s": list(a.shape)} for k, a in arrays]
        frames = [msgpack.packb(header), *(a.astype("<f4").tobytes() for _, a in arrays)]
        self.socket.send_multipart([peer, b"", *frames])

    def refuse(self, peer, name, detail, seq=None):
        self.send(peer, "error", code=1, name=name, detail=detail, seq=seq)

    def reply(self, peer, header, arrays, **changed):
        horizon, dim = self.contract["horizon"], len(self.contract["spec"]["actions"])
        actions = np.zeros((horizon, dim), np.float32)
        actions[:, 0] = header["tick"] + np.arange(horizon)
        if dim > 1 and arrays["proprio"].size:
            actions[:, 1] = arrays["proprio"][-1, 0]
        fields = {key: header[key] for key in ("session", "seq", "episode", "t_obs_nanos")}
        fields |= {"first_tick": header["tick"], "model_hash": self.model["hash"]}
        stages = ["decode", "queue", "preprocess", "infer", "encode"]
        fields["timings"] = {stage: 100 * (i + 1) for i, stage in enumerate(stages)}
        sent = [("actions", actions)]
        if header["attention"]:
            fields["attention"] = [{"view": 1, "tap": "last"}]
            sent.append(("attention.0", np.full((2, 2), 0.25)))
        self.send(peer, "reply", sent, **{**fields, **changed})

    def _run(self):
        while not self.stopped.is_set():
            with contextlib.suppress(zmq.ZMQError):
                if self.socket.poll(20):
                    peer, _, *frames = self.socket.recv_multipart()
                    self._take(peer, frames)

    def _take(self, peer, frames):
        header = msgpack.unpackb(frames[0])
        arrays = {
            meta["k"]: np.frombuffer(data, meta["d"]).reshape(meta["s"])
            for meta, data in zip(header.get("arrays", []), frames[1:], strict=True)
        }
        self.requests.append((header, arrays))
        if self.answer(self, peer, header, arrays):
            return
        match header["t"]:
            case "hello":
                self.made += 1
                session = self.made.to_bytes(16, "big")
                self.sessions[peer] = session
                more = {"contract": self.contract, "fingerprint": self.fingerprint}
                more |= {"model": self.model, "max_bytes": 16 << 20}
                self.send(peer, "welcome", session=session, **more)
            case "infer" if self.sessions.get(peer) != header["session"]:
                self.refuse(peer, "NO_SESSION", "this session is unknown: say hello", header["seq"])
            case "infer":
                self.reply(peer, header, arrays)
            case "reload" if self.sessions.get(peer) != header["session"]:
                self.refuse(peer, "NO_SESSION", "this session is unknown: say hello")
            case "reload":
                self.send(peer, "reloaded", **self.model)
            case "ping":
                self.send(peer, "pong", seq=header["seq"])
            case "status":
                counts = ["uptime_millis", "clients", "waiting", "received", "replied", "stale"]
                fields = dict.fromkeys([*counts, "refused"], 3)
                stage = {"stage": "total", "p50": 1000, "p95": 2000, "p99": 3000, "p999": 4000}
                fields |= {"model": self.model, "busy": False, "latency": [stage], "colour": "red"}
                self.send(peer, "status", **fields)
            case "goodbye":
                self.sessions.pop(peer, None)
                self.send(peer, "goodbye")
