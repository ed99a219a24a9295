"""Active learning: the acquisition value of a query in closed form, the order of queries, and the gain in play."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import AGENTS, make
from valuegym.agents.preference.active_bayes_regret import (
    CHOICES,
    ActiveBayesRegret,
    Belief,
    expected_gain,
    expected_information,
)
from valuegym.envs import mdp as tabular
from valuegym.envs.preference.tabular_query import read, read_candidates

ID = "valuegym/RewardInferenceActive-v0"
close = np.testing.assert_allclose


# --- acquisition values ---


def test_information_in_closed_form() -> None:
    """Two equally likely draws: nothing where both would answer alike, all of ln 2 where they are sure and differ."""
    second = np.array([[0.5, 0.5], [0.9, 0.9], [0.0, 1.0], [0.25, 0.75]])
    half = 0.25 * np.log(0.25) + 0.75 * np.log(0.75)
    close(expected_information(second, np.array([0.5, 0.5])), [0, 0, np.log(2), np.log(2) + half], atol=1e-12)
    close(expected_information(second, np.array([1.0, 0.0])), 0, atol=1e-12)


def test_information_is_the_mean_divergence_of_the_posterior_from_the_prior() -> None:
    rng = np.random.default_rng(0)
    second, prior = rng.random((6, 40)), rng.dirichlet(np.ones(40))
    expected = np.zeros(6)
    for answer in (second, 1 - second):
        chance = answer @ prior
        posterior = answer * prior / chance[:, None]
        expected += chance * (posterior * np.log(posterior / prior)).sum(-1)
    close(expected_information(second, prior), expected, atol=1e-12)
    close(expected_information(1 - second, prior), expected, atol=1e-12)


def test_gain_is_the_mean_of_the_best_after_the_answer_less_the_best_before() -> None:
    """Policies as a finite set of feature sums: the best one for every posterior, by enumeration."""
    rng = np.random.default_rng(1)
    policies, draws, prior = rng.standard_normal((7, 3)), rng.standard_normal((50, 3)), rng.dirichlet(np.ones(50))
    second = rng.random((5, 50))

    def worth(weights: np.ndarray) -> np.ndarray:
        return (weights @ policies.T).max(-1)

    expected = np.zeros(5)
    for k in range(5):
        for answer in (second[k], 1 - second[k]):
            chance = answer @ prior
            returns = policies @ ((answer * prior / chance) @ draws)
            expected[k] += chance * returns.max()
    expected -= (policies @ (prior @ draws)).max()
    found = expected_gain(second, prior[:, None] * draws, worth)
    close(found, expected, atol=1e-12)
    assert (found > 0).any() and (found >= 0).all()
    close(expected_gain(np.full((1, 50), 0.7), prior[:, None] * draws, worth), 0, atol=1e-12)


# --- beliefs ---


def started(choice: str = "information", **kwargs: Any) -> tuple[Any, dict[str, Any], ActiveBayesRegret]:
    env = gym.make(ID, **{"evaluation_points": (0, 4), "split": "dev", "candidates": 6, **kwargs})
    return env, env.reset(seed=3)[0], ActiveBayesRegret(env, seed=1, choice=choice)


def test_acquisition_values_follow_from_regret_under_the_draws() -> None:
    """Against regrets read off solved processes, one draw at a time."""
    _, observation, agent = started()
    query, candidates = read(observation), read_candidates(observation)
    belief = Belief(query, agent.seed)
    few = belief.sample.weights[:40]
    belief.sample = belief.sample._replace(weights=few, probability=np.full(40, 1 / 40))
    mdp, second = query.mdp(), np.zeros((6, 40))
    for i, weights in enumerate(few):
        values, action_values = tabular.optimal_values(mdp, tabular.reward(mdp, weights))
        advantage = (action_values - values[..., None])[0]
        taken = advantage[candidates.states[..., :-1], candidates.actions] * candidates.mask
        total = (taken * mdp.discount ** np.arange(3)).sum(-1)
        second[:, i] = 0.5 + 0.5 * np.tanh((total[:, 1] - total[:, 0]) / 2)
    close(belief.acquisition(candidates, "information"), expected_information(second, np.full(40, 1 / 40)), atol=1e-7)
    gain = belief.acquisition(candidates, "value")
    assert ((gain >= 0) & (gain <= 1)).all()


@pytest.mark.parametrize("choice", CHOICES)
def test_actions_hold_the_estimate_and_the_acquisition_values(choice: str) -> None:
    env, observation, agent = started(choice)
    memory, terminated, rewards = None, False, []
    while not terminated:
        action, memory = agent.predict(observation, memory)
        assert action in env.action_space
        if not observation["is_evaluation_point"] or not observation["num_queries"][0]:
            assert (action[:6] == 0).all()
        else:
            assert np.abs(action[:6]).max() == 1
        observation, reward, terminated, *_ = env.step(action)
        rewards.append(reward)
    assert rewards[-1] > 0.2 and memory is not None and len(memory[0].labels) == 4


def test_batches_are_single_environments_and_seeds_decide() -> None:
    envs = gym.make_vec(ID, num_envs=3, evaluation_points=(3,), split="dev", candidates=4)
    agent = ActiveBayesRegret(gym.make(ID, evaluation_points=(3,), split="dev", candidates=4), seed=2)
    observation, _ = envs.reset(seed=5)
    env = gym.make(ID, evaluation_points=(3,), split="dev", candidates=4)
    alone, _ = env.reset(seed=6)
    many, one = None, None
    for t in range(4):
        actions, many = agent.predict(observation, many, np.full(3, t == 0))
        action, one = agent.predict(alone, one, np.array([t == 0]))
        assert actions[1].tobytes() == action.tobytes()
        observation, alone = envs.step(actions)[0], env.step(action)[0]
    again, _ = agent.predict(env.reset(seed=6)[0], one, np.array([True]))
    assert len(one[0].labels) == 3 and (again[:6] == 0).all()  # type: ignore[index]


@pytest.mark.parametrize("kwargs", [{"board": "risky"}, {"board": "..G\n.SX\n$.h"}, {"annotator": "regret-noiseless"}])
def test_it_plays_wherever_one_may_ask(kwargs: dict[str, Any]) -> None:
    env, observation, agent = started(evaluation_points=(6,), **kwargs)
    memory, terminated = None, False
    while not terminated:
        action, memory = agent.predict(observation, memory)
        observation, reward, terminated, *_ = env.step(action)
    assert reward > 0


def test_answers_that_are_no_answers_change_nothing() -> None:
    env, observation, agent = started()
    action, memory = agent.predict(observation)
    observation, *_ = env.step(action)
    silent = observation | {"label": np.int64(3)}
    _, after = agent.predict(silent, memory)
    assert after[0].labels == [] and len(after[0].sample.weights) == 2048


def test_what_it_cannot_play() -> None:
    for id, kwargs in (("valuegym/RewardInference-v0", {}), (ID, {"action": "policy"})):
        with pytest.raises(ValueError, match=r"plays in valuegym/RewardInferenceActive-v0 only"):
            make("active_bayes_regret", gym.make(id, **kwargs))
    with pytest.raises(ValueError, match=r"choice is 'best'; expected one of 'information', 'value', 'random'"):
        ActiveBayesRegret(gym.make(ID), choice="best")
    names = {
        f"{name}_bayes_regret": choice for name, choice in zip(("active", "value", "random"), CHOICES, strict=True)
    }
    assert {name: make(name, gym.make(ID)).choice for name in names} == names  # type: ignore[attr-defined]
    assert set(names) <= set(AGENTS)


def test_questions_that_tell_more_are_asked() -> None:
    """Over a few tasks, the mean information of what was asked, by its own account, beats that of all candidates."""
    asked, offered = [], []
    for seed in range(4):
        env, _, agent = started(evaluation_points=(4,))
        observation, _ = env.reset(seed=seed)
        memory, terminated = None, False
        while not terminated:
            action, memory = agent.predict(observation, memory)
            if read_candidates(observation).mask.any():
                asked.append(action[6:].max())
                offered.append(action[6:].mean())
            observation, _, terminated, *_ = env.step(action)
    assert np.mean(asked) > 1.3 * np.mean(offered)
