"""Transforms of learned rewards, and what they do to the optimum of learning with a penalty on KL from a start policy.

A learned reward is right near the data and wrong far from it, so that its shape at the top decides how far a policy
is drawn. Reference rewards are those of the start policy. Letters: r rewards, u transformed rewards.

    centred    r - mean of references: changes nothing at the optimum below, as every constant
    z_score    (r - mean) / standard deviation of references
    clip       r clipped to mean +/- width standard deviations of references
    min_max    r scaled from the references' least to their largest; from 0 to 1 between them
    lsc        log sigmoid(r - quantile of references), at most 0 (Wang et al. 2024, arXiv 2402.00742); the sum over
               several rewards is the log probability that all are good enough, `lsc_sum`
    par        mean over references of sigmoid(slope (r - reference)), from 0 to 1 (Fu et al. 2025, arXiv 2502.18770)
    win_rate   share of references below r, ties half: a utility as a probability; the scale of all users is the same

Learning that maximises E[u] - coefficient KL(pi || pi0) ends at pi0 exp(u / coefficient), normalised: `kl_optimum`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = [
    "TRANSFORMS",
    "TransformedReward",
    "centred",
    "clip",
    "diversity_bonus",
    "fit_transform",
    "kl_divergence",
    "kl_gaussian",
    "kl_optimum",
    "lsc",
    "lsc_sum",
    "min_max",
    "par",
    "win_rate",
    "z_score",
]

Floats = npt.NDArray[np.float64]
Transform = Callable[[Any], Floats]


def _log_sigmoid(x: Floats) -> Floats:
    found: Floats = -np.logaddexp(0.0, -x)
    return found


def _sigmoid(x: Floats) -> Floats:
    found: Floats = np.exp(_log_sigmoid(x))
    return found


def _references(references: Any) -> Floats:
    found = checks.reals("references", references, (None,))
    if not found.size:
        raise ValueError("references is empty; expected rewards of the start policy.")
    return found


def centred(rewards: Any, reference: float) -> Floats:
    """Return r - reference.

    Raises:
        ValueError: a value is not finite.
    """
    return checks.reals("rewards", rewards) - checks.real("reference", reference)


def z_score(rewards: Any, mean: float, deviation: float) -> Floats:
    """Return (r - mean) / deviation.

    Raises:
        ValueError: a value is not finite, or the deviation is not above 0.
    """
    return centred(rewards, mean) / checks.real("deviation", deviation, above=0)


def clip(rewards: Any, low: float, high: float) -> Floats:
    """Return r clipped to [low, high].

    Raises:
        ValueError: a value is not finite, or low exceeds high.
    """
    low = checks.real("low", low)
    return np.clip(checks.reals("rewards", rewards), low, checks.real("high", high, low))


def min_max(rewards: Any, low: float, high: float) -> Floats:
    """Return (r - low) / (high - low), from 0 to 1 for rewards between the two.

    Raises:
        ValueError: a value is not finite, or high is not above low.
    """
    low = checks.real("low", low)
    return centred(rewards, low) / (checks.real("high", high, above=low) - low)


def lsc(rewards: Any, reference: float) -> Floats:
    """Return log sigmoid(r - reference), at most 0.

    Raises:
        ValueError: a value is not finite.
    """
    return _log_sigmoid(centred(rewards, reference))


def lsc_sum(rewards: Any, references: Any) -> Floats:
    """Return the sum over K rewards (..., K) of `lsc` with references (K,): the log probability that all are good.

    Raises:
        ValueError: a value is not finite, or the shapes differ.
    """
    level = _references(references)
    r = checks.reals("rewards", rewards)
    if r.ndim < 1 or r.shape[-1] != len(level):
        raise ValueError(f"rewards has shape {r.shape}; expected (..., {len(level)}), one for each reference.")
    return _log_sigmoid(r - level).sum(-1)


def par(rewards: Any, references: Any, slope: float = 1.0) -> Floats:
    """Return the mean over references (M,) of sigmoid(slope (r - reference)), from 0 to 1.

    Raises:
        ValueError: a value is not finite, there is no reference, or the slope is not above 0.
    """
    gap = checks.reals("rewards", rewards)[..., None] - _references(references)
    return _sigmoid(checks.real("slope", slope, above=0) * gap).mean(-1)


def win_rate(rewards: Any, references: Any) -> Floats:
    """Return the share of references (M,) below r, those equal to it counted half.

    Raises:
        ValueError: a value is not finite, or there is no reference.
    """
    level, r = np.sort(_references(references)), checks.reals("rewards", rewards)
    return (np.searchsorted(level, r, "left") + np.searchsorted(level, r, "right")) / (2.0 * len(level))


def diversity_bonus(counts: Any, coefficient: float = 1.0) -> Floats:
    """Return coefficient times the entropy of perspectives served, counts (..., K) >= 0, divided by its largest, log K.

    A coefficient of 1 makes it 1 where all K are served alike, and it is 0 where one is, or none yet.

    Raises:
        ValueError: a count is negative, or there are fewer than two perspectives.
    """
    served = checks.reals("counts", counts, low=0)
    if served.ndim < 1 or served.shape[-1] < 2:
        raise ValueError(f"counts has shape {served.shape}; expected (..., K) of two perspectives or more.")
    share = served / np.maximum(served.sum(-1, keepdims=True), np.finfo(float).tiny)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(-1)
    return checks.real("coefficient", coefficient) * entropy / np.log(served.shape[-1])


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


def _scale(r: Floats) -> tuple[float, float]:
    mean, deviation = float(r.mean()), float(r.std())
    if not deviation > 0:
        raise ValueError(f"references are all {mean!r}; expected rewards that differ.")
    return mean, deviation


def _fit_z_score(r: Floats) -> Transform:
    mean, deviation = _scale(r)
    return lambda x: z_score(x, mean, deviation)


def _fit_clip(r: Floats, width: float = 1.0) -> Transform:
    (mean, deviation), width = _scale(r), checks.real("width", width, above=0)
    return lambda x: clip(x, mean - width * deviation, mean + width * deviation)


def _fit_min_max(r: Floats) -> Transform:
    _scale(r)
    low, high = float(r.min()), float(r.max())
    return lambda x: min_max(x, low, high)


def _fit_lsc(r: Floats, quantile: float = 0.85) -> Transform:
    level = float(np.quantile(r, checks.real("quantile", quantile, 0, 1)))
    return lambda x: lsc(x, level)


def _fit_par(r: Floats, slope: float = 1.0) -> Transform:
    checks.real("slope", slope, above=0)
    return lambda x: par(x, r, slope)


# From rewards of the start policy to a transform; options by name.
TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "raw": lambda r: lambda x: checks.reals("rewards", x),
    "centred": lambda r: lambda x: centred(x, float(r.mean())),
    "z_score": _fit_z_score,
    "clip": _fit_clip,
    "min_max": _fit_min_max,
    "lsc": _fit_lsc,
    "par": _fit_par,
    "win_rate": lambda r: lambda x: win_rate(x, r),
}


def fit_transform(name: str, references: Any, **options: float) -> Transform:
    """Return one of TRANSFORMS, fixed by rewards (M,) of the start policy: rewards of any shape -> the same shape.

    Options: `width` of clip, `quantile` of lsc, `slope` of par.

    Raises:
        ValueError: the name is not one of TRANSFORMS, an option is not one of it, or the references do not serve it.
    """
    rule = TRANSFORMS[checks.choice("name", name, TRANSFORMS)]
    known = {"clip": ("width",), "lsc": ("quantile",), "par": ("slope",)}.get(name, ())
    for option in options:
        checks.choice(f"option of {name}", option, known)
    return rule(_references(references), **options)


class TransformedReward(gym.Wrapper[Any, Any, Any, Any]):
    """Put a transform's value in the reward's place; `info["raw_reward"]` is the reward it was.

    It serves an environment whose reward is learned as one with its own. Vector environments take the same function
    by `gymnasium.wrappers.vector.TransformReward`.

    Raises:
        ValueError: `transform` is not callable.
    """

    def __init__(self, env: gym.Env[Any, Any], transform: Transform) -> None:
        if not callable(transform):
            raise ValueError(f"transform is {transform!r}; expected a function of rewards.")
        super().__init__(env)
        self.transform = transform

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment.

        Raises:
            ValueError: the reward, or its transform, is not finite.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        value = checks.real("transformed reward", self.transform(np.float64(reward)))
        return observation, value, terminated, truncated, info | {"raw_reward": reward}
