"""Bayesian regret: a posterior over rewards under the regret model of preference, with exact values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from valuegym.agents.preference import comparisons, posterior
from valuegym.agents.preference.preference_learner import Floats, PreferenceLearner
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.segments import Segment

__all__ = ["BayesRegret"]


class BayesRegret(PreferenceLearner):
    """P(second) = logistic(regret(first) - regret(second)), averaged over the posterior of the weights.

    Prior: independent weights, fair signs, magnitudes log-uniform on `posterior.MAGNITUDES`; the same for every
    feature. It was fixed on simulated tasks of the split "dev", before any other task and any person's answer was
    seen. The temperature is 1; that of people is unknown, and the scale of the weights takes care of it. The answer
    has the highest posterior expected normalised return (`posterior.bayes_weights`).
    """

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Return weights (d,) for answered pairs (n, 2, ...) with labels (n,).

        Raises:
            ValueError: pairs or labels are not valid (`comparisons.check_answers`).
            DivergenceError: the posterior is not finite.
        """
        pairs, label = comparisons.check_answers(pairs, label, *mdp.features.shape[1:])
        return self.growing(mdp, pairs, label, (len(label),), rng)[0]

    def growing(
        self, mdp: TabularMDP, pairs: Segment, label: Floats, query_counts: Sequence[int], rng: np.random.Generator
    ) -> Floats:
        """Return weights (len(query_counts), d) after the first n answers, n in `query_counts`, which increase.

        Raises:
            ValueError: pairs, labels or counts are not valid (`comparisons.check_answers`, `check_counts`).
            DivergenceError: the posterior is not finite.
        """
        pairs, label = comparisons.check_answers(pairs, label, *mdp.features.shape[1:])
        condensed = condense(mdp)
        comparison = comparisons.regret(condensed.mdp, condensed.renumbered(pairs))
        return posterior.estimates(OptimalValues(condensed.mdp), comparison, label, query_counts, rng)
