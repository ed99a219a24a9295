"""The published regret learner (Knox et al. 2024, algorithm 1): values are the best of a library of policies."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.preference import comparisons
from valuegym.agents.preference.descent import PRIOR_SCALE, Differences
from valuegym.agents.preference.preference_learner import Floats, PreferenceLearner
from valuegym.agents.preference.values import condense
from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.segments import Segment

__all__ = ["SOURCES", "RegretLibrary", "best", "library"]

# Where the library's weights are drawn from, each on its own: values, or None for standard normal draws.
SOURCES: dict[str, tuple[float, ...] | None] = {
    "random": None,
    "nine-values": (50.0, -50.0, 1.0, -1.0, -2.0, 0.0, -10.0, 10.0, 5.0),  # the published source for random tasks
    "true-values": (-1.0, 50.0, -50.0, 1.0, -1.0, -2.0),  # leaky: the delivery task's own weights, as published
}
SIZE, DUPLICATES = 100, 100  # policies wanted, and repetitions after which the search for more ends


class RegretLibrary(PreferenceLearner):
    """P(second) = logistic(regret(first) - regret(second)), values V~(s) = max over a library of w . psi(s).

    Differs from `Regret` in the values alone: prior, starting points and iterations are the same. V~ falls short of
    V* wherever the library lacks the optimal policy, so the library is a prior over rewards, and `source` states it:
    "random" (standard normal weights), "nine-values" (each weight one of nine published values), or "true-values"
    (one of the delivery task's true values). The last holds the answer, and stands here only to show what that is
    worth. The published learner takes a soft maximum at temperature 0.001; this one is its limit.

    Raises:
        ValueError: as `PreferenceLearner`, or `source` is unknown.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        source: str = "nine-values",
        prior_scale: float = PRIOR_SCALE,
    ) -> None:
        super().__init__(env, seed, prior_scale)
        self.source = checks.choice("source", source, sorted(SOURCES))

    def differences(self, mdp: TabularMDP, pairs: Segment) -> Differences:
        """Return discounted sums of the coefficients of Q~ - V~, second minus first.

        Where transitions are deterministic the best of Q over the library is r + discount * V~(next state).
        """
        condensed = condense(mdp)
        small, comparison = condensed.mdp, comparisons.regret(condensed.mdp, condensed.renumbered(pairs))
        psi = library(small, self.source, np.random.default_rng(self.seed))
        return lambda weights: comparison.coefficients(_best(psi, weights))


def best(psi: Floats, weights: Floats) -> Floats:
    """Return the psi with the highest value in each state, of P policies' psi (P, S, d): generalised improvement.

    Weights (K, d) -> (K, S, d).

    Raises:
        ValueError: the shapes are others, or a number is not finite.
    """
    psi = checks.reals("psi", psi, (None, None, None))
    weights = checks.reals("weights", weights, (None, psi.shape[-1]))
    return _best(psi, weights)


def _best(psi: Floats, weights: Floats) -> Floats:
    P, S, d = psi.shape
    first = (psi.reshape(P * S, d) @ weights.T).reshape(P, S, -1).argmax(0).T
    return psi[first, np.arange(S)]


def library(mdp: TabularMDP, source: str, rng: np.random.Generator) -> Floats:
    """Return successor features (K, S, d), K <= SIZE, of different policies, optimal for weights from the source.

    Raises:
        ValueError: the source is unknown.
    """
    source = checks.choice("source", source, sorted(SOURCES))
    values, shape = SOURCES[source], (SIZE + DUPLICATES, mdp.features.shape[-1])
    weights = rng.standard_normal(shape) if values is None else rng.choice(values, shape)
    policies = tabular.optimal_policy(mdp, tabular.reward(mdp, weights[:, None]))
    kept: dict[bytes, int] = {}
    for i, policy in enumerate(policies):
        if len(kept) < min(SIZE, i + 1) and i - len(kept) < DUPLICATES:
            kept.setdefault(policy.tobytes(), i)
    return tabular.successor_features(mdp, policies[list(kept.values())])[:, 0]
