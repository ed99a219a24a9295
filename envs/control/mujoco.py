"""MuJoCo's walkers with and without distracting dimensions: Gymnasium's own environments, version 5.

These are third-party simulators, not cores: vector environments are Gymnasium's, there is no oracle, and MuJoCo is
imported only when an environment is made.

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

__all__ = ["fallen", "make"]

HOPPER = 11  # dimensions of Hopper's own observation, before the distracting ones


def fallen(observation: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell where Hopper's episode ends, from observations (..., at least 11): (...) bool.

    It does unless the torso is higher than 0.7 m and leans by less than 0.2 rad, and angles and velocities are within
    100 of 0: Gymnasium's `is_healthy`, which gets velocities before they are clipped to 10 for the observation. Agents
    with a model need it, for their rollouts have no other sign of an episode's end.
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
    """Make one of Gymnasium's MuJoCo environments, with actions in [-1, 1] and `number` distracting dimensions.

    ## Description
    Hopper, Walker2d, HalfCheetah and InvertedPendulum: larger bodies, to test whether results on tasks with exact
    values hold on them.

    ## Observation
    Gymnasium's Box, followed by `number` distracting dimensions, unbounded.

    ## Action
    Gymnasium's, scaled to [-1, 1] where it is not (InvertedPendulum).

    ## Reward
    Gymnasium's.

    ## Episode end
    Gymnasium's; truncated after 1,000 steps.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `task` | str | | | Gymnasium's id, such as "Hopper-v5" |
    | `number` | int | 0 | | distracting dimensions |
    | `kind` | str | "published" | | process of the distractors, as in `Distractors` |
    | `scale` | float | 1.0 | | factor of the process |
    | `coupling` | float or None | None | | strength of the dependence on the action or the physical observation |
    | `map_seed` | int | 0 | | seed of the map |
    | others | | | | arguments of Gymnasium's environment |

    Raises:
        ImportError: the extra `control` is not installed.
        ValueError: an argument of the distractors is outside its range or unknown.

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
