"""Model-based policy optimisation (Janner et al. 2019): the loop of `vagram`, a Gaussian ensemble, and likelihood."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from valuegym.agents.control.vagram import VaGraM

__all__ = ["make"]


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> VaGraM:
    """Return the agent; arguments are those of `vagram`.

    Raises:
        ValueError: spaces are not flat boxes, actions are unbounded, or a setting is not valid.
        TypeError: a setting is unknown.
    """
    settings: dict[str, Any] = {"loss": "nll", "gaussian": True} | kwargs
    return VaGraM(env, seed, **settings)
