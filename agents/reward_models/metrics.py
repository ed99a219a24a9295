"""Accuracy, calibration and use of latent dimensions, of predictions (..., N) with any leading axes."""

from __future__ import annotations

import torch
from torch import Tensor

from valuegym.envs import checks

__all__ = ["accuracy", "active_units", "expected_calibration_error"]


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of decided pairs predicted right, logits (..., N) of the second: a logit of 0 counts one half.

    Labels (N,) of 0.5 and NaN are left out.

    Raises:
        ValueError: no label is decided, or a logit is NaN.
    """
    decided = ~labels.isnan() & (labels != 0.5)
    if not decided.any():
        raise ValueError(f"labels hold no preference among {labels.numel()}; expected one that is not 0.5 or NaN.")
    if logits.isnan().any():
        raise ValueError("logits hold NaN; expected numbers.")
    side = (labels[decided] - 0.5).sign() * logits[..., decided].sign()
    return ((side + 1) / 2).mean(-1)


def expected_calibration_error(probability: Tensor, labels: Tensor, bins: int = 10) -> Tensor:
    """Return sum over bins of |sum of probabilities - sum of labels| / N, bins of equal width over [0, 1].

    Labels (N,) may be soft; NaN is left out.

    Raises:
        ValueError: a probability lies outside [0, 1], no label is a number, or `bins` is no positive integer.
    """
    checks.integer("bins", bins, 1)
    there = ~labels.isnan()
    if not there.any():
        raise ValueError(f"labels are NaN for all of {labels.numel()} pairs; expected an answer to at least one.")
    p = probability[..., there]
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probability holds a value outside [0, 1].")
    place = (p * bins).long().clamp_max(bins - 1)
    gaps = torch.zeros(*p.shape[:-1], bins, dtype=p.dtype, device=p.device)
    return gaps.scatter_add(-1, place, p - labels[there].to(p.dtype)).abs().sum(-1) / p.shape[-1]


def active_units(means: Tensor, threshold: float = 0.01) -> Tensor:
    """Return the share of latent dimensions whose posterior mean varies over users by more than `threshold`.

    `means` (..., U, Z) -> (...). The variance over users is meant (Burda, Grosse, Salakhutdinov 2016).

    Raises:
        ValueError: `threshold` is negative, or there are fewer than two users.
    """
    checks.real("threshold", threshold, 0)
    if means.ndim < 2 or means.shape[-2] < 2:
        raise ValueError(f"means has shape {tuple(means.shape)}; expected (..., users, latents) of two users or more.")
    return (means.var(-2, correction=0) > threshold).to(means.dtype).mean(-1)
