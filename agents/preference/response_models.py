"""Models of how people may answer: four kinds of comparison, with scales, lapses and habits, under one reward.

A person compares two segments by one of `KINDS` and answers "second" with probability

    lapse / 2 + (1 - lapse) logistic(x),

where x is the difference, second minus first, of (Knox et al. 2024, but for the third)

    regret              s_1 (sum of optimal advantages)
    partial return      s_2 (partial return)
    subjective utility  s_3 (partial return + end value - b start value + m small) - r root regret - k detours - l steps
    end state           s_4 (end value),

"small" the partial return without rewards for ending the episode, the root regret that of s_3 times the regret, detours
the steps that do not lead away from the start, and steps their number: `valuegym.envs.preference.subjective_utility`
in terms that any process has, so that features keep no names. The reward's weights w = sign * magnitude have no unit;
the temperature is fixed at 1, and the scale s of each kind says how certain answers are, because temperature and scale
cannot both be identified. Shares and rates come from uniform latent numbers by `Latent`, so that every prior is flat.

Letters: n pairs, N draws, S states, d features, K kinds, P latent numbers, J people.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from valuegym.agents.preference import comparisons
from valuegym.envs import checks
from valuegym.envs.mdp import Floats, TabularMDP
from valuegym.envs.preference.segments import Segment

Array = npt.NDArray[Any]

__all__ = [
    "HABITS",
    "KINDS",
    "KIND_PRIOR",
    "LAPSES",
    "LATENTS",
    "SCALES",
    "Habits",
    "Quantities",
    "Terms",
    "check_people",
    "differences",
    "habits",
    "kind_shares",
    "log_likelihood",
    "person_log_likelihood",
    "second",
    "terms",
]

KINDS = ("regret", "partial return", "subjective utility", "end state")
KIND_PRIOR = (0.3, 0.3, 0.3, 0.1)  # of one annotator
HABITS = ("lapse", "start", "small", "root_regret", "detours", "steps")
SCALES = (0.3, 3.0)  # of a kind, log-uniform: log-odds per unit of magnitude
LAPSES = (0.001, 0.3)  # log-uniform
SMALL = (0.1, 10.0)  # m, log-uniform
COSTS = 0.3  # mean of r, k and l, exponential: log-odds per root log-odds, detour and step
LATENTS = len(KINDS) + len(HABITS)  # of one annotator; a crowd has len(KINDS) more, for its shares
SPREAD = (0.5, 1.0, 2.0)  # factors of the scale of one person in a crowd, equally likely
CROWD_LAPSES = ((0.002, 0.5), (0.05, 0.3), (0.2, 0.15), (0.5, 0.05))  # rates of one person in a crowd, probabilities
_STEEPEST = 80.0  # log-odds, at which single precision does not overflow; lapses hide what lies beyond


class Terms(NamedTuple):
    """Quantities of pairs from which utilities follow, second minus first where nothing else is said.

    Attributes:
        earned: (n, d) discounted features that came true.
        small: (n, d) the same without transitions that end the episode.
        expected: (2 n, d) discounted expected features of each segment, the first ones first.
        ahead: sparse (2 n, S) with which each segment's sum of optimal advantages is expected @ w + ahead @ V*_w.
        start: sparse (n, S) start states.
        end: sparse (n, S) end states, discounted.
        detours: (n,) steps beyond the shortest way from start to end.
        steps: (n,) steps before the end of the episode.
    """

    earned: Floats
    small: Floats
    expected: Floats
    ahead: Any
    start: Any
    end: Any
    detours: Floats
    steps: Floats


def terms(mdp: TabularMDP, pairs: Segment) -> Terms:
    """Return the terms of pairs (n, 2, ...) in one process.

    Raises:
        ValueError: the pairs are not valid (`comparisons.check_pairs`).
    """
    S, A, d = mdp.features.shape[1:]
    pairs = comparisons.check_pairs(pairs, S, A, d)
    n, _, L = pairs.actions.shape
    final = mdp.terminal[0][pairs.states[..., 1:]] & pairs.mask
    small = pairs._replace(features=np.where(final[..., None], 0.0, pairs.features))
    each = []
    for i in (0, 1):  # against a first segment that has no steps
        none = np.stack([np.zeros_like(pairs.mask[:, i]), pairs.mask[:, i]], 1)
        each.append(comparisons.regret(mdp, Segment(*(field[:, [i, i]] for field in pairs))._replace(mask=none)))
    rows, signs = np.repeat(np.arange(n), 2), np.tile((-1.0, 1.0), n)
    start, end = (
        sparse.csr_matrix((signs * factor, (rows, pairs.states[..., t].reshape(-1))), (n, S))
        for t, factor in ((0, 1.0), (-1, mdp.discount**L))
    )
    taken = pairs.mask.sum(-1).astype(np.float64)
    wasted = taken - _distances(mdp, pairs.states[..., 0], pairs.states[..., -1], L)
    return Terms(
        comparisons.partial_return(pairs, mdp.discount).features,
        comparisons.partial_return(small, mdp.discount).features,
        np.concatenate([one.features for one in each]),
        sparse.vstack([one.values for one in each]).tocsr(),
        start,
        end,
        wasted[:, 1] - wasted[:, 0],
        taken[:, 1] - taken[:, 0],
    )


def _distances(mdp: TabularMDP, start: npt.NDArray[Any], end: npt.NDArray[Any], L: int) -> Floats:
    """Return the smallest numbers of steps (n, 2) that lead from start states to end states within L steps."""
    S, A = mdp.features.shape[1:3]
    if mdp.next_state is not None:
        links = sparse.csr_matrix((np.ones(S * A), (np.repeat(np.arange(S), A), mdp.next_state[0].reshape(-1))), (S, S))
    else:
        assert mdp.probability is not None
        links = sparse.csr_matrix((mdp.probability[0].max(1) > 0).astype(np.float64))
    links.data[:] = 1.0
    origins, index = np.unique(start, return_inverse=True)
    far = csgraph.dijkstra(links, unweighted=True, indices=origins, limit=L)
    return np.minimum(far[index.reshape(start.shape), end], float(L))


class Quantities(NamedTuple):
    """Differences (n, N) of n pairs under N draws of the weights, at a scale of 1, in single precision."""

    advantage: Array
    earned: Array
    expected: Array  # partial return and end value
    small: Array
    start: Array
    end: Array
    root: Array  # of the regret


def differences(about: Terms, weights: Floats, values: Floats) -> Quantities:
    """Return the quantities of weights (N, d) with their optimal values (S, N)."""
    n = len(about.earned)
    gain = about.expected @ weights.T + about.ahead @ values  # minus the regret of each segment
    root = np.sqrt(np.maximum(-gain, 0.0))
    earned, end = about.earned @ weights.T, about.end @ values
    found = (gain[n:] - gain[:n], earned, earned + end, about.small @ weights.T, about.start @ values, end)
    return Quantities(*(x.astype(np.float32) for x in (*found, root[n:] - root[:n])))


class Habits(NamedTuple):
    """Habits of one annotator, or those that a crowd has in common: N draws each, scale (K, N)."""

    scale: Array
    lapse: Array
    start: Array
    small: Array
    root_regret: Array
    detours: Array
    steps: Array


def _log_uniform(u: Floats, ends: tuple[float, float]) -> Floats:
    low, high = np.log(ends)
    return np.asarray(np.exp(low + (high - low) * u))


def habits(latent: Floats) -> Habits:
    """Return the habits of latent numbers (P, N), uniform on [0, 1] before anything is seen."""
    K = len(KINDS)
    lapse, start, small, *costs = latent[K : K + len(HABITS)]
    cost = (-COSTS * np.log1p(-np.minimum(u, 1 - 1e-12)) for u in costs)
    return Habits(
        _log_uniform(latent[:K], SCALES), _log_uniform(lapse, LAPSES), start, _log_uniform(small, SMALL), *cost
    )


def _utilities(about: Terms, found: Quantities, known: Habits) -> list[Floats]:
    """Return the differences x (n, N) by kind."""
    single = Habits(*(habit.astype(np.float32) for habit in known))
    s = single.scale
    felt = found.expected - single.start * found.start + single.small * found.small
    felt *= s[2]
    felt -= single.root_regret * np.sqrt(s[2]) * found.root
    ways = np.stack([about.detours, about.steps], 1).astype(np.float32)
    felt -= ways @ np.stack([single.detours, single.steps])
    return [s[0] * found.advantage, s[1] * found.earned, felt, s[3] * found.end]


def _answer_log_likelihood(x: Floats, label: Floats, lapse: Any) -> Floats:
    """Return sums over answers (n,) of [label log P(second) + (1 - label) log P(first)]: x (n, N) -> (N,)."""
    decided = (label == 0) | (label == 1)
    z = x[decided] if not decided.all() else x.copy()
    z[label[decided] > 0.5] *= -1
    lapse = np.asarray(lapse, x.dtype)
    np.minimum(z, _STEEPEST, out=z)
    np.exp(z, out=z)
    z += 1
    np.divide(1 - lapse, z, out=z)
    z += lapse / 2
    total = np.log(z, out=z).sum(0, dtype=np.float64)
    if not decided.all():
        share, rest = label[~decided], x[~decided]
        p = (1 - lapse) / (1 + np.exp(np.clip(-rest, -_STEEPEST, _STEEPEST)))
        total += share @ np.log(lapse / 2 + p) + (1 - share) @ np.log(1 - lapse / 2 - p)
    return np.asarray(total)


def second(about: Terms, found: Quantities, latent: Floats) -> Floats:
    """Return the probabilities (K, n, N) of the answer "second" by each kind, for one annotator."""
    known = habits(latent)
    x = np.stack(_utilities(about, found, known)).astype(np.float64)
    return np.asarray(known.lapse / 2 + (1 - known.lapse) / (1 + np.exp(np.clip(-x, -500.0, 500.0))))


def log_likelihood(about: Terms, found: Quantities, label: Floats, latent: Floats) -> Floats:
    """Return log likelihoods (K, N) of all answers (n,) by each kind, for one annotator with latent numbers (P, N)."""
    known = habits(latent)
    return np.stack([_answer_log_likelihood(x, label, known.lapse) for x in _utilities(about, found, known)])


def kind_shares(latent: Floats) -> Floats:
    """Return the shares (K, N) of kinds in a crowd: Dirichlet(1, ..., 1) of the last K latent numbers."""
    waits = -np.log(np.clip(latent[-len(KINDS) :], 1e-300, 1 - 1e-16))
    return np.asarray(waits / waits.sum(0))


def person_log_likelihood(
    about: Terms, found: Quantities, label: Floats, latent: Floats, person: npt.NDArray[np.int64]
) -> Floats:
    """Return log likelihoods (J, K, N) of each person's answers by each kind, without the shares of kinds.

    Each person has a scale of SPREAD times the crowd's, and a lapse rate of CROWD_LAPSES, which are summed out.
    """
    x = _utilities(about, found, habits(latent))
    J = int(person.max()) + 1
    result = np.empty((J, len(KINDS), latent.shape[1]))
    for j in range(J):
        mine = person == j
        for k, every in enumerate(x):
            own = [
                _answer_log_likelihood(factor * every[mine], label[mine], np.full(latent.shape[1], lapse))
                + np.log(chance / len(SPREAD))
                for factor in SPREAD
                for lapse, chance in CROWD_LAPSES
            ]
            result[j, k] = np.logaddexp.reduce(own, 0)
    return result


def check_people(person: Any, n: int) -> npt.NDArray[np.int64] | None:
    """Return who gave each of n answers, numbered from 0; None if all are one annotator's.

    Raises:
        ValueError: it is no array (n,) of integers from 0.
    """
    if person is None:
        return None
    found = checks.integers("person", person, (n,), 0)
    return np.unique(found, return_inverse=True)[1].reshape(n)
