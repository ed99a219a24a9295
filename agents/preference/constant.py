"""The best constant answer: the score in a query environment without a look at any preference."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import BatchAgent, Mask, rules
from valuegym.envs import keys
from valuegym.envs.preference.reward_inference import RewardInference

__all__ = ["Constant", "candidates"]

TASKS = 32  # training tasks: random boards, labelled as those that are played


def candidates(d: int) -> np.ndarray[Any, Any]:
    """Return weight vectors with at most two entries of 1 or -1 and zeros elsewhere: (1 + 2 d + 2 d (d - 1), d)."""
    vectors = itertools.product((-1.0, 0.0, 1.0), repeat=d)
    return np.array([v for v in vectors if np.count_nonzero(v) <= 2], np.float32)


@lru_cache
def _search(relabel: bool) -> tuple[float, ...]:
    """Return the best candidate on random boards of the split train, never on the board that is played."""
    core = RewardInference(relabel=relabel, split="train", evaluation_points=(1,))
    task, _ = core.initial(keys.mix(0, np.arange(TASKS)))
    options = candidates(core.action_space.shape[0])
    means = [core.score(task, np.tile(option, (TASKS, 1))).mean() for option in options]
    return tuple(options[int(np.argmax(means))])


class Constant(BatchAgent):
    """Agent that always answers one weight vector: the best of `candidates` on training tasks.

    Raises:
        ValueError: the environment is not `RewardInference-v0`, its rules cannot be given (`agents.base.rules`), or the
            seed is no integer from 0 to 2**32 - 1.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        core: Any = rules(env)
        if not isinstance(core, RewardInference) or core.policy or core.active:
            raise ValueError("Agent 'constant' answers reward weights; it plays in valuegym/RewardInference-v0 only.")
        source: Any = core.source
        self.relabel = bool(source.tasks.relabel)

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return the same answer for every environment; the search happens once, at the first of them."""
        return np.tile(np.array(_search(self.relabel), np.float32), (len(start), 1)), memory
