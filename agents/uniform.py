"""Uniformly random actions: the naive reference."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import BatchAgent, Mask

__all__ = ["Uniform"]

DISCRETE = (gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)


class Uniform(BatchAgent):
    """Agent that draws every action uniformly from a discrete or a bounded Box action space, from its own generator.

    Raises:
        ValueError: the action space is another one, or the seed no integer from 0 to 2**32 - 1.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        space = self.action_space
        if not isinstance(space, DISCRETE) and not (isinstance(space, gym.spaces.Box) and space.is_bounded()):
            raise ValueError(f"Agent 'uniform' draws from discrete spaces and bounded Boxes, not from {space}.")
        self.rng = np.random.default_rng(self.seed)

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return one random action per environment."""
        n = len(start)
        if isinstance(self.action_space, gym.spaces.Discrete):
            return self.action_space.start + self.rng.integers(self.action_space.n, size=n), memory
        if isinstance(self.action_space, gym.spaces.MultiDiscrete):
            nvec = self.action_space.nvec
            return self.action_space.start + self.rng.integers(nvec, size=(n, *nvec.shape)), memory
        if isinstance(self.action_space, gym.spaces.MultiBinary):
            return self.rng.integers(2, size=(n, *self.action_space.shape), dtype=np.int8), memory
        low, high = self.action_space.low, self.action_space.high
        if self.action_space.dtype.kind != "f":
            return self.rng.integers(low, high, (n, *low.shape), self.action_space.dtype, endpoint=True), memory
        return self.rng.uniform(low, high, (n, *low.shape)).astype(self.action_space.dtype), memory
