"""Contrastive preference learning of a policy over tokens: regret is what people compare, and no reward is learned.

Under a KL penalty the optimal advantage is temperature log(policy / reference), so that the regret model of preference
needs neither reward nor values:

    P(second) = logistic(sum_t temperature log(policy / reference)(second) - the same of the first)

(Hejna et al. 2023, arXiv:2310.13639, whose reference is uniform; Rafailov et al. 2024, arXiv:2404.12358, for tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor

from valuegym.agents.language.pairs import PRIOR_SCALE, Pairs, fit_table, logistic_loss
from valuegym.envs import checks
from valuegym.envs.language import prefixes
from valuegym.envs.language.prefixes import Floats

__all__ = ["cpl_loss", "learn"]


def cpl_loss(log_policy: Tensor, log_reference: Tensor, pairs: Pairs, temperature: float) -> Tensor:
    """Return the loss (n,) of each pair, from log probabilities (P, N, V) of policy and reference."""
    advantages = temperature * (log_policy - log_reference)
    return logistic_loss(pairs.sums(advantages), pairs.labels)


def learn(pairs: Pairs, log_reference: Floats, temperature: float, prior_scale: float = PRIOR_SCALE) -> Floats:
    """Return log probabilities (P, N, V) of the policy learned from the answers.

    The policy is a softmax of log reference + table / temperature, so that the prior is on numbers in units of reward,
    and where nothing was compared it stays at the reference.

    Raises:
        ValueError: the temperature or the scale of the prior is no finite number above 0.
        DivergenceError: the policy is not finite.
    """
    checks.real("temperature", temperature, above=0)
    reference = torch.as_tensor(log_reference)

    def loss(table: Tensor) -> Tensor:
        log_policy = (reference + table / temperature).log_softmax(-1)
        return cpl_loss(log_policy, reference, pairs, temperature).sum()

    table = fit_table(loss, log_reference.shape, prior_scale)
    return prefixes.log_softmax(log_reference + table / temperature)
