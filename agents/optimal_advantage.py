"""Optimal advantages from preferences: the partial-return model over states and actions, used greedily.

Source: Knox et al. (2024), "Learning optimal advantage from preferences and mistaking it for reward" (AAAI).
"""

from __future__ import annotations

import numpy as np

from valuegym.agents.comparisons import visits
from valuegym.agents.preference_learner import Floats, PreferenceLearner, fit
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.segments import Segment


class OptimalAdvantage(PreferenceLearner):
    """P(second) = logistic(sum_t discount**t A(second) - sum_t discount**t A(first)), one free number A(s, a) each.

    Where people answer by regret, what partial return takes for a reward is the optimal advantage. Its greedy policy
    needs no dynamics and no planning, but also knows nothing of actions that no segment took: they keep A = 0, the
    mean of the prior, which is that of the other learners, N(0, 10**2).
    """

    policy = True

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """The table (S * A,)."""
        S, A = mdp.features.shape[1:3]
        counts = visits(pairs, S, A, mdp.discount)
        table, seen = np.zeros(S * A), np.flatnonzero(counts.any(0))
        if len(seen):
            seen_counts = counts[:, seen]
            table[seen] = fit(lambda weights: seen_counts, label, rng, len(seen)).weights
        return table
