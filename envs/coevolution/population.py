"""A population that responds: arguments, observations and responses that Follow, Predict and Coevolve share."""

from __future__ import annotations

import math
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.coevolution import items as banks
from valuegym.envs.coevolution import networks, recorded, trajectories
from valuegym.envs.coevolution.responses import LIMIT, Channel

__all__ = [
    "DRAWN",
    "LARGEST",
    "SMALLEST",
    "Responding",
    "all_agree",
    "check_numbers",
    "check_sizes",
    "is_exact",
    "observation",
    "observation_space",
    "opinions_of",
    "sources",
    "undefined",
]

Array = npt.NDArray[Any]

STEPS, PEOPLE, DIMENSIONS = 100_000, 1_000_000, 1_000  # at most
NUMBERS = 20_000_000  # in one array of an episode, at most
DRAWN = 1_000  # people or responses in a picture, at most
SMALLEST, LARGEST = 1e-6, 1e6  # of scales and distances: their squares and quotients are far from overflow


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


def check_sizes(steps: int, people: int, dimensions: int, scale: float) -> tuple[int, int, int, float]:
    """Check the arguments that need no file, and return them in their plain types.

    Raises:
        ValueError: a count or the scale is outside its range.
    """
    steps, people = checks.integer("steps", steps, 1, STEPS), checks.integer("people", people, 1, PEOPLE)
    dimensions = checks.integer("dimensions", dimensions, 1, DIMENSIONS)
    check_numbers(steps=steps, dimensions=dimensions)
    check_numbers(people=people, dimensions=dimensions)
    return steps, people, dimensions, checks.real("scale", scale, SMALLEST, LARGEST)


def check_numbers(**sizes: int) -> None:
    """Check that an array of these sizes, by the names of the arguments, fits into memory.

    Raises:
        ValueError: it holds too many numbers.
    """
    if math.prod(sizes.values()) > NUMBERS:
        given = " and ".join(f"{name} = {size}" for name, size in sizes.items())
        raise ValueError(f"{given} make {math.prod(sizes.values())} numbers; expected a product of at most {NUMBERS}.")


def is_exact(channel: Channel) -> bool:
    """Tell whether people state their values without noise and without overstating them."""
    return channel.kind == "values" and channel.noise == 0 and channel.strategic == 0


def all_agree(opinions: Array) -> npt.NDArray[np.bool_]:
    """Tell which populations (..., N, D) hold one opinion: (...)."""
    return np.asarray((opinions == opinions[..., :1, :]).all((-2, -1)))


def undefined(reason: str, change: str) -> ValueError:
    """Return the error of a task in which the oracle is not above the naive reference, so that no score is defined."""
    return ValueError(f"{reason}: the naive reference earns what the oracle does, and no score is defined; {change}.")


def opinions_of(opinions: Array, people: int, dimensions: int) -> Array:
    """Return the opinions (B, N, D) of a reset option.

    Raises:
        ValueError: the shape is another one, or an opinion is not finite or beyond what people can state.
    """
    return checks.reals("opinions", opinions, (None, people, dimensions), -LIMIT, LIMIT)


def sources(
    family: Any, network: Any, items: Any, people: int, times: int, dimensions: int, data: Any
) -> tuple[trajectories.Family, networks.Network | None, banks.Items | None, tuple[str, ...]]:
    """Return the path of values, the social network, the items of choices, and the SHA-256 of all that has content.

    `times` is the length of the paths that will be drawn.

    Raises:
        ValueError: a name is unknown, or a file or network does not match the number of people, times or dimensions.
        FileNotFoundError: a recorded path or the items are missing.
    """
    trajectory = trajectories.by_name(family, data)
    if isinstance(trajectory, recorded.Recorded):
        trajectory.check(times, dimensions)
    ties = networks.by_name(network, people)
    bank = None if items is None else banks.by_name(items, dimensions, data)
    return trajectory, ties, bank, recorded.hashes(trajectory, bank, ties)


def observation_space(channel: Channel, dimensions: int, message: int) -> gym.spaces.Dict:
    """Return the space of observations, for actions of `message` numbers.

    Raises:
        ValueError: the responses are too many numbers.
    """
    check_numbers(budget=channel.budget, dimensions=dimensions)
    check_numbers(budget=channel.budget, dimensions=dimensions, **{"delay + 1": channel.delay + 1})
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
