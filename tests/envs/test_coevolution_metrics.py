"""Every metric against a closed form, and what must not change it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from valuegym.envs import keys
from valuegym.envs.coevolution import metrics, recorded, trajectories

Array = npt.NDArray[Any]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp(T: int, D: int = 2, slope: float = 0.1) -> Array:
    return np.arange(T)[:, None] * np.full(D, slope)


def test_distances_before_and_after_adapting() -> None:
    truth = ramp(9)
    assert np.allclose(metrics.after_adaptation(truth, truth), 0)
    assert np.allclose(metrics.on_arrival(truth, truth), 0.1 * np.sqrt(2))  # one step of the ramp
    assert metrics.on_arrival(truth, truth).shape == (8,)
    assert metrics.distance(np.zeros(4), np.full(4, 3.0)) == 6


def test_skill_is_one_less_the_ratio_of_errors() -> None:
    truth = rng().normal(size=(3, 9, 5))
    assert np.allclose(metrics.skill(truth, truth + 1, truth), 1)
    assert np.allclose(metrics.skill(truth + 1, truth + 1, truth), 0)
    assert np.allclose(metrics.skill(truth + 2, truth - 1, truth), 1 - 4)
    scaled, turned = (
        f(np.stack([truth + 0.3, truth + 1, truth])) for f in (lambda x: 5 * x - 2, lambda x: x[..., ::-1])
    )
    for a, b, c in (scaled, turned):
        assert np.allclose(metrics.skill(a, b, c), 1 - 0.09)  # neither units nor the order of options matter
    exact = metrics.skill(np.stack([truth[0], truth[0] + 1]), np.stack([truth[0]] * 2), np.stack([truth[0]] * 2))
    assert exact.tolist() == [0.0, -np.inf]


def test_the_running_centre_uses_no_future() -> None:
    truth = rng().normal(size=(9, 3))
    centre = metrics.running_centre(truth)
    assert np.allclose(centre[0], truth[0]) and np.allclose(centre[-1], truth[:-1].mean(0))
    changed = truth.copy()
    changed[5:] += 10
    assert np.array_equal(metrics.running_centre(changed)[:5], centre[:5])


def test_centred_skill_gives_no_credit_for_the_common_level() -> None:
    truth = ramp(9, 3) + 10
    mean = np.concatenate([truth[:1], metrics.running_centre(truth)])
    persistence = np.concatenate([truth[:1], truth[:-1]])
    frozen = np.broadcast_to(truth[0], truth.shape)
    t = np.arange(1, 9)
    assert metrics.centred_skill(truth, truth) == 1
    assert metrics.centred_skill(mean, truth) == 0
    # On a ramp the centre is (t + 1) / 2 steps behind, persistence one, the first value t.
    assert np.allclose(metrics.centred_skill(persistence, truth), 1 - 8 / np.sum(((t + 1) / 2) ** 2))
    assert np.allclose(metrics.centred_skill(frozen, truth), 1 - np.sum(t**2) / np.sum(((t + 1) / 2) ** 2))


def test_centred_similarity_of_opposite_and_random_answers() -> None:
    options, centre = rng().uniform(size=(1000, 19)), np.full(19, 0.5)
    truth = rng(1).uniform(size=19)
    opposite = metrics.centred_similarity(1 - options, truth, centre)
    assert np.allclose(opposite, -metrics.centred_similarity(options, truth, centre))
    assert metrics.centred_similarity(centre, truth, centre) == 0
    assert metrics.centred_similarity(truth, truth, centre) == pytest.approx(1)
    scores = metrics.centred_similarity(options, truth, centre)
    assert abs(scores.mean()) < 1.96 * scores.std() / np.sqrt(1000)  # random answers are worth nothing
    raw = metrics.centred_similarity(options, truth, np.zeros(19))
    assert raw.mean() > 0.7  # and uncentred they look good
    order = rng(2).permutation(19)
    assert np.allclose(metrics.centred_similarity(options[:, order], truth[order], centre), scores)


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 3])
def test_lag_finds_the_shift(shift: int) -> None:
    path = np.cumsum(rng().normal(size=(4, 40, 3)), 1)
    truth, estimates = path[:, 10:30], path[:, 10 - shift : 30 - shift]
    assert metrics.lag(estimates, truth).tolist() == [shift] * 4
    assert metrics.lag(np.zeros((5, 2)), np.zeros((5, 2))) == 0


def test_direction_accuracy() -> None:
    before, truth = np.zeros((4, 2)), np.array([[1.0, -1], [1, 1], [-1, 0], [2, 2]])
    assert metrics.direction_accuracy(truth, truth, before) == 1
    assert metrics.direction_accuracy(-truth, truth, before) == 0
    assert metrics.direction_accuracy(before, truth, before) == 0.5
    assert metrics.direction_accuracy(truth, before, before) == 0.5  # nothing moved
    half = truth.copy()
    half[:2] *= -1
    assert metrics.direction_accuracy(half, truth, before) == pytest.approx(3 / 7)
    random = rng().normal(size=(2000, 9, 5))
    scores = metrics.direction_accuracy(random, rng(1).normal(size=(9, 5)), np.zeros((9, 5)))
    assert abs(scores.mean() - 0.5) < 1.96 * scores.std() / np.sqrt(2000)


def test_influence_and_diversity_against_the_counterfactual() -> None:
    counterfactual = rng().normal(size=(3, 50, 4))
    assert np.array_equal(metrics.influence(counterfactual, counterfactual), np.zeros(3))
    assert np.array_equal(metrics.diversity_ratio(counterfactual, counterfactual), np.ones(3))
    assert np.allclose(metrics.influence(counterfactual + 0.5, counterfactual), 1)
    centre = counterfactual.mean(1, keepdims=True)
    assert np.allclose(metrics.diversity_ratio(centre + 0.5 * (counterfactual - centre), counterfactual), 0.25)
    assert np.allclose(metrics.diversity(counterfactual), counterfactual.var(1).sum(-1))
    assert metrics.diversity_ratio(counterfactual[0], np.zeros((50, 4))) == 1


def test_effective_opinions_is_the_exponential_of_entropy_far_apart() -> None:
    assert metrics.effective_opinions(np.zeros((30, 2)), 0.1) == pytest.approx(1)
    groups = np.repeat(np.eye(3) * 1e3, [10, 10, 20], axis=0)
    shares = np.array([0.25, 0.25, 0.5])
    assert metrics.effective_opinions(groups, 0.1) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))))
    near = metrics.effective_opinions(np.repeat(np.eye(2) * 1e-3, 10, axis=0), 0.1)
    assert 1 < near < 1.02  # hardly different opinions hardly count twice
    people = rng().normal(size=(40, 3))
    assert metrics.effective_opinions(people, 0.5) == pytest.approx(metrics.effective_opinions(people[::-1] + 7, 0.5))


def test_minority_survival() -> None:
    counterfactual = np.concatenate([np.zeros((18, 2)), np.array([[5.0, 0], [0, 5]])])
    people = counterfactual.copy()
    assert metrics.minority_survival(people, counterfactual, 0.5) == 1
    people[18] = 0
    assert metrics.minority_survival(people, counterfactual, 0.5) == 0.5
    assert metrics.minority_survival(np.zeros((20, 2)), counterfactual, 0.5) == 0
    assert metrics.minority_survival(people, np.zeros((20, 2)), 0.5) == 1  # no minority, nothing lost


def test_lock_in_index() -> None:
    counterfactual = ramp(10)
    still, back = np.zeros_like(counterfactual), -counterfactual
    assert [metrics.lock_in_index(x, counterfactual) for x in (counterfactual, still, back, 0.5 * counterfactual)] == [
        0,
        1,
        2,
        0.5,
    ]
    assert metrics.lock_in_index(counterfactual, still) == 0


def test_martingale_slope_of_bayesians_and_of_the_entrenched() -> None:
    draw = rng()
    n, before, after = 20_000, 5, 5
    truth = draw.uniform(size=n)
    first, second = draw.binomial(before, truth), draw.binomial(after, truth)
    prior, posterior = (first + 1) / (before + 2), (first + second + 1) / (before + after + 2)
    residual = (posterior - prior).std() / (prior.std() * np.sqrt(n))
    assert abs(metrics.martingale_slope(prior, posterior)) < 2.6 * residual
    entrenched = prior + 0.1 * (prior - 0.4)
    assert metrics.martingale_slope(prior, entrenched) == pytest.approx(0.1)
    assert metrics.martingale_slope(np.full(5, 0.3), np.arange(5.0)) == 0


def test_overconfidence_is_one_for_the_calibrated() -> None:
    error = rng().normal(size=100_000) * 0.2
    assert metrics.overconfidence(error, np.full(100_000, 25.0)) == pytest.approx(1, abs=0.02)
    assert metrics.overconfidence(np.array([2.0]), np.array([3.0])) == 12


def test_benefit_is_largest_for_ones_own_view_and_ends_at_the_bound() -> None:
    people = np.array([[0.0, 0], [3, 4]])
    assert metrics.benefit(np.zeros(2), people[:1], 1.0) == 1
    assert metrics.benefit(np.array([0.6, 0]), people[:1], 1.0) == pytest.approx(1 - 0.36)
    assert metrics.benefit(np.array([1.0, 0]), people[:1], 1.0) == 0
    assert metrics.benefit(np.zeros(2), people, 1.0) == 0.5  # the other one is out of reach


def test_objectives_of_a_dr_mdp() -> None:
    T, bound = 4, 1.0
    people = np.broadcast_to(0.1 * np.arange(T + 1)[:, None, None], (T + 1, 3, 1)).copy()
    counterfactual = np.zeros_like(people)
    broadcasts, speaks = people[:-1, 0], np.ones(T, np.bool_)
    found = metrics.objectives(broadcasts, speaks, people, counterfactual, bound, 1e-6)
    t = np.arange(T) * 0.1
    expected = {
        "initial": 1 - t**2,
        "current": np.full(T, 1 - 0.01),
        "final": 1 - (0.4 - t) ** 2,
        "natural_shift": 1 - t**2,
        "constrained": np.zeros(T),  # the first broadcast already moves people
        "myopic": np.ones(T),
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values.mean()), name
    silent = metrics.objectives(broadcasts, ~speaks, people, counterfactual, bound, 1e-6)
    assert all(value == 0 for value in silent.values())
    lenient = metrics.objectives(broadcasts, speaks, people, counterfactual, bound, 0.25)
    assert lenient["constrained"] == pytest.approx(2 * 0.99 / 4)  # until influence exceeds 0.25
    equal = metrics.objectives(np.zeros((T, 1)), speaks, counterfactual, counterfactual, bound, 0.0)
    assert set(map(float, equal.values())) == {1.0}  # without influence all objectives agree


@pytest.mark.parametrize("family", trajectories.FAMILIES)
def test_centred_skill_tells_agents_apart_on_every_family(family: str) -> None:
    """Persistence from frozen, all ones and the mean of what has been, by paired intervals over paths."""
    truth = 1.0 + trajectories.by_name(family).draw(keys.mix(3, np.arange(200)), 9, 5)
    centre = np.concatenate([truth[:, :1], metrics.running_centre(truth)], 1)
    last = np.concatenate([truth[:, :1], truth[:, :-1]], 1)
    error = {
        name: np.sum((answer - truth)[:, 1:] ** 2, (-2, -1))
        for name, answer in (
            ("persistence", last),
            ("frozen", np.broadcast_to(truth[:, :1], truth.shape)),
            ("ones", np.ones_like(truth)),
            ("mean", centre),
        )
    }
    assert np.allclose(metrics.centred_skill(last, truth), 1 - error["persistence"] / error["mean"])
    for name in ("frozen", "ones", "mean"):
        gap = error[name] - error["persistence"]
        assert gap.mean() > 1.96 * gap.std() / np.sqrt(len(gap)), name


def test_eight_transitions_of_history_cannot_tell_agents_apart() -> None:
    folder = os.environ.get("VALUEGYM_DATA", "")
    try:
        truth = recorded.load("history", folder or None).values
    except FileNotFoundError:
        pytest.skip("needs recorded values: set VALUEGYM_DATA to the folder that holds them")
    now, last, centre = truth[1:], truth[:-1], metrics.running_centre(truth)
    for answer in (np.broadcast_to(truth[:1], now.shape), centre):
        gap = np.sum((answer - now) ** 2, -1) - np.sum((last - now) ** 2, -1)
        assert abs(gap.mean()) < 2.36 * gap.std(ddof=1) / np.sqrt(len(gap))  # Student's t, seven degrees of freedom
