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

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import Floats, Integers, TabularMDP

MAGNITUDES = (0.1, 100.0)  # of a weight, in units of reward at temperature 1
DRAWS = 2048  # from the prior
PARTICLES = 256  # carried through annealing; half as many effective draws are enough not to anneal
MOVES = 4  # Metropolis steps of each kind after each resampling
_CHUNK = 128  # draws solved together: they stay in the cache, and the slow ones hold up few others
_LOW, _HIGH = np.log(MAGNITUDES)

# Log likelihoods (n,) of weights (n, d), and optimal policies (n, S) for them if they were needed. The second
# argument are policies to start from, those of neighbours.
Likelihood = Callable[[Floats, "Integers | None"], "tuple[Floats, Integers | None]"]


class Sample(NamedTuple):
    """A weighted sample: weights (n, d), probability (n,) with sum 1."""

    weights: Floats
    probability: Floats


def draw(rng: np.random.Generator, n: int, d: int) -> Floats:
    """Weights (n, d) from the prior."""
    return rng.choice((-1.0, 1.0), (n, d)) * np.exp(rng.uniform(_LOW, _HIGH, (n, d)))


def normalise(logs: Floats) -> Floats:
    """Probabilities in proportion to exp(logs): (n,) -> (n,)."""
    p: Floats = np.exp(logs - logs.max())
    return p / p.sum()


def sample(likelihood: Likelihood, rng: np.random.Generator, d: int) -> Sample:
    """The posterior, from DRAWS of the prior or, where those are too few, from PARTICLES annealed towards it."""
    weights = draw(rng, DRAWS, d)
    logs, policies = likelihood(weights, None)
    power = 0.0
    while True:
        step = _largest_step(logs, 1.0 - power)
        p = normalise(step * logs)
        if step >= 1:  # the prior's own draws are enough
            return Sample(weights, p)
        power = min(power + step, 1.0)
        spread = np.atleast_2d(np.cov(np.log(np.abs(weights)), rowvar=False, aweights=p, ddof=0))
        root = np.linalg.cholesky(2.38**2 / d * spread + 1e-8 * np.eye(d)).astype(
            np.float64
        )  # Roberts, Gelman, Gilks (1997)
        kept = np.searchsorted(np.cumsum(p)[:-1], (rng.random() + np.arange(PARTICLES)) / PARTICLES)
        weights, logs = weights[kept], logs[kept]
        policies = None if policies is None else policies[kept]
        for propose in (_wander, _redraw) * MOVES:
            proposal = propose(weights, root, rng)
            new, found = likelihood(proposal, policies)
            accept = np.log(rng.random(PARTICLES)) < power * (new - logs)
            weights, logs = np.where(accept[:, None], proposal, weights), np.where(accept, new, logs)
            if policies is not None and found is not None:
                policies = np.where(accept[:, None], found, policies)
        if power >= 1:
            return Sample(weights, np.full(PARTICLES, 1 / PARTICLES))


def _largest_step(logs: Floats, rest: float) -> float:
    """The largest power up to `rest` of the likelihood that leaves PARTICLES / 2 effective draws, by bisection."""

    def enough(step: float) -> bool:
        return 1 / (normalise(step * logs) ** 2).sum() >= PARTICLES / 2  # Kish's effective sample size

    if enough(rest):
        return rest
    low, high = 0.0, rest
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return high


def _wander(weights: Floats, root: Floats, rng: np.random.Generator) -> Floats:
    """A Gaussian step of all log magnitudes, reflected at the ends of the prior."""
    logs = np.log(np.abs(weights)) + rng.standard_normal(weights.shape) @ root.T - _LOW
    width = _HIGH - _LOW
    return np.sign(weights) * np.exp(_LOW + width - np.abs(logs % (2 * width) - width))


def _redraw(weights: Floats, root: Floats, rng: np.random.Generator) -> Floats:
    """One weight of each draw, sign and magnitude, anew from the prior."""
    one = np.arange(weights.shape[1]) == rng.integers(weights.shape[1], size=len(weights))[:, None]
    return np.where(one, draw(rng, *weights.shape), weights)


class Condensed(NamedTuple):
    """A process whose terminal states are one, and the state (S,) that each of the old ones has become."""

    mdp: TabularMDP
    state: Integers


def condense(mdp: TabularMDP) -> Condensed:
    """Merge all terminal states of one process: nothing happens there, and boards have padding.

    A stochastic process stays as it is.
    """
    if mdp.next_state is None:
        return Condensed(mdp, np.arange(mdp.terminal.shape[1]))
    kept = np.flatnonzero(~mdp.terminal[0])
    state = np.full(mdp.terminal.shape[1], len(kept))
    state[kept] = np.arange(len(kept))
    rows = np.append(kept, np.flatnonzero(mdp.terminal[0])[:1])
    start = np.bincount(state, mdp.start[0], len(rows))[None].astype(np.float64)
    ahead = state[mdp.next_state[:, rows]]
    return Condensed(
        TabularMDP(mdp.features[:, rows], mdp.terminal[:, rows], start, mdp.discount, next_state=ahead), state
    )


def solve(mdp: TabularMDP, weights: Floats, first: Integers | None = None) -> tuple[Integers, Floats, Floats]:
    """Optimal policies (n, S), V* (n, S) and A* (n, S, A) of one process under many weights (n, d), exact."""
    parts = []
    for chunk in range(0, len(weights), _CHUNK):
        rows = slice(chunk, chunk + _CHUNK)
        reward = tabular.reward(mdp, weights[rows, None])
        policy, values = tabular.optimal_actions(mdp, reward, None if first is None else first[rows, None])
        parts.append((policy, values, tabular.advantages(values, tabular.q_values(mdp, reward, values))))
    policy, values, advantage = (np.concatenate(part)[:, 0] for part in zip(*parts, strict=True))
    return policy, values, advantage


def estimate(mdp: TabularMDP, likelihood: Likelihood, rng: np.random.Generator) -> Floats:
    """What a Bayesian answers for one process, given the likelihood of its d weights: (d,)."""
    return bayes_weights(mdp, sample(likelihood, rng, mdp.features.shape[-1]))


def bayes_weights(mdp: TabularMDP, posterior: Sample) -> Floats:
    """The weights (d,) whose optimal policy has the highest posterior expected normalised return.

    The normalised return of a policy, (J(policy) - J(uniform)) / (J* - J(uniform)), is linear in w / (J* - J(uniform))
    for a given policy, J = w . psi. So the best policy for the posterior is the optimal one for the posterior mean of
    the weights, each draw divided by its own distance between uniform and optimal play. Draws under which every
    policy earns the same say nothing, and are left out.
    """
    uniform = tabular.successor_features(mdp, tabular.uniform_policy(mdp))[0]
    naive = posterior.weights @ (mdp.start[0] @ uniform)
    span = solve(mdp, posterior.weights)[1] @ mdp.start[0] - naive
    clear = span > tabular.TIE * np.abs(posterior.weights).max(-1)
    share = np.where(clear, posterior.probability / np.where(clear, span, 1.0), 0.0)
    return share @ posterior.weights
