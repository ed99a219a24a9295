"""Soft actor-critic (Haarnoja et al. 2018), Stable-Baselines3's, with the sizes and the update ratio of `vagram`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3 import SAC

from valuegym.agents.control.vagram import Settings


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> SAC:
    """The model-free rival: as many updates per step, as many random steps and as large networks as `vagram`."""
    s = Settings()
    same: dict[str, Any] = {
        "learning_rate": s.optimisation.critic_rate,
        "learning_starts": s.random_steps,
        "gradient_steps": s.update_ratio,
        "batch_size": s.optimisation.batch,
        "gamma": s.optimisation.discount,
        "tau": s.optimisation.average,
        "ent_coef": f"auto_{s.optimisation.temperature}",
        "policy_kwargs": {"net_arch": [s.hidden, s.hidden]},
        "device": "cpu",
    }
    return SAC("MlpPolicy", env, seed=seed, **(same | kwargs))
