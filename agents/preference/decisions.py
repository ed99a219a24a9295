"""From a posterior over rewards to one answer: which policy is best for a reward that is not known?

A policy's return under weights w is w . psi, psi its successor features at the start, and its score is
(w . psi - naive) / (best - naive), clipped to -1 from below as the environment does. The rules:

- "mean": optimal for the posterior mean of the weights, each draw divided by its largest absolute weight;
- "score": optimal for the posterior mean of w / (best - naive), which has the highest expected score before clipping;
- "value": of many candidates, optimal ones for draws and the two above, the one with the highest expected score;
- "near-optimal": of the same candidates the one whose score is likeliest to be at least `NEAR_OPTIMAL`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from valuegym.agents.preference.values import OptimalValues
from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import Floats

__all__ = ["CANDIDATES", "NEAR_OPTIMAL", "RULES", "Choice", "Choices", "choices", "pick"]

RULES = ("mean", "score", "value", "near-optimal")
CANDIDATES = 128  # draws whose optimal policies are considered
NEAR_OPTIMAL = 0.9
LOWEST = -1.0


class Choices(NamedTuple):
    """Candidate answers: weights (C, d), and clipped scores (C, N) under each of N draws with probability (N,)."""

    weights: Floats
    scores: Floats
    probability: Floats


class Choice(NamedTuple):
    """An answer: weights (d,), its expected score, and that expectation's number among the candidates."""

    weights: Floats
    expected: float
    place: int


def choices(values: OptimalValues, weights: Floats, probability: Floats, rng: np.random.Generator) -> Choices:
    """Return candidates and their scores for posterior draws (N, d); the first two are those of "mean" and "score".

    Draws under which all policies earn the same have probability 0 there.
    """
    mdp = values.mdp
    size = np.abs(weights).max(-1, keepdims=True)
    weights = weights / np.where(size > 0, size, 1.0)
    start = mdp.start[0]
    naive = weights @ (start @ tabular.successor_features(mdp, tabular.uniform_policy(mdp))[0])
    span = start @ values(weights) - naive
    clear = span > tabular.TIE
    probability = np.where(clear, probability, 0.0)
    if not clear.any():
        return Choices(np.zeros((2, weights.shape[1])), np.zeros((2, len(weights))), probability)
    probability = probability / probability.sum()
    span = np.where(clear, span, 1.0)
    chosen = np.searchsorted(np.cumsum(probability)[:-1], (rng.random() + np.arange(CANDIDATES)) / CANDIDATES)
    candidates = np.concatenate([[probability @ weights, (probability / span) @ weights], weights[chosen]])
    psi = start @ tabular.successor_features(mdp, values.policies(candidates)[:, None])[:, 0]
    return Choices(candidates, np.maximum((psi @ weights.T - naive) / span, LOWEST), probability)


def pick(found: Choices, rule: str) -> Choice:
    """Return the answer by one of the RULES.

    Raises:
        ValueError: the rule is unknown.
    """
    checks.choice("rule", rule, RULES)
    expected = found.scores @ found.probability
    if rule == "near-optimal":
        index = int(np.argmax((found.scores >= NEAR_OPTIMAL) @ found.probability + 1e-3 * expected))
    else:
        index = RULES.index(rule) if rule != "value" else int(np.argmax(expected))
    return Choice(found.weights[index], float(expected[index]), index)
