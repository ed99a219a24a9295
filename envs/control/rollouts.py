"""Returns by rolling a core forward: what policies earn from the starts of given tasks, step by step as in an episode.

The luck of an episode is a function of its key, so a policy can be judged under the very noise that an agent met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.envs import keys
from valuegym.envs.functional import put_rows, take_rows

Array = npt.NDArray[Any]

NAIVE = 64  # episodes of uniformly random actions over which the naive reference is a mean
ROWS = 4_096  # that random actions are played for at a time: what a processor's caches hold
AHEAD = 16  # steps for which an oracle's actions are guessed
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


def foreseen_returns(core: Rollable, task: Any, guess: Callable[[Any, Any], Array]) -> Array:
    """Returns (B,) of an oracle that is slow, by a guess that is fast: the same bits as `returns`.

    The oracle is asked for AHEAD states at once, those to which its last action and then the guess lead. Up to where
    the two differ the steps are the oracle's own; from there guessing goes on. So it is asked a few times for many
    states, rather than many times for a few. The guess maps (task, state) to actions (B, ...).
    """
    state, total, weight = core.start(task), np.zeros(len(task.key)), np.ones(len(task.key))
    action, t = core.oracle_action(task, state), np.zeros(len(task.key), np.int64)
    row = np.flatnonzero(~core.terminal(task, state))
    while row.size:
        here = take_rows(task, row)
        states, actions, rewards = [take_rows(state, row)], [action[row]], []
        for i in range(AHEAD):
            states.append(core.transition(here, states[i], actions[i], here.key, t[row] + i))
            rewards.append(core.reward(here, states[i], actions[i], states[i + 1]))
            actions.append(guess(here, states[i + 1]))
        flat = type(state)(*(np.concatenate(fields) for fields in zip(*states[1:], strict=True)))
        asked = core.oracle_action(take_rows(here, np.tile(np.arange(len(row)), AHEAD)), flat)
        best = asked.reshape(AHEAD, *action[row].shape)
        other = (best != np.stack(actions[1:])).reshape(AHEAD, len(row), -1).any(-1)
        other[-1] = True  # the next guess begins there, if not before
        last = other.argmax(0)
        for i, reward in enumerate(rewards):
            played = (i <= last) & (t[row] < core.horizon)
            total[row] += np.where(played, weight[row] * reward, 0.0)
            weight[row] *= np.where(played, core.discount, 1.0)
            t[row] += played
        column = np.arange(len(row))
        action[row] = best[last, column]
        put_rows(state, row, type(state)(*(np.stack(part)[last + 1, column] for part in zip(*states, strict=True))))
        row = row[~core.terminal(here, take_rows(state, row)) & (t[row] < core.horizon)]
    return total


def references(core: Rollable, task: Any, guess: Callable[[Any, Any], Array] | None = None) -> tuple[Array, Array]:
    """Returns (B,) of the naive reference and of the oracle in the very episodes of these tasks (B,).

    The naive reference is the mean over NAIVE episodes of uniformly random actions. A guess at the oracle's actions
    makes a slow oracle faster (`foreseen_returns`).
    """
    if guess is None:
        best = returns(core, task, lambda state, t: core.oracle_action(task, state))
    else:
        best = foreseen_returns(core, task, guess)
    naive = np.zeros(len(best))
    for some in np.array_split(np.arange(len(best)), -(-len(best) * NAIVE // ROWS)):
        own = keys.mix(task.key[some, None], np.arange(NAIVE)).reshape(-1)
        many = take_rows(task, np.repeat(some, NAIVE))

        def at_random(state: Any, t: int, own: keys.Key = own) -> Array:
            return random_actions(core, own, t)

        played = returns(core, many, at_random)
        naive[some] = played.reshape(-1, NAIVE).sum(-1) / NAIVE
    return naive, best
