"""Soft actor-critic on small networks: what a model-based agent updates many times per step of the environment.

Critics are `agents.critics`, so that they may be fitted by squared error or as HL-Gauss distributions, and give their
gradients with respect to states. The agent `sac` is Stable-Baselines3's own.

Source: Haarnoja et al. (2018), "Soft actor-critic algorithms and applications".
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from valuegym.agents.control.critics import CriticParameters, Critics
from valuegym.agents.control.networks import MLP

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
    """Actor, critics, their averages and the temperature; actions are in [-1, 1]."""

    def __init__(
        self, D: int, A: int, critic: CriticParameters, settings: Optimisation, generator: torch.Generator
    ) -> None:
        self.D, self.A, self.settings, self.generator = D, A, settings, generator
        self.actor = MLP(1, D, 2 * A, critic.width, critic.depth, generator=generator)
        self.critics = Critics(D, A, critic, generator)
        self.averaged = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_temperature = torch.tensor(math.log(settings.temperature)).requires_grad_()
        self._actor = torch.optim.Adam(self.actor.parameters(), settings.actor_rate, fused=True)
        self._critic = torch.optim.Adam(self.critics.parameters(), settings.critic_rate, fused=True)
        self._temperature = torch.optim.Adam([self.log_temperature], settings.actor_rate)

    def _head(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation before the squashing, each (B, A)."""
        mean, log_std = self.actor(observation[None])[0].split(self.A, -1)
        return mean, LOG_STD[0] + 0.5 * (LOG_STD[1] - LOG_STD[0]) * (torch.tanh(log_std) + 1)

    def mode(self, observation: Tensor) -> Tensor:
        """The squashed mean (..., A) at observations (..., D)."""
        flat = observation.reshape(-1, self.D)
        return torch.tanh(self._head(flat)[0]).reshape(*observation.shape[:-1], self.A)

    def sample(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (B, A) and their log-densities (B,), differentiable."""
        mean, log_std = self._head(observation)
        noise = torch.randn(mean.shape, generator=self.generator)
        before = mean + torch.exp(log_std) * noise
        # log(1 - tanh(x)**2) = 2 (log 2 - x - softplus(-2 x))
        squash = 2 * (math.log(2) - before - nn.functional.softplus(-2 * before))
        log_density = (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - squash).sum(-1)
        return torch.tanh(before), log_density

    def values(self, observation: Tensor) -> Tensor:
        """Values (..., 2 K) of all critics, online ones first, at the actor's mode.

        The action is a constant: derivatives are partial ones with respect to the state.
        """
        action = self.mode(observation).detach()
        return torch.cat([self.critics(observation, action), self.averaged(observation, action)], -1)

    def update(self, batch: Batch) -> None:
        """One step for the critics, the actor and the temperature, in this order."""
        s = self.settings
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            action, log_density = self.sample(batch.next_observation)
            ahead = self.averaged(batch.next_observation, action).amin(-1) - temperature * log_density
            target = batch.reward + s.discount * (1 - batch.terminated) * ahead
        self._critic.zero_grad(set_to_none=True)
        self.critics.loss(batch.observation, batch.action, target).backward()
        self._critic.step()
        action, log_density = self.sample(batch.observation)
        self.critics.requires_grad_(False)
        value = self.critics(batch.observation, action).amin(-1)
        self._actor.zero_grad(set_to_none=True)
        (temperature * log_density - value).mean().backward()
        self._actor.step()
        self.critics.requires_grad_(True)
        self._temperature.zero_grad(set_to_none=True)
        (-self.log_temperature * (log_density.detach().mean() - self.A)).backward()  # entropy aim: -A
        self._temperature.step()
        with torch.no_grad():
            for slow, fast in zip(self.averaged.parameters(), self.critics.parameters(), strict=True):
                slow.lerp_(fast, s.average)
