"""Statistics of scores against scipy, simulation and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from valuegym.leaderboards.stats.bootstrap import (
    estimates,
    interquartile_mean,
    mean,
    resampled_interquartile_means,
    stratified_bootstrap,
)


def test_mean_is_the_arithmetic_mean() -> None:
    scores = np.arange(12.0).reshape(3, 4)
    assert mean(scores) == pytest.approx(5.5)
    np.testing.assert_allclose(mean(scores, axis=0), [4.0, 5.0, 6.0, 7.0])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 11, 100, 101, 102, 103])
def test_interquartile_mean_equals_trim_mean(n: int) -> None:
    scores = np.random.default_rng(n).standard_cauchy(n)
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25))


def test_interquartile_mean_pools_the_axes_it_is_given() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 5, 4))
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    np.testing.assert_allclose(interquartile_mean(scores, axis=1), stats.trim_mean(scores, 0.25, axis=1))
    expected = [stats.trim_mean(scores[:, :, p].ravel(), 0.25) for p in range(4)]
    np.testing.assert_allclose(interquartile_mean(scores, axis=(0, 1)), expected)
    np.testing.assert_array_equal(interquartile_mean(scores, axis=()), scores)


def test_interquartile_mean_ignores_outliers_and_leaves_its_input_alone() -> None:
    scores = np.array([1e9, 1.0, 2.0, 3.0, 4.0, -1e9, 2.5, 2.5])
    before = scores.copy()
    assert interquartile_mean(scores) == pytest.approx(2.5)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize(("runs", "own"), [(1, 1), (2, 1), (5, 1), (5, 3), (10, 20), (7, 4)])
@pytest.mark.parametrize("kind", ["normal", "few values", "outliers"])
def test_interquartile_means_of_samples_that_are_never_made(runs: int, own: int, kind: str) -> None:
    rng = np.random.default_rng(runs * own)
    values = rng.normal(size=(runs, own))
    if kind == "few values":
        values = np.round(values)
    if kind == "outliers":
        values[rng.random(values.shape) < 0.1] *= 1e12
    for size in (1, runs, max(1, runs - 1)):
        chosen = rng.integers(runs, size=(50, size))
        found = resampled_interquartile_means(values, (chosen[..., None] == np.arange(runs)).sum(1))
        expected = interquartile_mean(values[chosen], axis=(1, 2))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_bootstrap_interval_of_the_mean_approaches_the_normal_one() -> None:
    scores = np.random.default_rng(1).normal(size=(400, 1))
    low, high = stratified_bootstrap(scores, mean, np.random.default_rng(2), repeats=4000)
    half = 1.96 * scores.std() / np.sqrt(len(scores))
    assert low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(scores.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_bootstrap_covers_the_truth_about_as_often_as_it_says(statistic) -> None:
    rng = np.random.default_rng(3)
    trials, hits = 400, 0
    for _ in range(trials):
        scores = rng.normal(0.5, 0.2, size=(20, 4))
        low, high = stratified_bootstrap(scores, statistic, rng, repeats=300, confidence=0.9)
        hits += low <= 0.5 <= high
    assert 0.84 <= hits / trials <= 0.95  # standard error 0.015; percentile intervals run a little short


def test_bootstrap_resamples_within_tasks() -> None:
    tasks_differ = np.repeat([[0.0, 10.0, 20.0]], 6, axis=0)  # no variation within any task
    low, high = stratified_bootstrap(tasks_differ, mean, np.random.default_rng(0))
    assert low == high == pytest.approx(10.0)


def test_bootstrap_draws_each_task_independently() -> None:
    scores = np.array([[0.0, 1.0], [1.0, 0.0]])  # runs drawn jointly over tasks would always have mean 1 / 2
    low, high = stratified_bootstrap(scores, mean, np.random.default_rng(0))
    assert (low, high) == (0.0, 1.0)


def test_episodes_travel_with_their_run() -> None:
    scores = np.repeat(np.array([0.0, 1.0] * 4)[:, None, None], 50, axis=2)  # (R, T, E): episodes repeat their run
    low, high = stratified_bootstrap(scores, mean, np.random.default_rng(0))
    alone = stratified_bootstrap(scores[:, :, 0], mean, np.random.default_rng(0))
    assert (low, high) == pytest.approx(alone)
    assert high - low > 0.5


def test_blocks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).normal(size=(7, 3))
    whole = stratified_bootstrap(scores, interquartile_mean, np.random.default_rng(5))
    monkeypatch.setattr("valuegym.leaderboards.stats.bootstrap.BLOCK", 100)
    assert stratified_bootstrap(scores, interquartile_mean, np.random.default_rng(5)) == whole


def test_same_generator_same_interval_and_global_state_untouched() -> None:
    scores = np.random.default_rng(0).normal(size=(8, 3))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (stratified_bootstrap(scores, interquartile_mean, np.random.default_rng(7)) for _ in range(2))
    other = stratified_bootstrap(scores, interquartile_mean, np.random.default_rng(8))
    assert first == second != other
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_constant_scores_have_no_width() -> None:
    low, high = stratified_bootstrap(np.full((9, 4), 0.3), interquartile_mean, np.random.default_rng(0))
    assert low == high == pytest.approx(0.3)


def test_estimates_of_each_evaluation_point() -> None:
    values = np.random.default_rng(0).normal(size=(6, 10, 3))
    table = estimates(values)
    assert table.shape == (3, 3)
    np.testing.assert_allclose(table[:, 0], [stats.trim_mean(values[:, :, p].ravel(), 0.25) for p in range(3)])
    assert (table[:, 1] <= table[:, 0]).all() and (table[:, 0] <= table[:, 2]).all()
    np.testing.assert_array_equal(table, estimates(values))


def test_estimates_fall_back_on_episodes_for_a_single_seed() -> None:
    values = np.random.default_rng(0).normal(size=(1, 40, 1))
    ((_, low, high),) = estimates(values)
    assert (low, high) == stratified_bootstrap(values[0], interquartile_mean, np.random.default_rng(0))
    ((point, low, high),) = estimates([[[0.25]]])
    assert point == 0.25 and np.isnan([low, high]).all()


@pytest.mark.parametrize("bad", [[], [[]], [0.1, float("nan")], [float("inf")]])
def test_nothing_or_nonsense_is_refused(bad: list) -> None:
    for call in (mean, interquartile_mean):
        with pytest.raises(ValueError, match=r"scores (has shape|holds)"):
            call(bad)


def test_bad_arguments_are_named() -> None:
    rng, scores = np.random.default_rng(0), np.ones((3, 1))
    with pytest.raises(ValueError, match=r"scores has shape \(3,\)"):
        stratified_bootstrap(np.ones(3), mean, rng)
    with pytest.raises(ValueError, match="repeats is 0"):
        stratified_bootstrap(scores, mean, rng, repeats=0)
    with pytest.raises(ValueError, match=r"confidence is 95"):
        stratified_bootstrap(scores, mean, rng, confidence=95)
    with pytest.raises(ValueError, match=r"values has shape \(3, 1\)"):
        estimates(scores)
