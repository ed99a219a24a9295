"""The loop and the networks that all learners of this folder share: members of an ensemble train side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from valuegym.agents.control.batched_mlp import MLP
from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks

__all__ = ["MAX_LR", "FitSettings", "RewardNetwork", "Standardiser", "StepNetwork", "fit"]

MAX_LR = 1e3
CACHED_ROWS = 4096

Loss = Callable[[Tensor, int], Tensor]  # rows (E, B) and the step's number -> (E,)


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit: Adam's steps, rows in a batch (None: all), step size, weight decay, bagging.

    With `bagging` each member draws its batches from a bootstrap sample of its own.

    Raises:
        ValueError: a number is not finite or out of its range.
    """

    steps: int = 500
    batch: int | None = 128
    lr: float = 3e-3
    weight_decay: float = 0.0
    bagging: bool = False

    def __post_init__(self) -> None:
        checks.integer("steps", self.steps, 1)
        if self.batch is not None:
            checks.integer("batch", self.batch, 1)
        checks.real("lr", self.lr, high=MAX_LR, above=0)
        checks.real("weight_decay", self.weight_decay, 0, MAX_LR)
        checks.flag("bagging", self.bagging)


def fit(
    name: str,
    parameters: Iterable[Tensor],
    loss: Loss,
    count: int,
    settings: FitSettings,
    generator: torch.Generator,
    members: int = 1,
    other_rates: Sequence[tuple[Tensor, float]] = (),
) -> Tensor:
    """Minimise the mean loss of each member over `count` rows, and return it for every step, (steps, E).

    The members' losses are added, so that with a parameter per member none learns from another's loss. `other_rates`
    are further parameters with step sizes of their own.

    Raises:
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    groups: list[dict[str, object]] = [{"params": list(parameters)}]
    groups += [{"params": [parameter], "lr": lr} for parameter, lr in other_rates]
    optimiser = torch.optim.Adam(groups, settings.lr, weight_decay=settings.weight_decay, fused=True)
    trained = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    place, device = generator.device, trained[0].device
    rows = torch.arange(count, device=place).expand(members, count)
    if settings.bagging:
        rows = torch.randint(count, (members, count), generator=generator, device=place)
    history = []
    for step in range(settings.steps):
        taken = rows
        if settings.batch is not None and settings.batch < count:
            taken = rows.gather(1, torch.randint(count, (members, settings.batch), generator=generator, device=place))
        losses = loss(taken.to(device), step)
        if not losses.isfinite().all():
            raise DivergenceError(
                f"the loss of {name} is {losses.tolist()} in step {step + 1} of {settings.steps}; "
                f"smaller inputs, or an lr below {settings.lr}, may help."
            )
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        optimiser.step()
        history.append(losses.detach())
    if not all(parameter.isfinite().all() for parameter in trained):
        raise DivergenceError(f"a parameter of {name} is not finite after {settings.steps} steps; lr {settings.lr}.")
    return torch.stack(history)


class Standardiser(nn.Module):
    """Inputs with mean 0 and standard deviation 1 over the steps it was fitted to; constant inputs become 0."""

    shift: Tensor
    scale: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    @torch.no_grad()
    def fit(self, inputs: Tensor, mask: Tensor) -> None:
        """Set mean and scale from inputs (..., L, D) where mask (..., L) is not 0.

        Raises:
            ValueError: the number of inputs is another one.
        """
        if inputs.shape[-1] != len(self.shift):
            raise ValueError(f"pairs have {inputs.shape[-1]} inputs a step; expected {len(self.shift)}.")
        steps = inputs[mask > 0]
        self.shift.copy_(steps.mean(0))
        scale = steps.std(0, correction=0)
        # Rounding leaves a constant a deviation of about the last digit.
        self.scale.copy_(torch.where(scale > 1e-5 * (1 + self.shift.abs()), scale, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return (x - mean) / scale."""
        return (x - self.shift) / self.scale


class RewardNetwork(Protocol):
    """Interface of the networks that a `RewardEnsemble` takes: inputs (E or 1, ..., D) -> (E, ..., outputs)."""

    members: int
    outputs: int
    standardise: Standardiser

    @property
    def head(self) -> Tensor:
        """The weights (E, width, outputs) of the last layer."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs."""


class StepNetwork(nn.Module):
    """E multilayer perceptrons over steps with standardised inputs: (E or 1, ..., D) -> (E, ..., outputs).

    Raises:
        ValueError: a size is not a positive integer, or depth is negative.
    """

    def __init__(
        self, members: int, inputs: int, outputs: int, width: int, depth: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        for name, value in (("members", members), ("inputs", inputs), ("outputs", outputs), ("width", width)):
            checks.integer(name, value, 1)
        checks.integer("depth", depth, 0)
        self.members, self.outputs = members, outputs
        self.standardise = Standardiser(inputs)
        self.mlp = MLP(members, inputs, outputs, width, depth, generator=generator)

    @property
    def head(self) -> Tensor:
        """The weights (E, width, outputs) of the last layer."""
        weight: Tensor = self.mlp.output.weight
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs for inputs that all members share, (1, ..., D), or with an axis of members."""
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        # Without gradients, parts that stay in the cache of the processor take two thirds of the time.
        size = flat.shape[1] if torch.is_grad_enabled() else CACHED_ROWS
        parts = [self.mlp(self.standardise(part).expand(self.members, -1, -1)) for part in flat.split(size or 1, 1)]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return y.reshape(self.members, *x.shape[1:-1], -1)
