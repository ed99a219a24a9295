"""Bayesian partial return: the posterior of `bayes_regret` under the other model, for a fair comparison."""

from __future__ import annotations

import numpy as np

from valuegym.agents import posterior
from valuegym.agents.preference_learner import Floats, PreferenceLearner
from valuegym.envs.mdp import Integers, TabularMDP
from valuegym.envs.preference.models import BradleyTerry, discounted_sum
from valuegym.envs.preference.segments import Segment


class BayesPartialReturn(PreferenceLearner):
    """P(second) = logistic(partial return(second) - partial return(first)), averaged over the possible weights.

    Prior, temperature, sampling and answer are those of `BayesRegret`.
    """

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Weights (d,) for answered pairs (n, 2, ...) with labels (n,)."""
        return posterior.estimate(posterior.condense(mdp).mdp, likelihood(mdp, pairs, label), rng)


def likelihood(mdp: TabularMDP, pairs: Segment, label: Floats) -> posterior.Likelihood:
    """Of weights, given the answers; nothing has to be solved."""
    counts = discounted_sum(pairs.features.astype(float).swapaxes(-1, -2), mdp.discount)
    D, choice = counts[:, 1] - counts[:, 0], BradleyTerry()

    def log_likelihood(weights: Floats, first: Integers | None) -> tuple[Floats, None]:
        return -choice.cross_entropy(weights @ D.T, label).sum(-1), None

    return log_likelihood
