#!/usr/bin/env python3
"""Speaks GR00T's dialect to a policy server, as each generation of NVIDIA's client does.

    python tests/judges/groot_light.py

Starts the server of `crates/serve/examples/stand_in.rs`, which tells every joint to stay where it
is. Needs pyzmq, msgpack, msgpack-numpy and numpy: arrays are written and read by numpy's own
`save` and `load` and by the package msgpack-numpy, requests are those of NVIDIA's client.
"""

import io
import sys
import threading
import time
import traceback
from pathlib import Path

import msgpack
import msgpack_numpy
import numpy as np
import zmq

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serve_light import passed, stand_in  # noqa: E402

TOKEN = "a word that is long enough"
FRAMES, HORIZON, HEIGHT, WIDTH = 2, 8, 64, 96


def save(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return {"__ndarray_class__": True, "as_npy": file.getvalue()}


def write_npy(value):
    return save(value, allow_pickle=False) if isinstance(value, np.ndarray) else value


def read_npy(value):
    if "__ModalityConfig_class__" in value:
        return value["as_json"]
    if "__ndarray_class__" in value:
        return np.load(io.BytesIO(value["as_npy"]), allow_pickle=False)
    return value


def read_numpy(value):
    return msgpack_numpy.decode(read_npy(value) if isinstance(next(iter(value), None), str) else value)


class Client:
    """A REQ socket, one map there and one back; with numpy's files or msgpack-numpy's maps."""

    def __init__(self, endpoint, numpy=False, token=None):
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 60_000)
        self.socket.connect(endpoint)
        self.write = msgpack_numpy.encode if numpy else write_npy
        self.read = read_numpy if numpy else read_npy
        self.token = token

    def raw(self, data):
        self.socket.send(data)
        return msgpack.unpackb(self.socket.recv(), object_hook=self.read, strict_map_key=False)

    def call(self, endpoint, data=None, requires_input=True):
        request = {"endpoint": endpoint}
        if requires_input:
            request["data"] = data
        if self.token:
            request["api_token"] = self.token
        response = self.raw(msgpack.packb(request, default=self.write))
        if isinstance(response, dict) and "error" in response:
            raise RuntimeError(response["error"])
        return response


def observation(rng, batch=(1,)):
    shape = (*batch, FRAMES)
    video = {name: rng.integers(0, 256, (*shape, HEIGHT, WIDTH, 3), np.uint8) for name in ["front", "wrist"]}
    state = {"arm": rng.normal(size=(*shape, 2)), "gripper": rng.normal(size=(*shape, 1))}
    return {
        "video": video,
        "state": {name: value.astype(np.float32) for name, value in state.items()},
        "language": {"annotation.human.action.task_description": [["open the drawer"]]},
    }


def flat(seen):
    return {f"{kind}.{name}": value for kind in ["video", "state"] for name, value in seen[kind].items()}


def stays(actions, seen):
    """Every action is the newest state."""
    assert set(actions) == {"arm", "gripper"}, set(actions)
    for name, value in actions.items():
        newest = seen["state"][name][..., -1:, :]
        assert value.dtype == np.float32 and value.shape == (*newest.shape[:-2], HORIZON, newest.shape[-1])
        assert np.array_equal(value, np.repeat(newest, HORIZON, axis=-2).astype(np.float32))


def refused(client, *words, **changes):
    """The error of an observation with some entries changed."""
    seen = observation(np.random.default_rng(3))
    for key, value in changes.items():
        kind, name = key.split("_")
        seen[kind] = {**seen[kind], name: value}
        if value is None:
            del seen[kind][name]
    try:
        client.call("get_action", {"observation": seen, "options": None})
    except RuntimeError as error:
        assert all(word in str(error) for word in words), error
        return
    raise AssertionError(f"{changes} was not refused")


def judge_endpoints(endpoint):
    rng = np.random.default_rng(1)
    for numpy in [False, True]:
        client = Client(endpoint, numpy)
        assert client.call("ping", requires_input=False) == {"status": "ok", "message": "Server is running"}
        config = client.call("get_modality_config", requires_input=False)
        assert config["video"] == {"delta_indices": [-1, 0], "modality_keys": ["front", "wrist"]}, config
        assert config["state"] == {"delta_indices": [-1, 0], "modality_keys": ["arm", "gripper"]}, config
        assert config["action"]["delta_indices"] == list(range(HORIZON)), config
        assert client.call("reset", {"options": None}) == {}
        for _ in range(3):
            seen = observation(rng)
            actions, info = client.call("get_action", {"observation": seen, "options": None})
            stays(actions, seen)
            assert info["model"] == "stand-in" and info["timings_ms"]["infer"] >= 20, info
        passed(f"N1.6 and later, {'msgpack-numpy' if numpy else 'npy'}")

    client = Client(endpoint)
    seen = observation(rng)
    actions, _ = client.call("get_action", {"observation": flat(seen), "options": None})
    stays({name.removeprefix("action."): value for name, value in actions.items()}, seen)
    passed("its simulators' flat names")

    seen = observation(rng, ())
    data = {**flat(seen), "annotation.human.action.task_description": ["open the drawer"]}
    for endpoint_key in [{"endpoint": "get_action"}, {}]:
        request = {**endpoint_key, "data": data}
        actions = client.raw(msgpack.packb(request, default=write_npy))
        stays({name.removeprefix("action."): value for name, value in actions.items()}, seen)
    config = client.call("get_modality_config", requires_input=False)
    assert isinstance(config["video"], str) and '"front"' in config["video"], config
    passed("N1 and N1.5, which want JSON as text")

    # Doubles, other byte orders and other memory orders are the same numbers.
    seen = observation(rng)
    seen["state"] = {"arm": seen["state"]["arm"].astype(">f8"), "gripper": seen["state"]["gripper"].astype(np.float16)}
    seen["video"]["front"] = np.asfortranarray(seen["video"]["front"])
    actions, _ = client.call("get_action", {"observation": seen, "options": None})
    stays(actions, seen)
    passed("numbers of another width and order")


def judge_refusals(endpoint):
    for numpy in [False, True]:
        client = Client(endpoint, numpy)
        good = observation(np.random.default_rng(3))
        front, arm = good["video"]["front"], good["state"]["arm"]
        refused(client, "BAD_SHAPE", "video.front", "missing", "state.arm of 2", video_front=None)
        refused(client, "BAD_SHAPE", "state.arm", "[2, 2]", state_arm=arm[..., :1])
        refused(client, "BAD_SHAPE", "video.front", "expected", video_front=front[:, :1])
        refused(client, "BAD_SHAPE", "width and height", video_front=front[:, :, :32])
        refused(client, "BAD_SHAPE", "video.front", video_front=np.repeat(front, 2, 0))
        refused(client, "BAD_DTYPE", "uint8", video_front=front.astype(np.float32))
        refused(client, "NONFINITE", "shoulder", state_arm=arm * np.float32("nan"))
        refused(client, "an array", state_arm=[1.0, 2.0])
        for endpoint_name in ["launch", ""]:
            try:
                client.call(endpoint_name, {})
                raise AssertionError("served")
            except RuntimeError as error:
                assert "unknown" in str(error), error
        try:
            client.call("kill", requires_input=False)
            raise AssertionError("killed")
        except RuntimeError as error:
            assert "--allow-kill" in str(error), error
    passed("what does not fit is refused with expected and found, and kill is off")

    def hostile(array):
        seen = observation(np.random.default_rng(3))
        seen["state"]["arm"] = array
        return msgpack.packb({"endpoint": "get_action", "data": {"observation": seen}}, default=write_npy)

    whole = save(np.zeros((1, FRAMES, 2), np.float32))["as_npy"]
    objects = save(np.array([[["a", 1], [None, 2]]], object))
    lies = [
        {**objects},
        {"__ndarray_class__": True, "as_npy": whole.replace(b"(1, 2, 2)", b"(9, 9, 9)")},
        {"__ndarray_class__": True, "as_npy": whole.replace(b"(1, 2, 2)", b"(-1,2, 2)")},
        {"__ndarray_class__": True, "as_npy": whole[:60]},
        {"__ndarray_class__": True, "as_npy": b"\x93NUMPY\x01\x00\xff\xff"},
        {"__ndarray_class__": True, "as_npy": "text"},
        {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [1 << 40, 1 << 40], b"data": b""},
        {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1, 2, 2], b"data": bytes(32)},
        {b"nd": True, b"type": "<f4", b"shape": [1, 2, 2], b"data": bytes(15)},
        {b"nd": 1, b"type": "<f4", b"shape": [1, 2, 2], b"data": bytes(16)},
    ]
    client = Client(endpoint)
    for lie in lies:
        answer = client.raw(hostile(lie))
        assert "error" in answer and "state.arm" in answer["error"], (lie, answer)
    passed("arrays that lie, and arrays of objects, are refused")


def judge_beside(endpoint):
    """Pings pass a request that runs; clients do not see each other's answers."""
    rng = np.random.default_rng(2)
    seen, other, ping = [observation(rng) for _ in range(4)], [], Client(endpoint)

    def work(mine):
        client = Client(endpoint)
        for _ in range(5):
            actions, _ = client.call("get_action", {"observation": mine, "options": None})
            stays(actions, mine)
        other.append(True)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    trips = []
    while any(thread.is_alive() for thread in threads):
        began = time.perf_counter()
        ping.call("ping", requires_input=False)
        trips.append(time.perf_counter() - began)
        time.sleep(0.01)
    assert len(other) == 4, "every client got its own answers"
    passed(f"four clients at once; a ping beside them took {np.median(trips) * 1e3:.1f} ms")


def main():
    with stand_in("rgb") as (endpoint, _):
        judge_endpoints(endpoint)
        judge_refusals(endpoint)
        judge_beside(endpoint)
    with stand_in("rgb", "kill", "token", TOKEN) as (endpoint, server):
        for token in [None, "a word", TOKEN + "!"]:
            try:
                Client(endpoint, token=token).call("ping", requires_input=False)
                raise AssertionError("let in")
            except RuntimeError as error:
                assert "Unauthorized" in str(error), error
        client = Client(endpoint, token=TOKEN)
        assert client.call("ping", requires_input=False)["status"] == "ok"
        client.call("kill", requires_input=False)
        assert server.wait(30) == 0
        passed("the token lets in, and nothing else does; kill stops the server where it may")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, RuntimeError, zmq.Again):
        traceback.print_exc()
        sys.exit("the server and this judge disagree")
