"""Critics: K action values evaluated as one, fitted by squared error or as a distribution over bins (HL-Gauss).

HL-Gauss (Imani, White 2018; Farebrother et al. 2024, "Stop regressing", arXiv 2403.03950) turns a target y into the
probabilities that a normal distribution about y gives to bins, and fits a softmax over bins by cross-entropy; the value
is the mean of the bins' centres. The standard deviation is 0.75 of a bin. Here bins reach beyond the range of values by
PADDING at either end, so that a target at the edge of the range keeps its whole probability and is recovered exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from valuegym.agents.control.batched_mlp import MLP, expand_inputs

__all__ = [
    "PADDING",
    "SIGMA",
    "CriticParameters",
    "Critics",
    "bin_edges",
    "critic_loss",
    "hl_gauss",
    "mean_of_bins",
    "q_values",
    "value_range",
]

SIGMA = 0.75  # standard deviation of a target, in bins
PADDING = 3  # bins beyond either end of the range of values


def bin_edges(low: float, high: float, bins: int) -> Tensor:
    """Return edges (bins + 1,) of bins whose centres include low and high, PADDING of them beyond either.

    Raises:
        ValueError: the range is empty or there are too few bins.
    """
    if not low < high or bins < 2 * PADDING + 2:
        raise ValueError(f"A range {low} to {high} in {bins} bins; expected low < high and {2 * PADDING + 2} bins.")
    width = (high - low) / (bins - 1 - 2 * PADDING)
    return low + width * (torch.arange(bins + 1, dtype=torch.float64) - PADDING - 0.5)


def hl_gauss(target: Tensor, edges: Tensor) -> Tensor:
    """Return probabilities (..., m) of targets (...): Phi((e_i+1 - y) / sd) - Phi((e_i - y) / sd), normalised.

    sd is SIGMA bins, edges are (m + 1,) or (..., m + 1). Targets are first clamped to the range of values.
    """
    width = edges[..., 1:2] - edges[..., :1]
    y = target[..., None].clamp(edges[..., PADDING, None] + width / 2, edges[..., -1 - PADDING, None] - width / 2)
    below = torch.special.ndtr((edges - y) / (SIGMA * width))
    return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])


def mean_of_bins(probability: Tensor, edges: Tensor) -> Tensor:
    """Return the mean (...) of probabilities (..., m) at the centres of the bins."""
    return (probability * ((edges[..., :-1] + edges[..., 1:]) / 2)).sum(-1)


def q_values(out: Tensor, edges: Tensor) -> Tensor:
    """Return action values (...) from outputs of critics (..., 1 or bins)."""
    return mean_of_bins(out.softmax(-1), edges) if edges.shape[-1] else out[..., 0]


def critic_loss(out: Tensor, target: Tensor, edges: Tensor) -> Tensor:
    """Return losses (K, B) of outputs (K, B, 1 or bins) for targets (B,): half the squared error, or the cross-entropy.

    All three arguments may have the same leading axes.
    """
    if edges.shape[-1]:
        probability = hl_gauss(target, edges)
        return -(probability[..., None, :, :] * out.log_softmax(-1)).sum(-1)
    return 0.5 * (out[..., 0] - target[..., None, :]).square()


def value_range(low: float, high: float, discount: float) -> tuple[float, float]:
    """Return bounds of the discounted sum of infinitely many rewards between low and high."""
    return low / (1 - discount), high / (1 - discount)


@dataclass(frozen=True)
class CriticParameters:
    """Sizes and kind of critics.

    Attributes:
        critics: number of critics, K.
        width: units in each hidden layer.
        depth: hidden layers.
        bins: of HL-Gauss; 0 for squared error.
        low: least value that bins cover.
        high: greatest value that bins cover.
        layer_norm: whether hidden layers are normalised.
    """

    critics: int = 2
    width: int = 64
    depth: int = 2
    bins: int = 0
    low: float = -100.0
    high: float = 100.0
    layer_norm: bool = False


class Critics(nn.Module):
    """K action values Q_k(s, a).

    Raises:
        ValueError: a size is not positive, or the range of the bins is empty or has too few bins.
    """

    edges: Tensor

    def __init__(self, D: int, A: int, parameters: CriticParameters, generator: torch.Generator | None = None) -> None:
        super().__init__()
        p = self.settings = parameters
        self.network = MLP(
            p.critics, D + A, max(p.bins, 1), p.width, p.depth, layer_norm=p.layer_norm, generator=generator
        )
        edges = bin_edges(p.low, p.high, p.bins).float() if p.bins else torch.zeros(0)
        self.register_buffer("edges", edges)

    def outputs(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return values or logits (K, B, 1 or bins) of inputs (B, D), (B, A)."""
        inputs = torch.cat([observation, action], -1)
        return self.network(expand_inputs(self.settings.critics, inputs))

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return values (..., K) of inputs (..., D), (..., A)."""
        lead = observation.shape[:-1]
        out = self.outputs(observation.reshape(-1, observation.shape[-1]), action.reshape(-1, action.shape[-1]))
        return q_values(out, self.edges).T.reshape(*lead, -1)

    def loss(self, observation: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Return the mean of `critic_loss` over critics and samples, for targets (B,)."""
        return critic_loss(self.outputs(observation, action), target, self.edges).mean()
