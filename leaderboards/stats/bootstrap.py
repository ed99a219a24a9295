"""Statistics of scores: robust means and bootstrap intervals, as pure functions of arrays.

A run is one independent repetition (a seed), a task is one thing being scored. A point estimate never travels without
its interval (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice").

Shapes: R runs, T tasks, E episodes, P evaluation points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Statistic",
    "estimates",
    "interquartile_mean",
    "mean",
    "resampled_interquartile_means",
    "stratified_bootstrap",
]

Statistic = Callable[..., Any]  # statistic(array, axis=(...)) -> array without those axes

BLOCK = 2**20  # resampled values held in memory at once


def mean(scores: ArrayLike, axis: int | tuple[int, ...] | None = None) -> Any:
    """Arithmetic mean over `axis` (default: over everything).

    Raises:
        ValueError: for empty or non-finite scores.
    """
    return np.mean(_finite(scores), axis=axis)


def interquartile_mean(scores: ArrayLike, axis: int | tuple[int, ...] | None = None) -> Any:
    """Mean of the middle half of the scores over `axis` (default: over everything, runs and tasks pooled).

    Of n scores the floor(n / 4) lowest and as many highest are dropped, as `scipy.stats.trim_mean(scores, 0.25)` does;
    nothing is dropped below four scores.

    Raises:
        ValueError: for empty or non-finite scores.

    Source: Agarwal et al. (2021), section 4.3.
    """
    values = _finite(scores)
    axes = tuple(range(values.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    pooled = np.moveaxis(values, axes, range(-len(axes), 0)) if axes else values[..., None]
    pooled = pooled.reshape(*pooled.shape[: pooled.ndim - max(len(axes), 1)], -1)  # (..., n)
    n = pooled.shape[-1]
    cut = n // 4
    return np.sort(pooled, axis=-1)[..., cut : n - cut].mean(axis=-1)


def resampled_interquartile_means(values: NDArray[np.float64], counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Interquartile means (B,) of B samples that hold run r counts[b, r] times, without making or sorting the samples.

    Of all values in order, v_1 <= ... <= v_n, a sample holds the first k C_k times, C = counts @ (how many of the first
    k are of run r). Its values from place `cut` to N - cut are those that count:

        mean = sum_k v_k (clip(C_k, cut, N - cut) - clip(C_{k-1}, cut, N - cut)) / (N - 2 cut).

    Args:
        values: (R, E), NaN where there is none, of which each run has at least one that is not.
        counts: (B, R), whose rows have the same sum, 1 or more.

    Source: the definition of `interquartile_mean`, of which this is the value on each sample up to rounding.
    """
    runs, own = values.shape
    there = (~np.isnan(values)).sum(1)
    order = np.argsort(values, axis=None, kind="stable")[: there.sum()]  # NaN comes last
    ordered = values.ravel()[order]
    first = np.cumsum(order // own == np.arange(runs)[:, None], axis=1, dtype=np.float32)  # exact up to 2^24
    total = (counts @ there)[:, None]
    cut = total // 4
    result = np.empty(len(counts))
    step = max(1, BLOCK // (4 * ordered.size))
    for start in range(0, len(counts), step):
        rows = slice(start, start + step)
        low, high = cut[rows].astype(np.float32), (total - cut)[rows].astype(np.float32)
        below = np.clip(counts[rows].astype(np.float32) @ first, low, high)
        result[rows] = np.diff(below, axis=1, prepend=low).astype(np.float64) @ ordered
    return result / (total - 2 * cut)[:, 0]


def stratified_bootstrap(
    scores: ArrayLike,
    statistic: Statistic,
    rng: np.random.Generator,
    repeats: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic, resampling runs with replacement within each task independently.

    Args:
        scores: (R, T, ...). Axes after the second belong to their run and travel with it: that is the place for
            episodes, because the episodes of one trained agent are not independent repetitions. For the interquartile
            mean of a single task some of a run's scores, but not all, may be NaN: they are left out.
        statistic: called with (repeats, R, T, ...) and `axis=(1, 2, ...)`, returns (repeats,).
        rng: the only source of randomness.
        repeats: number of resampled score arrays.
        confidence: the coverage aimed at, in (0, 1). With a handful of runs the true coverage is lower.

    Returns:
        (low, high). With one run there is nothing to resample and the interval has no width.

    Raises:
        ValueError: for empty or non-finite scores, fewer than two axes, or an impossible `repeats` or `confidence`.

    Source: Agarwal et al. (2021), section 4.1; the percentile interval of Efron (1979).
    """
    low, high = np.quantile(_resamples(scores, statistic, rng, repeats, confidence), _tails(confidence))
    return float(low), float(high)


def estimates(values: ArrayLike, seed: int = 0, repeats: int = 2000, confidence: float = 0.95) -> NDArray[np.float64]:
    """Return the interquartile mean and its interval of one agent on one experiment, per evaluation point.

    The mean pools seeds and episodes. The interval resamples whole seeds with their episodes; a single seed leaves only
    its episodes to resample, and then says nothing about training noise. The same values and `seed` always give the
    same interval, whichever table asks.

    Args:
        values: (seeds, E, P) scores, NaN where undefined: these are left out. Each seed has one that is not.
        seed: of the bootstrap's own generator.
        repeats: as in `stratified_bootstrap`.
        confidence: as in `stratified_bootstrap`.

    Returns:
        (P, 3): point, low, high; low and high are NaN where there is a single value.

    Raises:
        ValueError: for empty or non-finite values, or another number of axes.
    """
    scores = np.asarray(values, np.float64)
    if scores.ndim != 3:
        raise ValueError(f"values has shape {scores.shape}, expected (seeds, episodes, evaluation points).")
    result = np.full((scores.shape[2], 3), np.nan)
    for point, row in enumerate(result):
        sample = _finite_or_missing(scores[:, None, :, point])
        if len(sample) == 1:
            sample = sample[~np.isnan(sample)][:, None, None]
        row[0] = interquartile_mean(sample[~np.isnan(sample)])
        if len(sample) > 1:
            row[1:] = stratified_bootstrap(
                sample, interquartile_mean, np.random.default_rng(seed), repeats=repeats, confidence=confidence
            )
    return result


def _resamples(
    scores: ArrayLike, statistic: Statistic, rng: np.random.Generator, repeats: int, confidence: float
) -> NDArray[np.float64]:
    """The statistic of resampled runs: (repeats, ...)."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim < 2:
        raise ValueError(f"scores has shape {values.shape}, expected (runs, tasks, ...); one task is scores[:, None].")
    short = statistic is interquartile_mean and values.shape[1] == 1
    values = _finite_or_missing(values) if short else _finite(values)
    _possible(repeats, confidence)
    runs, tasks = values.shape[:2]
    chosen = rng.integers(runs, size=(repeats, runs, tasks))
    if short:
        counts = (chosen == np.arange(runs)).sum(1)
        return resampled_interquartile_means(values.reshape(runs, -1), counts)
    axes = tuple(range(1, values.ndim + 1))
    step = max(1, BLOCK // values.size)
    blocks = (chosen[start : start + step] for start in range(0, repeats, step))
    return np.concatenate([statistic(values[block, np.arange(tasks)], axis=axes) for block in blocks])


def _possible(repeats: int, confidence: float) -> None:
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}, expected at least 1.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}, expected a number between 0 and 1 such as 0.95.")


def _tails(confidence: float) -> list[float]:
    return [(1 - confidence) / 2, (1 + confidence) / 2]


def _finite_or_missing(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores (runs, ...) as they are.

    Raises:
        ValueError: for empty or infinite scores, or a run whose scores are all NaN.
    """
    missing = np.isnan(values)
    _finite(np.where(missing, 0.0, values))
    if (empty := missing.reshape(len(values), -1).all(1)).any():
        raise ValueError(f"scores holds {empty.sum()} runs without any defined score, expected none; leave them out.")
    return values


def _finite(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError(f"scores has shape {values.shape}, expected at least one score.")
    if not np.isfinite(values).all():
        bad = int(np.size(values) - np.isfinite(values).sum())
        raise ValueError(f"scores holds {bad} values that are not finite, expected none; drop or rerun those episodes.")
    return values
