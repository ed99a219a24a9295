"""Utilities: the quantity of a segment that an annotator compares, and how it is perceived.

A utility is a function of N segments that returns N numbers; higher is better. A comparison gives differences that need
not come from utilities, and so may be intransitive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.feedback.segments import Segments

__all__ = [
    "RISKY",
    "Comparison",
    "Cyclic",
    "EndState",
    "Features",
    "IdealPoint",
    "Linear",
    "MyopicReturn",
    "PartialReturn",
    "Perceived",
    "Regret",
    "RiskyChoice",
    "Utility",
    "Values",
    "features_of",
    "info_column",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Features = Callable[[Segments], Array] | str | None


class Utility(Protocol):
    """The quantity that an annotator compares: higher is better."""

    def __call__(self, segments: Segments) -> Array:
        """Return the utility (N,) of segments."""


class Comparison(Protocol):
    """A difference between two segments that need not come from utilities, and so may be intransitive."""

    def difference(self, first: Segments, second: Segments) -> Array:
        """Return how much better (N,) the second is than the first."""


def _total(signal: Array, factor: Array | None) -> Floats:
    """Return sums over the steps, (N, L) -> (N,), one step after another: the same bits for any N.

    A factor of None is 1 everywhere.
    """
    # numpy adds whole columns where those lie side by side in memory, and else entries of a row in an order of its own.
    signal = np.asfortranarray(signal) if factor is None else np.multiply(factor, signal, order="F")
    if len(signal) == 1:  # a single row is both
        return 0.0 + np.add.accumulate(signal, 1)[:, -1]
    return np.add.reduce(signal, 1, initial=0.0)


def _discounts(discount: float, steps: int) -> Array | None:
    """Return discount**t of steps t from 0, None where all are 1."""
    return None if discount == 1.0 else np.asarray(discount ** np.arange(steps))


def _return(segments: Segments, factor: Array | None) -> Floats:
    """Return the weighted sums (N,) of rewards."""
    if not segments.rewards_known:
        raise ValueError("The rewards of a segment are unknown (NaN); expected those that the annotator compares.")
    return _total(segments.rewards, factor)


@dataclass(frozen=True)
class PartialReturn:
    """sum_t discount**t r_t: what was earned.

    Raises:
        ValueError: the discount is not from 0 to 1.
    """

    discount: float = 1.0

    def __post_init__(self) -> None:
        """Check the discount."""
        checks.real("discount", self.discount, 0, 1)

    def __call__(self, segments: Segments) -> Floats:
        """Return the partial returns (N,)."""
        return _return(segments, _discounts(self.discount, segments.steps))


@dataclass(frozen=True)
class MyopicReturn:
    """sum_t discount**(l-1-t) r_t for a segment of l steps: the last step counts in full, earlier ones less.

    Raises:
        ValueError: the discount is not above 0 and at most 1.
    """

    discount: float = 0.9

    def __post_init__(self) -> None:
        """Check the discount."""
        checks.real("discount", self.discount, above=0, high=1)

    def __call__(self, segments: Segments) -> Floats:
        """Return the weighted returns (N,)."""
        if self.discount == 1.0:
            return _return(segments, None)
        back = np.maximum(segments.lengths[:, None] - 1 - np.arange(segments.steps), 0)
        return _return(segments, np.asarray(self.discount**back, np.float64))


class Values(Protocol):
    """Optimal values of the true reward, for `Regret` and `EndState`."""

    def value(self, observations: Any) -> Array:
        """Return V (M,) of observations (M, ...)."""

    def action_value(self, observations: Any, actions: Array) -> Array:
        """Return Q (M,) of observations (M, ...) and actions (M, ...)."""


def _flat(segments: Segments, steps: slice) -> Any:
    """Return the observations of some steps as one batch."""

    def lay(value: Array) -> Array:
        part = value[:, steps]
        return part.reshape(-1, *part.shape[2:])

    if isinstance(segments.observations, Mapping):
        return {name: lay(value) for name, value in segments.observations.items()}
    return lay(segments.observations)


def info_column(segments: Segments, name: str, who: str, shape: tuple[int | None, ...]) -> Floats:
    """Return the column (N, *shape) of numbers that `who` needs.

    Raises:
        ValueError: there is none, or it has another shape or holds other than finite numbers.
    """
    if name not in segments.info:
        raise ValueError(f"{who} needs the column {name!r}; the segments have {sorted(segments.info) or 'none'}.")
    return checks.reals(f"the column {name!r}", segments.info[name], (len(segments), *shape))


@dataclass(frozen=True)
class Regret:
    """sum_t discount**t [Q(s_t, a_t) - V(s_t)]: minus what the decisions cost against optimal play.

    Args:
        values: V and Q of the true reward; None takes the advantages Q - V from the column `advantages` (N, L).
        discount: of later steps, as in the task.

    Raises:
        ValueError: the discount is not from 0 to 1.
    """

    values: Values | None = None
    discount: float = 1.0

    def __post_init__(self) -> None:
        """Check the discount."""
        checks.real("discount", self.discount, 0, 1)

    def __call__(self, segments: Segments) -> Floats:
        """Return minus the regrets (N,)."""
        N, L = shape = len(segments), segments.steps
        if self.values is None:
            advantages = info_column(segments, "advantages", "Regret without values", (L,))
        else:
            here = _flat(segments, slice(0, L))
            actions = segments.actions.reshape(N * L, *segments.actions.shape[2:])
            q = checks.reals("action_value(observations, actions)", self.values.action_value(here, actions), (N * L,))
            advantages = (q - checks.reals("value(observations)", self.values.value(here), (N * L,))).reshape(shape)
        return _total(np.where(segments.mask, advantages, 0.0), _discounts(self.discount, L))


@dataclass(frozen=True)
class EndState:
    """V(s_l), how good the end is; 0 where the last step ended the episode.

    Args:
        values: V of the true reward; None takes it from the column `values` (N, L+1).
    """

    values: Values | None = None

    def __call__(self, segments: Segments) -> Floats:
        """Return the values (N,) of the last states."""
        if self.values is None:
            column = info_column(segments, "values", "EndState without values", (segments.steps + 1,))
            end = column[np.arange(len(segments)), segments.lengths]
        else:  # padding repeats the last observation
            last = _flat(segments, slice(segments.steps, None))
            end = checks.reals("value(observations)", self.values.value(last), (len(segments),))
        return np.where(segments.terminated, 0.0, end)


def features_of(segments: Segments, features: Features) -> Floats:
    """Return features (N, d) of segments, by the mean over their steps.

    Args:
        segments: N of them.
        features: a function of segments that returns (N, d); a column of `info`, (N, d) for segments or (N, L, d) for
            steps; an entry of the observations; or None for the observations themselves.

    Raises:
        ValueError: there is no such column, or the function returns something else.
    """
    N, L, observations = len(segments), segments.steps, segments.observations
    if callable(features):
        return checks.reals("features(segments)", features(segments), (N, None))
    if features is None and not isinstance(observations, Mapping):
        found, name = observations, "observations"
    elif features is not None and features in segments.info:
        found, name = segments.info[features], f"info[{features!r}]"
        if found.ndim == 2:
            return checks.reals(name, found)
    elif features is not None and isinstance(observations, Mapping) and features in observations:
        found, name = observations[features], f"observations[{features!r}]"
    else:
        there = [*segments.info, *(observations if isinstance(observations, Mapping) else ())]
        raise ValueError(f"features = {features!r}; expected a function, or one of {there}.")
    if found.ndim < 2 or found.shape[1] not in (L, L + 1):
        raise ValueError(f"{name} has shape {found.shape}; expected ({N}, d), or a feature for each of {L} steps.")
    steps = checks.reals(name, found)[:, :L].reshape(N, L, math.prod(found.shape[2:]))
    return (steps * segments.mask[..., None]).sum(1) / segments.lengths[:, None]


@dataclass(frozen=True, eq=False)
class Linear:
    """w . phi: weights on features, or a value profile that differs between segments.

    Args:
        weights: (d,), or the name of a column or an entry of the observations that holds a profile (N, d)
            for each pair, such as `profile`.
        features: as in `features_of`.

    Raises:
        ValueError: the weights are no finite numbers.
    """

    weights: Any
    features: Features = None

    def __post_init__(self) -> None:
        """Check the weights."""
        if not isinstance(self.weights, str):
            object.__setattr__(self, "weights", checks.reals("weights", self.weights, (None,)))

    def __call__(self, segments: Segments) -> Floats:
        """Return the weighted features (N,)."""
        phi = features_of(segments, self.features)
        w = features_of(segments, self.weights) if isinstance(self.weights, str) else self.weights[None]
        if w.shape[1] != phi.shape[1]:
            raise ValueError(f"There are {w.shape[1]} weights for {phi.shape[1]} features; expected one for each.")
        return (w * phi).sum(1)


@dataclass(frozen=True, eq=False)
class IdealPoint:
    """-|phi - u|: the nearer the features of a segment are to a person's ideal point, the better.

    Raises:
        ValueError: the point holds no finite numbers.
    """

    point: Any
    features: Features = None

    def __post_init__(self) -> None:
        """Check the point."""
        object.__setattr__(self, "point", checks.reals("point", self.point, (None,)))

    def __call__(self, segments: Segments) -> Floats:
        """Return minus the distances (N,)."""
        phi = features_of(segments, self.features)
        if phi.shape[1] != len(self.point):
            raise ValueError(
                f"The ideal point has {len(self.point)} numbers for {phi.shape[1]} features; expected as many."
            )
        return -np.sqrt(((phi - self.point) ** 2).sum(1))


# Parameters of risky choice and the inverse temperature t, fitted to 9,831 problems of choices13k (docs/feedback.md).
RISKY: dict[str, dict[str, float]] = {
    "expected-value": {"gain": 1.0, "loss": 1.0, "aversion": 1.0, "weighting": 1.0, "t": 0.135},
    "expected-utility": {"gain": 0.81, "loss": 0.81, "aversion": 0.84, "weighting": 1.0, "t": 0.28},
    "prospect": {"gain": 0.80, "loss": 0.74, "aversion": 1.1, "weighting": 0.93, "t": 0.27},
}


@dataclass(frozen=True)
class RiskyChoice:
    """sum_k w(p_k) u(x_k) of gambles, u(x) = x**gain or -aversion |x|**loss, w(p) = p**g / (p**g + (1-p)**g)**(1/g).

    A segment is a gamble with the columns `outcomes` (N, K) and `chances` (N, K). With all parameters 1 it is the
    expected value. Source: Tversky, Kahneman (1992), weights by outcome, not cumulative.

    Raises:
        ValueError: a parameter is not above 0.
    """

    gain: float = 1.0
    loss: float = 1.0
    aversion: float = 1.0
    weighting: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        for name in ("gain", "loss", "aversion", "weighting"):
            checks.real(name, getattr(self, name), above=0)

    def __call__(self, segments: Segments) -> Floats:
        """Return the subjective values (N,) of gambles."""
        x = info_column(segments, "outcomes", "RiskyChoice", (None,))
        p = info_column(segments, "chances", "RiskyChoice", (x.shape[1],))
        if (p < 0).any() or not np.allclose(p.sum(1), 1.0):
            raise ValueError("The column 'chances' holds no probabilities; expected rows from 0 to 1 that sum to 1.")
        u = np.where(x >= 0, np.abs(x) ** self.gain, -self.aversion * np.abs(x) ** self.loss)
        g = self.weighting
        p = np.minimum(p, 1.0)
        return (p**g / (p**g + (1 - p) ** g) ** (1 / g) * u).sum(1)


@dataclass(frozen=True, eq=False)
class Cyclic:
    """sum_k (v[2k] w[2k+1] - v[2k+1] w[2k]) of features v of the second and w of the first: a disc game.

    Swapping the two changes the sign, so that no segment is better than itself; three of them on a circle form a cycle,
    in which each is preferred to the next. Source: the general preference model of Zhang et al. (2025).

    Args:
        features: as in `features_of`; an even number of them.
    """

    features: Features = None

    def difference(self, first: Segments, second: Segments) -> Floats:
        """Return how much better (N,) the second is.

        Raises:
            ValueError: the number of features is odd.
        """
        w, v = features_of(first, self.features), features_of(second, self.features)
        if v.shape[1] % 2 or v.shape != w.shape:
            raise ValueError(f"Cyclic compares {v.shape[1]} features; expected an even number of them.")
        return (v[:, ::2] * w[:, 1::2] - v[:, 1::2] * w[:, ::2]).sum(1)


@dataclass(frozen=True)
class Perceived:
    """psi(x) = sign(x) log(1 + |x| / scale): large utilities differ less (Weber, Fechner).

    Raises:
        ValueError: the scale is not above 0.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the scale."""
        checks.real("scale", self.scale, above=0)

    def __call__(self, utility: Array) -> Floats:
        """Return perceived utilities (N,)."""
        return np.sign(utility) * np.log1p(np.abs(utility) / self.scale)
