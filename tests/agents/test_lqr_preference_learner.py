"""The learner of a regulator's cost from preferences: what each part of it is good for, on exact scores."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from valuegym.agents import make
from valuegym.agents.control import lqr_preferences as preferences
from valuegym.agents.control.lqr_preference_learner import LQRPreferenceLearner, plan
from valuegym.agents.control.lqr_preferences import Pairs, Segments
from valuegym.envs import keys
from valuegym.envs.control.lqr_from_preferences import MAX_GAIN, LQRFromPreferences, Query, State, Task, read

ID = "valuegym/LQRFromPreferences-v0"
NAMES = ("lqr_regret", "lqr_partial_return", "lqr_regret_mse", "lqr_regret_diagonal", "lqr_regret_full")
SMALL: dict[str, Any] = {"evaluation_points": (0, 4), "transitions": 60, "length": 3}


def answered(core: LQRFromPreferences, n: int, number: int, seed: int = 1) -> tuple[Task, list[Query], list[Pairs]]:
    """Tasks, what is shown of them, and their first answered pairs."""
    task, state = core.initial(keys.mix(seed, np.arange(n)))
    seen = [core.observation(task, State(np.full(n, j), state.scores)) for j in range(1, number + 1)]
    queries = [[read({name: x[row] for name, x in each.items()}) for each in seen] for row in range(n)]
    pairs = [
        Pairs(
            Segments(np.stack([q.pair_states[:, :-1] for q in row]), np.stack([q.pair_actions for q in row])),
            np.array([float(q.answer == 1) for q in row]),
        )
        for row in queries
    ]
    return task, [row[-1] for row in queries], pairs


def scores(core: LQRFromPreferences, given: Any, statistic: str, loss: str, rank: int) -> Any:
    task, queries, pairs = given
    gains = np.concatenate([plan(q, p, statistic, loss, rank, 4) for q, p in zip(queries, pairs, strict=True)])
    return core.score(task, np.clip(gains / MAX_GAIN, -1, 1).astype(np.float32))


@pytest.mark.parametrize("rotated", [False, True])
def test_regret_with_a_small_model_by_value_gradients_is_nearly_optimal(rotated: bool) -> None:
    core = LQRFromPreferences(rotated=rotated)
    given = answered(core, 6, 150)
    found = {
        (statistic, loss, rank): scores(core, given, statistic, loss, rank)
        for statistic, loss, rank in (
            ("regret", "vagram_matrix", 2),
            ("partial_return", "vagram_matrix", 2),
            ("regret", "mse", 2),
            ("regret", "mse", 6),
        )
    }
    own = found["regret", "vagram_matrix", 2]
    assert np.median(own) > 0.99 and own.min() > 0.95
    assert np.median(own) > max(np.median(each) for name, each in found.items() if name[2] == 2 and name[1] == "mse")
    assert np.median(own) > np.median(found["partial_return", "vagram_matrix", 2])


def test_thirty_answers_do_in_most_tasks() -> None:
    """Also where the reward by partial return, with which rounds begin, would make a model of distractors."""
    core = LQRFromPreferences()
    given = answered(core, 8, 30)
    own, partial = (scores(core, given, statistic, "vagram_matrix", 2) for statistic in ("regret", "partial_return"))
    assert np.sort(own)[1] > 0.95 and np.sort(partial)[1] < 0.6


def test_a_small_model_leaves_distractors_out_of_the_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their largest weight over the mass's largest one, with the model that holds everything and the last small one."""
    core = LQRFromPreferences()
    task, queries, pairs = answered(core, 6, 100)
    found: list[Any] = []
    learn = preferences.learn

    def watched(*args: Any, **kwargs: Any) -> Any:
        found.append((np.linalg.matrix_rank(args[2].A, tol=1e-8), learn(*args, **kwargs) * args[4]))
        return found[-1][1] / args[4]

    monkeypatch.setattr(preferences, "learn", watched)
    shares = []
    for row, (query, answers) in enumerate(zip(queries, pairs, strict=True)):
        found.clear()
        plan(query, answers, "regret", "vagram_matrix", 2, 4)
        Q = task.rotation[row] @ task.Q[row] @ task.rotation[row].T
        mass = np.einsum("ijk,jk->i", query.features, Q) > 1e-4
        last = [[w for rank, w in found if (rank > 2) == large][-1][:6] for large in (True, False)]
        shares.append([w[~mass].max() / w[mass].max() for w in last])
    full, small = np.array(shares).T
    assert np.median(full) > 0.3 and small.max() < 0.05


def test_partial_return_is_right_where_people_compare_it() -> None:
    core = LQRFromPreferences("partial-return")
    given = answered(core, 5, 150)
    right, wrong = (scores(core, given, statistic, "vagram_matrix", 2) for statistic in ("partial_return", "regret"))
    assert np.median(right) > 0.98 and np.median(right) > np.median(wrong) + 0.05


def test_axes_do_not_matter_to_the_matrix() -> None:
    """The same regulators seen aligned and turned: everything but the diagonal form is invariant."""
    given = [answered(LQRFromPreferences(rotated=rotated), 2, 150) for rotated in (False, True)]
    found = [scores(LQRFromPreferences(), each, "regret", "vagram_matrix", 2) for each in given]
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)


def test_weights_do_not_depend_on_where_the_descent_begins() -> None:
    core = LQRFromPreferences()
    _, (query,), (pairs,) = answered(core, 1, 100)
    from valuegym.agents.control.lqr_preference_learner import _features, _system

    x = np.concatenate([query.states, query.actions], 1)
    system = _system(np.linalg.lstsq(x, query.next_states, rcond=None)[0].T, query.discount)
    features = _features(query)
    units = preferences.units_of(pairs, features, query.discount)
    best = preferences.learn(pairs, features, system, "regret", units)
    again = preferences.learn(pairs, features, system, "regret", units, start=1.3 * best)
    K, other = (preferences.controller(system, features, w) for w in (best, again))
    np.testing.assert_allclose(K, other, atol=1e-2 * np.abs(K).max())


@pytest.mark.parametrize("name", NAMES)
def test_one_environment_and_many_are_answered_alike(name: str) -> None:
    env = gym.make(ID, **SMALL)
    envs = gym.make_vec(ID, num_envs=2, **SMALL)
    agent, many = make(name, env, seed=1), make(name, env, seed=1)
    assert agent.learn(0) is agent
    (observation, _), (observations, _) = env.reset(seed=5), envs.reset(seed=5)
    memory, memories, start = None, None, np.ones(2, np.bool_)
    for t in range(5):
        action, memory = agent.predict(observation, state=memory, episode_start=start[:1])
        actions, memories = many.predict(observations, state=memories, episode_start=start)
        assert action in env.action_space and actions in envs.action_space
        assert action.tobytes() == actions[0].tobytes()
        assert not np.any(action) or t == 4
        observation, observations, start = env.step(action)[0], envs.step(actions)[0], np.zeros(2, np.bool_)


def test_a_new_episode_starts_without_answers() -> None:
    env = gym.make(ID, **SMALL)
    agent = make("lqr_regret", env)
    observation, _ = env.reset(seed=5)
    memory: Any = None
    for step in range(5):
        action, memory = agent.predict(observation, memory, np.array([step == 0]))
        observation, *_ = env.step(action)
    assert len(memory[0].label) == 4 and action.any()
    observation, _ = env.reset()
    action, memory = agent.predict(observation, memory, np.array([True]))
    assert not memory[0].label and not action.any()


def test_an_older_memory_stays_as_it_was() -> None:
    """A caller may branch: two continuations of one memory know nothing of each other's answers."""
    env = gym.make(ID, **SMALL)
    agent = make("lqr_regret", env)
    observation, _ = env.reset(seed=5)
    action, before = agent.predict(observation)
    observation, *_ = env.step(action)
    ends = [agent.predict(observation, before)[1][0] for _ in range(2)]
    assert [len(end.label) for end in ends] == [1, 1] and not before[0].label


def test_no_force_is_no_force() -> None:
    env, envs = gym.make(ID, **SMALL), gym.make_vec(ID, num_envs=2, **SMALL)
    agent = make("no_force", env)
    assert agent.learn(3) is agent
    assert agent.predict(env.reset(seed=0)[0])[0].tolist() == [0.0] * 6
    assert agent.predict(envs.reset(seed=0)[0])[0].shape == (2, 6)
    with pytest.raises(ValueError, match="'no_force' answers 0"):
        make("no_force", gym.make("valuegym/Delivery-v0"))


def test_errors_name_the_value() -> None:
    with pytest.raises(ValueError, match="plays in valuegym/LQRFromPreferences-v0 only"):
        make("lqr_regret", gym.make("valuegym/LQR-v0"))
    env = gym.make(ID, **SMALL)
    for kwargs, said in (
        ({"statistic": "end"}, "statistic is 'end'"),
        ({"loss": "nll"}, "loss is 'nll'"),
        ({"rank": 0}, "rank is 0"),
    ):
        with pytest.raises(ValueError, match=said):
            LQRPreferenceLearner(env, **kwargs)  # type: ignore[arg-type]
