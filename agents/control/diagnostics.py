"""What can be measured about a model, its weights and its critics, as pure functions of tensors.

`physical` and `distracting` are numbers of dimensions that only scoring may know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def gradient_ratio(gradient: Tensor, physical: Any, distracting: Any) -> float:
    """Root mean square of critics' gradients (N, K, D) over distracting dimensions, divided by that over physical ones.

    The smaller it is, the better the critics tell what matters; NaN without distractors.
    """
    rms = [gradient[..., torch.as_tensor(index)].square().mean().sqrt() for index in (distracting, physical)]
    return float(rms[0] / rms[1])


def normalised_error(predicted: Tensor, actual: Tensor, dimensions: Any) -> float:
    """Mean over dimensions of squared error / variance, of predictions (..., N, D) of what happened (N, D).

    NaN without dimensions.
    """
    index = torch.as_tensor(dimensions)
    if not len(index):
        return float("nan")
    variance = actual[..., index].var(0, correction=0)
    return float(((predicted - actual)[..., index].square() / variance).mean())


def value_error(value: Callable[[Any], Any], predicted: Tensor, actual: Tensor) -> float:
    """Root mean square of value(s^) - value(s'), divided by the standard deviation of value(s').

    `value` maps arrays of observations (..., D) to values (...); predictions are (..., N, D), what happened (N, D).
    """
    true = torch.as_tensor(value(actual.cpu().numpy()))
    error = torch.as_tensor(value(predicted.cpu().numpy())) - true
    return float(error.square().mean().sqrt() / true.std(correction=0))


def out_of_distribution(predicted: Tensor, seen: Tensor, margin: float = 0.1) -> float:
    """Share of predictions (..., D) beyond the box of what was seen (N, D), widened by a share of its size."""
    low, high = seen.amin(0), seen.amax(0)
    slack = margin * (high - low)
    return float(((predicted < low - slack) | (predicted > high + slack)).any(-1).double().mean())


def effective_sample_size(weight: Tensor) -> float:
    """Kish's effective share of samples: (sum w)^2 / (N sum w^2), w the sum over dimensions of weights (N, D)."""
    w = weight.sum(-1)
    return float(w.sum().square() / (len(w) * w.square().sum()))


def error_alignment(gradient: Tensor, error: Tensor) -> float:
    """Mean |cosine| between critics' gradients (N, K, D) and errors (..., N, D), both in units."""
    return float(torch.nn.functional.cosine_similarity(gradient, error[..., None, :], dim=-1).abs().mean())


def gradient_cosine(first: Tensor, second: Tensor, parameters: Iterable[Tensor]) -> float:
    """Cosine between the gradients of two scalars with respect to the same parameters.

    Of the policy's gradient under the model, r^ + discount V(s^), and under the critic, Q(s, a), it says whether the
    model would improve the policy in the direction that real data suggest.
    """
    shared = list(parameters)
    flat = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(x, shared, retain_graph=True)]) for x in (first, second)
    ]
    return float(torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0))
