"""Proximal policy optimisation (Schulman et al. 2017), as Stable-Baselines3 ships it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3 import PPO

from valuegym.agents.base import check_env
from valuegym.agents.stable_baselines import Watched

__all__ = ["WatchedPPO", "make"]


class WatchedPPO(Watched, PPO):
    """PPO that stops when its policy diverges."""


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> WatchedPPO:
    """Make PPO with default settings and the multilayer-perceptron policy that fits the observations.

    Further arguments are those of `stable_baselines3.PPO`.

    Raises:
        ValueError: `env` is no environment, the seed no integer from 0 to 2**32 - 1, or a number is not finite.
    """
    policy = "MultiInputPolicy" if isinstance(check_env(env).observation_space, gym.spaces.Dict) else "MlpPolicy"
    return WatchedPPO(policy, env, seed=seed, **kwargs)
