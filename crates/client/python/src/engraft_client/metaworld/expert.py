"""MetaWorld's scripted expert, which reads the true state of the object."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engraft_client.metaworld.scene import Scene, Snapshot

NOISE_HOLD = 5
"""Steps for which a disturbance stays the same: long enough to push the hand off its path."""
STEPS_AFTER_SUCCESS = 5
"""Steps that a demonstration goes on once the task is done."""


@dataclass
class Demonstration:
    """What the expert did: at each step what it saw, what it felt and what it wanted."""

    moments: list[Snapshot] = field(default_factory=list)
    proprio: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)


def disturbances(rng: np.random.Generator, scale: float) -> Iterator[np.ndarray]:
    """What is added to each action as it is executed; the gripper is left alone."""
    while True:
        push = np.append(rng.normal(0.0, scale, size=3), 0.0)
        for _ in range(NOISE_HOLD):
            yield push


def demonstrate(
    scene: Scene, noise: float, rng: np.random.Generator, max_steps: int
) -> Demonstration | None:
    """Lets the expert act from the scene's start; `None` if it fails.

    What is executed is disturbed, what is recorded is what the expert wanted: so the demonstrations
    show how to get back on the path.
    """
    from metaworld.policies import ENV_POLICY_MAP

    experts: Any = ENV_POLICY_MAP
    expert = experts[scene.config.task]()
    demonstration = Demonstration()
    steps_left = max_steps
    for push in disturbances(rng, noise):
        if steps_left == 0:
            break
        steps_left -= 1
        action = np.clip(expert.get_action(scene.state), -1.0, 1.0).astype(np.float32)
        demonstration.moments.append(scene.snapshot())
        demonstration.proprio.append(scene.proprio)
        demonstration.actions.append(action)
        was_done = scene.success
        scene.step(action + push)
        if scene.success and not was_done:
            steps_left = min(steps_left, STEPS_AFTER_SUCCESS)
    return demonstration if scene.success else None
