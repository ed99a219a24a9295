"""KL divergence of a policy to the policy it started from, in nats, and the optimum under a penalty on it.

A score says little without the distance that was walked for it. Exact, for given observations: `kl_divergence` of
discrete and `kl_gaussian` of Gaussian policies. Of whole episodes, `episode_kl`: by the chain rule the KL divergence
of the distributions of trajectories is the expected sum over the steps of an episode of the KL divergence of the
actions, because the environment is the same. Three terms of a step have the right mean under the policy itself:

    kl_divergence(p, q), kl_gaussian(...)   of the step's observation: the least variance
    log_ratio_terms(...)                    log p(a) - log q(a) of the action taken: needs nothing but log probabilities
    log_ratio_terms(..., positive=True)     q(a) / p(a) - 1 + log p(a) / q(a), never negative (Schulman 2020); less
                                            variance near the start, more at a distance: q / p has a heavy tail there

Learning that maximises E[u] - coefficient KL(pi || pi0) ends at pi0 exp(u / coefficient), normalised: `kl_optimum`; of
tabular processes the same per state with soft action values in the place of u: `soft_optimum`. Policies of
Stable-Baselines3: `valuegym.agents.sb3_kl`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.mdp import TabularMDP, expected_next

__all__ = [
    "KLEstimate",
    "SoftOptimum",
    "episode_kl",
    "episode_returns",
    "kl_divergence",
    "kl_gaussian",
    "kl_optimum",
    "log_ratio_terms",
    "soft_optimum",
]

Floats = npt.NDArray[np.float64]


class KLEstimate(NamedTuple):
    """KL divergence of a policy to its start in nats per episode: an estimate from episodes with its standard error."""

    nats: float
    standard_error: float
    episodes: int
    steps: int

    def __str__(self) -> str:
        """Return the estimate as one phrase."""
        return f"{self.nats:.3g} nats per episode (standard error {self.standard_error:.2g}, {self.episodes} episodes)"


def kl_divergence(policy: Any, start: Any) -> Floats:
    """Return KL(policy || start) in nats of probabilities (..., A); infinite where only `start` excludes an action.

    Raises:
        ValueError: a row is no distribution, or the shapes differ.
    """
    p = checks.reals("policy", policy, low=0)
    q = checks.reals("start", start, p.shape, low=0)
    for name, rows in (("policy", p), ("start", q)):
        if p.ndim < 1 or not np.allclose(rows.sum(-1), 1, rtol=0, atol=1e-6):
            raise ValueError(f"{name} has rows that do not sum to 1; expected probabilities.")
    taken = p > 0
    with np.errstate(divide="ignore"):
        ratio = np.log(np.where(taken, p, 1.0)) - np.log(np.where(taken, q, 1.0))
    found: Floats = (p * ratio).sum(-1)
    return np.maximum(found, 0.0)


def kl_gaussian(mean: Any, deviation: Any, start_mean: Any, start_deviation: Any) -> Floats:
    """Return KL(N(mean, diag deviation**2) || N(start_mean, diag start_deviation**2)) in nats, (..., d) -> (...).

    Raises:
        ValueError: a value is not finite, a deviation is not above 0, or the shapes do not broadcast.
    """
    m, m0 = checks.reals("mean", mean), checks.reals("start_mean", start_mean)
    s = checks.reals("deviation", deviation, above=0)
    s0 = checks.reals("start_deviation", start_deviation, above=0)
    try:
        m, m0, s, s0 = np.broadcast_arrays(m, m0, s, s0)
    except ValueError:
        shapes = ", ".join(str(x.shape) for x in (m, m0, s, s0))
        raise ValueError(f"means and deviations have shapes {shapes}; expected ones that broadcast.") from None
    if m.ndim < 1:
        raise ValueError(f"mean has shape {m.shape}; expected (..., d).")
    found: Floats = (np.log(s0 / s) + (s**2 + (m - m0) ** 2) / (2 * s0**2) - 0.5).sum(-1)
    return np.maximum(found, 0.0)


def kl_optimum(utility: Any, log_start: Any, coefficient: float) -> Floats:
    """Return log pi of the policy that maximises E[u] - coefficient KL(pi || pi0), u and log pi0 (..., A).

    Raises:
        ValueError: a value is not finite, the shapes differ, or the coefficient is not above 0.
    """
    u = checks.reals("utility", utility)
    start, penalty = checks.reals("log_start", log_start, u.shape), checks.real("coefficient", coefficient, above=0)
    with np.errstate(over="ignore", invalid="ignore"):
        logits = start + u / penalty
    if u.ndim < 1 or not np.isfinite(logits).all():
        raise ValueError(f"utility / {coefficient} is not a finite row; expected (..., A) and a larger coefficient.")
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def log_ratio_terms(log_policy: Any, log_start: Any, positive: bool = False) -> Floats:
    """Return the KL term of each action taken, from its log probabilities under both policies, (...) -> (...).

    With `positive` exp(-x) - 1 + x of each log ratio x, which has the same mean and is never negative. Its variance is
    less where the policies are close and far more where they are not; it is infinite where exp overflows.

    Raises:
        ValueError: a log probability is not finite, or the shapes differ.
    """
    p = checks.reals("log_policy", log_policy)
    ratio: Floats = p - checks.reals("log_start", log_start, p.shape)
    if not checks.flag("positive", positive):
        return ratio
    with np.errstate(over="ignore"):
        return np.maximum(np.expm1(-ratio) + ratio, 0.0)


def episode_kl(terms: Any, episode: Any) -> KLEstimate:
    """Return the KL divergence in nats per episode, from a term of each step (T,) and the number of its episode (T,).

    Episodes have to be played by the policy itself, in full, with actions drawn rather than the most probable ones.
    The standard error is that of the mean over episodes.

    Raises:
        ValueError: a term is not finite, a number is negative, the shapes differ, or there are fewer than 2 episodes.
    """
    found = checks.reals("terms", terms, (None,))
    number = checks.integers("episode", episode, found.shape, 0)
    _, row = np.unique(number, return_inverse=True)
    sums = np.bincount(row, found)
    if len(sums) < 2:
        raise ValueError(f"episode names {len(sums)} episodes; expected 2 or more, for a standard error.")
    return KLEstimate(float(sums.mean()), float(sums.std(ddof=1) / len(sums) ** 0.5), len(sums), len(found))


class SoftOptimum(NamedTuple):
    """The policy with the largest mean of return - coefficient * KL over episodes of T steps, for N rewards.

    policy (N, T, S, A) probabilities; value (N,) that largest mean; kl (N,) nats per episode.
    """

    policy: Floats
    value: Floats
    kl: Floats


def soft_optimum(mdp: TabularMDP, rewards: Any, start: Any, coefficients: Any, steps: int) -> SoftOptimum:
    """Solve E[sum of rewards] - coefficient KL(pi || start) over T steps exactly, by soft value iteration backwards.

    pi_t(a | s) = start(a | s) exp((Q_t(s, a) - V_t(s)) / c), V_t(s) = c log sum_a start(a | s) exp(Q_t(s, a) / c),
    Q_t = r + E[V_t+1], without discount. Rewards (N, S, A) of one process (B = 1) count in terminal states, too: 0
    there is for the caller to give. Start probabilities (S, A), coefficients (N,) above 0.

    Raises:
        ValueError: a value is not finite or out of range, a shape is another one, or there are several processes.
    """
    S, A = mdp.features.shape[1:3]
    checks.reals("mdp.features", mdp.features, (1, None, None, None))
    r = checks.reals("rewards", rewards, (None, S, A))
    start = checks.reals("start", start, (S, A), above=0)
    c = checks.reals("coefficients", coefficients, (len(r),), above=0)[:, None]
    steps = checks.integer("steps", steps, 1)
    log_start, policy = np.log(start), np.empty((len(r), steps, S, A))
    values, nats = np.zeros((2, len(r), S))
    for t in reversed(range(steps)):
        ahead = expected_next(mdp, np.stack([values, nats])[:, :, None])[:, :, 0]
        with np.errstate(over="ignore"):
            gain = (r + ahead[0]) / c[..., None]
        if not np.isfinite(gain).all():
            raise ValueError("rewards / coefficients are not finite; expected larger coefficients.")
        logits = log_start + gain
        best = logits.max(-1, keepdims=True)
        total = best + np.log(np.exp(logits - best).sum(-1, keepdims=True))
        policy[:, t] = np.exp(logits - total)
        values = (c[..., None] * total)[..., 0]
        nats = (policy[:, t] * (gain - total + ahead[1])).sum(-1)
    return SoftOptimum(policy, values @ mdp.start[0], np.maximum(nats @ mdp.start[0], 0.0))


def episode_returns(mdp: TabularMDP, policy: Floats, rewards: Floats) -> Floats:
    """Return the mean sums (N,) of rewards of episodes of T steps under policies (N, T, S, A).

    Rewards are (N or 1, S, A), or (N, T, S, A) of each step; there is no discount.

    Raises:
        ValueError: a shape does not fit.
    """
    if policy.ndim != 4 or policy.shape[2:] != mdp.features.shape[1:3] or len(mdp.features) != 1:
        raise ValueError(f"policy has shape {policy.shape}; expected (N, T, S, A) of one process.")
    rewards = rewards[:, None] if rewards.ndim == 3 else rewards
    try:
        earned = np.broadcast_to(rewards, policy.shape)
    except ValueError:
        raise ValueError(f"rewards has shape {rewards.shape}; expected to broadcast to {policy.shape}.") from None
    values = np.zeros((len(policy), policy.shape[2]))
    for t in reversed(range(policy.shape[1])):
        ahead = expected_next(mdp, values[:, None])[:, 0]
        values = (policy[:, t] * (earned[:, t] + ahead)).sum(-1)
    return values @ mdp.start[0]
