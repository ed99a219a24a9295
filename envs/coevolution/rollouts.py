"""Playing a whole episode of a core from its task alone, for the references of scores and for reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Policy = Callable[[Any, Any], Array]  # of task and state, which see everything


class Rollout(NamedTuple):
    """States at steps 0 .. T, actions of the T steps, and the sum of rewards (B,)."""

    states: list[Any]
    actions: list[Array]
    returns: Array


def play(core: Any, task: Any, policy: Policy, start: Any = None, keep: bool = True) -> Rollout:
    """Play `core.steps` steps of the episodes of a task, from the state `start`, by default the task's own.

    Without `keep` only the last state and action are there.
    """
    states: list[Any] = [core.start(task) if start is None else start]
    actions: list[Array] = []
    returns = np.zeros(len(task.key))
    for t in range(core.steps):
        action = policy(task, states[-1]).astype(core.action_space.dtype)
        after = core.transition(task, states[-1], action, task.key, np.full(len(task.key), t))
        returns += core.reward(task, states[-1], action, after)
        if not keep:
            del states[:], actions[:]
        actions.append(action)
        states.append(after)
    return Rollout(states, actions, returns)


def replayed(actions: Array) -> Policy:
    """The policy that repeats recorded actions (B, T, A)."""
    return lambda task, state: actions[np.arange(len(actions)), np.minimum(state.t, actions.shape[1] - 1)]
