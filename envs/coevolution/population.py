"""A population that responds: arguments, observations and responses that Follow, Predict and Coevolve share."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs.coevolution import items as banks
from valuegym.envs.coevolution import networks, recorded, trajectories
from valuegym.envs.coevolution.responses import LIMIT, Channel

__all__ = ["Responding", "check_sizes", "observation", "observation_space", "sources"]

Array = npt.NDArray[Any]


class Responding(Protocol):
    """The part of a state from which observations are made."""

    @property
    def t(self) -> Array:
        """Steps so far (B,)."""

    @property
    def last_message(self) -> Array:
        """The last action (B, A), zeros at the start."""

    @property
    def pending_responses(self) -> Array:
        """Responses on their way (B, delay+1, m, D), the oldest first."""


def check_sizes(steps: int, people: int, dimensions: int, scale: float) -> None:
    """Check the arguments that need no file.

    Raises:
        ValueError: a count is below 1, or the scale is not above 0.
    """
    if min(steps, people, dimensions) < 1:
        raise ValueError(f"steps = {steps}, people = {people}, dimensions = {dimensions}; expected at least 1 each.")
    if not scale > 0:
        raise ValueError(f"scale = {scale}; expected a number above 0.")


def sources(
    family: str, network: Any, items: str | None, people: int, dimensions: int, data: str | None
) -> tuple[trajectories.Family, networks.Network | None, banks.Items | None, tuple[str, ...]]:
    """Return the path of values, the social network, the items of choices, and the SHA-256 of all that has content.

    Raises:
        ValueError: a name is unknown, or a file or network does not match the number of people or dimensions.
        FileNotFoundError: a recorded path or the items are missing.
    """
    trajectory = trajectories.by_name(family, data)
    ties = networks.by_name(network, people)
    bank = None if items is None else banks.by_name(items, dimensions, data)
    return trajectory, ties, bank, recorded.hashes(trajectory, bank, ties)


def observation_space(channel: Channel, dimensions: int, message: int) -> gym.spaces.Dict:
    """Return the space of observations, for actions of `message` numbers."""
    return gym.spaces.Dict(
        responses=gym.spaces.Box(-LIMIT, LIMIT, (channel.budget * dimensions,), np.float32),
        last_message=gym.spaces.Box(-1, 1, (message,), np.float32),
        time=gym.spaces.Box(0, 1, (1,), np.float32),
    )


def observation(state: Responding, steps: int) -> dict[str, Array]:
    """Return the oldest pending responses, the last action, and the elapsed share of the episode."""
    return {
        "responses": state.pending_responses[:, 0].reshape(len(state.t), -1).astype(np.float32),
        "last_message": state.last_message.copy(),
        "time": (state.t[:, None] / steps).astype(np.float32),
    }
