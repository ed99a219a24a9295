"""Ranks: paired tests of who is ahead of whom, and intervals of ranks, as pure functions of arrays.

Agents meet the same units, tasks or seeds, so their scores are compared in pairs. Whether two intervals overlap says
nothing reliable about a difference, and "overlaps" is not transitive, so no rank is ever shared for that: every agent
has an interval of ranks, built from tests of all ordered pairs.

Shapes: A agents, U units (paired over agents by their position).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from valuegym.envs import checks
from valuegym.leaderboards.stats.bootstrap import MOST, check_rng

__all__ = ["Ranks", "holm", "rank_intervals", "sign_flip", "units_needed"]

BLOCK = 2**21  # sums under flipped signs held in memory at once
EXACT = 12  # units up to which all 2^U signs are tried


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's adjusted p-values, in the order given: rejecting up to alpha bounds any error's chance by alpha.

    p_(i) -> max over j <= i of min(1, (m - j + 1) p_(j)) for the sorted p_(1) <= ... <= p_(m).

    Raises:
        ValueError: for a number outside of 0 to 1.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    values = checks.reals("p", p, low=0.0, high=1.0)
    order = np.argsort(values, axis=None, kind="stable")
    sorted_p = values.ravel()[order]
    adjusted = np.empty_like(sorted_p)
    adjusted[order] = np.minimum(np.maximum.accumulate((len(order) - np.arange(len(order))) * sorted_p), 1.0)
    return adjusted.reshape(values.shape)


def sign_flip(scores: ArrayLike, rng: np.random.Generator, repeats: int = 1999) -> NDArray[np.float64]:
    """One-sided p-values (A, A) of "agent i is not better than agent j", by flipping the signs of paired differences.

    With d_u = score(i, u) - score(j, u), p is the share of sign vectors s in {-1, 1}^U with sum_u s_u d_u >= sum_u d_u.
    Where i and j are equally good, and each difference as likely to be d_u as -d_u, every s is as likely, so that
    P(p <= alpha) <= alpha whatever the differences are, also near a ceiling where most are 0. Up to 12 units all 2^U
    vectors are tried; else (1 + #{...}) / (1 + repeats) of as many drawn ones. No p-value is below 2^-U. The diagonal
    is 1.

    Args:
        scores: (A, U), of all agents on the same units in the same order.
        rng: the only source of randomness, not used up to 12 units.
        repeats: number of sign vectors that are drawn.

    Raises:
        ValueError: for another number of axes, no scores, values that are not finite, or impossible repeats.

    Source: Fisher (1935), The Design of Experiments, section 21; Phipson and Smyth (2010), "Permutation p-values
    should never be zero".
    """
    values = _scores(scores)
    checks.integer("repeats", repeats, 1, MOST)
    check_rng(rng)
    agents, units = values.shape
    first, second = np.triu_indices(agents, 1)
    d = values[first] - values[second]  # (pairs, U)
    observed, rounding = d.sum(1), 1e-12 * np.abs(d).sum(1)
    exact = units <= EXACT
    total = 2**units if exact else repeats
    above, below = np.zeros(len(d)), np.zeros(len(d))
    step = max(1, BLOCK // max(len(d), units))
    for start in range(0, total, step):
        rows = min(step, total - start)
        if exact:
            bits = (np.arange(start, start + rows)[:, None] >> np.arange(units)) & 1
        else:
            bits = rng.integers(2, size=(rows, units))
        sums = (1.0 - 2.0 * bits) @ d.T
        above += (sums >= observed - rounding).sum(0)
        below += (sums <= observed + rounding).sum(0)
    p = np.ones((agents, agents))
    own = 0 if exact else 1  # of drawn vectors the observed one is another
    p[first, second], p[second, first] = (own + above) / (own + total), (own + below) / (own + total)
    return p


def units_needed(agents: int, confidence: float = 0.95) -> int:
    """Return the least number of units at which `rank_intervals` can find any agent better than another.

    The smallest U with A (A - 1) 2^-U <= 1 - confidence.

    Raises:
        ValueError: for no agents, or an impossible confidence.
    """
    checks.integer("agents", agents, 1)
    checks.real("confidence", confidence, above=0.0, below=1.0)
    return int(np.ceil(np.log2(max(agents * (agents - 1), 1) / (1 - confidence)) - 1e-9))


def _scores(scores: ArrayLike) -> NDArray[np.float64]:
    values = checks.floats("scores", scores)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"scores has shape {values.shape}, expected finite numbers of shape (agents, units).")
    return values


class Ranks(NamedTuple):
    """Intervals of ranks.

    Attributes:
        low: (A,) int64, best rank that the tests leave to each agent, 1 is best.
        high: (A,) int64, worst rank that they leave.
        better: (A, A) bool, whether agent i was found better than agent j.
        p: (A, A), Holm's adjusted one-sided p-values.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    better: NDArray[np.bool_]
    p: NDArray[np.float64]


def rank_intervals(
    scores: ArrayLike, rng: np.random.Generator, confidence: float = 0.95, repeats: int | None = None
) -> Ranks:
    """Intervals that hold the true ranks of all agents at once, with at least the stated confidence.

    All A (A - 1) statements "i is not better than j" are tested by `sign_flip` and Holm's correction. Agent j's rank is
    at least 1 + the number found better than it, and at most A - the number found worse.

    Args:
        scores: (A, U), of all agents on the same units in the same order.
        rng: the only source of randomness.
        confidence: of all intervals together, in (0, 1).
        repeats: of the test; None for 1,999 or as many as the correction needs to find anything.

    Raises:
        ValueError: as `sign_flip`, and for an impossible confidence.

    Source: Mogstad, Romano, Shaikh and Wilhelm (2024), "Inference for ranks with applications to mobility across
    neighbourhoods and academic achievement across countries", Review of Economic Studies 91(1).
    """
    checks.real("confidence", confidence, above=0.0, below=1.0)
    agents = len(_scores(scores))
    needed = int(np.ceil(4 * agents * (agents - 1) / (1 - confidence)))
    p = sign_flip(scores, rng, max(1999, needed) if repeats is None else repeats)
    pairs = ~np.eye(agents, dtype=np.bool_)
    adjusted: NDArray[Any] = np.ones_like(p)
    adjusted[pairs] = holm(p[pairs])
    better = adjusted <= 1 - confidence
    return Ranks(1 + better.sum(0), agents - better.sum(1), better, adjusted)
