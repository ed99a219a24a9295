"""Weights of the destination alone: the line that a learner of whole rewards has to pass on a delivery board."""

from __future__ import annotations

from typing import Any

import numpy as np

from valuegym.agents.base import Mask
from valuegym.agents.oracle import Oracle
from valuegym.envs.preference.reward_inference import RewardInference

__all__ = ["GoalOnly"]


class GoalOnly(Oracle):
    """Reference that is given which feature is the destination, and its sign; all else is worth nothing to it.

    The destination is the feature that earns most in one move under the true weights.

    Raises:
        ValueError: the environment is not `RewardInference-v0` with weights as answers, or the seed is no integer from
            0 to 2**32 - 1.
    """

    def attach(self, env: Any) -> None:
        """Answer in another environment of the same core from now on.

        Raises:
            ValueError: the environment is another one.
        """
        super().attach(env)
        core = self.env.core
        if not isinstance(core, RewardInference) or core.policy:
            raise ValueError("Agent 'goal_only' answers reward weights; it plays in valuegym/RewardInference-v0 only.")

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return the destination's weight alone, 1 or -1 by its sign, for every environment."""
        task = self.env.task
        earns = (task.features * task.weights[:, None, None]).max((1, 2))  # (N, d)
        chosen = np.arange(earns.shape[1]) == earns.argmax(1)[:, None]
        return np.where(chosen, np.sign(task.weights), 0.0).astype(np.float32), memory
