"""Measures of a model, its weights and its critics, as pure functions of tensors.

`physical` and `distracting` are indices of dimensions, which agents do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "effective_sample_size",
    "error_alignment",
    "gradient_cosine",
    "gradient_ratio",
    "normalised_error",
    "out_of_distribution",
    "value_error",
]


def gradient_ratio(gradient: Tensor, physical: Any, distracting: Any) -> float:
    """Return the root mean square of gradients (N, K, D) over distracting dimensions / that over physical ones.

    The smaller it is, the better the critics separate the two; NaN without distractors.
    """
    rms = [gradient[..., torch.as_tensor(index)].square().mean().sqrt() for index in (distracting, physical)]
    return float(rms[0] / rms[1])


def normalised_error(predicted: Tensor, actual: Tensor, dimensions: Any) -> float:
    """Return the mean over dimensions of squared error / variance, from predictions (..., N, D) and targets (N, D).

    NaN without dimensions.
    """
    index = torch.as_tensor(dimensions)
    if not len(index):
        return float("nan")
    variance = actual[..., index].var(0, correction=0)
    return float(((predicted - actual)[..., index].square() / variance).mean())


def value_error(value: Callable[[Any], Any], predicted: Tensor, actual: Tensor) -> float:
    """Return the root mean square of value(s^) - value(s'), divided by the standard deviation of value(s').

    `value` maps arrays of observations (..., D) to values (...); predictions are (..., N, D), targets (N, D).
    """
    true = torch.as_tensor(value(actual.cpu().numpy()))
    error = torch.as_tensor(value(predicted.cpu().numpy())) - true
    return float(error.square().mean().sqrt() / true.std(correction=0))


def out_of_distribution(predicted: Tensor, observed: Tensor, margin: float = 0.1) -> float:
    """Return the fraction of predictions (..., D) outside the box of observations (N, D), widened by this margin.

    The margin is relative to the size of the box in each dimension.
    """
    low, high = observed.amin(0), observed.amax(0)
    slack = margin * (high - low)
    return float(((predicted < low - slack) | (predicted > high + slack)).any(-1).double().mean())


def effective_sample_size(weight: Tensor) -> float:
    """Return Kish's effective fraction of samples, (sum w)^2 / (N sum w^2).

    w (N,) is the sum over dimensions of weights (N, D).
    """
    w = weight.sum(-1)
    return float(w.sum().square() / (len(w) * w.square().sum()))


def error_alignment(gradient: Tensor, error: Tensor) -> float:
    """Return the mean |cosine| between critics' gradients (N, K, D) and errors (..., N, D), both in units."""
    return float(torch.nn.functional.cosine_similarity(gradient, error[..., None, :], dim=-1).abs().mean())


def gradient_cosine(first: Tensor, second: Tensor, parameters: Iterable[Tensor]) -> float:
    """Return the cosine between the gradients of two scalars with respect to the same parameters.

    For the policy's gradients under the model, r^ + discount V(s^), and under the critic, Q(s, a), it says whether the
    model improves the policy in the direction that real data suggest.
    """
    shared = list(parameters)
    flat = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(x, shared, retain_graph=True)]) for x in (first, second)
    ]
    return float(torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0))
