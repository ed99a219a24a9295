"""Active Bayesian mixture: it need not be told how people answer, and queries by the value of the answer."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.preference import bayes_mixture, posterior, response_models, tempering
from valuegym.agents.preference.active_bayes_regret import (
    CHOICES,
    ActiveBayesRegret,
    expected_gain,
    expected_information,
)
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import Floats
from valuegym.envs.preference.segments import Segment
from valuegym.envs.preference.tabular_query import Query

__all__ = ["PARTICLES", "MixtureBelief", "at_random", "by_value_of_information"]

PARTICLES = 256  # of each island: the posterior is sampled again several times in an episode


class MixtureBelief:
    """A posterior over weights and over how the annotator answers. It is a value: `learn` returns another one.

    Draws are weighted by the likelihood of each new answer, and sampled again by tempering where fewer than half of
    them stay effective.
    """

    def __init__(self, query: Query, seed: int) -> None:
        self.mdp = deepcopy(query.mdp())  # its arrays are the observation's
        self.seed = checks.integer("seed", seed, 0)
        self.process = condense(self.mdp)
        self.values = OptimalValues(self.process.mdp)
        self.pairs: list[Segment] = []
        self.labels: list[float] = []
        d = self.process.mdp.features.shape[-1]
        nothing: Any = None
        prior = tempering.Problem(d, response_models.LATENTS, bayes_mixture.MAGNITUDES, nothing, nothing)
        self.draws = tempering.prior_draws(prior, bayes_mixture.ISLANDS * PARTICLES, np.random.default_rng(seed))
        self.kinds = np.tile(np.array(response_models.KIND_PRIOR)[:, None], len(self.draws.weights))

    def learn(self, pair: Segment, label: float) -> MixtureBelief:
        """Return the posterior after one more answer; this one stays as it was.

        Raises:
            ValueError: pair or label are not valid (`comparisons.check_pairs`, `check_labels`).
        """
        after = copy(self)
        own = Segment(*(np.array(field) for field in pair))  # observations belong to others
        after.pairs, after.labels = [*self.pairs, own], [*self.labels, checks.real("label", label, 0, 1)]
        about = response_models.terms(self.process.mdp, self.process.renumbered(Segment(*(f[None] for f in own))))
        weights, latent = self.draws.weights, self.draws.latent
        quantities = response_models.differences(about, weights, self.values(weights))
        log = np.log(np.maximum(self.kinds, 1e-300))
        log = log + response_models.log_likelihood(about, quantities, np.array(after.labels[-1:]), latent)
        total = np.logaddexp.reduce(log, 0)
        p = self.draws.probability * np.exp(total - total.max())
        p /= p.sum()
        if 2 * (p**2).sum() * len(p) <= 4:  # half of the draws are effective
            after.draws = self.draws._replace(probability=p)
            after.kinds = np.exp(log - total)
            return after
        every = Segment(*(np.stack(field) for field in zip(*after.pairs, strict=True)))
        found = bayes_mixture.sample(
            self.mdp, every, np.array(after.labels), np.random.default_rng([self.seed, len(after.labels)]),
            particles=PARTICLES,
        )  # fmt: skip
        after.draws, after.kinds = found.draws, found.kinds
        return after

    def estimate(self) -> Floats:
        """Return the answer (d,) by the rule "score" of `decisions`; 0 without any answer."""
        if not self.labels:
            return np.zeros(self.draws.weights.shape[1])
        return self._share().sum(0)

    def acquisition(self, candidates: Segment, choice: str) -> Floats:
        """Return the acquisition value (C,) of an answer to each of C candidates, from 0 to 1.

        Raises:
            ValueError: the choice is unknown, or it is "random", which values nothing; or a candidate is not valid.
        """
        checks.choice("choice", choice, CHOICES[:2])
        weights, values = self.draws.weights, self.values(self.draws.weights)
        about = response_models.terms(self.process.mdp, self.process.renumbered(candidates))
        quantities = response_models.differences(about, weights, values)
        second = response_models.second(about, quantities, self.draws.latent)
        second = np.einsum("kcn,kn->cn", second, self.kinds)
        if choice == "information":
            return expected_information(second, self.draws.probability)
        start = self.values.mdp.start[0]
        uniform = start @ tabular.successor_features(self.values.mdp, tabular.uniform_policy(self.values.mdp))[0]
        gain = expected_gain(second, self._share(), lambda w: start @ self.values(w) - w @ uniform)
        return np.asarray(gain.clip(0.0, 1.0))

    def _share(self) -> Floats:
        """Return the weights (N, d) of draws, times probability, divided by the distance of uniform to optimal play."""
        sample = posterior.Sample(self.draws.weights, self.draws.probability)
        return np.asarray(posterior.shares(self.values, sample)[:, None] * sample.weights)


def at_random(env: gym.Env[Any, Any], seed: int = 0) -> ActiveBayesRegret:
    """Make the learner that queries candidates at random."""
    return ActiveBayesRegret(env, seed, choice="random", belief=MixtureBelief)


def by_value_of_information(env: gym.Env[Any, Any], seed: int = 0) -> ActiveBayesRegret:
    """Make the learner that queries for the highest expected value of information."""
    return ActiveBayesRegret(env, seed, choice="value", belief=MixtureBelief)
