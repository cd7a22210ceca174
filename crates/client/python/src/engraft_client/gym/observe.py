"""What an environment gives, as an observation of the policy: a guess where there is but one."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engraft_client.contract import Contract
from engraft_client.errors import PolicyError
from engraft_client.observation import Observation

_PICTURES = ("pixels", "image", "images")
_STATES = ("agent_pos", "proprio", "state")


def guess(contract: Contract) -> Callable[[Any, Any], Observation]:
    """A function of (what the environment gives, the environment) that makes an observation.

    It understands a dict that is an observation already; a dict with pictures under ``pixels``,
    ``image`` or ``images`` (one array for a policy with one view, or a dict by view) or under the
    names of the views, and proprio under ``agent_pos``, ``proprio`` or ``state``; a bare picture
    for a policy with one view and no proprio; a bare row of numbers for one without views.

    Raises:
        PolicyError: ``BAD_OBSERVATION``, from the function, where more than one reading is
            possible or none.
    """

    def observe(given: Any, env: Any) -> Observation:
        observation = _read(contract, given)
        if observation is not None:
            return observation
        spec = contract.spec
        views = ", ".join(map(str, spec.views)) or "none"
        proprio = ", ".join(map(str, spec.proprio)) or "none"
        hint = 'give observe=, a function of (obs, env) that returns {"rgb": .., "proprio": ..}'
        detail = f"expected views {views} and proprio {proprio}, found {_describe(given)}: {hint}"
        raise PolicyError("BAD_OBSERVATION", f"environment: {detail}")

    return observe


def _read(contract: Contract, given: Any) -> Observation | None:
    spec = contract.spec
    if any(view.depth for view in spec.views) and not _is_observation(given):
        return None
    if not isinstance(given, Mapping):
        array = np.asarray(given)
        if array.ndim == 3 and len(spec.views) == 1 and not spec.proprio:
            return {"rgb": {spec.views[0].name: array}}
        if array.shape == (spec.proprio_dim,) and not spec.views:
            return {"proprio": array}
        return None
    if _is_observation(given):
        return given
    rgb, proprio = _pictures(contract, given), _state(contract, given)
    return None if rgb is None or proprio is None else {"rgb": rgb, "proprio": proprio}


def _is_observation(given: Any) -> bool:
    keys = {"rgb", "depth", "proprio"}
    return isinstance(given, Mapping) and bool(given) and set(given) <= keys


def _pictures(contract: Contract, given: Mapping[str, Any]) -> dict[str, Any] | None:
    names = [view.name for view in contract.spec.views]
    if not names:
        return {}
    sources = [given[key] for key in _PICTURES if key in given and key not in names]
    if all(name in given for name in names):
        sources.append({name: given[name] for name in names})
    if len(sources) != 1:
        return None
    (source,) = sources
    if not isinstance(source, Mapping):
        return {names[0]: source} if len(names) == 1 else None
    if set(names) <= set(source):
        return {name: source[name] for name in names}
    return {names[0]: next(iter(source.values()))} if len(names) == len(source) == 1 else None


def _state(contract: Contract, given: Mapping[str, Any]) -> Any | None:
    if not contract.spec.proprio:
        return []
    sources = [np.asarray(given[key]) for key in _STATES if key in given]
    fits = len(sources) == 1 and sources[0].shape == (contract.spec.proprio_dim,)
    return sources[0] if fits else None


def _describe(given: Any) -> str:
    """What the environment gives, in a few words."""
    if isinstance(given, Mapping):
        parts = [f"{key}: {_describe(value)}" for key, value in given.items()]
        return f"{{{', '.join(parts)}}}"
    if isinstance(given, (np.ndarray, np.generic)):
        return f"{given.dtype} {list(given.shape)}"
    return type(given).__name__
