"""Segments of the pendulum from any state, for studies of preferences and of values."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np

from studies.harness import Array
from valuegym.envs import keys
from valuegym.envs.control.optimal_values import values_of
from valuegym.envs.control.pendulum import Pendulum, State
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.values import GridValues

CORE = Pendulum()


@cache
def grid_values(nodes: tuple[int, int] | None = None) -> GridValues:
    """Return the optimal values, solved once for each number of nodes."""
    found = values_of(gym.make("valuegym/Pendulum-v0"), nodes=nodes)
    assert isinstance(found, GridValues)
    return found


def observe(angle: Array, velocity: Array) -> Array:
    """Return observations (..., 3), as the environment has them."""
    return np.stack([np.cos(angle), np.sin(angle), velocity], -1).astype(np.float32)


def draw_states(n: int, rng: np.random.Generator) -> State:
    """Return states drawn uniformly from all angles and velocities."""
    limit = CORE.parameters.max_speed
    return State(rng.uniform(-np.pi, np.pi, n), rng.uniform(-limit, limit, n))


def draw(n: int, rng: np.random.Generator, length: int) -> Segments:
    """Return segments from uniformly drawn states, in which every torque is drawn uniformly, too."""
    state = draw_states(n, rng)
    actions = rng.uniform(-1, 1, (n, length, 1)).astype(np.float32)
    task: Any = None  # the pendulum has no use for it, nor for a key
    seen, rewards = [CORE.observation(task, state)], []
    for t in range(length):
        after = CORE.transition(task, state, actions[:, t], keys.mix(0, np.arange(n)), np.full(n, t))
        rewards.append(CORE.reward(task, state, actions[:, t], after))
        state = after
        seen.append(CORE.observation(task, state))
    return Segments(np.stack(seen, 1), actions, np.stack(rewards, 1))
