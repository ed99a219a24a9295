"""Optimal values of one process under many rewards at once, exact.

The learners ask for thousands of them. In deterministic processes they come by value iteration from below: it starts
where the best loop of at most two steps is run for ever, which is worth it on every board, so that what remains is the
way there, and the values are exact to rounding once the longest way has been walked. Rewards lie along the last axis,
where one indexing of states serves them all. Letters: S states, A actions, d features, n weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import Floats, Integers, TabularMDP

__all__ = ["Condensed", "OptimalValues", "condense"]

BLOCK = 2**17  # numbers solved together, states times actions times weights: they stay in the cache
SWEEPS = 256  # before policy iteration takes over, where ways are long or loops are
CHECKS = 4  # sweeps from one look at convergence to the next
_ROUNDING = 1e-13


class Condensed(NamedTuple):
    """A process whose terminal states are one, and the state (S,) that each of the old ones has become."""

    mdp: TabularMDP
    state: Integers


def condense(mdp: TabularMDP) -> Condensed:
    """Merge all terminal states of one process: nothing happens there, and boards have padding.

    A stochastic process stays as it is.
    """
    if mdp.next_state is None:
        return Condensed(mdp, np.arange(mdp.terminal.shape[1]))
    kept = np.flatnonzero(~mdp.terminal[0])
    state = np.full(mdp.terminal.shape[1], len(kept))
    state[kept] = np.arange(len(kept))
    rows = np.append(kept, np.flatnonzero(mdp.terminal[0])[:1])
    start = np.bincount(state, mdp.start[0], len(rows))[None].astype(np.float64)
    ahead = state[mdp.next_state[:, rows]]
    return Condensed(
        TabularMDP(mdp.features[:, rows], mdp.terminal[:, rows], start, mdp.discount, next_state=ahead), state
    )


class OptimalValues:
    """Optimal values V* of one process, called with weights (n, d): -> (S, n). The last answer is remembered."""

    def __init__(self, mdp: TabularMDP) -> None:
        self.mdp = mdp
        S, A, d = mdp.features.shape[1:]
        self._features = np.ascontiguousarray(mdp.features[0].swapaxes(0, 1)).reshape(A * S, d)
        self._weights, self._values = np.empty((0, d)), np.empty((S, 0))
        self._loops: list[tuple[int, int, Integers, Integers]] = []
        if mdp.next_state is not None and mdp.discount < 1:
            ahead = self._ahead = np.ascontiguousarray(mdp.next_state[0].T)
            for there in range(A):
                for back in range(A):
                    states = np.flatnonzero(ahead[back, ahead[there]] == np.arange(S))
                    self._loops.append((there, back, states, ahead[there, states]))

    def __call__(self, weights: Floats) -> Floats:
        """Return V* (S, n)."""
        if weights is not self._weights:
            rows = max(BLOCK // len(self._features), 1)
            blocks = (weights[i : i + rows] for i in range(0, len(weights), rows))
            self._values = np.concatenate([self._block(block) for block in blocks], 1)
            self._weights = weights
        return self._values

    def advantages(self, weights: Floats) -> Floats:
        """Return A* (S, A, n)."""
        S, A, _ = self.mdp.features.shape[1:]
        values = self(weights)
        ahead = tabular.expected_next(self.mdp, values.T[:, None])[:, 0].transpose(1, 2, 0)
        reward = (self._features @ weights.T).reshape(A, S, -1).swapaxes(0, 1)
        return reward + self.mdp.discount * ahead - values[:, None]

    def policies(self, weights: Floats) -> Integers:
        """Return optimal actions (n, S)."""
        return np.ascontiguousarray(self.advantages(weights).argmax(1).T)

    def _block(self, weights: Floats) -> Floats:
        reward = (self._features @ weights.T).reshape(self.mdp.features.shape[2], -1, len(weights))  # (A, S, n)
        if not self._loops:
            return self._iterate_policies(reward, None)
        discount, found = self.mdp.discount, np.empty(reward.shape[1:])
        values = np.broadcast_to(reward.min((0, 1)) / (1 - discount), found.shape).copy()
        for there, back, states, other in self._loops:
            run = (reward[there, states] + discount * reward[back, other]) / (1 - discount**2)
            values[states] = np.maximum(values[states], run)
        live, room = np.arange(len(weights)), np.empty((3, found.size))
        for _ in range(0, SWEEPS, CHECKS):
            values, change = self._sweep(reward, values, room)
            done = change <= _ROUNDING * np.abs(values).max(0)
            if done.all():
                found[:, live] = values
                return found
            if 4 * done.sum() >= len(live):  # what takes longer goes on alone
                found[:, live[done]] = values[:, done]
                live, values, reward = live[~done], values[:, ~done].copy(), reward[:, :, ~done].copy()
        action_values = reward + discount * values[self._ahead]
        found[:, live] = self._iterate_policies(reward, action_values.argmax(0))
        return found

    def _sweep(self, reward: Floats, values: Floats, room: Floats) -> tuple[Floats, Floats]:
        """Return values after CHECKS sweeps from values (S, n), and the largest change (n,) in the last one."""
        further, one, discounted = (place[: values.size].reshape(values.shape) for place in room)
        for _ in range(CHECKS):
            np.multiply(values, self.mdp.discount, out=discounted)
            for a, (earned, ahead) in enumerate(zip(reward, self._ahead, strict=True)):
                np.take(discounted, ahead, 0, out=one if a else further, mode="clip")
                if a:
                    np.add(one, earned, out=one)
                    np.maximum(further, one, out=further)
                else:
                    np.add(further, earned, out=further)
            values, further = further, values
        np.subtract(values, further, out=one)
        return values.copy(), np.abs(one, out=one).max(0)

    def _iterate_policies(self, reward: Floats, first: Integers | None) -> Floats:
        start = None if first is None else np.ascontiguousarray(first.T)[:, None]
        return tabular.optimal_actions(self.mdp, np.ascontiguousarray(reward.T)[:, None], start)[1][:, 0].T
