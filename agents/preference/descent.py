"""Fits of a few weights to answers: damped Newton steps from many starting points, all candidates evaluated at once.

The loss is the negative log posterior of weights under Bradley-Terry answers at temperature 1 and a Gaussian prior.
It is smooth while the optimal policy stays the same, with kinks where it changes. Letters: n answers, d weights, K
points that descend, C candidates of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from valuegym.agents.divergence import DivergenceError
from valuegym.agents.preference.comparisons import check_labels
from valuegym.envs import checks
from valuegym.envs.mdp import Floats, Integers

__all__ = [
    "PRIOR_SCALE",
    "STARTS",
    "Differences",
    "Fit",
    "Losses",
    "check_scale",
    "descend",
    "fit",
    "losses",
    "shortest",
    "starting_points",
]

# Difference features (K, n, d) at weights (K, d): the statistic's difference, second minus first, is linear in the
# weights with these coefficients, as far as its value and its gradient are concerned.
Differences = Callable[[Floats], Floats]

PRIOR_SCALE = 10.0  # standard deviation of each weight, in units of reward; at 1000 the prior says next to nothing
STARTS = 8
SCALES = (1e-6, 1e6)  # of the prior
ITERATIONS = 100
DAMPING = np.array([1e-6, 1e-3, 1e-1])  # shares of the curvature added to itself
LENGTHS = np.array([0.25, 1.0, 3.0])  # of steps, in units of the damped Newton step
_SHORTEST, _LONGEST = 1e-7, 1e3
_BUNDLE, _NEAR = 8, 0.5  # gradients around a kink, and what counts as around
_SETTLED = 1e-8  # of the loss: two gains in a row below this end a descent


class Fit(NamedTuple):
    """Weights (d,), and the negative log posterior that they reach."""

    weights: Floats
    loss: float


class Losses(NamedTuple):
    """Loss (K,) at K points, the coefficients D (K, n, d) it came from, P(second) (K, n); and the prior's scale."""

    loss: Floats
    D: Floats
    probability: Floats
    scale: float

    def derivatives(self, rows: Integers, label: Floats, weights: Floats) -> tuple[Floats, Floats]:
        """Return the gradient (r, d) and curvature (r, d, d) at some of the points: rows (r,) of them, weights (r, d).

        By the envelope theorem the gradient needs no derivative of D.
        """
        D, p = self.D[rows], self.probability[rows]
        gradient = (D.swapaxes(-1, -2) @ (p - label)[..., None])[..., 0] + weights / self.scale**2
        curvature = (D * (p * (1 - p))[..., None]).swapaxes(-1, -2) @ D + np.eye(D.shape[-1]) / self.scale**2
        return gradient, curvature


def losses(differences: Differences, label: Floats, weights: Floats, scale: float = PRIOR_SCALE) -> Losses:
    """Return -log likelihood of labels (n,) under weights (K, d), plus |w|**2 / (2 scale**2).

    Raises:
        ValueError: a label is not in [0, 1], a weight is not finite, or the scale not in SCALES.
    """
    return _losses(differences, check_labels(label), checks.reals("weights", weights, (None, None)), check_scale(scale))


def check_scale(scale: Any, name: str = "scale") -> float:
    """Return the standard deviation of a prior.

    Raises:
        ValueError: it is not in SCALES.
    """
    return checks.real(name, scale, *SCALES)


def _losses(differences: Differences, label: Floats, weights: Floats, scale: float) -> Losses:
    D = differences(weights)
    if D.shape[-2] != len(label):
        raise ValueError(f"label has shape {label.shape}; expected ({D.shape[-2]},), one for each difference.")
    x = (D @ weights[..., None])[..., 0]
    size = np.abs(x)
    e = np.exp(-size)
    nats = (0.5 * (size + x) + np.log(1 + e) - label * x).sum(-1)
    return Losses(nats + 0.5 * (weights**2).sum(-1) / scale**2, D, np.where(x >= 0, 1.0, e) / (1 + e), scale)


def starting_points(differences: Differences, label: Floats, rng: np.random.Generator, d: int, n: int) -> Floats:
    """Return 0, a linear fit (the statistic's coefficients at 0 to the answers) and standard normal draws: (n, d).

    Raises:
        ValueError: a label is not in [0, 1], a coefficient is not finite, or there are fewer than two points.
    """
    d, n = checks.integer("d", d, 1), checks.integer("n", n, 2)
    D = checks.reals("differences", differences(np.zeros((1, d)))[0], (None, d))
    label = check_labels(label, len(D))
    linear = np.linalg.solve(D.T @ D + np.eye(d), D.T @ (4.0 * (label - 0.5)))
    return np.stack([np.zeros(d), linear, *rng.standard_normal((n - 2, d))])


def fit(
    differences: Differences,
    label: Floats,
    rng: np.random.Generator,
    d: int,
    starts: int = STARTS,
    scale: float = PRIOR_SCALE,
) -> Fit:
    """Return maximum-posterior weights (d,), the lowest loss of all descents.

    Raises:
        ValueError: a label is not in [0, 1], a coefficient is not finite, or the scale not in SCALES.
        DivergenceError: no descent ends at finite weights.
    """
    weights, loss = descend(differences, label, starting_points(differences, label, rng, d, starts), scale)
    return Fit(weights[loss.argmin()], float(loss.min()))


def descend(
    differences: Differences, label: Floats, starts: Floats, scale: float = PRIOR_SCALE
) -> tuple[Floats, Floats]:
    """Return the ends of descents from starts (K, d), and the loss there (K,).

    Every point tries the damped Newton steps of all DAMPING and LENGTHS and takes the best. Where none helps, either
    they were too long, and become shorter, or there is a kink in between: then the gradient on its other side joins a
    bundle, and the way down is that of the shortest convex combination of the bundle (Wolfe 1975, "A method of
    conjugate subgradients"; Lemarechal 1978). The other side is what its linearisation says of this point: it errs by
    less than _NEAR of the decrease that was promised.

    Raises:
        ValueError: a label is not in [0, 1], a start is not finite, or the scale not in SCALES.
        DivergenceError: a loss is not finite.
    """
    label, scale = check_labels(label), check_scale(scale)
    starts = checks.reals("starts", starts, (None, None))
    weights, every, d = starts, np.arange(len(starts)), starts.shape[1]
    at = _losses(differences, label, weights, scale)
    if not np.isfinite(at.loss).all():
        raise DivergenceError("The loss of the answers is not finite where a descent starts.")
    loss, (gradient, curvature) = at.loss, at.derivatives(every, label, weights)
    bundles = [gradient[k : k + 1] for k in every]
    length, settled = np.ones(len(starts)), np.zeros(len(starts), np.int64)
    live = every
    for _ in range(ITERATIONS):
        diagonal = np.einsum("kii->ki", curvature[live])
        damped = curvature[live, None] + np.eye(d) * np.multiply.outer(DAMPING, diagonal).swapaxes(0, 1)[..., None]
        down = np.stack([shortest(bundles[k], damped[i, 1]) for i, k in enumerate(live)])
        step = np.linalg.solve(damped, down[:, None, :, None])[..., 0]
        steps = (step[:, :, None] * np.multiply.outer(length[live], LENGTHS)[:, None, :, None]).reshape(
            len(live), -1, d
        )
        candidates = weights[live, None] - steps
        at = _losses(differences, label, candidates.reshape(-1, d), scale)
        nth = at.loss.reshape(len(live), -1).argmin(-1)
        best = np.arange(len(live)) * steps.shape[1] + nth
        reached, lowest, taken = candidates.reshape(-1, d)[best], at.loss[best], steps.reshape(-1, d)[best]
        slope, bend = at.derivatives(best, label, reached)
        for i, k in enumerate(live):
            gain, promised, bundle = loss[k] - lowest[i], down[i] @ taken[i], bundles[k]
            little = _SETTLED * max(loss[k], 1)
            if gain > 1e-12 * loss[k]:
                weights[k], loss[k], curvature[k], bundles[k] = reached[i], lowest[i], bend[i], slope[i : i + 1]
                length[k] = min(length[k] * LENGTHS[nth[i] % len(LENGTHS)], _LONGEST)
                settled[k] = settled[k] + 1 if gain < little else 0
                around = len(bundle) > 1 and gain < little
            else:
                near = promised > little and abs(gain - slope[i] @ taken[i]) <= _NEAR * promised
                around = not near or len(bundle) == _BUNDLE
                bundles[k] = bundle[:1] if around else np.append(bundle, slope[i : i + 1], 0)
            if around:  # all that could be gained this far around has been
                length[k] *= LENGTHS[0]
                settled[k] = 0
        live = np.flatnonzero((settled < 2) & (length > _SHORTEST))
        if not len(live):
            break
    if not np.isfinite(weights).all() or not np.isfinite(loss).all():
        raise DivergenceError("The weights that were fitted to the answers are not finite.")
    return weights, loss


def shortest(gradients: Floats, metric: Floats) -> Floats:
    """Return the convex combination (d,) of gradients (m, d) with the least g . metric**-1 g.

    Least squares with shares of at least 0 that need not add up, scaled to 1 (Lawson, Hanson 1974, chapter 23).
    """
    if len(gradients) == 1:
        return gradients[0]
    root = np.linalg.solve(np.linalg.cholesky(metric), gradients.T)
    root /= np.linalg.norm(root, axis=0).min()
    share, _ = nnls(np.append(root, np.ones((1, len(gradients))), 0), np.append(np.zeros(len(root)), 1.0))
    return share / share.sum() @ gradients
