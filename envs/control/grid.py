"""Dynamic programming on a grid: values of deterministic control tasks by multilinear interpolation.

The values solve V(x) = max over actions of r(x, a) + gamma V(f(x, a)) at the nodes of the grid, where V between
nodes is the multilinear interpolation of its neighbours. That is a Markov decision process of its own (Kushner and
Dupuis 2001, "Numerical methods for stochastic control problems in continuous time"), solved by modified policy
iteration (Puterman and Shin 1978).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Axis", "Grid", "Points", "Step", "greedy", "solve", "solve_steps"]

Floats = npt.NDArray[np.float64]
Points = Sequence[Floats]  # one array (...) of coordinates for each axis

EVALUATIONS = 30  # sweeps under one policy between two improvements


class Axis(NamedTuple):
    """Evenly spaced nodes from low to high; on a periodic axis high is the same point as low, and has no node."""

    low: float
    high: float
    nodes: int
    periodic: bool = False

    @property
    def pitch(self) -> float:
        """Distance between nodes."""
        return (self.high - self.low) / (self.nodes if self.periodic else self.nodes - 1)


@dataclass(frozen=True)
class Grid:
    """A rectangular grid; values on it are arrays (S,) in row-major order."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """Number of nodes S."""
        return int(np.prod([axis.nodes for axis in self.axes]))

    def nodes(self) -> list[Floats]:
        """Coordinates of all nodes, one array (S,) for each axis."""
        lines = [axis.low + axis.pitch * np.arange(axis.nodes) for axis in self.axes]
        return [line.reshape(-1) for line in np.meshgrid(*lines, indexing="ij")]

    def corners(self, points: Points) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return the nodes around points (...) and their weights, (2^d, ...) each; points outside are clipped."""
        below, share = [], []
        for axis, x in zip(self.axes, points, strict=True):
            place = (x - axis.low) / axis.pitch
            if axis.periodic:
                place = place - axis.nodes * np.floor(place / axis.nodes)
                cell = np.minimum(place.astype(np.int64), axis.nodes - 1)
                below.append((cell, np.where(cell == axis.nodes - 1, 0, cell + 1)))
            else:
                place = np.clip(place, 0, axis.nodes - 1)
                cell = np.minimum(place.astype(np.int64), axis.nodes - 2)
                below.append((cell, cell + 1))
            share.append((1 - (place - cell), place - cell))
        index, weight = [], []
        for sides in product((0, 1), repeat=len(self.axes)):
            at: Any = 0
            part: Any = 1.0
            for i, side in enumerate(sides):
                at, part = at * self.axes[i].nodes + below[i][side], part * share[i][side]
            index.append(at)
            weight.append(part)
        return np.stack(index), np.stack(weight)

    def interpolate(self, values: Floats, points: Points) -> Floats:
        """Interpolate values (S,) at points (...)."""
        index, weight = self.corners(points)
        return _mean(values, index, weight)


def _mean(values: Floats, index: npt.NDArray[np.int64], weight: Floats) -> Floats:
    total = weight[0] * values[index[0]]
    for i in range(1, len(index)):
        total += weight[i] * values[index[i]]
    return total


class Step(NamedTuple):
    """Outcome of an action: coordinates of the next state, reward, and whether the episode ends there, (...)."""

    points: Points
    reward: Floats
    ends: npt.NDArray[np.bool_]


class _Table(NamedTuple):
    """Transitions of every action from every node: the nodes around the next state (A, 2^d, S), and their weights."""

    corners: npt.NDArray[Any]
    weight: Floats  # times the discount, 0 where the episode ends
    reward: Floats  # (A, S)

    def improve(self, values: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return the best value (S,) of one action followed by these values, and the action (S,)."""
        best, choice = np.full(len(values), -np.inf), np.zeros(len(values), np.int64)
        for a in range(len(self.reward)):
            value = self.reward[a] + _mean(values, self.corners[a], self.weight[a])
            better = value > best
            best[better], choice[better] = value[better], a
        return best, choice


def _tabulate(grid: Grid, step: Callable[[Points, float], Step], actions: Floats, discount: float) -> _Table:
    nodes, S = grid.nodes(), grid.size
    index = np.empty((len(actions), 2 ** len(grid.axes), S), np.int32)
    weight = np.empty(index.shape)
    reward = np.empty((len(actions), S))
    for a, action in enumerate(actions.tolist()):
        after = step(nodes, action)
        index[a], weight[a] = grid.corners(after.points)
        weight[a] *= discount * ~after.ends
        reward[a] = after.reward
    return _Table(index, weight, reward)


def solve(
    grid: Grid, step: Callable[[Points, float], Step], actions: Floats, discount: float, tolerance: float
) -> Floats:
    """Optimal values (S,) for a scalar action from a list (A,), within `tolerance` of the fixed point.

    `step` maps coordinates (S,) and one action to a Step.
    """
    table = _tabulate(grid, step, actions, discount)
    values, rows = np.zeros(grid.size), np.arange(grid.size)
    while True:
        best, choice = table.improve(values)
        change = float(np.abs(best - values).max())
        values = best
        if change <= tolerance * (1 - discount):
            return values
        chosen = table.corners[choice, :, rows].T, table.weight[choice, :, rows].T, table.reward[choice, rows]
        chosen_index, chosen_weight, paid = (np.ascontiguousarray(part) for part in chosen)
        for _ in range(EVALUATIONS):
            values = paid + _mean(values, chosen_index, chosen_weight)


def solve_steps(
    grid: Grid, step: Callable[[Points, float], Step], actions: Floats, discount: float, steps: int
) -> Floats:
    """Optimal values (S,) of so many steps and nothing after them, by value iteration; arguments as in `solve`."""
    table, values = _tabulate(grid, step, actions, discount), np.zeros(grid.size)
    for _ in range(steps):
        values = table.improve(values)[0]
    return values


def greedy(
    grid: Grid, values: Floats, step: Callable[[Points, Floats], Step], points: Points, actions: Floats, discount: float
) -> Floats:
    """Best action (B,) at points (B,) each: of evenly spaced actions (A,), refined by a parabola through three.

    `step` maps coordinates (B, 1) and actions (A,) to a Step of shape (B, A).
    """
    after = step([x[:, None] for x in points], actions)
    quality = after.reward + discount * ~after.ends * grid.interpolate(values, after.points)
    at = np.clip(quality.argmax(-1), 1, len(actions) - 2)
    rows = np.arange(len(at))
    left, middle, right = (quality[rows, at + i] for i in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1.0), np.sign(right - left))
    return actions[at] + (actions[1] - actions[0]) * np.clip(shift, -1, 1)
