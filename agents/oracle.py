"""The oracle: the environment's own solver, playing. It sees what no contestant may see."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from valuegym.agents.base import BatchAgent, Mask

__all__ = ["Oracle"]


class Oracle(BatchAgent):
    """Agent that plays the best action of the environment that it is attached to, scalar or vector.

    The observation is not used. The only agent that looks into a live environment.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env)
        self.env = env.unwrapped

    def attach(self, env: Any) -> None:
        """Play in another environment of the same core from now on."""
        self.env = env.unwrapped

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return an optimal action for every environment."""
        env: Any = self.env
        return env.core.oracle_action(env.task, env.state), memory
