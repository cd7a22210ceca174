"""Evaluates any gymnasium environment against a policy server.

>>> import gymnasium
>>> from engraft_client.gym import evaluate
>>> result = evaluate(  # doctest: +SKIP
...     lambda: gymnasium.make("MyEnv-v0"), "tcp://127.0.0.1:5555", episodes=20
... )
>>> print(result)  # doctest: +SKIP
"""

try:
    import gymnasium as _gymnasium
except ImportError as error:
    raise ImportError(
        "engraft_client.gym needs gymnasium: pip install 'engraft-client[gym]'"
    ) from error

from engraft_client.gym.episode import Env, Observe, Success
from engraft_client.gym.evaluate import evaluate
from engraft_client.gym.observe import guess
from engraft_client.gym.result import Episode, Result
from engraft_client.interval import wilson_interval

assert _gymnasium is not None

__all__ = [
    "Env",
    "Episode",
    "Observe",
    "Result",
    "Success",
    "evaluate",
    "guess",
    "wilson_interval",
]
