"""Bayesian regret: a posterior over rewards under the regret model of preference, with exact values."""

from __future__ import annotations

import numpy as np

from valuegym.agents import posterior
from valuegym.agents.preference_learner import Floats, PreferenceLearner, visits
from valuegym.envs.mdp import Integers, TabularMDP
from valuegym.envs.preference.models import BradleyTerry
from valuegym.envs.preference.segments import Segment


class BayesRegret(PreferenceLearner):
    """P(second) = logistic(regret(first) - regret(second)), averaged over the weights that the answers leave possible.

    Prior: independent weights, fair signs, magnitudes log-uniform on `posterior.MAGNITUDES`; the same for every
    feature. It was fixed on simulated tasks of the split "dev", before any other task and any person's answer was
    seen. The temperature is 1; that of people is unknown, and the scale of the weights takes care of it. The answer
    has the highest posterior expected normalised return (`posterior.bayes_weights`).
    """

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Weights (d,) for answered pairs (n, 2, ...) with labels (n,)."""
        small, state = posterior.condense(mdp)
        return posterior.estimate(small, likelihood(small, pairs._replace(states=state[pairs.states]), label), rng)


def likelihood(mdp: TabularMDP, pairs: Segment, label: Floats) -> posterior.Likelihood:
    """Of weights, given the answers: a difference of regrets is a sum of optimal advantages, counted once."""
    S, A = mdp.features.shape[1:3]
    counts = visits(pairs, S, A, mdp.discount)
    choice = BradleyTerry()

    def log_likelihood(weights: Floats, first: Integers | None) -> tuple[Floats, Integers]:
        policy, _, advantage = posterior.solve(mdp, weights, first)
        difference = advantage.reshape(-1, S * A) @ counts.T
        return -choice.cross_entropy(difference, label).sum(-1), policy

    return log_likelihood
