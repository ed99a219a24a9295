"""Queries: how many per round, and which pairs of segments of past experience.

`Experience` keeps the last steps of B environments that move together, each in its own ring, and draws segments from
them without a loop over steps or pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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


_ROW, _FIRST, _STOP, _LIVE, _OVER = range(5)  # columns of the table of episodes
_FIRST_ROW = np.zeros(1, np.int64)
_FAR = np.iinfo(np.int64).max


class Experience:
    """The last steps of B environments, from which segments are drawn.

    An episode of T steps takes T + 1 records: one for each step, and one for its last observation. The records of an
    environment lie side by side in memory, so that a segment is copied as one block, and where segments may start
    follows from a table of episodes.

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
            return np.zeros((rows, self.memory, *(space.shape or ())), space.dtype)

        if isinstance(observation_space, gym.spaces.Dict):
            self._observations: Any = {name: empty(space) for name, space in observation_space.spaces.items()}
        else:
            self._observations = empty(observation_space)
        self._actions = empty(action_space)
        self._rewards = np.zeros((rows, self.memory))
        self._ends = np.zeros((rows, self.memory), np.bool_)  # the step terminated its episode
        self._count = np.zeros(rows, np.int64)  # records written
        # Of each episode: its row, the numbers of its first record and of the one after its last, the number of the
        # first step that waited for the horizon, where nothing happens, and whether it has ended.
        self._episodes = np.zeros((2 * rows, 5), np.int64)
        self._entries = 0  # in the table
        self._current = np.zeros(rows, np.int64)  # the entry of each row

    def begin(self, observations: Any, rows: Array) -> None:
        """Start episodes in some rows, an index array, with these observations (n, ...)."""
        before = rows[self._count[rows] > 0]
        self.finish(before)  # the former episode is complete
        self._episodes[self._current[before], _STOP] = self._count[before]
        if self._entries + len(rows) > len(self._episodes):
            self._make_room(len(rows))
        entries = self._entries + np.arange(len(rows))
        self._episodes[entries] = [0, 0, _FAR, _FAR, 0]
        self._episodes[entries, _ROW], self._episodes[entries, _FIRST] = rows, self._count[rows]
        self._current[rows] = entries
        self._entries += len(rows)
        self._write(observations, rows, self._count[rows] % self.memory)

    def _make_room(self, n: int) -> None:
        """Drop episodes that were overwritten, and lengthen the table if there is still no room for n more."""
        table = self._episodes[: self._entries]
        kept = table[:, _STOP] > (self._count - self.memory)[table[:, _ROW]]
        self._current = (np.cumsum(kept) - 1)[self._current]
        self._entries = int(kept.sum())
        former, self._episodes = table[kept], np.zeros((2 * (self._entries + n), 5), np.int64)
        self._episodes[: self._entries] = former

    def _write(self, observations: Any, rows: Any, at: Any) -> None:
        """Add a record with an observation, from which no step has been made."""
        if isinstance(self._observations, dict):
            for name, ring in self._observations.items():
                ring[rows, at, ...] = observations[name]
        else:
            self._observations[rows, at, ...] = observations
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

        `waits` (n,) bool marks steps after the end of an episode, which wait for its horizon; none by default.

        Raises:
            ValueError: a reward is not finite.
        """
        rewards = checks.vector("the reward of the environment", rewards, len(rows))
        if waits is not None and waits.any():
            self._wait(rows[waits])
        self._step(actions, rewards, observations, terminated, rows)

    def add_one(self, action: Any, reward: float, observation: Any, terminated: bool, waits: bool) -> None:
        """Add a step of the first row, as `add` does of several.

        Raises:
            ValueError: the reward is not finite.
        """
        if not math.isfinite(reward):
            checks.vector("the reward of the environment", np.array([reward]), 1)
        if waits:
            self._wait(_FIRST_ROW)
        self._step(action, reward, observation, terminated, 0)

    def _wait(self, rows: Array) -> None:
        """Note that the next step of some rows waits, and so do all that follow in the episode."""
        entries = self._current[rows]
        self._episodes[entries, _LIVE] = np.minimum(self._episodes[entries, _LIVE], self._count[rows] - 1)

    def _step(self, actions: Any, rewards: Any, observations: Any, terminated: Any, rows: Any) -> None:
        """Complete the last records of some rows, or of one, and add the next ones."""
        last = self._count[rows] - 1
        at = last % self.memory
        self._actions[rows, at, ...] = actions
        self._rewards[rows, at], self._ends[rows, at] = rewards, terminated
        self._write(observations, rows, (last + 1) % self.memory)

    def finish(self, rows: Array) -> None:
        """Note that the episodes of some rows have ended."""
        self._episodes[self._current[rows], _OVER] = 1

    def state(self) -> dict[str, Any]:
        """Return all that was kept, as arrays and dictionaries of them."""
        used = min(int(self._count.max()), self.memory)
        return {
            "observations": each(lambda ring: ring[:, :used], self._observations),
            "actions": self._actions[:, :used],
            "rewards": self._rewards[:, :used],
            "ends": self._ends[:, :used],
            "count": self._count,
            "episodes": self._episodes[: self._entries],
            "current": self._current,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Keep what `state` returned, in place of everything else.

        Raises:
            ValueError: it is of other spaces, rows or memory.
        """
        pairs = [(self._actions, state["actions"]), (self._rewards, state["rewards"]), (self._ends, state["ends"])]
        if isinstance(self._observations, dict):
            pairs += [(ring, state["observations"][name]) for name, ring in self._observations.items()]
        else:
            pairs.append((self._observations, state["observations"]))
        used = min(int(np.max(state["count"])), self.memory)
        for ring, kept in pairs:
            if np.shape(kept) != (len(ring), used, *ring.shape[2:]):
                raise ValueError(f"experience has shape {np.shape(kept)}, and there is room for {ring.shape}")
            ring[:, :used] = kept
        self._count, self._current = np.array(state["count"]), np.array(state["current"])
        self._entries = len(state["episodes"])
        self._episodes = np.zeros((max(2 * self.rows, self._entries), 5), np.int64)
        self._episodes[: self._entries] = state["episodes"]

    def _starts(self, length: int) -> tuple[Array, Array, Array, Array]:
        """Return where segments may start, by episode: row, number of the first start, of the last record, starts.

        All stretches of `length` steps within an episode that do not begin after its end, and whole episodes that are
        shorter and have ended. Episodes are in the order of rows, and of time within a row.
        """
        table = self._episodes[: self._entries]
        row, first, stop, live, over = table[np.argsort(table[:, _ROW], kind="stable")].T
        last = np.minimum(stop, self._count[row]) - 1
        oldest = np.maximum(self._count - self.memory, 0)[row]
        start = np.maximum(first, oldest)
        starts = np.maximum(np.minimum(last - length, live - 1) - start + 1, 0)
        # Where the oldest record is, the episode's beginning may have been overwritten.
        short = (starts == 0) & (over == 1) & (last > first) & ((first > oldest) | (oldest == 0))
        return row, start, last, np.where(short, 1, starts)

    def pairs(self, n: int, length: int, rng: np.random.Generator) -> tuple[Segments, Segments] | None:
        """Return n pairs of two different segments, all segments with equal chances; None if there are not two yet."""
        row, start, last, starts = self._starts(length)
        until = np.cumsum(starts)
        total = int(until[-1]) if len(until) else 0
        if total < 2:
            return None
        one = rng.integers(total, size=n)
        two = (one + 1 + rng.integers(total - 1, size=n)) % total

        def side(index: Array) -> Segments:
            episode = np.searchsorted(until, index, side="right")
            number = start[episode] + index - (until - starts)[episode]
            return self._take(row[episode], number, np.minimum(last[episode] - number, length), length)

        return side(one), side(two)

    def _take(self, rows: Array, numbers: Array, steps: Array, length: int) -> Segments:
        """Return the segments that start at these records."""
        at = numbers % self.memory
        apart = np.flatnonzero((steps < length) | (at + length >= self.memory))  # shorter, or not in one block
        places = (numbers[apart, None] + np.minimum(np.arange(length + 1), steps[apart, None])) % self.memory

        def take(ring: Array, records: int) -> Array:
            blocks = self.rows * self.memory - records + 1
            if blocks < 1:
                taken = np.empty((len(rows), records, *ring.shape[2:]), ring.dtype)
            else:
                block = np.ndarray(
                    (blocks, records, *ring.shape[2:]), ring.dtype, ring, 0, (ring.strides[1], *ring.strides[1:])
                )
                taken = block[np.minimum(rows * self.memory + at, blocks - 1)]
            if len(apart):
                taken[apart] = ring[rows[apart, None], places[:, :records]]
            return taken

        return Segments(
            each(lambda ring: take(ring, length + 1), self._observations),
            take(self._actions, length),
            take(self._rewards, length),
            steps,
            self._ends[rows, (numbers + steps - 1) % self.memory],
        )
