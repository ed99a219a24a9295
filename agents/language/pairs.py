"""Answered pairs of stretches of tokens, and what the learners of this folder share: one fit of a table to the answers.

Labels are 0 where the first stretch is preferred, 1 where the second; a number in between is the share of people who
prefer the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks
from valuegym.envs.language.prefixes import Stretches

__all__ = ["PRIOR_SCALE", "Pairs", "fit_table", "logistic_loss", "make_pairs"]

PRIOR_SCALE = 1.0  # standard deviation of the normal prior on each number of a table, in units of reward
STEPS = 1000  # of L-BFGS at most


class Pairs(NamedTuple):
    """n answered pairs: prompt (n, 2), prefix and token (n, 2, L), labels (n,), as tensors."""

    prompt: Tensor
    prefix: Tensor
    token: Tensor
    labels: Tensor

    def sums(self, table: Tensor) -> Tensor:
        """Return the sums (n, 2) of a table (P, N, V) along the stretches."""
        return table[self.prompt[..., None], self.prefix, self.token].sum(-1)


def make_pairs(stretches: Stretches, labels: Any) -> Pairs:
    """Return pairs of stretches (n, 2) with their labels (n,).

    Raises:
        ValueError: stretches are not in pairs, or labels are not n numbers from 0 to 1.
    """
    shape = np.shape(stretches.prompt)
    if len(shape) != 2 or shape[1] != 2 or not shape[0]:
        raise ValueError(f"stretches have shape {shape}; expected (n, 2) with n of at least 1: the sides of n pairs.")
    labels = checks.reals("labels", labels, (shape[0],), 0, 1)
    prompt, prefix, token = (torch.as_tensor(np.ascontiguousarray(field)) for field in stretches)
    return Pairs(prompt, prefix, token, torch.as_tensor(labels))


def logistic_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Return -log P of the labels (n,) under P(second) = logistic(score of second - score of first), scores (n, 2)."""
    difference = scores[:, 1] - scores[:, 0]
    return F.softplus(difference) - labels * difference


def fit_table(
    loss: Callable[[Tensor], Tensor], shape: tuple[int, ...], prior_scale: float = PRIOR_SCALE
) -> npt.NDArray[np.float64]:
    """Return the table of this shape with the least loss plus a normal prior, by L-BFGS from a table of zeros.

    Numbers that no pair depends on stay at 0.

    Raises:
        ValueError: the scale of the prior is no finite number above 0.
        DivergenceError: the loss or the table is not finite.
    """
    checks.real("prior_scale", prior_scale, above=0)
    table = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [table], max_iter=STEPS, tolerance_grad=1e-8, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = loss(table) + 0.5 * (table / prior_scale).square().sum()
        total.backward()
        return total

    last = optimiser.step(closure)
    if not (torch.as_tensor(last).isfinite() and table.isfinite().all()):
        raise DivergenceError(f"The fit to the answers ended with loss {float(last)}; expected finite numbers.")
    return table.detach().numpy()
