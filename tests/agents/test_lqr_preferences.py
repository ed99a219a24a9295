"""Rewards from preferences in the linear regulator: regret in closed form, what it identifies, and what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from valuegym.agents.control import lqr_preferences as preferences
from valuegym.agents.control.lqr_preferences import Pairs, Segments
from valuegym.envs.control import lqr, riccati
from valuegym.envs.control.riccati import LinearSystem

WEIGHTS = np.array([1.0, 0.1, 0.0, 0.0, 0.1])  # position, velocity, two distractors, force


def world(**kwargs: Any) -> LinearSystem:
    """A mass with kicks and two distractors."""
    return lqr.system(lqr.Parameters(**({"distractors": 2, "noise": 0.1} | kwargs)))


def play(system: LinearSystem, shape: tuple[int, ...], seed: int = 0, gain: Any = None) -> Segments:
    """Segments of 6 steps with random forces, or with those of a gain."""
    rng = np.random.default_rng(seed)
    n = len(system.A)
    s, states, actions = rng.standard_normal((*shape, n)), [], []
    for _ in range(6):
        u = 2 * rng.standard_normal((*shape, 1)) if gain is None else -s @ gain.T
        states.append(s)
        actions.append(u)
        s = s @ system.A.T + u @ system.B.T + rng.standard_normal((*shape, n)) * np.sqrt(np.diag(system.W))
    return Segments(np.stack(states, -2), np.stack(actions, -2))


def features_of(system: LinearSystem, weights: Any, segments: Segments) -> Any:
    basis = preferences.axes(len(system.A), 1)
    return preferences.regret_features(segments, basis, system, preferences.controller(system, basis, weights))


def test_weights_price_the_system() -> None:
    system = world()
    priced = preferences.priced(system, preferences.axes(4, 1), WEIGHTS)
    np.testing.assert_allclose(priced.Q, system.Q)
    np.testing.assert_allclose(priced.R, system.R)


def test_costs_in_turned_coordinates_are_the_same() -> None:
    plain, turned = (lqr.Parameters(distractors=2, rotated=rotated) for rotated in (False, True))
    turn = lqr.rotation(turned)
    system = lqr.system(turned)
    basis = preferences.axes(4, 1, turn)
    np.testing.assert_allclose(preferences.priced(system, basis, WEIGHTS).Q, system.Q, atol=1e-12)
    segments = play(lqr.system(plain), (5,))
    moved = Segments(segments.states @ turn.T, segments.actions)
    K = preferences.controller(system, basis, WEIGHTS)
    np.testing.assert_allclose(
        preferences.regret_features(moved, basis, system, K),
        features_of(lqr.system(plain), WEIGHTS, segments),
        atol=1e-9,
    )


def test_regret_is_zero_on_optimal_segments_and_positive_on_others() -> None:
    system = world()
    best = riccati.gain(system, riccati.optimal(system).P)
    np.testing.assert_allclose(preferences.regret(play(system, (20,), gain=best), system), 0, atol=1e-20)
    assert preferences.regret(play(system, (20,)), system).min() > 0


@pytest.mark.parametrize("weights", [WEIGHTS, np.array([0.3, 2.0, 0.5, 0.7, 1.5])])
def test_the_square_completed_is_the_sum_of_advantages(weights: Any) -> None:
    """Two derivations of regret, under noise."""
    system = preferences.priced(world(), preferences.axes(4, 1), weights)
    segments = play(system, (30,))
    np.testing.assert_allclose(
        features_of(system, weights, segments) @ weights, preferences.regret(segments, system), rtol=1e-9
    )


def test_regret_telescopes_where_nothing_is_random() -> None:
    """What the segment cost and still will cost, less what the optimal controller would have."""
    system = world(noise=0.0)._replace(W=np.zeros((4, 4)))
    segments = play(system, (10,))
    s, u = segments
    last = s[:, -1] @ system.A.T + u[:, -1] @ system.B.T
    best = riccati.optimal(system)
    paid = preferences.partial_costs(segments, preferences.axes(4, 1), system.discount) @ WEIGHTS
    whole = paid + system.discount**6 * riccati.cost(best, last) - riccati.cost(best, s[:, 0])
    np.testing.assert_allclose(preferences.regret(segments, system), whole, rtol=1e-9)


def test_the_gradient_of_regret_is_that_of_finite_differences() -> None:
    system, weights, step = world(), np.array([0.8, 0.3, 0.2, 0.4, 0.5]), 1e-5
    segments = play(system, (8,))
    for i in range(5):
        ends = []
        for sign in (1, -1):
            moved = weights.copy()
            moved[i] += sign * step
            ends.append(preferences.regret(segments, preferences.priced(system, preferences.axes(4, 1), moved)))
        slope = features_of(system, weights, segments)[:, i]
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, rtol=1e-5, atol=1e-7)


def test_the_gradient_of_the_loss_is_that_of_finite_differences() -> None:
    difference, preferred = np.array([-3.0, 0.2, 40.0]), np.array([1.0, 0.0, 1.0])
    value, slope = preferences.loss(difference, preferred)
    assert value == pytest.approx(np.log1p(np.exp(3.0)) + np.log1p(np.exp(0.2)) + np.log1p(np.exp(-40.0)))
    for i in range(3):
        moved = difference + 1e-6 * np.eye(3)[i]
        assert (preferences.loss(moved, preferred)[0] - value) / 1e-6 == pytest.approx(slope[i], abs=1e-5)


# --- what preferences identify ---


def test_scale_multiplies_regret_and_leaves_the_controller() -> None:
    system, basis = world(), preferences.axes(4, 1)
    segments = play(system, (5,))
    np.testing.assert_allclose(
        preferences.controller(system, basis, 7 * WEIGHTS), preferences.controller(system, basis, WEIGHTS), rtol=1e-9
    )
    larger = preferences.regret(segments, preferences.priced(system, basis, 7 * WEIGHTS))
    np.testing.assert_allclose(larger, 7 * preferences.regret(segments, system), rtol=1e-9)


def test_shaping_changes_partial_returns_and_values_and_no_regret() -> None:
    """The X with A'X B = 0: here, X B = 0, because A can be inverted."""
    system = world()
    across = np.array([-system.B[1, 0], system.B[0, 0], 0.0, 0.0])
    X = 30 * np.outer(across, across) + np.diag([0.0, 0.0, 0.4, -0.2])
    assert np.abs(system.A.T @ X @ system.B).max() < 1e-15
    shaped = system._replace(Q=system.Q + X - system.discount * system.A.T @ X @ system.A)
    segments = play(system, (5,))
    np.testing.assert_allclose(preferences.regret(segments, shaped), preferences.regret(segments, system), rtol=1e-9)
    before, after = (riccati.optimal(s).P for s in (system, shaped))
    np.testing.assert_allclose(after - before, X, atol=1e-9)
    own = [np.einsum("ntj,jk,ntk->n", segments.states, s.Q, segments.states) for s in (system, shaped)]
    assert np.abs(own[0] - own[1]).min() > 1e-6


def test_regret_is_blind_to_what_nothing_moves_and_partial_return_is_not() -> None:
    system = world()
    segments = play(system, (200,))
    found = features_of(system, np.array([0.8, 0.3, 0.2, 0.4, 0.5]), segments)
    np.testing.assert_allclose(found[:, 2:4], 0, atol=1e-9)
    assert np.linalg.matrix_rank(found[:, [0, 1, 4]], tol=1e-6) == 3  # the weights of the mass are identified
    costs = preferences.partial_costs(segments, preferences.axes(4, 1), system.discount)
    assert np.linalg.matrix_rank(costs) == 5


# --- learning ---


@pytest.mark.parametrize("statistic", ["regret", "partial_return"])
def test_many_answers_teach_the_weights_that_they_came_from(statistic: str) -> None:
    system, basis = world(), preferences.axes(4, 1)
    segments = play(system, (3000, 2), seed=1)
    costs = preferences.partial_costs(segments, basis, system.discount)
    statistics = preferences.regret(segments, system) if statistic == "regret" else costs @ WEIGHTS
    temperature = float(np.median(np.abs(np.diff(statistics)))) / 2
    preferred = preferences.sample_answers(statistics, temperature, np.random.default_rng(2))
    units = (costs[:, 0] - costs[:, 1]).std(0)
    found = preferences.learn(Pairs(segments, preferred), basis, system, statistic, units) * temperature
    np.testing.assert_allclose(found[[0, 4]], WEIGHTS[[0, 4]], rtol=0.15)
    np.testing.assert_allclose(found[[1, 2, 3]], WEIGHTS[[1, 2, 3]], atol=0.05)
    gain, best = (preferences.controller(system, basis, w) for w in (found, WEIGHTS))
    np.testing.assert_allclose(gain, best, rtol=0.1, atol=0.05)


def test_what_regret_leaves_open_is_the_priors() -> None:
    system, basis = world(), preferences.axes(4, 1)
    segments = play(system, (50, 2), seed=1)
    preferred = preferences.sample_answers(preferences.regret(segments, system), 1.0, np.random.default_rng(2))
    for prior in (np.zeros(5), np.array([0.0, 0.0, 2.0, 3.0, 0.0])):
        found = preferences.learn(Pairs(segments, preferred), basis, system, "regret", np.ones(5), prior)
        np.testing.assert_allclose(found[2:4], prior[2:4], atol=1e-3)


def test_other_statistics_are_refused() -> None:
    system = world()
    pairs = Pairs(play(system, (3, 2)), np.ones(3))
    with pytest.raises(ValueError, match="expected one of 'regret', 'partial_return'"):
        preferences.learn(pairs, preferences.axes(4, 1), system, "advantage", np.ones(5))
