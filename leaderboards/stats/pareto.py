"""Tracks with several objectives: fronts and hypervolumes, as pure functions of arrays.

Several scores are never averaged into one: who weighs them is the reader. All objectives are to be maximised.

Shapes: N points, D objectives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from valuegym.envs import checks

__all__ = ["dominates", "hypervolume", "pareto_front"]


def dominates(points: ArrayLike) -> NDArray[np.bool_]:
    """Return (N, N): whether point i is at least as good as point j in every objective and better in one.

    Raises:
        ValueError: for another shape than (N, D), or values that are not finite.
    """
    values = _points(points)
    no_worse = (values[:, None] >= values[None]).all(-1)
    beaten: NDArray[np.bool_] = np.logical_and(no_worse, ~no_worse.T)
    return beaten


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """Return (N,): points that no other dominates; equal points are in or out together.

    Raises:
        ValueError: as `dominates`.
    """
    return np.logical_not(np.any(dominates(points), axis=0))


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume of what the points dominate above the reference: the union of the boxes from the reference to each point.

    Exact, by slicing: along the last objective the union is a stack of slabs, whose faces are the same problem with one
    objective fewer. The time grows as N^(D - 1); fronts of boards are small.

    Args:
        points: (N, D). Those that are not above the reference in every objective add nothing.
        reference: (D,), the worst value that counts in each objective.

    Raises:
        ValueError: for shapes that do not fit, or values that are not finite.

    Source: Zitzler and Thiele (1998); slicing as in While, Hingston, Barone and Huband (2006).
    """
    values, floor = _points(points), checks.floats("reference", reference)
    if floor.shape != values.shape[1:] or not np.isfinite(floor).all():
        raise ValueError(f"reference has shape {floor.shape}, expected finite numbers of shape {values.shape[1:]}.")
    above = values - floor
    return _volume(above[(above > 0).all(1)])


def _volume(sizes: NDArray[np.float64]) -> float:
    """Volume of the union of the boxes from the origin to (N, D) positive corners."""
    if not len(sizes):
        return 0.0
    if sizes.shape[1] == 1:
        return float(sizes.max())
    sizes = sizes[pareto_front(sizes)]
    sizes = sizes[np.argsort(-sizes[:, -1], kind="stable")]
    depths = sizes[:, -1] - np.append(sizes[1:, -1], 0.0)
    return sum(float(depth) * _volume(sizes[: i + 1, :-1]) for i, depth in enumerate(depths) if depth > 0)


def _points(points: ArrayLike) -> NDArray[np.float64]:
    values = checks.floats("points", points)
    if values.ndim != 2 or not values.shape[1] or not np.isfinite(values).all():
        raise ValueError(f"points has shape {values.shape}, expected finite numbers of shape (points, objectives).")
    return values
