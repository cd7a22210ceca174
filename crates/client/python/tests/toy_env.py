"""A small environment: it shows its seed and its step, and rewards an action that repeats the seed.

It succeeds for one step, the third after that of its seed; an episode has 8 steps at most.
"""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict


class Toy(gymnasium.Env):
    def __init__(self, tells="success", width=2, stuck=False):
        self.tells, self.stuck = tells, stuck
        self.action_space = Box(-4.0, 4.0, (width,), np.float32)
        picture = Box(0, 255, (4, 6, 3), np.uint8)
        self.observation_space = Dict({"pixels": picture, "agent_pos": Box(-99, 99, (2,))})

    def _observation(self):
        agent_pos = np.float32([self.shown, self.steps])
        pixels = np.full((4, 6, 3), self.steps % 256, np.uint8)
        return {"pixels": pixels, "agent_pos": agent_pos}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown, self.steps = seed, 0
        return self._observation(), {}

    def step(self, action):
        assert action.shape == self.action_space.shape and action.dtype == np.float32
        self.steps += 1
        if self.stuck:
            raise RuntimeError("the simulator is stuck")
        info = {self.tells: self.steps == 3 + self.shown} if self.tells else {}
        terminated = self.shown == 2 and self.steps == 6
        return self._observation(), float(action[1]), terminated, False, info


gymnasium.register(id="Toy-v0", entry_point="toy_env:Toy", max_episode_steps=8)
