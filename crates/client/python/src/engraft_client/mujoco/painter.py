"""Draws a model in a process of its own, which an arm never waits for.

Python runs one thread at a time, and what draws holds on to that for as long as it likes. So the
arm's process never draws: it sends where everything is through a pipe, and pictures come back.
"""

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engraft_client.simulator import SimulatorError

# What draws in software takes every core, and the arm needs one.
_SOFTWARE = {"LP_NUM_THREADS": "1"}
_NICE = 5
_READY, _BLIND = b"\1", b"\0"
# MuJoCo and a driver that compiles its shaders take their time.
_START_SECS = 60.0


class Painter:
    """Pictures of a model, from cameras of it.

    Args:
        scene: The MJCF file.
        cameras: Those that are looked through, in order.
        size: Side of a picture, in pixels.

    Raises:
        SimulatorError: Where nothing draws here, with what ``MUJOCO_GL`` says and why.
    """

    def __init__(self, scene: Path, cameras: Sequence[str], size: int) -> None:
        self._shape = (len(cameras), size, size, 3)
        way = os.environ.get("MUJOCO_GL") or "egl"
        environment = {**_SOFTWARE, **os.environ, "MUJOCO_GL": way}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        command = [sys.executable, "-m", __name__, str(scene), str(size), *cameras]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        ready, _, _ = select.select([self._output], [], [], _START_SECS)
        if not ready or self._output.read(1) != _READY:
            reason = self._output.read(1000).decode(errors="replace") if ready else "it is silent"
            self.close()
            raise SimulatorError(f"MUJOCO_GL={way} does not draw ({reason or 'it ended'})")

    @property
    def _output(self) -> Any:
        return self._process.stdout

    def paint(self, *places: np.ndarray) -> list[np.ndarray]:
        """What each camera sees: [size, size, 3] of uint8.

        Args:
            places: `qpos`, `mocap_pos` and `mocap_quat`.
        """
        pictures = np.empty(self._shape, np.uint8)
        left = pictures.reshape(-1).data
        with self._lock, contextlib.suppress(OSError, ValueError):
            _write(self._process.stdin, b"".join(place.tobytes() for place in places))
            while left and (count := self._output.readinto(left)):
                left = left[count:]
        if left:
            raise SimulatorError("what draws has ended: start the simulator anew")
        return list(pictures)

    def close(self) -> None:
        """Ends it; whoever waits for a picture gets none. May be called twice."""
        self._process.kill()
        self._process.wait()
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()


def _write(pipe: Any, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[pipe.write(left) :]


def _serve(scene: str, size: int, cameras: Sequence[str], output: Any) -> None:
    """Draws until nobody asks any more."""
    import mujoco

    model: Any = mujoco.MjModel.from_xml_path(scene)
    # Without multisampling and shadows a picture takes a tenth of the time.
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, size)
    model.vis.global_.offheight = max(model.vis.global_.offheight, size)
    data: Any = mujoco.MjData(model)
    renderer: Any = mujoco.Renderer(model, size, size)
    renderer.update_scene(data)
    renderer.render()
    _write(output, _READY)
    places = (data.qpos, data.mocap_pos, data.mocap_quat)
    wanted = sum(place.nbytes for place in places)
    while len(asked := _read(wanted)) == wanted:
        numbers = np.frombuffer(asked)
        for place in places:
            place[:], numbers = numbers[: place.size].reshape(place.shape), numbers[place.size :]
        mujoco.mj_fwdPosition(model, data)
        for camera in cameras:
            renderer.update_scene(data, camera=camera)
            for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                renderer.scene.flags[effect] = 0
            _write(output, np.ascontiguousarray(renderer.render()).tobytes())


def _read(count: int) -> bytes:
    return sys.stdin.buffer.read(count)


def main() -> int:
    """The process that draws: ``SCENE SIZE CAMERA...``."""
    # Whatever a driver prints is not taken for a picture.
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    scene, size, *cameras = sys.argv[1:]
    try:
        _serve(scene, int(size), cameras, output)
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    except Exception as error:  # each way to draw fails in its own
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        with contextlib.suppress(OSError):
            _write(output, _BLIND + reason.encode())
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
