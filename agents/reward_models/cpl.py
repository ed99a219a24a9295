"""Contrastive preference learning (Hejna et al. 2023, arXiv 2310.13639) of policies with parameters.

The score of a segment is alpha sum_t discount**t log pi(a_t | s_t), which in maximum-entropy reinforcement learning is
the optimal policy's advantage: a policy is learned, and no reward. With `bias` below 1, "a over b" costs

    -log sigmoid(score(a) - bias score(b)),

so that the policy is drawn to what was preferred and not only away from the rest (conservative). The authors use alpha
0.1, bias 0.5 and no discount.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.reward_models.bradley_terry import segment_scores
from valuegym.agents.reward_models.fitting import FitSettings, StepNetwork, fit
from valuegym.envs import checks

__all__ = ["CategoricalPolicy", "GaussianPolicy", "cpl_loss", "fit_policy"]

_LOG_STD = 5.0  # bound of |log standard deviation|, reached smoothly


def cpl_loss(
    log_probabilities: Tensor,
    mask: Tensor,
    labels: Tensor,
    alpha: float = 0.1,
    bias: float = 0.5,
    discount: float = 1.0,
) -> Tensor:
    """Return the loss (...) of pairs, log probabilities of actions (..., 2, L) and labels (...) from 0 to 1.

    Raises:
        ValueError: alpha is not above 0, or bias or discount lies outside (0, 1].
    """
    checks.real("alpha", alpha, above=0)
    checks.real("bias", bias, high=1, above=0)
    checks.real("discount", discount, high=1, above=0)
    first, second = (alpha * segment_scores(log_probabilities, mask, discount)).unbind(-1)
    return labels * F.softplus(bias * first - second) + (1 - labels) * F.softplus(bias * second - first)


class CategoricalPolicy(nn.Module):
    """E policies of discrete actions.

    Raises:
        ValueError: a size is not a positive integer, or depth is negative.
    """

    def __init__(
        self, inputs: int, actions: int, generator: torch.Generator, members: int = 1, width: int = 64, depth: int = 2
    ) -> None:
        super().__init__()
        self.network = StepNetwork(members, inputs, actions, width, depth, generator)
        self.members = members

    def log_probabilities(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Return log pi(a | s) (E, ...) of observations (E or 1, ..., D) and integer actions (E or 1, ...)."""
        logs = self.network(observations).log_softmax(-1)
        return logs.gather(-1, actions.expand(logs.shape[:-1])[..., None]).squeeze(-1)


class GaussianPolicy(nn.Module):
    """E policies of continuous actions: normal with mean and diagonal deviation by the observation.

    Raises:
        ValueError: a size is not a positive integer, or depth is negative.
    """

    def __init__(
        self, inputs: int, actions: int, generator: torch.Generator, members: int = 1, width: int = 64, depth: int = 2
    ) -> None:
        super().__init__()
        checks.integer("actions", actions, 1)
        self.network = StepNetwork(members, inputs, 2 * actions, width, depth, generator)
        self.members = members

    def moments(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation (E, ..., A) of actions for observations (E or 1, ..., D)."""
        mean, raw = self.network(observations).chunk(2, -1)
        return mean, (_LOG_STD * (raw / _LOG_STD).tanh()).exp()

    def log_probabilities(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Return log pi(a | s) (E, ...) of observations (E or 1, ..., D) and actions (E or 1, ..., A)."""
        mean, deviation = self.moments(observations)
        return torch.distributions.Normal(mean, deviation, validate_args=False).log_prob(actions).sum(-1)


def fit_policy(
    policy: CategoricalPolicy | GaussianPolicy,
    observations: Tensor,
    actions: Tensor,
    mask: Tensor,
    labels: Tensor,
    settings: FitSettings,
    generator: torch.Generator,
    alpha: float = 0.1,
    bias: float = 0.5,
    discount: float = 1.0,
) -> Tensor:
    """Fit a policy to pairs, observations (N, 2, L, D), actions (N, 2, L, ...), and return losses (steps, E).

    Pairs with a label of NaN are left out.

    Raises:
        ValueError: shapes do not match, a value is not finite, no pair is answered, or a number is out of its range.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    shape = observations.shape[:3]
    if observations.ndim != 4 or shape[1] != 2 or not observations.isfinite().all():
        raise ValueError(f"observations has shape {tuple(observations.shape)}; expected finite (N, 2, L, D).")
    discrete = isinstance(policy, CategoricalPolicy)
    if actions.shape[:3] != shape or actions.ndim != 4 - discrete or not actions.isfinite().all():
        raise ValueError(f"actions has shape {tuple(actions.shape)}; expected finite {tuple(shape)} first.")
    if discrete and (actions.is_floating_point() or not ((actions >= 0) & (actions < policy.network.outputs)).all()):
        raise ValueError(f"actions of type {actions.dtype} are not integers from 0 to {policy.network.outputs - 1}.")
    if not discrete and 2 * actions.shape[-1] != policy.network.outputs:
        raise ValueError(f"actions have {actions.shape[-1]} entries; expected {policy.network.outputs // 2}.")
    if mask.shape != shape or not ((mask == 0) | (mask == 1)).all() or not mask.any(-1).all():
        raise ValueError(f"mask has shape {tuple(mask.shape)}; expected 0 or 1 of each step {tuple(shape)}.")
    if labels.shape != shape[:1] or not (labels.isnan() | ((labels >= 0) & (labels <= 1))).all():
        raise ValueError(f"labels has shape {tuple(labels.shape)}; expected {shape[0]} from 0 to 1, or NaN.")
    kept = (~labels.isnan()).nonzero().squeeze(-1)
    if not len(kept):
        raise ValueError(f"labels are NaN for all of {len(labels)} pairs; expected an answer to at least one.")
    there = mask.to(observations)
    policy.network.standardise.fit(observations[kept], there[kept])

    def losses(rows: Tensor, step: int) -> Tensor:
        taken = kept[rows]
        logs = policy.log_probabilities(observations[taken], actions[taken])
        return cpl_loss(logs, there[taken], labels[taken].to(logs), alpha, bias, discount).mean(-1)

    return fit("the policy", policy.parameters(), losses, len(kept), settings, generator, policy.members)
