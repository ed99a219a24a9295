"""Bayesian mixture: a posterior over rewards and over how people answer, so that nobody has to say how they do."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from valuegym.agents.preference import comparisons, decisions, response_models, tempering
from valuegym.agents.preference.decisions import Choices
from valuegym.agents.preference.preference_learner import Floats, PreferenceLearner
from valuegym.agents.preference.response_models import KINDS
from valuegym.agents.preference.tempering import Draws, island_mean
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import checks
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.segments import Segment

__all__ = ["MAGNITUDES", "BayesMixture", "Beliefs", "Estimated", "Posterior", "sample"]

MAGNITUDES = (0.1, 100.0)  # of a weight, log-uniform, the same for every feature
ISLANDS, PARTICLES, ROUNDS = 4, 512, 4
MOST_ISLANDS, MOST_PARTICLES = 64, 65_536


class Posterior(NamedTuple):
    """Posterior draws of one task.

    Attributes:
        values: optimal values of the process.
        draws: weights, latent numbers, islands and probabilities of N draws.
        kinds: (K, N) probability of each of `response_models.KINDS` under each draw; in a crowd, the share of people.
    """

    values: OptimalValues
    draws: Draws
    kinds: Floats


class Estimated(NamedTuple):
    """A number that a sampler estimates, with its Monte Carlo standard error."""

    mean: float
    error: float


class Beliefs(NamedTuple):
    """Beliefs about the annotator and the weights, each with its Monte Carlo standard error.

    Attributes:
        kinds: probability of each kind of comparison; with people, the share of those who compare so.
        lapse: share of answers given without looking (of one annotator; NaN with people, who have their own rates).
        positive: probability that each weight is above 0.
        score: expected score of the answer.
    """

    kinds: dict[str, Estimated]
    lapse: Estimated
    positive: tuple[Estimated, ...]
    score: Estimated


def sample(
    mdp: TabularMDP,
    pairs: Segment,
    label: Any,
    rng: np.random.Generator,
    person: Any = None,
    islands: int = ISLANDS,
    particles: int = PARTICLES,
) -> Posterior:
    """Return the posterior of `BayesMixture`, whose method `posterior` says what the arguments are.

    Raises:
        ValueError: pairs, labels or people are not valid.
        DivergenceError: the posterior is not finite.
    """
    pairs, label = comparisons.check_answers(pairs, label, *mdp.features.shape[1:])
    people = response_models.check_people(person, len(label))
    process = condense(mdp)
    values = OptimalValues(process.mdp)
    about = response_models.terms(process.mdp, process.renumbered(pairs))
    prior = np.log(response_models.KIND_PRIOR)[:, None]

    def solve(weights: Floats) -> response_models.Quantities:
        return response_models.differences(about, weights, values(weights))

    def by_kind(found: response_models.Quantities, latent: Floats) -> Floats:
        return prior + response_models.log_likelihood(about, found, label, latent)

    def likelihood(found: response_models.Quantities, latent: Floats) -> Floats:
        if people is None:
            return np.asarray(np.logaddexp.reduce(by_kind(found, latent), 0))
        each = response_models.person_log_likelihood(about, found, label, latent, people)
        return np.asarray(np.logaddexp.reduce(np.log(response_models.kind_shares(latent)) + each, 1).sum(0))

    latents = response_models.LATENTS + (0 if people is None else len(KINDS))
    problem = tempering.Problem(mdp.features.shape[-1], latents, MAGNITUDES, solve, likelihood)
    draws = tempering.pooled([tempering.run_island(problem, particles, ROUNDS, rng) for _ in range(islands)])
    if people is not None:
        return Posterior(values, draws, response_models.kind_shares(draws.latent))
    log = by_kind(solve(draws.weights), draws.latent)
    return Posterior(values, draws, np.exp(log - np.logaddexp.reduce(log, 0)))


class BayesMixture(PreferenceLearner):
    """People compare by regret, partial return, subjective utility or end state; all of it is averaged over.

    P(second) = lapse / 2 + (1 - lapse) logistic(x), x by kind as in `response_models`. Prior: fair signs, magnitudes
    log-uniform from 0.1 to 100, the same for every feature, so that permuted features and flipped signs change nothing;
    kinds 0.3, 0.3, 0.3 and 0.1; scales of kinds log-uniform from 0.3 to 3 at temperature 1; lapses log-uniform from
    0.001 to 0.3. It was fixed on simulated people and boards of the split "dev". Sampling: `tempering`, 4 islands of
    512 particles. The answer is that of a rule in `decisions`.

    Args:
        env: `RewardInference-v0`, for reward weights.
        seed: of the sampler.
        rule: of the answer, one of `decisions.RULES`.
        islands: independent samplers, at least 2, so that their spread says how far the result is off.
        particles: of each island.

    Raises:
        ValueError: the environment is not one that it plays in, or an argument is out of range.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        rule: str = "score",
        islands: int = ISLANDS,
        particles: int = PARTICLES,
    ) -> None:
        super().__init__(env, seed)
        self.rule = checks.choice("rule", rule, decisions.RULES)
        self.islands = checks.integer("islands", islands, 2, MOST_ISLANDS)
        self.particles = checks.integer("particles", particles, 16, MOST_PARTICLES)

    def posterior(
        self, mdp: TabularMDP, pairs: Segment, label: Any, rng: np.random.Generator, person: Any = None
    ) -> Posterior:
        """Return the posterior given answered pairs (n, 2, ...) with labels (n,).

        With `person` (n,), integers that say who answered, people differ in kind, scale and lapses, and share the
        reward; without, all answers are taken as one annotator's.

        Raises:
            ValueError: pairs, labels or people are not valid.
            DivergenceError: the posterior is not finite.
        """
        return sample(mdp, pairs, label, rng, person, self.islands, self.particles)

    def choices(self, found: Posterior, rng: np.random.Generator) -> Choices:
        """Return the candidates for an answer, for all rules of `decisions`."""
        return decisions.choices(found.values, found.draws.weights, found.draws.probability, rng)

    def beliefs(self, found: Posterior, considered: Choices) -> Beliefs:
        """Return what a posterior says, each with its Monte Carlo standard error from the spread of the islands."""
        draws = found.draws
        kinds = island_mean(draws, found.kinds)
        positive = island_mean(draws, (draws.weights.T > 0).astype(np.float64))
        lapse = Estimated(float("nan"), float("nan"))
        if draws.latent.shape[0] == response_models.LATENTS:
            lapse = Estimated(*map(float, island_mean(draws, response_models.habits(draws.latent).lapse)))
        index = decisions.pick(considered, self.rule).place
        return Beliefs(
            {name: Estimated(float(m), float(e)) for name, m, e in zip(KINDS, *kinds, strict=True)},
            lapse,
            tuple(Estimated(float(m), float(e)) for m, e in zip(*positive, strict=True)),
            Estimated(*map(float, island_mean(draws, considered.scores[index]))),
        )

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Return weights (d,) for answered pairs (n, 2, ...) with labels (n,).

        Raises:
            ValueError: pairs or labels are not valid (`comparisons.check_answers`).
            DivergenceError: the posterior is not finite.
        """
        found = self.posterior(mdp, pairs, label, rng)
        return decisions.pick(self.choices(found, rng), self.rule).weights
