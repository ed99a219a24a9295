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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from valuegym.agents.control import losses
from valuegym.agents.control.actor_critic import Batch, Optimisation, SoftActorCritic, Training
from valuegym.agents.control.critics import CriticParameters, value_range
from valuegym.agents.control.ensemble import Architecture, Ensemble, Fit, Transitions, adopt, fit_together, joined
from valuegym.agents.control.losses import Target
from valuegym.agents.control.model_env import Terminal, ended, never


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
        device: of networks and fits, such as "cpu" or "cuda"; data are kept and random numbers drawn on the CPU.
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
    device: str = "cpu"

    def __post_init__(self) -> None:
        losses.find(self.loss)
        if self.critic not in ("mse", "hl_gauss"):
            raise ValueError(f"critic = {self.critic!r}; expected 'mse' or 'hl_gauss'.")
        if not 0 <= self.model_share <= 1 or not 0 <= self.validation < 1:
            raise ValueError(f"model_share = {self.model_share}, validation = {self.validation}; expected shares.")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as reason:
            raise ValueError(f"device = {self.device!r}; expected one that torch can use here: {reason}") from None
        for name in ("random_steps", "refresh", "rollout_length", "rollout_every", "model_buffer", "update_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; expected at least 1.")

    def share(self, done: int) -> float:
        """Of model data in updates, this many steps after the random ones."""
        return self.model_share * (min(max(done, 0) / self.ramp, 1.0) if self.ramp else 1.0)


class Buffer:
    """Transitions, one row of a table each, the oldest overwritten; actions are in [-1, 1]."""

    def __init__(self, size: int, D: int, A: int) -> None:
        self.D, self.A, self.size, self.rows, self._at = D, A, size, 0, 0
        self.table = torch.zeros(size, 2 * D + A + 2)

    @property
    def fields(self) -> Batch:
        """The columns."""
        return split(self.table, self.D, self.A)

    def add(self, rows: Tensor) -> None:
        """Append rows (B, columns)."""
        while len(rows):
            part = rows[: self.size - self._at]
            self.table[self._at : self._at + len(part)] = part
            self.rows = max(self.rows, self._at + len(part))
            self._at = (self._at + len(part)) % self.size
            rows = rows[len(part) :]

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Rows (*shape, columns) at random, with replacement."""
        return self.table[torch.randint(self.rows, shape, generator=generator)]


def rows_of(batch: Batch) -> Tensor:
    """Rows (B, columns) of transitions (B, ...)."""
    return torch.cat([column[:, None] if column.ndim == 1 else column for column in batch], -1)


def split(table: Tensor, D: int, A: int) -> Batch:
    """The columns of rows (..., columns)."""
    observation, action, reward, after, terminated = table.split([D, A, 1, D, 1], -1)
    return Batch(observation, action, reward[..., 0], after, terminated[..., 0])


class VaGraM:
    """The agent. After `learn` the model, the actor and critics, and the real data are there to be looked at.

    `on_refresh` is called with the agent every `refresh` steps, after the fit of the model if there is one.

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
        self.model = Ensemble(self.D, self.A, architecture, self.generator).to(s.device)
        self.learner: SoftActorCritic | None = None
        self.data: Transitions | None = None
        self.refreshes, self.steps, self.share = 0, 0, 0.0
        self.seconds = {"environment": 0.0, "model": 0.0, "critic": 0.0}

    # --- actions ---

    def _scaled(self, unit: Any) -> Any:
        """Actions in [-1, 1] in the units of the environment."""
        share = (np.asarray(unit) + 1) / 2
        return (self.low + share * (self.high - self.low)).astype(self.env.action_space.dtype)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """The actor's action, for one observation (D,) or several (N, D); at random before anything is learnt."""
        s = torch.as_tensor(np.asarray(observation, np.float32), device=self.settings.device)
        flat = s.reshape(-1, self.D)
        with torch.no_grad():
            if self.learner is None:
                unit = 2 * torch.rand(len(flat), self.A, generator=self.generator) - 1
            else:
                unit = self.learner.mode(flat) if deterministic else self.learner.sample(flat)[0]
        return self._scaled(unit.reshape(*s.shape[:-1], self.A).cpu()), state

    # --- learning ---

    def learn(self, total_timesteps: int) -> VaGraM:
        """Play this many steps and learn from them."""
        learn_together([self], total_timesteps)
        return self

    def _start(self, total_timesteps: int) -> None:
        """Empty buffers, and the first episode."""
        size = max(total_timesteps, 1)
        self.real = Buffer(size, self.D, self.A)
        self.imagined = Buffer(self.settings.model_buffer, self.D, self.A)
        self._validation = torch.from_numpy(self.rng.random(size) < self.settings.validation)
        self._observation, _ = self.env.reset(seed=self.seed)

    def _play(self, unit: Any) -> None:
        """One step of the environment under an action in [-1, 1] (A,), remembered."""
        after, reward, terminated, truncated, _ = self.env.step(self._scaled(unit))
        if terminated and self.terminal is None and self.settings.model_share:
            raise ValueError("An episode terminated, and rollouts of a model must know when: give terminal=.")
        row = np.concatenate([self._observation, unit, [reward], after, [terminated]]).astype(np.float32)
        self.real.add(torch.from_numpy(row)[None])
        self._observation = self.env.reset()[0] if terminated or truncated else after

    def _begin(self) -> SoftActorCritic:
        """Actor and critics, made once the rewards of the random steps are there."""
        s = self.settings
        if self.learner is None:
            rewards = self.real.fields.reward[: self.real.rows]
            lowest, highest = min(float(rewards.min()), 0.0), max(float(rewards.max()), 0.0)
            if lowest == highest:  # nothing but rewards of 0 so far
                lowest, highest = -1.0, 1.0
            low, high = s.values or value_range(lowest, highest, s.optimisation.discount)
            bins = s.bins if s.critic == "hl_gauss" else 0
            critic = CriticParameters(s.critics, s.hidden, 2, bins, low, high, s.layer_norm)
            self.learner = SoftActorCritic(self.D, self.A, critic, s.optimisation, self.generator, s.device)
        return self.learner

    def _ask(self) -> Fit:
        """What the critics say of all real transitions, collected once, for the model to be fitted under it."""
        s = self.settings
        assert self.learner is not None
        columns = (column[: self.real.rows].contiguous().to(s.device) for column in self.real.fields)
        observation, action, reward, after, terminated = columns
        self.data = Transitions(observation, action, Target(after, reward, terminated > 0))
        self.training = ~self._validation[: self.real.rows]
        self.model.standardise(self.data)
        entry = losses.find(s.loss)
        self.context = self.model.context(s.optimisation.discount, self.learner.values)
        self.evidence = losses.collect(
            self.learner.values,
            observation,
            self.data.target,
            self.context.scale,
            self.training.to(s.device),
            hessian=entry.needs == "hessian",
        )
        guide = entry.prepare(self.evidence, self.context, self.generator)
        share = s.mse_share + (self.refreshes < s.warm_refreshes)
        loss = losses.mix(entry.loss, share) if share and s.loss != "mse" else entry.loss
        asks = entry.loss in (losses.itervaml, losses.calibrated)
        context = self.context if asks else self.context._replace(values=None)
        return Fit(self.data, self.training.nonzero()[:, 0], loss, guide, context, self.generator)

    def _draw(self) -> Tensor:
        """Rows (update_ratio, batch, columns) for the updates of one step, the present share of them from the model."""
        updates, size = self.settings.update_ratio, self.settings.optimisation.batch
        rows = round(self.share * size)
        drawn = self.real.draw((updates, size - rows), self.generator)
        if not rows:
            return drawn
        return torch.cat([drawn, self.imagined.draw((updates, rows), self.generator)], 1)

    @torch.no_grad()
    def _imagine(self) -> None:
        """Roll the model out from real states under the present actor."""
        s = self.settings
        assert self.learner is not None
        rows = self.real.draw((s.rollouts * s.rollout_every // s.rollout_length,), self.generator)
        observation = split(rows, self.D, self.A).observation.to(s.device)
        ends = self.terminal or never
        for _ in range(s.rollout_length):
            action, _ = self.learner.sample(observation)
            after, reward = self.model.step(observation, action, self.generator)
            over = ended(ends, after)
            self.imagined.add(rows_of(Batch(observation, action, reward, after, over.float())).cpu())
            observation = after[~over]
            if not len(observation):
                break


FREE = ("loss", "mse_share", "warm_refreshes", "ramp", "model_share", "validation", "values", "model_buffer")


def learn_together(agents: Sequence[VaGraM], total_timesteps: int) -> None:
    """Let agents learn side by side, each as it would alone.

    Their models are fitted as one, and their actors and critics are updated as one, so that with several agents each
    takes a fraction of the time that it takes alone. They may differ in environment, seed and the settings in FREE.

    Raises:
        ValueError: other settings or the sizes of the agents differ.
    """
    _alike(agents)
    first, s = agents[0], agents[0].settings
    modelled = [agent for agent in agents if agent.settings.model_share]
    whole = joined([agent.model for agent in modelled]) if modelled else first.model
    optimiser = torch.optim.Adam(whole.parameters(), s.model_rate, fused=True)
    training: Training | None = None
    for agent in agents:
        agent._start(total_timesteps)
    for steps in range(1, total_timesteps + 1):
        done = steps - s.random_steps
        with _timed(agents, "environment"):
            units = _actions(agents, training)
            for agent, unit in zip(agents, units, strict=True):
                agent.steps, agent.share = steps, agent.settings.share(done)
                agent._play(unit)
        if done < 0:
            continue
        training = training or Training([agent._begin() for agent in agents])
        if done % s.refresh == 0:
            _refresh(agents, whole, optimiser)
        if done % s.rollout_every == 0:
            with _timed(modelled, "model"):
                for agent in modelled:
                    agent._imagine()
        with _timed(agents, "critic"):
            for rows in torch.stack([agent._draw() for agent in agents], 1).to(s.device):
                training.update(split(rows, first.D, first.A))


def _alike(agents: Sequence[VaGraM]) -> None:
    """Complain of agents that cannot learn side by side."""
    first, s = agents[0], agents[0].settings
    for agent in agents:
        same = replace(agent.settings, **{name: getattr(s, name) for name in FREE})
        if (same, agent.model.architecture, agent.D, agent.A) != (s, first.model.architecture, first.D, first.A):
            raise ValueError(
                f"Agents that learn side by side may differ in {', '.join(FREE)}; one has {s} with {first.D, first.A} "
                f"dimensions of observation and action, another {agent.settings} with {agent.D, agent.A}."
            )


def _actions(agents: Sequence[VaGraM], training: Training | None) -> Any:
    """Actions (N, A) in [-1, 1] for the present observations of all agents; uniform before they learn."""
    if training is None:
        return [agent.rng.uniform(-1, 1, agent.A).astype(np.float32) for agent in agents]
    observation = np.stack([agent._observation for agent in agents]).astype(np.float32)
    return training.act(torch.from_numpy(observation)).cpu().numpy()


def _refresh(agents: Sequence[VaGraM], whole: Ensemble, optimiser: torch.optim.Optimizer) -> None:
    """Fit the models of those that have one, joined into one ensemble, under what their critics say now."""
    modelled = [agent for agent in agents if agent.settings.model_share]
    if modelled:
        s = agents[0].settings
        with _timed(modelled, "model"):
            fits = [agent._ask() for agent in modelled]
            adopt(whole, [agent.model for agent in modelled])
            fit_together(whole, optimiser, fits, s.model_steps, s.model_batch)
    for agent in agents:
        agent.refreshes += agent in modelled
        if agent.on_refresh is not None:
            agent.on_refresh(agent)


@contextmanager
def _timed(agents: Sequence[VaGraM], what: str) -> Iterator[None]:
    """Count the seconds of this process, an equal part of them for each agent."""
    start = time.process_time()
    yield
    for agent in agents:
        agent.seconds[what] += (time.process_time() - start) / len(agents)
