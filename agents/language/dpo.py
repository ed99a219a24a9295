"""Direct preference optimisation of a policy over tokens (Rafailov et al. 2023, arXiv:2305.18290).

    -log logistic(beta log(policy(y_w | x) / reference(y_w | x)) - beta log(policy(y_l | x) / reference(y_l | x)))

for a preferred response y_w and the other one y_l to one prompt x. The case of contrastive preference learning (`cpl`)
in which what is compared are whole responses to one prompt: there regret and partial return agree. Written here as in
the paper, from probabilities of whole responses; a test holds losses and gradients of the two to each other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from valuegym.agents.language.pairs import PRIOR_SCALE, Pairs, fit_table
from valuegym.envs import checks
from valuegym.envs.language import prefixes
from valuegym.envs.language.prefixes import Floats

__all__ = ["check_responses", "dpo_loss", "learn"]


def check_responses(pairs: Pairs, shape: tuple[int, ...]) -> None:
    """Check that the pairs are whole responses to one prompt each, in a tree with tables of this shape (P, N, V).

    Raises:
        ValueError: a stretch begins after the empty prefix or ends before the response does, or prompts differ.
    """
    last = pairs.prefix[..., -1] * shape[-1] + 1 + pairs.token[..., -1]
    if (pairs.prefix[..., 0] != 0).any() or (last < shape[1]).any():
        raise ValueError("A stretch is no whole response; expected ones that begin with nothing written and end.")
    if (pairs.prompt[:, 0] != pairs.prompt[:, 1]).any():
        raise ValueError("A pair compares responses to two prompts; expected one prompt in each pair.")


def dpo_loss(policy_logs: Tensor, reference_logs: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Return the loss (n,) from log probabilities (n, 2) of both responses under policy and reference."""
    ratio = policy_logs - reference_logs
    margin = beta * (ratio[:, 0] - ratio[:, 1])  # in favour of the first
    return -(1 - labels) * F.logsigmoid(margin) - labels * F.logsigmoid(-margin)


def learn(pairs: Pairs, log_reference: Floats, temperature: float, prior_scale: float = PRIOR_SCALE) -> Floats:
    """Return log probabilities (P, N, V) of the policy learned from the answers; beta is the temperature.

    Raises:
        ValueError: the pairs are no whole responses to one prompt each, or the temperature or the scale of the prior is
            no finite number above 0.
        DivergenceError: the policy is not finite.
    """
    checks.real("temperature", temperature, above=0)
    check_responses(pairs, log_reference.shape)
    reference = torch.as_tensor(log_reference)

    def loss(table: Tensor) -> Tensor:
        log_policy = (reference + table / temperature).log_softmax(-1)
        return dpo_loss(pairs.sums(log_policy), pairs.sums(reference), pairs.labels, temperature).sum()

    table = fit_table(loss, log_reference.shape, prior_scale)
    return prefixes.log_softmax(log_reference + table / temperature)
