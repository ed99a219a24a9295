"""Posterior draws by tempered sequential Monte Carlo, on independent islands whose spread is the sampler's error.

Each island draws particles from the prior and raises the likelihood to a power that grows to 1, so that half of the
particles stay effective at every step (Del Moral, Doucet, Jasra 2006); particles are resampled and moved by Metropolis
steps. All priors are flat on the unit cube: a reward has d signs and d positions of its log magnitudes on a range, an
annotator P latent numbers (`response_models`). Proposals are reflected Gaussian steps and redraws of one coordinate,
which leave the prior as it is, so that only likelihoods decide. Moves of latent numbers alone are cheap, for optimal
values stay as they are.

Islands are independent and estimate the evidence Z_i without bias. A posterior mean is sum Z_i f_i / sum Z_i, and its
Monte Carlo standard error the square root of sum (Z_i (f_i - f))**2 I / (I - 1) over sum Z_i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from valuegym.agents.divergence import DivergenceError
from valuegym.envs.mdp import Floats

__all__ = ["Draws", "Island", "Problem", "bisect", "island_mean", "pooled", "prior_draws", "run_island"]

HALVINGS = 40  # of the range in which the next power of the likelihood is sought
STAGES = 200  # at most


class Problem(NamedTuple):
    """A posterior: d weights, P latent numbers, the range of magnitudes, and two functions.

    Attributes:
        d: number of weights.
        latents: P.
        magnitudes: ends of the log-uniform prior.
        solve: (weights (N, d)) -> a tuple of arrays with the draws along their last axis, for `log_likelihood`.
        log_likelihood: (what `solve` returned, latent (P, N)) -> (N,).
    """

    d: int
    latents: int
    magnitudes: tuple[float, float]
    solve: Callable[[Floats], Any]
    log_likelihood: Callable[[Any, Floats], Floats]


class Draws(NamedTuple):
    """Posterior draws: weights (N, d), latent (P, N), island (N,), probability (N,) with sum 1."""

    weights: Floats
    latent: Floats
    island: Any
    probability: Floats


class Island(NamedTuple):
    """Equally likely draws of one island, and its log evidence."""

    weights: Floats
    latent: Floats
    log_evidence: float


def prior_draws(problem: Problem, n: int, rng: np.random.Generator) -> Draws:
    """Return n draws from the prior, as one island."""
    low, high = np.log(problem.magnitudes)
    weights = rng.choice((-1.0, 1.0), (n, problem.d)) * np.exp(low + (high - low) * rng.random((n, problem.d)))
    return Draws(weights, rng.random((problem.latents, n)), np.zeros(n, np.int64), np.full(n, 1 / n))


def _reflect(u: Floats) -> Floats:
    """Return numbers reflected into [0, 1]."""
    return np.asarray(1.0 - np.abs(u % 2.0 - 1.0))


def _pick(found: Any, chosen: Any) -> Any:
    return type(found)(*(array[..., chosen] for array in found))


def _where(accept: Any, new: Any, old: Any) -> Any:
    """Return the accepted columns of what `solve` returned."""
    for there, here in zip(new, old, strict=True):
        here[..., accept] = there[..., accept]
    return old


def run_island(problem: Problem, particles: int, rounds: int, rng: np.random.Generator) -> Island:
    """Return draws from a posterior.

    Args:
        problem: prior and likelihood.
        particles: N.
        rounds: of moves after each resampling.
        rng: of all draws.

    Raises:
        DivergenceError: the likelihood is not finite, or so steep that no sample follows it.
    """
    N, d, P = particles, problem.d, problem.latents
    low, high = np.log(problem.magnitudes)
    sign, place, latent = rng.choice((-1.0, 1.0), (N, d)), rng.random((N, d)), rng.random((P, N))

    def weights_of(sign: Floats, place: Floats) -> Floats:
        return np.asarray(sign * np.exp(low + (high - low) * place))

    found = problem.solve(weights_of(sign, place))
    log = problem.log_likelihood(found, latent)
    power, evidence = 0.0, 0.0
    for _ in range(STAGES):
        if not np.isfinite(log).all():
            raise DivergenceError("The likelihood of the answers is not finite, so that no posterior follows from it.")
        step = _largest_step(log, 1.0 - power)
        p = np.exp(step * (log - log.max()))
        evidence += step * log.max() + np.log(p.mean())
        p /= p.sum()
        power += step
        kept = np.searchsorted(np.cumsum(p)[:-1], (rng.random() + np.arange(N)) / N)
        centre = p @ place
        spread = (p * (place - centre).T) @ (place - centre)
        root = np.linalg.cholesky(2.38**2 / d * spread + 1e-8 * np.eye(d))
        wide = 2.38 / P**0.5 * np.sqrt(np.maximum((p * (latent - (latent @ p)[:, None]) ** 2).sum(1), 1e-6))[:, None]
        sign, place, latent, log = sign[kept], place[kept], latent[:, kept], log[kept]
        found = _pick(found, kept)
        for move in range(2 * rounds):
            if move % 2:
                one = np.arange(d) == rng.integers(d, size=N)[:, None]
                there = np.where(one, rng.random((N, d)), place)
                turned = np.where(one, rng.choice((-1.0, 1.0), (N, d)), sign)
            else:
                size = rng.choice((0.3, 1.0), (N, 1))
                there, turned = _reflect(place + size * (rng.standard_normal((N, d)) @ root.T)), sign
            new = problem.solve(weights_of(turned, there))
            accept, log = _accepted(problem.log_likelihood(new, latent), log, power, rng)
            sign, place = np.where(accept[:, None], turned, sign), np.where(accept[:, None], there, place)
            found = _where(accept, new, found)
            if move // 2 % 2:
                one = np.arange(P)[:, None] == rng.integers(P, size=N)
                other = np.where(one, rng.random((P, N)), latent)
            else:
                other = _reflect(latent + rng.choice((0.3, 1.0), N) * wide * rng.standard_normal((P, N)))
            accept, log = _accepted(problem.log_likelihood(found, other), log, power, rng)
            latent = np.where(accept, other, latent)
        if power >= 1.0:
            return Island(weights_of(sign, place), latent, float(evidence))
    raise DivergenceError("The likelihood of the answers is so steep that no sample follows it.")


def _accepted(new: Floats, old: Floats, power: float, rng: np.random.Generator) -> tuple[Any, Floats]:
    """Return which proposals are accepted, and the log likelihoods after that."""
    accept = np.log(rng.random(len(old))) < power * (new - old)
    return accept, np.where(accept, new, old)


def _largest_step(log: Floats, rest: float) -> float:
    """Return the largest step of the power, up to `rest`, that leaves half of the draws effective."""

    def enough(step: float) -> bool:
        p = np.exp(step * (log - log.max()))
        return bool(p.sum() ** 2 >= 0.5 * len(log) * (p**2).sum())

    return bisect(enough, rest)


def bisect(enough: Callable[[float], bool], rest: float) -> float:
    """Return the largest step of a power, up to `rest`, that is still enough, from above."""
    if enough(rest):
        return rest
    low, high = 0.0, rest
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return high


def pooled(islands: list[Island]) -> Draws:
    """Return the draws of all islands, each weighted by its evidence."""
    log = np.array([island.log_evidence for island in islands])
    share = np.exp(log - log.max())
    share /= share.sum()
    sizes = [len(island.weights) for island in islands]
    return Draws(
        np.concatenate([island.weights for island in islands]),
        np.concatenate([island.latent for island in islands], 1),
        np.repeat(np.arange(len(islands)), sizes),
        np.repeat(share / sizes, sizes),
    )


def island_mean(draws: Draws, value: Floats) -> tuple[Floats, Floats]:
    """Return the posterior mean of values (..., N), and its Monte Carlo standard error."""
    count = int(draws.island.max()) + 1
    share = np.bincount(draws.island, draws.probability, count)
    mean = np.asarray(value @ draws.probability)
    weighted = value * draws.probability
    own = [weighted[..., draws.island == i].sum(-1) / share[i] if share[i] > 0 else mean for i in range(count)]
    error = np.tensordot(share**2, (np.stack(own) - mean) ** 2, 1) * count / max(count - 1, 1)
    return mean, np.asarray(np.sqrt(error))
