"""The probes' claims, exactly, over all pairs of segments: what partial return cannot tell apart, regret does."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from valuegym.envs import mdp as tabular
from valuegym.envs.preference import models, outcomes
from valuegym.envs.preference.models import BradleyTerry, Noiseless, PartialReturn, Regret
from valuegym.envs.preference.probes import PROBES, Probe, by_name

close = np.testing.assert_allclose
CASES = pytest.mark.parametrize("name", PROBES)
CHOICES = pytest.mark.parametrize("choice", [Noiseless(), BradleyTerry(), BradleyTerry(0.1)])


def policies(probe: Probe, index: int) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """Deterministic policies on the non-terminal states: those that are optimal everywhere, and all; by brute force."""
    process = probe.process(index)
    reward = np.einsum("bsad,d->bsa", process.features, probe.weights[index])
    open_states = np.flatnonzero(~process.terminal[0])
    values = {}
    for choice in itertools.product(range(reward.shape[2]), repeat=len(open_states)):
        actions = np.zeros(reward.shape[1], np.int64)
        actions[open_states] = choice
        transition = np.eye(len(actions))[process.next_state[0, np.arange(len(actions)), actions]]  # type: ignore[index]
        earned = reward[0, np.arange(len(actions)), actions]
        values[choice] = np.linalg.solve(np.eye(len(actions)) - process.discount * transition, earned)
    best = np.max(list(values.values()), 0)
    return {choice for choice, value in values.items() if np.allclose(value, best, atol=1e-9)}, set(values)


@CASES
def test_paired_tasks_share_all_that_is_shown(name: str) -> None:
    probe = PROBES[name]
    a, b = probe.process(0), probe.process(1)
    for field in ("features", "terminal", "start", "next_state"):
        assert (getattr(a, field) == getattr(b, field)).all()
    assert (probe.weights[0] != probe.weights[1]).any() != (probe.discounts[0] != probe.discounts[1])


@CASES
def test_no_policy_is_optimal_in_both_tasks(name: str) -> None:
    probe = PROBES[name]
    (first, everything), (second, _) = (policies(probe, index) for index in range(2))
    assert first and second and not first & second and len(first | second) <= len(everything)
    for index, found in enumerate((first, second)):
        rows = probe.optimal(index)[~probe.outcomes.terminal[0]]
        assert found == set(itertools.product(*(np.flatnonzero(row).tolist() for row in rows)))


@CASES
def test_segments_are_whole_and_their_chances_those_of_random_play(name: str) -> None:
    probe = PROBES[name]
    segments, chance = probe.segments()
    assert segments.mask.all() and segments.actions.shape == (1, len(chance), probe.length)
    assert chance.sum() == pytest.approx(1) and (chance > 0).all()
    assert len(
        {(s.tobytes(), a.tobytes(), f.tobytes()) for s, a, f, _ in zip(*(x[0] for x in segments), strict=True)}
    ) == (len(chance))
    draws = {"lottery": (3, [0.25, 0.25, 0.5]), "variable-horizon": (6, [1 / 6] * 6), "single-step": (4, [0.25] * 4)}
    n, expected = draws[name]
    assert len(chance) == n
    close(np.sort(chance), expected)


@CASES
def test_partial_return_answers_alike_in_both_tasks(name: str) -> None:
    """To the last bit: no amount of answers distinguishes the tasks, so every learner is wrong in one of them."""
    probe = PROBES[name]
    for choice in {probe.choice, Noiseless()}:
        a, b = (probe.preferences(index, PartialReturn(), choice) for index in range(2))
        assert (a == b).all() and len(np.unique(a)) > 2
        unbeaten = probe.unbeaten(a)
        assert any((unbeaten != probe.optimal(index)).any() for index in range(2))


@CASES
@CHOICES
def test_regret_answers_differently_and_shows_the_optimal_actions(name: str, choice: models.Choice) -> None:
    probe = PROBES[name]
    a, b = (probe.preferences(index, Regret(), choice) for index in range(2))
    assert (abs(a - b) > 0.1).any()
    for index, preferences in enumerate((a, b)):
        assert (probe.unbeaten(preferences) == probe.optimal(index)).all()
        assert (probe.unbeaten(preferences) != probe.optimal(1 - index)).any()


@CASES
def test_likelihoods_say_the_same(name: str) -> None:
    """Expected log-likelihood of each task's answers under the models of both tasks: equal for one statistic only."""
    probe = PROBES[name]
    _, chance = probe.segments()
    pairs = chance * chance[:, None]

    def loss(statistic: models.Statistic, answering: int, model: int, choice: BradleyTerry) -> float:
        p, q = (probe.preferences(index, statistic, choice) for index in (answering, model))
        return float(-(pairs * (p * np.log(q) + (1 - p) * np.log(1 - q))).sum())

    for index in range(2):
        gain = loss(Regret(), index, 1 - index, BradleyTerry()) - loss(Regret(), index, index, BradleyTerry())
        assert gain > 0.01
        if isinstance(probe.choice, BradleyTerry):
            same = loss(PartialReturn(), index, 1 - index, probe.choice) - loss(
                PartialReturn(), index, index, probe.choice
            )
            assert same == 0


def test_noise_reveals_the_lottery_to_partial_return() -> None:
    """Boltzmann answers are a cure for the first probe, and for the first only."""
    for name, probe in PROBES.items():
        a, b = (probe.preferences(index, PartialReturn(), BradleyTerry()) for index in range(2))
        assert (abs(a - b) > 0.1).any() == (name == "lottery")


def test_padding_reveals_the_horizon_and_longer_segments_the_discount() -> None:
    """Partial return would need what the observed segments leave out."""
    probe = PROBES["variable-horizon"]
    starts, actions = (np.array([[1]]), np.array([[0]])), (np.array([[[1, 0, 0]]]), np.array([[[0, 0, 0]]]))
    segments = [outcomes.follow(probe.outcomes, s, a, 0 * a) for s, a in zip(starts, actions, strict=True)]
    assert [segment.mask.sum() for segment in segments] == [1, 3]  # the exit at once, or staying
    better = []
    for index in range(2):
        gone, still = (PartialReturn().utility(probe.solved(index), segment, 0.9).item() for segment in segments)
        better.append(gone > still)
    assert better == [True, False]
    longer = dataclasses.replace(PROBES["single-step"], length=2)
    a, b = (longer.preferences(index, PartialReturn(), BradleyTerry()) for index in range(2))
    assert (abs(a - b) > 0.1).any()


@CASES
def test_values_are_the_stated_ones(name: str) -> None:
    probe = PROBES[name]
    values = [probe.solved(index).values[0] for index in range(2)]
    stated = {
        "lottery": ([2, 0], [3, 0]),
        "variable-horizon": ([-1 + 0.9 * 0, 0, 0], [10, 10, 0]),
        "single-step": ([1 / 0.7, 3 + 0.3 / 0.7], [2.7 / 0.19, 3 / 0.19]),
    }[name]
    for value, expected in zip(values, stated, strict=True):
        close(value, expected, atol=1e-9)
    for index in range(2):
        q = tabular.q_values(
            probe.process(index), tabular.reward(probe.process(index), probe.weights[index]), values[index][None]
        )
        close(np.where(probe.outcomes.terminal[0], 0, q[0].max(-1)), values[index], atol=1e-9)


def test_unknown_probes_are_refused() -> None:
    assert by_name("lottery") is PROBES["lottery"]
    with pytest.raises(ValueError, match=r"'risk'.*lottery.*variable-horizon.*single-step"):
        by_name("risk")
