"""Value-gradient weighted model learning in a Dyna loop: a dynamics ensemble, and soft actor-critic on its data too.

Every `refresh` steps the gradients of the critics are taken at all real next states, the ensemble is fitted under the
weights that follow, and short rollouts from real states fill a second replay buffer. The fraction of transitions from
it in updates of the actor and the critics grows linearly from 0 to `model_fraction` over `ramp` steps, so that the
critics, whose gradients the model depends on, first learn from real data. `loss` alone decides the loss of the model;
`losses.py` defines all of them.

`learn` is the loop `learn_together` in `side_by_side`, with one agent; its steps are the methods here, in their order.

Source: Voelcker, Liao, Garg, Farahmand (2022), "Value gradient weighted model-based reinforcement learning" (ICLR), on
the loop of Janner et al. (2019), "When to trust your model: model-based policy optimization".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from valuegym.agents.base import TrainingEnv, check_env, check_seed, finite_action
from valuegym.agents.checkpoints import adam_state
from valuegym.agents.control import losses
from valuegym.agents.control.actor_critic import Optimisation, SoftActorCritic
from valuegym.agents.control.buffer import ReplayBuffer, Transitions
from valuegym.agents.control.critics import PADDING, CriticParameters, value_range
from valuegym.agents.control.ensemble import Architecture, Ensemble, ModelFit
from valuegym.agents.control.finite import all_finite, all_sound, diverged
from valuegym.agents.control.model_env import Terminal, ended, never
from valuegym.agents.control.side_by_side import learn_together
from valuegym.envs import checks

__all__ = ["Settings", "VaGraM"]

MOST_ROLLOUTS = 10**6  # at a time
_SIZES = {  # least and largest
    "warm_refreshes": (0, 10**9),
    "members": (1, 256),
    "width": (1, 4096),
    "depth": (0, 32),
    "rank": (1, 4096),
    "reward_width": (0, 4096),
    "model_steps": (0, 10**5),
    "model_batch": (1, 2**16),
    "critics": (1, 64),
    "hidden": (1, 4096),
    "bins": (2 * PADDING + 2, 1024),
    "updates_per_step": (1, 1000),
    "warmup_steps": (1, 10**9),
    "refresh": (1, 10**9),
    "ramp": (0, 10**9),
    "rollout_length": (1, 1000),
    "rollouts": (1, 10**6),
    "rollout_every": (1, 10**6),
    "model_buffer": (1, 10**7),
}


@dataclass(frozen=True)
class Settings:
    """Settings of the agent.

    Attributes:
        loss: loss of the model, a name in `losses.LOSSES`.
        mse_weight: of squared error added to that loss in every refresh.
        warm_refreshes: refreshes at the start in which squared error is added with weight 1 more.
        members: models in the ensemble.
        width: units in each hidden layer of the model.
        depth: hidden layers of the model.
        rank: of its last layer; None for full rank.
        reward_width: units of the reward's own network.
        residual: whether the model predicts changes of the observation.
        gaussian: whether the model predicts standard deviations; always for the losses that need them.
        model_rate: learning rate of the model.
        model_steps: gradient steps in each refresh.
        model_batch: transitions in one step, for each member.
        validation: fraction of the transitions that the model is not fitted to.
        critic: loss of the critics, "mse" or "hl_gauss".
        critics: number of critics.
        hidden: units in each of two hidden layers of actor and critics.
        bins: number of bins of an HL-Gauss critic.
        values: range that bins cover; by default that of discounted sums of the rewards in the warm-up, and 0.
        layer_norm: whether hidden layers of the critics are normalised.
        optimisation: settings of the updates of actor and critics.
        updates_per_step: updates of actor and critics for each step of the environment.
        warmup_steps: steps at the start with uniform actions and without updates.
        refresh: steps between fits of the model.
        ramp: steps after the warm-up over which the fraction of model data grows.
        model_fraction: its final value; 0 leaves the model out, which is plain soft actor-critic.
        rollout_length: steps of a rollout.
        rollouts: transitions of the model for each step of the environment.
        rollout_every: steps between rollouts.
        model_buffer: transitions of the model that are kept.
        device: of networks and fits, such as "cpu" or "cuda"; data are kept and random numbers drawn on the CPU.

    Raises:
        ValueError: a setting is not a known name or outside its range, or torch cannot use the device.
    """

    loss: str = "vagram"
    mse_weight: float = 0.0
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
    updates_per_step: int = 5
    warmup_steps: int = 250
    refresh: int = 250
    ramp: int = 2500
    model_fraction: float = 0.9
    rollout_length: int = 1
    rollouts: int = 80
    rollout_every: int = 50
    model_buffer: int = 20_000
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check every setting."""
        checks.choice("loss", self.loss, sorted(losses.LOSSES))
        checks.choice("critic", self.critic, ("mse", "hl_gauss"))
        checks.real("mse_weight", self.mse_weight, 0)
        checks.real("model_rate", self.model_rate, 0)
        checks.real("validation", self.validation, 0, below=1)
        checks.real("model_fraction", self.model_fraction, 0, 1)
        for name in ("residual", "gaussian", "layer_norm"):
            checks.flag(name, getattr(self, name))
        for name, (low, high) in _SIZES.items():
            if name != "rank" or self.rank is not None:
                checks.integer(name, getattr(self, name), low, high)
        rows = self.rollouts * self.rollout_every // self.rollout_length
        if not 1 <= rows <= MOST_ROLLOUTS:
            raise ValueError(
                f"rollouts * rollout_every / rollout_length is {rows}; expected from 1 to {MOST_ROLLOUTS} rollouts at "
                "a time."
            )
        if self.values is not None:
            low, high = checks.reals("values", self.values, (2,))
            if not low < high:
                raise ValueError(f"values is {self.values!r}; expected a low value below a high one.")
        if not isinstance(self.optimisation, Optimisation):
            raise ValueError(f"optimisation is {self.optimisation!r}; expected an Optimisation.")
        said = "it is no text"
        if isinstance(self.device, str):
            try:
                torch.empty(0, device=self.device)
                return
            except (RuntimeError, AssertionError) as reason:
                said = str(reason).partition("\n")[0].rstrip(".")
        raise ValueError(f"device is {self.device!r}; expected one that torch can use here: {said}.")

    def model_fraction_after(self, steps: int) -> float:
        """Return the fraction of model data in updates, this many steps after the warm-up."""
        return self.model_fraction * (min(max(steps, 0) / self.ramp, 1.0) if self.ramp else 1.0)


class VaGraM:
    """Agent that learns by soft actor-critic from real data and from those of a model.

    After `learn`, `model`, `learner` (actor and critics) and `data` (the real transitions of the last fit) can be
    inspected.

    Args:
        env: scalar environment with flat boxes for observations and actions.
        seed: of everything random, and of the first episode.
        terminal: observations (B, D) -> (B,) bool, where episodes end; needed if any episode terminates.
        on_refresh: called with the agent every `refresh` steps, after the fit of the model if there is one.
        settings: fields of `Settings`.

    Raises:
        ValueError: spaces are not flat boxes, actions are unbounded, or a setting is not valid.
        TypeError: a setting is unknown.
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
        seed = check_seed(seed)
        for name, function in (("terminal", terminal), ("on_refresh", on_refresh)):
            if function is not None and not callable(function):
                raise ValueError(f"{name} is {function!r}; expected a function or None.")
        for space in (check_env(env).observation_space, env.action_space):
            if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
                raise ValueError(f"vagram needs flat boxes for observations and actions, not {space}.")
        assert isinstance(env.action_space, gym.spaces.Box) and env.observation_space.shape is not None
        if not env.action_space.is_bounded():
            raise ValueError(f"vagram needs bounded actions; {env.action_space} is not.")
        self.env, self.seed, self.terminal, self.on_refresh = TrainingEnv(env), seed, terminal, on_refresh
        self.low, self.high = env.action_space.low, env.action_space.high
        self.D, self.A = env.observation_space.shape[0], env.action_space.shape[0]
        self.generator = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng([seed, 1])
        gaussian = s.gaussian or "gaussian" in losses.find(s.loss).needs
        architecture = Architecture(s.members, s.width, s.depth, s.rank, s.reward_width, s.residual, gaussian)
        self.model = Ensemble(self.D, self.A, architecture, self.generator).to(s.device)
        self.learner: SoftActorCritic | None = None
        self.data: Transitions | None = None
        self.refreshes, self.steps, self.model_fraction = 0, 0, 0.0
        self.after_step: Callable[[VaGraM], None] | None = None  # called after each step of learning, to keep its state
        self.optimisers: dict[str, torch.optim.Optimizer] = {}  # those of a training of this agent alone
        self._resumed: Mapping[str, Any] | None = None
        self.seconds = {"environment": 0.0, "model": 0.0, "critic": 0.0}

    # --- actions ---

    def _scaled(self, action: Any) -> Any:
        """Return actions in [-1, 1] in the units of the environment."""
        fraction = (np.asarray(action) + 1) / 2
        return (self.low + fraction * (self.high - self.low)).astype(self.env.action_space.dtype)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Return the actor's action, for one observation (D,) or several (N, D); uniform before anything is learnt.

        Raises:
            ValueError: no finite action follows from an observation that is not finite.
            DivergenceError: the action is not finite.
        """
        s = torch.as_tensor(np.asarray(observation, np.float32), device=self.settings.device)
        flat = s.reshape(-1, self.D)
        with torch.no_grad():
            if self.learner is None:
                action = 2 * torch.rand(len(flat), self.A, generator=self.generator) - 1
            else:
                action = self.learner.mode(flat) if deterministic else self.learner.sample(flat)[0]
        return self._act(action, s, state)

    def _act(self, action: Tensor, observation: Tensor, state: Any) -> tuple[Any, Any]:
        """Return finite actions in the units of the environment, and the memory."""
        scaled = self._scaled(action.reshape(*observation.shape[:-1], self.A).cpu())
        return finite_action(scaled, self, observation.cpu().numpy()), state

    def check_finite(self) -> None:
        """Raise an error if a network is not finite.

        Raises:
            DivergenceError: one is not; the message says which, and when.
        """
        parts: dict[str, list[Tensor]] = {"model": list(self.model.parameters())}
        if self.learner is not None:
            learner = self.learner
            parts["critics"] = [*learner.critics.parameters(), *learner.target_critics.parameters()]
            parts["actor"] = [*learner.actor.parameters(), learner.log_temperature]
        if not all_sound(tensor for tensors in parts.values() for tensor in tensors):
            wrong = [name for name, tensors in parts.items() if not all_sound(tensors)]
            raise diverged(self, self.seed, self.steps, wrong)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the agent has learnt and plays by, networks and random numbers, by name; data are left out."""
        counts = torch.tensor([self.steps, self.refreshes])
        state = {"counts": counts, "generator": self.generator.get_state()}
        state |= {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.learner is not None:
            learner = self.learner
            critics = learner.critics.settings
            state["values"] = torch.tensor([critics.low, critics.high], dtype=torch.float64)
            state["log_temperature"] = learner.log_temperature
            for part in ("actor", "critics", "target_critics"):
                state |= {f"{part}.{name}": value for name, value in getattr(learner, part).state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what another agent with the same settings has learnt, and act as it would.

        Raises:
            ValueError: a name is missing or unknown, or its values have another shape.
        """
        rest = {name: torch.as_tensor(value, device=self.settings.device) for name, value in state.items()}
        try:
            generator, counts = rest.pop("generator"), rest.pop("counts").tolist()
            self._take(self.model, "model", rest)
            if "values" in rest:
                low, high = rest.pop("values").tolist()
                self.learner = self._soft_actor_critic(low, high)
                self.learner.log_temperature = rest.pop("log_temperature").reshape(1)
                for part in ("actor", "critics", "target_critics"):
                    self._take(getattr(self.learner, part), part, rest)
            self.steps, self.refreshes = counts
            self.generator.set_state(generator.cpu())
        except (KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f"state does not fit this agent: {error}") from None
        if rest:
            raise ValueError(f"state holds {sorted(rest)[:9]} besides, which this agent has not.")

    @staticmethod
    def _take(module: torch.nn.Module, part: str, state: dict[str, Tensor]) -> None:
        """Move the values of one network from a state into it."""
        names = [name for name in state if name.startswith(f"{part}.")]
        module.load_state_dict({name.removeprefix(f"{part}."): state.pop(name) for name in names})

    def training_state(self) -> dict[str, Any]:
        """Return all that learning depends on besides the environment, between two steps (`agents.checkpoints`)."""
        tables = {name: getattr(self, name) for name in ("real", "imagined")}
        return {
            "agent": self.state_dict(),
            "rng": self.rng.bit_generator.state,
            "model_fraction": self.model_fraction,
            "seconds": self.seconds,
            "observation": self.observation,
            "validation": self._validation,
            **{name: buffer.state() for name, buffer in tables.items()},
            "optimisers": {name: adam_state(optimiser) for name, optimiser in self.optimisers.items()},
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Let the next call of `learn` go on from a state, with the same total of steps, to the same bits.

        Raises:
            ValueError: the state is one of other settings.
        """
        self.load_state_dict(state["agent"])
        self._resumed = state

    def restore(self, state: Mapping[str, Any], total_timesteps: int) -> None:
        """Take the data and random numbers of a state, as `start` makes them empty.

        Raises:
            ValueError: the state is one of another number of steps.
        """
        if len(state["validation"]) != max(total_timesteps, 1) or self.steps > total_timesteps:
            raise ValueError(f"The state is one of {len(state['validation'])} steps, not of {total_timesteps}.")
        self.real = ReplayBuffer(max(total_timesteps, 1), self.D, self.A)
        self.imagined = ReplayBuffer(self.settings.model_buffer, self.D, self.A)
        for name in ("real", "imagined"):
            getattr(self, name).load_state(state[name])
        self._validation = torch.from_numpy(state["validation"])
        self.rng.bit_generator.state = state["rng"]
        self.model_fraction, self.seconds = state["model_fraction"], dict(state["seconds"])
        self.observation, self.env.steps = state["observation"], self.steps

    # --- learning ---

    def learn(self, total_timesteps: int) -> VaGraM:
        """Play this many steps and learn from them; after `resume`, those that are left of them.

        Raises:
            ValueError: an episode terminated and `terminal` is not given, or the number of steps is no integer of at
                least 0.
            DivergenceError: the model, the actor, a critic or a transition is not finite.
        """
        checks.integer("total_timesteps", total_timesteps, 0)
        state, self._resumed = self._resumed, None
        learn_together([self], total_timesteps, state)
        return self

    def start(self, total_timesteps: int) -> None:
        """Empty the replay buffers and start the first episode."""
        size = max(total_timesteps, 1)
        self.real = ReplayBuffer(size, self.D, self.A)
        self.imagined = ReplayBuffer(self.settings.model_buffer, self.D, self.A)
        self._validation = torch.from_numpy(self.rng.random(size) < self.settings.validation)
        self.observation, _ = self.env.reset(seed=self.seed)

    def step(self, action: Any) -> None:
        """Take one step of the environment under an action in [-1, 1] (A,), and keep the transition.

        Raises:
            ValueError: the episode terminated and `terminal` is not given.
        """
        after, reward, terminated, truncated, _ = self.env.step(self._scaled(action))
        if terminated and self.terminal is None and self.settings.model_fraction:
            raise ValueError("An episode terminated, and rollouts of a model must know when: give terminal=.")
        row = np.concatenate([self.observation, action, [reward], after, [terminated]]).astype(np.float32)
        self.real.add(torch.from_numpy(row)[None])
        self.observation = self.env.reset()[0] if terminated or truncated else after

    def make_learner(self) -> SoftActorCritic:
        """Return actor and critics, made at the end of the warm-up, whose rewards set the range of values."""
        s = self.settings
        if self.learner is None:
            rewards = self.real.transitions.reward
            lowest, highest = min(float(rewards.min()), 0.0), max(float(rewards.max()), 0.0)
            if lowest == highest:  # all rewards were 0
                lowest, highest = -1.0, 1.0
            self.learner = self._soft_actor_critic(*(s.values or value_range(lowest, highest, s.optimisation.discount)))
        return self.learner

    def _soft_actor_critic(self, low: float, high: float) -> SoftActorCritic:
        """Return actor and critics as they begin, whose bins, if there are any, cover values from low to high."""
        s = self.settings
        bins = s.bins if s.critic == "hl_gauss" else 0
        critic = CriticParameters(s.critics, s.hidden, 2, bins, low, high, s.layer_norm)
        return SoftActorCritic(self.D, self.A, critic, s.optimisation, self.generator, s.device)

    def prepare_fit(self) -> ModelFit:
        """Return all real transitions, with the loss of the model and its weights under the present critics."""
        s = self.settings
        assert self.learner is not None
        data = Transitions(*(column.contiguous().to(s.device) for column in self.real.transitions))
        self.data = data._replace(terminated=data.terminated > 0)
        self.training = ~self._validation[: self.real.rows]
        self.model.standardise(self.data)
        units = self.model.error_units(s.optimisation.discount)
        chosen = losses.find(s.loss)
        self.statistics, weights = chosen.weigh(
            self.learner.values, self.data, units, self.training.to(s.device), self.generator
        )
        factor = s.mse_weight + (self.refreshes < s.warm_refreshes)
        loss = losses.mix(chosen.loss, factor) if factor and s.loss != "mse" else chosen.loss
        return ModelFit(self.data, self.training.nonzero()[:, 0], loss, weights, self.generator)

    @torch.no_grad()
    def roll_out(self) -> None:
        """Roll the model out from real states under the present actor, and keep its transitions.

        Raises:
            DivergenceError: a transition is not finite.
        """
        s = self.settings
        assert self.learner is not None
        rows = self.real.sample((s.rollouts * s.rollout_every // s.rollout_length,), self.generator)
        observation = Transitions.from_rows(rows, self.D, self.A).observation.to(s.device)
        for _ in range(s.rollout_length):
            action, _ = self.learner.sample(observation)
            after, reward = self.model.step(observation, action, self.generator)
            terminated = ended(self.terminal or never, after)
            transitions = Transitions(observation, action, reward, after, terminated.float()).to_rows().cpu()
            if not all_finite([transitions]):
                self.check_finite()
                raise diverged(self, self.seed, self.steps, ["model's rollout"])
            self.imagined.add(transitions)
            observation = after[~terminated]
            if not len(observation):
                break

    def sample_batches(self) -> Tensor:
        """Return rows (updates_per_step, batch, columns) for the updates of one step, some of them from the model."""
        updates, size = self.settings.updates_per_step, self.settings.optimisation.batch
        rows = round(self.model_fraction * size)
        real = self.real.sample((updates, size - rows), self.generator)
        if not rows:
            return real
        return torch.cat([real, self.imagined.sample((updates, rows), self.generator)], 1)
