"""Dynamics models: an ensemble of small networks that predict the next observation and the reward.

Inputs and targets are standardised, states and rewards each on their own scale, and the reward has a network of its
own: on a common scale or trunk, the larger of the two would leave no capacity to the other. `width`, `depth` and `rank`
set the capacity.

Sources: Chua et al. (2018), probabilistic ensembles; Janner et al. (2019), model-based policy optimisation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.control import losses
from valuegym.agents.control.batched_mlp import MLP, join_networks
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.finite import all_finite
from valuegym.agents.control.losses import Loss, LossWeights, Prediction
from valuegym.agents.divergence import DivergenceError

__all__ = [
    "Architecture",
    "Ensemble",
    "ModelFit",
    "copy_standardisation",
    "evaluate",
    "fit",
    "fit_together",
    "join_models",
    "scale_of",
]

LOG_STD = (-5.0, 1.0)  # bounds of a Gaussian model's log standard deviations, in units of those of the targets


@dataclass(frozen=True)
class Architecture:
    """Sizes and kind of an ensemble.

    Attributes:
        members: networks in the ensemble.
        width: units in each hidden layer.
        depth: hidden layers; 0 is a linear model.
        rank: of the last layer; None for full rank.
        reward_width: units in the hidden layers of the reward's own network; 0 lets it share that of the states.
        residual: whether the change of the observation is predicted instead of the next observation.
        gaussian: whether standard deviations are predicted as well.
    """

    members: int = 5
    width: int = 64
    depth: int = 3
    rank: int | None = None
    reward_width: int = 32
    residual: bool = False
    gaussian: bool = False


def scale_of(x: Tensor) -> Tensor:
    """Return standard deviations (D,) of the columns of x (N, D), 1 for constant columns."""
    sd = x.std(0, correction=0)
    return torch.where(sd > 1e-6 * x.abs().amax(0).clamp_min(1e-30), sd, torch.ones_like(sd))


class Ensemble(nn.Module):
    """E models of the dynamics of observations (D,) under actions (A,).

    Raises:
        ValueError: a size is not positive.
    """

    input_mean: Tensor
    input_scale: Tensor
    target_mean: Tensor
    target_scale: Tensor
    reward_mean: Tensor
    reward_scale: Tensor

    def __init__(self, D: int, A: int, architecture: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.D, self.architecture = D, architecture
        a, per = architecture, 2 if architecture.gaussian else 1
        states = D if a.reward_width else D + 1
        self.states = MLP(a.members, D + A, per * states, a.width, a.depth, a.rank, generator=generator)
        self.rewards = (
            MLP(a.members, D + A, per, a.reward_width, max(a.depth, 1), generator=generator) if a.reward_width else None
        )
        for name, size in (("input", D + A), ("target", D)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.register_buffer("reward_mean", torch.zeros(()))
        self.register_buffer("reward_scale", torch.ones(()))

    def standardise(self, transitions: Transitions) -> None:
        """Take means and scales of inputs and targets from transitions (N, ...)."""
        target = transitions.next_observation
        if self.architecture.residual:
            target = target - transitions.observation
        inputs = torch.cat([transitions.observation, transitions.action], -1)
        self.input_mean, self.input_scale = inputs.mean(0), scale_of(inputs)
        self.target_mean, self.target_scale = target.mean(0), scale_of(target)
        self.reward_mean, self.reward_scale = transitions.reward.mean(), scale_of(transitions.reward[:, None])[0]

    def forward(self, observation: Tensor, action: Tensor, noise: Tensor | None = None) -> Prediction:
        """Return predictions (E, B, ...) for inputs (E, B, D), (E, B, A), or (B, D), (B, A) shared by all members.

        Standard normal noise (M, E, B, D) gives M samples of a Gaussian model's next observation.
        """
        inputs = (torch.cat([observation, action], -1) - self.input_mean) / self.input_scale
        if inputs.ndim == 2:
            inputs = inputs.expand(self.architecture.members, *inputs.shape)
        out = self.states(inputs)
        if self.rewards is not None:
            reward = self.rewards(inputs)
            n = self.D
            parts = (out[..., :n], reward[..., :1], out[..., n:], reward[..., 1:])
        else:
            n = self.D + 1
            parts = (out[..., : n - 1], out[..., n - 1 : n], out[..., n : 2 * n - 1], out[..., 2 * n - 1 :])
        mean = self.target_mean + self.target_scale * parts[0]
        if self.architecture.residual:
            mean = mean + observation
        rewards = self.reward_mean + self.reward_scale * parts[1][..., 0]
        if not self.architecture.gaussian:
            return Prediction(mean, rewards)
        log_std = torch.cat(parts[2:], -1)
        log_std = LOG_STD[1] - F.softplus(LOG_STD[1] - log_std)
        log_std = LOG_STD[0] + F.softplus(log_std - LOG_STD[0])
        samples = None if noise is None else mean + self.target_scale * torch.exp(log_std[..., :-1]) * noise
        return Prediction(mean, rewards, log_std, samples)

    def error_units(self, discount: float) -> LossWeights:
        """Return the units of this model's errors, without weights."""
        return LossWeights(self.target_scale, self.reward_scale, discount, torch.ones_like(self.target_scale[..., 0]))

    @torch.no_grad()
    def step(self, observation: Tensor, action: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return next observations (B, D) and rewards (B,), each by a random member and with its noise, if any."""
        B = len(observation)
        member = torch.randint(self.architecture.members, (B,), generator=generator)
        shape = (1, self.architecture.members, B, self.D)
        noise = torch.randn(shape, generator=generator) if self.architecture.gaussian else None
        return self.step_of(observation, action, member, noise)

    @torch.no_grad()
    def step_of(
        self, observation: Tensor, action: Tensor, member: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return next observations (B, D) and rewards (B,) by these members (B,).

        A Gaussian model takes standard normal noise (1, E, B, D).
        """
        B = len(observation)
        out = self(observation, action, None if noise is None else noise.to(observation.device))
        mean = out.observation if out.samples is None else out.samples[0]
        index = member.to(mean.device), torch.arange(B, device=mean.device)
        return mean[index], out.reward[index]


class ModelFit(NamedTuple):
    """The data one model is fitted to, and the loss and weights of its errors."""

    transitions: Transitions  # N of them
    training: Tensor  # (R,) numbers of the transitions for training, on the CPU
    loss: Loss
    weights: LossWeights  # N rows
    generator: torch.Generator


def fit(model: Ensemble, optimiser: torch.optim.Optimizer, data: ModelFit, steps: int, batch: int = 256) -> float:
    """Take gradient steps on the mean loss over random transitions, independent ones for each member.

    Returns:
        The mean loss over the last tenth of the steps.

    Raises:
        DivergenceError: that loss or the model is not finite.
    """
    return fit_together(model, optimiser, [data], steps, batch)[0]


def join_models(models: Sequence[Ensemble]) -> Ensemble:
    """Return one ensemble with the members of all models, whose parameters become views of its own."""
    joint = join_networks(models)
    joint.architecture = replace(joint.architecture, members=sum(m.architecture.members for m in models))
    copy_standardisation(joint, models)
    return joint


def copy_standardisation(joint: Ensemble, models: Sequence[Ensemble]) -> None:
    """Give all members of a joint ensemble the means and scales of their own model."""
    for name, _ in models[0].named_buffers():
        setattr(joint, name, _repeat([getattr(m, name) for m in models], models[0].architecture.members))


def _repeat(values: Sequence[Tensor], members: int) -> Tensor:
    """Return values (...) of N models as (N * members, 1, ...), one for each member of a joint ensemble."""
    return torch.stack(list(values)).repeat_interleave(members, 0)[:, None]


def fit_together(
    model: Ensemble, optimiser: torch.optim.Optimizer, fits: Sequence[ModelFit], steps: int, batch: int = 256
) -> list[float]:
    """Fit several models that were joined into one, each to its own transitions under its own loss, as `fit` does.

    Losses are summed over members, so that no member changes the step of another. Neighbours with the same loss are
    evaluated in one call.

    Raises:
        DivergenceError: the loss over the last tenth of the steps or a model is not finite.
    """
    members = model.architecture.members // len(fits)
    data = Transitions(*(torch.cat(column) for column in zip(*(f.transitions for f in fits), strict=True)))
    first = itertools.accumulate((len(f.transitions.reward) for f in fits), initial=0)
    training = [f.training + n for f, n in zip(fits, first, strict=False)]
    groups = list(_groups(fits, members))
    sampled = model.architecture.gaussian and any(f.weights.values is not None for f in fits)
    shape = (2, members, batch, model.D)
    recent = []
    for i in range(steps):
        each = zip(training, fits, strict=True)
        drawn = torch.cat([rows[torch.randint(len(rows), (members, batch), generator=f.generator)] for rows, f in each])
        index = drawn.to(data.reward.device)
        noise = torch.cat([torch.randn(shape, generator=f.generator) for f in fits], 1) if sampled else None
        noise = None if noise is None else noise.to(index.device)
        actual = data.take(index)
        prediction = model(actual.observation, actual.action, noise)
        mean = torch.cat(
            [
                loss(prediction.of_members(m), actual.take(m), weights.take(index[m] - offset)).mean(-1)
                for m, offset, loss, weights in groups
            ]
        )
        optimiser.zero_grad(set_to_none=True)
        mean.sum().backward()
        optimiser.step()
        if i >= steps - max(steps // 10, 1):
            recent.append(mean.detach())
    if not all_finite([*model.parameters(), *recent]):
        raise DivergenceError(f"The model diverged: after {steps} gradient steps its weights or loss are not finite.")
    return torch.stack(recent).mean(0).view(len(fits), members).mean(1).tolist() if recent else [0.0] * len(fits)


def _groups(fits: Sequence[ModelFit], members: int) -> Iterator[tuple[slice, int, Loss, LossWeights]]:
    """Yield, for neighbours with the same loss, their members, first transition, loss and weights."""
    at, first = 0, 0
    for loss, group in itertools.groupby(fits, lambda f: f.loss):
        own = list(group)
        yield slice(at, at + members * len(own)), first, loss, _join_weights([f.weights for f in own], members)
        at, first = at + members * len(own), first + sum(len(f.transitions.reward) for f in own)


def _join_weights(each: Sequence[LossWeights], members: int) -> LossWeights:
    """Return the weights of several models as those of a joint ensemble: units by member, rows one after another."""
    one = each[0]
    if len(each) == 1:
        return one
    rows = zip(*(weights.rows for weights in each), strict=True)
    return LossWeights(
        _repeat([weights.scale for weights in each], members),
        _repeat([weights.reward_scale for weights in each], members),
        one.discount,
        _repeat([weights.normaliser for weights in each], members),
        None if one.values is None else _join_values([weights.values for weights in each]),
        *(None if field[0] is None else torch.cat(field) for field in rows),
    )


def _join_values(values: Sequence[losses.Values | None]) -> losses.Values:
    """Return values at observations (M, N * members, B, D), by the critics of the run that a member belongs to."""

    def joint(observation: Tensor) -> Tensor:
        parts = zip(values, observation.chunk(len(values), 1), strict=True)
        return torch.cat([value(part) for value, part in parts if value is not None], 1)

    return joint


@torch.no_grad()
def evaluate(model: Ensemble, transitions: Transitions, rows: Tensor, loss: Loss, weights: LossWeights) -> Tensor:
    """Return the mean loss (E,) of every member on the same transitions, those with the numbers `rows`."""
    actual = transitions.take(rows)
    return loss(model(actual.observation, actual.action), actual, weights.take(rows)).mean(-1)
