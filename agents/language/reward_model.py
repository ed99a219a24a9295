"""Reward model and policy gradient: partial return is what people compare, and the reward is maximised afterwards.

First a reward (P, N, V) is fitted by Bradley-Terry's model of partial returns (Christiano et al. 2017,
arXiv:1706.03741); then a softmax policy climbs the return under it, less a KL penalty (Ziegler et al. 2019,
arXiv:1909.08593; Stiennon et al. 2020, arXiv:2009.01325). The gradient is exact, a sum over all prefixes in the place
of sampled responses, and natural: the plain one hardly changes what follows prefixes that the policy hardly reaches.
What remains is what the reward model itself gets wrong.
"""

from __future__ import annotations

import numpy as np

from valuegym.agents.divergence import DivergenceError
from valuegym.agents.language.pairs import PRIOR_SCALE, Pairs, fit_table, logistic_loss
from valuegym.envs import checks
from valuegym.envs.language import prefixes
from valuegym.envs.language.prefixes import Floats

__all__ = ["climb", "fit_reward", "learn"]

STEPS, RATE = 100, 0.5  # of the policy; steps of 1 / temperature would be soft policy iteration
ENOUGH = 1e-12  # gain of the objective in a step, relative to its size, below which the policy is done


def fit_reward(pairs: Pairs, shape: tuple[int, ...], prior_scale: float = PRIOR_SCALE) -> Floats:
    """Return the reward (P, N, V) of this shape, fitted to the answers; convex.

    Raises:
        ValueError: the scale of the prior is no finite number above 0.
        DivergenceError: the reward is not finite.
    """
    return fit_table(lambda reward: logistic_loss(pairs.sums(reward), pairs.labels).sum(), shape, prior_scale)


def climb(rewards: Floats, log_reference: Floats, temperature: float) -> Floats:
    """Return log probabilities (P, N, V) of a softmax policy that starts at the reference and follows the gradient.

    The natural gradient (Kakade 2001) of a softmax table is the advantage of the penalised reward, r - temperature
    log(policy / reference), whatever the share of responses that come to a prefix.

    Raises:
        ValueError: the temperature is no finite number above 0.
        DivergenceError: the objective is not finite.
    """
    checks.real("temperature", temperature, above=0)
    logs, before = log_reference, -np.inf
    for _ in range(STEPS):
        penalised = rewards - temperature * (logs - log_reference)
        values, action_values = prefixes.evaluate(penalised, np.exp(logs))
        objective = values[:, 0].sum()
        if not np.isfinite(objective):
            raise DivergenceError(f"The policy's objective is {objective}; expected a finite number.")
        if objective - before <= ENOUGH * abs(objective):
            break
        advantages = action_values - values[:, : logs.shape[1], None]
        logs, before = prefixes.log_softmax(logs + RATE / temperature * advantages), objective
    return logs


def learn(pairs: Pairs, log_reference: Floats, temperature: float, prior_scale: float = PRIOR_SCALE) -> Floats:
    """Return log probabilities (P, N, V) of the policy learned from the answers.

    Raises:
        ValueError: the temperature or the scale of the prior is no finite number above 0.
        DivergenceError: the reward or the policy is not finite.
    """
    return climb(fit_reward(pairs, log_reference.shape, prior_scale), log_reference, temperature)
