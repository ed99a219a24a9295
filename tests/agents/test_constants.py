"""The best constant, the line of the destination alone, and the search over linear policies."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import make
from valuegym.agents.constant import TASKS, best_constant, mean_scores
from valuegym.agents.control.linear_search import LinearSearch
from valuegym.agents.preference.constant import candidates
from valuegym.envs import keys
from valuegym.envs.coevolution.follow import Follow
from valuegym.envs.control.lqr import LQR
from valuegym.envs.preference.delivery import Delivery
from valuegym.envs.preference.reward_inference import RewardInference

WEIGHTS = "valuegym/RewardInference-v0"


def test_the_constant_of_a_fixed_board_is_found_on_other_boards() -> None:
    """By a second search: all candidates on random boards of the split train, labelled as published."""
    env: Any = gym.make(WEIGHTS, board="published", evaluation_points=(0,))
    action, _ = make("constant", env).predict(env.reset(seed=0)[0])
    core = RewardInference(relabel=False, split="train", evaluation_points=(1,))
    task, _ = core.initial(keys.mix(0, np.arange(32)))
    means = [core.score(task, np.tile(option, (32, 1))).mean() for option in candidates(6)]
    np.testing.assert_array_equal(action, candidates(6)[int(np.argmax(means))])
    played: Any = RewardInference(board="published", evaluation_points=(1,))
    best = played.score(played.initial(keys.mix(0, np.zeros(73, np.int64)))[0], candidates(6)).max()
    assert 0.9 < played.score(played.initial(keys.mix(0, np.array([0])))[0], action[None])[0] < best


def test_constants_of_other_spaces() -> None:
    assert best_constant(LQR(), 200) == pytest.approx(0, abs=0.04)  # noise has no side
    core = Delivery()
    found = best_constant(core, 200)
    assert found == mean_scores(core, np.arange(4), 200).argmax()
    follow = Follow(family="ornstein-uhlenbeck", dimensions=1, budget=3, noise=1.0)
    option = best_constant(follow, 2000)
    assert mean_scores(follow, option[None], 2000)[0] >= mean_scores(follow, np.zeros((1, 1)), 2000)[0]
    assert TASKS == 32


def test_a_constant_is_one_action_for_every_environment_and_step() -> None:
    env: Any = gym.make_vec("valuegym/Delivery-v0", num_envs=3)
    agent = make("constant", gym.make("valuegym/Delivery-v0"))
    observation, _ = env.reset(seed=0)
    first, memory = agent.predict(observation)
    second, _ = agent.predict(env.step(first)[0], memory)
    assert first.shape == (3,) and len({*first.tolist(), *second.tolist()}) == 1


@pytest.mark.parametrize("relabel", [False, True])
def test_the_destination_alone_is_the_line_whatever_the_labels(relabel: bool) -> None:
    kwargs: Any = {"board": "published", "relabel": relabel, "evaluation_points": (0,)}
    envs: Any = gym.make_vec(WEIGHTS, num_envs=5, **kwargs)
    agent: Any = make("goal_only", gym.make(WEIGHTS, **kwargs))
    agent.attach(envs)
    observation, _ = envs.reset(seed=0)
    action, _ = agent.predict(observation)
    assert (np.abs(action).sum(1) == 1).all() and action.dtype == np.float32
    weights = envs.unwrapped.task.weights
    assert (np.abs(weights[np.abs(action) == 1]) == 50).all() and ((action * weights).sum(1) == 50).all()
    np.testing.assert_allclose(envs.unwrapped.core.score(envs.unwrapped.task, action), 0.991, atol=1e-3)


def test_a_search_over_linear_policies_leaves_the_valley() -> None:
    env: Any = gym.make("valuegym/MountainCarContinuous-v0")
    agent = LinearSearch(env, seed=1000).learn(6_000)
    assert agent.env.steps == 6_000
    observation, _ = env.reset(seed=5)
    ended = False
    while not ended:
        observation, _, ended, truncated, _ = env.step(agent.predict(observation)[0])
        assert not truncated
    again = LinearSearch(gym.make("valuegym/MountainCarContinuous-v0"), seed=1000).learn(6_000)
    np.testing.assert_array_equal(again.weights, agent.weights)


def test_a_search_needs_boxes() -> None:
    with pytest.raises(ValueError, match="'linear_search' needs a Box"):
        LinearSearch(gym.make("valuegym/Delivery-v0"))
    with pytest.raises(ValueError, match="discount is 0"):
        LinearSearch(gym.make("valuegym/LQR-v0"), discount=0.0)
