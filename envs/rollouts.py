"""Roll cores forward from given tasks, step by step as in an episode: for references, metrics and replays.

The random draws of an episode are a function of its key, so that any policy can be judged under the very noise that an
agent met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys
from valuegym.envs.functional import put_rows, take_rows

__all__ = [
    "Policy",
    "Rollable",
    "Rollout",
    "Timed",
    "play",
    "random_actions",
    "references",
    "replayed",
    "returns",
    "speculative_returns",
]

Array = npt.NDArray[Any]
Policy = Callable[[Any, Any], Array]  # (task, state), with nothing hidden, to actions (B, ...)

NAIVE = 64  # episodes of uniformly random actions over which the naive reference is a mean
ROWS = 4_096  # episodes of random actions at a time: as many as a processor's caches hold
AHEAD = 16  # steps of a draft policy that one call of the oracle checks
_RANDOM = 0x6E61_6976_6500  # the step counter from which random actions are drawn, far from any episode's


class Rollable(Protocol):
    """Requirements on a core: its tasks hold the key and the start of the episode."""

    action_space: Any
    discount: float

    def start(self, task: Any) -> Any:
        """Return the state in which the episodes of these tasks begin."""

    def transition(self, task: Any, state: Any, action: Array, key: keys.Key, t: Array) -> Any:
        """Return the next state, as `Core` does."""

    def reward(self, task: Any, state: Any, action: Array, next_state: Any) -> Array:
        """Return rewards (B,), 0 in terminal states."""

    def terminal(self, task: Any, state: Any) -> Array:
        """Tell which episodes are over (B,)."""

    def oracle_action(self, task: Any, state: Any) -> Array:
        """Return the reference's actions (B, ...)."""


class Timed(Rollable, Protocol):
    """A core whose registered environment truncates after `horizon` steps."""

    horizon: int


class Rollout(NamedTuple):
    """States at steps 0 .. T, actions of the T steps, and discounted returns (B,)."""

    states: list[Any]
    actions: list[Array]
    returns: Array


def _steps(
    core: Rollable, task: Any, state: Any, policy: Callable[[Any, int], Array], steps: int
) -> Iterator[tuple[Array, Any, Array]]:
    """Yield actions, next states and discounted rewards, until all episodes are over or `steps` have passed."""
    weight = 1.0
    for t in range(steps):
        if core.terminal(task, state).all():
            return
        action = policy(state, t).astype(core.action_space.dtype, copy=False)
        after = core.transition(task, state, action, task.key, np.full(len(task.key), t))
        yield action, after, weight * core.reward(task, state, action, after)
        state, weight = after, weight * core.discount


def play(core: Any, task: Any, policy: Policy, start: Any = None, keep: bool = True) -> Rollout:
    """Play the whole episodes, of `core.steps` steps, of tasks (B,).

    Args:
        core: a core whose episodes end after `core.steps` steps.
        task: tasks (B,).
        policy: maps (task, state) to actions (B, ...).
        start: the first states, by default those of the tasks.
        keep: whether to return every state and action, or the last ones only.
    """
    states: list[Any] = [core.start(task) if start is None else start]
    actions: list[Array] = []
    total = np.zeros(len(task.key))
    for action, after, reward in _steps(core, task, states[0], lambda state, _: policy(task, state), core.steps):
        total += reward
        if not keep:
            del states[:], actions[:]
        actions.append(action)
        states.append(after)
    return Rollout(states, actions, total)


def replayed(actions: Array) -> Policy:
    """Return the policy that repeats recorded actions (B, T, A).

    Raises:
        ValueError: an action is not finite.
    """
    checks.reals("actions", actions)
    return lambda task, state: actions[np.arange(len(actions)), np.minimum(state.t, actions.shape[1] - 1)]


def returns(core: Timed, task: Any, policy: Callable[[Any, int], Array], steps: int | None = None) -> Array:
    """Discounted returns (B,) of a policy from the starts of tasks (B,).

    The policy maps (state, t) to actions (B, ...); `steps` is the core's horizon by default.

    Raises:
        ValueError: `steps` is no integer of at least 0.
    """
    steps = core.horizon if steps is None else checks.integer("steps", steps, 0)
    total = np.zeros(len(task.key))
    for _, _, reward in _steps(core, task, core.start(task), policy, steps):
        total += reward
    return total


def random_actions(core: Rollable, key: keys.Key, t: int) -> Array:
    """Return uniform actions (B, ...) of a Box in step t of the episodes with these keys.

    Raises:
        ValueError: the Box is unbounded.
    """
    space = core.action_space
    if not space.is_bounded():
        raise checks.refusal("action_space", space, "a Box with bounds")
    n = int(np.prod(space.shape))
    draws = keys.uniform(key[:, None], _RANDOM + t, np.arange(n)).reshape(-1, *space.shape)
    return (space.low + draws * (space.high - space.low)).astype(space.dtype)


def speculative_returns(core: Timed, task: Any, draft: Policy) -> Array:
    """Discounted returns (B,) of a slow oracle with the help of a fast draft policy: the bits of `returns`.

    The oracle evaluates AHEAD states in one call: those to which its last action and then the draft policy lead. Up to
    the first action on which the two differ the steps are the oracle's own; drafting continues from there. So the
    oracle is called a few times for many states, rather than many times for a few.
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
            actions.append(draft(here, states[i + 1]))
        flat = type(state)(*(np.concatenate(fields) for fields in zip(*states[1:], strict=True)))
        checked = core.oracle_action(take_rows(here, np.tile(np.arange(len(row)), AHEAD)), flat)
        best = checked.reshape(AHEAD, *action[row].shape)
        differs = (best != np.stack(actions[1:])).reshape(AHEAD, len(row), -1).any(-1)
        differs[-1] = True  # the next draft begins there, if not before
        last = differs.argmax(0)
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


def references(core: Timed, task: Any, draft: Policy | None = None) -> tuple[Array, Array]:
    """Episode returns (B,) of the naive reference and of the oracle in the very episodes of these tasks (B,).

    The naive reference is the mean over NAIVE episodes of uniformly random actions. A draft policy makes a slow oracle
    faster (`speculative_returns`).
    """
    if draft is None:
        best = returns(core, task, lambda state, t: core.oracle_action(task, state))
    else:
        best = speculative_returns(core, task, draft)
    naive = np.zeros(len(best))
    for some in np.array_split(np.arange(len(best)), -(-len(best) * NAIVE // ROWS)):
        own = keys.mix(keys.folded(task.key[some, None]), np.arange(NAIVE)).reshape(-1)  # no agent sees these draws
        many = take_rows(task, np.repeat(some, NAIVE))

        def at_random(state: Any, t: int, own: keys.Key = own) -> Array:
            return random_actions(core, own, t)

        played = returns(core, many, at_random)
        naive[some] = played.reshape(-1, NAIVE).sum(-1) / NAIVE
    return naive, best
