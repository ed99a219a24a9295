"""Plans from known starts in deterministic tasks: batched pure functions that references are computed by.

Only additions, multiplications and divisions of arrays, so that a plan is the same on every processor, as transitions
are (`elementary`).

Shapes: B episodes, T steps, n numbers of a state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["REFERENCES", "Expansion", "Plan", "Plans", "beam_search", "improve"]

Floats = npt.NDArray[np.float64]
REFERENCES = ("controller", "plan")  # of the tasks that have both
KEPT = 4096  # plans
STEPS = (1.0, 0.5, 0.25, 0.1, 0.03)  # of the line search
DAMPING = (1e-3, 1e8)  # least and most that is taken off the curvature of actions
FLAT = 1e-9  # least curvature of actions


class Expansion(NamedTuple):
    """Expansion of a step about states (B, T, n) and actions (B, T).

    Attributes:
        f_x, f_u: (B, T, n, n), (B, T, n), derivatives of the next state.
        r_x, r_u: (B, T, n), (B, T), derivatives of the reward.
        r_xx, r_xu, r_uu: (B, T, n, n), (B, T, n), (B, T), its second derivatives.
    """

    f_x: Floats
    f_u: Floats
    r_x: Floats
    r_u: Floats
    r_xx: Floats
    r_xu: Floats
    r_uu: Floats


class Plan(NamedTuple):
    """A plan of one episode: states (T + 1, n) that its actions (T,) of single precision lead through."""

    states: Floats
    actions: npt.NDArray[np.float32]


class Plans:
    """Plans from starts, each made once and then looked up; the latest are kept.

    Args:
        make: starts (B, n) to their plans.
    """

    def __init__(self, make: Callable[[Floats], list[Plan]]) -> None:
        self._make, self._kept = make, dict[bytes, Plan]()

    def of(self, starts: Floats) -> list[Plan]:
        """Return the plan of each start (B, n)."""
        names = [start.tobytes() for start in starts]
        new = {name: row for row, name in enumerate(names) if name not in self._kept}
        if new:
            rows = list(new.values())
            self._kept |= dict(zip(new, self._make(starts[rows]), strict=True))
        found = [self._kept[name] for name in names]
        while len(self._kept) > max(KEPT, len(found)):
            del self._kept[next(iter(self._kept))]
        return found

    def actions(self, starts: Floats, states: Floats, otherwise: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the plan's action (B,) where a state (B, n) is on the plan of its start, else another one (B,)."""
        chosen = otherwise.copy()
        for row, plan in enumerate(self.of(starts)):
            on = np.flatnonzero((plan.states[:-1] == states[row]).all(1))
            if on.size:
                chosen[row] = plan.actions[on[0]]
        return chosen


def improve(
    states: Floats,
    actions: Floats,
    step: Callable[[Floats, Floats], tuple[Floats, Floats]],
    expand: Callable[[Floats, Floats], Expansion],
    discount: float,
    iterations: int,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Improve plans (B, T) of one bounded action by differential dynamic programming, to a local optimum.

    Backwards, with V' the value after the step, Q_u = r_u + g f_u . V'_x, Q_uu = r_uu + g f_u . V'_xx f_u and
    Q_ux = r_xu + g f_x^T V'_xx f_u (g the discount; second derivatives of the dynamics are left out), the action moves
    by k = -Q_u / Q_uu within [-1, 1] and by K = -Q_ux / Q_uu for each unit of the state, 0 at a bound; where Q_uu is
    not negative enough, damping makes it so. A plan only changes where its return rises.

    Args:
        states: (B, T + 1, n) of the plans.
        actions: (B, T) in [-1, 1].
        step: (states (N, n), actions (N,)) to next states (N, n) and rewards (N,).
        expand: (states (B, T, n), actions (B, T)) to their expansion.
        discount: of rewards.
        iterations: of backward and forward passes.

    Returns:
        states, actions, discounted returns (B,) of the improved plans, and gains (B, T, n) of actions for each unit
        that the state is off the plan, which keep an unstable state on it.

    Source: Jacobson and Mayne (1970), Differential Dynamic Programming; Tassa, Mansard and Todorov (2014),
    "Control-limited differential dynamic programming".
    """
    states, actions, T = states.copy(), actions.copy(), actions.shape[1]
    weights = np.cumprod(np.append(1.0, np.full(T - 1, discount)))
    value = _rolled(states[:, 0], lambda t, s: actions[:, t], step, weights)[2]
    damping = np.ones(len(states))
    for _ in range(iterations):
        k, K = _backward(expand(states[:, :-1], actions), actions, discount, damping)
        many = len(STEPS)
        size = np.repeat(np.array(STEPS), len(states))

        def policy(t: int, s: Floats, k: Floats = k, K: Floats = K, size: Floats = size, many: int = many) -> Floats:
            off = s - np.tile(states[:, t], (many, 1))
            moved = np.tile(actions[:, t], many) + size * np.tile(k[:, t], many)
            return np.clip(moved + (np.tile(K[:, t], (many, 1)) * off).sum(-1), -1, 1)

        tried = _rolled(np.tile(states[:, 0], (many, 1)), policy, step, weights)
        found = tried[2].reshape(many, -1)
        best = found.argmax(0)
        row = np.flatnonzero(found.max(0) > value + 1e-12)
        chosen = best[row] * len(states) + row
        states[row], actions[row], value[row] = tried[0][chosen], tried[1][chosen], tried[2][chosen]
        better = np.isin(np.arange(len(states)), row)
        damping = np.clip(np.where(better, damping / 3, damping * 10), *DAMPING)
    gains = _backward(expand(states[:, :-1], actions), actions, discount, np.full(len(states), DAMPING[0]))[1]
    return states, actions, value, gains


def _rolled(
    start: Floats,
    policy: Callable[[int, Floats], Floats],
    step: Callable[[Floats, Floats], tuple[Floats, Floats]],
    weights: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Return states (B, T + 1, n), actions (B, T) and returns (B,) of a policy of time and state."""
    T = len(weights)
    states, actions = np.empty((len(start), T + 1, start.shape[1])), np.empty((len(start), T))
    states[:, 0], total = start, np.zeros(len(start))
    for t in range(T):
        actions[:, t] = policy(t, states[:, t])
        states[:, t + 1], reward = step(states[:, t], actions[:, t])
        total += weights[t] * reward
    return states, actions, total


def _backward(e: Expansion, actions: Floats, discount: float, damping: Floats) -> tuple[Floats, Floats]:
    """Return moves k (B, T) and gains K (B, T, n) of actions."""
    B, T, n = e.f_u.shape
    k, K = np.zeros((B, T)), np.zeros((B, T, n))
    v_x, v_xx = np.zeros((B, n)), np.zeros((B, n, n))
    for t in range(T - 1, -1, -1):
        f_x, f_u = e.f_x[:, t], e.f_u[:, t]
        across = discount * (v_xx[:, :, :, None] * f_x[:, None]).sum(2)  # V'_xx f_x
        along = discount * (v_xx * f_u[:, None]).sum(2)  # V'_xx f_u
        q_x = e.r_x[:, t] + discount * (f_x * v_x[:, :, None]).sum(1)
        q_u = e.r_u[:, t] + discount * (f_u * v_x).sum(1)
        q_xx = e.r_xx[:, t] + (f_x[:, :, :, None] * across[:, :, None]).sum(1)
        q_xu = e.r_xu[:, t] + (f_x * along[:, :, None]).sum(1)
        q_uu = e.r_uu[:, t] + (f_u * along).sum(1)
        curvature = np.minimum(q_uu - damping, -FLAT)
        move = -q_u / curvature
        low, high = -1 - actions[:, t], 1 - actions[:, t]
        free = (move > low) & (move < high)
        k[:, t] = np.minimum(np.maximum(move, low), high)
        K[:, t] = np.where(free[:, None], -q_xu / curvature[:, None], 0.0)
        v_x = q_x + K[:, t] * (q_uu * k[:, t] + q_u)[:, None] + q_xu * k[:, t, None]
        v_xx = q_xx + q_uu[:, None, None] * K[:, t, :, None] * K[:, t, None]
        v_xx += K[:, t, :, None] * q_xu[:, None] + q_xu[:, :, None] * K[:, t, None]
    return k, K


def beam_search(
    start: Floats,
    step: Callable[[Floats, Floats], Floats],
    done: Callable[[Floats], npt.NDArray[np.bool_]],
    worth: Callable[[Floats], Floats],
    cell: Floats,
    choices: tuple[float, ...],
    width: int,
    longest: int,
) -> Floats | None:
    """Return the shortest sequence of actions (T,) found from a start (n,) to a state that is done; None for none.

    At every depth all choices are tried in the states that are kept; of those that fall into one cell the most
    promising is kept, and of all cells the `width` most promising.

    Args:
        start: (n,).
        step: (states (N, n), actions (N,)) to next states.
        done: which states (N, n) are the goal.
        worth: how promising states (N, n) are.
        cell: (n,) sizes of cells.
        choices: of actions.
        width: of the beam.
        longest: number of steps after which nothing is searched.
    """
    states = start[None]
    parents: list[npt.NDArray[np.int64]] = []
    taken: list[Floats] = []
    for _ in range(longest):
        action = np.repeat(np.array(choices), len(states))
        after = step(np.tile(states, (len(choices), 1)), action)
        before = np.tile(np.arange(len(states)), len(choices))
        if (reached := done(after)).any():
            last = int(np.flatnonzero(reached)[0])
            sequence, place = [action[last]], int(before[last])
            for back, own in zip(parents[::-1], taken[::-1], strict=True):
                sequence.append(own[place])
                place = int(back[place])
            return np.array(sequence[::-1])
        order = np.argsort(-worth(after), kind="stable")
        cells: Any = np.floor(after[order] / cell).astype(np.int64)
        _, first = np.unique(cells, axis=0, return_index=True)
        kept = order[np.sort(first)[:width]]
        states = after[kept]
        parents.append(before[kept])
        taken.append(action[kept])
    return None
