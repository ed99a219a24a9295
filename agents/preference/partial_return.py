"""The partial-return learner: people prefer the segment that earned more (Christiano et al. 2017), a convex fit."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from valuegym.agents.preference import comparisons
from valuegym.agents.preference.descent import Differences
from valuegym.agents.preference.preference_learner import PreferenceLearner
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.segments import Segment

__all__ = ["PartialReturn"]


class PartialReturn(PreferenceLearner):
    """P(second) = logistic(w . [sum_t discount**t phi_t(second) - sum_t discount**t phi_t(first)])."""

    starts: ClassVar[int] = 2  # the loss is convex, so all starts end at the same minimum

    def differences(self, mdp: TabularMDP, pairs: Segment) -> Differences:
        """Return discounted feature counts, second minus first; the weights play no part."""
        D = comparisons.partial_return(pairs, mdp.discount).features
        return lambda weights: np.broadcast_to(D, (len(weights), *D.shape))
