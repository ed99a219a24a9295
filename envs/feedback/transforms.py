"""Transforms of learned rewards: pure functions of arrays, and a form fixed by rewards of a reference policy.

A learned reward is right near the data and wrong far from it, so that its shape at the top decides how far a policy
is drawn. Reference rewards are those of the start policy. Letters: r rewards, u transformed rewards.

    centred    r - mean of references
    z_score    (r - mean) / standard deviation of references
    clip       r clipped to mean +/- width standard deviations of references
    min_max    r scaled from the references' least to their largest; from 0 to 1 between them
    lsc        log sigmoid(r - quantile of references), at most 0 (Wang et al. 2024, arXiv 2402.00742); the sum over
               several rewards is the log probability that all are good enough, `lsc_sum`
    par        mean over references of sigmoid(slope (r - reference)), from 0 to 1 (Fu et al. 2025, arXiv 2502.18770)
    win_rate   share of references below r, ties half: a utility as a probability; the scale of all users is the same

`centred`, `z_score` and `min_max` are affine. Under a KL penalty they change nothing but the meaning of its coefficient
where every episode has the same number of steps; where episodes may end early, the constant is a wage for each step.
The sources transform one reward of a whole answer; here it is the reward of a step, so that what is bounded is the
step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = [
    "TRANSFORMS",
    "RewardTransform",
    "centred",
    "clip",
    "diversity_bonus",
    "fit_transform",
    "lsc",
    "lsc_sum",
    "min_max",
    "par",
    "raw",
    "win_rate",
    "z_score",
]

Floats = npt.NDArray[np.float64]
Statistics = dict[str, Any]


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


def raw(rewards: Any) -> Floats:
    """Return r.

    Raises:
        ValueError: a value is not finite.
    """
    return checks.reals("rewards", rewards)


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


def _centre(r: Floats) -> Statistics:
    return {"reference": float(r.mean())}


def _scale(r: Floats) -> Statistics:
    mean, deviation = float(r.mean()), float(r.std())
    if not deviation > 1e-12 * abs(mean):
        raise ValueError(f"references are all {mean!r}; expected rewards that differ.")
    return {"mean": mean, "deviation": deviation}


def _band(r: Floats, width: float = 1.0) -> Statistics:
    mean, deviation = _scale(r).values()
    half = checks.real("width", width, above=0) * deviation
    return {"low": mean - half, "high": mean + half}


def _range(r: Floats) -> Statistics:
    _scale(r)
    return {"low": float(r.min()), "high": float(r.max())}


def _quantile(r: Floats, quantile: float = 0.85) -> Statistics:
    return {"reference": float(np.quantile(r, checks.real("quantile", quantile, 0, 1)))}


def _all(r: Floats, slope: float = 1.0) -> Statistics:
    return {"references": r, "slope": checks.real("slope", slope, above=0)}


class _Entry(NamedTuple):
    """A function of rewards and statistics, how references and options give these, and the names of the options."""

    rule: Callable[..., Floats]
    statistics: Callable[..., Statistics]
    options: tuple[str, ...] = ()


TRANSFORMS: Mapping[str, _Entry] = {
    "raw": _Entry(raw, lambda r: {}),
    "centred": _Entry(centred, _centre),
    "z_score": _Entry(z_score, _scale),
    "clip": _Entry(clip, _band, ("width",)),
    "min_max": _Entry(min_max, _range),
    "lsc": _Entry(lsc, _quantile, ("quantile",)),
    "par": _Entry(par, _all, ("slope",)),
    "win_rate": _Entry(win_rate, lambda r: {"references": r}),
}


@dataclass(frozen=True, eq=False)
class RewardTransform:
    """One of TRANSFORMS, fixed by rewards of a reference policy; nothing changes it later.

    Attributes:
        name: one of TRANSFORMS.
        references: rewards (M,) of the reference policy, for rewards of any shape; or (K, M), for rewards (K, ...) of
            which each row has references of its own, such as the members of an ensemble, or several properties.
        options: `width` of clip, `quantile` of lsc, `slope` of par, by name.
        statistics: the numbers that enter the formula, one dictionary for each row of references.

    Raises:
        ValueError: the name is not one of TRANSFORMS, an option is not one of it, or the references do not serve it.
    """

    name: str
    references: Any = field(repr=False)
    options: Mapping[str, float] = field(default_factory=dict)
    statistics: tuple[Statistics, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check all fields, and compute the statistics."""
        entry = TRANSFORMS[checks.choice("name", self.name, TRANSFORMS)]
        for option in self.options:
            checks.choice(f"option of {self.name}", option, entry.options)
        known = checks.reals("references", self.references)
        if known.ndim not in (1, 2) or not known.size:
            raise ValueError(f"references has shape {known.shape}; expected (M,) or (K, M) rewards of a policy.")
        known.flags.writeable = False
        rows = known if known.ndim == 2 else known[None]
        object.__setattr__(self, "references", known)
        object.__setattr__(self, "statistics", tuple(entry.statistics(row, **self.options) for row in rows))

    def __call__(self, rewards: Any) -> Floats:
        """Return transformed rewards of the same shape.

        Raises:
            ValueError: a reward is not finite, or there is not one row for each row of references.
        """
        rule = TRANSFORMS[self.name].rule
        if self.references.ndim == 1:
            return rule(rewards, **self.statistics[0])
        r = checks.reals("rewards", rewards)
        if r.ndim < 1 or len(r) != len(self.statistics):
            raise ValueError(f"rewards has shape {r.shape}; expected ({len(self.statistics)}, ...), as the references.")
        return np.stack([rule(row, **known) for row, known in zip(r, self.statistics, strict=True)])

    def refit(self, references: Any) -> RewardTransform:
        """Return the same transform, fixed by other references: how drift is asked for.

        Raises:
            ValueError: the references do not serve it.
        """
        return RewardTransform(self.name, references, self.options)


def fit_transform(name: str, references: Any, **options: float) -> RewardTransform:
    """Return one of TRANSFORMS, fixed by rewards (M,) or (K, M) of the start policy: `RewardTransform`.

    Raises:
        ValueError: the name is not one of TRANSFORMS, an option is not one of it, or the references do not serve it.
    """
    return RewardTransform(name, references, options)
