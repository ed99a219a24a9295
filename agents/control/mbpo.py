"""Model-based policy optimisation (Janner et al. 2019): the loop of `vagram`, a Gaussian ensemble, and likelihood."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from valuegym.agents.control.vagram import VaGraM


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> VaGraM:
    """The agent; arguments are those of `vagram`."""
    settings: dict[str, Any] = {"loss": "nll", "gaussian": True} | kwargs
    return VaGraM(env, seed, **settings)
