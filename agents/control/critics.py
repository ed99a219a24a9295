"""Critics: K action values evaluated as one, fitted by squared error or as a distribution over bins (HL-Gauss).

HL-Gauss (Imani, White 2018; Farebrother et al. 2024, "Stop regressing", arXiv 2403.03950) turns a target y into the
masses that a normal distribution about y puts into bins, and fits a softmax over bins by cross-entropy; the value is
the mean of the bins' centres. The standard deviation is 0.75 of a bin. Here bins reach beyond the range of values by
PADDING at either end, so that a target at its very edge loses no mass and is still read back as itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from valuegym.agents.control.networks import MLP, rows_of

SIGMA = 0.75  # standard deviation of a target, in bins
PADDING = 3  # bins beyond either end of the range of values


def bin_edges(low: float, high: float, bins: int) -> Tensor:
    """Edges (bins + 1,) of bins whose centres include low and high, PADDING of them beyond either.

    Raises:
        ValueError: the range is empty or there are too few bins.
    """
    if not low < high or bins < 2 * PADDING + 2:
        raise ValueError(f"A range {low} to {high} in {bins} bins; expected low < high and {2 * PADDING + 2} bins.")
    width = (high - low) / (bins - 1 - 2 * PADDING)
    return low + width * (torch.arange(bins + 1, dtype=torch.float64) - PADDING - 0.5)


def hl_gauss(target: Tensor, edges: Tensor) -> Tensor:
    """Masses (..., m) of targets (...): [Phi((e_i+1 - y) / sd) - Phi((e_i - y) / sd)], divided by their sum.

    sd = SIGMA bins, edges (m + 1,) or (..., m + 1). Targets are first clamped to the range of values.
    """
    width = edges[..., 1:2] - edges[..., :1]
    y = target[..., None].clamp(edges[..., PADDING, None] + width / 2, edges[..., -1 - PADDING, None] - width / 2)
    below = torch.special.ndtr((edges - y) / (SIGMA * width))
    return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])


def expected(mass: Tensor, edges: Tensor) -> Tensor:
    """The mean (...) of masses (..., m) at the centres of the bins."""
    return (mass * ((edges[..., :-1] + edges[..., 1:]) / 2)).sum(-1)


def values_of(out: Tensor, edges: Tensor) -> Tensor:
    """Values (...) of what critics put out (..., 1 or bins)."""
    return expected(out.softmax(-1), edges) if edges.shape[-1] else out[..., 0]


def loss_of(out: Tensor, target: Tensor, edges: Tensor) -> Tensor:
    """What each output (K, B, 1 or bins) costs against targets (B,): half the squared error, or the cross-entropy.

    Leading axes may stand before all three.
    """
    if edges.shape[-1]:
        mass = hl_gauss(target, edges)
        return -(mass[..., None, :, :] * out.log_softmax(-1)).sum(-1)
    return 0.5 * (out[..., 0] - target[..., None, :]).square()


def value_range(low: float, high: float, discount: float) -> tuple[float, float]:
    """Bounds of the discounted sum of rewards between low and high, for ever."""
    return low / (1 - discount), high / (1 - discount)


@dataclass(frozen=True)
class CriticParameters:
    """What critics are.

    Attributes:
        critics: K.
        width: units in each hidden layer.
        depth: hidden layers.
        bins: of HL-Gauss; 0 for squared error.
        low: least value that bins cover.
        high: greatest value that they cover.
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
    """K action values Q_k(s, a)."""

    edges: Tensor

    def __init__(self, D: int, A: int, parameters: CriticParameters, generator: torch.Generator | None = None) -> None:
        super().__init__()
        p = self.parameters_ = parameters
        self.network = MLP(
            p.critics, D + A, max(p.bins, 1), p.width, p.depth, layer_norm=p.layer_norm, generator=generator
        )
        edges = bin_edges(p.low, p.high, p.bins).float() if p.bins else torch.zeros(0)
        self.register_buffer("edges", edges)

    def outputs(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values or logits (K, B, 1 or bins) of inputs (B, D), (B, A)."""
        inputs = torch.cat([observation, action], -1)
        return self.network(rows_of(self.parameters_.critics, inputs))

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """Values (..., K) of inputs (..., D), (..., A)."""
        lead = observation.shape[:-1]
        out = self.outputs(observation.reshape(-1, observation.shape[-1]), action.reshape(-1, action.shape[-1]))
        return values_of(out, self.edges).T.reshape(*lead, -1)

    def loss(self, observation: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Mean over critics and samples: half the squared error, or the cross-entropy to the masses of targets (B,)."""
        return loss_of(self.outputs(observation, action), target, self.edges).mean()
