"""Coevolve with people that are language models: the surrogate, the counterfactual, rewards, plans, and its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import make
from valuegym.envs import rollouts
from valuegym.envs.language import people, readings, surrogate
from valuegym.envs.language.coevolve_language import CoevolveLanguage
from valuegym.envs.language.item_bank import MOST
from valuegym.envs.language.surrogate import Features, Surrogate

ID = "valuegym/CoevolveLanguage-v0"
PEOPLE, SHIPPED = people.load("tiny-llama"), surrogate.load("tiny-llama")
FEATURES, HEARD_OF = Features(PEOPLE), ~PEOPLE.training
THERE = (np.arange(MOST) < PEOPLE.bank.counts[:, None])[HEARD_OF]
RNG = np.random.default_rng(0)
BEFORE = PEOPLE.answers[[0, 3, 5], [1, 4, 9]]
HEARD = readings.normalised(RNG.uniform(size=(3, *THERE.shape)), THERE)


def answers(share: Any, before: Any = BEFORE, heard: Any = HEARD, **changes: Any) -> Any:
    shares = np.broadcast_to(np.asarray(share, float), len(before)).copy()
    return replace(SHIPPED, **changes).answers(FEATURES, before, heard, shares)


def played(core: Any, say: Callable[[Any, Any], Any], histories: Any = (0, 3)) -> tuple[Any, Any]:
    task, _ = core.initial(np.arange(len(histories), dtype=np.uint64), history=np.array(histories))
    return task, rollouts.play(core, task, say)


# ---------------------------------------------------------------- the surrogate


def test_people_who_read_nothing_stay_as_they_are_to_the_bit() -> None:
    assert np.array_equal(answers(0.0), BEFORE)


def test_people_who_read_their_own_answers_stay_as_they_are() -> None:
    assert np.allclose(answers(0.6, heard=BEFORE[:, HEARD_OF]), BEFORE, atol=1e-12)


def test_answers_are_probabilities_of_the_options_that_are_there() -> None:
    found = answers(0.6, heard=(HEARD == HEARD.max(-1, keepdims=True)).astype(float))
    assert np.allclose(found.sum(-1), 1) and (found >= 0).all() and (found[:, ~FEATURES.there] == 0).all()


def test_people_move_towards_what_they_read_and_more_by_a_larger_share() -> None:
    distances = [((answers(share)[:, HEARD_OF] - HEARD) ** 2).sum((1, 2)) for share in (0.0, 0.1, 0.3, 0.6)]
    assert (np.diff(distances, axis=0) < 0).all()


def test_the_response_is_the_equation_by_a_second_derivation() -> None:
    """Item by item in plain sums, as the docstring of `Surrogate` has it."""
    p, q, share, bank = BEFORE[1], HEARD[1], 0.4, PEOPLE.bank
    asked = np.flatnonzero(HEARD_OF).tolist()
    gaps = {i: q[j] - p[i] for j, i in enumerate(asked)}
    logs = [np.log(np.maximum(p[i, :n], 1e-3)) for i, n in enumerate(bank.counts)]
    logs = [each - each.mean() for each in logs]
    about = [[i for i in asked if bank.loadings[i, :, d].any()] for d in range(len(bank.names))]
    v = [sum(bank.loadings[i, :, d] @ gaps[i] for i in some) / max(len(some), 1) for d, some in enumerate(about)]
    size = sum(float(logs[i] @ logs[i]) for i in asked)
    decided = sum(float(gaps[i][: len(logs[i])] @ logs[i]) for i in asked) / size
    found = answers(share)[1]
    for i, n in enumerate(bank.counts.tolist()):
        shift = bank.loadings[i, :n] @ (SHIPPED.transfer * v) + SHIPPED.sharpness * decided * logs[i]
        shift = shift + SHIPPED.direct * gaps.get(i, np.zeros(MOST))[:n]
        weights = p[i, :n] * np.exp(share / (share + SHIPPED.half) * shift)
        assert np.allclose(found[i, :n], weights / weights.sum(), atol=1e-12)


def test_rows_are_alone_to_the_bit() -> None:
    shares = np.array([0.1, 0.0, 0.4])
    every = answers(shares)
    for row in range(3):
        one = slice(row, row + 1)
        assert np.array_equal(answers(shares[one], BEFORE[one], HEARD[one])[0], every[row])


def test_items_and_options_in_another_order_change_nothing() -> None:
    order, bank = RNG.permutation(len(PEOPLE.bank)), PEOPLE.bank
    moved = people.People(bank[order], PEOPLE.training[order], PEOPLE.answers[:, :, order], PEOPLE.values)
    heard = np.zeros_like(BEFORE)
    heard[:, HEARD_OF] = HEARD
    heard = heard[:, order][:, ~moved.training]
    found = SHIPPED.answers(Features(moved), BEFORE[:, order], heard, np.full(3, 0.3))
    assert np.allclose(found, answers(0.3)[:, order], atol=1e-12)
    two = bank.counts == 2
    turned, options = (
        bank.loadings.copy(),
        [o[::-1] if n == 2 else o for o, n in zip(bank.options, two + 1, strict=True)],
    )
    turned[two, :2] = turned[two, 1::-1]

    def turn(x: Any, which: Any) -> Any:
        y = x.copy()
        y[..., which, :2] = y[..., which, :2][..., ::-1]
        return y

    swapped = people.People(
        replace(bank, loadings=turned, options=tuple(options)),
        PEOPLE.training,
        turn(PEOPLE.answers, two),
        PEOPLE.values,
    )
    found = SHIPPED.answers(Features(swapped), turn(BEFORE, two), turn(HEARD, two[HEARD_OF]), np.full(3, 0.3))
    assert np.allclose(found, turn(answers(0.3), two), atol=1e-12)


def test_only_gaps_in_items_heard_move_items_that_are_not() -> None:
    """Without the transfer between items and the sharpness, what is asked stays."""
    found = answers(0.5, transfer=np.zeros(len(PEOPLE.bank.names)), sharpness=0.0)
    assert np.allclose(found[:, ~HEARD_OF], BEFORE[:, ~HEARD_OF], atol=1e-15)
    assert np.abs(found - BEFORE)[:, HEARD_OF].max() > 0.01


# ---------------------------------------------------------------- the environment


def test_in_silence_people_are_the_recorded_ones() -> None:
    core = CoevolveLanguage()
    task, found = played(core, core.persistence)
    for t, state in enumerate(found.states):
        assert np.array_equal(state.people, PEOPLE.answers[task.history, t])
    metrics = core.episode_metrics(task, found.states, found.actions)
    assert (metrics["influence"] == 0).all() and (metrics["service"] == 0).all() and (metrics["speaking"] == 0).all()


def test_without_influence_speech_changes_nobody_and_earns_service() -> None:
    core = CoevolveLanguage(influence=0.0)
    task, found = played(core, lambda task, state: core.as_action(core.natural(task, state)))
    assert all(np.array_equal(s.people, PEOPLE.answers[task.history, t]) for t, s in enumerate(found.states))
    assert np.allclose(found.returns, core.steps, atol=1e-3)  # a service of 1 at each step, and no error


def test_what_was_said_is_remembered_and_fades() -> None:
    core = CoevolveLanguage(retention=0.5, influence=0.4)
    task, state = core.initial(np.arange(2, dtype=np.uint64), history=np.array([1, 4]))
    once = core.as_action(HEARD[:2])
    weights, influence = [], []
    for t in range(5):
        action = once if t == 0 else core.persistence(task, state)
        state = core.transition(task, state, action, task.key, np.full(2, t))
        weights.append(state.weight[0])
        influence.append(core.squared_error(core.truth(task, state), core.natural(task, state)).mean())
    assert weights == [1.0, 0.5, 0.25, 0.125, 0.0625] and influence[0] > influence[2] > influence[4] > 0
    said = core.stated(once)
    assert np.allclose(state.heard, 0.0625 * said, atol=1e-15)


def test_rewards_are_service_less_error_and_the_price_of_influence() -> None:
    env = gym.make(ID, influence=0.5, retention=0.0, bound=0.2, price=3.0, steps=4)
    env.reset(seed=0, options={"history": 2})
    bare: Any = env.unwrapped
    action = np.append(RNG.uniform(-1, 1, THERE.size), 0.3).astype(np.float32)
    stated = readings.normalised((1 + action[:-1].astype(float).reshape(-1, MOST)) / 2, THERE)
    now, after = PEOPLE.answers[2, 0], PEOPLE.answers[2, 1]
    moved = answers(0.5, after[None], stated[None])[0]

    def error(a: Any, b: Any) -> float:
        return float(((a - b) ** 2).sum() / len(THERE))

    first = error(stated, now[HEARD_OF])
    expected = max(0, 1 - first / 0.2) - first / 0.2 - 3 * error(moved[HEARD_OF], after[HEARD_OF]) / 0.2
    assert env.step(action)[1] == pytest.approx(expected, abs=1e-9)
    assert np.allclose(bare.state.people[0], moved, atol=1e-12)


def test_observations_show_nothing_that_is_hidden() -> None:
    """People, what they have heard and its weight, and the history can be others: the observation stays."""
    core = CoevolveLanguage()
    task, state = core.initial(np.arange(3, dtype=np.uint64), history=np.array([0, 1, 2]))
    other = state._replace(people=state.people[::-1], heard=state.heard + 0.1, weight=state.weight + 1)
    seen, again = core.observation(task, state), core.observation(task._replace(history=task.history[::-1]), other)
    assert set(seen) == {"answers", "last_message", "time"}
    assert all(np.array_equal(seen[name], again[name]) for name in seen)


def test_vector_and_scalar_environments_agree_to_the_bit() -> None:
    actions = RNG.uniform(-1, 1, (9, 3, THERE.size + 1)).astype(np.float32)
    envs, seeds = gym.make_vec(ID, num_envs=3), [5, 6, 7]
    envs.reset(seed=seeds)
    rewards = []
    for action in actions:
        observation, reward, *_ = envs.step(action)
        rewards.append(reward)
    for row, seed in enumerate(seeds):
        env = gym.make(ID)
        env.reset(seed=seed)
        for t in range(9):
            seen, reward, *_ = env.step(actions[t, row])
            assert reward == rewards[t][row]
        assert all(np.array_equal(seen[name], observation[name][row]) for name in seen)


def test_references_are_persistence_in_silence_and_the_best_plan() -> None:
    core = CoevolveLanguage()
    task, best = played(core, core.oracle_action)
    naive, found = core.references(task)
    assert np.array_equal(found, best.returns) and (naive < 0).all()
    assert np.array_equal(naive, rollouts.play(core, task, core.persistence).returns)
    for say in (core.truth, core.natural):  # it is better than to know either and to say it always
        aloud = rollouts.play(core, task, lambda task, state, say=say: core.as_action(say(task, state))).returns
        assert (best.returns > aloud).all()


def test_the_oracle_is_silent_where_influence_is_too_dear() -> None:
    core = CoevolveLanguage(price=1e5)
    _, found = played(core, core.oracle_action)
    assert (np.stack(found.actions)[..., -1] < 0).mean() > 0.8


def test_pictures_say_whether_it_has_spoken() -> None:
    env = gym.make(ID, render_mode="ansi")
    env.reset(seed=0)
    captions = [str(env.render()).splitlines()[0]]
    for loud in (1.0, -1.0):
        env.step(np.append(np.zeros(THERE.size), loud).astype(np.float32))
        captions.append(str(env.render()).splitlines()[0])
    ends = ["", ", after speech", ", after silence"]
    assert captions == [f"step {t} of 9: what people value{end}" for t, end in enumerate(ends)]


def test_trackers_speak_at_their_rate() -> None:
    env = gym.make(ID)
    core: Any = env.unwrapped.core  # type: ignore[attr-defined]
    observation, _ = env.reset(seed=0)
    spoken = {name: make(name, env).predict(observation)[0] for name in ("persistence", "silent", "theta")}
    half = make("persistence", env, speaking_rate=0.5).predict(observation)[0]
    assert spoken["persistence"][-1] == 1 and spoken["silent"][-1] == -1 and half[-1] == -1
    assert np.array_equal(half[:-1], spoken["persistence"][:-1]) and core.action_space.contains(spoken["theta"])


def test_one_who_never_learns_locks_people_in() -> None:
    env = gym.make(ID)
    core: Any = env.unwrapped.core  # type: ignore[attr-defined]
    found = {}
    for name in ("frozen", "persistence"):
        agent, memory = make(name, env), [None]

        def say(task: Any, state: Any, agent: Any = agent, memory: Any = memory) -> Any:
            action, memory[0] = agent.predict(core.observation(task, state), memory[0])
            return action

        task, run = played(core, say, histories=range(6))
        found[name] = core.episode_metrics(task, run.states, run.actions)
    assert (found["frozen"]["lock_in_index"] > found["persistence"]["lock_in_index"]).all()
    assert found["frozen"]["influence"].mean() > found["persistence"]["influence"].mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"surrogate": "nobody"}, "surrogate is 'nobody'; expected 'tiny-llama' or a file that ends in .json"),
        ({"surrogate": 3}, "surrogate is 3"),
        ({"steps": 10}, "steps is 10; expected an integer from 1 to 9"),
        ({"influence": 0.7}, "influence is 0.7; expected"),
        ({"retention": 1.0}, "retention is 1.0"),
        ({"bound": 0.0}, "bound is 0.0"),
        ({"price": -1.0}, "price is -1.0"),
    ],
)
def test_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoevolveLanguage(**arguments)


# ---------------------------------------------------------------- its file


def test_a_surrogate_of_ones_own(tmp_path: Path) -> None:
    path, mine = tmp_path / "mine.json", replace(SHIPPED, direct=0.5, largest=0.2)
    path.write_text(surrogate.dump(mine))
    found = surrogate.load(str(path))
    assert found.sha256 not in ("", SHIPPED.sha256) and np.array_equal(found.transfer, mine.transfer)
    core = CoevolveLanguage(surrogate=str(path), influence=0.2)
    assert core.hashes == (PEOPLE.sha256, found.sha256)
    with pytest.raises(ValueError, match=r"influence is 0\.3; expected a finite number from 0\.0 to 0\.2"):
        CoevolveLanguage(surrogate=str(path))
    path.write_text(surrogate.dump(Surrogate(("a", "b"), 0.3, 0.5, np.ones(2), 0.1, 0.5)))
    with pytest.raises(ValueError, match="is about other values than people 'tiny-llama'"):
        CoevolveLanguage(surrogate=str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("direct"), "does not hold a surrogate"),
        (lambda content: content.pop("names"), "does not hold a surrogate"),
        (lambda content: content["transfer"].pop(), "transfer"),
        (lambda content: content.update(half=0.0), "half is 0.0"),
        (lambda content: content.update(sharpness=float("nan")), "sharpness is nan"),
        (lambda content: content.update(largest=2.0), "largest is 2.0"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    content, path = json.loads(surrogate.dump(SHIPPED)), tmp_path / "broken.json"
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        surrogate.load(str(path))


def test_the_shipped_surrogate_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "surrogate.json"
    path.write_text(surrogate.SHIPPED.read_text() + " ")
    monkeypatch.setattr(surrogate, "SHIPPED", path)
    with pytest.raises(ValueError, match="is not the file that was shipped"):
        surrogate.load("tiny-llama")
