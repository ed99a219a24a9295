"""What an agent is: anything with Stable-Baselines3's `learn` and `predict`. A trained SB3 model is one unchanged."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Agent(Protocol):
    """The protocol of agents. Observations are those of one environment, or of several with a leading axis (N,)."""

    def learn(self, total_timesteps: int) -> Any:
        """Train in the environment given at construction; agents that learn while they act return at once."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions and the agent's memory, to be handed back at the next step.

        Episode_start (N,) tells which environments have just been reset.
        """


def batch_size(observation: Any, space: Any) -> int | None:
    """Number of environments in a batched observation of this space; None for a single observation."""
    if isinstance(observation, dict):
        name = next(iter(observation))
        return batch_size(observation[name], space[name])
    shape = np.shape(observation)
    return None if len(shape) == len(space.shape or ()) else shape[0]
