"""Bayes-optimal estimates of values that move, from readings alone, where the law of the paths is known.

A path of n steps is described by hypotheses that are Gaussian given the hypothesis: `Law` lists their probabilities,
means and covariances. Dimensions are independent given the hypothesis, which is either one for all of them (`shared`)
or one for each. So a linear trend is one hypothesis, a logistic transition one for each midpoint, width and direction,
a switch of regimes one for each set of steps at which it happens, and a mixture of families a list of laws. Readings
are y(t) = x(t) + noise of variance r(t). The posterior mean of the target, sum_h p(h | y) E[target | y, h], has the
lowest expected squared error of all estimates that readings allow.

Letters: G hypotheses, n steps of the path, B episodes, T readings, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = ["Law", "linear", "logistic", "moments", "ornstein_uhlenbeck", "posterior_mean", "random_walk", "regimes"]

Floats = npt.NDArray[np.float64]
MIDPOINTS, WIDTHS = 25, 9  # of the grid of logistic transitions
JITTER = 1e-12


class Law(NamedTuple):
    """Hypotheses about a path: log probability (G,), mean (G, n), covariance (G, n, n), and whether they are shared."""

    log: Floats
    mean: Floats
    covariance: Floats
    shared: bool

    def through(self, matrix: Floats, added: Floats | None = None) -> Law:
        """Return the law of matrix @ path plus independent noise of this covariance (n, n)."""
        covariance = matrix @ self.covariance @ matrix.T + (0.0 if added is None else added)
        return Law(self.log, self.mean @ matrix.T, covariance, self.shared)


def _single(covariance: Floats) -> Law:
    return Law(np.zeros(1), np.zeros((1, len(covariance))), covariance[None], True)


def linear(n: int, start: float, pace: float) -> Law:
    """Return the law of x(t) = x(0) + v t with normal x(0) and v of these standard deviations."""
    t = np.arange(float(n))
    return _single(start**2 + pace**2 * np.outer(t, t))


def random_walk(n: int, start: float, sigma: float) -> Law:
    """Return the law of a random walk with steps of standard deviation sigma, from a normal x(0)."""
    t = np.arange(float(n))
    return _single(start**2 + sigma**2 * np.minimum.outer(t, t))


def ornstein_uhlenbeck(n: int, start: float, theta: float, sigma: float) -> Law:
    """Return the law of x(t+1) = (1 - theta) x(t) + sigma xi, from a normal x(0)."""
    keep, t = 1.0 - theta, np.arange(n)
    variance = np.array([start**2 * keep ** (2 * s) + sigma**2 * (keep ** (2 * np.arange(s))).sum() for s in t])
    earlier, gap = np.minimum.outer(t, t), np.abs(np.subtract.outer(t, t))
    return _single(variance[earlier] * keep**gap)


def logistic(n: int, widths: tuple[float, float]) -> Law:
    """Return the law of +-(1 / (1 + exp(-(t - m) / w)) - 1/2), m and w uniform, on a grid of midpoints."""
    m = (n - 1) / 2 - 0.5 + (np.arange(MIDPOINTS) + 0.5) / MIDPOINTS
    w = widths[0] + (widths[1] - widths[0]) * (np.arange(WIDTHS) + 0.5) / WIDTHS
    late = (np.arange(float(n)) - m[:, None, None]) / w[:, None]
    paths = (1.0 / (1.0 + np.exp(-np.clip(late, -500, 500))) - 0.5).reshape(-1, n)
    mean = np.concatenate([paths, -paths])
    return Law(np.full(len(mean), -np.log(len(mean))), mean, np.zeros((len(mean), n, n)), False)


def regimes(n: int, level: float, sigma: float, chance: float) -> Law:
    """Return the law of piecewise constant normal levels, all of which jump with this chance per step, plus noise."""
    jumps = np.array(list(product((0, 1), repeat=n - 1)), int).reshape(-1, n - 1)
    regime = np.concatenate([np.zeros((len(jumps), 1), int), np.cumsum(jumps, 1)], 1)
    same = regime[:, :, None] == regime[:, None]
    k = jumps.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(k > 0, k * np.log(chance), 0.0) + np.where(k < n - 1, (n - 1 - k) * np.log1p(-chance), 0.0)
    return Law(log, np.zeros((len(jumps), n)), level**2 * same + sigma**2 * np.eye(n), True)


def moments(paths: Floats) -> Law:
    """Return the Gaussian law with the moments of simulated paths (M, n, D), whose dimensions are alike."""
    M, n, D = paths.shape
    alone = paths.transpose(0, 2, 1).reshape(M * D, n)
    mean = alone.mean(0)
    centred = alone - mean
    return Law(np.zeros(1), mean[None], (centred.T @ centred / len(alone))[None], True)


def posterior_mean(
    laws: Sequence[Law], shares: Sequence[float], readings: Floats, noise: Sequence[Floats], ahead: int = 0
) -> Floats:
    """Return the posterior means (B, T, D) of the path `ahead` steps after each reading, given all readings so far.

    Args:
        laws: of the families that a path may belong to, with at least T + ahead steps.
        shares: probability of each family.
        readings: (B, T, D).
        noise: variance (T,) of readings, for each family.
        ahead: steps from a reading to the target.

    Raises:
        ValueError: an argument is not finite, or a shape is another one.
    """
    readings = checks.reals("readings", readings, (None, None, None))
    B, T, D = readings.shape
    result = np.empty((B, T, D))
    for t in range(T):
        logs, means = [], []
        for law, share, variance in zip(laws, shares, noise, strict=True):
            log, mean = _given(law, readings[:, : t + 1], np.asarray(variance)[: t + 1], t + ahead)
            logs.append(np.log(share) + log)
            means.append(mean)
        log = np.stack(logs)
        p = np.exp(log - log.max(0))
        result[:, t] = (p[..., None] * np.stack(means)).sum(0) / p.sum(0)[:, None]
    return result


def _given(law: Law, seen: Floats, noise: Floats, target: int) -> tuple[Floats, Floats]:
    """Return the log evidence (B,) of readings (B, m, D) for a law, and the posterior mean (B, D) of one step."""
    B, m, D = seen.shape
    covariance = law.covariance[:, :m, :m] + np.diag(noise + JITTER)
    root = np.linalg.cholesky(covariance)
    whiten = np.linalg.inv(root)  # (G, m, m)
    gain = (law.covariance[:, target, None, :m] @ whiten.transpose(0, 2, 1))[:, 0]  # on whitened readings
    flat = seen.transpose(0, 2, 1).reshape(B * D, m)
    white = np.einsum("gij,kj->gki", whiten, flat) - np.einsum("gij,gj->gi", whiten, law.mean[:, :m])[:, None]
    size = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
    log = (-0.5 * (white**2).sum(-1) - size[:, None]).reshape(-1, B, D)
    mean = (law.mean[:, target, None] + np.einsum("gki,gi->gk", white, gain)).reshape(-1, B, D)
    prior = law.log[:, None]
    if law.shared:
        log = (prior + log.sum(-1))[..., None]
    else:
        log = prior[..., None] + log
    highest = log.max(0)
    p = np.exp(log - highest)
    total = p.sum(0)
    evidence = highest + np.log(total)  # (B, 1) or (B, D)
    return evidence.sum(-1), (p * mean).sum(0) / total
