"""A posterior over reward weights: one prior for all features and signs, importance sampling, and annealing.

The prior knows nothing of the task: the d weights are independent, each sign is a fair coin, each magnitude is
log-uniform on MAGNITUDES, so that permuting features or flipping their signs changes nothing. It is stated in units
of the annotator's temperature: people whose answers are twice as noisy look like people whose weights are half as
large, so an unknown temperature needs no parameter of its own.

Sampling: draws from the prior weighted by their likelihood; where too few of them carry the weight, sequential
Monte Carlo (Del Moral, Doucet, Jasra 2006, "Sequential Monte Carlo samplers") raises the likelihood to a power that
grows to 1, resampling the draws and moving them by Metropolis steps in the coordinates (sign, log magnitude), in
which the prior is flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from valuegym.agents.divergence import DivergenceError
from valuegym.agents.preference.comparisons import Comparison, check_counts, check_labels
from valuegym.agents.preference.tempering import HALVINGS, bisect
from valuegym.agents.preference.values import OptimalValues
from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import Floats

__all__ = [
    "DRAWS",
    "MAGNITUDES",
    "PARTICLES",
    "Likelihood",
    "Sample",
    "advance",
    "bayes_weights",
    "draw",
    "estimates",
    "likelihood",
    "log_likelihood",
    "normalise",
    "samples",
    "shares",
]

MAGNITUDES = (0.1, 100.0)  # of a weight, in units of reward at temperature 1
DRAWS = 2048  # from the prior
PARTICLES = 256  # carried through annealing; half as many effective draws are enough not to anneal
MOVES = 4  # Metropolis steps of each kind after each resampling
STAGES = (3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # answers
_LOW, _HIGH = np.log(MAGNITUDES)

# Log likelihoods (k, n) that weights (n, d) give to the answers from bounds[i] to bounds[i + 1], for bounds (k + 1,).
Likelihood = Callable[[Floats, Sequence[int]], Floats]


class Sample(NamedTuple):
    """A weighted sample: weights (n, d), probability (n,) with sum 1."""

    weights: Floats
    probability: Floats


def draw(rng: np.random.Generator, n: int, d: int) -> Floats:
    """Draw weights (n, d) from the prior."""
    return rng.choice((-1.0, 1.0), (n, d)) * np.exp(rng.uniform(_LOW, _HIGH, (n, d)))


def normalise(logs: Floats) -> Floats:
    """Return probabilities in proportion to exp(logs): (n,) -> (n,).

    Raises:
        DivergenceError: none of the logs is finite, or one is NaN.
    """
    highest = logs.max()
    if not np.isfinite(highest):
        raise DivergenceError("The likelihood of the answers is not finite, so that no posterior follows from it.")
    p: Floats = np.exp(logs - highest)
    return p / p.sum()


def samples(likelihood: Likelihood, query_counts: Sequence[int], seed: int, d: int) -> Iterator[Sample]:
    """Yield the posteriors after the first n answers, for every n in `query_counts`, which increase.

    Answers come in stages, the first 3, 10, 30 and so on (STAGES), and the sample of one stage is where the next one
    starts: weighted by the likelihood of the answers that have come since while enough draws carry the weight, and
    annealed otherwise. Each stage draws from a generator of its own, so that the result after n answers does not
    depend on the other entries of `query_counts`.

    Raises:
        ValueError: the counts are no integers that increase from at least 0, or the seed or d is out of range.
        DivergenceError: a likelihood is not finite, or so steep that no sample follows it.
    """
    d, seed = checks.integer("d", d, 1), checks.integer("seed", seed, 0)
    numbers = check_counts(query_counts)
    weights = draw(np.random.default_rng(seed), DRAWS, d)
    passed, state = 0, Sample(weights, np.full(DRAWS, 1 / DRAWS))
    for n in numbers:
        for stage in (*(s for s in STAGES if passed < s <= n), n):
            if stage == passed:
                continue
            after = advance(likelihood, state, passed, stage, np.random.default_rng([seed, stage]))
            if stage in STAGES:
                passed, state = stage, after
        yield after if n > passed else state


def advance(likelihood: Likelihood, sample: Sample, before: int, now: int, rng: np.random.Generator) -> Sample:
    """Return the posterior after `now` answers from that after `before`, by importance sampling and annealing.

    Raises:
        DivergenceError: a likelihood is not finite, or so steep that no sample follows it.
    """
    weights, d = sample.weights, sample.weights.shape[1]
    old, new = likelihood(weights, (0, before, now))
    with np.errstate(divide="ignore"):
        base = np.log(sample.probability)
    power = 0.0
    while True:
        step = _largest_step(base, new, 1.0 - power)
        p = normalise(base + step * new)
        if step >= 1:  # the draws at hand are enough
            return Sample(weights, p)
        if 0 < power < 1 - step and step <= 2.0**-HALVINGS:  # fresh particles, and no progress
            raise DivergenceError("The likelihood of the answers is so steep that no sample follows it.")
        power = min(power + step, 1.0)
        spread = np.atleast_2d(np.cov(np.log(np.abs(weights)), rowvar=False, aweights=p, ddof=0))
        root = np.asarray(np.linalg.cholesky(2.38**2 / d * spread + 1e-8 * np.eye(d)))  # Roberts, Gelman, Gilks (1997)
        kept = np.searchsorted(np.cumsum(p)[:-1], (rng.random() + np.arange(PARTICLES)) / PARTICLES)
        weights, old, new = weights[kept], old[kept], new[kept]
        for propose in (_wander, _redraw) * MOVES:
            proposal = propose(weights, root, rng)
            there_old, there_new = likelihood(proposal, (0, before, now))
            accept = np.log(rng.random(PARTICLES)) < there_old - old + power * (there_new - new)
            weights = np.where(accept[:, None], proposal, weights)
            old, new = np.where(accept, there_old, old), np.where(accept, there_new, new)
        base = np.full(PARTICLES, -np.log(PARTICLES))
        if power >= 1:
            return Sample(weights, np.full(PARTICLES, 1 / PARTICLES))


def _largest_step(base: Floats, logs: Floats, rest: float) -> float:
    """Return the largest power of the likelihood, up to `rest`, that leaves PARTICLES / 2 effective draws."""

    def enough(step: float) -> bool:
        return 1 / (normalise(base + step * logs) ** 2).sum() >= PARTICLES / 2  # Kish's effective sample size

    return bisect(enough, rest)


def _wander(weights: Floats, root: Floats, rng: np.random.Generator) -> Floats:
    """Return a Gaussian step of all log magnitudes, reflected at the ends of the prior."""
    logs = np.log(np.abs(weights)) + rng.standard_normal(weights.shape) @ root.T - _LOW
    width = _HIGH - _LOW
    return np.sign(weights) * np.exp(_LOW + width - np.abs(logs % (2 * width) - width))


def _redraw(weights: Floats, root: Floats, rng: np.random.Generator) -> Floats:
    """Redraw one weight of each draw, sign and magnitude, from the prior."""
    one = np.arange(weights.shape[1]) == rng.integers(weights.shape[1], size=len(weights))[:, None]
    return np.where(one, draw(rng, *weights.shape), weights)


def log_likelihood(differences: Floats, label: Floats, bounds: Sequence[int]) -> Floats:
    """Return sums of [label log P(second) + (1 - label) log P(first)] under Bradley-Terry at temperature 1.

    Differences (m, n) of m answers under n weights, labels (m,), bounds (k + 1,) -> (k, n). The sum of
    log(1 + exp(-|x|)) is the logarithm of a product, whose factors are between 1 and 2: 512 of them cannot overflow.

    Raises:
        ValueError: a label is not in [0, 1], or a difference is not finite.
    """
    differences = checks.reals("differences", differences, (None, None))
    return _log_likelihood(differences, check_labels(label, len(differences)), bounds)


def _log_likelihood(differences: Floats, label: Floats, bounds: Sequence[int]) -> Floats:
    total = np.zeros((len(bounds) - 1, differences.shape[1]))
    for sums, begin, end in zip(total, bounds[:-1], bounds[1:], strict=True):
        for first in range(begin, end, 512):
            rows = slice(first, min(first + 512, end))
            x = differences[rows]
            size = np.abs(x)
            # label x - max(x, 0) = (label - 1/2) x - |x| / 2
            sums += (label[rows] - 0.5) @ x - 0.5 * size.sum(0)
            np.negative(size, out=size)
            np.exp(size, out=size)
            size += 1.0
            sums -= np.log(np.multiply.reduce(size, 0))
    return total


def estimates(
    values: OptimalValues, comparison: Comparison, label: Floats, query_counts: Sequence[int], rng: np.random.Generator
) -> Floats:
    """Return Bayes weights (..., d) of one process after the first n answers (m,), for every n in `query_counts`.

    Raises:
        ValueError: a label is not in [0, 1], or the counts do not increase from at least 0 to at most m.
        DivergenceError: a likelihood is not finite, or so steep that no sample follows it.
    """
    query_counts = check_counts(query_counts, len(label))
    every = likelihood(values, comparison, label)
    found = samples(every, query_counts, int(rng.integers(2**63)), values.mdp.features.shape[-1])
    return np.array([bayes_weights(values, sample) for sample in found])


def likelihood(values: OptimalValues, comparison: Comparison, label: Floats) -> Likelihood:
    """Return the likelihood of weights, given answers (m,) to the pairs of a comparison.

    Raises:
        ValueError: a label is not in [0, 1], or a feature of the comparison is not finite.
    """
    features = checks.reals("comparison.features", comparison.features, (None, None))
    label = check_labels(label, len(features))

    def log_likelihoods(weights: Floats, bounds: Sequence[int]) -> Floats:
        x = features[: bounds[-1]] @ weights.T
        if comparison.values is not None:
            x += comparison.values[: bounds[-1]] @ values(weights)
        return _log_likelihood(x, label, bounds)

    return log_likelihoods


def bayes_weights(values: OptimalValues, posterior: Sample) -> Floats:
    """Return the weights (d,) whose optimal policy has the highest posterior expected normalised return.

    The normalised return of a policy, (J(policy) - J(uniform)) / (J* - J(uniform)), is linear in w / (J* - J(uniform))
    for a given policy, J = w . psi. So the best policy for the posterior is the optimal one for the posterior mean of
    the weights, each draw divided by its own distance between uniform and optimal play. Draws under which every
    policy earns the same carry no information, and are left out.
    """
    return shares(values, posterior) @ posterior.weights


def shares(values: OptimalValues, posterior: Sample) -> Floats:
    """Return the probability of each draw divided by its distance between uniform and optimal play: (n,)."""
    mdp = values.mdp
    uniform = tabular.successor_features(mdp, tabular.uniform_policy(mdp))[0]
    naive = posterior.weights @ (mdp.start[0] @ uniform)
    span = mdp.start[0] @ values(posterior.weights) - naive
    clear = span > tabular.TIE * np.abs(posterior.weights).max(-1)
    return np.where(clear, posterior.probability / np.where(clear, span, 1.0), 0.0)
