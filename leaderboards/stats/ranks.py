"""Ranks: paired tests of who is ahead of whom, and intervals of ranks, as pure functions of arrays.

Agents play the same seeds, so their runs are compared in pairs. Whether two intervals overlap says nothing reliable
about a difference, and "overlaps" is not transitive, so no rank is ever shared for that: every agent has an interval
of ranks, built from tests of all ordered pairs.

Shapes: A agents, R runs (paired over agents by their position), E whatever belongs to a run (episodes).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from valuegym.envs import checks
from valuegym.leaderboards.stats.bootstrap import (
    MOST,
    Statistic,
    check_rng,
    interquartile_mean,
    resampled_interquartile_means,
)

__all__ = ["Ranks", "holm", "paired_bootstrap", "rank_intervals"]

BLOCK = 2**21  # resampled values held in memory at once


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


def paired_bootstrap(
    scores: ArrayLike,
    rng: np.random.Generator,
    statistic: Statistic = interquartile_mean,
    repeats: int = 1999,
) -> NDArray[np.float64]:
    """One-sided p-values (A, A) of "agent i is not better than agent j", from runs resampled for all agents at once.

    With D = statistic(i) - statistic(j), its jackknife standard error s over runs, and D*, s* the same of runs drawn
    with replacement, p = (1 + #{(D* - D) / s* >= D / s}) / (1 + repeats). Studentised, because percentiles of a handful
    of runs reject far too often. Where all runs differ by the same amount there is no variation to resample, and
    the sign test's 2^-R is what is left. With one run p = 1. The diagonal is 1.

    Args:
        scores: (A, R, ...), the runs of all agents on the same seeds in the same order. For interquartile means some of
            a run's scores, but not all, may be NaN: they are left out.
        rng: the only source of randomness.
        statistic: called with (..., R, ...) and an `axis` tuple.
        repeats: number of resamples; no p-value is below 1 / (1 + repeats).

    Raises:
        ValueError: for fewer than two axes, no scores, values that are not finite, or impossible repeats.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, sections 11.2 and 12.5.
    """
    values = checks.floats("scores", scores)
    short = statistic is interquartile_mean
    missing = np.isnan(values)
    if values.ndim < 2 or not values.size or np.isinf(values).any() or not (short or not missing.any()):
        raise ValueError(f"scores has shape {values.shape}, expected finite numbers of shape (agents, runs, ...).")
    if missing.reshape(*values.shape[:2], -1).all(-1).any():
        raise ValueError("scores has a run without any number, expected finite numbers; leave it out for all agents.")
    checks.integer("repeats", repeats, 1, MOST)
    check_rng(rng)
    agents, runs = values.shape[:2]
    if runs == 1:
        return np.ones((agents, agents))
    values = values.reshape(agents, runs, -1)
    resample = _interquartile_means if short else partial(_any_statistic, statistic=statistic)
    point, error, _ = _differences(*resample(values, np.arange(runs)[None]))  # (A, A, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.nan_to_num(point / error, nan=0.0, posinf=np.inf, neginf=-np.inf)
    chosen = rng.integers(runs, size=(repeats, runs))
    step = max(1, BLOCK // (agents * (agents if short else max(agents, values[0].size)) * runs))
    hits = np.zeros((agents, agents))
    for start in range(0, repeats, step):
        again, deviation, rounding = _differences(*resample(values, chosen[start : start + step]))
        # (D* - D) / s* >= t without the division: where s* = 0 a resample counts only if it moved up at all. What is
        # equal but for rounding counts as reached.
        bound = np.where(deviation > 0, np.where(deviation > 0, observed, 0.0) * deviation, 0.0)
        hits += (again - point >= bound - rounding).sum(-1)
    p = (1 + hits) / (1 + repeats)
    flat = error[..., 0] == 0
    p[flat] = np.where(point[..., 0] > 0, max(0.5**runs, 1 / (1 + repeats)), 1.0)[flat]
    np.fill_diagonal(p, 1.0)
    return p


def _interquartile_means(
    values: NDArray[np.float64], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what `_any_statistic` does for the interquartile mean, from how often each run is drawn alone."""
    (B, runs), agents = chosen.shape, len(values)
    counts = (chosen[..., None] == np.arange(runs)).sum(1)
    sample, run = np.nonzero(counts)  # leaving out a run that was drawn twice is the same either time
    fewer = counts[sample]
    fewer[np.arange(len(fewer)), run] -= 1
    whole, without, table = np.empty((agents, B)), np.empty((agents, B, runs)), np.zeros((B, runs))
    for agent, own in enumerate(values):
        whole[agent] = resampled_interquartile_means(own, counts)
        table[sample, run] = resampled_interquartile_means(own, fewer)
        without[agent] = np.take_along_axis(table, chosen, 1)
    return whole, without


def _any_statistic(
    values: NDArray[np.float64], chosen: NDArray[np.int64], statistic: Statistic
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a statistic (A, B) of the runs chosen (B, R) of agents (A, R, E), and (A, B, R) without each run."""
    sample, runs = values[:, chosen], chosen.shape[1]
    kept = np.arange(runs - 1) + (np.arange(runs - 1) >= np.arange(runs)[:, None])  # (R, R - 1), row r lacks run r
    return statistic(sample, axis=(2, 3)), statistic(sample[:, :, kept], axis=(3, 4))


def _differences(
    whole: NDArray[np.float64], without: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return differences of a statistic (A, B) between agents, and their jackknife standard errors: (A, A, B) each.

    s^2 = (R - 1) / R times the sum over runs of (D without the run - their mean)^2, of the statistic without each run
    (A, B, R). The last value is what rounding may make of nothing.
    """
    runs = without.shape[-1]
    parts = without[:, None] - without[None]
    parts -= parts.mean(-1, keepdims=True)
    rounding = 1e-12 * float(np.abs(without).max(initial=0.0))
    error = np.sqrt((runs - 1) / runs * np.einsum("ijbr,ijbr->ijb", parts, parts))
    return whole[:, None] - whole[None], np.where(error <= rounding, 0.0, error), rounding


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
    scores: ArrayLike,
    rng: np.random.Generator,
    statistic: Statistic = interquartile_mean,
    confidence: float = 0.95,
    repeats: int | None = None,
) -> Ranks:
    """Intervals that hold the true ranks of all agents at once, with at least the stated confidence.

    All A (A - 1) statements "i is not better than j" are tested by `paired_bootstrap` and Holm's correction. Agent j's
    rank is at least 1 + the number found better than it, and at most A - the number found worse.

    Args:
        scores: (A, R, ...), the runs of all agents on the same seeds in the same order.
        rng: the only source of randomness.
        statistic: what agents are ranked by.
        confidence: of all intervals together, in (0, 1).
        repeats: of the bootstrap; None for 1,999 or as many as the correction needs to find anything.

    Raises:
        ValueError: as `paired_bootstrap`, and for an impossible confidence.

    Source: Mogstad, Romano, Shaikh and Wilhelm (2024), "Inference for ranks with applications to mobility across
    neighbourhoods and academic achievement across countries", Review of Economic Studies 91(1).
    """
    checks.real("confidence", confidence, above=0.0, below=1.0)
    agents = len(np.atleast_1d(checks.floats("scores", scores)))
    needed = int(np.ceil(2 * agents * (agents - 1) / (1 - confidence)))
    p = paired_bootstrap(scores, rng, statistic, max(1999, needed) if repeats is None else repeats)
    pairs = ~np.eye(agents, dtype=np.bool_)
    adjusted: NDArray[Any] = np.ones_like(p)
    adjusted[pairs] = holm(p[pairs])
    better = adjusted <= 1 - confidence
    return Ranks(1 + better.sum(0), agents - better.sum(1), better, adjusted)
