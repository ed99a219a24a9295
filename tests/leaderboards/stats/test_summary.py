"""The numbers of a track's table: closed forms, what is clipped and left out, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest

from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.stats.summary import UNITS, ranked_values, summarise

VALUES = np.random.default_rng(0).normal(0.5, 0.4, (6, 5, 3))


@pytest.mark.parametrize("units", UNITS)
def test_the_ranked_number_is_the_mean_over_everything(units: str) -> None:
    numbers = summarise(VALUES, units)
    assert numbers.score[0] == pytest.approx(np.maximum(VALUES, -1).mean())
    assert numbers.score[0] == pytest.approx(ranked_values(VALUES, units).mean())
    np.testing.assert_allclose(numbers.points[:, 0], np.maximum(VALUES, -1).mean((0, 1)))
    np.testing.assert_array_equal(numbers.interquartile, estimates(VALUES)[-1])
    assert numbers.near_optimal[0] == pytest.approx((VALUES[..., -1] >= 0.9).mean())
    for row in (numbers.score, *numbers.points, numbers.near_optimal):
        assert row[1] <= row[0] <= row[2]


def test_units() -> None:
    np.testing.assert_allclose(ranked_values(VALUES, "tasks"), VALUES.mean(2).ravel())
    np.testing.assert_allclose(ranked_values(VALUES, "seeds"), VALUES.mean((1, 2)))


def test_the_mean_sees_what_the_interquartile_mean_leaves_out() -> None:
    """97 and 77 of 100 tasks solved, the others never ended: the boards that ranks could not tell apart."""
    first, second = np.ones((10, 10, 1)), np.ones((10, 10, 1))
    first.ravel()[:3], second.ravel()[:23] = -1.0, -1.0
    one, two = summarise(first, "tasks"), summarise(second, "tasks")
    assert one.interquartile[0] == two.interquartile[0] == 1.0
    np.testing.assert_allclose([one.score[0], two.score[0]], [0.94, 0.54])
    np.testing.assert_allclose([one.near_optimal[0], two.near_optimal[0]], [0.97, 0.77])


def test_scores_count_as_minus_one_at_worst_and_the_raw_mean_says_so() -> None:
    values = np.array([-89_450.0, 1.0, 1.0, 1.0]).reshape(4, 1, 1)
    numbers = summarise(values, "seeds")
    assert numbers.score[0] == 0.5
    assert numbers.raw == pytest.approx((3 - 89_450) / 4)


def test_bootstrap_intervals_of_a_mean_are_about_two_standard_errors() -> None:
    values = np.random.default_rng(1).normal(0, 0.1, (20, 20, 1))
    low, high = summarise(values, "tasks").score[1:]
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    low, high = summarise(values, "seeds").score[1:]
    assert (high - low) / 2 == pytest.approx(1.96 * values.mean((1, 2)).std() / np.sqrt(20), rel=0.1)


def test_undefined_scores_are_left_out() -> None:
    values = VALUES.copy()
    values[0, :2], values[1, 3] = np.nan, np.nan
    numbers, there = summarise(values, "tasks"), np.maximum(values[~np.isnan(values).any(2)], -1)
    assert numbers.score[0] == pytest.approx(there.mean())
    np.testing.assert_allclose(numbers.points[:, 0], there.mean(0))
    assert numbers.near_optimal[0] == pytest.approx((there[:, -1] >= 0.9).mean())
    assert np.isnan(ranked_values(values, "tasks")).sum() == 3


def test_a_single_value_has_no_interval_and_a_single_seed_that_of_its_episodes() -> None:
    assert np.isnan(summarise(np.full((1, 1, 1), 0.5), "tasks").score[1:]).all()
    assert not np.isnan(summarise(VALUES[:1], "seeds").score).any()


@pytest.mark.parametrize("units", UNITS)
def test_blocks_and_order_do_not_matter(units: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = summarise(VALUES, units)
    for other in (VALUES[::-1], VALUES[:, ::-1]):
        np.testing.assert_allclose(summarise(other, units).points[:, 0], whole.points[:, 0])
    monkeypatch.setattr("valuegym.leaderboards.stats.summary.BLOCK", 50)
    np.testing.assert_allclose(summarise(VALUES, units).score, whole.score)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="units"):
        summarise(VALUES, "people")
    with pytest.raises(ValueError, match=r"values has shape \(6, 5\)"):
        ranked_values(VALUES[..., 0], "tasks")
    with pytest.raises(ValueError, match="finite"):
        summarise(np.full((2, 2, 1), np.inf), "tasks")
