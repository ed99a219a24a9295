"""Active Bayesian regret: it queries the pair with the highest acquisition value, and infers as `bayes_regret` does."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import BatchAgent, Mask, rules, unstack
from valuegym.agents.preference import comparisons, posterior
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import Floats
from valuegym.envs.preference.models import BradleyTerry
from valuegym.envs.preference.segments import Segment
from valuegym.envs.preference.tabular_query import Query, read, read_candidates

__all__ = [
    "CHOICES",
    "ActiveBayesRegret",
    "Belief",
    "at_random",
    "by_value_of_information",
    "expected_gain",
    "expected_information",
]

CHOICES = ("information", "value", "random")


def expected_information(second: Floats, probability: Floats) -> Floats:
    """Return the mutual information (K,), in nats, of the answers to K queries and the weights.

    H(mean of p) - mean of H(p) (Lindley 1956; Houlsby et al. 2011), over n draws of the weights with their probability
    (n,); second (K, n): probability that each draw gives to the answer "second".

    Raises:
        ValueError: a probability is outside [0, 1], or a shape is another one.
    """
    probability = checks.reals("probability", probability, (None,), 0, 1)
    second = checks.reals("second", second, (None, len(probability)), 0, 1)

    def entropy(p: Floats) -> Floats:
        inside = np.clip(p, 1e-300, 1.0)
        other = np.clip(1.0 - p, 1e-300, 1.0)
        return -p * np.log(inside) - (1.0 - p) * np.log(other)

    return np.maximum(entropy(second @ probability) - entropy(second) @ probability, 0.0)


def expected_gain(second: Floats, share: Floats, worth: Any) -> Floats:
    """Return the expected value (K,) of the information in K answers: the expected rise of the best expected return.

    Returns are normalised. The best one for a posterior is worth(m), a convex and positively homogeneous function of
    the posterior mean m of the weights, each draw divided by its own distance between uniform and optimal play
    (`posterior.bayes_weights`). So the mean over both answers is worth(sum over draws that answer "first") + worth(sum
    over those that answer "second"), and its excess over worth(m) is the value of the query (Raiffa, Schlaifer 1961).

    Args:
        second: (K, n) probability of "second" under each draw.
        share: (n, d) weights of the draws, times probability, divided by their distance.
        worth: of weights (k, d) -> (k,).

    Raises:
        ValueError: a probability is outside [0, 1], a share is not finite, or a shape is another one.
    """
    share = checks.reals("share", share, (None, None))
    second = checks.reals("second", second, (None, len(share)), 0, 1)
    after, now = second @ share, share.sum(0)
    return np.maximum(worth(after) + worth(now - after) - worth(now[None]), 0.0)


class Belief:
    """The posterior of one episode, one answer after another. It is a value: `learn` returns another one."""

    def __init__(self, query: Query, seed: int) -> None:
        self.process, self.seed = condense(query.mdp()), checks.integer("seed", seed, 0)
        mdp = self.process.mdp
        self.values = OptimalValues(mdp)
        weights = posterior.draw(np.random.default_rng(seed), posterior.DRAWS, mdp.features.shape[-1])
        self.sample = posterior.Sample(weights, np.full(len(weights), 1 / len(weights)))
        self.pairs: list[Segment] = []
        self.labels: list[float] = []
        self.uniform = mdp.start[0] @ tabular.successor_features(mdp, tabular.uniform_policy(mdp))[0]

    def compare(self, pairs: Segment) -> comparisons.Comparison:
        """Return the differences of pairs (n, 2, ...).

        Raises:
            ValueError: the pairs are not valid (`comparisons.check_pairs`).
        """
        return comparisons.regret(self.values.mdp, self.process.renumbered(pairs))

    def learn(self, pair: Segment, label: float) -> Belief:
        """Return the posterior after one more answer; this one stays as it was.

        Raises:
            ValueError: pair or label are not valid (`comparisons.check_pairs`, `check_labels`).
        """
        after = copy(self)
        own = Segment(*(np.array(field) for field in pair))  # observations belong to others
        after.pairs, after.labels = [*self.pairs, own], [*self.labels, checks.real("label", label, 0, 1)]
        n = len(after.labels)
        every = self.compare(Segment(*(np.stack(field) for field in zip(*after.pairs, strict=True))))
        likelihood = posterior.likelihood(self.values, every, np.array(after.labels))
        after.sample = posterior.advance(likelihood, self.sample, n - 1, n, np.random.default_rng([self.seed, n]))
        return after

    def estimate(self) -> Floats:
        """Return the answer (d,) with the highest posterior expected normalised return; 0 without any answer."""
        if not self.labels:
            return np.zeros(self.sample.weights.shape[1])
        return posterior.bayes_weights(self.values, self.sample)

    def acquisition(self, candidates: Segment, choice: str) -> Floats:
        """Return the acquisition value (K,) of an answer to each of K candidates, from 0 to 1.

        Raises:
            ValueError: the choice is unknown, or it is "random", which values nothing; or a candidate is not valid.
        """
        checks.choice("choice", choice, CHOICES[:2])
        question, (weights, probability) = self.compare(candidates), self.sample
        x = question.features @ weights.T + question.values @ self.values(weights)
        second = BradleyTerry().probability(x)
        if choice == "information":
            return expected_information(second, probability)
        share = posterior.shares(self.values, self.sample)[:, None] * weights
        return expected_gain(second, share, self._worth).clip(0.0, 1.0)

    def _worth(self, weights: Floats) -> Floats:
        """Return the return of optimal play above that of uniform play, under weights (k, d): (k,)."""
        start = self.values.mdp.start[0]
        return start @ self.values(weights) - weights @ self.uniform


class ActiveBayesRegret(BatchAgent):
    """P(second) = logistic(regret(first) - regret(second)); prior, posterior and estimate are those of `BayesRegret`.

    Args:
        env: `RewardInferenceActive-v0`, for reward weights.
        seed: of the posterior's sample, and of random choices.
        choice: "information" queries the one with the highest expected information gain about the weights, "value"
            the one with the highest expected value of information for the policy, "random" any.
        belief: the posterior of one episode, made of its first query and the seed; with the methods of `Belief`.

    Raises:
        ValueError: the environment is not one that it plays in, its rules cannot be given (`agents.base.rules`), or
            `choice` is unknown.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        choice: str = "information",
        belief: Callable[[Query, int], Any] = Belief,
    ) -> None:
        super().__init__(env, seed)
        if not callable(belief):
            raise checks.refusal("belief", belief, "a function of a query and a seed")
        self.belief = belief
        core: Any = rules(env)
        if not getattr(core, "active", False) or core.policy:
            raise ValueError(
                "Agent 'active_bayes_regret' chooses queries and infers reward weights; it plays in "
                "valuegym/RewardInferenceActive-v0 only."
            )
        self.choice = checks.choice("choice", choice, CHOICES)

    def act(self, observation: Any, memory: list[Any] | None, start: Mask) -> tuple[Any, list[Any]]:
        """Return the estimates at evaluation points (0 elsewhere), and the acquisition value of each candidate."""
        rows = unstack(observation)
        beliefs = [
            _updated(read(row), self.belief(read(row), self.seed) if memory is None or start[i] else memory[i])
            for i, row in enumerate(rows)
        ]
        return np.stack([self._answer(row, belief) for row, belief in zip(rows, beliefs, strict=True)]), beliefs

    def _answer(self, row: dict[str, Any], belief: Any) -> Any:
        """Return the action (d + K,) in one environment."""
        query, candidates = read(row), read_candidates(row)
        estimate = belief.estimate() if query.is_evaluation_point else np.zeros(query.features.shape[-1])
        if self.choice == "random":
            values = np.random.default_rng([self.seed, query.num_queries, 1]).random(len(candidates.mask))
        elif candidates.mask.any():
            values = belief.acquisition(candidates, self.choice)
        else:
            values = np.zeros(len(candidates.mask))
        return np.append(estimate / max(np.abs(estimate).max(), 1e-12), values).astype(np.float32)


def _updated(query: Query, belief: Any) -> Any:
    """Return a belief after the answer that a query shows, if there is one."""
    label = comparisons.check_answer(query.answer)
    return belief if np.isnan(label) else belief.learn(query.pair, label)


def at_random(env: gym.Env[Any, Any], seed: int = 0) -> ActiveBayesRegret:
    """Make the learner that queries candidates at random."""
    return ActiveBayesRegret(env, seed, choice="random")


def by_value_of_information(env: gym.Env[Any, Any], seed: int = 0) -> ActiveBayesRegret:
    """Make the learner that queries for the highest expected value of information."""
    return ActiveBayesRegret(env, seed, choice="value")
