#!/usr/bin/env python3
"""Drives a policy server with Physical Intelligence's own client, the package openpi-client.

    python tests/judges/openpi_light.py

Starts the server of `crates/serve/examples/stand_in.rs`, which tells every joint to stay where it
is. Needs openpi-client and numpy.
"""

import socket
import sys
import threading
import time
import traceback
import urllib.request
from pathlib import Path

import numpy as np
import websockets.exceptions
import websockets.sync.client
from openpi_client.websocket_client_policy import WebsocketClientPolicy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from groot_light import FRAMES, HEIGHT, HORIZON, TOKEN, WIDTH  # noqa: E402
from serve_light import passed, stand_in  # noqa: E402


def observation(rng, chw=False):
    shape = (FRAMES, 3, HEIGHT, WIDTH) if chw else (FRAMES, HEIGHT, WIDTH, 3)
    return {
        "observation/front": rng.integers(0, 256, shape, np.uint8),
        "observation/wrist": rng.integers(0, 256, shape, np.uint8),
        "observation/arm": rng.normal(size=(FRAMES, 2)).astype(np.float32),
        "observation/gripper": rng.normal(size=(FRAMES, 1)),
        "prompt": "open the drawer",
    }


def newest(seen):
    return np.concatenate([seen["observation/arm"][-1], seen["observation/gripper"][-1]]).astype(np.float32)


def stays(answer, seen):
    actions = answer["actions"]
    assert actions.shape == (HORIZON, 3) and actions.dtype == np.float32, (actions.shape, actions.dtype)
    assert np.array_equal(actions, np.tile(newest(seen), (HORIZON, 1))), actions


def client(address, **options):
    host, port = address.rsplit(":", 1)
    return WebsocketClientPolicy(host, int(port), **options)


def judge_client(address):
    rng = np.random.default_rng(1)
    policy = client(address)
    metadata = policy.get_server_metadata()
    assert metadata["model"] == "stand-in" and metadata["actions"] == [HORIZON, 3], metadata
    assert metadata["observation"]["observation/front"] == [HEIGHT, WIDTH, 3], metadata
    for step in range(4):
        seen = observation(rng, chw=step % 2 == 1)
        answer = policy.infer(seen)
        stays(answer, seen)
        assert answer["policy_timing"]["infer_ms"] >= 20, answer
        assert ("prev_total_ms" in answer["server_timing"]) == (step > 0), answer
    policy.reset()
    seen = observation(rng)
    names = {name.removeprefix("observation/"): value for name, value in seen.items()}
    images = {"images": {name: names.pop(name) for name in ["front", "wrist"]}}
    stays(policy.infer({**names, **images}), seen)
    stays(policy.infer({"observation": {**names, **images}}), seen)
    passed("openpi's client is served, whatever it calls its pictures")


def judge_refusals(address):
    seen = observation(np.random.default_rng(2))
    broken = {
        "video.front": {k: v for k, v in seen.items() if "front" not in k},
        "uint8": {**seen, "observation/front": seen["observation/front"].astype(np.float32)},
        "width and height": {**seen, "observation/front": seen["observation/front"][:, :32]},
        "NONFINITE": {**seen, "observation/arm": seen["observation/arm"] * np.float32("nan")},
        "[2, 2]": {**seen, "observation/arm": seen["observation/arm"][:, :1]},
    }
    for word, wrong in broken.items():
        policy = client(address)
        try:
            policy.infer(wrong)
            raise AssertionError(f"{word} was not refused")
        except RuntimeError as error:
            assert word in str(error), (word, error)
    stays(client(address).infer(seen), seen)
    passed("what does not fit is an exception in the client that says what was expected")

    address = f"ws://{address}"
    for hostile in [b"", b"\xc1", b"\x91" * 1000, b"\xdf\xff\xff\xff\xff", bytes(17 << 20), "text"]:
        with websockets.sync.client.connect(address, compression=None, max_size=None) as connection:
            connection.recv()
            try:
                connection.send(hostile)
                answer = connection.recv()
                assert isinstance(answer, str) and ":" in answer, answer
                connection.recv()
                raise AssertionError("the connection goes on")
            except websockets.exceptions.ConnectionClosed as closed:
                assert closed.rcvd is None or closed.rcvd.code == 1011, closed
    passed("what is no observation is refused, and the connection closed")


def judge_beside(address):
    """Clients are answered at once; those who say nothing keep nobody waiting."""
    host, port = address.rsplit(":", 1)
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    rng, right = np.random.default_rng(3), []

    def work(seen):
        policy = client(address)
        for _ in range(5):
            stays(policy.infer(seen), seen)
        right.append(True)

    threads = [threading.Thread(target=work, args=(observation(rng),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    pages = []
    while any(thread.is_alive() for thread in threads):
        began = time.perf_counter()
        assert urllib.request.urlopen(f"http://{address}/healthz").read() == b"OK\n"
        pages.append(time.perf_counter() - began)
        time.sleep(0.01)
    assert len(right) == 4
    for connection in silent:
        connection.close()
    passed(f"four clients beside twenty silent ones; a page beside them took {np.median(pages) * 1e3:.1f} ms")

    metrics = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    answered = [line for line in metrics.splitlines() if line.startswith('engraft_messages_total{what="answered"}')]
    assert float(answered[0].split()[-1]) >= 20, metrics
    assert 'engraft_stage_seconds{stage="infer",quantile="0.999"}' in metrics, metrics
    passed("metrics")


def main():
    with stand_in("rgb", "openpi", "127.0.0.1:0") as (line, _):
        address = line.split()[1]
        judge_client(address)
        judge_refusals(address)
        judge_beside(address)
    with stand_in("rgb", "openpi", "127.0.0.1:0", "token", TOKEN) as (line, _):
        address = line.split()[1]
        seen = observation(np.random.default_rng(4))
        stays(client(address, api_key=TOKEN).infer(seen), seen)
        for key in [None, "a word", TOKEN + "!"]:
            try:
                headers = {"Authorization": f"Api-Key {key}"} if key else None
                websockets.sync.client.connect(f"ws://{address}", additional_headers=headers)
                raise AssertionError("let in")
            except websockets.exceptions.InvalidStatus as error:
                assert error.response.status_code == 401, error
        passed("the key lets in, and nothing else does")
    with stand_in("rgb", "openpi", "127.0.0.1:0") as (line, server):
        policy = client(line.split()[1])
        stays(policy.infer(seen), seen)
        server.stdin.close()
        assert server.wait(10) == 0
        passed("a stop says goodbye")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, RuntimeError):
        traceback.print_exc()
        sys.exit("the server and this judge disagree")
