"""Contrastive preference learning (Hejna et al. 2023, arXiv:2310.13639) of a tabular softmax policy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.preference.comparisons import check_answers, visits
from valuegym.agents.preference.descent import PRIOR_SCALE
from valuegym.agents.preference.preference_learner import STARTS, Floats, PreferenceLearner, lowest
from valuegym.envs import checks
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.models import BradleyTerry
from valuegym.envs.preference.segments import Segment

__all__ = ["CPL", "TEMPERATURES", "log_softmax"]

TEMPERATURES = (1e-6, 1e6)  # of the soft optimum, in units of reward


class CPL(PreferenceLearner):
    """P(second) = logistic(sum_t discount**t alpha log pi(second) - the same of the first), over policies directly.

    In maximum-entropy reinforcement learning the optimal advantage is alpha log pi*(a | s), so the regret model of
    preference needs no reward, no value and no dynamics. alpha is the temperature of the soft optimum in units of
    reward. Logits have the other learners' prior, N(0, 10**2), optimiser and number of starts; the conservative
    bias of the paper is left at 1, which is none.

    Raises:
        ValueError: as `PreferenceLearner`, or alpha is not in TEMPERATURES.
    """

    policy = True

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, alpha: float = 1.0) -> None:
        super().__init__(env, seed)
        self.alpha = checks.real("alpha", alpha, *TEMPERATURES)

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Return log probabilities (S * A,), shifted to 0 in the mean of each state; states in no segment stay at 0.

        Raises:
            ValueError: pairs or labels are not valid (`comparisons.check_answers`).
            DivergenceError: the logits are not finite.
        """
        S, A, d = mdp.features.shape[1:]
        pairs, label = check_answers(pairs, label, S, A, d)
        every = visits(pairs, S, A, mdp.discount).reshape(-1, S, A)
        seen = np.flatnonzero(every.any((0, 2)))
        counts, size = self.alpha * every[:, seen].reshape(len(label), -1), len(seen) * A
        table, choice = np.zeros((S, A)), BradleyTerry()

        def loss(logits: Floats) -> tuple[float, Floats]:
            logs = log_softmax(logits.reshape(-1, A))
            x = counts @ logs.reshape(-1)
            slope = (counts.T @ (choice.probability(x) - label)).reshape(-1, A)
            slope -= np.exp(logs) * slope.sum(-1, keepdims=True)
            prior = logits / PRIOR_SCALE**2
            return float(choice.cross_entropy(x, label).sum() + 0.5 * logits @ prior), slope.reshape(-1) + prior

        logits = lowest(loss, (np.zeros(size), *rng.standard_normal((STARTS - 1, size)))).weights.reshape(-1, A)
        table[seen] = logits - logits.mean(-1, keepdims=True)
        return table.reshape(-1)


def log_softmax(logits: Floats) -> Floats:
    """Return log probabilities of a softmax over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logs
