"""Summary: the one function that makes an agent's numbers on a track of its scores, the ranked one among them.

Tables, site, JSON, ledger, `valuegym.evaluate` and wandb runs all show what `summarise` returns, and ranks compare what
`ranked_values` returns, of which the ranked number is the mean.

Shapes: R runs (seeds), E episodes of each, P evaluation points, U units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from valuegym.envs import checks
from valuegym.leaderboards.stats.bootstrap import estimates

__all__ = ["LOWEST", "NEAR_OPTIMAL", "UNITS", "Summary", "ranked_values", "summarise"]

LOWEST = -1.0  # what is below counts as this in a ranked number, for scores have no lower bound
NEAR_OPTIMAL = 0.9  # from this score on an episode is near-optimal
UNITS = ("tasks", "seeds")
REPEATS = 2000
BLOCK = 2**20  # drawn units held in memory at once


class Summary(NamedTuple):
    """An agent's numbers on a track; each (3,) is a point, low and high, which are NaN for a single value.

    Attributes:
        score: (3,), the ranked number: mean over units, over all evaluation points, of scores clipped to -1.
        points: (P, 3), mean of clipped scores at each evaluation point; the last is what was learnt in the end.
        interquartile: (3,), interquartile mean at the last evaluation point, not clipped.
        near_optimal: (3,), share of episodes with at least 0.9 at the last evaluation point.
        raw: mean over all evaluation points without clipping.
    """

    score: NDArray[np.float64]
    points: NDArray[np.float64]
    interquartile: NDArray[np.float64]
    near_optimal: NDArray[np.float64]
    raw: float


def ranked_values(values: ArrayLike, units: str) -> NDArray[np.float64]:
    """Return what is ranked of each unit (U,): the mean of its scores, clipped to -1, over all evaluation points.

    Units are tasks, the episodes of all runs one after another, or seeds, each the mean of its episodes. What has no
    defined score is NaN.

    Args:
        values: (R, E, P) scores, NaN where undefined.
        units: "tasks" or "seeds".

    Raises:
        ValueError: another number of axes, infinite values, or other units.
    """
    return _over_units(_means(np.maximum(_checked(values, units), LOWEST), 2), units)


def summarise(values: ArrayLike, units: str, seed: int = 0) -> Summary:
    """Return all numbers of an agent on a track, of scores (R, E, P), NaN where undefined.

    Intervals are 95% percentile bootstrap intervals that resample units; with units "seeds" and a single seed its
    episodes, which says nothing about training. The interquartile mean is that of `bootstrap.estimates`, which
    resamples seeds. The same values and `seed` always give the same intervals, whichever table asks.

    Raises:
        ValueError: as `ranked_values`, for a run without a defined score at some evaluation point, or a bad seed.
    """
    scores, seed = _checked(values, units), checks.integer("seed", seed, 0)
    interquartile = estimates(scores[:, :, -1:], seed)[0]  # refuses runs without a defined score
    own = "tasks" if len(scores) == 1 else units
    clipped = np.maximum(scores, LOWEST)
    near = np.where(np.isnan(scores[:, :, -1]), np.nan, scores[:, :, -1] >= NEAR_OPTIMAL)
    columns = [_means(clipped, 2), *np.moveaxis(clipped, 2, 0), near]
    found = np.stack([_over_units(column, own) for column in columns], 1)  # (U, 2 + P)
    there = ~np.isnan(found)
    counted = np.concatenate([there, np.where(there, found, 0.0)], 1)
    weights, sums = np.hsplit(_resampled_sums(counted, np.random.default_rng(seed)), 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = np.nanquantile(sums / weights, [0.025, 0.975], axis=0)
    points = np.nansum(found, 0) / there.sum(0)
    rows = np.stack([points, low, high], 1)
    rows[there.sum(0) < 2, 1:] = np.nan
    return Summary(rows[0], rows[1:-1], interquartile, rows[-1], float(np.nanmean(_over_units(_means(scores, 2), own))))


def _resampled_sums(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return sums over units drawn with replacement of values (U, ...): (repeats, ...)."""
    size, sums = len(values), []
    step = max(1, min(REPEATS, BLOCK // size))
    for start in range(0, REPEATS, step):
        rows = min(step, REPEATS - start)
        drawn = np.arange(rows)[:, None] * size + rng.integers(size, size=(rows, size))
        sums.append(np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size) @ values)
    return np.concatenate(sums)


def _checked(values: ArrayLike, units: str) -> NDArray[np.float64]:
    scores = checks.floats("values", values)
    checks.choice("units", units, UNITS)
    if scores.ndim != 3 or not scores.size or np.isinf(scores).any():
        raise ValueError(
            f"values has shape {scores.shape}, expected finite numbers, or NaN for none, of shape "
            "(seeds, episodes, evaluation points)."
        )
    return scores


def _over_units(values: NDArray[np.float64], units: str) -> NDArray[np.float64]:
    """Return what belongs to each unit (U,) of values (R, E)."""
    return values.ravel() if units == "tasks" else _means(values, 1)


def _means(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return means over an axis of what is not NaN; NaN where nothing is."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(there, values, 0.0).sum(axis) / there.sum(axis)
    return mean
