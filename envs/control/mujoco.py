"""MuJoCo's walkers with and without distracting dimensions: Gymnasium's own environments, version 5, of this extra.

These are third-party simulators, not cores: vector environments are Gymnasium's, there is no oracle, and nothing here
is imported before an environment is made.

Source: Voelcker, Liao, Garg, Farahmand (2022), "Value gradient weighted model-based reinforcement learning" (ICLR), for
the tasks; Todorov, Erez, Tassa (2012), "MuJoCo: a physics engine for model-based control"; Gymnasium (Towers et
al. 2024).
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs.control.distractors import DistractingDimensions
from valuegym.envs.functional import load

HOPPER = 11  # dimensions of Hopper's own observation; distracting ones come behind


def fallen(observation: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether Hopper's episode ends at observations (..., at least 11); (...) bool.

    It does unless the torso is higher than 0.7 m and leans by less than 0.2 rad, and angles and velocities are within
    100 of 0: Gymnasium's `is_healthy`, which sees velocities before they are cut to 10 for the observation. What an
    agent with a model needs to know, whose rollouts have no other sign of it.
    """
    body = np.asarray(observation)[..., :HOPPER]
    upright = (body[..., 0] > 0.7) & (np.abs(body[..., 1]) < 0.2)
    return np.asarray(~(upright & (np.abs(body[..., 1:]) < 100).all(-1)))


def make(
    task: str,
    number: int = 0,
    kind: str = "published",
    scale: float = 1.0,
    coupling: float | None = None,
    map_seed: int = 0,
    **kwargs: Any,
) -> gym.Env[Any, Any]:
    """One of Gymnasium's MuJoCo environments, with actions in [-1, 1] and `number` distracting dimensions behind.

    ## Description
    Larger bodies, for the question whether what holds on tasks with exact values holds here: Hopper, Walker2d,
    HalfCheetah and InvertedPendulum.

    ## Observation
    Gymnasium's Box, then `number` distracting dimensions, unbounded.

    ## Action
    Gymnasium's, scaled to [-1, 1] where it is not (InvertedPendulum).

    ## Reward
    Gymnasium's.

    ## Episode end
    Gymnasium's; truncated after 1,000 steps.

    ## Arguments
    `task`: Gymnasium's id. `number`, `kind`, `scale`, `coupling` and `map_seed` as in `Distractors`; the kind is
    `published` unless told. Everything else goes to Gymnasium's environment. ImportError without the extra.

    ## Oracle and naive scores
    None can be computed: compare returns.

    ## Source
    Voelcker et al. (2022); Gymnasium's environments of version 5.

    ## Version history
    v0: first version.
    """
    try:
        env = load(str(gym.spec(task).entry_point))(**kwargs)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        raise ImportError(f"{task} needs MuJoCo: pip install 'valuegym[control]' ({error}).") from error
    space = env.action_space
    if not (np.all(space.low == -1) and np.all(space.high == 1)):
        one = np.ones(space.shape, space.dtype)
        env = gym.wrappers.RescaleAction(env, -one, one)
    return DistractingDimensions(env, kind, number, scale, coupling, map_seed) if number else env
