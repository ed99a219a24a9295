"""Uniformly random actions: the naive reference."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import batch_size


class Uniform:
    """Draws every action uniformly from a Discrete or a bounded Box action space, from its own generator."""

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.rng = np.random.default_rng(seed)

    def learn(self, total_timesteps: int) -> Uniform:
        """Nothing to learn."""
        return self

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Random actions, one per environment, whatever `deterministic` says."""
        n = batch_size(observation, self.observation_space)
        lead = () if n is None else (n,)
        if isinstance(self.action_space, gym.spaces.Discrete):
            return self.action_space.start + self.rng.integers(self.action_space.n, size=lead), state
        assert isinstance(self.action_space, gym.spaces.Box)
        low, high = self.action_space.low, self.action_space.high
        return self.rng.uniform(low, high, (*lead, *low.shape)).astype(self.action_space.dtype), state
