"""Returns by rolling a core forward: what policies earn from the starts of given tasks, step by step as in an episode.

The luck of an episode is a function of its key, so a policy can be judged under the very noise that an agent met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.envs import keys

Array = npt.NDArray[Any]

NAIVE = 64  # episodes of uniformly random actions over which the naive reference is a mean
_RANDOM = 0x6E61_6976_6500  # the step counter from which random actions are drawn, far from any episode's


class Rollable(Protocol):
    """What rolling forward needs of a core whose tasks hold the episode's key and its start."""

    action_space: Any
    discount: float
    horizon: int

    def start(self, task: Any) -> Any:
        """The state in which the episodes of these tasks begin."""

    def transition(self, task: Any, state: Any, action: Array, key: keys.Key, t: Array) -> Any:
        """As in `Core`."""

    def reward(self, task: Any, state: Any, action: Array, next_state: Any) -> Array:
        """As in `Core`; 0 in terminal states."""

    def terminal(self, task: Any, state: Any) -> Array:
        """As in `Core`."""

    def oracle_action(self, task: Any, state: Any) -> Array:
        """As in `Core`."""


def returns(core: Rollable, task: Any, policy: Callable[[Any, int], Array], steps: int | None = None) -> Array:
    """Discounted returns (B,) of a policy from the starts of tasks (B,).

    The policy maps (state, t) to actions (B, ...); steps are the core's horizon unless told.
    """
    state, total, weight = core.start(task), np.zeros(len(task.key)), 1.0
    for t in range(core.horizon if steps is None else steps):
        if core.terminal(task, state).all():
            break
        action = policy(state, t)
        after = core.transition(task, state, action, task.key, np.full(len(task.key), t))
        total += weight * core.reward(task, state, action, after)
        state, weight = after, weight * core.discount
    return total


def random_actions(core: Rollable, key: keys.Key, t: int) -> Array:
    """Uniform actions (B, ...) of a Box in step t of the episodes with these keys."""
    space = core.action_space
    n = int(np.prod(space.shape))
    draws = keys.uniform(key[:, None], _RANDOM + t, np.arange(n)).reshape(-1, *space.shape)
    return (space.low + draws * (space.high - space.low)).astype(space.dtype)


def references(core: Rollable, task: Any) -> tuple[Array, Array]:
    """Returns (B,) of the naive reference and of the oracle in the very episodes of these tasks (B,).

    The naive reference is the mean over NAIVE episodes of uniformly random actions.
    """
    best = returns(core, task, lambda state, t: core.oracle_action(task, state))
    many = type(task)(*(np.repeat(field, NAIVE, 0) for field in task))
    own = keys.mix(many.key, np.tile(np.arange(NAIVE), len(task.key)))
    naive = returns(core, many, lambda state, t: random_actions(core, own, t)).reshape(-1, NAIVE)
    return naive.sum(-1) / NAIVE, best
