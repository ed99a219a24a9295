"""The oracle: the environment's own solver, playing. It sees what no contestant may see."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import BatchAgent, Mask, check_env

__all__ = ["Oracle"]


class Oracle(BatchAgent):
    """Agent that plays the best action of the environment that it is attached to, scalar or vector.

    The observation is not used. The only agent that looks into a live environment.

    Raises:
        ValueError: the environment has no solver of its own, or the seed is no integer from 0 to 2**32 - 1.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.attach(env)

    def attach(self, env: Any) -> None:
        """Play in another environment of the same core from now on.

        Raises:
            ValueError: the environment has no solver of its own.
        """
        if not hasattr(getattr(check_env(env).unwrapped, "core", None), "oracle_action"):
            raise ValueError(f"Agent 'oracle' asks the solver of an environment, and {type(env).__name__} has none.")
        self.env = env.unwrapped

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return an optimal action for every environment."""
        env: Any = self.env
        return np.array(env.core.oracle_action(env.task, env.state)), memory  # what a task holds is not handed out
