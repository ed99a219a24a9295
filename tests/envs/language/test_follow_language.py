"""Follow and Predict with people that are language models: readings, rewards, records, and the shipped people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs.language import people, readings
from valuegym.envs.language.follow_language import FollowLanguage
from valuegym.envs.language.item_bank import MOST, NAMES, balanced, generate
from valuegym.envs.language.people import People
from valuegym.envs.language.statements import shares

FOLLOW, PREDICT = "valuegym/FollowLanguage-v0", "valuegym/PredictLanguage-v0"
BANK = balanced(generate(4))
THERE = np.arange(MOST) < BANK.counts[:, None]
VALUES = np.random.default_rng(0).normal(size=(3, len(NAMES)))


def made() -> People:
    """People of numbers: two histories of three centuries."""
    values = np.random.default_rng(1).normal(size=(2, 3, len(NAMES)))
    given = readings.choice_shares(BANK.loadings, THERE, values)
    return People(BANK, np.arange(len(BANK)) % 2 == 0, given, values)


# ---------------------------------------------------------------- readings


def test_shares_are_softmax_of_loadings_times_values() -> None:
    found = readings.choice_shares(BANK.loadings, THERE, VALUES)
    for i, count in enumerate(BANK.counts):
        weights = np.exp(VALUES[1] @ BANK.loadings[i, :count].T)
        assert np.allclose(found[1, i, :count], weights / weights.sum(), atol=1e-12)
        assert (found[1, i, count:] == 0).all()
    assert np.allclose(shares(BANK, VALUES[1]), found[1], atol=1e-15)


def test_the_reading_is_where_the_posterior_is_flat() -> None:
    counts = np.random.default_rng(2).multinomial(9, shares(BANK, VALUES[0])).astype(float)
    counts[::3] = 0  # not asked
    found = readings.most_likely(BANK.loadings, THERE, counts[None])[0]

    def posterior(values: Any) -> float:
        logs = np.log(np.where(THERE, shares(BANK, values), 1))
        return float((counts * logs).sum() - values @ values / 2)

    slope = [(posterior(found + step) - posterior(found - step)) / 2e-4 for step in 1e-4 * np.eye(len(NAMES))]
    assert np.abs(slope).max() < 1e-5
    assert (readings.most_likely(BANK.loadings, THERE, 0 * counts[None]) == 0).all()


def test_readings_find_values_from_many_answers() -> None:
    counts = 1e6 * readings.choice_shares(BANK.loadings, THERE, VALUES)
    seen = BANK.loadings.any((0, 1))
    found = readings.most_likely(BANK.loadings, THERE, counts) - VALUES
    found[:, -4:] -= found[:, -4:].mean(1, keepdims=True)  # only differences of world views show in choices
    assert np.abs(found[:, seen]).max() < 1e-3


def test_vectors_are_linear_in_values_and_zero_for_even_answers() -> None:
    small = 0.1 * VALUES[:, :10] @ np.eye(10, len(NAMES))
    x, y = (readings.value_log_odds(BANK.loadings, THERE, readings.choice_shares(BANK.loadings, THERE, v))
            for v in (small, -2 * small))  # fmt: skip
    assert np.allclose(x[:, :10], 2 * small[:, :10], atol=1e-12) and np.allclose(y, -2 * x, atol=1e-12)
    even = readings.normalised(np.zeros((1, len(BANK), MOST)), THERE)
    assert np.allclose(even.sum(-1), 1) and np.allclose(readings.value_log_odds(BANK.loadings, THERE, even), 0)


# ---------------------------------------------------------------- the environments


def play(id: str, policy: Any, **kwargs: Any) -> tuple[float, Any]:
    env = gym.make(id, **kwargs)
    env.reset(seed=3)
    bare: Any = env.unwrapped
    total, over = 0.0, False
    while not over:
        _, reward, over, _, _ = env.step(policy(bare.core, bare.task, bare.state))
        total += float(reward)
    return total, bare


@pytest.mark.parametrize("id", [FOLLOW, PREDICT])
def test_the_oracle_is_right_and_persistence_is_the_naive_reference(id: str) -> None:
    best, bare = play(id, lambda core, task, state: core.oracle_action(task, state)[0])
    naive, _ = play(id, lambda core, task, state: core.persistence(task, state)[0])
    references = bare.core.references(bare.task)
    assert -1e-12 < best <= 0 and naive < -0.01
    assert (naive, best) == pytest.approx((references[0][0], references[1][0]), abs=1e-12)


def test_rewards_are_squared_errors_of_probabilities() -> None:
    env = gym.make(PREDICT)
    env.reset(seed=0, options={"history": 2})
    core: Any = env.unwrapped.core  # type: ignore[attr-defined]
    action = np.random.default_rng(0).uniform(-1, 1, env.action_space.shape).astype(np.float32)  # type: ignore[arg-type]
    people_then = core.people.answers[2, 1][~core.people.training]
    expected = 0.0
    for j, count in enumerate(core.bank_evaluated.counts):
        given = (1 + action.reshape(-1, MOST)[j, :count].astype(float)) / 2
        expected += ((given / given.sum() - people_then[j, :count]) ** 2).sum()
    assert env.step(action)[1] == pytest.approx(-expected / len(core.bank_evaluated), abs=1e-12)


def test_answers_are_draws_from_the_peoples_probabilities() -> None:
    core = FollowLanguage(budget=96, respondents=50)
    task, state = core.initial(np.arange(200, dtype=np.uint64), history=np.zeros(200, np.int64))
    mean, true = state.counts.mean(0) / 50, core.people.answers[0, 0][core.people.training]
    error = np.sqrt(np.maximum(true * (1 - true), 1e-6) / 50 / 200)
    assert (np.abs(mean - true) < 5 * error + 1e-9).all()
    assert (state.counts.sum(-1) == 50).all() and task.panel.all()


def test_the_same_items_are_asked_throughout() -> None:
    core = FollowLanguage(budget=7)
    task, state = core.initial(np.arange(5, dtype=np.uint64))
    after = core.transition(task, state, np.zeros((5, core.action_space.shape[0])), task.key, state.t)
    assert (task.panel.sum(1) == 7).all() and len(np.unique(task.panel, axis=0)) == 5
    assert ((state.counts.sum(-1) > 0) == task.panel).all() and ((after.counts.sum(-1) > 0) == task.panel).all()
    assert (state.counts != after.counts).any()


def test_vectors_of_an_agent_that_knows_everything() -> None:
    core = FollowLanguage()
    task, state = core.initial(np.arange(3, dtype=np.uint64))
    states, actions = [state], []
    for t in range(core.steps):
        actions.append(core.oracle_action(task, state))
        state = core.transition(task, state, actions[-1], task.key, np.full(3, t))
        states.append(state)
    found = core.episode_metrics(task, states, actions)
    for name in ("cosine", "shift_cosine", "norm_ratio", "shift_norm_ratio", "skill"):
        assert np.allclose(found[name], 1, atol=1e-3), name
    assert (found["error"] < 1e-3).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"people": "nobody"}, "people is 'nobody'; expected 'tiny-llama' or a file that ends in .json"),
        ({"people": 3}, "people is 3"),
        ({"horizon": 10}, "horizon is 10"),
        ({"steps": 10, "horizon": 1}, "steps is 10; expected an integer from 1 to 9"),
        ({"budget": 0}, "budget is 0"),
        ({"respondents": 0}, "respondents is 0"),
    ],
)
def test_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FollowLanguage(**arguments)


@pytest.mark.parametrize("history", [6, -1, 0.5])
def test_histories_are_refused(history: Any) -> None:
    with pytest.raises(ValueError, match="history"):
        gym.make(FOLLOW).reset(seed=0, options={"history": history})


# ---------------------------------------------------------------- recorded people


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path, mine = tmp_path / "people.json", made()
    path.write_text(people.dump(mine))
    found = people.load(str(path))
    assert np.abs(found.answers - mine.answers).max() < 2e-4 and (found.training == mine.training).all()
    assert found.bank.contexts == BANK.contexts and np.allclose(found.bank.loadings, BANK.loadings)
    core = FollowLanguage(people=str(path), steps=2, horizon=1, budget=5)
    assert core.histories == 2 and core.hashes == (found.sha256,) and core.people.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("training"), "does not hold recorded people"),
        (lambda content: content["items"][0].pop("options"), "does not hold recorded people"),
        (lambda content: content["answers"][0][0].pop(), "answers"),
        (lambda content: content["answers"][0][0].__setitem__(0, 10**6), "answers"),
        (lambda content: content["values"][0][0].__setitem__(0, float("nan")), "values"),
        (lambda content: content["training"].__setitem__(slice(None), [True] * len(content["training"])), "training"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    content = json.loads(people.dump(made()))
    change(content)
    path = tmp_path / "people.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        people.load(str(path))


def test_answers_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="no probabilities"):
        replace(made(), answers=made().answers / 2)
    with pytest.raises(FileNotFoundError):
        people.load("nowhere.json")


def test_the_shipped_people_answer_as_their_populations_do() -> None:
    """Pooled r, the least r of a century, and of the changes since the first century r and slope."""
    shipped = people.load("tiny-llama")
    bank, there = shipped.bank, np.arange(MOST) < shipped.bank.counts[:, None]
    found = readings.value_log_odds(bank.loadings, there, shipped.answers)
    expected = readings.value_log_odds(
        bank.loadings, there, readings.choice_shares(bank.loadings, there, shipped.values)
    )
    assert found.shape[:2] == (6, 10) and people.SHIPPED.stat().st_size < 300_000
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] >= 0.97
    assert (
        min(np.corrcoef(x, y)[0, 1] for x, y in zip(found.reshape(60, -1), expected.reshape(60, -1), strict=True))
        >= 0.95
    )
    x, y = ((each[:, 1:] - each[:, :1]).ravel() for each in (found, expected))
    assert np.corrcoef(x, y)[0, 1] >= 0.9 and 0.8 <= np.polyfit(y, x, 1)[0] <= 1.2


def test_the_shipped_people_are_known_by_their_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "people.json"
    other.write_text(people.SHIPPED.read_text().replace("[", "[ ", 1))
    monkeypatch.setattr(people, "SHIPPED", other)
    people._shipped.cache_clear()
    with pytest.raises(ValueError, match="SHA-256 differs"):
        people.load("tiny-llama")
    people._shipped.cache_clear()
