"""Exact optimal values of one process under many rewards at once.

Learners need the values of thousands of weight vectors. Deterministic processes are solved by value iteration,
initialised with a lower bound: the value of the best cycle of length one or two. On every delivery board an optimal
policy ends in such a cycle, so that values are exact up to rounding once the sweeps have covered the longest path to
it. Rewards lie along the last axis, so that one lookup of next states serves all of them. Letters: S states, A
actions, d features, n weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from valuegym.agents.preference.comparisons import check_pairs
from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import Floats, Integers, TabularMDP
from valuegym.envs.preference.segments import Segment

__all__ = ["Condensed", "OptimalValues", "condense"]

BLOCK = 2**17  # states * actions * weights solved at once, so that the arrays fit in the processor's cache
SWEEPS = 256  # sweeps before falling back to policy iteration: paths or cycles are long
CHECKS = 4  # sweeps between two tests of convergence
_ROUNDING = 1e-13


class Condensed(NamedTuple):
    """A process with a single terminal state, and the new index (S,) of each state of the original process."""

    mdp: TabularMDP
    state: Integers

    def renumbered(self, pairs: Segment) -> Segment:
        """Return pairs (n, 2, ...) of the original process with the new indices.

        Raises:
            ValueError: the pairs are not valid (`comparisons.check_pairs`).
        """
        A, d = self.mdp.features.shape[2:]
        pairs = check_pairs(pairs, len(self.state), A, d)
        return pairs._replace(states=self.state[pairs.states])


def condense(mdp: TabularMDP) -> Condensed:
    """Merge all terminal states of one process, padding included, into one.

    A stochastic process is returned as it is.

    Raises:
        ValueError: there are several processes.
    """
    checks.reals("mdp.features", mdp.features, (1, None, None, None))
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
    """Optimal values V* of one process, called with weights (n, d): -> (S, n). The last result is cached.

    Raises:
        ValueError: there are several processes, or a feature is not finite.
    """

    def __init__(self, mdp: TabularMDP) -> None:
        checks.reals("mdp.features", mdp.features, (1, None, None, None))
        self.mdp = mdp
        S, A, d = mdp.features.shape[1:]
        self._features = np.ascontiguousarray(mdp.features[0].swapaxes(0, 1)).reshape(A * S, d)
        self._weights, self._values = np.empty((0, d)), np.empty((S, 0))
        self._cycles: list[tuple[int, int, Integers, Integers]] = []
        if mdp.next_state is not None and mdp.discount < 1:
            ahead = self._ahead = np.ascontiguousarray(mdp.next_state[0].T)
            for action in range(A):
                for return_action in range(A):
                    states = np.flatnonzero(ahead[return_action, ahead[action]] == np.arange(S))
                    self._cycles.append((action, return_action, states, ahead[action, states]))

    def __call__(self, weights: Floats) -> Floats:
        """Return V* (S, n), an array that cannot be written to.

        Raises:
            ValueError: the weights are not (n, d), or not finite.
        """
        if not np.array_equal(weights, self._weights):
            weights = checks.reals("weights", weights, (None, self._features.shape[1]))
            rows = max(BLOCK // len(self._features), 1)
            blocks = (weights[i : i + rows] for i in range(0, len(weights), rows))
            self._values = np.concatenate([np.empty((self._values.shape[0], 0)), *map(self._block, blocks)], 1)
            self._values.flags.writeable = False
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
        if not self._cycles:
            return self._iterate_policies(reward, None)
        discount, found = self.mdp.discount, np.empty(reward.shape[1:])
        values = np.broadcast_to(reward.min((0, 1)) / (1 - discount), found.shape).copy()
        for action, return_action, states, other in self._cycles:
            run = (reward[action, states] + discount * reward[return_action, other]) / (1 - discount**2)
            values[states] = np.maximum(values[states], run)
        active, workspace = np.arange(len(weights)), np.empty((3, found.size))
        for _ in range(0, SWEEPS, CHECKS):
            values, change = self._sweep(reward, values, workspace)
            done = change <= _ROUNDING * np.abs(values).max(0)
            if done.all():
                found[:, active] = values
                return found
            if 4 * done.sum() >= len(active):  # continue with the weights that have not converged
                found[:, active[done]] = values[:, done]
                active, values, reward = active[~done], values[:, ~done].copy(), reward[:, :, ~done].copy()
        action_values = reward + discount * values[self._ahead]
        found[:, active] = self._iterate_policies(reward, action_values.argmax(0))
        return found

    def _sweep(self, reward: Floats, values: Floats, workspace: Floats) -> tuple[Floats, Floats]:
        """Return values after CHECKS sweeps from values (S, n), and the largest change (n,) in the last one."""
        further, one, discounted = (place[: values.size].reshape(values.shape) for place in workspace)
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
