"""Queries: how many per round, and which pairs of segments of past experience.

`Experience` keeps the last steps of B environments that move together, each in its own ring, and draws segments from
them without a loop over steps or pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.feedback.segments import Segments, each

__all__ = ["SCHEDULES", "Experience", "check_space", "queries_per_round"]

Array = npt.NDArray[Any]

# Weights of rounds at t from 0 (first) to 1 (last), as in Christiano et al. (2017) and its reimplementations.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "hyperbolic": lambda t: 1.0 / (1.0 + t),
    "inverse_quadratic": lambda t: 1.0 / (1.0 + t**2),
}


def queries_per_round(schedule: str | Callable[[float], float], budget: int, rounds: int) -> list[int]:
    """Return how many queries each round has; they sum to the budget.

    Shares are in proportion to the schedule's weights, rounded by largest remainders, earlier rounds first.

    Args:
        schedule: a name in `SCHEDULES`, or a function of t, from 0 in the first round to 1 in the last, that returns a
            weight of at least 0.
        budget: of queries, at least 1.
        rounds: at least 1.

    Raises:
        ValueError: an argument is not as stated, or all weights are 0.
    """
    budget, rounds = checks.integer("budget", budget, 1), checks.integer("rounds", rounds, 1)
    weight = schedule if callable(schedule) else SCHEDULES[checks.choice("schedule", schedule, SCHEDULES)]
    times = (k / max(rounds - 1, 1) for k in range(rounds))
    weights = np.array([checks.real("the weight of the schedule", weight(t), 0) for t in times])
    if not weights.any():
        raise ValueError("All weights of the schedule are 0; expected one above 0.")
    weights /= weights.max()
    exact = budget * weights / weights.sum()
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: budget - int(counts.sum())]] += 1
    return counts.tolist()


_PLAIN = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)


def check_space(name: str, space: gym.Space[Any], dictionary: bool = True) -> None:
    """Check that a space holds arrays, or a flat dictionary of them.

    Raises:
        ValueError: it does not.
    """
    inner = list(space.spaces.values()) if dictionary and isinstance(space, gym.spaces.Dict) else [space]
    if not inner or not all(isinstance(part, _PLAIN) for part in inner):
        also = " or a flat Dict of these" if dictionary else ""
        raise ValueError(
            f"{name} is {space}; expected a Box, Discrete, MultiDiscrete or MultiBinary space{also}; "
            "FlattenObservation makes one of most others."
        )


class Experience:
    """The last steps of B environments, from which segments are drawn.

    An episode of T steps takes T + 1 records: one for each step, and one for its last observation.

    Args:
        observation_space: of one environment, as in `check_space`.
        action_space: of one environment.
        rows: B.
        memory: records kept of each environment, at least 2.

    Raises:
        ValueError: a space is not supported, or a number is too small.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], rows: int, memory: int) -> None:
        check_space("observation_space", observation_space)
        check_space("action_space", action_space, dictionary=False)
        self.rows, self.memory = checks.integer("rows", rows, 1), checks.integer("memory", memory, 2)

        def empty(space: gym.Space[Any]) -> Array:
            return np.zeros((self.memory, rows, *(space.shape or ())), space.dtype)

        if isinstance(observation_space, gym.spaces.Dict):
            self._observations: Any = {name: empty(space) for name, space in observation_space.spaces.items()}
        else:
            self._observations = empty(observation_space)
        self._actions = empty(action_space)
        self._rewards = np.zeros((self.memory, rows))
        self._is_step = np.zeros((self.memory, rows), np.bool_)  # else the last record of an episode, or unused
        self._ends = np.zeros((self.memory, rows), np.bool_)  # the step terminated its episode
        self._waits = np.zeros((self.memory, rows), np.bool_)  # the step waited for the horizon: nothing happened in it
        self._over = np.zeros((self.memory, rows), np.bool_)  # a last record of an episode that has ended
        self._count = np.zeros(rows, np.int64)  # records written

    def begin(self, observations: Any, rows: Array) -> None:
        """Start episodes in some rows, an index array, with these observations (n, ...)."""
        self.finish(rows[self._count[rows] > 0])  # the former episode is complete
        self._write(observations, rows)

    def _write(self, observations: Any, rows: Array) -> None:
        """Add a record with an observation, from which no step has been made."""
        at = self._count[rows] % self.memory
        if isinstance(self._observations, dict):
            for name, ring in self._observations.items():
                ring[at, rows] = observations[name]
        else:
            self._observations[at, rows] = observations
        for ring in (self._is_step, self._ends, self._waits, self._over):
            ring[at, rows] = False
        self._count[rows] += 1

    def add(
        self,
        actions: Array,
        rewards: Array,
        observations: Any,
        terminated: Array,
        rows: Array,
        waits: Array | None = None,
    ) -> None:
        """Add a step of some rows, an index array: actions, rewards, next observations, all (n, ...).

        `waits` (n,) bool marks steps after the end of an episode; none by default.

        Raises:
            ValueError: a reward is not finite.
        """
        rewards = checks.reals("the reward of the environment", rewards, (len(rows),))
        at = (self._count[rows] - 1) % self.memory
        self._actions[at, rows], self._rewards[at, rows] = actions, rewards
        self._is_step[at, rows], self._ends[at, rows] = True, terminated
        self._waits[at, rows] = False if waits is None else waits
        self._write(observations, rows)

    def finish(self, rows: Array) -> None:
        """Note that the episodes of some rows have ended."""
        self._over[(self._count[rows] - 1) % self.memory, rows] = True

    def _starts(self, length: int) -> tuple[Array, Array, Array]:
        """Return where segments may start: row (n,), number of the record (n,), steps (n,) at most `length`.

        All stretches of `length` steps within an episode that do not begin after its end, and whole episodes that are
        shorter and have ended.
        """
        oldest = np.maximum(self._count - self.memory, 0)
        kept = min(self.memory, int(self._count.max()))
        number = oldest[:, None] + np.arange(kept)  # (B, M), in the order of time
        row = np.arange(self.rows)[:, None]
        used = number < self._count[:, None]
        step = self._is_step[number % self.memory, row] & used
        index = np.arange(kept)
        last = np.where(step, kept, index)  # of the episode: the next record that is no step
        last = np.minimum.accumulate(last[:, ::-1], 1)[:, ::-1]
        left = np.where(step, last - index, 0)
        first = step & np.concatenate([np.ones((self.rows, 1), np.bool_), ~step[:, :-1]], 1)
        first[:, 0] &= oldest == 0  # else the episode's beginning may have been overwritten
        end = self._over[(oldest[:, None] + np.minimum(last, kept - 1)) % self.memory, row]
        waits = self._waits[number % self.memory, row]
        rows, columns = np.nonzero(((left >= length) & ~waits) | (first & (left > 0) & end))
        return rows, number[rows, columns], np.minimum(left[rows, columns], length)

    def pairs(self, n: int, length: int, rng: np.random.Generator) -> tuple[Segments, Segments] | None:
        """Return n pairs of two different segments, all segments with equal chances; None if there are not two yet."""
        if self._count.max() <= length and not self._over.any():  # no segment is complete
            return None
        rows, numbers, steps = self._starts(length)
        if len(rows) < 2:
            return None
        one = rng.integers(len(rows), size=n)
        two = (one + 1 + rng.integers(len(rows) - 1, size=n)) % len(rows)
        first, second = (self._take(rows[at], numbers[at], steps[at], length) for at in (one, two))
        return first, second

    def _take(self, rows: Array, numbers: Array, steps: Array, length: int) -> Segments:
        """Return the segments that start at these records."""
        at = (numbers[:, None] + np.minimum(np.arange(length + 1), steps[:, None])) % self.memory
        row = rows[:, None]
        return Segments(
            each(lambda ring: ring[at, row], self._observations),
            self._actions[at[:, :-1], row],
            self._rewards[at[:, :-1], row],
            steps,
            self._ends[at[np.arange(len(rows)), steps - 1], rows],
        )
