"""No force at all: the baseline of controllers."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import BatchAgent, Mask

__all__ = ["NoForce"]


class NoForce(BatchAgent):
    """Agent that answers 0 in a Box action space that holds it.

    Raises:
        ValueError: 0 is not in the action space, or the seed is no integer from 0 to 2**32 - 1.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        space = env.action_space
        if not isinstance(space, gym.spaces.Box) or not space.contains(np.zeros(space.shape, space.dtype)):
            raise ValueError(f"Agent 'no_force' answers 0, which is not an action of {space}.")
        self.shape, self.dtype = space.shape, space.dtype

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return 0 for every environment."""
        return np.zeros((len(start), *self.shape), self.dtype), memory
