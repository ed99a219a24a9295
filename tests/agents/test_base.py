"""The one way to the rules of an environment, and what every agent keeps to: batches, single observations, memories."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import AGENTS, make
from valuegym.agents.base import BatchAgent, rules, unstack
from valuegym.agents.preference import constant
from valuegym.envs import ENVS, THIRD_PARTY, keys
from valuegym.envs.functional import FunctionalEnv, load
from valuegym.leaderboards.experiments import EXPERIMENTS, Experiment

# Shorter episodes than those of the tracks, by what agents are asked for there.
ON_TRACKS = [name for name in AGENTS if name != "language"]  # which needs a model: test_language_agent.py
SHORT: dict[str, dict[str, Any]] = {
    "valuegym/RewardInference-v0": {"evaluation_points": (1, 2), "split": "dev"},
    "valuegym/RewardInferencePolicy-v0": {"evaluation_points": (1, 2), "split": "dev"},
    "valuegym/RewardInferenceActive-v0": {"evaluation_points": (1, 2), "split": "dev"},
    "valuegym/LQRFromPreferences-v0": {"evaluation_points": (1,), "transitions": 60, "length": 3},
}
STEPS = 4


@pytest.fixture(autouse=True)
def quick_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The constant agent looks at two training tasks instead of all of them."""
    monkeypatch.setattr(constant, "TASKS", 2)
    constant._search.cache_clear()
    yield
    constant._search.cache_clear()


def track(name: str) -> Experiment:
    """The first track that an agent belongs on and that needs no data of people."""
    return next(what for what in EXPERIMENTS.values() if name in what.agents and not what.data)


def made(name: str) -> tuple[Any, str, dict[str, Any]]:
    """An agent, and the environment that it plays in: its id and arguments."""
    if AGENTS[name].extra and importlib.util.find_spec("stable_baselines3") is None:
        pytest.skip(f"needs valuegym[{AGENTS[name].extra}]")
    if AGENTS[name].extra == "text":
        pytest.skip("language models are slow: tests/agents/language/test_lifelong.py holds them to the same")
    what = track(name)
    kwargs = what.kwargs | SHORT.get(what.env_id, {})
    return make(name, gym.make(what.env_id, **kwargs), seed=1), what.env_id, kwargs


# --- rules ---


@pytest.mark.parametrize("id", ENVS)
def test_rules_are_the_core_built_again(id: str) -> None:
    env: Any = gym.make(id)
    core: Any = rules(env)
    assert type(core) is type(env.unwrapped.core) and core is not env.unwrapped.core
    assert core.observation_space == env.observation_space and core.action_space == env.action_space
    env.reset(seed=3)
    task, state = core.initial(env.unwrapped._key)
    np.testing.assert_equal(task._asdict(), env.unwrapped.task._asdict())  # the same world, from the same key
    np.testing.assert_equal(state._asdict(), env.unwrapped.state._asdict())


def test_rules_hold_the_arguments_and_not_the_adapters() -> None:
    core: Any = rules(gym.make("valuegym/Follow-v0", steps=7, render_mode="ansi"))
    assert core.steps == 7
    core = rules(gym.make_vec("valuegym/Follow-v0", num_envs=2, steps=7))
    assert core.steps == 7
    core = rules(gym.wrappers.TimeLimit(gym.make("valuegym/LockIn-v0", people=9), 5))
    assert core.people == 9


def test_rules_that_cannot_be_given_are_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"^FunctionalEnv has no spec, .*make it with gymnasium\.make\(id, \.\.\.\)\.$"
    ):
        rules(FunctionalEnv(ENVS["valuegym/Delivery-v0"].core))
    for id in ("CartPole-v1", next(iter(THIRD_PARTY))):
        env: Any = gym.Env()
        env.spec = gym.spec(id)
        with pytest.raises(ValueError, match=rf"^{id} is not an environment of valuegym with a core"):
            rules(env)
    env.spec = gym.envs.registration.EnvSpec("valuegym/Nowhere-v0")
    with pytest.raises(ValueError, match=r"^valuegym/Nowhere-v0 is not an environment of valuegym with a core"):
        rules(env)
    monkeypatch.delenv("VALUEGYM_DATA", raising=False)
    annotator = {"annotator": "human:Regret-Question"}
    env.spec = gym.envs.registration.EnvSpec("valuegym/RewardInference-v0", kwargs=annotator)
    with pytest.raises(ValueError, match=r"^The rules of valuegym/RewardInference-v0 .* Human preferences need .*\.$"):
        rules(env)


def test_agents_hold_nothing_of_the_live_environment() -> None:
    for name, agent in AGENTS.items():
        if name in ("oracle", "goal_only") or agent.extra:  # they are given what nobody else is
            continue
        what = track(name)
        env: Any = gym.make(what.env_id, **(what.kwargs | SHORT.get(what.env_id, {})))
        held = vars(make(name, env, seed=1)).values()
        assert not any(value is env or value is env.unwrapped or value is env.unwrapped.core for value in held), name


# --- batches ---


class Counting(BatchAgent):
    """Counts the steps of every environment, in its memory."""

    def act(self, observation: Any, memory: Any, start: Any) -> tuple[Any, Any]:
        count = np.where(start, 0, 0 if memory is None else memory + 1)
        return count, count


def test_batches_starts_and_memories_are_given_to_act() -> None:
    agent = Counting(gym.make("valuegym/Delivery-v0"))
    assert agent.learn(10) is agent
    batch = np.zeros(3, np.int64)
    action, memory = agent.predict(batch, episode_start=np.zeros(3, bool))  # without a memory every episode begins
    assert action.tolist() == [0, 0, 0]
    action, memory = agent.predict(batch, memory)
    action, memory = agent.predict(batch, memory, np.array([False, True, False]))
    assert action.tolist() == [2, 0, 2]
    action, memory = agent.predict(np.int64(4))
    assert action.shape == () and memory.shape == (1,)
    assert agent.predict(np.int64(4), memory, np.array([False]))[0] == 1
    assert agent.predict(np.int64(4), memory, True)[0] == 0
    for start in (np.ones(2, bool), [], True):
        with pytest.raises(ValueError, match=r"episode_start has shape .*; expected one value for each of 3 rows"):
            agent.predict(batch, None, start)


def test_observations_of_other_dimensions_are_refused() -> None:
    agent = Counting(gym.make("valuegym/LQR-v0"))
    for shape in ((), (2, 2, 1)):
        with pytest.raises(ValueError, match=r"has shape .*; expected \(2,\), or \('N', 2\) for N of them"):
            agent.predict(np.zeros(shape, np.float32))


def test_an_agent_of_a_vector_environment_has_a_memory_for_each_row() -> None:
    envs = gym.make_vec("valuegym/LQR-v0", num_envs=3)
    agent = Counting(envs)
    assert agent.observation_space == gym.make("valuegym/LQR-v0").observation_space
    assert agent.predict(envs.reset(seed=0)[0])[1].shape == (3,)


def test_unstacked_observations_are_those_of_single_environments() -> None:
    core: Any = load(ENVS["valuegym/Follow-v0"].core)()
    rows = unstack(core.observation(*core.initial(keys.mix(0, np.arange(3)))))
    assert len(rows) == 3 and all(core.observation_space.contains(row) for row in rows)


@pytest.mark.parametrize("name", ON_TRACKS)
def test_an_older_memory_stays_as_it_was(name: str) -> None:
    """Whatever was played since, going on from a memory gives what it gave: for every agent, at every step.

    Agents that draw from a generator of their own, or are trained beforehand, have no memory.
    """
    agent, id, kwargs = made(name)
    env = gym.make(id, **kwargs)
    if name in ("oracle", "goal_only"):
        agent.attach(env)
    observation, _ = env.reset(seed=5)
    memory, over, played = None, False, []
    while not over and len(played) < STEPS:
        start = np.array([not played])
        action, after = agent.predict(observation, memory, start, deterministic=True)
        played.append((observation, memory, start, np.array(action)))
        observation, _, terminated, truncated, _ = env.step(action)
        over, memory = terminated or truncated, after
    if name in ("uniform", "oracle") or track(name).timesteps:
        assert all(before is None for _, before, *_ in played)
        return
    for observation, before, start, action in reversed(played):
        again, _ = agent.predict(observation, before, start, deterministic=True)
        np.testing.assert_array_equal(again, action)
