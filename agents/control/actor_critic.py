"""Soft actor-critic on small networks, which a model-based agent updates many times per step of the environment.

Critics are those of `critics`, fitted by squared error or as HL-Gauss distributions; their gradients with respect to
states weight the model. The agent `sac` is Stable-Baselines3's own.

Noise is drawn on the CPU, so that a seed gives the same random numbers on every device.

Source: Haarnoja et al. (2018), "Soft actor-critic algorithms and applications".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from valuegym.agents.control.batched_mlp import MLP, join_networks
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.critics import CriticParameters, Critics, critic_loss, q_values
from valuegym.envs import checks

__all__ = ["Optimisation", "SoftActorCritic", "Trainer", "normal", "squashed"]

LOG_STD = (-5.0, 2.0)  # bounds of an actor's log standard deviations


@dataclass(frozen=True)
class Optimisation:
    """Settings of the updates of actor and critics.

    Attributes:
        discount: per step.
        actor_rate: learning rate of the actor and of the temperature.
        critic_rate: learning rate of the critics.
        tau: weight of the critics in each update of the target critics.
        temperature: weight of the entropy at the start.
        batch: transitions in one update.

    Raises:
        ValueError: a setting is not finite or out of range.
    """

    discount: float = 0.99
    actor_rate: float = 1e-3
    critic_rate: float = 1e-3
    tau: float = 0.005
    temperature: float = 0.1
    batch: int = 128

    def __post_init__(self) -> None:
        """Check every setting."""
        checks.real("discount", self.discount, 0, below=1)
        checks.real("actor_rate", self.actor_rate, 0)
        checks.real("critic_rate", self.critic_rate, 0)
        checks.real("tau", self.tau, 0, 1)
        checks.real("temperature", self.temperature, above=0)
        checks.integer("batch", self.batch, 1, 2**16)


class SoftActorCritic:
    """Actor, critics, target critics and temperature of one run, all on one device; actions are in [-1, 1].

    Raises:
        ValueError: a size is not positive, or the range of the critics' bins is empty or has too few bins.
    """

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
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_temperature = torch.full((1,), math.log(settings.temperature), device=device)

    def _head(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation before squashing, each (B, A)."""
        return normal(self.actor(observation[None])[0])

    def mode(self, observation: Tensor) -> Tensor:
        """Return the squashed mean (..., A) at observations (..., D)."""
        flat = observation.reshape(-1, self.D)
        return torch.tanh(self._head(flat)[0]).reshape(*observation.shape[:-1], self.A)

    def sample(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return sampled actions (B, A) and their log-densities (B,), differentiable."""
        mean, log_std = self._head(observation)
        return squashed(mean, log_std, torch.randn(mean.shape, generator=self.generator).to(mean.device))

    def values(self, observation: Tensor) -> Tensor:
        """Return values (..., 2 K) of all critics and then all target critics, at the actor's mode.

        The action is a constant, so that derivatives are partial ones with respect to the state.
        """
        action = self.mode(observation).detach()
        return torch.cat([self.critics(observation, action), self.target_critics(observation, action)], -1)


def normal(out: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log standard deviation, within LOG_STD, from outputs of actors (..., 2 A)."""
    mean, log_std = out.chunk(2, -1)
    return mean, sum(LOG_STD) / 2 + (LOG_STD[1] - LOG_STD[0]) / 2 * torch.tanh(log_std)


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return tanh(x) (..., A) and its log-density (...), with x = mean + exp(log_std) noise.

    The log-density is log N(x) - log(1 - tanh(x)**2), of which the latter is 2 (log 2 - x - softplus(-2 x)).
    """
    x = torch.addcmul(mean, log_std.exp(), noise)
    constant = -0.5 * noise.square() - (0.5 * math.log(2 * math.pi) + 2 * math.log(2))
    return torch.tanh(x), (constant - log_std + 2 * (x + nn.functional.softplus(-2 * x))).sum(-1)


class Trainer:
    """Updates of N learners of one kind side by side: all actors are one network, and so are all critics.

    Losses are summed over learners and Adam works on every parameter by itself, so that no learner changes the step of
    another; each draws its noise from its own generator. Small networks spend most of their time on starting
    operations, which learners share here. The learners' parameters are views of the joint ones and follow every update.

    Raises:
        ValueError: the learners differ in sizes or settings.
    """

    def __init__(self, learners: Sequence[SoftActorCritic]) -> None:
        first = learners[0]
        for other in learners[1:]:
            kinds = [(x.D, x.A, x.settings, replace(x.critics.settings, low=0.0, high=1.0)) for x in (first, other)]
            if kinds[0] != kinds[1]:
                raise ValueError(f"Learners side by side must be of one kind; one has {kinds[0]}, another {kinds[1]}.")
        self.learners, self.settings, self.A = learners, first.settings, first.A
        self.actor = join_networks([x.actor for x in learners])
        self.critics = join_networks([x.critics.network for x in learners])
        self.target_critics = join_networks([x.target_critics.network for x in learners])
        self.device = first.log_temperature.device
        self.edges = torch.stack([x.critics.edges for x in learners])[:, None]  # (N, 1, bins + 1)
        self.log_temperature = torch.cat([x.log_temperature for x in learners])
        for x, view in zip(learners, self.log_temperature.split(1), strict=True):
            x.log_temperature = view
        rate = self.settings.actor_rate
        self._actor_step = _Step(self.actor.parameters(), rate)
        self._critic_step = _Step(self.critics.parameters(), self.settings.critic_rate)
        self._temperature_step = _Step([self.log_temperature], rate)
        self._targets: list[Tensor] = list(self.target_critics.parameters())

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers of actors, critics and temperatures by name."""
        steps = {"actor": self._actor_step, "critics": self._critic_step, "temperature": self._temperature_step}
        return {name: step.optimiser for name, step in steps.items()}

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Return sampled actions (N, A), one for each learner at its observation (N, D)."""
        noise = torch.stack([torch.randn(1, self.A, generator=x.generator) for x in self.learners])
        mean, log_std = normal(self.actor(observation[:, None].to(self.device)))
        return torch.tanh(torch.addcmul(mean, log_std.exp(), noise.to(self.device)))[:, 0]

    def update(self, batch: Transitions) -> None:
        """Take one step of all critics, actors, temperatures and target critics, on transitions (N, B, ...)."""
        shape = (2, batch.reward.shape[1], self.A)
        noise = torch.stack([torch.randn(shape, generator=x.generator) for x in self.learners], 1).to(self.device)
        temperature = self.log_temperature.exp()[:, None]
        self.update_critics(batch, noise[0], temperature)
        log_density = self.update_actors(batch, noise[1], temperature)
        self.update_temperatures(log_density)
        self.update_target_critics()

    def update_critics(self, batch: Transitions, noise: Tensor, temperature: Tensor) -> None:
        """Fit the critics to r + discount * (min_k Q_k(s', a') - temperature * log pi(a'|s')).

        a' is sampled with noise (N, B, A), Q_k is a target critic.
        """
        s = self.settings
        with torch.no_grad():
            action, log_density = squashed(*normal(self.actor(batch.next_observation)), noise)
            out = self._outputs(self.target_critics, batch.next_observation, action)
            ahead = q_values(out, self.edges[:, None]).amin(1) - temperature * log_density
            target = batch.reward + s.discount * (1 - batch.terminated) * ahead
        loss = critic_loss(self._outputs(self.critics, batch.observation, batch.action), target, self.edges)
        self._critic_step.down(len(self.learners) * loss.mean())

    def update_actors(self, batch: Transitions, noise: Tensor, temperature: Tensor) -> Tensor:
        """Reduce temperature * log pi(a|s) - min_k Q_k(s, a), a with noise (N, B, A), and return log pi(a|s) (N, B)."""
        action, log_density = squashed(*normal(self.actor(batch.observation)), noise)
        out = self._outputs(self.critics, batch.observation, action)
        value = q_values(out, self.edges[:, None]).amin(1)
        self._actor_step.down(len(self.learners) * (temperature * log_density - value).mean())
        return log_density.detach()

    def update_temperatures(self, log_density: Tensor) -> None:
        """Move the temperatures so that the entropy, -mean log pi (N, B), approaches its target -A.

        The step follows entropy + A, as the gradient with respect to the logarithm of the temperature.
        """
        entropy = -log_density.mean(-1)
        self._temperature_step.along([entropy + self.A])

    @torch.no_grad()
    def update_target_critics(self) -> None:
        """Move the target critics towards the critics by the share tau of their distance."""
        torch._foreach_lerp_(self._targets, self._critic_step.parameters, self.settings.tau)

    def _outputs(self, critics: MLP, observation: Tensor, action: Tensor) -> Tensor:
        """Return outputs (N, K, B, 1 or bins) of all critics for inputs (N, B, D), (N, B, A)."""
        N = len(self.learners)
        inputs = torch.cat([observation, action], -1)
        K = critics.output.bias.shape[0] // N
        out = critics(inputs[:, None].expand(-1, K, -1, -1).flatten(0, 1))
        return out.unflatten(0, (N, K))


class _Step:
    """Steps of Adam on some parameters."""

    def __init__(self, parameters: Iterable[Tensor], rate: float) -> None:
        self.parameters = list(parameters)
        self.optimiser = torch.optim.Adam(self.parameters, rate, fused=True)

    def down(self, loss: Tensor) -> None:
        """Take a step that reduces a loss."""
        self.along(torch.autograd.grad(loss, self.parameters))

    def along(self, gradients: Iterable[Tensor]) -> None:
        """Take a step that follows these gradients."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimiser.step()
