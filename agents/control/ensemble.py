"""Dynamics models: an ensemble of small networks that predict the next observation and the reward.

Inputs and targets are standardised, states and rewards each on their own scale, and the reward has a network of its
own: on a common scale or trunk, whichever of the two is larger would starve the other. Capacity is a matter of
`width`, `depth` and `rank`.

Sources: Chua et al. (2018), probabilistic ensembles; Janner et al. (2019), model-based policy optimisation.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.control import losses
from valuegym.agents.control.losses import Context, Guide, Loss, Prediction, Target
from valuegym.agents.control.networks import MLP, side_by_side

LOG_STD = (-5.0, 1.0)  # bounds of a Gaussian model's, in units of the targets' standard deviation


@dataclass(frozen=True)
class Architecture:
    """What a model can represent.

    Attributes:
        members: networks in the ensemble.
        width: units in each hidden layer.
        depth: hidden layers; 0 is a linear model.
        rank: of the last layer, None for any.
        reward_width: units in the hidden layers of the reward's own network; 0 lets it share that of the states.
        residual: whether the change of the observation is predicted and not the next observation itself.
        gaussian: whether standard deviations are predicted too.
    """

    members: int = 5
    width: int = 64
    depth: int = 3
    rank: int | None = None
    reward_width: int = 32
    residual: bool = False
    gaussian: bool = False


class Transitions(NamedTuple):
    """What a model is fitted to: N transitions."""

    observation: Tensor  # (N, D)
    action: Tensor  # (N, A)
    target: Target


def scale_of(x: Tensor) -> Tensor:
    """Standard deviations (D,) of the columns of x (N, D), 1 for constant columns."""
    sd = x.std(0, correction=0)
    return torch.where(sd > 1e-6 * x.abs().amax(0).clamp_min(1e-30), sd, torch.ones_like(sd))


class Ensemble(nn.Module):
    """E models of the dynamics of observations (D,) under actions (A,)."""

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

    def standardise(self, data: Transitions) -> None:
        """Take means and scales from data."""
        target = data.target.observation - data.observation if self.architecture.residual else data.target.observation
        inputs = torch.cat([data.observation, data.action], -1)
        self.input_mean, self.input_scale = inputs.mean(0), scale_of(inputs)
        self.target_mean, self.target_scale = target.mean(0), scale_of(target)
        self.reward_mean, self.reward_scale = data.target.reward.mean(), scale_of(data.target.reward[:, None])[0]

    def forward(self, observation: Tensor, action: Tensor, noise: Tensor | None = None) -> Prediction:
        """Predictions (E, B, ...) for inputs (E, B, D), (E, B, A), or (B, D), (B, A) shared by all members.

        Standard normal noise (M, E, B, D) makes M samples of a Gaussian model's next observation.
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

    def context(self, discount: float, values: losses.Values | None = None) -> Context:
        """The units of this model's errors."""
        return Context(self.target_scale, self.reward_scale, discount, values)

    @torch.no_grad()
    def step(self, observation: Tensor, action: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Next observations (B, D) and rewards (B,), each by a member drawn at random and with its noise, if any."""
        B = len(observation)
        member = torch.randint(self.architecture.members, (B,), generator=generator)
        shape = (1, self.architecture.members, B, self.D)
        noise = torch.randn(shape, generator=generator) if self.architecture.gaussian else None
        out = self(observation, action, None if noise is None else noise.to(observation.device))
        mean = out.observation if out.samples is None else out.samples[0]
        index = member.to(mean.device), torch.arange(B, device=mean.device)
        return mean[index], out.reward[index]


class Fit(NamedTuple):
    """What one model is fitted to: transitions, the numbers (R,) of those for training, and what errors cost."""

    data: Transitions
    rows: Tensor
    loss: Loss
    guide: Guide
    context: Context
    generator: torch.Generator


def fit(
    model: Ensemble,
    optimiser: torch.optim.Optimizer,
    data: Transitions,
    rows: Tensor,
    loss: Loss,
    guide: Guide,
    context: Context,
    steps: int,
    generator: torch.Generator,
    batch: int = 256,
) -> float:
    """`steps` steps of gradient descent on the mean loss over random rows, other ones for each member.

    `rows` (R,) are the numbers of the transitions for training, on the CPU. Returns the mean loss of the last tenth of
    the steps.
    """
    return fit_together(model, optimiser, [Fit(data, rows, loss, guide, context, generator)], steps, batch)[0]


def joined(models: Sequence[Ensemble]) -> Ensemble:
    """One ensemble with the members of all, whose parameters become views of its own; see `adopt`."""
    whole = side_by_side(models)
    whole.architecture = replace(whole.architecture, members=sum(m.architecture.members for m in models))
    return whole


def adopt(whole: Ensemble, models: Sequence[Ensemble]) -> None:
    """Give all members of a joined ensemble the means and scales of their own model."""
    for name, _ in models[0].named_buffers():
        setattr(whole, name, _spread([getattr(m, name) for m in models], models[0].architecture.members))


def _spread(values: Sequence[Tensor], members: int) -> Tensor:
    """Values (...) of N models as (N * members, 1, ...), one for each member of a joined ensemble."""
    return torch.stack(list(values)).repeat_interleave(members, 0)[:, None]


def fit_together(
    model: Ensemble, optimiser: torch.optim.Optimizer, fits: Sequence[Fit], steps: int, batch: int = 256
) -> list[float]:
    """`fit` for several models joined into one, each with its own transitions, random rows and loss.

    Losses are summed over members, so that none has a part in another's step. Neighbours with the same loss are
    evaluated as one.
    """
    members = model.architecture.members // len(fits)
    columns = [torch.cat(column) for column in zip(*(f.data[:2] for f in fits), strict=True)]
    target = Target(*(torch.cat(column) for column in zip(*(f.data.target for f in fits), strict=True)))
    first = itertools.accumulate((len(f.data.observation) for f in fits), initial=0)
    rows = [f.rows + n for f, n in zip(fits, first, strict=False)]
    shares = _shares(fits, members)
    sampled = model.architecture.gaussian and any(f.context.values is not None for f in fits)
    shape = (2, members, batch, model.D)
    recent = []
    for i in range(steps):
        each = zip(rows, fits, strict=True)
        drawn = torch.cat([r[torch.randint(len(r), (members, batch), generator=f.generator)] for r, f in each])
        index = drawn.to(target.reward.device)
        noise = torch.cat([torch.randn(shape, generator=f.generator) for f in fits], 1) if sampled else None
        noise = None if noise is None else noise.to(index.device)
        prediction = model(*(column[index] for column in columns), noise)
        actual = Target(*(column[index] for column in target))
        mean = torch.cat([share.cost(prediction, actual, index).mean(-1) for share in shares])
        optimiser.zero_grad(set_to_none=True)
        mean.sum().backward()
        optimiser.step()
        if i >= steps - max(steps // 10, 1):
            recent.append(mean.detach())
    return torch.stack(recent).mean(0).view(len(fits), members).mean(1).tolist() if recent else [0.0] * len(fits)


class _Share(NamedTuple):
    """Neighbouring members of a joined ensemble under the same loss."""

    members: slice
    first: int  # number of their first transition
    loss: Loss
    guide: Guide
    context: Context

    def cost(self, prediction: Prediction, target: Target, index: Tensor) -> Tensor:
        """Losses (members, B) of these members, of what all of them predict."""
        m = self.members
        samples = None if prediction.samples is None else prediction.samples[:, m]
        log_std = None if prediction.log_std is None else prediction.log_std[m]
        own = Prediction(prediction.observation[m], prediction.reward[m], log_std, samples)
        guide = self.guide.rows(index[m] - self.first)
        return self.loss(own, Target(*(column[m] for column in target)), guide, self.context)


def _shares(fits: Sequence[Fit], members: int) -> list[_Share]:
    shares, at, first = [], 0, 0
    for loss, group in itertools.groupby(fits, lambda f: f.loss):
        own = list(group)
        guide, context = own[0].guide, own[0].context
        if len(own) > 1:
            unit = _spread([f.guide.unit for f in own], members)
            fields = zip(*(f.guide[1:] for f in own), strict=True)
            guide = Guide(unit, *(None if field[0] is None else torch.cat(field) for field in fields))
            context = Context(
                _spread([f.context.scale for f in own], members),
                _spread([f.context.reward_scale for f in own], members),
                context.discount,
                None if context.values is None else _values_of_each([f.context.values for f in own]),
            )
        shares.append(_Share(slice(at, at + members * len(own)), first, loss, guide, context))
        at, first = at + members * len(own), first + sum(len(f.data.observation) for f in own)
    return shares


def _values_of_each(values: Sequence[losses.Values | None]) -> losses.Values:
    """Values at observations (M, N * members, B, D), by the critics of the run that a member belongs to."""

    def joint(observation: Tensor) -> Tensor:
        parts = zip(values, observation.chunk(len(values), 1), strict=True)
        return torch.cat([value(part) for value, part in parts if value is not None], 1)

    return joint


@torch.no_grad()
def evaluate(model: Ensemble, data: Transitions, rows: Tensor, loss: Loss, guide: Guide, context: Context) -> Tensor:
    """Mean loss (E,) of every member on the same rows, each row under its own weights."""
    prediction = model(data.observation[rows], data.action[rows])
    target = Target(*(field[rows] for field in data.target))
    return loss(prediction, target, guide.rows(rows), context).mean(-1)
