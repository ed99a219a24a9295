"""Differences between the segments of pairs, second minus first, as learners need them: for many weights at once.

A difference of partial returns is linear in the weights w, and a difference of regrets in w and V*_w. Letters: n pairs,
S states, A actions, d features, L steps, K candidate weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from valuegym.envs.mdp import Floats, TabularMDP
from valuegym.envs.preference.models import discounted_sum
from valuegym.envs.preference.segments import Segment

__all__ = ["Comparison", "partial_return", "regret", "sparse_visits", "visits"]

_ROUNDING = 1e-12


class Comparison(NamedTuple):
    """The difference x = features @ w + values @ V*_w of n pairs: features (n, d), values sparse (n, S) or None."""

    features: Floats
    values: Any = None

    def coefficients(self, psi: Floats) -> Floats:
        """Return D (K, n, d) with x = D @ w, where V*_w(s) = w . psi(s) with the successor features psi (K, S, d)."""
        K, S, d = psi.shape
        along: Floats = (self.values @ psi.swapaxes(0, 1).reshape(S, -1)).reshape(-1, K, d).swapaxes(0, 1)
        return self.features + along


def visits(pairs: Segment, S: int, A: int, discount: float) -> Floats:
    """Return discounted visits to states and actions, second minus first: pairs (n, 2, ...) -> (n, S * A).

    Steps after the end of an episode do not count. Times a table over states and actions this is the difference of
    its discounted sums.
    """
    return sparse_visits(pairs, S, A, discount).toarray()


def sparse_visits(pairs: Segment, S: int, A: int, discount: float) -> Any:
    """Return `visits` as a sparse matrix."""
    n, _, L = pairs.actions.shape
    visited = (pairs.states[..., :-1] * A + pairs.actions).reshape(-1)
    signed = np.multiply.outer((-1.0, 1.0), discount ** np.arange(L)) * pairs.mask
    return sparse.csr_matrix((signed.reshape(-1), (np.repeat(np.arange(n), 2 * L), visited)), (n, S * A))


def partial_return(pairs: Segment, discount: float) -> Comparison:
    """Return the differences of partial returns: discounted feature counts."""
    counts = discounted_sum(pairs.features.astype(float).swapaxes(-1, -2), discount)
    return Comparison(counts[:, 1] - counts[:, 0])


def regret(mdp: TabularMDP, pairs: Segment) -> Comparison:
    """Return the differences of minus the regrets, sums of A*(s, a) = w . phi(s, a) + discount * E[V*(s')] - V*(s).

    Where transitions are deterministic the values in between cancel, and those of start and end stay.
    """
    S, A, d = mdp.features.shape[1:]
    counts = sparse_visits(pairs, S, A, mdp.discount)
    if mdp.next_state is not None:
        rows = np.arange(S * A)
        ahead = sparse.csr_matrix((np.ones(S * A), (rows, mdp.next_state[0].reshape(-1))), (S * A, S))
    else:
        assert mdp.probability is not None
        ahead = sparse.csr_matrix(mdp.probability[0].reshape(S * A, S))
    here = sparse.csr_matrix((np.ones(S * A), (np.arange(S * A), np.repeat(np.arange(S), A))), (S * A, S))
    values = (counts @ (mdp.discount * ahead - here)).tocsr()
    values.data[np.abs(values.data) < _ROUNDING] = 0.0
    values.eliminate_zeros()
    return Comparison(counts @ mdp.features[0].reshape(S * A, d), values)
