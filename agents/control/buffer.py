"""Transitions, and the replay buffer that keeps them as rows of one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["ReplayBuffer", "Transitions"]


class Transitions(NamedTuple):
    """Transitions (s, a, r, s') of any leading shape; their one form from the environment to every loss."""

    observation: Tensor  # (..., D)
    action: Tensor  # (..., A) in [-1, 1]
    reward: Tensor  # (...)
    next_observation: Tensor  # (..., D)
    terminated: Tensor  # (...) bool, or 0 and 1: the episode ended there; not where only a time limit cut it off

    def take(self, index: Any) -> Transitions:
        """Return the transitions with these numbers, of any shape."""
        return Transitions(*(column[index] for column in self))

    def to_rows(self) -> Tensor:
        """Return transitions (N, ...) as rows (N, 2 D + A + 2)."""
        return torch.cat([column[:, None] if column.ndim == 1 else column for column in self], -1)

    @classmethod
    def from_rows(cls, rows: Tensor, D: int, A: int) -> Transitions:
        """Return rows (..., 2 D + A + 2) as transitions, whose tensors are views."""
        observation, action, reward, next_observation, terminated = rows.split([D, A, 1, D, 1], -1)
        return cls(observation, action, reward[..., 0], next_observation, terminated[..., 0])


class ReplayBuffer:
    """The last `size` transitions of D observed dimensions and A dimensions of action, the oldest overwritten."""

    def __init__(self, size: int, D: int, A: int) -> None:
        self.D, self.A, self.size, self.rows, self._next = D, A, size, 0, 0
        self.table = torch.zeros(size, 2 * D + A + 2)

    @property
    def transitions(self) -> Transitions:
        """The transitions that are there."""
        return Transitions.from_rows(self.table[: self.rows], self.D, self.A)

    def add(self, rows: Tensor) -> None:
        """Append rows (N, 2 D + A + 2)."""
        while len(rows):
            part = rows[: self.size - self._next]
            self.table[self._next : self._next + len(part)] = part
            self.rows = max(self.rows, self._next + len(part))
            self._next = (self._next + len(part)) % self.size
            rows = rows[len(part) :]

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return rows (*shape, 2 D + A + 2) drawn uniformly, with replacement."""
        return self.table[torch.randint(self.rows, shape, generator=generator)]

    def state(self) -> dict[str, Any]:
        """Return the rows that are there, and where the next one goes."""
        return {"rows": self.table[: self.rows], "next": self._next}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the rows of a buffer of the same size."""
        rows = torch.as_tensor(state["rows"])
        self.rows, self._next = len(rows), int(state["next"])
        self.table[: self.rows] = rows
