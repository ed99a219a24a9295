"""The regret learner with exact values (Knox et al. 2024): people prefer the segment whose decisions cost less."""

from __future__ import annotations

import numpy as np

from valuegym.agents.preference_learner import Differences, Floats, PreferenceLearner
from valuegym.envs import mdp as tabular
from valuegym.envs.preference.models import discounted_sum
from valuegym.envs.preference.segments import Segment


class Regret(PreferenceLearner):
    """P(second) = logistic(regret(first) - regret(second)), regret under the exact V* of the candidate weights.

    V*(s) = w . psi*(s), with psi* the successor features of the policy that is optimal for w. The published learner
    takes the best of a library of policies instead; with exact values no library has to be declared. By the envelope
    theorem the gradient of V* with respect to w is psi*, so the regret is linear in w as far as its gradient is
    concerned. Each solution starts from the policy of the one before.
    """

    def differences(self, mdp: tabular.TabularMDP, pairs: Segment) -> Differences:
        """Discounted sums of the optimal advantages' feature coefficients, second minus first."""
        A, d = mdp.features.shape[2:]
        visited = pairs.states[..., :-1] * A + pairs.actions
        policy: np.ndarray | None = None

        def at(weights: Floats) -> Floats:
            nonlocal policy
            policy, _ = tabular.optimal_actions(mdp, tabular.reward(mdp, weights), policy)
            psi = tabular.successor_features(mdp, policy)
            coefficients = tabular.feature_advantages(mdp, psi)[0]
            sums = discounted_sum(coefficients.reshape(-1, d)[visited].swapaxes(-1, -2), mdp.discount)
            return sums[:, 1] - sums[:, 0]

        return at
