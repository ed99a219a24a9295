"""Differences between the segments of pairs, second minus first, as learners need them: for many weights at once.

A difference of partial returns is linear in the weights w, and a difference of regrets in w and V*_w. Letters: n pairs,
S states, A actions, d features, L steps, K candidate weights.

Labels are those of `annotators.labels`: 0 where the first segment is preferred, 1 where the second, 0.5 where both are
alike, and in between the share of people who prefer the second. NaN, no answer, is left out by whoever fits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from valuegym.envs import checks
from valuegym.envs.mdp import Floats, TabularMDP
from valuegym.envs.preference.annotators import labels
from valuegym.envs.preference.models import discounted_sum
from valuegym.envs.preference.segments import Segment

__all__ = [
    "Comparison",
    "check_answer",
    "check_answers",
    "check_counts",
    "check_labels",
    "check_pairs",
    "partial_return",
    "regret",
    "sparse_visits",
    "visits",
]

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


def check_labels(label: Any, n: int | None = None) -> Floats:
    """Return labels (n,), a copy.

    Raises:
        ValueError: the shape is another one, or a label is NaN or outside [0, 1], as in codings by 1 and 2 or -1 and 1.
    """
    return checks.reals("label", label, (n,), 0, 1)


def check_counts(query_counts: Any, n: int | None = None) -> list[int]:
    """Return numbers of answers.

    Raises:
        ValueError: they are no integers that increase from at least 0 to at most n.
    """
    counts = checks.integers("query_counts", query_counts, (None,), 0, n).tolist()
    if counts != sorted(set(counts)):
        raise ValueError(f"query_counts is {counts}; expected integers that increase.")
    return counts


def check_answer(code: Any) -> float:
    """Return the label of an answer FIRST, SECOND, SAME or CANNOT_TELL: 0, 1, 0.5 or NaN.

    Raises:
        ValueError: it is none of these.
    """
    return float(labels(checks.integers("label", code, (), 0, 3)))


def check_pairs(pairs: Segment, S: int | None = None, A: int | None = None, d: int | None = None) -> Segment:
    """Return n pairs of segments: states (n, 2, L + 1), actions (n, 2, L), features (n, 2, L, d), mask (n, 2, L).

    Raises:
        ValueError: a shape is another one, a state or action is none of the S or A, a feature is not finite, or the
            mask holds anything but 0 and 1.
    """
    shape = np.shape(pairs.actions)
    n, L = (shape[0], shape[2]) if len(shape) == 3 else (None, None)
    last = (None if S is None else S - 1, None if A is None else A - 1)
    mask = np.asarray(pairs.mask)
    return Segment(
        checks.integers("states", pairs.states, (n, 2, None if L is None else L + 1), 0, last[0]),
        checks.integers("actions", pairs.actions, (n, 2, None), 0, last[1]),
        checks.reals("features", pairs.features, (n, 2, L, d)),
        checks.integers("mask", mask.astype(np.int8) if mask.dtype == np.bool_ else mask, (n, 2, L), 0, 1) > 0,
    )


def check_answers(pairs: Segment, label: Any, S: int, A: int, d: int | None = None) -> tuple[Segment, Floats]:
    """Return n pairs of segments and their labels.

    Raises:
        ValueError: either is not valid (`check_pairs`, `check_labels`).
    """
    pairs = check_pairs(pairs, S, A, d)
    return pairs, check_labels(label, len(pairs.actions))


def visits(pairs: Segment, S: int, A: int, discount: float) -> Floats:
    """Return discounted visits to states and actions, second minus first: pairs (n, 2, ...) -> (n, S * A).

    Steps after the end of an episode do not count. Times a table over states and actions this is the difference of
    its discounted sums.

    Raises:
        ValueError: the pairs are not valid (`check_pairs`), or the discount is outside (0, 1].
    """
    return sparse_visits(pairs, S, A, discount).toarray()


def sparse_visits(pairs: Segment, S: int, A: int, discount: float) -> Any:
    """Return `visits` as a sparse matrix.

    Raises:
        ValueError: the pairs are not valid (`check_pairs`), or the discount is outside (0, 1].
    """
    pairs, discount = check_pairs(pairs, S, A), checks.real("discount", discount, high=1, above=0)
    n, _, L = pairs.actions.shape
    visited = (pairs.states[..., :-1] * A + pairs.actions).reshape(-1)
    signed = np.multiply.outer((-1.0, 1.0), discount ** np.arange(L)) * pairs.mask
    return sparse.csr_matrix((signed.reshape(-1), (np.repeat(np.arange(n), 2 * L), visited)), (n, S * A))


def partial_return(pairs: Segment, discount: float) -> Comparison:
    """Return the differences of partial returns: discounted feature counts.

    Raises:
        ValueError: the pairs are not valid (`check_pairs`), or the discount is outside (0, 1].
    """
    pairs, discount = check_pairs(pairs), checks.real("discount", discount, high=1, above=0)
    counts = discounted_sum(pairs.features.swapaxes(-1, -2), discount)
    return Comparison(counts[:, 1] - counts[:, 0])


def regret(mdp: TabularMDP, pairs: Segment) -> Comparison:
    """Return the differences of minus the regrets, sums of A*(s, a) = w . phi(s, a) + discount * E[V*(s')] - V*(s).

    Where transitions are deterministic the values in between cancel, and those of start and end stay.

    Raises:
        ValueError: the pairs are not valid (`check_pairs`).
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
