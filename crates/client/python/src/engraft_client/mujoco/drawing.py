"""MuJoCo with whatever draws here, and without where nothing does."""

import importlib
import os
import sys
from typing import Any


def _load() -> tuple[Any, str]:
    """MuJoCo, and why it was loaded without anything that draws; empty where it was not.

    It looks at ``MUJOCO_GL`` once, when it is imported, and a library that is missing there is an
    error of any kind.
    """
    way = os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        return importlib.import_module("mujoco"), ""
    except ImportError:
        raise
    except Exception as error:
        reason = _first_line(error)
    for name in [name for name in sys.modules if name.split(".")[0] == "mujoco"]:
        del sys.modules[name]
    os.environ["MUJOCO_GL"] = "disable"
    return importlib.import_module("mujoco"), f"MUJOCO_GL={way} does not draw ({reason})"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


mujoco, _BLIND = _load()


def new_renderer(model: Any, size: int) -> Any:
    """What draws square pictures, on the thread that it is made on."""
    # Without multisampling and shadows a picture takes a tenth of the time.
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, size)
    model.vis.global_.offheight = max(model.vis.global_.offheight, size)
    return mujoco.Renderer(model, size, size)


def draw(renderer: Any, data: Any, camera: str) -> Any:
    """What a camera sees: [size, size, 3] of uint8."""
    renderer.update_scene(data, camera=camera)
    for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.scene.flags[effect] = 0
    return renderer.render().copy()


def why_blind(model: Any) -> str:
    """Why nothing can be drawn here; empty where it can."""
    if _BLIND:
        return _BLIND
    try:
        new_renderer(model, 16).close()
    except Exception as error:  # each way to draw fails in its own
        return f"MUJOCO_GL={os.environ['MUJOCO_GL']} does not draw ({_first_line(error)})"
    return ""
