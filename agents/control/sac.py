"""Soft actor-critic (Haarnoja et al. 2018), Stable-Baselines3's, with the sizes and updates per step of `vagram`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3 import SAC

from valuegym.agents.control.vagram import Settings

__all__ = ["make"]


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> SAC:
    """Return the model-free agent, with the updates per step, warm-up steps and sizes of networks of `vagram`.

    Further arguments are those of `stable_baselines3.SAC`.
    """
    s = Settings()
    same: dict[str, Any] = {
        "learning_rate": s.optimisation.critic_rate,
        "learning_starts": s.warmup_steps,
        "gradient_steps": s.updates_per_step,
        "batch_size": s.optimisation.batch,
        "gamma": s.optimisation.discount,
        "tau": s.optimisation.tau,
        "ent_coef": f"auto_{s.optimisation.temperature}",
        "policy_kwargs": {"net_arch": [s.hidden, s.hidden]},
        "device": "cpu",
    }
    return SAC("MlpPolicy", env, seed=seed, **(same | kwargs))
