"""Fronts and hypervolumes against definitions, closed forms, inclusion and exclusion, and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from valuegym.leaderboards.stats.pareto import dominates, hypervolume, pareto_front


def union(points: np.ndarray) -> float:
    """Volume of boxes from the origin by inclusion and exclusion: their intersections are boxes, too."""
    return sum(
        (-1) ** (k + 1) * np.prod(np.min(chosen, axis=0))
        for k in range(1, len(points) + 1)
        for chosen in itertools.combinations(points, k)
    )


def test_a_front_by_hand() -> None:
    points = [[3, 1], [2, 2], [1, 3], [2, 1], [1, 1], [2, 2], [0, 3]]
    np.testing.assert_array_equal(pareto_front(points), [1, 1, 1, 0, 0, 1, 0])
    assert dominates(points)[1, 3] and not dominates(points)[1, 5] and not dominates(points)[0, 1]


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_the_front_is_what_the_definition_says(d: int) -> None:
    points = np.random.default_rng(d).integers(0, 4, (30, d))
    expected = [not any((q >= p).all() and (q > p).any() for q in points) for p in points]
    np.testing.assert_array_equal(pareto_front(points), expected)


@pytest.mark.parametrize(("d", "n"), [(1, 6), (2, 8), (3, 8), (4, 7), (5, 5)])
def test_hypervolume_equals_inclusion_and_exclusion(d: int, n: int) -> None:
    points = np.random.default_rng(d).random((n, d))
    assert hypervolume(points, np.zeros(d)) == pytest.approx(union(points), rel=1e-12)
    whole = np.random.default_rng(d).integers(1, 4, (n, d))  # ties along every axis
    assert hypervolume(whole, np.zeros(d)) == union(whole)


def test_hypervolume_in_closed_form() -> None:
    n = 20
    stairs = [[i, n + 1 - i] for i in range(1, n + 1)]
    assert hypervolume(stairs, [0, 0]) == n * (n + 1) / 2
    assert hypervolume([[2.0, 3.0, 4.0]], [1, 1, 1]) == 1 * 2 * 3
    assert hypervolume([[1, 1], [0.5, 2], [-3, 9]], [0, 0]) == 1.5  # what is below the reference adds nothing
    assert hypervolume([[0, 1]], [0, 0]) == hypervolume(np.zeros((0, 2)), [0, 0]) == 0


def test_hypervolume_by_simulation() -> None:
    draws = np.random.default_rng(0)
    points = draws.random((12, 3))
    inside = (draws.random((200_000, 1, 3)) <= points).all(-1).any(-1)
    assert hypervolume(points, np.zeros(3)) == pytest.approx(inside.mean(), abs=4 * inside.std() / np.sqrt(200_000))


def test_a_dominated_point_changes_nothing_and_a_better_one_adds() -> None:
    points = np.random.default_rng(1).random((6, 3)) * 0.5
    before = hypervolume(points, np.zeros(3))
    assert hypervolume([*points, points[0] * 0.9], np.zeros(3)) == pytest.approx(before, rel=1e-12)
    assert hypervolume([*points, np.ones(3)], np.zeros(3)) == 1.0 > before
    shifted = hypervolume(points + 7, np.full(3, 7.0))
    assert shifted == pytest.approx(before)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"points has shape \(3,\)"):
        pareto_front([1, 2, 3])
    with pytest.raises(ValueError, match="finite"):
        pareto_front([[1, np.nan]])
    with pytest.raises(ValueError, match=r"reference has shape \(1,\)"):
        hypervolume([[1, 2]], [0])
