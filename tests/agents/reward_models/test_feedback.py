"""From a preference wrapper to a learned reward: queries chosen by an ensemble, pairs, fits, rewards."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.reward_models.bradley_terry import StepReward, fit_pairs, reward_ensemble
from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.pairs import feedback_pairs
from valuegym.agents.reward_models.queries import SELECTIONS, Selector
from valuegym.envs.feedback.annotators import bpref
from valuegym.envs.feedback.learned_reward import LearnedReward, LearnedRewardVector
from valuegym.envs.feedback.wrapper import PreferenceFeedback


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", SELECTIONS)
def test_from_preferences_to_a_reward(name: str) -> None:
    model = reward_ensemble(4, seeded(0), members=2, width=32)
    env = PreferenceFeedback(
        gym.make("Pendulum-v1"),
        bpref("oracle"),
        60,
        segment_length=5,
        every=300,
        rounds=3,
        candidates=3,
        select=Selector(name, seeded(1), model),
        seed=0,
    )
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(900):
        _, reward, _, truncated, info = env.step(env.action_space.sample())
        assert reward == 0
        if "preferences" in info:
            fit_pairs(model, feedback_pairs(env.feedback()), FitSettings(60, None, 0.01), seeded(2))
        if truncated:
            env.reset()
    assert len(feedback_pairs(env.feedback())) == 60

    plain, learned = gym.make("Pendulum-v1"), LearnedReward(gym.make("Pendulum-v1"), StepReward(model))
    plain.reset(seed=9), learned.reset(seed=9)
    plain.action_space.seed(1)
    found = []
    for _ in range(150):
        action = plain.action_space.sample()
        found.append((float(plain.step(action)[1]), learned.step(action)[1]))
    assert np.corrcoef(np.transpose(found))[0, 1] > 0.6

    vector = LearnedRewardVector(gym.make_vec("Pendulum-v1", 3), StepReward(model), "min")
    vector.reset(seed=0)
    assert vector.step(np.zeros((3, 1), np.float32))[1].shape == (3,)


def test_discrete_actions() -> None:
    model = reward_ensemble(6, seeded(0), members=2)
    env = LearnedReward(gym.make("CartPole-v1"), StepReward(model, 2), "mean_minus_std")
    env.reset(seed=0)
    assert isinstance(env.step(1)[1], float)


def test_a_selection_by_a_model_needs_one() -> None:
    for name in SELECTIONS:
        if name in ("uniform", "k_center"):
            Selector(name, seeded(0))
        else:
            with pytest.raises(ValueError, match="model is None"):
                Selector(name, seeded(0))
    with pytest.raises(ValueError, match="name"):
        Selector("best", seeded(0))
