"""The protocol of agents, the one way in which they learn the rules of an environment, and a base for most of them.

Anything with Stable-Baselines3's `learn` and `predict` is an agent; a trained SB3 model is one unchanged.

Agents own what they keep: whatever a caller or an environment does with its arrays afterwards changes no result, and
memories hold the running episodes alone. Agents that learn stop with a `DivergenceError` as soon as something that they
learn is no longer finite, and none returns an action that is not.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

import valuegym.envs  # noqa: F401 - registers the ids
from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks
from valuegym.envs.functional import Core, load
from valuegym.envs.registration import has_core

__all__ = [
    "Agent",
    "BatchAgent",
    "Mask",
    "TrainingEnv",
    "batch_size",
    "check_env",
    "check_seed",
    "finite_action",
    "rules",
    "unstack",
]

Mask = npt.NDArray[np.bool_]
Self = TypeVar("Self", bound="BatchAgent")
# Arguments of the environments around a core and of gymnasium.make_vec.
_AROUND = ("core", "render_mode", "num_envs", "vectorization_mode", "max_episode_steps", "autoreset_mode")
SEEDS = 2**32 - 1  # the largest seed, that of NumPy's and so of Stable-Baselines3's generators


class Agent(Protocol):
    """The protocol of agents. Observations are those of one environment, or of several with a leading axis (N,)."""

    def learn(self, total_timesteps: int) -> Any:
        """Train in the environment given at construction; agents that learn while they act return at once."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Mask | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Return actions and the agent's memory, to be handed back at the next step.

        Episode_start (N,) tells which environments have just been reset.
        """


def rules(env: Any) -> Core:
    """Return the rules of an environment: its core, built from the id and the arguments in `env.spec`.

    This is all that an agent may know of its environment besides spaces, observations and rewards. It holds neither
    the environment nor its state, so it is the same inside a sandbox, where the environment is at the other end of a
    pipe.

    Raises:
        ValueError: the environment has no spec, is not registered here, is no core of this suite, or needs an argument
            that is not at hand, such as the folder of people's answers.
    """
    spec = getattr(env, "spec", None)
    if spec is None:
        raise ValueError(
            f"{type(env).__name__} has no spec, so its rules are unknown; make it with gymnasium.make(id, ...)."
        )
    registered = gym.registry.get(spec.id)
    if registered is None or not has_core(spec.id):
        raise ValueError(f"{spec.id} is not an environment of valuegym with a core, so its rules cannot be given.")
    kwargs = {**registered.kwargs, **spec.kwargs}
    arguments = {name: value for name, value in kwargs.items() if name not in _AROUND}
    try:
        core: Core = load(kwargs["core"])(**arguments)
    except OSError as error:
        raise ValueError(f"The rules of {spec.id} cannot be given here: {error}") from error
    return core


def batch_size(observation: Any, space: Any) -> int | None:
    """Return the number of environments in a batched observation of this space; None for a single observation.

    Raises:
        ValueError: the observation has neither the dimensions of the space nor one more.
    """
    if isinstance(observation, dict):
        name = next(iter(observation))
        return batch_size(observation[name], space[name])
    if isinstance(space, gym.spaces.Tuple):
        return batch_size(observation[0], space[0])
    shape, single = np.shape(observation), space.shape or ()
    if len(shape) - len(single) not in (0, 1):
        raise ValueError(f"The observation has shape {shape}; expected {single}, or {('N', *single)} for N of them.")
    return None if len(shape) == len(single) else shape[0]


def _batched(observation: Any, space: Any) -> Any:
    """Return the observation of a single environment as a batch of one."""
    if isinstance(observation, dict):
        return {name: _batched(value, space[name]) for name, value in observation.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_batched(value, inner) for value, inner in zip(observation, space, strict=True))
    return np.asarray(observation)[None]


def unstack(observation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the observations of single environments that a batch of dictionaries (N,) holds."""
    n = len(next(iter(observation.values())))
    return [{name: value[i] for name, value in observation.items()} for i in range(n)]


def check_env(env: Any) -> Any:
    """Return an environment, scalar or vector.

    Raises:
        ValueError: it is none of Gymnasium.
    """
    if not isinstance(env, gym.Env | gym.vector.VectorEnv):
        raise ValueError(f"env is a {type(env).__name__}; expected an environment of Gymnasium.")
    return env


def check_seed(seed: Any) -> int:
    """Return the seed of an agent.

    Raises:
        ValueError: it is no integer from 0 to 2**32 - 1.
    """
    return checks.integer("seed", seed, 0, SEEDS)


def _numbers(values: Any) -> list[Any]:
    """Return the arrays in an observation."""
    return [np.asarray(value) for value in (values.values() if isinstance(values, dict) else [values])]


def _finite(values: Any) -> bool:
    return all(np.isfinite(value).all() for value in _numbers(values) if value.dtype.kind == "f")


def finite_action(action: Any, agent: Any, observation: Any) -> Any:
    """Return the action of an agent at an observation, if it is finite.

    Raises:
        ValueError: it is not, and neither is the observation.
        DivergenceError: it is not, although the observation is.
    """
    if not np.isfinite(action).all():
        if not _finite(observation):
            raise ValueError("The observation holds a number that is not finite; no action follows from it.")
        raise DivergenceError(f"The action of {type(agent).__name__} is not finite: what it acts on has diverged.")
    return action


class TrainingEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment as learners train in it: observations are copies, and all numbers are finite.

    Environments may use the arrays that they hand out again.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(check_env(env))
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Raises:
            DivergenceError: the observation is not finite.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        return self._own(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step.

        Raises:
            DivergenceError: the observation or the reward is not finite.
        """
        self.steps += 1
        mine = action.copy() if isinstance(action, np.ndarray) else action
        observation, reward, terminated, truncated, info = self.env.step(mine)
        if not math.isfinite(reward):
            raise DivergenceError(f"The reward of training step {self.steps} is {float(reward)}; expected a number.")
        return self._own(observation), reward, terminated, truncated, info

    def _own(self, observation: Any) -> Any:
        if not _finite(observation):
            raise DivergenceError(f"The observation after {self.steps} training steps is not finite.")
        if isinstance(observation, dict):
            return {name: np.array(value) for name, value in observation.items()}
        return np.array(observation) if isinstance(observation, np.ndarray) else observation


class BatchAgent:
    """Base of agents that act on a batch of environments at once and learn nothing beforehand.

    Subclasses define `act`; `predict` also takes the observation of a single environment. What `act` keeps in the
    memory must be its own, no view of the observation.

    Raises:
        ValueError: `env` is no environment, or the seed no integer from 0 to 2**32 - 1.
    """

    def __init__(self, env: gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any], seed: int = 0) -> None:
        check_env(env)
        self.seed = check_seed(seed)
        self.observation_space: Any = getattr(env, "single_observation_space", env.observation_space)
        self.action_space: Any = getattr(env, "single_action_space", env.action_space)

    def learn(self: Self, total_timesteps: int) -> Self:
        """Return at once: what there is to learn is learnt while acting.

        Raises:
            ValueError: the number of steps is no integer of at least 0.
        """
        checks.integer("total_timesteps", total_timesteps, 0)
        return self

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return actions, for one environment or several, and the memory for the next step.

        Memories are values: the one handed in stays as it was, so that a caller may go on from an older one.

        Raises:
            ValueError: episode_start does not have one value for each environment, the observation has too few or too
                many dimensions, or no finite action follows from an observation that is not finite.
            DivergenceError: the action is not finite.
        """
        n = batch_size(observation, self.observation_space)
        if n is None:
            observation = _batched(observation, self.observation_space)
        rows = 1 if n is None else n
        start = np.full(rows, state is None)
        if episode_start is not None:
            given = np.asarray(episode_start, np.bool_)
            if given.size != rows:
                raise ValueError(f"episode_start has shape {given.shape}; expected one value for each of {rows} rows.")
            start |= given.reshape(rows)
        actions, memory = self.act(observation, state, start)
        finite_action(actions, self, observation)
        return (actions[0] if n is None else actions), memory

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return actions (N, ...) for a batch of observations, and the new memory.

        Start (N,) marks the environments whose episode begins; it holds everywhere where memory is None.
        """
        raise NotImplementedError
