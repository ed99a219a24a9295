"""The oracle: the environment's own solver, playing. It sees what no contestant may see."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from valuegym.agents.base import batch_size


class Oracle:
    """Plays the best action of the environment that it is attached to, scalar or vector.

    The observation is not used.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        self.observation_space, self.env = env.observation_space, env.unwrapped

    def attach(self, env: Any) -> None:
        """Play in another environment of the same core from now on."""
        self.env = env.unwrapped

    def learn(self, total_timesteps: int) -> Oracle:
        """Nothing to learn."""
        return self

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """An optimal action for every environment."""
        env: Any = self.env
        actions = env.core.oracle_action(env.task, env.state)
        return (actions[0] if batch_size(observation, self.observation_space) is None else actions), state
