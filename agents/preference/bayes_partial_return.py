"""Bayesian partial return: the posterior of `bayes_regret` under the partial-return model of preference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from valuegym.agents.preference import comparisons, posterior
from valuegym.agents.preference.preference_learner import Floats, PreferenceLearner
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.segments import Segment

__all__ = ["BayesPartialReturn"]


class BayesPartialReturn(PreferenceLearner):
    """P(second) = logistic(partial return(second) - partial return(first)), averaged over the posterior of the weights.

    Prior, temperature, sampling and answer are those of `BayesRegret`.
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
        comparison = comparisons.partial_return(pairs, mdp.discount)
        return posterior.estimates(OptimalValues(condense(mdp).mdp), comparison, label, query_counts, rng)
