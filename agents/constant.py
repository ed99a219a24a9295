"""The best constant action: what an environment yields without a look at anything.

It is found on training tasks of the same environment, drawn from seeds of their own, never on those that are scored.
Where a constant scores high a high score shows little learning, so that it stands on every track as a reference.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.agents.base import BatchAgent, Mask, rules
from valuegym.agents.preference.constant import Constant
from valuegym.envs import keys
from valuegym.envs.functional import load
from valuegym.envs.preference.query import QueryCore
from valuegym.envs.preference.reward_inference import RewardInference

__all__ = ["ConstantAction", "best_constant", "constant", "mean_scores"]

Array = npt.NDArray[Any]

TASKS = 32
STARTS = 64  # actions drawn before the search, besides the middle of the space
STEPS = (0.5, 0.25, 0.125, 0.0625, 0.03125)  # of the search, in half widths of the space
LARGE = 32  # numbers above which an action has one value for all of them
ROWS = 4096
LONGEST = 2000
_TRAINING = 0x636F_6E73_7461  # from which training tasks are drawn, far from any seed of an experiment


def mean_scores(core: Any, options: Array, limit: int) -> Array:
    """Return what constant actions (K, ...) yield on training tasks: (K,).

    That is the mean score of estimates where the environment scores them, else the mean discounted return.

    Args:
        core: rules of the environment.
        options: constant actions.
        limit: steps after which an episode ends in any case.
    """
    key = keys.mix(_TRAINING, np.arange(TASKS))
    found = []
    for some in np.array_split(options, -(-len(options) * TASKS // ROWS)):
        task, state = core.initial(np.tile(key, len(some)))
        action = np.repeat(some, TASKS, 0)
        if isinstance(core, QueryCore):
            size = core.source.action_space.shape[0]  # what an active agent asks is not scored
            found.append(core.score(task, action[:, :size]).reshape(-1, TASKS).mean(1))
            continue
        total, weight = np.zeros(len(action)), 1.0
        for t in range(limit):
            if core.terminal(task, state).all():
                break
            after = core.transition(task, state, action, np.tile(key, len(some)), np.full(len(action), t))
            total += weight * core.reward(task, state, action, after)
            state, weight = after, weight * core.discount
        found.append(total.reshape(-1, TASKS).mean(1))
    return np.concatenate(found)


def best_constant(core: Any, limit: int) -> Array:
    """Return the constant action with the highest mean on training tasks.

    Of a discrete space every action is tried. In a box the best of 65 actions is improved by steps along each number
    that halve; where an action has more than 32 numbers all of them are the same one of 33 values.
    """
    space = core.action_space
    if isinstance(space, gym.spaces.Discrete):
        options: Array = space.start + np.arange(int(space.n))
        return np.asarray(options[int(mean_scores(core, options, limit).argmax())])
    low, half = space.low.astype(np.float64), (space.high.astype(np.float64) - space.low) / 2
    n = low.size
    if n > LARGE:
        tried = low + half * np.linspace(0, 2, 33)[:, None]
        return np.asarray(tried[int(mean_scores(core, tried.astype(space.dtype), limit).argmax())], space.dtype)
    drawn = 2 * keys.uniform(keys.mix(_TRAINING, np.arange(STARTS))[:, None], np.arange(n))
    tried = low + half * np.concatenate([np.ones((1, n)), drawn])
    values = mean_scores(core, tried.astype(space.dtype), limit)
    best, value = tried[int(values.argmax())], values.max()
    for step in STEPS:
        for _ in range(2):
            moves = step * np.concatenate([np.eye(n), -np.eye(n)])
            tried = np.clip(best + half * moves, low, low + 2 * half)
            values = mean_scores(core, tried.astype(space.dtype), limit)
            if values.max() <= value:
                break
            best, value = tried[int(values.argmax())], values.max()
    return np.asarray(best, space.dtype)


@lru_cache
def _found(id: str, kwargs: str, limit: int) -> Array:
    """Return the best constant of a registered environment, found once in each process."""
    made: Any = gym.spec(id)
    return best_constant(load(made.kwargs["core"])(**json.loads(kwargs)), limit)


class ConstantAction(BatchAgent):
    """Agent that always takes the constant action that is best on training tasks.

    Raises:
        ValueError: the rules of the environment cannot be given (`agents.base.rules`), or the seed is no integer from 0
            to 2**32 - 1.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        core, spec = rules(env), env.spec
        assert spec is not None
        limit = spec.max_episode_steps or LONGEST
        try:
            self.action = _found(spec.id, json.dumps(spec.kwargs, sort_keys=True), limit)
        except TypeError:  # arguments that are no JSON, such as a function
            self.action = best_constant(core, limit)

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return the same action for every environment."""
        return np.repeat(self.action[None], len(start), 0), memory


def constant(env: gym.Env[Any, Any], seed: int = 0) -> BatchAgent:
    """Return the agent that answers the best constant: weights (`preference.constant`) or any other action.

    Raises:
        ValueError: as the agents.
    """
    core: Any = rules(env)
    weights = isinstance(core, RewardInference) and not core.policy and not core.active
    return Constant(env, seed) if weights else ConstantAction(env, seed)
