"""Paired tests and intervals of ranks against scipy, enumeration, symmetry and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from valuegym.leaderboards.stats.ranks import holm, rank_intervals, sign_flip, units_needed


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_holms_correction() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])  # by hand
    np.testing.assert_array_equal(holm([[0.5, 0.9], [0.6, 1.0]]), [[1, 1], [1, 1]])
    assert holm([0.02]) == [0.02]
    p = rng().random(6) * 0.1
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 97):
        np.testing.assert_allclose(holm(p[list(order)]), holm(p)[list(order)])


def test_rejections_are_holms_step_down() -> None:
    draws = rng(4)
    for _ in range(50):
        p, alpha = draws.random(8) ** 3, 0.05
        rejected, order = np.zeros(8, bool), np.argsort(p)
        for step, i in enumerate(order):
            if p[i] > alpha / (8 - step):
                break
            rejected[i] = True
        np.testing.assert_array_equal(holm(p) <= alpha, rejected)


def test_every_sign_is_tried_where_units_are_few() -> None:
    """Against a loop over all signs, and scipy's exact test of the same."""
    scores = rng(5).normal(size=(3, 9)) + 0.4 * np.arange(3)[:, None]
    p = sign_flip(scores, rng(7))
    for i, j in itertools.permutations(range(3), 2):
        d = scores[i] - scores[j]
        share = np.mean([np.dot(s, d) >= d.sum() - 1e-9 for s in itertools.product((-1, 1), repeat=9)])
        assert p[i, j] == pytest.approx(share)
        found = stats.permutation_test(
            (d,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="greater"
        )
        assert p[i, j] == pytest.approx(found.pvalue)
    np.testing.assert_array_equal(np.diag(p), 1)


def test_drawn_signs_approach_all_of_them_and_students_test() -> None:
    x, y = rng(5).normal(0.3, 1, 60), rng(6).normal(0, 1, 60)
    p = sign_flip(np.stack([x, y]), rng(7), repeats=20_000)
    expected = stats.ttest_rel(x, y, alternative="greater").pvalue
    assert p[0, 1] == pytest.approx(expected, rel=0.15)
    assert p[1, 0] == pytest.approx(1 - expected, abs=0.02)
    few = np.stack([x[:12], y[:12]])
    drawn = sign_flip(np.concatenate([few, np.zeros((2, 1))], 1), rng(8), repeats=20_000)  # a 13th unit without any
    np.testing.assert_allclose(drawn, sign_flip(few, rng()), atol=0.015)


def test_failures_alone_are_the_sign_test() -> None:
    """Where scores are 0 or 1, only units with one failure count: p is binomial in them."""
    first, second = np.ones(40), np.ones(40)
    second[:7], first[39] = 0, 0
    p = sign_flip(np.stack([first, second]), rng(1), repeats=40_000)[0, 1]
    assert p == pytest.approx(stats.binomtest(7, 8, alternative="greater").pvalue, rel=0.1)


def test_what_is_common_to_all_agents_does_not_count() -> None:
    common = rng(8).integers(-9, 9, (1, 20)).astype(float)
    scores = np.array([0.0, 0.3, 0.9])[:, None] + 0.05 * rng(9).normal(size=(3, 20))
    alone, shifted = (sign_flip(s, rng(0), repeats=500) for s in (scores, scores + common))
    np.testing.assert_array_equal(alone, shifted)
    np.testing.assert_array_equal(rank_intervals(scores + common, rng()).low, [3, 2, 1])


def test_agents_may_come_in_any_order() -> None:
    scores = rng(10).normal(size=(4, 18)) + np.arange(4)[:, None]
    order = [2, 0, 3, 1]
    first, second = rank_intervals(scores, rng(1)), rank_intervals(scores[order], rng(1))
    for a, b in ((first.low, second.low), (first.high, second.high)):
        np.testing.assert_array_equal(a[order], b)
    np.testing.assert_array_equal(first.better[np.ix_(order, order)], second.better)


@pytest.mark.parametrize("units", [7, 30])
def test_blocks_do_not_change_the_result(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = rng(11).normal(size=(3, units))
    whole = sign_flip(scores, rng(3), repeats=200)
    monkeypatch.setattr("valuegym.leaderboards.stats.ranks.BLOCK", 400)
    np.testing.assert_array_equal(sign_flip(scores, rng(3), repeats=200), whole)


def test_clear_differences_are_found_and_equal_agents_are_not_split() -> None:
    noise = 0.02 * rng(12).normal(size=(4, 10))
    ranks = rank_intervals(np.array([0.1, 0.9, 0.5, 0.9])[:, None] + noise, rng())
    np.testing.assert_array_equal(ranks.low, [4, 1, 3, 1])
    np.testing.assert_array_equal(ranks.high, [4, 2, 3, 2])
    assert not (ranks.better & ranks.better.T).any()


def test_overlap_is_not_transitive_and_ranks_are_not_shared_for_it() -> None:
    """The first and the last differ, the middle one differs from neither: its interval holds both other ranks."""
    steps = np.array([[-1.0] * 3 + [1.5] * 7, [1.5] * 7 + [-1.0] * 3])  # each sometimes down, never both
    ranks = rank_intervals(np.vstack([np.zeros(10), steps.cumsum(0)]), rng())
    np.testing.assert_array_equal((ranks.low, ranks.high), [[2, 1, 1], [3, 3, 2]])


def test_constant_scores() -> None:
    """All units differ alike: of all signs only the observed one reaches the sum, 2^-U per pair, before Holm."""
    steps = np.repeat(np.array([[0.1], [0.2], [0.3]]), 10, axis=1)
    assert sign_flip(steps, rng())[2, 0] == 2.0**-10
    np.testing.assert_array_equal(rank_intervals(steps, rng()).low, [3, 2, 1])
    np.testing.assert_array_equal(rank_intervals(steps[:, :4], rng()).high, [3, 3, 3])
    np.testing.assert_array_equal(rank_intervals(np.full((3, 10), 0.7), rng()).low, [1, 1, 1])


@pytest.mark.parametrize("agents", range(2, 9))
def test_the_fewest_units_at_which_anything_is_found(agents: int) -> None:
    needed = units_needed(agents)
    scores = np.repeat(np.arange(agents)[:, None] * 1.0, needed, axis=1)
    assert rank_intervals(scores, rng()).better.any()
    assert not rank_intervals(scores[:, :-1], rng()).better.any()


def test_one_unit_or_one_agent_says_nothing() -> None:
    ranks = rank_intervals([[0.1], [0.9]], rng())
    np.testing.assert_array_equal((ranks.low, ranks.high), [[1, 1], [2, 2]])
    ranks = rank_intervals([[0.1, 0.2, 0.3]], rng())
    assert (ranks.low, ranks.high) == ([1], [1])


@pytest.mark.parametrize("kind", ["failures", "normal", "skewed"])
def test_equal_agents_are_seldom_told_apart(kind: str) -> None:
    """The chance of any difference found among four equal agents; the level is 0.05."""
    draws, trials, found = rng(14), 200, 0
    for _ in range(trials):
        if kind == "failures":
            scores = np.where(draws.random((4, 100)) < 0.03, -1.0, 1.0)
        else:
            own = draws.normal(size=(4, 10)) if kind == "normal" else draws.exponential(size=(4, 10))
            scores = own + draws.normal(size=(1, 10))
        found += bool(rank_intervals(scores, draws, repeats=999).better.any())
    assert found / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def test_true_ranks_are_covered() -> None:
    draws, trials, covered = rng(15), 60, 0
    for _ in range(trials):
        scores = np.array([0.0, 0.5, 1.0, 3.0])[:, None] + draws.normal(size=(4, 10))
        ranks = rank_intervals(scores, draws)
        truth = np.array([4, 3, 2, 1])
        covered += bool(((ranks.low <= truth) & (truth <= ranks.high)).all())
    assert covered / trials >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / trials)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"scores has shape \(3,\)"):
        sign_flip(np.ones(3), rng())
    with pytest.raises(ValueError, match="expected finite numbers"):
        rank_intervals([[1.0, np.nan]], rng())
    with pytest.raises(ValueError, match="confidence is 95"):
        rank_intervals(np.ones((2, 3)), rng(), confidence=95)
    with pytest.raises(ValueError, match="repeats is 0"):
        sign_flip(np.ones((2, 3)), rng(), repeats=0)
