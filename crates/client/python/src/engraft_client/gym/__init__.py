"""Evaluates any gymnasium environment against a policy server.

>>> import gymnasium
>>> from engraft_client.gym import evaluate
>>> result = evaluate(  # doctest: +SKIP
...     lambda: gymnasium.make("MyEnv-v0"), "tcp://127.0.0.1:5555", episodes=20
... )
>>> print(result)  # doctest: +SKIP
"""

from typing import NoReturn

from engraft_client.interval import wilson_interval

try:
    from engraft_client.gym.episode import Env, Observe, Success
    from engraft_client.gym.evaluate import evaluate
    from engraft_client.gym.observe import guess
    from engraft_client.gym.result import Episode, Result
except ModuleNotFoundError as error:
    if error.name != "gymnasium":
        raise

    def __getattr__(name: str) -> NoReturn:
        # Only what is asked for is missed: the command line has its own words for it.
        detail = f"engraft_client.gym.{name} needs gymnasium: pip install gymnasium"
        raise ImportError(detail, name="gymnasium")


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
