"""Responses of people: stated values with noise, or choices between items, from a sample of them at every step.

Both kinds are vectors of D numbers, so that every environment of the family has the same observation: a statement is
the values that a person states, a choice is the loadings of the item chosen minus those of the other item. Shapes: B
episodes, N people, D value dimensions, m responses per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys
from valuegym.envs.coevolution import dynamics
from valuegym.envs.coevolution.items import Items

__all__ = ["LIMIT", "Channel", "advance", "initial"]

Array = npt.NDArray[Any]

LIMIT = 4.0  # stated values are clipped to +-LIMIT in every dimension
KINDS = ("values", "choices")
BUDGET, DELAY, LARGEST = 100_000, 1_000, 1e6  # at most
COLDEST = 1e-3  # temperature of choices, at least
NEWTON = 8  # iterations of a step's estimate from choices


@dataclass(frozen=True, eq=False)
class Channel:
    """Sampling of people and law of their responses.

    Attributes:
        kind: "values": each respondent states x + noise * xi. "choices": each chooses between two items with loadings
            phi, by Bradley-Terry: the first with probability 1 / (1 + exp(-(phi_1 - phi_2) . x / noise)).
        budget: respondents per step, drawn with replacement.
        noise: standard deviation of a stated value, or temperature of a choice, in units of value.
        strategic: how far people overstate: they respond for x + strategic (x - last message).
        delay: steps until a response arrives; until then those of the start are observed.
        items: pairs of items to choose between, drawn with replacement. None: loadings of both are drawn uniformly on
            [-1, 1] in every dimension.

    Raises:
        ValueError: a field is outside its range, or items are given for stated values.
    """

    kind: str = "values"
    budget: int = 20
    noise: float = 0.5
    strategic: float = 0.0
    delay: int = 0
    items: Items | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("kind", checks.choice("responses", self.kind, KINDS)),
            ("budget", checks.integer("budget", self.budget, 1, BUDGET)),
            ("delay", checks.integer("delay", self.delay, 0, DELAY)),
            ("noise", checks.real("noise", self.noise, 0.0, LARGEST)),
            ("strategic", checks.real("strategic", self.strategic, -LARGEST, LARGEST)),
        ):
            object.__setattr__(self, name, value)  # in its plain type
        if self.kind == "choices" and self.noise < COLDEST:
            raise ValueError(f"noise is {self.noise}; expected at least {COLDEST}: choices need a temperature above 0.")
        if self.kind != "choices" and self.items is not None:
            raise ValueError(f"items are for choices: they need responses = 'choices', not {self.kind!r}.")

    def draw(self, key: keys.Key, people: Array, message: Array) -> Array:
        """Draw the responses of one step: keys (B,), people (B, N, D), message (B, D) -> (B, m, D)."""
        B, N, D = people.shape
        respondent = keys.integers(key[:, None], N, 0, np.arange(self.budget))
        x = np.take_along_axis(people, respondent[..., None], axis=1)
        if self.strategic:
            x = x + self.strategic * (x - message[:, None])
        index = np.arange(self.budget * D)
        if self.kind == "values":
            noise = keys.irwin_hall(key[:, None], 1, index).reshape(B, self.budget, D)
            return np.clip(x + self.noise * noise, -LIMIT, LIMIT)
        if self.items is None:
            first, second = (
                2.0 * keys.uniform(key[:, None], i, index).reshape(B, self.budget, D) - 1.0 for i in (1, 2)
            )
            items = first - second
        else:
            bank = self.items.differences
            items = bank[keys.integers(key[:, None], len(bank), 1, np.arange(self.budget))]
        liked = dynamics.total(items * x, -1) > self.noise * keys.logistic(key[:, None], 3, np.arange(self.budget))
        return np.where(liked[..., None], items, -items)

    def estimate(self, responses: Array) -> Array:
        """Return the reading of one step's responses (..., m, D), an estimate of the people's mean: (..., D).

        For stated values their mean. For choices z_j the most likely values if they were the same for all people, with
        a standard normal prior, by Newton's method: log p(x) = -|x|**2 / 2 - sum_j log(1 + exp(-z_j . x / noise)).
        """
        if self.kind == "values":
            return responses.mean(-2)
        z = responses / self.noise
        x = np.zeros((*responses.shape[:-2], responses.shape[-1]))
        for _ in range(NEWTON):
            p = 1.0 / (1.0 + np.exp(np.clip((z * x[..., None, :]).sum(-1), -50, 50)))
            slope = (z * p[..., None]).sum(-2) - x
            curvature = np.einsum("...m,...mi,...mj->...ij", p * (1 - p), z, z) + np.eye(x.shape[-1])
            x = x + np.linalg.solve(curvature, slope[..., None])[..., 0]
        return x


def initial(channel: Channel, key: keys.Key, people: Array) -> Array:
    """Return the pending responses (B, delay + 1, m, D) at the start, the oldest first, before any message."""
    silence = np.zeros((len(people), people.shape[-1]))
    first = [channel.draw(keys.mix(key, keys.RESET, 100 + i), people, silence) for i in range(channel.delay)]
    return np.stack([*first, channel.draw(keys.mix(key, 0), people, silence)], axis=1)


def advance(channel: Channel, pending: Array, key: keys.Key, t: Array, people: Array, message: Array) -> Array:
    """Return the pending responses one step later: those of step t (B,) are added, the oldest removed."""
    return np.concatenate([pending[:, 1:], channel.draw(keys.mix(key, t), people, message)[:, None]], axis=1)
