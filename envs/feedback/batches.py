"""Batches of observations, arrays or flat dictionaries of them, and the autoresets of vector environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv

from valuegym.envs.feedback.segments import each

__all__ = ["Transitions", "add_axis", "autoreset_mode", "put", "stack", "take"]

Array = npt.NDArray[Any]


def add_axis(observation: Any) -> Any:
    """Return a copy of an observation as a batch of one: environments may change in place what they returned."""
    return each(lambda value: np.array(value)[None], observation)


def put(into: Any, rows: Array, values: Any) -> Any:
    """Return a copy of observations (B, ...) with other ones in some rows."""
    if isinstance(into, Mapping):
        return {name: put(value, rows, values[name]) for name, value in into.items()}
    changed = np.array(into)
    changed[rows] = values
    return changed


def stack(observations: Sequence[Any]) -> Any:
    """Return single observations as one batch."""
    first = observations[0]
    if isinstance(first, Mapping):
        return {name: np.stack([one[name] for one in observations]) for name in first}
    return np.stack(observations)


def take(observations: Any, rows: Array) -> Any:
    """Copy rows of a batch of observations."""
    return each(lambda value: np.asarray(value)[rows], observations)


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """Return the mode of a vector environment.

    Raises:
        ValueError: it states none.
    """
    mode = (env.metadata or {}).get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(f"metadata['autoreset_mode'] of the environments is {mode!r}; expected an AutoresetMode.")
    return mode


class Transitions:
    """Bookkeeping of autoresets: which rows made a step, and what followed it."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        self.mode, self.reset_next = autoreset_mode(env), np.zeros(env.num_envs, np.bool_)

    def reset(self, options: dict[str, Any] | None) -> Array:
        """Return the rows that a reset with these options begins."""
        rows = np.arange(len(self.reset_next))
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            rows = rows[np.asarray(mask, np.bool_)]
        self.reset_next[rows] = False
        return rows

    def step(self, observations: Any, done: Array, info: Mapping[str, Any]) -> tuple[Array, Any, Array]:
        """Return the rows that moved, the observations that followed in all rows, and the rows that begin again."""
        moved, begun = np.flatnonzero(~self.reset_next), np.flatnonzero(self.reset_next)
        if self.mode is AutoresetMode.NEXT_STEP:
            self.reset_next = done.copy()
        elif self.mode is AutoresetMode.SAME_STEP:
            begun = np.flatnonzero(done)
            if begun.size:
                final = stack([info["final_obs"][i] for i in begun])
                observations = put(observations, begun, final)
        return moved, observations, begun
