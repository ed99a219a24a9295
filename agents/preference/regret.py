"""The regret learner with exact values (Knox et al. 2024): people prefer the segment whose decisions cost less."""

from __future__ import annotations

import numpy as np

from valuegym.agents.preference import comparisons
from valuegym.agents.preference.descent import Differences
from valuegym.agents.preference.preference_learner import Floats, PreferenceLearner
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import mdp as tabular
from valuegym.envs.preference.segments import Segment

__all__ = ["Regret"]


class Regret(PreferenceLearner):
    """P(second) = logistic(regret(first) - regret(second)), regret under the exact V* of the candidate weights.

    V*(s) = w . psi*(s), with psi* the successor features of the policy that is optimal for w. The published learner
    takes the best of a library of policies instead; with exact values no library has to be declared. By the envelope
    theorem the gradient of V* with respect to w is psi*, so regret is linear in w as far as its gradient is concerned.
    """

    def differences(self, mdp: tabular.TabularMDP, pairs: Segment) -> Differences:
        """Return discounted sums of the optimal advantages' feature coefficients, second minus first.

        Successor features are remembered by their policy: most candidates share one with a candidate before.
        """
        condensed = condense(mdp)
        small, comparison = condensed.mdp, comparisons.regret(condensed.mdp, condensed.renumbered(pairs))
        optimal, known = OptimalValues(small), dict[bytes, Floats]()

        def at(weights: Floats) -> Floats:
            policies = optimal.policies(weights)
            names = [policy.tobytes() for policy in policies]
            new = list({name: i for i, name in enumerate(names) if name not in known}.values())
            if new:
                found = tabular.successor_features(small, policies[new][:, None])[:, 0]
                known.update(zip((names[i] for i in new), found, strict=True))
            return comparison.coefficients(np.stack([known[name] for name in names]))

        return at
