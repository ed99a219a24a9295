"""The agent `dial_pack.turner`."""

from __future__ import annotations

from typing import Any

import numpy as np

from valuegym.agents.base import BatchAgent


class Turner(BatchAgent):
    """Agent that turns towards the mark."""

    def __init__(self, env: Any, seed: int = 0, strength: float = 10.0) -> None:
        super().__init__(env, seed)
        self.strength = strength

    def act(self, observation: Any, memory: Any, start: Any) -> tuple[Any, Any]:
        """Return actions (N, 1) for observations (N, 1)."""
        return np.clip(self.strength * observation, -1, 1).astype(np.float32), memory
