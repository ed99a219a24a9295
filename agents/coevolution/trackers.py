"""Agents that follow values by the readings of each step; they differ in how they carry an estimate through time.

They play in Follow-v0, Predict-v0 and Coevolve-v0, and in the three of the same names with people that are language
models. A reading is the estimate from one step's responses alone (`Channel.estimate`, `readings.most_likely`). In
Coevolve-v0 and CoevolveLanguage-v0 they say their estimate, at a share `speaking_rate` of the steps, evenly spaced.
Memories are dictionaries of arrays with one row for each environment. Shapes: B environments, D value dimensions.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.agents.base import BatchAgent, Mask, rules
from valuegym.envs import checks
from valuegym.envs.coevolution.coevolve import Coevolve
from valuegym.envs.coevolution.follow import Follow
from valuegym.envs.coevolution.trajectories import extrapolate
from valuegym.envs.language.coevolve_language import CoevolveLanguage
from valuegym.envs.language.follow_language import FollowLanguage

__all__ = [
    "KEPT",
    "Extrapolative",
    "Frozen",
    "Kalman",
    "Lifelong",
    "Memory",
    "MovingAverage",
    "Persistence",
    "Silent",
    "Theta",
    "Tracker",
    "carried",
    "extrapolative_2",
    "extrapolative_shrunk",
    "lifelong_independent",
    "reading_variance",
    "speaks",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Memory: TypeAlias = "dict[str, Floats]"

KEPT = 16  # readings in the history of an agent
STEPS = 100  # the largest number of steps that are extrapolated
WIDEST = 1e6  # the largest standard deviation; values are of the order of 1


class Tracker(BatchAgent):
    """Base of the trackers: it decodes observations, keeps memories, and speaks at a share of the steps.

    Args:
        env: Follow-v0, Predict-v0 or Coevolve-v0, or one of them with people that are language models.
        seed: unused; trackers are deterministic.
        speaking_rate: share of the steps of Coevolve-v0 or CoevolveLanguage-v0 in which to speak, all by default.

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    speaking_rate = 1.0

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, speaking_rate: float | None = None) -> None:
        super().__init__(env, seed)
        core: Any = rules(env)
        if not isinstance(core, Follow | Coevolve | FollowLanguage):
            raise ValueError(
                f"{type(self).__name__} follows values; it plays in Follow-v0, Predict-v0, Coevolve-v0, "
                "FollowLanguage-v0, PredictLanguage-v0 and CoevolveLanguage-v0 only."
            )
        if speaking_rate is not None:
            speaking_rate = checks.real("speaking_rate", speaking_rate, 0, 1)
        self.core = core
        self.ahead = getattr(core, "horizon", 0)
        self.speaking_rate = self.speaking_rate if speaking_rate is None else speaking_rate

    def act(self, observation: Any, memory: Memory | None, start: Mask) -> tuple[Any, Memory]:
        """Return the next estimates and, in Coevolve-v0, broadcasts; an episode begins where the time is 0."""
        t = np.rint(observation["time"][:, 0].astype(np.float64) * self.core.steps).astype(np.int64)
        B, D = len(t), self.core.dimensions
        if isinstance(self.core, FollowLanguage):
            return self.decide(observation["answers"], self.core.read(observation["answers"]), t, memory or {})
        responses = observation["responses"].astype(np.float64).reshape(B, -1, D)
        return self.decide(responses, self.core.channel.estimate(responses), t, memory or {})

    def decide(
        self, responses: Floats, reading: Floats, t: npt.NDArray[np.int64], memory: Memory
    ) -> tuple[Any, Memory]:
        """Return actions and the new memory, for responses (B, m, D), their readings (B, D) and steps t (B,)."""
        estimate, memory = self.update(reading, t, memory)
        return self.say(estimate, estimate, speaks(self.speaking_rate, t)), memory

    def say(self, estimate: Floats, broadcast: Floats, speaking: npt.NDArray[np.bool_]) -> Any:
        """Return the action, with a broadcast where the environment has one."""
        if isinstance(self.core, Coevolve):
            return self.core.action(estimate, broadcast, speaking)
        if isinstance(self.core, CoevolveLanguage):
            return self.core.action(estimate, speaking)
        return self.core.action(estimate)

    def update(self, reading: Floats, t: npt.NDArray[np.int64], memory: Memory) -> tuple[Floats, Memory]:
        """Return estimates (B, D) of the mean `ahead` steps ahead, and the new memory."""
        raise NotImplementedError


def speaks(speaking_rate: float, t: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell at which steps t to speak: a share `speaking_rate` of them, as evenly spaced as possible."""
    return np.floor((t + 1) * speaking_rate + 1e-9) > np.floor(t * speaking_rate + 1e-9)


def carried(memory: Memory, name: str, start: Floats, t: npt.NDArray[np.int64]) -> Floats:
    """Return a memory (B, ...), with `start` in the rows that begin an episode."""
    if name not in memory:
        return start.copy()
    first = (t == 0).reshape(-1, *[1] * (start.ndim - 1))
    return np.where(first, start, memory[name])


def _history(memory: Memory, reading: Floats, t: npt.NDArray[np.int64]) -> Floats:
    """Return the last KEPT readings (B, KEPT, D), the newest last, padded with the episode's first one."""
    past = carried(memory, "history", np.repeat(reading[:, None], KEPT, axis=1), t)
    return np.concatenate([past[:, 1:], reading[:, None]], axis=1)


class Persistence(Tracker):
    """The last reading: lifelong learning from each step's responses alone (extrapolation of order 0)."""

    def update(self, reading: Floats, t: npt.NDArray[np.int64], memory: Memory) -> tuple[Floats, Memory]:
        """Return the reading."""
        return reading, memory


class Frozen(Tracker):
    """The first reading, always: an AI that is aligned once, to the values of its time."""

    def update(self, reading: Floats, t: npt.NDArray[np.int64], memory: Memory) -> tuple[Floats, Memory]:
        """Return the first reading of the episode."""
        first = carried(memory, "first", reading, t)
        return first, {"first": first}


class Lifelong(Tracker):
    """Learning that moves by a share `rate` of the way to each reading.

    `start="iterative"` continues from the last estimate, `"independent"` restarts from the first one at every step, as
    the two lifelong algorithms of ProgressGym do with models.

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        rate: float = 0.8,
        start: str = "iterative",
        speaking_rate: float | None = None,
    ) -> None:
        super().__init__(env, seed, speaking_rate)
        self.rate = checks.real("rate", rate, high=1, above=0)
        self.start = checks.choice("start", start, ("iterative", "independent"))

    def update(self, reading: Floats, t: npt.NDArray[np.int64], memory: Memory) -> tuple[Floats, Memory]:
        """Move from the last estimate or the first reading, `rate` of the way to the new one."""
        first, last = carried(memory, "first", reading, t), carried(memory, "last", reading, t)
        origin = last if self.start == "iterative" else first
        estimate = origin + self.rate * (reading - origin)
        return estimate, {"first": first, "last": estimate}


def lifelong_independent(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> Lifelong:
    """Make a `Lifelong` that restarts from the first reading at every step."""
    return Lifelong(env, seed, start="independent", **kwargs)


class MovingAverage(Tracker):
    """Exponential smoothing: e + gain (y - e).

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    def __init__(
        self, env: gym.Env[Any, Any], seed: int = 0, gain: float = 0.3, speaking_rate: float | None = None
    ) -> None:
        super().__init__(env, seed, speaking_rate)
        self.gain = checks.real("gain", gain, high=1, above=0)

    def update(self, reading: Floats, t: npt.NDArray[np.int64], memory: Memory) -> tuple[Floats, Memory]:
        """Return the average, which starts at the first reading."""
        last = carried(memory, "last", reading, t)
        estimate = last + self.gain * (reading - last)
        return estimate, {"last": estimate}


class Extrapolative(Tracker):
    """Forecast `steps` steps ahead by the rule that the (order + 1)-th difference of the readings is zero.

    v(t+1) = sum_{i=0..K} (-1)**(K-i) C(K+1, i) v(t-K+i), applied again for every further step; K is at most the number
    of earlier readings (the extrapolative algorithm of ProgressGym, order K, M steps). `shrinkage` removes that share
    of the step from the last reading: 0 is as published, 1 is persistence.

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        order: int = 1,
        steps: int = 1,
        shrinkage: float = 0.0,
        speaking_rate: float | None = None,
    ) -> None:
        super().__init__(env, seed, speaking_rate)
        self.order = checks.integer("order", order, 0, KEPT - 1)
        self.steps = checks.integer("steps", steps, 1, STEPS)
        self.shrinkage = checks.real("shrinkage", shrinkage, 0, 1)

    def update(self, reading: Floats, t: npt.NDArray[np.int64], memory: Memory) -> tuple[Floats, Memory]:
        """Return the forecast; rows with a shorter history have a lower order."""
        past = _history(memory, reading, t)
        forecast = reading.copy()
        for K in range(1, self.order + 1):
            rows = np.minimum(t, self.order) == K
            forecast[rows] = extrapolate(past[rows], K, self.steps)
        return reading + (1.0 - self.shrinkage) * (forecast - reading), {"history": past}


def extrapolative_2(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> Extrapolative:
    """Make an `Extrapolative` of order 2, two steps ahead."""
    return Extrapolative(env, seed, order=2, steps=2, **kwargs)


def extrapolative_shrunk(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> Extrapolative:
    """Make an `Extrapolative` that shrinks the step by three quarters."""
    return Extrapolative(env, seed, shrinkage=kwargs.pop("shrinkage", 0.75), **kwargs)


class Kalman(Tracker):
    """Kalman filter of values that follow a random walk, given the noise of a reading.

    Level x(t+1) = x(t) + N(0, q), reading y = x + N(0, r) in every dimension, r from the channel and `cluster_std`, the
    standard deviation of people. `drift` is sqrt(q); by default 0.25, and 0.08 for the slower people of Coevolve-v0,
    which are best over all families of Follow-v0 and in Coevolve-v0, on episodes that no experiment has. The forecast
    for any step is the level.

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        drift: float | None = None,
        cluster_std: float = 0.3,
        speaking_rate: float | None = None,
    ) -> None:
        super().__init__(env, seed, speaking_rate)
        if drift is None:
            drift = 0.08 if isinstance(self.core, Coevolve) else 0.25
        self.drift = checks.real("drift", drift, 0, WIDEST)
        cluster_std = checks.real("cluster_std", cluster_std, 0, WIDEST)
        self.noise = (
            self.core.read_variance()
            if isinstance(self.core, FollowLanguage)
            else reading_variance(self.core.channel, cluster_std)
        )

    def update(self, reading: Floats, t: npt.NDArray[np.int64], memory: Memory) -> tuple[Floats, Memory]:
        """Predict, then correct; the first reading opens with its own variance."""
        opening = np.full((len(reading), 1), self.noise)
        level, variance = carried(memory, "level", reading, t), carried(memory, "variance", opening, t)
        prior = variance + self.drift**2
        total = prior + self.noise
        gain = np.divide(prior, total, out=np.ones_like(prior), where=total > 0)  # exact readings are taken as they are
        first = (t == 0)[:, None]
        level = np.where(first, reading, level + gain * (reading - level))
        return level, {"level": level, "variance": np.where(first, opening, (1.0 - gain) * prior)}


def reading_variance(channel: Any, cluster_std: float) -> float:
    """Variance of a reading's error in each dimension, where people have this standard deviation around their mean.

    Of choices, by the information of Bradley-Terry at indifference: a choice has information p (1 - p) <= 1/4 a squared
    temperature, times the mean square of a difference of loadings in each dimension, 2/3 for random items.
    """
    if channel.kind == "values":
        return float((channel.noise**2 + cluster_std**2) / channel.budget)
    scarcity = 1.5 if channel.items is None else 1.0 / float(np.mean(channel.items.differences**2))
    return float((4.0 * channel.noise**2 * scarcity + cluster_std**2) / channel.budget)


class Theta(Tracker):
    """Theta method: exponential smoothing plus half of the linear trend of all readings (Hyndman, Billah 2003).

    Forecast h steps ahead: level + b/2 (h - 1 + 1/a - (1 - a)**n / a), b the least-squares slope of the n readings of
    the episode (at most 16) and a the gain; Assimakopoulos, Nikolopoulos (2000), "The theta model".

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    def __init__(
        self, env: gym.Env[Any, Any], seed: int = 0, gain: float = 0.5, speaking_rate: float | None = None
    ) -> None:
        super().__init__(env, seed, speaking_rate)
        self.gain = checks.real("gain", gain, high=1, above=0)

    def update(self, reading: Floats, t: npt.NDArray[np.int64], memory: Memory) -> tuple[Floats, Memory]:
        """Return the forecast `ahead` steps ahead."""
        level = carried(memory, "level", reading, t)
        level = level + self.gain * (reading - level)
        past = _history(memory, reading, t)
        n = np.minimum(t + 1, KEPT)[:, None]
        age = np.arange(KEPT - 1, -1, -1)[None]
        seen = age < n
        centred = np.where(seen, (n - 1) / 2 - age, 0.0)
        slope = (centred[..., None] * past).sum(1) / np.maximum((centred**2).sum(-1, keepdims=True), 0.5)
        lead = self.ahead - 1 + (1.0 - (1.0 - self.gain) ** n) / self.gain
        return level + 0.5 * slope * lead, {"level": level, "history": past}


class Silent(Kalman):
    """The Kalman filter's estimate, without any broadcast: influence and diversity as if there were no AI."""

    speaking_rate = 0.0
