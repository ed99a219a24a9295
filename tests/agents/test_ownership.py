"""Agents own what they keep: nobody's later writing changes a result, and memories hold the running episodes alone."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

pytest.importorskip("scipy")

from valuegym.agents import AGENTS, make
from valuegym.agents.preference import constant, posterior
from valuegym.agents.preference.active_bayes_regret import Belief
from valuegym.agents.preference.bayes_regret import BayesRegret
from valuegym.agents.preference.preference_learner import PreferenceLearner
from valuegym.agents.preference.regret import Regret
from valuegym.agents.preference.regret_library import RegretLibrary
from valuegym.agents.preference.values import OptimalValues
from valuegym.envs import mdp as tabular
from valuegym.leaderboards.experiments import EXPERIMENTS

ON_TRACKS = [name for name in AGENTS if name != "language"]  # which needs a model: test_language_agent.py
LQR_PLAN = "valuegym.agents.control.lqr_preference_learner.plan"
HAVE_SB3 = importlib.util.find_spec("stable_baselines3") is not None
SHORT: dict[str, dict[str, Any]] = {
    "valuegym/RewardInference-v0": {"evaluation_points": (2,), "split": "dev"},
    "valuegym/RewardInferencePolicy-v0": {"evaluation_points": (2,), "split": "dev"},
    "valuegym/RewardInferenceActive-v0": {"evaluation_points": (2,), "split": "dev"},
    "valuegym/LQRFromPreferences-v0": {"evaluation_points": (2,), "transitions": 40, "length": 2},
    "valuegym/Follow-v0": {"steps": 3},
    "valuegym/Predict-v0": {"steps": 3},
    "valuegym/Coevolve-v0": {"steps": 3},
    "valuegym/LockIn-v0": {"steps": 3},
}
TINY: dict[str, Any] = {
    "width": 4,
    "hidden": 4,
    "members": 2,
    "model_steps": 2,
    "warmup_steps": 8,
    "refresh": 8,
    "rollout_every": 8,
    "updates_per_step": 1,
    "model_buffer": 700,
}
ASKING: dict[str, Any] = {
    "budget": 4,
    "every": 12,
    "rounds": 2,
    "segment_length": 3,
    "members": 2,
    "width": 4,
    "fit_steps": 2,
}
TRAINED: dict[str, dict[str, Any]] = {
    "lqr_model_based": {},
    "linear_search": {},
    "vagram": TINY,
    "mbpo": TINY,
    "mpc": TINY | {"horizon": 2, "candidates": 8},
    "sac": {"learning_starts": 8, "gradient_steps": 1},
    "ppo": {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "device": "cpu"},
    "preference_sac": ASKING | {"learning_starts": 8},
    "preference_ppo": ASKING | {"n_steps": 16, "batch_size": 16, "n_epochs": 1},
}


@pytest.fixture(autouse=True)
def quick_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two training tasks instead of all of them, and small samples of posteriors."""
    monkeypatch.setattr(constant, "TASKS", 2)
    monkeypatch.setattr(posterior, "DRAWS", 300)
    constant._search.cache_clear()
    yield
    constant._search.cache_clear()


def where(name: str) -> tuple[str, dict[str, Any]]:
    """The environment that an agent plays in: its id, and arguments for short episodes."""
    if AGENTS[name].extra and not HAVE_SB3:
        pytest.skip(f"needs valuegym[{AGENTS[name].extra}]")
    if AGENTS[name].extra == "text":
        pytest.skip("language models are slow: tests/agents/language/test_lifelong.py holds them to the same")
    what = next(what for what in EXPERIMENTS.values() if name in what.agents and not what.data)
    kwargs = what.kwargs | SHORT.get(what.env_id, {})
    return what.env_id, kwargs


def spoil(values: Any) -> None:
    """Overwrite arrays by NaN, or by the largest number of their type."""
    for value in values.values() if isinstance(values, dict) else [values]:
        if isinstance(value, np.ndarray):
            value[...] = np.nan if value.dtype.kind == "f" else np.iinfo(value.dtype).max if value.dtype != bool else 1


def own(values: Any, wide: bool = False) -> Any:
    """A copy of an observation, of floats of 64 bits if `wide`, of which agents need no copy to read."""

    def one(value: Any) -> Any:
        found = np.array(value)
        return found.astype(np.float64) if wide and found.dtype.kind == "f" else found

    return {name: one(value) for name, value in values.items()} if isinstance(values, dict) else one(values)


def play(name: str, rows: int, steps: int, spoiled: bool, wide: bool) -> list[Any]:
    """Actions in `rows` environments, with all arrays overwritten as soon as `predict` has returned, or not."""
    id, kwargs = where(name)
    agent: Any = make(name, gym.make(id, **kwargs), seed=1)
    envs = gym.make_vec(id, num_envs=rows, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)
    if hasattr(agent, "attach"):
        agent.attach(envs)
    observation, _ = envs.reset(seed=5)
    memory, start, actions = None, np.ones(rows, np.bool_), []
    for _ in range(steps):
        handed, begun = own(observation, wide), start.copy()
        action, memory = agent.predict(handed, memory, begun, deterministic=True)
        taken = np.array(action)
        actions.append(taken)
        if spoiled:
            spoil(handed)
            spoil(begun)
            spoil(action)
        observation, _, terminated, truncated, _ = envs.step(taken)
        start = terminated | truncated
    return actions


@pytest.mark.parametrize("name", [name for name in ON_TRACKS if name not in TRAINED])
def test_what_a_caller_does_with_its_arrays_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fits take seconds; these depend on every number in the memory, too.
    monkeypatch.setattr(PreferenceLearner, "estimate", digest)
    for learner in (Regret, BayesRegret, RegretLibrary):
        monkeypatch.setattr(learner, "estimate", digest)
    if name.startswith("lqr_"):
        monkeypatch.setattr(LQR_PLAN, lambda query, pairs, *_: np.sin(pairs.segments.states.sum((0, 1, 2)))[None])
    kept = play(name, 2, 4, spoiled=False, wide=False)
    for wide in (False, True):
        np.testing.assert_array_equal(play(name, 2, 4, True, wide), kept)


def digest(self: Any, mdp: Any, pairs: Any, label: Any, rng: Any) -> Any:
    """An estimate that depends on all numbers of the answers."""
    total = sum(float((np.arange(field.size) * field.reshape(-1)).sum()) for field in (*pairs, label))
    return np.sin(total + np.arange(self.action_space.shape[0]))


class Reusing(gym.Wrapper[Any, Any, Any, Any]):
    """Hands out the same array again and again, overwritten in between, and overwrites the actions that it gets."""

    def __init__(self, env: Any, spoiled: bool) -> None:
        super().__init__(env)
        self.spoiled, self.buffers = spoiled, list[Any]()

    def _hand(self, observation: Any) -> Any:
        if not self.spoiled:
            return observation
        for buffer in self.buffers:
            spoil(buffer)
        self.buffers.append(own(observation))
        return self.buffers[-1]

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        return self._hand(observation), info

    def step(self, action: Any) -> Any:
        observation, *rest = self.env.step(np.array(action))
        if self.spoiled:
            spoil(action)
        return self._hand(observation), *rest


@pytest.mark.parametrize("name", TRAINED)
def test_what_an_environment_does_with_its_arrays_changes_nothing(name: str) -> None:
    """Training through an episode's end, and playing afterwards."""
    id, kwargs = where(name)
    steps, actions = {"lqr_model_based": 30}.get(name, 24), []
    for spoiled in (False, True):
        env = gym.wrappers.TimeLimit(gym.make(id, **kwargs), 9)
        agent: Any = make(name, Reusing(env, spoiled), seed=1, **TRAINED[name])
        agent.learn(steps)
        observation, memory, played = own(env.reset(seed=3)[0]), None, []
        for _ in range(3):
            action, memory = agent.predict(observation, memory, np.zeros(1, np.bool_), deterministic=True)
            played.append(np.array(action))
            if spoiled:
                spoil(action)
                spoil(observation)
            observation = own(env.step(played[-1])[0])
        actions.append(played)
    np.testing.assert_array_equal(*actions)


@pytest.mark.parametrize("name", [name for name in ON_TRACKS if name not in TRAINED])
def test_a_memory_holds_the_running_episodes_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After fifty episodes of several rows, which end at different times, it is as large as after two."""
    id, kwargs = where(name)
    agent: Any = make(name, gym.make(id, **kwargs), seed=1)
    if isinstance(agent, PreferenceLearner):  # what is learnt from a memory plays no part here
        monkeypatch.setattr(type(agent), "estimate", lambda self, mdp, *_: np.ones(self.action_space.shape))
    if hasattr(agent, "rounds"):
        monkeypatch.setattr(LQR_PLAN, lambda query, *_: np.ones((1, query.states.shape[1])))
    monkeypatch.setattr(Belief, "estimate", lambda self: np.ones(self.sample.weights.shape[1]))
    monkeypatch.setattr(Belief, "acquisition", lambda self, candidates, choice: np.zeros(len(candidates.mask)))
    monkeypatch.setattr(posterior, "advance", lambda likelihood, sample, *_: sample)
    envs = gym.make_vec(id, num_envs=2, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)
    if hasattr(agent, "attach"):
        agent.attach(envs)
    observation, _ = envs.reset(seed=5)
    memory, start, ends, sizes, steps = None, np.ones(2, np.bool_), 0, {2: 0, 50: 0}, 0
    while ends < 52 and steps < 250:
        action, memory = agent.predict(observation, memory, start, deterministic=True)
        observation, _, terminated, truncated, _ = envs.step(action)
        start, steps = terminated | truncated | (np.arange(2) == steps % 7), steps + 1  # starts at different times
        ends += int(start.sum())
        for least, largest in sizes.items():
            if least <= ends <= least + 4:
                sizes[least] = max(largest, len(pickle.dumps(memory)))
    assert ends >= 50
    assert sizes[50] <= sizes[2] + 2000 * (name == "pluralist")


def test_cached_values_are_those_of_the_weights_at_hand() -> None:
    """Weights that were overwritten are other weights, and what was returned cannot be overwritten."""
    features = np.random.default_rng(0).standard_normal((1, 3, 2, 2))
    ahead = np.array([[[1, 2], [2, 0], [0, 1]]])
    values = OptimalValues(
        tabular.TabularMDP(features, np.zeros((1, 3), bool), np.full((1, 3), 1 / 3), 0.9, next_state=ahead)
    )
    weights = np.array([[1.0, 2.0]])
    first = values(weights)
    before = first.copy()
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    weights[...] = -weights
    assert not np.allclose(values(weights), before)
    np.testing.assert_array_equal(values(-weights), before)
