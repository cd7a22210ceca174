"""Asks an engraft policy server for actions.

>>> from engraft_client import Policy
>>> with Policy("tcp://127.0.0.1:5555") as policy:  # doctest: +SKIP
...     action = policy.act({"rgb": {"front": picture}, "proprio": joints})
"""

from engraft_client.chunks import ChunkQueue, Merge
from engraft_client.contract import Contract, Dimension, Model, RobotSpec, ViewSpec
from engraft_client.errors import PolicyError, PolicyTimeout, ReloadRefused
from engraft_client.observation import Observation
from engraft_client.policy import Policy
from engraft_client.reply import AttentionMap, Percentiles, Reply, Status

__all__ = [
    "AttentionMap",
    "ChunkQueue",
    "Contract",
    "Dimension",
    "Merge",
    "Model",
    "Observation",
    "Percentiles",
    "Policy",
    "PolicyError",
    "PolicyTimeout",
    "ReloadRefused",
    "Reply",
    "RobotSpec",
    "Status",
    "ViewSpec",
]
