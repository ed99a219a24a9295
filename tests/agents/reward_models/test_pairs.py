"""Pairs of segments: what comes in, what is refused, and the grouping by user."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.reward_models.pairs import (
    by_user,
    distinct_steps,
    feedback_pairs,
    join_pairs,
    make_pairs,
    masked_mean,
    step_inputs,
)

RNG = np.random.default_rng(0)
N, L, D = 6, 4, 3
FIRST, SECOND = RNG.standard_normal((2, N, L, D))
LABELS = np.array([0, 1, 0.5, np.nan, 1, 0])


def test_pairs_without_an_answer_are_left_out() -> None:
    strength = np.array([1, 2, 0, np.nan, 3, 1])
    ratings = np.where(np.isnan(LABELS)[:, None], np.nan, np.arange(2 * N).reshape(N, 2))
    pairs = make_pairs(FIRST, SECOND, LABELS, strength=strength, ratings=ratings, group=np.arange(N))
    kept = ~np.isnan(LABELS)
    assert len(pairs) == 5
    assert np.allclose(pairs.inputs.numpy(), np.stack([FIRST, SECOND], 1)[kept].astype("f"))
    assert pairs.labels.tolist() == LABELS[kept].tolist()
    assert pairs.strength is not None and pairs.strength.tolist() == strength[kept].tolist()
    assert pairs.ratings is not None and pairs.ratings.isfinite().all()
    assert pairs.group is not None and pairs.group.tolist() == [0, 1, 2, 4, 5]


def test_tensors_and_arrays_and_items_of_one_step_are_the_same() -> None:
    one = make_pairs(FIRST[:, 0], SECOND[:, 0], LABELS)
    two = make_pairs(torch.tensor(FIRST[:, :1]), torch.tensor(SECOND[:, :1]), torch.tensor(LABELS))
    assert torch.equal(one.inputs, two.inputs) and torch.equal(one.labels, two.labels)
    assert one.inputs.shape == (5, 2, 1, D)


BAD = np.array([0, 1, 0.5, 2, 1, 0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": BAD}, r"labels\[3\] is 2.0"),
        ({"labels": -LABELS}, r"labels\[1\] is -1.0"),
        ({"labels": np.full(N, np.inf)}, "labels"),
        ({"labels": np.full(N, np.nan)}, "labels are NaN for all"),
        ({"labels": LABELS[:3]}, "labels has shape"),
        ({"labels": LABELS[:, None]}, "labels has shape"),
        ({"labels": ["a"] * N}, "labels"),
        ({"first": np.where(FIRST > 1, np.nan, FIRST)}, "first"),
        ({"first": FIRST * 1e300}, "not finite as"),
        ({"second": SECOND[:, :2]}, "second has shape"),
        ({"second": SECOND[:3]}, "second has shape"),
        ({"first": FIRST[:0], "second": SECOND[:0], "labels": []}, "at least one"),
        ({"first_mask": np.zeros((N, L))}, "first_mask"),
        ({"second_mask": np.full((N, L), 0.5)}, "second_mask"),
        ({"second_mask": np.ones((N, L + 1))}, "second_mask"),
        ({"strength": -np.ones(N)}, "strength"),
        ({"strength": np.full(N, np.nan)}, "strength"),
        ({"strength": np.ones(N - 1)}, "strength"),
        ({"ratings": np.ones(N)}, "ratings"),
        ({"group": np.arange(N) - 1}, "group"),
        ({"group": np.arange(N) + 0.5}, "group"),
        ({"group": np.arange(2)}, "group"),
    ],
)
def test_bad_input_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_pairs(**({"first": FIRST, "second": SECOND, "labels": LABELS} | change))


def test_masked_steps_do_not_count() -> None:
    mask = torch.tensor([[1.0, 1, 0, 0]])
    values = torch.tensor(FIRST[:1])
    assert torch.allclose(masked_mean(values, mask), values[:, :2].mean(1))


def test_users_keep_their_pairs_in_order() -> None:
    group = np.array([1, 0, 1, 2, 1, 0])
    pairs = make_pairs(FIRST, SECOND, np.linspace(0, 1, N), group=group)
    sets = by_user(pairs, 3)
    assert sets.present.tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    for user in range(3):
        rows = np.flatnonzero(group == user)
        assert torch.equal(sets.inputs[user, : len(rows)], pairs.inputs[rows])
        assert torch.equal(sets.labels[user, : len(rows)], pairs.labels[rows])
    assert (sets.labels[sets.present == 0] == 0.5).all()
    with pytest.raises(ValueError, match="user 3 has no pair"):
        by_user(pairs, 4)
    with pytest.raises(ValueError, match="group holds 2"):
        by_user(pairs, 2)
    with pytest.raises(ValueError, match="group is None"):
        by_user(make_pairs(FIRST, SECOND, LABELS), 2)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_step_inputs_of_discrete_and_continuous_actions(shape: tuple[int, ...]) -> None:
    observations = RNG.standard_normal((N, L + 1, *shape))
    discrete, continuous = RNG.integers(5, size=(N, L)), RNG.standard_normal((N, L, 2))
    size = int(np.prod(shape))
    one, two = step_inputs(observations, discrete, 5), step_inputs(observations, continuous)
    assert one.shape == (N, L, size + 5) and two.shape == (N, L, size + 2)
    assert np.array_equal(one[..., size:].argmax(-1), discrete)
    assert np.array_equal(two[..., :size], observations[:, :-1].reshape(N, L, size))
    single = step_inputs(observations[:, 0], discrete[:, 0], 5)
    assert np.array_equal(single, one[:, 0])
    with pytest.raises(ValueError, match="actions"):
        step_inputs(observations, discrete, 4)
    with pytest.raises(ValueError, match="observations has shape"):
        step_inputs(observations[:3], continuous)


def test_dictionaries_of_observations_are_laid_side_by_side() -> None:
    one, two = RNG.standard_normal((N, L + 1, 2)), RNG.integers(3, size=(N, L + 1))
    actions = RNG.standard_normal((N, L, 1))
    found = step_inputs({"one": one, "two": two}, actions)
    assert np.array_equal(found, np.concatenate([one[:, :-1], two[:, :-1, None], actions], -1))
    with pytest.raises(ValueError, match=r"observations\['two'\]"):
        step_inputs({"one": one, "two": two[:3]}, actions)


def test_feedback_of_a_wrapper_becomes_pairs() -> None:
    actions = RNG.integers(2, size=(2, N, L))
    observations = RNG.standard_normal((2, N, L + 1, 3))
    lengths = RNG.integers(1, L + 1, (2, N))
    first, second = (
        SimpleNamespace(observations=observations[k], actions=actions[k], lengths=lengths[k]) for k in range(2)
    )
    answers = SimpleNamespace(labels=LABELS, strength=np.full(N, np.nan), user=np.full(N, -1))
    feedback = SimpleNamespace(first=first, second=second, answers=answers)
    pairs = feedback_pairs(feedback, 2)
    kept = ~np.isnan(LABELS)
    assert pairs.inputs.shape == (5, 2, L, 5) and pairs.strength is None and pairs.group is None
    assert np.array_equal(pairs.mask.sum(-1).numpy(), lengths.T[kept])
    answers.strength, answers.user = np.where(kept, 2.0, np.nan), np.where(kept, 1, -1)
    pairs = feedback_pairs(feedback, 2)
    assert pairs.strength is not None and pairs.group is not None
    assert pairs.strength.tolist() == [2] * 5 and pairs.group.tolist() == [1] * 5


def test_inputs_of_what_followed() -> None:
    rng = np.random.default_rng(0)
    observations, actions = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 4, 1))
    before, after = observations[:, :-1], observations[:, 1:]
    for inputs, parts in (
        ("state_action", (before, actions)),
        ("action_next", (actions, after)),
        ("state_action_next", (before, actions, after)),
        ("next", (after,)),
    ):
        expected = np.concatenate(parts, -1)
        np.testing.assert_array_equal(step_inputs(observations, actions, None, inputs), expected)
        np.testing.assert_array_equal(step_inputs(before, actions, None, inputs, after), expected)
        np.testing.assert_array_equal(
            step_inputs(before[:, 0], actions[:, 0], None, inputs, after[:, 0]), expected[:, 0]
        )
    with pytest.raises(ValueError, match="following is None; expected the observations after the steps"):
        step_inputs(before, actions, None, "next")
    with pytest.raises(ValueError, match=r"following has shape \(3, 3, 2\); expected \(3, 4\) first"):
        step_inputs(before, actions, None, "next", after[:, 1:])
    with pytest.raises(ValueError, match="inputs"):
        step_inputs(before, actions, None, "all")


def test_distinct_steps_and_joined_pairs() -> None:
    rng = np.random.default_rng(0)
    steps = torch.as_tensor(rng.integers(0, 3, (200, 3)), dtype=torch.float32)
    rows, index = distinct_steps(steps)
    assert len(rows) == len(torch.unique(steps, dim=0)) and torch.equal(rows[index], steps)
    same_sum = torch.zeros(4, 2)  # no weights tell these apart
    assert len(distinct_steps(same_sum)[0]) == 1
    parts = [make_pairs(*rng.normal(size=(2, n, 4, 2)), np.zeros(n), strength=np.ones(n)) for n in (2, 3)]
    whole = join_pairs(parts)
    assert len(whole) == 5 and torch.equal(whole.inputs[2:], parts[1].inputs) and whole.strength is not None
    assert join_pairs([parts[0], make_pairs(*rng.normal(size=(2, 1, 4, 2)), np.zeros(1))]).strength is None
