"""Dynamics models: an ensemble of small networks that predict the next observation and the reward.

Inputs and targets are standardised, states and rewards each on their own scale, and the reward has a network of its
own: on a common scale or trunk, whichever of the two is larger would starve the other. Capacity is a matter of
`width`, `depth` and `rank`.

Sources: Chua et al. (2018), probabilistic ensembles; Janner et al. (2019), model-based policy optimisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.control import losses
from valuegym.agents.control.losses import Context, Guide, Loss, Prediction, Target
from valuegym.agents.control.networks import MLP

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

    def forward(
        self, observation: Tensor, action: Tensor, draws: int = 0, generator: torch.Generator | None = None
    ) -> Prediction:
        """Predictions (E, B, ...) for inputs (E, B, D), (E, B, A), or (B, D), (B, A) shared by all members.

        `draws` are independent samples of a Gaussian model's next observation.
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
        samples = None
        if draws:
            noise = torch.randn(draws, *mean.shape, generator=generator)
            samples = mean + self.target_scale * torch.exp(log_std[..., :-1]) * noise
        return Prediction(mean, rewards, log_std, samples)

    def context(self, discount: float, values: losses.Values | None = None) -> Context:
        """The units of this model's errors."""
        return Context(self.target_scale, self.reward_scale, discount, values)

    @torch.no_grad()
    def step(self, observation: Tensor, action: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Next observations (B, D) and rewards (B,), each by a member drawn at random and with its noise, if any."""
        B = len(observation)
        member = torch.randint(self.architecture.members, (B,), generator=generator)
        out = self(observation, action, draws=1 if self.architecture.gaussian else 0, generator=generator)
        mean = out.observation if out.samples is None else out.samples[0]
        rows = torch.arange(B)
        return mean[member, rows], out.reward[member, rows]


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

    `rows` (R,) are the numbers of the transitions for training. Returns the mean loss of the last tenth of the steps.
    """
    E = model.architecture.members
    draws = 2 if model.architecture.gaussian and context.values is not None else 0
    recent = []
    for i in range(steps):
        index = rows[torch.randint(len(rows), (E, batch), generator=generator)]
        prediction = model(data.observation[index], data.action[index], draws, generator)
        target = Target(*(field[index] for field in data.target))
        mean = loss(prediction, target, guide.rows(index), context).mean((-1,)).sum()  # members do not share a step
        optimiser.zero_grad(set_to_none=True)
        mean.backward()
        optimiser.step()
        if i >= steps - max(steps // 10, 1):
            recent.append(float(mean.detach()) / E)
    return sum(recent) / max(len(recent), 1)


@torch.no_grad()
def evaluate(model: Ensemble, data: Transitions, rows: Tensor, loss: Loss, guide: Guide, context: Context) -> Tensor:
    """Mean loss (E,) of every member on the same rows, each row under its own weights."""
    prediction = model(data.observation[rows], data.action[rows])
    target = Target(*(field[rows] for field in data.target))
    return loss(prediction, target, guide.rows(rows), context).mean(-1)
