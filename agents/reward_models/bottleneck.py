"""Monotone rewards of named features: every input has a name and a direction, and few labels are enough.

A feature of direction 1 never lowers the reward as it grows, one of -1 never raises it, and one of 0 may do either. The
network is tanh layers with positive weights on signed features beside a linear part with positive weights; weights of
free features in the first layer are of any sign. `reward_ensemble` has no such knowledge, and the comparison of the two
on as many labels is the measure of what names and directions are worth (`label_efficiency`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.control.batched_mlp import BatchedLinear
from valuegym.agents.reward_models.bradley_terry import RewardEnsemble, fit_pairs
from valuegym.agents.reward_models.fitting import FitSettings, Standardiser
from valuegym.agents.reward_models.metrics import accuracy
from valuegym.agents.reward_models.pairs import Pairs
from valuegym.envs import checks

__all__ = ["MonotoneNetwork", "effects", "label_efficiency", "monotone_reward"]


class MonotoneNetwork(nn.Module):
    """E networks from named features (E or 1, ..., D) to one output, monotone in the direction of each.

    Raises:
        ValueError: there is no feature, a name is no text, a direction is not -1, 0 or 1, or a size is not positive.
    """

    direction: Tensor
    outputs = 1

    def __init__(self, directions: Mapping[str, int], members: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        names: list[Any] = list(directions)
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"directions is {directions!r}; expected names of features, each with -1, 0 or 1.")
        for name, value in directions.items():
            checks.choice(f"direction of {name}", value, (-1, 0, 1))
        self.members = checks.integer("members", members, 1)
        checks.integer("width", width, 1)
        self.names: tuple[str, ...] = tuple(names)
        count = len(self.names)
        self.register_buffer("direction", torch.tensor(list(directions.values()), dtype=torch.float32))
        self.standardise = Standardiser(count)
        self.first = BatchedLinear(members, count, width, generator)
        self.last = BatchedLinear(members, width, 1, generator)
        self.linear = BatchedLinear(members, count, 1, generator)
        with torch.no_grad():  # positive weights begin at about 1 / inputs
            for layer, inputs in ((self.first, count), (self.last, width), (self.linear, count)):
                layer.weight.add_(torch.tensor(1.0 / inputs).expm1().log())
            self.first.weight[:, self.direction == 0] -= torch.tensor(1.0 / count).expm1().log()

    @property
    def head(self) -> Tensor:
        """The weights (E, width, 1) of the last layer, before they are made positive."""
        return self.last.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (E, ..., 1)."""
        flat = self.standardise(x).reshape(x.shape[0], -1, x.shape[-1]).expand(self.members, -1, -1)
        constrained = (self.direction != 0)[:, None]
        signed = flat * torch.where(self.direction == 0, 1.0, self.direction)
        weight = torch.where(constrained, F.softplus(self.first.weight), self.first.weight)
        hidden = torch.baddbmm(self.first.bias, signed, weight).tanh()
        linear = F.softplus(self.linear.weight) * constrained
        y = torch.baddbmm(self.last.bias, hidden, F.softplus(self.last.weight)) + signed @ linear
        return y.reshape(self.members, *x.shape[1:-1], 1)


def monotone_reward(
    directions: Mapping[str, int],
    generator: torch.Generator,
    members: int = 3,
    width: int = 16,
    discount: float = 1.0,
) -> RewardEnsemble:
    """Return an ensemble of monotone rewards of named features, in the order of `directions`, for `fit_pairs`.

    Raises:
        ValueError: as `MonotoneNetwork` and `RewardEnsemble`.
    """
    return RewardEnsemble(MonotoneNetwork(directions, members, width, generator), discount)


@torch.no_grad()
def effects(model: RewardEnsemble, low: Sequence[float], high: Sequence[float]) -> dict[str, Tensor]:
    """Return by name the change of reward (E,) as one feature goes from low to high and the others stay at their mean.

    Raises:
        ValueError: the model has no named features, or `low` and `high` do not have one number of each.
    """
    network = model.network
    if not isinstance(network, MonotoneNetwork):
        raise ValueError("model has no named features; expected one of monotone_reward.")
    shift = network.standardise.shift
    ends = [
        torch.where(
            torch.eye(len(shift), dtype=torch.bool, device=shift.device),
            torch.as_tensor(checks.reals(name, values, (len(shift),))).to(shift),
            shift,
        )
        for name, values in (("low", low), ("high", high))
    ]
    change = model.rewards(ends[1][None]) - model.rewards(ends[0][None])
    return dict(zip(network.names, change.unbind(1), strict=True))


def label_efficiency(
    make: Callable[[], RewardEnsemble],
    train: Pairs,
    test: Pairs,
    counts: Sequence[int],
    settings: FitSettings,
    generator: torch.Generator,
) -> dict[int, Tensor]:
    """Return the accuracy (E,) on test pairs of a new model fitted to the first so many training pairs, by count.

    Raises:
        ValueError: a count is not from 1 to the number of training pairs.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    found = {}
    for count in counts:
        model = make()
        kept = train[torch.arange(checks.integer("count", count, 1, len(train)))]
        fit_pairs(model, kept, settings, generator)
        with torch.no_grad():
            found[count] = accuracy(model(test), test.labels)
    return found
