"""Proximal policy optimisation (Schulman et al. 2017), as Stable-Baselines3 ships it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3 import PPO

__all__ = ["make"]


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> PPO:
    """Make PPO with default settings and the multilayer-perceptron policy that fits the observations."""
    policy = "MultiInputPolicy" if isinstance(env.observation_space, gym.spaces.Dict) else "MlpPolicy"
    return PPO(policy, env, seed=seed, **kwargs)
