"""General preference model (Zhang et al. 2024, arXiv 2410.02197): cyclic preferences by skew-symmetric scores.

An item has a vector v of 2k numbers, and

    s(a, b) = sum_i v_a[2i] v_b[2i + 1] - v_a[2i + 1] v_b[2i],    P(a preferred to b) = sigmoid(s(a, b) / tau),

so that s(a, b) = -s(b, a) and s(a, a) = 0 to the bit. With v = (r, 1) this is Bradley-Terry: s(a, b) = r_a - r_b.
n items need n evaluations of the network, their n**2 comparisons none. The vector of a segment is the mean of those of
its steps; of items of one step this is the paper's model.

Vectors of length 1 with 2 numbers can stay stuck in a poor minimum; from 4 numbers on, or without that constraint,
small tournaments are fitted without error.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.reward_models.bradley_terry import bt_loss
from valuegym.agents.reward_models.fitting import FitSettings, StepNetwork, fit
from valuegym.agents.reward_models.pairs import Pairs, masked_mean
from valuegym.envs import checks

__all__ = ["GeneralPreference", "fit_general_preference", "preference_matrix", "skew_score"]


def skew_score(a: Tensor, b: Tensor) -> Tensor:
    """Return s(a, b) of vectors (..., 2k), above 0 where a is preferred.

    Raises:
        ValueError: the number of entries is odd.
    """
    if a.shape[-1] % 2 or a.shape[-1] != b.shape[-1]:
        raise ValueError(f"vectors have {a.shape[-1]} and {b.shape[-1]} entries; expected the same even number.")
    return (a[..., 0::2] * b[..., 1::2] - a[..., 1::2] * b[..., 0::2]).sum(-1)


def preference_matrix(vectors: Tensor, temperature: float = 1.0) -> Tensor:
    """Return P(row preferred to column) of all items, (..., n, 2k) -> (..., n, n).

    Raises:
        ValueError: the temperature is not above 0, or the number of entries is odd.
    """
    checks.real("temperature", temperature, above=0)
    return torch.sigmoid(skew_score(vectors[..., :, None, :], vectors[..., None, :, :]) / temperature)


class GeneralPreference(nn.Module):
    """E networks from a step to a vector of `dimensions` entries; `normalise` gives vectors length 1.

    Raises:
        ValueError: `dimensions` is odd, a size is not positive, or the temperature is not above 0.
    """

    def __init__(
        self,
        inputs: int,
        generator: torch.Generator,
        members: int = 1,
        dimensions: int = 4,
        width: int = 64,
        depth: int = 2,
        normalise: bool = True,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if checks.integer("dimensions", dimensions, 2) % 2:
            raise ValueError(f"dimensions is {dimensions}; expected an even number.")
        self.normalise = checks.flag("normalise", normalise)
        self.temperature = checks.real("temperature", temperature, above=0)
        self.network = StepNetwork(members, inputs, dimensions, width, depth, generator)
        self.members = members

    def vectors(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors (E, ..., 2k) of segments (E or 1, ..., L, D) with masks (E or 1, ..., L)."""
        vectors = masked_mean(self.network(inputs), mask)
        return F.normalize(vectors, dim=-1) if self.normalise else vectors

    def forward(self, pairs: Pairs) -> Tensor:
        """Return logits (E, N) of the second being preferred, for N pairs or (E, B) of them."""
        shared = pairs.labels.ndim == 1
        inputs, mask = (pairs.inputs[None], pairs.mask[None]) if shared else (pairs.inputs, pairs.mask)
        vectors = self.vectors(inputs, mask)
        return skew_score(vectors[..., 1, :], vectors[..., 0, :]) / self.temperature


def fit_general_preference(
    model: GeneralPreference, pairs: Pairs, settings: FitSettings, generator: torch.Generator
) -> Tensor:
    """Fit to pairs by cross-entropy, and return losses (steps, E).

    Raises:
        ValueError: the pairs have another number of inputs.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    model.network.standardise.fit(pairs.inputs, pairs.mask)

    def losses(rows: Tensor, step: int) -> Tensor:
        return bt_loss(model(pairs[rows]), pairs.labels[rows]).mean(-1)

    return fit(
        "the general preference model", model.parameters(), losses, len(pairs), settings, generator, model.members
    )
