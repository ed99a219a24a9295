"""Soft actor-critic (Haarnoja et al. 2018), Stable-Baselines3's, with the sizes and updates per step of `vagram`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3 import SAC

from valuegym.agents.base import check_env
from valuegym.agents.control.vagram import Settings
from valuegym.agents.stable_baselines import Watched

__all__ = ["WatchedSAC", "make"]


class WatchedSAC(Watched, SAC):
    """SAC that stops when its actor or critics diverge."""


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> WatchedSAC:
    """Return the model-free agent, with the updates per step, warm-up steps and sizes of networks of `vagram`.

    Further arguments are those of `stable_baselines3.SAC`.

    Raises:
        ValueError: actions are no bounded box, the seed is no integer from 0 to 2**32 - 1, or a number is not finite.
    """
    seen, space = check_env(env).observation_space, env.action_space
    if not isinstance(seen, gym.spaces.Box) or not isinstance(space, gym.spaces.Box) or not space.is_bounded():
        raise ValueError(f"sac needs boxes of observations and bounded boxes of actions, not {seen} and {space}.")
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
    return WatchedSAC("MlpPolicy", env, seed=seed, **(same | kwargs))
