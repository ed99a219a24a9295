"""Paired tests and intervals of ranks against scipy, enumeration, symmetry and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from valuegym.leaderboards.stats.bootstrap import interquartile_mean, mean
from valuegym.leaderboards.stats.ranks import holm, paired_bootstrap, rank_intervals


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


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """With the mean the statistic is Student's: the bootstrap's p-value approaches that of the paired t test."""
    x, y = rng(5).normal(0.3, 1, 60), rng(6).normal(0, 1, 60)
    p = paired_bootstrap(np.stack([x, y]), rng(7), statistic=mean, repeats=8000)
    expected = stats.ttest_rel(x, y, alternative="greater").pvalue
    assert p[0, 1] == pytest.approx(expected, rel=0.25)
    assert p[1, 0] == pytest.approx(1 - expected, abs=0.02)
    np.testing.assert_array_equal(np.diag(p), 1)


def test_what_is_common_to_all_agents_does_not_count() -> None:
    common = rng(8).normal(0, 10, (1, 10, 1))
    scores = np.array([0.0, 0.3, 0.9])[:, None, None] + 0.05 * rng(9).normal(size=(3, 10, 4))
    alone, shifted = (paired_bootstrap(s, rng(0), statistic=mean, repeats=500) for s in (scores, scores + common))
    np.testing.assert_allclose(alone, shifted)
    np.testing.assert_array_equal(rank_intervals(scores + common, rng()).low, [3, 2, 1])


def test_agents_may_come_in_any_order() -> None:
    scores = rng(10).normal(size=(4, 6, 3)) + np.arange(4)[:, None, None]
    order = [2, 0, 3, 1]
    first, second = rank_intervals(scores, rng(1)), rank_intervals(scores[order], rng(1))
    for a, b in ((first.low, second.low), (first.high, second.high)):
        np.testing.assert_array_equal(a[order], b)
    np.testing.assert_array_equal(first.better[np.ix_(order, order)], second.better)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = rng(11).normal(size=(3, 5, 2))
    whole = paired_bootstrap(scores, rng(3), repeats=200)
    monkeypatch.setattr("valuegym.leaderboards.stats.ranks.BLOCK", 400)
    np.testing.assert_array_equal(paired_bootstrap(scores, rng(3), repeats=200), whole)


@pytest.mark.parametrize("kind", ["normal", "few values"])
def test_the_short_way_for_interquartile_means_is_the_long_one(kind: str) -> None:
    """By counting which runs were drawn, and by making every sample and sorting it."""

    def long(values, axis):
        return interquartile_mean(values, axis)

    for agents, runs, own in ((3, 5, 5), (6, 10, 4), (2, 3, 1)):
        scores = rng(agents).normal(size=(agents, runs, own)) + 0.4 * np.arange(agents)[:, None, None]
        scores = np.round(4 * scores) / 4 if kind == "few values" else scores
        short, other = (rank_intervals(scores, rng(2), statistic) for statistic in (interquartile_mean, long))
        for one, two in zip(short, other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_clear_differences_are_found_and_equal_agents_are_not_split() -> None:
    noise = 0.02 * rng(12).normal(size=(4, 10, 5))
    ranks = rank_intervals(np.array([0.1, 0.9, 0.5, 0.9])[:, None, None] + noise, rng())
    np.testing.assert_array_equal(ranks.low, [4, 1, 3, 1])
    np.testing.assert_array_equal(ranks.high, [4, 2, 3, 2])
    assert not (ranks.better & ranks.better.T).any()


def test_overlap_is_not_transitive_and_ranks_are_not_shared_for_it() -> None:
    """The first and the last differ, the middle one differs from neither: its interval holds both other ranks."""
    draws = rng(13)
    scores = np.array([0.0, 0.6, 1.2])[:, None] + 0.55 * draws.normal(size=(3, 10))
    ranks = rank_intervals(scores, rng(), statistic=mean)
    np.testing.assert_array_equal((ranks.low, ranks.high), [[2, 1, 1], [3, 3, 2]])


def test_constant_scores() -> None:
    """Without any spread only the sign test is left: 2^-R per pair, before the correction."""
    steps = np.repeat(np.array([[0.1], [0.2], [0.3]]), 10, axis=1)
    assert paired_bootstrap(steps, rng())[2, 0] == 2.0**-10
    np.testing.assert_array_equal(rank_intervals(steps, rng()).low, [3, 2, 1])
    np.testing.assert_array_equal(rank_intervals(steps[:, :4], rng()).high, [3, 3, 3])
    np.testing.assert_array_equal(rank_intervals(np.full((3, 10), 0.7), rng()).low, [1, 1, 1])


def test_one_run_or_one_agent_says_nothing() -> None:
    ranks = rank_intervals([[0.1], [0.9]], rng())
    np.testing.assert_array_equal((ranks.low, ranks.high), [[1, 1], [2, 2]])
    ranks = rank_intervals([[0.1, 0.2, 0.3]], rng())
    assert (ranks.low, ranks.high) == ([1], [1])


@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_equal_agents_are_seldom_told_apart(kind: str) -> None:
    """The chance of any difference found among four equal agents, ten paired runs; the level is 0.05."""
    draws, trials, found = rng(14), 100, 0
    for _ in range(trials):
        own = draws.normal(size=(4, 10, 1)) if kind == "normal" else draws.exponential(size=(4, 10, 1))
        scores = own + draws.normal(size=(1, 10, 1)) + draws.normal(size=(4, 10, 3))
        found += bool(rank_intervals(scores, draws, repeats=499).better.any())
    assert found / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def test_true_ranks_are_covered() -> None:
    draws, trials, covered = rng(15), 60, 0
    for _ in range(trials):
        scores = np.array([0.0, 0.5, 1.0, 3.0])[:, None] + draws.normal(size=(4, 10))
        ranks = rank_intervals(scores, draws, statistic=mean, repeats=499)
        truth = np.array([4, 3, 2, 1])
        covered += bool(((ranks.low <= truth) & (truth <= ranks.high)).all())
    assert covered / trials >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / trials)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"scores has shape \(3,\)"):
        paired_bootstrap(np.ones(3), rng())
    with pytest.raises(ValueError, match="expected finite numbers"):
        rank_intervals([[1.0, np.nan]], rng())
    with pytest.raises(ValueError, match="confidence is 95"):
        rank_intervals(np.ones((2, 3)), rng(), confidence=95)
    with pytest.raises(ValueError, match="repeats is 0"):
        paired_bootstrap(np.ones((2, 3)), rng(), repeats=0)
