"""What people tell: noisy responses of their values, or choices between items, from a sample of them at every step.

Both kinds are vectors of D numbers, so that every environment of the family has the same observation: a report is the
values that a person states, a choice is the loadings of the item chosen less those of the item left. Shapes: B
episodes, N people, D value dimensions, m responses a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import keys
from valuegym.envs.coevolution import dynamics
from valuegym.envs.coevolution.items import Items

Array = npt.NDArray[Any]

LIMIT = 4.0  # responses are cut at this size along every dimension
KINDS = ("values", "choices")
NEWTON = 8  # iterations of a step's estimate from choices


@dataclass(frozen=True, eq=False)
class Channel:
    """How people are asked and how they answer.

    Attributes:
        kind: "values": everyone asked states x + noise * xi. "choices": everyone asked chooses between two items with
            loadings phi, by Bradley-Terry: the first with probability 1 / (1 + exp(-(phi_1 - phi_2) . x / noise)).
        budget: people asked at each step, drawn with replacement.
        noise: standard deviation of a stated value, or temperature of a choice, in units of value.
        strategic: how far people overstate: they answer for x + strategic (x - what the AI said last).
        delay: steps until an answer arrives; until then the answers of the start are shown.
        items: pairs of items to choose between, drawn with replacement. None: loadings of both are drawn uniformly on
            [-1, 1] in every dimension.
    """

    kind: str = "values"
    budget: int = 20
    noise: float = 0.5
    strategic: float = 0.0
    delay: int = 0
    items: Items | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"responses = {self.kind!r}; expected one of {KINDS}.")
        if self.budget < 1 or self.delay < 0:
            raise ValueError(f"budget = {self.budget}, delay = {self.delay}; expected at least 1 and at least 0.")
        if not (np.isfinite(self.noise) and self.noise >= 0 and np.isfinite(self.strategic)):
            raise ValueError(
                f"noise = {self.noise}, strategic = {self.strategic}; expected finite numbers, noise >= 0."
            )
        if self.kind == "choices" and self.noise == 0:
            raise ValueError("noise = 0; choices need a temperature above 0.")
        if self.kind != "choices" and self.items is not None:
            raise ValueError(f"items are chosen between: they need responses = 'choices', not {self.kind!r}.")

    def draw(self, key: keys.Key, people: Array, message: Array) -> Array:
        """The answers of one step: keys (B,), people (B, N, D), message (B, D) -> (B, m, D)."""
        B, N, D = people.shape
        asked = keys.integers(key[:, None], N, 0, np.arange(self.budget))
        x = np.take_along_axis(people, asked[..., None], axis=1)
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
        """The people's mean as one step's answers (..., m, D) give it by themselves: (..., D).

        The mean of stated values. Of choices the most likely values under one for all, with a standard normal prior,
        by Newton's method: log p(x) = -|x|**2 / 2 - sum_j log(1 + exp(-z_j . x / noise)) for choices z_j.
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
