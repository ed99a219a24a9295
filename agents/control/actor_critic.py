"""Soft actor-critic on small networks: what a model-based agent updates many times per step of the environment.

Critics are those of `critics`, so that they may be fitted by squared error or as HL-Gauss distributions, and give their
gradients with respect to states. The agent `sac` is Stable-Baselines3's own.

Noise is drawn on the CPU, so that a seed means the same draws on every device.

Source: Haarnoja et al. (2018), "Soft actor-critic algorithms and applications".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from valuegym.agents.control.critics import CriticParameters, Critics, loss_of, values_of
from valuegym.agents.control.networks import MLP, side_by_side

LOG_STD = (-5.0, 2.0)


@dataclass(frozen=True)
class Optimisation:
    """How actor and critics are updated.

    Attributes:
        discount: per step.
        actor_rate: learning rate of the actor and of the temperature.
        critic_rate: learning rate of the critics.
        average: weight of the new critics in the average that targets come from.
        temperature: of the entropy, at the start.
        batch: rows of one update.
    """

    discount: float = 0.99
    actor_rate: float = 1e-3
    critic_rate: float = 1e-3
    average: float = 0.005
    temperature: float = 0.1
    batch: int = 128


class Batch(NamedTuple):
    """Transitions (B, ...): actions in [-1, 1], terminated 0 or 1."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor


class SoftActorCritic:
    """Actor, critics, their averages and the temperature of one run, all on one device; actions are in [-1, 1]."""

    def __init__(
        self,
        D: int,
        A: int,
        critic: CriticParameters,
        settings: Optimisation,
        generator: torch.Generator,
        device: str = "cpu",
    ) -> None:
        self.D, self.A, self.settings, self.generator = D, A, settings, generator
        self.actor = MLP(1, D, 2 * A, critic.width, critic.depth, generator=generator).to(device)
        self.critics = Critics(D, A, critic, generator).to(device)
        self.averaged = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_temperature = torch.full((1,), math.log(settings.temperature), device=device)

    def _head(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation before the squashing, each (B, A)."""
        return normal(self.actor(observation[None])[0])

    def mode(self, observation: Tensor) -> Tensor:
        """The squashed mean (..., A) at observations (..., D)."""
        flat = observation.reshape(-1, self.D)
        return torch.tanh(self._head(flat)[0]).reshape(*observation.shape[:-1], self.A)

    def sample(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (B, A) and their log-densities (B,), differentiable."""
        mean, log_std = self._head(observation)
        return squashed(mean, log_std, torch.randn(mean.shape, generator=self.generator).to(mean.device))

    def values(self, observation: Tensor) -> Tensor:
        """Values (..., 2 K) of all critics, online ones first, at the actor's mode.

        The action is a constant: derivatives are partial ones with respect to the state.
        """
        action = self.mode(observation).detach()
        return torch.cat([self.critics(observation, action), self.averaged(observation, action)], -1)


def normal(out: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and logarithm of the standard deviation, within LOG_STD, of what actors put out (..., 2 A)."""
    mean, log_std = out.chunk(2, -1)
    return mean, sum(LOG_STD) / 2 + (LOG_STD[1] - LOG_STD[0]) / 2 * torch.tanh(log_std)


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """tanh(x) (..., A) and its log-density (...), of x = mean + exp(log_std) noise.

    log N(x) - log(1 - tanh(x)**2), of which the latter is 2 (log 2 - x - softplus(-2 x)).
    """
    x = torch.addcmul(mean, log_std.exp(), noise)
    constant = -0.5 * noise.square() - (0.5 * math.log(2 * math.pi) + 2 * math.log(2))
    return torch.tanh(x), (constant - log_std + 2 * (x + nn.functional.softplus(-2 * x))).sum(-1)


class Training:
    """Updates of N learners side by side, as one network each for all actors and all critics.

    Losses are summed over learners and Adam works on every parameter by itself, so that none learns from another; each
    draws its noise from its own generator. Small networks spend most of their time on starting operations, which is
    shared here. The learners see the updates: their parameters are views.

    Raises:
        ValueError: the learners differ in sizes or settings.
    """

    def __init__(self, learners: Sequence[SoftActorCritic]) -> None:
        first = learners[0]
        for other in learners[1:]:
            kinds = [(x.D, x.A, x.settings, replace(x.critics.parameters_, low=0.0, high=1.0)) for x in (first, other)]
            if kinds[0] != kinds[1]:
                raise ValueError(f"Learners side by side must be of one kind; one has {kinds[0]}, another {kinds[1]}.")
        self.learners, self.settings, self.A = learners, first.settings, first.A
        self.actor = side_by_side([x.actor for x in learners])
        self.critics = side_by_side([x.critics.network for x in learners])
        self.averaged = side_by_side([x.averaged.network for x in learners])
        self.device = first.log_temperature.device
        self.edges = torch.stack([x.critics.edges for x in learners])[:, None]  # (N, 1, bins + 1)
        self.log_temperature = torch.cat([x.log_temperature for x in learners])
        for x, view in zip(learners, self.log_temperature.split(1), strict=True):
            x.log_temperature = view
        self._of_actor: list[Tensor] = [*self.actor.parameters(), self.log_temperature]
        self._of_critics: list[Tensor] = list(self.critics.parameters())
        self._actor = torch.optim.Adam(self._of_actor, self.settings.actor_rate, fused=True)
        self._critic = torch.optim.Adam(self._of_critics, self.settings.critic_rate, fused=True)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Sampled actions (N, A), one for each learner at its observation (N, D)."""
        noise = torch.stack([torch.randn(1, self.A, generator=x.generator) for x in self.learners])
        mean, log_std = normal(self.actor(observation[:, None].to(self.device)))
        return torch.tanh(torch.addcmul(mean, log_std.exp(), noise.to(self.device)))[:, 0]

    def _ask(self, network: MLP, observation: Tensor, action: Tensor) -> Tensor:
        """What all critics put out (N, K, B, 1 or bins) for inputs (N, B, D), (N, B, A)."""
        N = len(self.learners)
        inputs = torch.cat([observation, action], -1)
        K = network.output.bias.shape[0] // N
        out = network(inputs[:, None].expand(-1, K, -1, -1).flatten(0, 1))
        return out.unflatten(0, (N, K))

    def update(self, batch: Batch) -> None:
        """One step for all critics, then all actors and temperatures, on rows (N, B, ...)."""
        s, N = self.settings, len(self.learners)
        shape = (2, batch.reward.shape[1], self.A)
        noise = torch.stack([torch.randn(shape, generator=x.generator) for x in self.learners], 1).to(self.device)
        temperature = self.log_temperature.exp()[:, None]
        with torch.no_grad():
            action, log_density = squashed(*normal(self.actor(batch.next_observation)), noise[0])
            out = self._ask(self.averaged, batch.next_observation, action)
            ahead = values_of(out, self.edges[:, None]).amin(1) - temperature * log_density
            target = batch.reward + s.discount * (1 - batch.terminated) * ahead
        loss = loss_of(self._ask(self.critics, batch.observation, batch.action), target, self.edges)
        _step(self._critic, self._of_critics, torch.autograd.grad(N * loss.mean(), self._of_critics))
        action, log_density = squashed(*normal(self.actor(batch.observation)), noise[1])
        value = values_of(self._ask(self.critics, batch.observation, action), self.edges[:, None]).amin(1)
        cost = N * (temperature * log_density - value).mean()
        gradients = torch.autograd.grad(cost, self._of_actor[:-1])
        entropy = -log_density.detach().mean(-1)  # its aim is -A; temperature * (entropy - aim), in the logarithm
        _step(self._actor, self._of_actor, [*gradients, entropy + self.A])
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), self._of_critics, s.average)


def _step(optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()
