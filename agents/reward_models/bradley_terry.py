"""Bradley-Terry reward models of segments, an ensemble at a time, with the usual losses.

The logit of the second being preferred is x = R(second) - R(first), R the sum of rewards of a segment, y the label and
m the strength of preference:

    bt       -y log sigmoid(x) - (1 - y) log sigmoid(-x)
    margin   the same of x - m where the second was preferred and x + m where the first was: |x| has to exceed m
    scaled   m times bt (Wang et al. 2024, arXiv 2410.01257), which repeats a pair m times
    dynamic  bt of b x, b = base (1 + weight (1 - exp(-rate m))): stronger preferences have a steeper loss (after
             MM-RLHF, Zhang et al. 2025)

Ratings of single segments can come first: a regression of R on them, from which the pairs start (the best recipe of
Wang et al.), and `extrapolate` continues the line from the regression through the result.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.reward_models.fitting import FitSettings, RewardNetwork, StepNetwork, fit
from valuegym.agents.reward_models.pairs import INPUTS, Pairs, distinct_steps, step_inputs
from valuegym.envs import checks

__all__ = [
    "LOSSES",
    "RewardEnsemble",
    "StepReward",
    "bt_loss",
    "dynamic_loss",
    "dynamic_scale",
    "extrapolate",
    "fit_pairs",
    "fit_ratings",
    "margin_loss",
    "reward_ensemble",
    "scaled_loss",
    "segment_scores",
]


def bt_loss(logit: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy of labels from 0 to 1, 0.5 being a soft target, for every pair."""
    return F.softplus(logit) - label * logit


def margin_loss(logit: Tensor, label: Tensor, strength: Tensor) -> Tensor:
    """Return `bt_loss` with the logit reduced by the strength on the preferred side; the same of 0.5 has no side."""
    return bt_loss(logit - strength * (2 * label - 1), label)


def scaled_loss(logit: Tensor, label: Tensor, strength: Tensor) -> Tensor:
    """Return `bt_loss` times the strength."""
    return strength * bt_loss(logit, label)


def dynamic_scale(strength: Tensor, base: float = 1.0, weight: float = 0.5, rate: float = 0.5) -> Tensor:
    """Return base (1 + weight (1 - exp(-rate strength))), from base up to base (1 + weight)."""
    return base * (1 - weight * torch.expm1(-rate * strength))


def dynamic_loss(logit: Tensor, label: Tensor, strength: Tensor) -> Tensor:
    """Return `bt_loss` with the logit times `dynamic_scale`."""
    return bt_loss(dynamic_scale(strength) * logit, label)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "bt": lambda logit, label, strength: bt_loss(logit, label),
    "margin": margin_loss,
    "scaled": scaled_loss,
    "dynamic": dynamic_loss,
}


def segment_scores(rewards: Tensor, mask: Tensor, discount: float = 1.0) -> Tensor:
    """Return discounted sums of rewards (..., L) over the steps of segments, mask (..., L) -> (...)."""
    if discount == 1.0:
        return (rewards * mask).sum(-1)
    steps = torch.arange(rewards.shape[-1], device=rewards.device, dtype=rewards.dtype)
    return (rewards * mask * discount**steps).sum(-1)


class RewardEnsemble(nn.Module):
    """E reward functions of a step, the outputs of a network with an axis of members; `reward_ensemble` makes one.

    Raises:
        ValueError: the network has more than one output, or discount lies outside (0, 1].
    """

    def __init__(self, network: RewardNetwork, discount: float = 1.0) -> None:
        super().__init__()
        self.discount = checks.real("discount", discount, high=1, above=0)
        self.network = network
        self.members = network.members
        if network.outputs != 1:
            raise ValueError(f"the network has {network.outputs} outputs; expected 1, the reward.")

    def rewards(self, inputs: Tensor) -> Tensor:
        """Return rewards (E, ...) of steps (E or 1, ..., D)."""
        return self.network(inputs).squeeze(-1)

    def scores(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return scores (E, ...) of segments (E or 1, ..., L, D) with masks (E or 1, ..., L)."""
        return segment_scores(self.rewards(inputs), mask, self.discount)

    def forward(self, pairs: Pairs) -> Tensor:
        """Return logits (E, N) of the second being preferred, for N pairs or (E, B) of them."""
        shared = pairs.labels.ndim == 1
        inputs, mask = (pairs.inputs[None], pairs.mask[None]) if shared else (pairs.inputs, pairs.mask)
        scores = self.scores(inputs, mask)
        return scores[..., 1] - scores[..., 0]


def reward_ensemble(
    inputs: int,
    generator: torch.Generator,
    members: int = 3,
    width: int = 64,
    depth: int = 2,
    discount: float = 1.0,
) -> RewardEnsemble:
    """Return an ensemble of multilayer perceptrons.

    Raises:
        ValueError: a size is not a positive integer, depth is negative, or discount lies outside (0, 1].
    """
    return RewardEnsemble(StepNetwork(members, inputs, 1, width, depth, generator), discount)


def fit_pairs(
    model: RewardEnsemble,
    pairs: Pairs,
    settings: FitSettings,
    generator: torch.Generator,
    loss: str = "bt",
    standardise: bool = True,
) -> Tensor:
    """Fit an ensemble to pairs by one of LOSSES, and return its losses (steps, E).

    `standardise` sets the scale of inputs from these pairs; after `fit_ratings` it has to stay as it is.

    Raises:
        ValueError: the loss is not one of LOSSES, or needs strengths that the pairs lack.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    rule = LOSSES[checks.choice("loss", loss, LOSSES)]
    if loss != "bt" and pairs.strength is None:
        raise ValueError(f"strength is None; expected one of each pair for the loss {loss!r}.")
    if standardise:
        model.network.standardise.fit(pairs.inputs, pairs.mask)
    strength = torch.zeros_like(pairs.labels) if pairs.strength is None else pairs.strength
    taken = len(pairs) if settings.batch is None else min(settings.batch, len(pairs))
    logits = _logits(model, pairs, taken * pairs.mask[0].numel() // 4)

    def losses(rows: Tensor, step: int) -> Tensor:
        return rule(logits(rows), pairs.labels[rows], strength[rows]).mean(-1)

    return fit("the reward model", model.parameters(), losses, len(pairs), settings, generator, model.members)


def _logits(model: RewardEnsemble, pairs: Pairs, few: int) -> Callable[[Tensor], Tensor]:
    """Return the function from rows (E, B) of pairs to their logits.

    Where there are only a few distinct steps, as in small finite environments, each is evaluated once: a logit is then
    the sum of their rewards, times how much more often they are in the second segment than in the first.
    """
    inside = pairs.mask > 0
    if model.discount != 1.0 or int(inside.sum()) <= few:
        return lambda rows: model(pairs[rows])
    steps, index = distinct_steps(pairs.inputs[inside])
    if len(steps) > few:
        return lambda rows: model(pairs[rows])
    pair, side, _ = inside.nonzero(as_tuple=True)
    counts = torch.zeros(len(pairs), len(steps), dtype=steps.dtype, device=steps.device)
    counts.index_put_((pair, index), 2.0 * side.to(steps.dtype) - 1.0, accumulate=True)
    return lambda rows: (counts[rows] * model.rewards(steps[None])[:, None]).sum(-1)


def fit_ratings(model: RewardEnsemble, pairs: Pairs, settings: FitSettings, generator: torch.Generator) -> Tensor:
    """Fit segment scores to ratings by squared error, and return losses (steps, E): the start for `fit_pairs`.

    Raises:
        ValueError: the pairs have no ratings.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    if pairs.ratings is None:
        raise ValueError("ratings is None; expected those of both segments of each pair.")
    model.network.standardise.fit(pairs.inputs, pairs.mask)
    ratings = pairs.ratings

    def losses(rows: Tensor, step: int) -> Tensor:
        error = model.scores(pairs.inputs[rows], pairs.mask[rows]) - ratings[rows]
        return error.square().mean((-2, -1))

    return fit("the regression", model.parameters(), losses, len(pairs), settings, generator, model.members)


def extrapolate(start: RewardEnsemble, end: RewardEnsemble, amount: float) -> RewardEnsemble:
    """Return a model with parameters end + amount (end - start) (ExPO, Zheng et al. 2024).

    Raises:
        ValueError: `amount` is not finite, or the models differ in shape or in the scale of their inputs.
    """
    checks.real("amount", amount)
    before, model = start.state_dict(), copy.deepcopy(end)
    state = end.state_dict()
    if before.keys() != state.keys() or any(before[k].shape != x.shape for k, x in state.items()):
        raise ValueError("start and end are models of different shapes; expected one fitted from the other.")
    if not all(torch.equal(before[k], x) for k, x in end.named_buffers()):
        raise ValueError("start and end standardise their inputs differently; fit with standardise=False.")
    model.load_state_dict({k: torch.lerp(before[k], x, 1 + amount) for k, x in state.items()})
    return model


class StepReward:
    """Rewards (E, N) of N transitions as arrays, the form in which wrappers of environments take a learned reward.

    `inputs` are those that the model was fitted to, a name in `pairs.INPUTS`.

    Raises:
        ValueError: `num_actions` is no positive integer, or `inputs` are unknown.
    """

    def __init__(self, model: RewardEnsemble, num_actions: int | None = None, inputs: str = "state_action") -> None:
        self.model, self.inputs = model, checks.choice("inputs", inputs, INPUTS)
        self.num_actions = None if num_actions is None else checks.integer("num_actions", num_actions, 1)

    @torch.no_grad()
    def __call__(self, observations: Any, actions: Any, next_observations: Any = None) -> np.ndarray:
        """Return rewards (E, N) of observations (N, *shape), actions (N, ...) and what followed (N, *shape).

        Raises:
            ValueError: as `step_inputs`.
        """
        inputs = step_inputs(observations, actions, self.num_actions, self.inputs, next_observations)
        steps = torch.as_tensor(inputs, dtype=torch.float32)
        rewards: np.ndarray = self.model.rewards(steps[None]).double().numpy()
        return rewards
