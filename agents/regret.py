"""The regret learner with exact values (Knox et al. 2024): people prefer the segment whose decisions cost less."""

from __future__ import annotations

import numpy as np

from valuegym.agents.preference_learner import Differences, Floats, PreferenceLearner
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import Integers
from valuegym.envs.preference.models import discounted_sum
from valuegym.envs.preference.segments import Segment

_ROUNDING = 1e-10  # gains below this share of the largest advantage are noise


class Regret(PreferenceLearner):
    """P(second) = logistic(regret(first) - regret(second)), regret under the exact V* of the candidate weights.

    V*(s) = w . psi*(s), with psi* the successor features of the policy that is optimal for w. The published learner
    takes the best of a library of policies instead; with exact values no library has to be declared. By the envelope
    theorem the gradient of V* with respect to w is psi*, so regret is linear in w as far as its gradient is concerned.
    """

    def differences(self, mdp: tabular.TabularMDP, pairs: Segment) -> Differences:
        """Discounted sums of the optimal advantages' feature coefficients, second minus first.

        Policy iteration in feature space: every solution starts from the policy of the one before, and while that
        stays optimal nothing is solved at all.
        """
        S, A, d = mdp.features.shape[1:]
        visited = pairs.states[..., :-1] * A + pairs.actions

        def solve(policy: Integers) -> Floats:
            return tabular.feature_advantages(mdp, tabular.successor_features(mdp, policy))[0].reshape(S * A, d)

        def compare(coefficients: Floats) -> Floats:
            sums = discounted_sum(coefficients[visited].swapaxes(-1, -2), mdp.discount)
            return sums[:, 1] - sums[:, 0]

        policy = np.zeros((1, S), np.int64)
        coefficients = solve(policy)
        D = compare(coefficients)

        def at(weights: Floats) -> Floats:
            nonlocal policy, coefficients, D
            before = policy
            while True:
                advantage = (coefficients @ weights).reshape(S, A)  # of the policy: 0 for its own actions
                improve = advantage.max(-1) > _ROUNDING * np.abs(advantage).max()
                if not improve.any():
                    break
                policy = np.where(improve, advantage.argmax(-1), policy)
                coefficients = solve(policy)
            if policy is not before:
                D = compare(coefficients)
            return D

        return at
