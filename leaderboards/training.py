"""Training on a track: the same environment, agent and steps for a run, for a model that is saved, and for a film."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from valuegym.agents import make
from valuegym.envs import checks
from valuegym.leaderboards.experiments import Experiment

__all__ = ["learn", "prepare"]

MAX_SEED = 2**31 - 1


def prepare(
    agent: str, what: Experiment, seed: int, data: str | None = None, settings: Mapping[str, Any] | None = None
) -> tuple[Any, gym.Env[Any, Any]]:
    """Return an agent that has learnt nothing yet, and the environment that it trains in.

    Args:
        agent: a text that names it (`valuegym.agents.references`).
        what: the experiment.
        seed: of the run.
        data: folder of human data, where the experiment needs it.
        settings: of the agent's constructor.

    Raises:
        ValueError: the agent is unknown or does not take these settings, or the seed is out of range.
        ImportError: the agent needs an extra that is not installed.
    """
    checks.integer("seed", seed, 0, MAX_SEED)
    env = gym.make(what.env_id, **what.make_kwargs(data))
    return make(agent, env, seed=seed, **(settings or {})), env


def learn(player: Any, timesteps: int) -> None:
    """Let an agent learn for this many steps, if there are any and it learns at all.

    Raises:
        DivergenceError: what it learns is no longer finite.
    """
    if timesteps and hasattr(player, "learn"):
        player.learn(timesteps)
