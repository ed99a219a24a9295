"""Rewards of known features on the pendulum, learnt by partial return and by regret from known dynamics.

The regret of a candidate reward w . phi comes from its own optimal values, which are w . psi, with psi the successor
features of its optimal policy on a grid; their derivative with respect to w is psi itself (the envelope theorem), so
that Newton's method for logistic regression applies with the features of a segment

    sum_t discount^t phi_t + discount^L psi(s_L) - psi(s_0).

It is not convex: fits begin from several weights, and the likeliest is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from studies.control.pendulum_segments import CORE
from studies.harness import Array
from valuegym.envs.control import grid, pendulum
from valuegym.envs.feedback.segments import Segments

NODES, TORQUES = (60, 49), 9
SCALE = 10.0  # standard deviation of the normal prior of each weight
STARTS, STEPS = 3, 10  # of a fit by regret
IMPROVEMENTS, EVALUATIONS = 15, 30
DISCOUNT, LIMIT = CORE.discount, CORE.parameters.max_torque


def features(angle: Array, velocity: Array, torque: Array) -> Array:
    """Return features (..., 5): squares of angle, velocity and torque, the height, and the speed of falling.

    Each is about 1 at most; the true reward has weights for the first three.
    """
    x, v, u = np.broadcast_arrays(angle, velocity, torque)
    parts = [(x / np.pi) ** 2, (v / 8) ** 2, (u / LIMIT) ** 2, np.cos(x), v / 8 * np.sin(x)]
    return np.stack(parts, -1)


class Table(NamedTuple):
    """Transitions (A, S, 4) and features (A, S, d) on a grid; weights include the discount."""

    where: grid.Grid
    corners: Array
    weight: Array
    features: Array


@cache
def table() -> Table:
    """Return the pendulum on a coarse grid."""
    p = CORE.parameters
    where = pendulum.value_grid(p, NODES)
    angle, velocity = where.nodes()
    torques = np.linspace(-LIMIT, LIMIT, TORQUES)
    found = [where.corners(pendulum.move(p, angle, velocity, np.asarray(u))) for u in torques]
    index, weight = (np.stack([one[i].T for one in found]) for i in range(2))
    return Table(where, index, DISCOUNT * weight, np.stack([features(angle, velocity, u) for u in torques]))


def successor_features(weights: Array, first: Array) -> Array:
    """Return psi (S, d) of the optimal policy for weights (d,), by policy iteration that begins from `first`."""
    t, psi = table(), first
    rows, reward, last = np.arange(t.where.size), t.features @ weights, None
    for _ in range(IMPROVEMENTS):
        choice = (reward + (t.weight * (psi @ weights)[t.corners]).sum(-1)).argmax(0)
        if last is not None and (choice == last).mean() > 0.999:
            break
        last = choice
        corners, weight, paid = t.corners[choice, rows], t.weight[choice, rows], t.features[choice, rows]
        for _ in range(EVALUATIONS):
            psi = paid + (weight[..., None] * psi[corners]).sum(1)
    return psi


def _points(seen: Array) -> grid.Points:
    return np.arctan2(seen[..., 1], seen[..., 0]).astype(np.float64), seen[..., 2].astype(np.float64)


def sums(segments: Segments) -> Array:
    """Return discounted sums of features (N, d)."""
    angle, velocity = _points(segments.observations[:, :-1])
    weight = DISCOUNT ** np.arange(segments.steps)
    total: Array = (features(angle, velocity, LIMIT * segments.actions[..., 0]) * weight[:, None]).sum(1)
    return total


def change(segments: Segments, psi: Array) -> Array:
    """Return discount^L psi(s_L) - psi(s_0), (N, d)."""
    ends = []
    for step in (0, -1):
        index, weight = table().where.corners(_points(segments.observations[:, step]))
        ends.append((weight[..., None] * psi[index]).sum(0))
    found: Array = DISCOUNT**segments.steps * ends[1] - ends[0]
    return found


def newton(x: Array, labels: Array, w: Array, steps: int, damping: float = 1.0) -> Array:
    """Take Newton steps of logistic regression of labels on x (N, d) under a normal prior."""
    for _ in range(steps):
        p = 0.5 * (1 + np.tanh(0.5 * (x @ w)))
        gradient = x.T @ (p - labels) + w / SCALE**2
        curvature = (x.T * np.maximum(p * (1 - p), 1e-6)) @ x + np.eye(len(w)) / SCALE**2
        w = w - damping * np.linalg.solve(curvature, gradient)
    return w


def loss(x: Array, labels: Array, w: Array) -> float:
    """Return minus the logarithm of the posterior, but for a constant."""
    logit = x @ w
    return float((np.logaddexp(0, logit) - labels * logit).sum() + (w**2).sum() / (2 * SCALE**2))


def by_partial_return(first: Segments, second: Segments, labels: Array) -> Array:
    """Return the weights (d,) that answers by partial return would make likeliest."""
    x = sums(second) - sums(first)
    return newton(x, labels, np.zeros(x.shape[1]), 20, 0.7)


def by_regret(first: Segments, second: Segments, labels: Array, rng: np.random.Generator) -> Array:
    """Return the weights (d,) that answers by regret would make likeliest, of those that the fit has seen."""
    base = sums(second) - sums(first)
    starts: Sequence[Any] = [rng.standard_normal(base.shape[1]) for _ in range(STARTS)]
    best, least = starts[0], np.inf
    for w in starts:
        psi = np.zeros((table().where.size, base.shape[1]))
        for _ in range(STEPS):
            psi = successor_features(w, psi)
            x = base + change(second, psi) - change(first, psi)
            found = loss(x, labels, w)
            if found < least:
                best, least = w, found
            w = newton(x, labels, w, 1, 0.5)
    return best
