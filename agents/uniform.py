"""Uniformly random actions: the naive reference."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import BatchAgent, Mask

__all__ = ["Uniform"]


class Uniform(BatchAgent):
    """Agent that draws every action uniformly from a Discrete or a bounded Box action space, from its own generator."""

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env)
        self.rng = np.random.default_rng(seed)

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return one random action per environment."""
        n = len(start)
        if isinstance(self.action_space, gym.spaces.Discrete):
            return self.action_space.start + self.rng.integers(self.action_space.n, size=n), memory
        assert isinstance(self.action_space, gym.spaces.Box)
        low, high = self.action_space.low, self.action_space.high
        return self.rng.uniform(low, high, (n, *low.shape)).astype(self.action_space.dtype), memory
