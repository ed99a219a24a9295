"""Several small multilayer perceptrons evaluated as one: batched matrix products, with one axis for the members.

With small layers, a loop over members is dominated by per-operation overhead; one `baddbmm` per layer does the same
arithmetic for all members.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MLP", "BatchedLinear", "expand_inputs", "join_networks"]

Network = TypeVar("Network", bound=nn.Module)


class BatchedLinear(nn.Module):
    """E affine maps: x (E, B, in) -> x W + b (E, B, out); weights (E, in, out), biases (E, 1, out).

    Initial values are those of torch.nn.Linear: uniform within 1 / sqrt(in).
    """

    def __init__(self, members: int, inputs: int, outputs: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Return x W + b for every member."""
        return torch.baddbmm(self.bias, x, self.weight)


class MLP(nn.Module):
    """E multilayer perceptrons of `depth` hidden layers: (E, B, in) -> (E, B, out).

    `rank` puts a linear bottleneck before the output, so that with depth 0 the map is linear of that rank.
    `layer_norm` normalises every hidden layer before its activation, without weights of its own.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        outputs: int,
        width: int,
        depth: int,
        rank: int | None = None,
        layer_norm: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(members, inputs, outputs, width, 1 if rank is None else rank) < 1 or depth < 0:
            raise ValueError(
                f"members, inputs, outputs, width, rank = {members, inputs, outputs, width, rank} must be positive "
                f"and depth = {depth} at least 0."
            )
        sizes: Sequence[int] = [inputs] + [width] * depth
        self.hidden = nn.ModuleList(BatchedLinear(members, a, b, generator) for a, b in pairwise(sizes))
        last = sizes[-1]
        self.bottleneck = None if rank is None else BatchedLinear(members, last, rank, generator)
        self.output = BatchedLinear(members, last if rank is None else rank, outputs, generator)
        self.layer_norm = layer_norm

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (E, B, out). Activations are SiLU: smooth, so that values have second derivatives."""
        for layer in self.hidden:
            x = layer(x)
            if self.layer_norm:
                x = F.layer_norm(x, x.shape[-1:])
            x = F.silu(x)
        if self.bottleneck is not None:
            x = self.bottleneck(x)
        return self.output(x)


def expand_inputs(members: int, x: Tensor) -> Tensor:
    """Return inputs (..., in) that all members share as (E, B, in), without a copy."""
    flat = x.reshape(-1, x.shape[-1])
    return flat.expand(members, *flat.shape)


def join_networks(networks: Sequence[Network]) -> Network:
    """Return one network with the members of all: (E_1 + E_2 + ...) of them, in this order.

    The parameters of the networks become views of its own, so that a step of the joint network is a step of each.
    """
    joint = copy.deepcopy(networks[0])
    for parameter, *parts in zip(joint.parameters(), *(network.parameters() for network in networks), strict=True):
        parameter.data = torch.cat([part.data for part in parts])
        for part, view in zip(parts, parameter.data.split([len(part) for part in parts]), strict=True):
            part.data = view
    return joint
