"""Equations between answers and values: shares of choices, values read from answers, vectors of values.

Pure functions of arrays. Shapes: B rows, I items, 4 options of which some are not there, D values. A bank is given by
its `loadings` (I, 4, D) and `there` (I, 4), true where an item has such an option.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FLOOR", "centred_logs", "choice_shares", "most_likely", "normalised", "value_log_odds"]

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
FLOOR = 1e-3  # probabilities below are taken for this where logarithms are needed
NEWTON = 8  # iterations


def choice_shares(loadings: Floats, there: Array, values: Floats) -> Floats:
    """Return the probabilities (..., I, 4) of people of these values (..., D): softmax of loadings times values."""
    utility = np.where(there, np.einsum("ikd,...d->...ik", loadings, values), -np.inf)
    weights = np.exp(utility - utility.max(-1, keepdims=True))
    shares: Floats = weights / weights.sum(-1, keepdims=True)
    return shares


def normalised(given: Floats, there: Array) -> Floats:
    """Return what was given to options (..., I, 4) as shares: of the options that are there; even for none."""
    kept = np.where(there, given, 0.0)
    total = ((kept[..., 0] + kept[..., 1]) + (kept[..., 2] + kept[..., 3]))[..., None]  # in this order everywhere
    even = there / there.sum(-1, keepdims=True)
    shares: Floats = np.where(total > 0, kept / np.where(total > 0, total, 1.0), even)
    return shares


def value_log_odds(loadings: Floats, there: Array, shares: Floats) -> Floats:
    """Return the vector of values (..., D) of answers (..., I, 4), in nats; 0 for one who takes all options alike.

    For each value the mean over the items about it of sum_k loading_k log p_k, with p_k of at least FLOOR.
    """
    bears = loadings.any(1).sum(0)
    vector: Floats = np.einsum("...ik,ikd->...d", centred_logs(there, shares), loadings) / np.maximum(bears, 1)
    return vector


def centred_logs(there: Array, shares: Floats) -> Floats:
    """Return log p of answers (..., I, 4), p at least FLOOR, minus its mean over the options that are there."""
    logs = np.where(there, np.log(np.maximum(shares, FLOOR)), 0.0)
    total = ((logs[..., 0] + logs[..., 1]) + (logs[..., 2] + logs[..., 3]))[..., None]  # in this order everywhere
    centred: Floats = np.where(there, logs - total / there.sum(-1, keepdims=True), 0.0)
    return centred


def most_likely(loadings: Floats, there: Array, counts: Floats) -> Floats:
    """Return the values (B, D) most likely given how many people chose each option (B, I, 4), by Newton's method.

    The posterior is log p(v) = -|v|**2 / 2 + sum_ik counts_ik log share_ik(v): people who all have the same values, a
    standard normal prior, and multinomial logit choices.
    """
    size, D = len(loadings), loadings.shape[-1]
    products = np.einsum("ikd,ike->ikde", loadings, loadings).reshape(size * loadings.shape[1], D * D)
    asked, values = counts.sum(-1), np.zeros((len(counts), D))
    for _ in range(NEWTON):
        expected = choice_shares(loadings, there, values) * asked[..., None]
        slope = np.einsum("bik,ikd->bd", counts - expected, loadings) - values
        middle = np.einsum("bik,ikd->bid", expected, loadings)
        spread = np.divide(middle, asked[..., None], out=np.zeros_like(middle), where=asked[..., None] > 0)
        second = (expected.reshape(len(counts), -1) @ products).reshape(-1, D, D) - np.swapaxes(spread, 1, 2) @ middle
        values = values + np.linalg.solve(second + np.eye(D), slope[..., None])[..., 0]
    return values
