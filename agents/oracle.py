"""The oracle: the environment's own solver, playing. It sees what no contestant may see."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from valuegym.agents.base import BatchAgent, Mask

__all__ = ["Oracle"]


class Oracle(BatchAgent):
    """Agent that plays the best action of the environment that it is attached to, scalar or vector.

    The observation is not used. The only agent that looks into a live environment.

    Raises:
        ValueError: the environment has no solver.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env)
        self.env = env.unwrapped
        if not hasattr(getattr(self.env, "core", None), "oracle_action"):
            name = env.spec.id if env.spec is not None else type(self.env).__name__
            raise ValueError(f"Agent 'oracle' asks the environment's own solver, and {name} has none.")

    def attach(self, env: Any) -> None:
        """Play in another environment of the same core from now on."""
        self.env = env.unwrapped

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return an optimal action for every environment."""
        env: Any = self.env
        return env.core.oracle_action(env.task, env.state), memory
