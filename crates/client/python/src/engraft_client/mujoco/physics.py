"""MuJoCo without anything that draws, which is the painter's in a process of its own.

It looks for what draws when it is imported, and where that is missing it cannot be imported at all.
"""

import importlib
import os
from typing import Any


def _load() -> Any:
    way = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        return importlib.import_module("mujoco")
    finally:
        if way is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = way


mujoco: Any = _load()
