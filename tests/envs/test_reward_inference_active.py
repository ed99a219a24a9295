"""Asking: the pair that was chosen is the one that is answered, and nothing else differs from watching."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.preference import annotators, datasets
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.reward_inference_active import ActiveState, RewardInferenceActive, read_candidates
from valuegym.envs.preference.tabular_query import read

ID, WATCH = "valuegym/RewardInferenceActive-v0", "valuegym/RewardInference-v0"
BOARDS = ("random", "risky", "published", "..G\n.SX")


def begin(core: RewardInference, n: int) -> tuple[Any, Any]:
    return core.initial(keys.mix(0, np.arange(n)))


def ask(core: RewardInferenceActive, rows: int, choice: int, value: float = 0.3) -> np.ndarray:
    action = np.zeros((rows, *(core.action_space.shape or ())), np.float32)
    action[:, : -core.candidates] = value
    action[:, choice - core.candidates] = 1
    return action


@pytest.mark.parametrize("action", ["weights", "policy"])
@pytest.mark.parametrize("board", BOARDS)
def test_the_chosen_candidate_is_the_pair_that_is_answered(board: str, action: str) -> None:
    envs = gym.make_vec(ID, num_envs=5, board=board, action=action, candidates=4, evaluation_points=(3, 8))
    core: RewardInferenceActive = envs.unwrapped.core  # type: ignore[attr-defined]
    observation, _ = envs.reset(seed=2)
    rng = np.random.default_rng(0)
    for number in range(9):
        rows = [{name: value[i] for name, value in observation.items()} for i in range(5)]
        candidates = [read_candidates(row) for row in rows]
        assert [c.actions.shape for c in candidates] == [(4, 2, 3)] * 5
        if number == 8:
            assert not any(field.any() for c in candidates for field in c)
        else:
            assert all(c.mask[..., 0].all() for c in candidates)
            assert len({c.states.tobytes() + c.actions.tobytes() for c in candidates}) > 1 or board == "..G\n.SX"
        chosen = rng.integers(4, size=5)
        actions = np.zeros((5, *(core.action_space.shape or ())), np.float32)
        actions[np.arange(5), chosen - 4] = 0.5
        observation, _, terminated, *_ = envs.step(actions)
        assert (terminated == (number == 8)).all()
        for i in range(5):
            query = read({name: value[i] for name, value in observation.items()})
            assert query.num_queries == number + 1
            for given, offered in zip(query.pair, candidates[i], strict=True):
                assert (given == offered[chosen[i]]).all()
            assert (query.answer == annotators.CANNOT_TELL) == (number == 8)


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("annotator", ["regret", "partial-return"])
def test_always_taking_the_first_candidate_is_watching(annotator: str, board: str) -> None:
    """The same tasks, pairs, answers and scores as in the environment without a choice, bit for bit."""
    shared: dict[str, Any] = {"annotator": annotator, "board": board, "evaluation_points": (0, 2, 6)}
    asking, watching = gym.make(ID, **shared), gym.make(WATCH, **shared)
    core = asking.unwrapped.core  # type: ignore[attr-defined]
    a, b = asking.reset(seed=5)[0], watching.reset(seed=5)[0]
    rng, terminated = np.random.default_rng(0), False
    while not terminated:
        assert all(a[name].tobytes() == b[name].tobytes() for name in b if name not in ("label", "is_evaluation_point"))
        assert (a["label"], a["is_evaluation_point"]) == (b["label"], b["is_evaluation_point"])
        estimate = rng.uniform(-1, 1, 6).astype(np.float32)
        action = np.concatenate([estimate, np.zeros(core.candidates, np.float32)])
        (a, x, terminated, *_), (b, y, *_) = asking.step(action), watching.step(estimate)
        assert x == y


def test_candidates_do_not_depend_on_choices_or_on_how_many_there_are() -> None:
    few, many = (RewardInferenceActive(candidates=k, evaluation_points=(30,)) for k in (3, 7))
    task, _ = begin(few, 6)
    for number in (1, 2, 30):
        a, b = (core.pool(task, np.full(6, number), core.candidates) for core in (few, many))
        assert all((x == y[:, :3]).all() for x, y in zip(a[0], b[0], strict=True)) and (a[1] == b[1][:, :3]).all()
    state = ActiveState(np.full(6, 4), np.zeros((6, 1)), np.zeros(6, np.int64))
    for choice in range(3):
        seen = few.observation(task, state._replace(query_index=np.full(6, choice)))
        other = few.observation(task, state)
        assert all((seen[name] == other[name]).all() for name in seen if name.startswith("candidate"))


def test_candidates_are_drawn_evenly_and_apart() -> None:
    core = RewardInferenceActive(board="published", candidates=5, evaluation_points=(600,))
    task, _ = begin(core, 1)
    many = type(task)(*(np.repeat(field, 600, 0) for field in task))
    pairs, answers = core.pool(many, np.arange(1, 601), 5)
    first = pairs.states[..., 0]  # (600, 5, 2)
    counts = np.bincount(first.ravel(), minlength=100)[task.start[0] > 0]
    assert ((counts - first.size / 92) ** 2 / (first.size / 92)).sum() < 91 + 6 * np.sqrt(182)
    correlation = np.corrcoef(first.reshape(600, 10).T) - np.eye(10)
    assert abs(correlation).max() < 5 / np.sqrt(600)
    repeats = (pairs.actions[:, 1:] == pairs.actions[:, :1]).all((-1, -2)).mean()
    assert repeats < 0.01 and set(np.unique(answers)) == {annotators.FIRST, annotators.SECOND}


def test_equal_scores_ask_the_first_and_the_end_stays() -> None:
    core = RewardInferenceActive(evaluation_points=(1,), candidates=3)
    task, state = begin(core, 2)
    flat = np.zeros((2, 9), np.float32)
    one = core.transition(task, state, flat, task.key, np.zeros(2, np.int64))
    assert one.query_index.tolist() == [0, 0]
    two = core.transition(task, one, ask(core, 2, 2), task.key, np.ones(2, np.int64))
    three = core.transition(task, two, ask(core, 2, 1), task.key, np.full(2, 2))
    assert core.terminal(task, two).all() and all((a == b).all() for a, b in zip(two, three, strict=True))


def test_scores_are_for_the_estimate_alone() -> None:
    core = RewardInferenceActive(evaluation_points=(0,), candidates=2)
    task, state = begin(core, 8)
    watching = RewardInference(evaluation_points=(0,))
    estimate = np.random.default_rng(0).uniform(-1, 1, (8, 6)).astype(np.float32)
    for choice in ([1, -1], [-1, 1]):
        action = np.concatenate([estimate, np.tile(np.float32(choice), (8, 1))], -1)
        after = core.transition(task, state, action, task.key, np.zeros(8, np.int64))
        assert (after.scores[:, 0] == watching.score(task, estimate)).all()
    oracle = core.transition(task, state, core.oracle_action(task, state), task.key, np.zeros(8, np.int64))
    np.testing.assert_allclose(oracle.scores, 1, atol=1e-6)


@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_candidates_are_checked(value: Any) -> None:
    with pytest.raises(ValueError, match=r"candidates is .*; expected an integer from 1 to 1000"):
        RewardInferenceActive(candidates=value)


def test_rows_are_scalar_environments() -> None:
    shared: dict[str, Any] = {"evaluation_points": (0, 3), "candidates": 3, "board": "risky"}
    envs = gym.make_vec(ID, num_envs=9, **shared)
    env = gym.make(ID, **shared)
    rows, alone = [envs.reset(seed=4)[0]], [env.reset(seed=4 + 8)[0]]
    rng = np.random.default_rng(0)
    for _ in range(4):
        actions = rng.uniform(-1, 1, (9, 9)).astype(np.float32)
        rows.append(envs.step(actions)[0])
        alone.append(env.step(actions[8])[0])
    for a, b in zip(rows, alone, strict=True):
        assert all(np.asarray(a[name][8]).tobytes() == np.asarray(b[name]).tobytes() for name in b)


def test_people_are_asked_without_replacement(data_folder: Path) -> None:
    stored = datasets.load("Regret-Question", str(data_folder))
    n = len(stored.labels)
    core = RewardInferenceActive(annotator="human:Regret-Question", data=str(data_folder), candidates=10)
    assert core.evaluation_points[-1] == n // 10
    task, _ = begin(core, 1)
    row = type(task)(*(np.repeat(field, n // 10, 0) for field in task))
    pairs, answers = core.pool(row, np.arange(1, n // 10 + 1), 10)
    dealt = task.order[0, : n // 10 * 10]
    assert (answers.reshape(-1) == annotators.answer_codes(stored.labels[dealt])).all()
    assert (pairs.states.reshape(-1, 2, 4) == stored.segments.states[dealt]).all()
    with pytest.raises(ValueError, match=f"candidates = {n + 1}; expected at most the {n} stored answers"):
        RewardInferenceActive(annotator="human:Regret-Question", data=str(data_folder), candidates=n + 1)
