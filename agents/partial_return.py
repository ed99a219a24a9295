"""The partial-return learner: people prefer the segment that earned more (Christiano et al. 2017), a convex fit."""

from __future__ import annotations

from valuegym.agents.preference_learner import Differences, PreferenceLearner
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.models import discounted_sum
from valuegym.envs.preference.segments import Segment


class PartialReturn(PreferenceLearner):
    """P(second) = logistic(w . [sum_t discount**t phi_t(second) - sum_t discount**t phi_t(first)])."""

    def differences(self, mdp: TabularMDP, pairs: Segment) -> Differences:
        """Discounted feature counts, second minus first; the weights play no part."""
        counts = discounted_sum(pairs.features.astype(float).swapaxes(-1, -2), mdp.discount)
        D = counts[:, 1] - counts[:, 0]
        return lambda weights: D
