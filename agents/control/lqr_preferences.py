"""Rewards of linear systems from preferences between segments, where the regret of every candidate is exact.

A segment is s_0, u_0, s_1, u_1, ..., and x_t = A s_t + B u_t is the expected next state. Costs are
linear in weights w (d,) on known quadratic features: c(s, u) = sum_i w_i (s'Q_i s + u'R_i u), the reward is -c. For
candidate weights w, the Riccati equation gives the optimal controller u = -K s, and Lyapunov equations give the cost of
each feature under it, s'P_i s. By definition of the optimal advantage the regret of a segment is

    regret(w) = sum_t discount**t (V*(s_t) - Q*(s_t, u_t)) = w . f(K),
    f_i(K) = sum_t discount**t (s_t'Q_i s_t + u_t'R_i u_t + discount x_t'P_i x_t - s_t'P_i s_t),

in which the offsets that noise adds to values cancel. K is optimal for w, so that by the envelope theorem f is also the
gradient of the regret. The partial return is linear in w throughout. Preferences follow a Bradley-Terry model of
either.

Preferences do not identify everything. Multiplying w multiplies every regret and every partial return: noiseless
answers leave the scale open, noisy ones fix it in units of their temperature. Adding s'X s - discount E[s''X s'] to the
cost changes no regret; within costs that are quadratic in s and u without products of both these are the X with A'X B =
0. A weight on a feature of states that no action influences changes no regret either. None of this changes the optimal
controller. But it changes the value function and its gradients, which then come from the prior.

Sources: Knox et al. (2024), "Models of human preference for learning reward functions"; Anderson and Moore (1990).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks
from valuegym.envs.control import riccati
from valuegym.envs.control.riccati import Floats, LinearSystem

__all__ = [
    "Features",
    "Pairs",
    "Segments",
    "axes",
    "check_pairs",
    "controller",
    "learn",
    "loss",
    "motion",
    "partial_costs",
    "posterior",
    "priced",
    "regret",
    "regret_features",
    "sample_answers",
    "units_of",
    "values",
]

STATISTICS = ("regret", "partial_return")
PRIOR_SCALE = 5.0  # of weights, in units in which the partial returns of features differ by 1 between two segments
SMALLEST = 1e-3  # least weight of a cost of actions, in the same units; at 0 there is no optimal controller


class Features(NamedTuple):
    """d quadratic costs: Q (d, n, n) of states and R (d, m, m) of actions, symmetric and positive semidefinite."""

    Q: Floats
    R: Floats


class Segments(NamedTuple):
    """states (..., L, n) in which actions (..., L, m) were taken."""

    states: Floats
    actions: Floats


def axes(n: int, m: int, rotation: Floats | None = None) -> Features:
    """Return the squares of all n coordinates of a state and m of an action: d = n + m.

    `rotation` (n, n) is the orthogonal matrix from those coordinates to the observed ones.
    """
    T = np.eye(n) if rotation is None else rotation
    Q, R = np.zeros((n + m, n, n)), np.zeros((n + m, m, m))
    Q[:n] = T.T[:, :, None] * T.T[:, None, :]
    R[n + np.arange(m), np.arange(m), np.arange(m)] = 1
    return Features(Q, R)


def priced(system: LinearSystem, features: Features, weights: Floats) -> LinearSystem:
    """Return the system with the costs of weights (..., d).

    Raises:
        ValueError: a weight is not finite, or their number is not that of the features.
    """
    return _priced(system, features, _check_weights("weights", weights, features))


def _check_weights(name: str, weights: Any, features: Features) -> Floats:
    """Return finite weights (..., d)."""
    found, d = checks.reals(name, weights), len(features.Q)
    if found.shape[-1:] != (d,):
        raise ValueError(f"{name} has shape {found.shape}; expected (..., {d}), one for each feature.")
    return found


def _priced(system: LinearSystem, features: Features, weights: Floats) -> LinearSystem:
    Q, R = (np.einsum("...i,ijk->...jk", weights, part) for part in features)
    return system._replace(Q=Q, R=R)


def controller(system: LinearSystem, features: Features, weights: Floats) -> Floats:
    """Return the gain (..., m, n) that is optimal for weights (..., d), whose costs of actions are all above 0.

    Raises:
        ValueError: a weight is not finite, or their number is not that of the features.
    """
    return _controller(system, features, _check_weights("weights", weights, features))


def _controller(system: LinearSystem, features: Features, weights: Floats) -> Floats:
    candidate = _priced(system, features, weights)
    return riccati.gain(candidate, riccati.optimal(candidate).P)


def _quadratic(form: Floats, vectors: Floats) -> Floats:
    """Return v'F_i v for forms (d, n, n) and vectors (..., n): (..., d)."""
    return np.asarray(np.einsum("...j,ijk,...k->...i", vectors, form, vectors, optimize=True), np.float64)


def _discounted(values: Floats, discount: float) -> Floats:
    """Return discounted sums (..., d) over the steps of values (..., L, d)."""
    return np.einsum("t,...td->...d", discount ** np.arange(values.shape[-2]), values)


def partial_costs(segments: Segments, features: Features, discount: float) -> Floats:
    """Return the discounted cost (..., d) of each feature in segments; the partial return is its product with -w.

    Raises:
        ValueError: a state, an action or a feature is not finite, or the discount is outside (0, 1].
    """
    segments, discount = _check_segments(segments), checks.real("discount", discount, high=1, above=0)
    features = Features(*(checks.reals(name, part) for name, part in zip("QR", features, strict=True)))
    each = _quadratic(features.Q, segments.states) + _quadratic(features.R, segments.actions)
    return _discounted(each, discount)


def motion(segments: Segments, system: LinearSystem) -> Floats:
    """Return M (..., n, n) = sum_t discount**t (discount x_t x_t' - s_t s_t').

    The cost to go, s'P s, changes by <P, M>.

    Raises:
        ValueError: a state or an action is not finite.
    """
    s, u = _check_segments(segments)
    after = s @ system.A.T + u @ system.B.T
    discounts = (system.discount ** np.arange(s.shape[-2]))[:, None]
    return np.asarray(
        (system.discount * discounts * after).swapaxes(-1, -2) @ after - (discounts * s).swapaxes(-1, -2) @ s,
        np.float64,
    )


def values(features: Features, system: LinearSystem, K: Floats) -> Floats:
    """Return P (d, n, n), for the infinite-horizon cost s'P_i s of each feature under u = -K s."""
    return riccati.cost_of(system._replace(Q=features.Q, R=features.R), K).P


def regret_features(segments: Segments, features: Features, system: LinearSystem, K: Floats) -> Floats:
    """Return f (..., d) of a gain K (m, n): under weights w for which K is optimal, the regret is w . f.

    Raises:
        ValueError: a state, an action, a feature or the gain is not finite.
    """
    K = checks.reals("K", K, (None, None))
    ahead = np.einsum("ijk,...jk->...i", values(features, system, K), motion(segments, system))
    return partial_costs(segments, features, system.discount) + ahead


def regret(segments: Segments, system: LinearSystem) -> Floats:
    """Return the regret (...) under a system's own costs.

    Raises:
        ValueError: a state or an action is not finite.
    """
    segments = _check_segments(segments)
    P = riccati.optimal(system).P
    each = riccati.regret(riccati.gain(system, P), riccati.curvature(system, P), *segments)
    return _discounted(each[..., None], system.discount)[..., 0]


def sample_answers(costs: Floats, temperature: float, rng: np.random.Generator) -> Floats:
    """Return random preferences (N,) between pairs with regrets, or costs, (N, 2): 1 for the second, else 0.

    Raises:
        ValueError: a cost is not finite, or the temperature not above 0.
    """
    costs, temperature = checks.reals("costs", costs, (None, 2)), checks.real("temperature", temperature, above=0)
    return (rng.random(len(costs)) < expit((costs[:, 0] - costs[:, 1]) / temperature)).astype(np.float64)


class Pairs(NamedTuple):
    """Compared segments: N pairs (N, 2, L, ...), and preferences (N,).

    They are 0 where the first is preferred, 1 where the second, 0.5 where both are alike, and in between the share of
    people who prefer the second.
    """

    segments: Segments
    preferred: Floats


def _check_segments(segments: Segments) -> Segments:
    """Return finite segments."""
    return Segments(checks.reals("states", segments.states), checks.reals("actions", segments.actions))


def check_pairs(pairs: Pairs, features: Features) -> Pairs:
    """Return pairs of segments in a system with these features.

    Raises:
        ValueError: a shape is another one, a state or an action is not finite, or a preference is NaN or outside
            [0, 1].
    """
    preferred = checks.reals("preferred", pairs.preferred, (None,), 0, 1)
    states = checks.reals("states", pairs.segments.states, (len(preferred), 2, None, features.Q.shape[-1]))
    actions = checks.reals("actions", pairs.segments.actions, (*states.shape[:3], features.R.shape[-1]))
    return Pairs(Segments(states, actions), preferred)


def loss(difference: Floats, preferred: Floats) -> tuple[float, Floats]:
    """Return the negative log-likelihood of preferences (N,), and its gradient (N,).

    Differences (N,) are costs or regrets, first minus second, in units of the temperature.

    Raises:
        ValueError: a difference is not finite, or a preference is NaN or outside [0, 1].
    """
    difference = checks.reals("difference", difference, (None,))
    return _loss(difference, checks.reals("preferred", preferred, difference.shape, 0, 1))


def _loss(difference: Floats, preferred: Floats) -> tuple[float, Floats]:
    value = np.logaddexp(0, difference) - preferred * difference
    return float(value.sum()), expit(difference) - preferred


def units_of(pairs: Pairs, features: Features, discount: float) -> Floats:
    """Return root mean squares (d,) of the differences in `partial_costs` between two segments.

    1 for a feature in which no two segments differ.

    Raises:
        ValueError: the pairs are not valid (`check_pairs`), or there are none.
    """
    pairs = check_pairs(pairs, features)
    if not len(pairs.preferred):
        raise ValueError("There are no pairs; units follow from at least one.")
    costs = partial_costs(pairs.segments, features, discount)
    units = np.sqrt(np.mean((costs[:, 0] - costs[:, 1]) ** 2, 0))
    return np.where(units > 0, units, 1.0)


def posterior(
    pairs: Pairs,
    features: Features,
    system: LinearSystem,
    statistic: str,
    units: Floats,
    prior: Floats | None = None,
) -> Callable[[Floats], tuple[float, Floats]]:
    """Return the negative log posterior, up to a constant, as a function of weights (d,) times `units`.

    The function returns its value and gradient (d,). Arguments are those of `learn`.

    Raises:
        ValueError: the statistic is neither "regret" nor "partial_return", the pairs are not valid (`check_pairs`), a
            unit is not above 0, or the prior is not finite.
    """
    statistic = checks.choice("statistic", statistic, STATISTICS)
    pairs, units = check_pairs(pairs, features), checks.reals("units", units, (len(features.Q),), above=0)
    centre = np.zeros(len(units)) if prior is None else checks.reals("prior", prior, units.shape)

    def contrast(each: Floats) -> Floats:
        return each[:, 0] - each[:, 1]

    constant = contrast(partial_costs(pairs.segments, features, system.discount)) / units
    moved = contrast(motion(pairs.segments, system)).reshape(len(constant), -1)

    def at(scaled: Floats) -> tuple[float, Floats]:
        f = constant
        if statistic == "regret":
            P = values(features, system, _controller(system, features, scaled / units))
            f = f + moved @ P.reshape(len(P), -1).T / units
        value, slope = _loss(f @ scaled, pairs.preferred)
        off = (scaled - centre) / PRIOR_SCALE**2
        return value + 0.5 * float(off @ (scaled - centre)), f.T @ slope + off

    return at


def learn(
    pairs: Pairs,
    features: Features,
    system: LinearSystem,
    statistic: str,
    units: Floats,
    prior: Floats | None = None,
    start: Floats | None = None,
) -> Floats:
    """Return the weights (d,) of greatest posterior probability, at least 0 and in units of the temperature.

    `statistic` is "regret" or "partial_return"; `units` (d,) are those of `units_of`. The prior is normal about
    `prior` / units (0 by default) with the standard deviation PRIOR_SCALE / units. Partial returns make this a convex
    problem; for regret it is smooth but not convex: the descent starts from the weights `start` (d,) or, without
    them, three times, from weights of actions 10 times apart, and the best result is returned.

    Raises:
        ValueError: the statistic is neither "regret" nor "partial_return", the pairs are not valid (`check_pairs`), a
            unit is not above 0, or prior or start is not finite.
        DivergenceError: the weights are not finite.
    """
    objective = posterior(pairs, features, system, statistic, units, prior)
    acting = np.atleast_1d(features.R.any((-1, -2)))
    bounds = [(SMALLEST if acts else 0.0, None) for acts in acting]
    if start is not None:
        start = checks.reals("start", start, (len(features.Q),))
        starts = [np.maximum(start * units, np.where(acting, SMALLEST, 0.0))]
    else:
        starts = [np.where(acting, size, 1.0) for size in ((0.1, 1.0, 10.0) if statistic == "regret" else (1.0,))]
    found = [minimize(objective, first, jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-10) for first in starts]
    best = min(found, key=lambda result: float(result.fun))
    weights = np.asarray(best.x / units, np.float64)
    if not np.isfinite(weights).all():
        raise DivergenceError("The weights that were fitted to the preferences are not finite.")
    return weights
