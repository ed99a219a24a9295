"""Value-gradient weighted model learning in a Dyna loop: a dynamics ensemble, and soft actor-critic on its data too.

Every `refresh` steps the critics are asked for their gradients at all real next states, the ensemble is fitted under
the weights that follow, and short rollouts from real states fill a buffer. Updates of the actor and the critics draw a
share of their rows from it that grows linearly from 0 to `model_share` over `ramp` steps, so that the critics, whose
gradients the model depends on, first learn from what is real. `loss` alone tells one arm from another.

Source: Voelcker, Liao, Garg, Farahmand (2022), "Value gradient weighted model-based reinforcement learning" (ICLR), on
the loop of Janner et al. (2019), "When to trust your model: model-based policy optimization".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from valuegym.agents.control import losses
from valuegym.agents.control.actor_critic import Batch, Optimisation, SoftActorCritic
from valuegym.agents.control.critics import CriticParameters, value_range
from valuegym.agents.control.ensemble import Architecture, Ensemble, Transitions, fit
from valuegym.agents.control.losses import Target
from valuegym.agents.control.model_env import Terminal, never


@dataclass(frozen=True)
class Settings:
    """Everything that can be chosen.

    Attributes:
        loss: of the model, a name in `losses.LOSSES`.
        mse_share: of squared error added to it, throughout.
        warm_refreshes: refreshes in which squared error is added in full.
        members: of the ensemble.
        width: units in each hidden layer of the model.
        depth: hidden layers of the model.
        rank: of its last layer, None for any.
        reward_width: units of the reward's own network.
        residual: whether the model predicts changes.
        gaussian: whether the model has standard deviations; always for the losses that need them.
        model_rate: learning rate of the model.
        model_steps: steps of gradient descent in each refresh.
        model_batch: rows of one, for each member.
        validation: share of the transitions that the model is not fitted to.
        critic: "mse" or "hl_gauss".
        critics: how many.
        hidden: units in each of two hidden layers of actor and critics.
        bins: of an HL-Gauss critic.
        values: range that bins cover; None for what rewards between those of the random steps and 0 allow for ever.
        layer_norm: of the critics.
        optimisation: of actor and critics.
        update_ratio: updates of them for each step of the environment.
        random_steps: steps at the start with uniform actions and without updates.
        refresh: steps between fits of the model.
        ramp: steps over which the share of model data grows, from the end of the random ones.
        model_share: where it ends; 0 leaves the model out, which is plain soft actor-critic.
        rollout_length: steps of a rollout.
        rollouts: rows that are rolled out for each step of the environment.
        rollout_every: steps between rollouts.
        model_buffer: rows of model data kept.
    """

    loss: str = "vagram"
    mse_share: float = 0.0
    warm_refreshes: int = 4
    members: int = 4
    width: int = 64
    depth: int = 2
    rank: int | None = None
    reward_width: int = 32
    residual: bool = False
    gaussian: bool = False
    model_rate: float = 3e-3
    model_steps: int = 400
    model_batch: int = 256
    validation: float = 0.1
    critic: str = "mse"
    critics: int = 2
    hidden: int = 64
    bins: int = 51
    values: tuple[float, float] | None = None
    layer_norm: bool = False
    optimisation: Optimisation = field(default_factory=Optimisation)
    update_ratio: int = 5
    random_steps: int = 250
    refresh: int = 250
    ramp: int = 2500
    model_share: float = 0.9
    rollout_length: int = 1
    rollouts: int = 80
    rollout_every: int = 50
    model_buffer: int = 20_000

    def __post_init__(self) -> None:
        losses.find(self.loss)
        if self.critic not in ("mse", "hl_gauss"):
            raise ValueError(f"critic = {self.critic!r}; expected 'mse' or 'hl_gauss'.")
        if not 0 <= self.model_share <= 1 or not 0 <= self.validation < 1:
            raise ValueError(f"model_share = {self.model_share}, validation = {self.validation}; expected shares.")
        for name in ("random_steps", "refresh", "rollout_length", "rollout_every", "model_buffer", "update_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; expected at least 1.")


class Buffer:
    """Transitions in tensors, the oldest overwritten; actions are in [-1, 1]."""

    def __init__(self, size: int, D: int, A: int) -> None:
        self.size, self.rows, self._at = size, 0, 0
        self.fields = Batch(
            torch.zeros(size, D), torch.zeros(size, A), torch.zeros(size), torch.zeros(size, D), torch.zeros(size)
        )

    def add(self, batch: Batch) -> None:
        """Append rows (B, ...)."""
        n = len(batch.reward)
        index = (self._at + torch.arange(n)) % self.size
        for column, value in zip(self.fields, batch, strict=True):
            column[index] = value
        self._at, self.rows = (self._at + n) % self.size, min(self.rows + n, self.size)

    def draw(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """Rows at random, n of them, with replacement."""
        index = torch.randint(self.rows, (n,), generator=generator)
        return [column[index] for column in self.fields]


class VaGraM:
    """The agent. After `learn` the model, the actor and critics, and the real data are there to be looked at.

    `on_refresh` is called with the agent after every fit of the model.

    Raises:
        ValueError: spaces are not flat boxes, actions are unbounded, or an episode terminated and `terminal` is not
            given.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        terminal: Terminal | None = None,
        on_refresh: Callable[[VaGraM], None] | None = None,
        **settings: Any,
    ) -> None:
        s = self.settings = replace(Settings(), **settings)
        for space in (env.observation_space, env.action_space):
            if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
                raise ValueError(f"vagram plays with flat boxes for observations and actions, not {space}.")
        assert isinstance(env.action_space, gym.spaces.Box) and env.observation_space.shape is not None
        if not env.action_space.is_bounded():
            raise ValueError(f"vagram needs bounded actions; {env.action_space} is not.")
        self.env, self.seed, self.terminal, self.on_refresh = env, seed, terminal, on_refresh
        self.low, self.high = env.action_space.low, env.action_space.high
        self.D, self.A = env.observation_space.shape[0], env.action_space.shape[0]
        self.generator = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng([seed, 1])
        entry = losses.find(s.loss)
        architecture = Architecture(
            s.members, s.width, s.depth, s.rank, s.reward_width, s.residual, s.gaussian or entry.needs == "gaussian"
        )
        self.model = Ensemble(self.D, self.A, architecture, self.generator)
        self.learner: SoftActorCritic | None = None
        self.data: Transitions | None = None
        self.refreshes, self.steps, self.share = 0, 0, 0.0
        self.seconds = {"environment": 0.0, "model": 0.0, "critic": 0.0}

    # --- actions ---

    def _scaled(self, action: Tensor) -> Any:
        """Actions in [-1, 1] in the units of the environment."""
        unit = action.numpy()
        return (self.low + (unit + 1) / 2 * (self.high - self.low)).astype(self.env.action_space.dtype)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """The actor's action, for one observation (D,) or several (N, D); at random before anything is learnt."""
        s = torch.as_tensor(np.asarray(observation, np.float32))
        flat = s.reshape(-1, self.D)
        with torch.no_grad():
            if self.learner is None:
                unit = 2 * torch.rand(len(flat), self.A, generator=self.generator) - 1
            else:
                unit = self.learner.mode(flat) if deterministic else self.learner.sample(flat)[0]
        return self._scaled(unit.reshape(*s.shape[:-1], self.A)), state

    # --- learning ---

    def _begin(self, rewards: Tensor) -> SoftActorCritic:
        s = self.settings
        lowest, highest = min(float(rewards.min()), 0.0), max(float(rewards.max()), 0.0)
        if lowest == highest:  # nothing but rewards of 0 so far
            lowest, highest = -1.0, 1.0
        low, high = s.values or value_range(lowest, highest, s.optimisation.discount)
        bins = s.bins if s.critic == "hl_gauss" else 0
        critic = CriticParameters(s.critics, s.hidden, 2, bins, low, high, s.layer_norm)
        return SoftActorCritic(self.D, self.A, critic, s.optimisation, self.generator)

    def learn(self, total_timesteps: int) -> VaGraM:
        """Play this many steps and learn from them."""
        s = self.settings
        real = self.real = Buffer(max(total_timesteps, 1), self.D, self.A)
        imagined = Buffer(s.model_buffer, self.D, self.A)
        optimiser = torch.optim.Adam(self.model.parameters(), s.model_rate, fused=True)
        validation = torch.from_numpy(self.rng.random(max(total_timesteps, 1)) < s.validation)
        observation, _ = self.env.reset(seed=self.seed)
        for self.steps in range(1, total_timesteps + 1):
            with self._timed("environment"):
                observation = self._play(observation, real)
            done = self.steps - s.random_steps
            if done < 0:
                continue
            if self.learner is None:
                self.learner = self._begin(real.fields.reward[: real.rows])
            with self._timed("model"):
                if s.model_share and done % s.refresh == 0:
                    self.fit_model(real, ~validation[: real.rows], optimiser)
                if s.model_share and done % s.rollout_every == 0:
                    self.imagine(real, imagined)
            with self._timed("critic"):
                self.share = s.model_share * (min(done / s.ramp, 1.0) if s.ramp else 1.0)
                for _ in range(s.update_ratio):
                    self.learner.update(self._batch(real, imagined))
        return self

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        """Count the seconds of this process."""
        start = time.process_time()
        yield
        self.seconds[what] += time.process_time() - start

    def _play(self, observation: Any, real: Buffer) -> Any:
        """One step of the environment, remembered; the observation that follows."""
        with torch.no_grad():
            if self.learner is None:
                unit = torch.from_numpy(self.rng.uniform(-1, 1, self.A).astype(np.float32))
            else:
                unit = self.learner.sample(torch.as_tensor(np.asarray(observation, np.float32))[None])[0][0]
        after, reward, terminated, truncated, _ = self.env.step(self._scaled(unit))
        if terminated and self.terminal is None and self.settings.model_share:
            raise ValueError("An episode terminated, and rollouts of a model must know when: give terminal=.")
        row = (observation, unit, float(reward), after, float(terminated))
        real.add(Batch(*(torch.as_tensor(np.asarray(x, np.float32))[None] for x in row)))
        return self.env.reset()[0] if terminated or truncated else after

    def _batch(self, real: Buffer, imagined: Buffer) -> Batch:
        """Rows for one update, the present share of them from the model."""
        size = self.settings.optimisation.batch
        rows = round(self.share * size)
        batch = real.draw(size - rows, self.generator)
        if rows:
            batch = [torch.cat(pair) for pair in zip(batch, imagined.draw(rows, self.generator), strict=True)]
        return Batch(*batch)

    def fit_model(self, real: Buffer, training: Tensor, optimiser: torch.optim.Optimizer) -> None:
        """Collect what the critics say of all real transitions (once), and fit the ensemble under it."""
        s = self.settings
        assert self.learner is not None
        observation, action, reward, after, terminated = (column[: real.rows] for column in real.fields)
        self.data = Transitions(observation, action, Target(after, reward, terminated > 0))
        self.model.standardise(self.data)
        entry = losses.find(s.loss)
        self.context = self.model.context(s.optimisation.discount, self.learner.values)
        self.evidence = losses.collect(
            self.learner.values,
            observation,
            self.data.target,
            self.context.scale,
            training,
            hessian=entry.needs == "hessian",
        )
        self.training = training
        guide = entry.prepare(self.evidence, self.context, self.generator)
        share = s.mse_share + (self.refreshes < s.warm_refreshes)
        loss = losses.mix(entry.loss, share) if share and s.loss != "mse" else entry.loss
        context = (
            self.context if entry.loss in (losses.itervaml, losses.calibrated) else self.context._replace(values=None)
        )
        rows = torch.arange(real.rows)[training]
        fit(self.model, optimiser, self.data, rows, loss, guide, context, s.model_steps, self.generator, s.model_batch)
        self.refreshes += 1
        if self.on_refresh is not None:
            self.on_refresh(self)

    @torch.no_grad()
    def imagine(self, real: Buffer, imagined: Buffer) -> None:
        """Roll the model out from real states under the present actor."""
        s = self.settings
        assert self.learner is not None
        observation = real.draw(s.rollouts * s.rollout_every // s.rollout_length, self.generator)[0]
        ends = self.terminal or never
        for _ in range(s.rollout_length):
            action, _ = self.learner.sample(observation)
            after, reward = self.model.step(observation, action, self.generator)
            over = torch.as_tensor(np.asarray(ends(after.numpy()), np.bool_))
            imagined.add(Batch(observation, action, reward, after, over.float()))
            observation = after[~over]
            if not len(observation):
                break
