"""Paths of values over time: families of stochastic processes, and extrapolation.

A family is a frozen dataclass of its parameters. `draw(key, steps, dimensions)` returns one path for each key, (B,) ->
(B, steps, dimensions), by counter-based random numbers alone. Values have no unit, are centred on 0 and mostly lie
within +-2; time is in steps. `by_name` also returns recorded paths (`recorded`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import comb
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys
from valuegym.envs.coevolution import dynamics, networks

__all__ = [
    "Family",
    "Linear",
    "Logistic",
    "Mixed",
    "OrnsteinUhlenbeck",
    "PopulationMean",
    "RandomWalk",
    "RegimeSwitch",
    "by_name",
    "extrapolate",
]

Array = npt.NDArray[Any]
Real = npt.NDArray[np.float64]

AHEAD = 10_000  # steps of an extrapolation, at most
LARGEST = 1e6  # of a parameter
HIGHEST = {"theta": 2.0, "chance": 1.0, "social": 0.5, "attachment": 1.0}  # of those that have no larger values
START, PACE, LEVELS, CHANCE, FAMILY = range(5)  # purposes of draws: the counter after keys.RESET


class Family(Protocol):
    """Interface of a distribution of paths."""

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw paths (B, steps, dimensions) of the keys (B,)."""


def _normals(key: keys.Key, purpose: int, *shape: int) -> Real:
    """Return standard normal draws (B, *shape)."""
    n = int(np.prod(shape))
    return keys.normal(key[:, None], keys.RESET, purpose, np.arange(n)).reshape(len(key), *shape)


def _uniforms(key: keys.Key, purpose: int, *shape: int) -> Real:
    """Return uniform draws (B, *shape) from [0, 1)."""
    n = int(np.prod(shape))
    return keys.uniform(key[:, None], keys.RESET, purpose, np.arange(n)).reshape(len(key), *shape)


class _Checked:
    """Parameters of a family, which are checked when it is made.

    Raises:
        ValueError: a parameter is outside its range.
    """

    def __post_init__(self) -> None:
        for parameter in fields(self):  # type: ignore[arg-type]
            name, value, usual = parameter.name, getattr(self, parameter.name), parameter.default
            if isinstance(usual, int):
                checks.integer(name, value, 1, int(LARGEST))
            elif isinstance(usual, float):
                checks.real(name, value, 1e-6 if name == "bound" else 0.0, HIGHEST.get(name, LARGEST))


@dataclass(frozen=True)
class Linear(_Checked):
    """Linear trend, x_t = x_0 + v t, with normal x_0 (standard deviation `start`) and v (`pace`, per step)."""

    start: float = 0.3
    pace: float = 0.15

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw paths (B, steps, dimensions)."""
        first, pace = (_normals(key, purpose, 1, dimensions) for purpose in (START, PACE))
        return self.start * first + self.pace * pace * np.arange(float(steps))[:, None]


@dataclass(frozen=True)
class Logistic:
    """Logistic transition from one view to its opposite, x_t = +-(1 / (1 + exp(-(t - m) / w)) - 1/2).

    A model of moral revolutions. Each dimension rises or falls with equal probability. The midpoint m is uniform within
    half a step of the middle of the path, the width w is uniform on `widths` (steps).
    """

    widths: tuple[float, float] = (0.75, 1.25)

    def __post_init__(self) -> None:
        checks.reals("widths", self.widths, (2,), 1e-6, LARGEST)

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw paths (B, steps, dimensions)."""
        u = _uniforms(key, PACE, 3, dimensions)
        middle = (steps - 1) / 2 + u[:, :1] - 0.5
        width = self.widths[0] + (self.widths[1] - self.widths[0]) * u[:, 1:2]
        sign = np.where(u[:, 2:] < 0.5, -1.0, 1.0)
        late = np.clip((np.arange(float(steps))[:, None] - middle) / width, -500.0, 500.0)
        return sign * (1.0 / (1.0 + np.exp(-late)) - 0.5)


@dataclass(frozen=True)
class RandomWalk(_Checked):
    """Random walk, x_t+1 = x_t + sigma xi, with normal x_0 (standard deviation `start`).

    The best forecast is persistence.
    """

    start: float = 0.3
    sigma: float = 0.3

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw paths (B, steps, dimensions)."""
        x = _normals(key, START, steps, dimensions)
        x[:, 0] *= self.start
        x[:, 1:] *= self.sigma
        return np.cumsum(x, axis=1)


@dataclass(frozen=True)
class OrnsteinUhlenbeck(_Checked):
    """Ornstein-Uhlenbeck process, x_t+1 = x_t - theta x_t + sigma xi, from normal x_0 (standard deviation `start`)."""

    start: float = 0.9
    theta: float = 0.25
    sigma: float = 0.2

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw paths (B, steps, dimensions)."""
        x = _normals(key, START, steps, dimensions)
        x[:, 0] *= self.start
        for t in range(1, steps):
            x[:, t] = (1.0 - self.theta) * x[:, t - 1] + self.sigma * x[:, t]
        return x


@dataclass(frozen=True)
class RegimeSwitch(_Checked):
    """Piecewise constant levels, x_t = level + sigma xi; with probability `chance` per step all dimensions jump.

    Levels are normal (standard deviation `level`).
    """

    level: float = 0.5
    sigma: float = 0.05
    chance: float = 0.2

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw paths (B, steps, dimensions)."""
        x = self.level * _normals(key, LEVELS, steps, dimensions)
        switched = _uniforms(key, CHANCE, steps, 1) < self.chance
        for t in range(1, steps):
            x[:, t] = np.where(switched[:, t], x[:, t], x[:, t - 1])
        return x + self.sigma * _normals(key, START, steps, dimensions)


@dataclass(frozen=True)
class PopulationMean(_Checked):
    """Mean opinion of a population with bounded confidence and drifting anchors (`dynamics.coevolve`).

    Pairwise meetings alone would leave the mean constant; it moves because each person is drawn to an anchor, and all
    anchors drift by `pace` per step in a direction drawn for each path.
    """

    people: int = 50
    anchor_std: float = 0.5
    bound: float = 1.5
    social: float = 0.05
    attachment: float = 0.3
    pace: float = 0.15
    idiosyncratic_noise: float = 0.05

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw paths (B, steps, dimensions)."""
        N, D = self.people, dimensions
        anchor = self.anchor_std * _normals(key, LEVELS, N, D)
        drift = self.pace * _normals(key, PACE, 1, D)
        x, path = anchor, np.empty((len(key), steps, D))
        for t in range(steps):
            path[:, t] = dynamics.mean(x)
            now = keys.mix(key, t)
            x = dynamics.coevolve(
                x, networks.partners(_uniforms(now, CHANCE, N)), None, anchor + (t + 1) * drift,
                _normals(now, START, N, D), bound=self.bound, social=self.social, influence=0.0,
                attachment=self.attachment, idiosyncratic_noise=self.idiosyncratic_noise,
            )  # fmt: skip
        return path


FAMILIES: dict[str, Family] = {
    "linear": Linear(),
    "logistic": Logistic(),
    "random-walk": RandomWalk(),
    "ornstein-uhlenbeck": OrnsteinUhlenbeck(),
    "regime-switch": RegimeSwitch(),
    "population": PopulationMean(),
}


@dataclass(frozen=True)
class Mixed:
    """Mixture of families: one for each path, all equally likely."""

    families: tuple[Family, ...] = field(default_factory=lambda: tuple(FAMILIES.values()))

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw paths (B, steps, dimensions)."""
        which = keys.integers(key, len(self.families), keys.RESET, FAMILY)
        path = np.empty((len(key), steps, dimensions))
        for number, family in enumerate(self.families):
            rows = np.flatnonzero(which == number)
            if rows.size:
                path[rows] = family.draw(key[rows], steps, dimensions)
        return path


def by_name(name: Any, data: str | None = None) -> Family:
    """Return a family, "mixed", or a recorded path: "history", "gss" (in the folder `data`) or the path of a CSV file.

    Raises:
        ValueError: the name is none of these, or a file is not what it should be.
        FileNotFoundError: a recorded path is not in the folder.
    """
    from valuegym.envs.coevolution import recorded

    name = str(name) if isinstance(name, (str, PurePath)) else checks.printed(name)  # the latter is no name of a family
    if name == "mixed":
        return Mixed()
    if name in FAMILIES:
        return FAMILIES[name]
    if name in recorded.PUBLISHED:
        return recorded.load(name, data)
    if name.endswith(".csv"):
        return recorded.read_csv(name)
    raise ValueError(
        f"family = {name!r}; expected one of {[*FAMILIES, 'mixed', *recorded.PUBLISHED]}, or a file that ends in .csv."
    )


def extrapolate(history: Array, order: int, ahead: int = 1) -> Real:
    """Forecast M steps ahead by polynomial extrapolation of order K.

    Each step sets the difference of order K + 1 to zero: v_t+1 = sum_{i=0..K} (-1)^(K-i) C(K+1, i) v_t-K+i, so the
    last value for K = 0 and 2 v_t - v_t-1 for K = 1. Independent noise of variance s^2 in the observed values adds
    (C(2K+2, K+1) - 1) s^2 to the variance of a forecast one step ahead. Source: Qiu et al. (2024), "ProgressGym".

    Args:
        history: (..., t, D) values so far, t >= 1.
        order: K; t - 1 if that is smaller.
        ahead: M, steps after the last value.

    Raises:
        ValueError: the order or `ahead` is outside its range, or there is no value.
    """
    if not history.shape[-2]:
        raise ValueError("history holds no values; expected at least one.")
    K = min(checks.integer("order", order, 0), history.shape[-2] - 1)
    ahead = checks.integer("ahead", ahead, 0, AHEAD)
    last = [np.asarray(history[..., history.shape[-2] - 1 - K + i, :], np.float64) for i in range(K + 1)]
    for _ in range(ahead):
        forecast = np.zeros_like(last[0])
        for i, value in enumerate(last):
            forecast = forecast + (-1.0) ** (K - i) * comb(K + 1, i) * value
        last = [*last[1:], forecast]
    return last[-1]
