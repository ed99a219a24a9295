"""Bayes filters of moving values: against simulated paths, a Kalman filter, particles and brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from valuegym.agents.coevolution import filters
from valuegym.agents.coevolution.filters import Law, posterior_mean
from valuegym.envs import keys
from valuegym.envs.coevolution import trajectories

N = 9
CLOSED: dict[str, tuple[Law, Any]] = {
    "linear": (filters.linear(N, 0.3, 0.15), trajectories.Linear()),
    "logistic": (filters.logistic(N, (0.75, 1.25)), trajectories.Logistic()),
    "ornstein-uhlenbeck": (filters.ornstein_uhlenbeck(N, 0.9, 0.25, 0.2), trajectories.OrnsteinUhlenbeck()),
    "random-walk": (filters.random_walk(N, 0.3, 0.3), trajectories.RandomWalk()),
    "regime-switch": (filters.regimes(N, 0.5, 0.05, 0.2), trajectories.RegimeSwitch()),
}
NOISE = np.full(N, 0.02)


@pytest.mark.parametrize("name", sorted(CLOSED))
def test_laws_have_the_moments_of_the_paths_that_are_drawn(name: str) -> None:
    law, family = CLOSED[name]
    p = np.exp(law.log)
    assert p.sum() == pytest.approx(1.0)
    mean = p @ law.mean
    spread = np.einsum("g,gij->ij", p, law.covariance) + (law.mean.T * p) @ law.mean - np.outer(mean, mean)
    drawn = filters.moments(family.draw(keys.mix(5, np.arange(4000)), N, 5))
    np.testing.assert_allclose(mean, drawn.mean[0], atol=0.03)
    np.testing.assert_allclose(spread, drawn.covariance[0], atol=0.05 * spread.max())


def test_on_a_random_walk_the_filter_is_kalmans() -> None:
    readings = np.random.default_rng(0).standard_normal((4, N, 2))
    found = posterior_mean([filters.random_walk(N, 0.3, 0.2)], [1.0], readings, [NOISE])
    level, variance = np.zeros((4, 2)), 0.09
    for t in range(N):
        gain = variance / (variance + 0.02)
        level, variance = level + gain * (readings[:, t] - level), (1 - gain) * variance
        np.testing.assert_allclose(found[:, t], level, atol=1e-9)
        variance += 0.04


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("name", ["logistic", "regime-switch"])
def test_mixtures_agree_with_particles(name: str, ahead: int) -> None:
    law, family = CLOSED[name]
    paths = family.draw(keys.mix(6, np.arange(60_000)), N, 1)[..., 0]
    truth = family.draw(keys.mix(7, np.arange(5)), N, 1)
    seen = 4
    readings = truth[:, :seen] + 0.3 * np.random.default_rng(1).standard_normal((5, seen, 1))
    found = posterior_mean([law], [1.0], readings, [np.full(seen, 0.09)], ahead)[:, -1, 0]
    log = -0.5 * ((readings[:, None, :, 0] - paths[None, :, :seen]) ** 2).sum(-1) / 0.09
    p = np.exp(log - log.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    expected = p @ paths[:, seen - 1 + ahead]
    error = np.sqrt((p**2).sum(1)) * paths.std()
    assert (np.abs(found - expected) < 5 * error + 2e-3).all()


def test_dimensions_share_a_switch_and_no_transition() -> None:
    """A jump that one dimension shows is believed in the others; a midpoint is not."""
    readings = np.zeros((2, 5, 2))
    readings[0, 3:, 0] = 3.0
    readings[:, :, 1] = np.linspace(0.0, 0.4, 5)
    for law, shared in ((filters.regimes(5, 0.5, 0.05, 0.2), True), (filters.logistic(5, (0.75, 1.25)), False)):
        found = posterior_mean([law], [1.0], readings, [np.full(5, 0.05)])[:, -1, 1]
        assert (abs(found[0] - found[1]) > 0.02) == shared


def test_families_mix_by_their_evidence() -> None:
    linear, walk = CLOSED["linear"][0], CLOSED["random-walk"][0]
    readings = np.random.default_rng(2).standard_normal((3, N, 2))
    both = posterior_mean([linear, walk], [0.5, 0.5], readings, [NOISE] * 2)
    alone = [posterior_mean([law], [1.0], readings, [NOISE]) for law in (linear, walk)]
    assert ((both >= np.minimum(*alone) - 1e-12) & (both <= np.maximum(*alone) + 1e-12)).all()
    twice = posterior_mean([linear, linear], [0.3, 0.7], readings, [NOISE] * 2)
    np.testing.assert_allclose(twice, alone[0], atol=1e-12)


def test_a_law_through_a_matrix_is_that_of_the_products() -> None:
    law = CLOSED["random-walk"][0]
    matrix = np.tril(np.random.default_rng(3).random((N, N)))
    found = law.through(matrix, 0.5 * np.eye(N))
    np.testing.assert_allclose(found.covariance[0], matrix @ law.covariance[0] @ matrix.T + 0.5 * np.eye(N))


def test_no_estimate_from_readings_beats_the_posterior_mean() -> None:
    family = trajectories.RegimeSwitch()
    path = family.draw(keys.mix(8, np.arange(400)), N, 2)
    readings = path + NOISE[0] ** 0.5 * np.random.default_rng(4).standard_normal(path.shape)
    best = ((posterior_mean([CLOSED["regime-switch"][0]], [1.0], readings, [NOISE]) - path) ** 2).sum()
    level = np.zeros_like(readings[:, 0])
    rivals = np.zeros(9)
    for t in range(N):
        for i, gain in enumerate(np.linspace(0.2, 1.0, 9)):
            if t == 0 and i == 0:
                level = np.repeat(readings[:, :1], 9, 1)
            level[:, i] += gain * (readings[:, t] - level[:, i])
            rivals[i] += ((level[:, i] - path[:, t]) ** 2).sum()
    assert best < 0.8 * rivals.min()


def test_readings_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="readings"):
        posterior_mean([CLOSED["linear"][0]], [1.0], np.full((1, 3, 1), np.nan), [NOISE])
