"""Estimates with intervals in one notation, `0.87 [0.73, 1.00]`, and Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.leaderboards.stats.bootstrap import mean, stratified_bootstrap

Array = npt.NDArray[Any]
NEAR_OPTIMAL = 0.9


class Estimate(NamedTuple):
    """A statistic with its 95% interval."""

    point: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the estimate with two decimals."""
        return show(self)


def estimate(values: Any, statistic: Any = mean) -> Estimate:
    """Return a statistic of values (units, ...) with a bootstrap interval that resamples whole units."""
    values = np.asarray(values, float)
    low, high = stratified_bootstrap(values[:, None], statistic, np.random.default_rng(0))
    return Estimate(float(statistic(values)), low, high)


def _ratio(sums: Array, axis: tuple[int, ...]) -> Array:
    total = sums.sum(axis[:-1])
    return total[..., 0] / total[..., 1]


def estimate_where(values: Array, counted: Array) -> Estimate | None:
    """Return the mean of values (units, ...) where `counted` is True, or None if it is nowhere."""
    weight = counted.reshape(len(values), -1).astype(float)
    sums = np.stack([(values.reshape(weight.shape) * weight).sum(1), weight.sum(1)], -1)
    sums = sums[sums[:, 1] > 0]
    if not len(sums):
        return None
    low, high = stratified_bootstrap(sums[:, None], _ratio, np.random.default_rng(0))
    return Estimate(float(sums[:, 0].sum() / sums[:, 1].sum()), low, high)


def resampled(values: Any, statistic: Any = np.median, draws: int = 4000, method: Any = "linear") -> Estimate:
    """Return a statistic of values (units, ...) with its percentile interval; values may be infinite.

    `statistic` takes an array and `axis`; `method` is the one of `numpy.quantile`.
    """
    values = np.asarray(values)
    chosen = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(statistic(values[chosen], axis=1), [0.025, 0.975], method=method)
    return Estimate(float(statistic(values, axis=0)), float(low), float(high))


def near_optimal(scores: Array) -> Array:
    """Return 1.0 where scores are at least NEAR_OPTIMAL, else 0.0."""
    return (scores >= NEAR_OPTIMAL).astype(float)


def decimals(digits: int, sign: str = "") -> Callable[[float], str]:
    """Return a format with so many decimals, with `sign` "+" also of positive numbers; nothing is shown as -0."""
    return lambda x: f"{round(x, digits) + 0.0:{sign}.{digits}f}"


TWO_DECIMALS = decimals(2)


def significant(x: float) -> str:
    """Return three significant digits, none beyond the fourth decimal."""
    whole = math.floor(math.log10(abs(x))) if x else 0
    return f"{x:,.{min(max(2 - whole, 0), 4)}f}"


def show(found: Estimate, number: Callable[[float], str] = TWO_DECIMALS) -> str:
    """Return the one notation of an estimate with its interval."""
    point, low, high = map(number, found)
    return f"{point} [{low}, {high}]"


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def page(*parts: str) -> str:
    """Return paragraphs, tables and headings as one page."""
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"
