"""Balanced learning from several sources of preferences (MORE, Zeng et al. 2024, arXiv 2312.07401).

The loss is sum_k w_k L_k over K sources with weights on the simplex:

    pooled    w_k is the source's share of the pairs: one heap
    uniform   w_k = 1 / K
    min_norm  |sum_k w_k g_k| is least, g_k the gradient of L_k with respect to the reward's last layer, so that the
              step goes down for all sources if any step does (multiple-gradient descent)

`min_norm_weights` solves the least norm by Frank-Wolfe steps that move weight between two sources, the pair and the
length that lower the norm most; two sources need one step. Published: as accurate as one heap, better calibrated; most
of that comes with `uniform` already.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from valuegym.agents.reward_models.bradley_terry import RewardEnsemble, bt_loss
from valuegym.agents.reward_models.fitting import FitSettings, fit
from valuegym.agents.reward_models.pairs import Pairs, check_groups
from valuegym.envs import checks

__all__ = ["WEIGHTINGS", "fit_sources", "min_norm_weights"]

WEIGHTINGS = ("pooled", "uniform", "min_norm")
_GAP = 1e-10  # of the squared norm to its least, relative to the largest squared norm of a gradient
_LEAST = 1e-30


@torch.no_grad()
def min_norm_weights(gradients: Tensor, normalise: bool = False, iterations: int = 2000) -> Tensor:
    """Return weights (..., K) on the simplex with the least norm of the weighted sum of gradients (..., K, P).

    `normalise` divides each gradient by its norm first: the direction of a source counts and not its scale. Two
    gradients a and b have the weight clip(b . (b - a) / |a - b|**2, 0, 1) of a; equal ones share alike.

    Raises:
        ValueError: a gradient is not finite, or there is none.
    """
    if gradients.ndim < 2 or not gradients.shape[-2] or not gradients.isfinite().all():
        raise ValueError(f"gradients has shape {tuple(gradients.shape)}; expected finite (..., K, P).")
    checks.integer("iterations", iterations, 1)
    g = gradients.double()
    if checks.flag("normalise", normalise):
        g = F.normalize(g, dim=-1)
    else:  # the solution does not change, and squares stay finite
        g = g / g.abs().amax((-1, -2), keepdim=True).clamp_min(_LEAST)
    gram = g @ g.mT
    K = gram.shape[-1]
    weights = torch.full(gram.shape[:-1], 1 / K, dtype=g.dtype, device=g.device)
    squares = gram.diagonal(dim1=-2, dim2=-1)
    # |g_j - g_i|**2, of the gradient that gives weight (row) and the one that takes it (column).
    apart_squared = (squares[..., :, None] + squares[..., None, :] - 2 * gram).clamp_min(_LEAST)
    for _ in range(iterations):
        slope = (gram @ weights[..., None]).squeeze(-1)
        gain = slope[..., :, None] - slope[..., None, :]
        if bool((gain.masked_fill(weights[..., None] <= 0, 0.0).amax((-1, -2)) <= _GAP * squares.amax(-1)).all()):
            break
        length = torch.minimum(gain / apart_squared, weights[..., None]).clamp_min(0)
        fall = length * (gain - 0.5 * length * apart_squared)
        best = fall.flatten(-2).argmax(-1, keepdim=True)
        step = length.flatten(-2).gather(-1, best)
        weights = weights.scatter_add(-1, best // K, -step).scatter_add(-1, best % K, step)
    weights = weights.clamp_min(0)
    return (weights / weights.sum(-1, keepdim=True)).to(gradients.dtype)


def fit_sources(
    model: RewardEnsemble,
    pairs: Pairs,
    sources: int,
    settings: FitSettings,
    generator: torch.Generator,
    weighting: str = "min_norm",
    normalise: bool = True,
    momentum: float = 0.99,
) -> tuple[Tensor, Tensor]:
    """Fit an ensemble to pairs whose `group` is their source; return losses (steps, E) and last weights (E, K).

    A batch has equally many pairs of each source, drawn with replacement. Gradients for `min_norm` are averaged over
    steps, the newest with weight `momentum`.

    Raises:
        ValueError: the pairs have no sources, one source has no pair, or an option is out of its range.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    checks.choice("weighting", weighting, WEIGHTINGS)
    checks.real("momentum", momentum, high=1, above=0)
    group = check_groups(pairs, checks.integer("sources", sources, 1), "source")
    counts = torch.bincount(group, minlength=sources)
    if not counts.all():
        raise ValueError(f"source {int((counts == 0).nonzero()[0])} has no pair; expected one of each of {sources}.")
    order = torch.argsort(group, stable=True)
    start = (counts.cumsum(0) - counts)[:, None]
    each = max(1, (settings.batch or len(pairs)) // sources)
    model.network.standardise.fit(pairs.inputs, pairs.mask)
    fixed = counts / counts.sum() if weighting == "pooled" else torch.full((sources,), 1 / sources)
    weights = fixed.to(pairs.labels).expand(model.members, -1)
    average: Tensor | None = None
    place = generator.device

    def losses(rows: Tensor, step: int) -> Tensor:
        nonlocal weights, average
        random = torch.rand(model.members, sources, each, generator=generator, device=place).to(group.device)
        taken = order[start + (random * counts[:, None]).long().clamp_max(counts[:, None] - 1)]
        logits = model(pairs[taken.flatten(1)]).reshape(taken.shape)
        of_source = bt_loss(logits, pairs.labels[taken]).mean(-1)
        if weighting == "min_norm" and bool(of_source.isfinite().all()):
            found = [
                torch.autograd.grad(x.sum(), model.network.head, retain_graph=True)[0] for x in of_source.unbind(1)
            ]
            gradient = torch.stack([x.flatten(1) for x in found], 1)
            average = gradient if average is None else average.lerp(gradient, momentum)
            weights = min_norm_weights(average, normalise, iterations=200)
        return (weights * of_source).sum(-1)

    # One row for the loop: batches are drawn here, the same number of each source.
    own = FitSettings(settings.steps, None, settings.lr, settings.weight_decay)
    history = fit("the reward model", model.parameters(), losses, 1, own, generator, model.members)
    return history, weights.detach()
