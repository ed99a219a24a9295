"""Linear systems with quadratic costs: exact values, gains and costs, batched over systems.

A system moves as s' = A s + B u + w with w ~ N(0, W) and pays s'Q s + u'R u in every step; costs are discounted by
gamma and the controller is u = -K s. Everything broadcasts over leading axes of systems (...).

Sources: Anderson and Moore (1990), "Optimal control: linear quadratic methods"; the doubling algorithm is that of
Chu, Fan, Lin (2005), "A structure-preserving doubling algorithm for continuous-time algebraic Riccati equations", in
its discrete form. Discounting multiplies A and B by the root of gamma.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import elementary

__all__ = [
    "LinearSystem",
    "Quadratic",
    "cost",
    "cost_of",
    "cost_over",
    "curvature",
    "gain",
    "gradient",
    "mean_cost",
    "optimal",
    "regret",
    "rotated",
]

Floats = npt.NDArray[np.float64]

DOUBLINGS = 60  # more than 10^18 steps
CONVERGED = 1e-14  # relative change at which a sum has converged


class LinearSystem(NamedTuple):
    """A (..., n, n), B (..., n, m), Q (..., n, n) and R (..., m, m) symmetric, W (..., n, n), and the discount."""

    A: Floats
    B: Floats
    Q: Floats
    R: Floats
    W: Floats
    discount: float


class Quadratic(NamedTuple):
    """Expected discounted cost s'P s + offset: P (..., n, n) and offset (...); infinite where it diverges."""

    P: Floats
    offset: Floats


def rotated(system: LinearSystem, T: Floats) -> LinearSystem:
    """Transform a system to the coordinates T s, for an orthogonal matrix T (n, n)."""
    back = T.swapaxes(-1, -2)
    A, B, Q, R, W, discount = system
    return LinearSystem(T @ A @ back, T @ B, T @ Q @ back, R, T @ W @ back, discount)


def _offset(system: LinearSystem, P: Floats) -> Floats:
    """Discounted cost of the noise: gamma / (1 - gamma) tr(P W)."""
    trace: Floats = (P * system.W.swapaxes(-1, -2)).sum((-1, -2))
    return system.discount / (1 - system.discount) * trace


def optimal(system: LinearSystem) -> Quadratic:
    """Least cost of any controller, by the discounted Riccati equation.

    P = Q + gamma A'P A - gamma^2 A'P B (R + gamma B'P B)^-1 B'P A. Infinite where no controller keeps the cost finite.
    """
    A, B = (np.sqrt(system.discount) * part for part in (system.A, system.B))
    G = B @ np.linalg.solve(system.R, B.swapaxes(-1, -2))
    shape = np.broadcast_shapes(A.shape, system.Q.shape)
    A, G, P = (np.broadcast_to(part, shape) for part in (A, G, system.Q))
    one, converged = np.eye(shape[-1]), np.zeros(shape[:-2], np.bool_)
    with np.errstate(all="ignore"):
        for _ in range(DOUBLINGS):
            T, inverse = A.swapaxes(-1, -2), _inverse(_finite(one + G @ P))
            step = T @ P @ inverse @ A
            A, G = A @ inverse @ A, G + A @ inverse @ G @ T
            P, converged = _more(P, (step + step.swapaxes(-1, -2)) / 2, converged)
            if converged.all():
                break
    return _checked(system, P)


def gain(system: LinearSystem, P: Floats) -> Floats:
    """Gain K (..., m, n) of u = -K s that is greedy for the cost s'P s: gamma (R + gamma B'P B)^-1 B'P A."""
    T = system.B.swapaxes(-1, -2) @ P
    more = system.discount * T @ system.B
    return np.asarray(system.discount * np.linalg.solve(system.R + more, T @ system.A), np.float64)


def curvature(system: LinearSystem, P: Floats) -> Floats:
    """Curvature R + gamma B'P B (..., m, m) of the cost of other controls, where the cost to go is s'P s."""
    return np.asarray(system.R + system.discount * system.B.swapaxes(-1, -2) @ P @ system.B, np.float64)


def regret(K: Floats, S: Floats, states: Floats, actions: Floats) -> Floats:
    """Regret V*(s) - Q*(s, u) = (u + K s)'S (u + K s) of actions u, for the optimal gain K and its curvature S.

    K (..., m, n), S (..., m, m), states (..., n) and actions (..., m) broadcast; sums in a fixed order.
    """
    off = actions + elementary.dot(K, states[..., None, :])
    return elementary.dot(off, elementary.dot(S, off[..., None, :]))


def cost_of(system: LinearSystem, K: Floats) -> Quadratic:
    """Cost of u = -K s, by the discounted Lyapunov equation P = Q + K'R K + gamma F'P F with F = A - B K.

    Infinite where the root of gamma times F has an eigenvalue outside the unit circle.
    """
    F = np.sqrt(system.discount) * (system.A - system.B @ K)
    P = system.Q + K.swapaxes(-1, -2) @ system.R @ K
    F, P = (np.broadcast_to(part, np.broadcast_shapes(F.shape, P.shape)) for part in (F, P))
    converged = np.zeros(P.shape[:-2], np.bool_)
    with np.errstate(all="ignore"):
        for _ in range(DOUBLINGS):  # sums over 2n steps from sums over n
            step = F.swapaxes(-1, -2) @ P @ F
            P, converged = _more(P, step, converged)
            if converged.all():
                break
            F = F @ F
    return _checked(system, P)


def cost_over(system: LinearSystem, K: Floats, steps: int) -> Quadratic:
    """Cost of u = -K s over a finite number of steps, by the recursion of the Lyapunov equation."""
    F, stage = system.A - system.B @ K, system.Q + K.swapaxes(-1, -2) @ system.R @ K
    P = np.zeros(np.broadcast_shapes(F.shape, stage.shape))
    offset = np.zeros(P.shape[:-2])
    for _ in range(steps):
        offset = system.discount * (offset + (P * system.W.swapaxes(-1, -2)).sum((-1, -2)))
        P = stage + system.discount * F.swapaxes(-1, -2) @ P @ F
    return Quadratic(P, offset)


def _more(P: Floats, step: Floats, converged: npt.NDArray[np.bool_]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the sums P + step, and which of them have converged; those stay, even if their steps overflow.

    They overflow where a mode grows without cost.
    """
    total = np.where(converged[..., None, None], P, P + step)
    return total, converged | (np.abs(step).max((-1, -2)) <= CONVERGED * np.abs(total).max((-1, -2)))


def _finite(matrix: Floats) -> Floats:
    """Replace matrices with infinite entries by the identity, so that the others can be inverted."""
    bad = ~np.isfinite(matrix).all((-1, -2), keepdims=True)
    return np.where(bad, np.eye(matrix.shape[-1]), matrix)


def _inverse(matrix: Floats) -> Floats:
    """Invert matrices (..., n, n), with NaN for singular ones, which occur only where the iteration diverges."""
    try:
        return np.asarray(np.linalg.inv(matrix), np.float64)
    except np.linalg.LinAlgError:
        regular = np.linalg.slogdet(matrix)[0] != 0
        inverse = np.linalg.inv(np.where(regular[..., None, None], matrix, np.eye(matrix.shape[-1])))
        return np.asarray(np.where(regular[..., None, None], inverse, np.nan), np.float64)


def _checked(system: LinearSystem, P: Floats) -> Quadratic:
    """Return a cost, infinite where the iteration did not converge."""
    with np.errstate(all="ignore"):
        bad = ~(np.abs(P).max((-1, -2)) < 1e100)
        P = np.where(bad[..., None, None], np.inf, P)
        return Quadratic(P, np.where(bad, np.inf, _offset(system, np.where(np.isfinite(P), P, 0.0))))


def cost(quadratic: Quadratic, states: Floats) -> Floats:
    """Expected discounted cost s'P s + offset from states (..., n): (...)."""
    with np.errstate(invalid="ignore"):
        form = np.einsum("...i,...ij,...j->...", states, quadratic.P, states) + quadratic.offset
    return np.where(np.isnan(form), np.inf, form)


def gradient(quadratic: Quadratic, states: Floats) -> Floats:
    """Gradient 2 P s of the cost at states (..., n): (..., n). The value is the negative of the cost."""
    return 2 * np.einsum("...ij,...j->...i", quadratic.P, states)


def mean_cost(quadratic: Quadratic, covariance: Floats) -> Floats:
    """Expected cost (...) over starts of mean zero and this covariance (..., n, n): tr(P covariance) + offset."""
    finite = np.isfinite(quadratic.offset)
    P = np.where(finite[..., None, None], quadratic.P, 0.0)
    return np.where(finite, (P * covariance.swapaxes(-1, -2)).sum((-1, -2)) + quadratic.offset, np.inf)
