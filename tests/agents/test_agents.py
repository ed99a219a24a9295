"""Agents: made by name, imported when used, one protocol for one environment and for many."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import AGENTS, Agent, make, references
from valuegym.agents.base import batch_size
from valuegym.agents.preference import constant
from valuegym.envs import keys
from valuegym.envs.functional import load
from valuegym.envs.preference.reward_inference import RewardInference

DELIVERY, WEIGHTS, POLICY = "valuegym/Delivery-v0", "valuegym/RewardInference-v0", "valuegym/RewardInferencePolicy-v0"
SMALL: dict[str, Any] = {"split": "dev", "evaluation_points": (0, 3)}
PLAYS = [
    ("uniform", DELIVERY, {}),
    ("uniform", DELIVERY, {"observation": "onehot"}),
    ("uniform", WEIGHTS, SMALL),
    ("uniform", POLICY, SMALL),
    ("oracle", DELIVERY, {}),
    ("oracle", WEIGHTS, SMALL),
    ("oracle", POLICY, SMALL),
    ("constant", WEIGHTS, SMALL),
    ("partial_return", WEIGHTS, SMALL),
    ("regret", WEIGHTS, SMALL),
    ("bayes_partial_return", WEIGHTS, SMALL),
    ("bayes_regret", WEIGHTS, SMALL),
    ("regret_library", WEIGHTS, SMALL),
    ("optimal_advantage", POLICY, SMALL),
    ("cpl", POLICY, SMALL),
]
HAVE_SB3 = importlib.util.find_spec("stable_baselines3") is not None


@pytest.fixture(autouse=True)
def quick_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The constant agent looks at two training tasks instead of all of them."""
    monkeypatch.setattr(constant, "TASKS", 2)
    constant._search.cache_clear()
    yield
    constant._search.cache_clear()


def play(agent: Any, envs: Any, steps: int, seed: int = 3, **options: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Actions, rewards and ends of a few steps of a vector environment."""
    if hasattr(agent, "attach"):
        agent.attach(envs)
    observation, _ = envs.reset(seed=seed, options=options or None)
    start, memory = np.ones(envs.num_envs, np.bool_), None
    actions, rewards, ends = [], [], []
    for _ in range(steps):
        action, memory = agent.predict(observation, state=memory, episode_start=start, deterministic=True)
        observation, reward, terminated, truncated, _ = envs.step(action)
        start = terminated | truncated
        actions.append(action)
        rewards.append(reward)
        ends.append(start)
    return actions, rewards, ends


# --- the table ---


@pytest.mark.parametrize("name", AGENTS)
def test_every_row_names_something_that_makes_agents(name: str) -> None:
    if AGENTS[name].extra and not HAVE_SB3:
        pytest.skip(f"needs valuegym[{AGENTS[name].extra}]")
    assert callable(load(AGENTS[name].entry))
    assert AGENTS[name].about


def test_importing_the_table_imports_no_agent() -> None:
    code = (
        "import sys, valuegym.agents\n"
        "print([name for name in ('torch', 'stable_baselines3', 'scipy', 'valuegym.agents.preference.regret') "
        "if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_unknown_agent_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no agent 'regrets'; expected a name of .* Did you mean regret"):
        make("regrets", gym.make(DELIVERY))


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(entry: str) -> Any:
        raise ImportError("No module named 'stable_baselines3'")

    monkeypatch.setattr(references, "load", missing)
    with pytest.raises(ImportError, match=r"'ppo' needs an extra: pip install .*stable_baselines3"):
        make("ppo", gym.make(DELIVERY))
    with pytest.raises(ImportError, match=r"^No module named"):  # no extra would help
        make("uniform", gym.make(DELIVERY))


@pytest.mark.parametrize("name", ["constant", "partial_return", "regret"])
@pytest.mark.parametrize("env_id", [DELIVERY, POLICY])
def test_agents_that_answer_weights_say_where_they_play(name: str, env_id: str) -> None:
    with pytest.raises(ValueError, match=r"plays in valuegym/RewardInference-v0 only"):
        make(name, gym.make(env_id))


# --- the protocol ---


def test_batch_size_tells_one_observation_from_many() -> None:
    discrete, box = gym.spaces.Discrete(5), gym.spaces.Box(0, 1, (3,), np.float32)
    both = gym.spaces.Dict(a=discrete, b=box)
    assert batch_size(np.int64(3), discrete) is None
    assert batch_size(np.zeros(4, np.int64), discrete) == 4
    assert batch_size(np.zeros(3), box) is None
    assert batch_size(np.zeros((3, 3)), box) == 3
    assert batch_size({"a": np.int64(1), "b": np.zeros(3)}, both) is None
    assert batch_size({"b": np.zeros((1, 3)), "a": np.zeros(1, np.int64)}, both) == 1


@pytest.mark.parametrize(("name", "env_id", "kwargs"), PLAYS)
def test_one_environment_is_played_to_its_end(name: str, env_id: str, kwargs: dict[str, Any]) -> None:
    env = gym.make(env_id, **kwargs)
    agent: Agent = make(name, env, seed=1)
    assert agent.learn(0) is agent
    observation, _ = env.reset(seed=5)
    memory, start, over, steps = None, np.array([True]), False, 0
    while not over:
        action, memory = agent.predict(observation, state=memory, episode_start=start, deterministic=True)
        assert env.action_space.contains(action), action
        observation, _, terminated, truncated, _ = env.step(action)
        over, start, steps = terminated or truncated, np.array([False]), steps + 1
    assert steps <= 200


@pytest.mark.parametrize(("name", "env_id", "kwargs"), PLAYS)
def test_many_environments_are_played_at_once(name: str, env_id: str, kwargs: dict[str, Any]) -> None:
    envs = gym.make_vec(env_id, num_envs=3, **kwargs)
    actions, _, _ = play(make(name, gym.make(env_id, **kwargs), seed=1), envs, 7)
    for action in actions:
        assert len(action) == 3
        assert all(envs.single_action_space.contains(row) for row in action)


@pytest.mark.parametrize(("name", "env_id", "kwargs"), PLAYS)
def test_the_same_seed_gives_the_same_answers(name: str, env_id: str, kwargs: dict[str, Any]) -> None:
    runs = [
        play(make(name, gym.make(env_id, **kwargs), seed=1), gym.make_vec(env_id, num_envs=3, **kwargs), 7)[0]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*runs)


# --- uniform ---


@pytest.mark.parametrize(("env_id", "kwargs"), [(DELIVERY, {}), (WEIGHTS, SMALL)])
def test_uniform_differs_between_seeds_and_leaves_global_randomness_alone(env_id: str, kwargs: dict[str, Any]) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - to see that nobody uses it
    envs = gym.make_vec(env_id, num_envs=3, **kwargs)
    first, second = (play(make("uniform", gym.make(env_id, **kwargs), seed=seed), envs, 7)[0] for seed in (1, 2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_uniform_actions_are_uniform() -> None:
    n = 20_000
    agent = make("uniform", gym.make(DELIVERY), seed=0)
    counts = np.bincount(agent.predict(np.zeros(n, np.int64))[0], minlength=4)
    assert counts.sum() == n and np.abs(counts / n - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / n)
    env = gym.make(WEIGHTS, **SMALL)
    observation = {
        name: np.repeat(value[None], n, 0) for name, value in env.reset(seed=0)[0].items() if name == "board"
    }
    draws = make("uniform", env, seed=0).predict(observation)[0]
    assert draws.dtype == np.float32
    assert np.abs(draws.mean(0)).max() < 5 / np.sqrt(3 * n)
    assert np.abs((draws**2).mean(0) - 1 / 3).max() < 5 * np.sqrt(4 / 45 / n)


# --- oracle ---


def test_the_oracle_earns_the_optimal_return_from_every_start() -> None:
    core = gym.make(DELIVERY).unwrapped.core  # type: ignore[attr-defined]
    cells = np.flatnonzero(core.mdp.start[0])
    envs = gym.make_vec(DELIVERY, num_envs=len(cells))
    _, rewards, ends = play(make("oracle", gym.make(DELIVERY)), envs, 60, cell=cells)
    alive = np.cumprod(~np.vstack([np.zeros((1, len(cells)), np.bool_), ends[:-1]]), 0)
    assert np.any(ends, axis=0).all()
    J = (core.discount ** np.arange(60)[:, None] * np.array(rewards) * alive).sum(0).mean()
    naive, best = core.references(None)
    assert (J - naive) / (best - naive) == pytest.approx(1, abs=1e-9)
    assert best == pytest.approx(41.2079, abs=1e-4) and naive == pytest.approx(-71.2574, abs=1e-4)


@pytest.mark.parametrize("env_id", [WEIGHTS, POLICY])
@pytest.mark.parametrize("board", ["random", "published"])
def test_the_oracle_scores_one_in_both_forms(env_id: str, board: str) -> None:
    kwargs = {"split": "dev", "evaluation_points": (0, 2), "board": board}
    _, rewards, ends = play(
        make("oracle", gym.make(env_id, **kwargs)), gym.make_vec(env_id, num_envs=8, **kwargs), 3, seed=11
    )
    assert ends[-1].all()
    np.testing.assert_allclose(rewards[-1], 1, atol=1e-4)


def test_the_oracle_plays_where_it_is_attached() -> None:
    here, there = gym.make(WEIGHTS, **SMALL), gym.make(WEIGHTS, **SMALL)
    here.reset(seed=0)
    observation, _ = there.reset(seed=1)
    oracle = make("oracle", here)
    before = oracle.predict(observation)[0]
    oracle.attach(there)  # type: ignore[attr-defined]
    after = oracle.predict(observation)[0]
    assert not np.array_equal(before, after)
    weights = there.unwrapped.task.weights[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(after, weights / np.abs(weights).max(), rtol=1e-6)


# --- constant ---


def test_the_constant_candidates_are_the_sparse_sign_vectors() -> None:
    options = constant.candidates(6)
    assert options.shape == (73, 6)
    assert len(np.unique(options, axis=0)) == 73
    assert set(np.unique(options)) == {-1, 0, 1} and (np.count_nonzero(options, axis=1) <= 2).all()


@pytest.mark.parametrize("board", ["random", "published"])
def test_the_constant_answer_is_the_best_on_training_tasks(board: str) -> None:
    env = gym.make(WEIGHTS, board=board, **SMALL)
    answer, _ = make("constant", env, seed=0).predict(env.reset(seed=0)[0])
    again, _ = make("constant", env, seed=9).predict(env.reset(seed=1)[0])
    np.testing.assert_array_equal(answer, again)
    core = RewardInference(board=board, split="train", evaluation_points=(1,))
    task, _ = core.initial(keys.mix(0, np.arange(2)))

    def mean(weights: Any) -> float:
        return float(core.score(task, np.tile(weights, (2, 1))).mean())

    rivals = np.random.default_rng(0).choice(constant.candidates(6), 8, replace=False)
    assert any((answer == option).all() for option in constant.candidates(6))
    assert mean(answer) >= max(mean(option) for option in (np.zeros(6), *np.eye(6), *rivals)) - 1e-12
    assert mean(answer) >= 0  # no answer at all is worth that


@pytest.mark.parametrize("agent", ["regret", "constant"])
def test_agents_that_watch_do_not_play_where_one_asks(agent: str) -> None:
    with pytest.raises(ValueError, match=r"plays in valuegym/RewardInference-v0 only"):
        make(agent, gym.make("valuegym/RewardInferenceActive-v0"))
