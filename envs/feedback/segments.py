"""Segments of any environment: batches of short stretches of experience, which annotators compare.

Letters: N segments, L steps at most. Spaces may be arrays (Box, Discrete, MultiDiscrete, MultiBinary) or flat
dictionaries of them; all fields are plain arrays, so that any library reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = ["Observations", "Segments", "concatenate", "each"]

Array = npt.NDArray[Any]
Observations = Array | dict[str, Array]


def each(function: Callable[[Array], Array], observations: Any) -> Any:
    """Apply a function to an array, or to every array of a dictionary."""
    if isinstance(observations, Mapping):
        return {name: function(value) for name, value in observations.items()}
    return function(observations)


@dataclass(frozen=True, eq=False, repr=False)
class Segments:
    """N segments of at most L steps; shorter ones are padded when they are made.

    Padding repeats the last observation, and fills actions and rewards with zeros.

    Attributes:
        observations: (N, L+1, ...) or a dictionary of such arrays; of a step, and of what follows the last one.
        actions: (N, L, ...).
        rewards: (N, L) float64 in Fortran order, true ones; NaN where unknown. None: all unknown.
        lengths: (N,) int64 from 1 to L. None: all L.
        terminated: (N,) bool, whether the last step ended the episode. None: none did.
        info: further columns by name, each (N, ...), such as `user` or `profile`.

    Raises:
        ValueError: shapes do not fit, a length is out of bounds, or a number is not finite.
    """

    observations: Any
    actions: Array
    rewards: Any = None
    lengths: Any = None
    terminated: Any = None
    info: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check all fields, and fill the padding."""
        actions = _numeric("actions", self.actions)
        if actions.ndim < 2 or not actions.shape[1]:
            raise ValueError(f"actions has shape {actions.shape}; expected (N, L, ...) with L of at least 1.")
        N, L = actions.shape[:2]
        if isinstance(self.observations, Mapping):
            named = {f"observations[{name!r}]": value for name, value in self.observations.items()}
            checked = {name: _leading(name, value, (N, L + 1)) for name, value in named.items()}
            if not checked:
                raise ValueError("observations is an empty dictionary; expected at least one array.")
            observations: Any = dict(zip(self.observations, checked.values(), strict=True))
        else:
            observations = _leading("observations", self.observations, (N, L + 1))
        rewards = np.full((N, L), np.nan) if self.rewards is None else np.asarray(self.rewards)
        numbers = rewards.shape == (N, L) and rewards.dtype.kind in "fiu"
        known = numbers and bool(np.isfinite(rewards).all())
        if not numbers or (not known and np.isinf(rewards).any()):
            raise ValueError(
                f"rewards has shape {rewards.shape} and type {rewards.dtype}; expected numbers of shape ({N}, {L}), "
                "none of them infinite."
            )
        lengths = (
            np.full(N, L, np.int64) if self.lengths is None else checks.integers("lengths", self.lengths, (N,), 1, L)
        )
        terminated = np.zeros(N, np.bool_) if self.terminated is None else np.array(self.terminated)
        if terminated.shape != (N,) or terminated.dtype != np.bool_:
            raise ValueError(
                f"terminated has shape {terminated.shape} and type {terminated.dtype}; expected bool of shape ({N},)."
            )
        info = {name: np.asarray(value) for name, value in self.info.items()}
        for name, value in info.items():
            if not value.ndim or len(value) != N:
                raise ValueError(f"info[{name!r}] has shape {value.shape}; expected ({N}, ...).")
        if N and lengths.min() < L:
            over = np.arange(L) >= lengths[:, None]
            observations = each(lambda value: _repeat_last(value, lengths), observations)
            actions = actions.copy()
            actions[over] = 0
            rewards = np.where(over, 0.0, rewards)
        known = known or not np.isnan(rewards).any()
        # Sums over steps read rewards step by step: the steps of all segments lie side by side in memory.
        rewards = rewards.astype(np.float64, order="F")
        values = (observations, actions, rewards, lengths, terminated, info)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)
        vars(self)["rewards_known"] = known  # so that annotators need not look again

    def __len__(self) -> int:
        return len(self.actions)

    def __repr__(self) -> str:
        return f"<{len(self)} segments of at most {self.steps} steps>"

    def __getitem__(self, rows: Any) -> Segments:
        """Return some segments: an index array, a mask or a slice; a single index gives one segment, N = 1."""
        if isinstance(rows, (int, np.integer)):
            rows = [rows]
        return Segments(
            each(lambda value: value[rows], self.observations),
            self.actions[rows],
            self.rewards[rows],
            self.lengths[rows],
            self.terminated[rows],
            {name: value[rows] for name, value in self.info.items()},
        )

    @property
    def steps(self) -> int:
        """L, the number of steps there is room for."""
        return self.actions.shape[1]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(N, L) bool, True at steps and False at padding."""
        return np.arange(self.steps) < self.lengths[:, None]

    @cached_property
    def rewards_known(self) -> bool:
        """True where the rewards of all steps are known."""
        return not np.isnan(self.rewards).any()

    def without(self, *columns: str, rewards: bool = True) -> Segments:
        """Return the segments without some columns of `info`, and by default with unknown rewards."""
        info = {name: value for name, value in self.info.items() if name not in columns}
        return replace(self, info=info, rewards=None if rewards else self.rewards)

    def with_info(self, **columns: Any) -> Segments:
        """Return the segments with further columns (N, ...)."""
        return replace(self, info={**self.info, **columns})


def concatenate(parts: Sequence[Segments]) -> Segments:
    """Return the segments of all parts in one batch, padded to the longest.

    Raises:
        ValueError: there is no part, or parts differ in the kind of observation or in their columns.
    """
    if not parts:
        raise ValueError("parts is empty; expected at least one batch of segments.")
    if len(parts) == 1:
        return parts[0]
    names = [_names(part) for part in parts]
    if any(other != names[0] for other in names[1:]):
        raise ValueError("The parts have different observations or columns; expected the same ones in each.")
    steps = max(part.steps for part in parts)
    first = parts[0].observations
    if isinstance(first, dict):
        observations: Any = {
            name: _join([part.observations[name] for part in parts], steps + 1, f"observations[{name!r}]")
            for name in first
        }
    else:
        observations = _join([part.observations for part in parts], steps + 1, "observations")
    return Segments(
        observations,
        _join([part.actions for part in parts], steps, "actions"),
        _join([part.rewards for part in parts], steps, "rewards"),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.terminated for part in parts]),
        {name: _join([part.info[name] for part in parts], None, f"info[{name!r}]") for name in parts[0].info},
    )


def _names(part: Segments) -> tuple[Any, ...]:
    kinds = tuple(part.observations) if isinstance(part.observations, dict) else None
    return kinds, set(part.info)


def _join(values: list[Array], steps: int | None, name: str) -> Array:
    """Concatenate arrays, after lengthening their second axis by zeros."""
    if steps is not None:
        values = [
            np.pad(value, [(0, 0), (0, steps - value.shape[1]), *[(0, 0)] * (value.ndim - 2)])
            if value.shape[1] < steps
            else value
            for value in values
        ]
    if len({value.shape[1:] for value in values}) > 1:
        raise ValueError(
            f"{name} has shapes {[value.shape for value in values]}; expected equal ones after the first axis."
        )
    return np.concatenate(values)


def _repeat_last(observations: Array, lengths: Array) -> Array:
    """Return observations (N, L+1, ...) in which what follows step `lengths` (N,) is that of this step."""
    short = np.flatnonzero(lengths < observations.shape[1] - 1)
    last = np.minimum(np.arange(observations.shape[1]), lengths[short, None])
    padded = observations.copy()
    padded[short] = observations[short[:, None], last]
    return padded


def _numeric(name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has type {array.dtype}; expected numbers.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}{list(where)} is {array[where].item()!r}; expected finite numbers.")
    return array


def _leading(name: str, value: Any, shape: tuple[int, int]) -> Array:
    array = _numeric(name, value)
    if array.shape[:2] != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected ({shape[0]}, {shape[1]}, ...).")
    return array
