"""No force at all: what a controller has to be better than."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import batch_size


class NoForce:
    """Answers 0 in a Box action space that holds it.

    Raises:
        ValueError: the action space does not.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        space = env.action_space
        if not isinstance(space, gym.spaces.Box) or not space.contains(np.zeros(space.shape, space.dtype)):
            raise ValueError(f"no_force answers 0, which is no action of {space}.")
        self.observation_space, self.nothing = env.observation_space, np.zeros(space.shape, space.dtype)

    def learn(self, total_timesteps: int) -> NoForce:
        """Nothing to learn."""
        return self

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """0 for every environment."""
        n = batch_size(observation, self.observation_space)
        return self.nothing.copy() if n is None else np.tile(self.nothing, (n, *(1,) * self.nothing.ndim)), state
