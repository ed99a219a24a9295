"""The environment `dial_pack/Dial-v0`: a plain `gymnasium.Env`, as an environment without a core is."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Dial(gym.Env[Any, Any]):
    """Turn a dial to its mark: the distance to go is seen, and its size is the cost of each step."""

    max_episode_steps = 20  # read by valuegym

    def __init__(self, step: float = 0.1) -> None:
        self.observation_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.size = step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw the distance to go, uniform on [-1, 1]."""
        super().reset(seed=seed)
        self.distance = self.np_random.uniform(-1, 1)
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Turn by the action."""
        self.distance = float(np.clip(self.distance - self.size * float(action[0]), -2.0, 2.0))
        return self._observation(), -abs(self.distance), False, False, {}

    def _observation(self) -> Any:
        return np.array([self.distance], np.float32)
