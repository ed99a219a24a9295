"""A learned reward where an agent expects a reward, as it is or transformed.

A model's rewards (N,), or (members, N), are transformed as they come from the model, each member by references of its
own, and aggregated after that: a reward from comparisons is known up to a constant only, so that members have to be
centred before their least one means anything. To transform after the aggregation, wrap `TransformedReward` around.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv, VectorWrapper

from valuegym.envs import checks
from valuegym.envs.feedback.batches import Transitions, add_axis, take
from valuegym.envs.feedback.segments import each

__all__ = [
    "AGGREGATIONS",
    "LearnedReward",
    "LearnedRewardVector",
    "Model",
    "Transform",
    "TransformedReward",
    "TransformedRewardVector",
    "reference_rewards",
]

Array = npt.NDArray[Any]
Model = Callable[[Any, Array, Any], Any]  # observations, actions, next observations -> rewards
Transform = Callable[[Any], Any]  # rewards -> as many rewards, such as what `fit_transform` returns

# How the rewards (members, N) of an ensemble become one reward: (N,).
AGGREGATIONS: dict[str, Callable[[Array, float], Array]] = {
    "mean": lambda rewards, coefficient: rewards.mean(0),
    "min": lambda rewards, coefficient: rewards.min(0),
    "mean_minus_std": lambda rewards, coefficient: rewards.mean(0) - coefficient * rewards.std(0),
    "sum": lambda rewards, coefficient: rewards.sum(0),
}


def _check_transform(transform: Any) -> None:
    if transform is not None and not callable(transform):
        raise ValueError(f"transform is {transform!r}; expected a function of rewards, such as fit_transform returns.")


def _transformed(transform: Transform, rewards: Array) -> Array:
    return checks.reals("the transformed reward", transform(rewards), rewards.shape)


@dataclass(frozen=True)
class _Reward:
    """A model's reward, checked, transformed and aggregated."""

    model: Model
    aggregation: str = "mean"
    coefficient: float = 1.0
    transform: Transform | None = None

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise ValueError(
                f"model is {self.model!r}; expected a function of observations, actions and next observations."
            )
        checks.choice("aggregation", self.aggregation, AGGREGATIONS)
        checks.real("coefficient", self.coefficient, 0)
        _check_transform(self.transform)

    def of_members(self, observations: Any, actions: Array, following: Any, n: int) -> Array:
        """Return the rewards (n,) or (members, n), transformed."""
        found = self.model(observations, actions, following)
        rewards = checks.reals("the reward of the model", found, (None, n) if np.ndim(found) == 2 else (n,))
        return rewards if self.transform is None else _transformed(self.transform, rewards)

    def __call__(self, observations: Any, actions: Array, following: Any, n: int) -> Array:
        rewards = self.of_members(observations, actions, following, n)
        return rewards if rewards.ndim == 1 else AGGREGATIONS[self.aggregation](rewards, self.coefficient)


class LearnedReward(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """An environment with the reward of a model in its reward's place.

    Args:
        env: an environment, such as `PreferenceFeedback`.
        model: a function of observations (N, ...), actions (N, ...) and next observations (N, ...), that returns
            rewards (N,), or (members, N) of an ensemble. It may change while the environment runs.
        aggregation: of an ensemble: "mean", "min", "mean_minus_std" (the mean minus `coefficient` deviations), or
            "sum", which with the transform "lsc" is the log probability that all members find the step good enough.
        coefficient: at least 0.
        transform: a function of the model's rewards that keeps their shape, such as `fit_transform` returns; None for
            none. It is applied before the aggregation.

    Raises:
        ValueError: an argument is not as stated.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        model: Model,
        aggregation: str = "mean",
        coefficient: float = 1.0,
        transform: Transform | None = None,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self,
            _disable_deepcopy=True,
            model=model,
            aggregation=aggregation,
            coefficient=coefficient,
            transform=transform,
        )
        super().__init__(env)
        self._reward = _Reward(model, aggregation, coefficient, transform)
        self._last: Any = None

    def set_transform(self, transform: Transform | None) -> None:
        """Use another transform from the next step on, for example `transform.refit(...)` after the model was fitted.

        Raises:
            ValueError: it is no function.
        """
        self._reward = replace(self._reward, transform=transform)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._last = add_axis(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move one step; the reward is the model's."""
        observation, _, terminated, truncated, info = self.env.step(action)
        following = add_axis(observation)
        reward = self._reward(self._last, np.asarray(action)[None], following, 1)
        self._last = following
        return observation, float(reward[0]), terminated, truncated, info


class LearnedRewardVector(VectorWrapper):
    """A vector environment with the reward of a model in its rewards' place: `LearnedReward` for many rows.

    In mode NEXT_STEP the reward of a step that only starts the next episode is 0.

    Args:
        env: a vector environment.
        model, aggregation, coefficient, transform: as in `LearnedReward`.

    Raises:
        ValueError: an argument is not as stated.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        model: Model,
        aggregation: str = "mean",
        coefficient: float = 1.0,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(env)
        self._reward = _Reward(model, aggregation, coefficient, transform)
        self._transitions = Transitions(env)
        self._last: Any = None

    def set_transform(self, transform: Transform | None) -> None:
        """Use another transform from the next step on, as in `LearnedReward`.

        Raises:
            ValueError: it is no function.
        """
        self._reward = replace(self._reward, transform=transform)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the next episodes of all rows, or of those in options["reset_mask"]."""
        self._transitions.reset(options)
        observations, info = self.env.reset(seed=seed, options=None if options is None else dict(options))  # type: ignore[arg-type]
        self._last = each(np.array, observations)
        return observations, info

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Move every row one step; rewards are the model's."""
        observations, _, terminated, truncated, info = self.env.step(actions)
        moved, following, _ = self._transitions.step(observations, terminated | truncated, info)
        rewards = np.zeros(self.num_envs)
        if moved.size:
            before, after = take(self._last, moved), take(following, moved)
            rewards[moved] = self._reward(before, np.asarray(actions)[moved], after, len(moved))
        self._last = each(np.array, observations)
        return observations, rewards, terminated, truncated, info


class TransformedReward(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """An environment with a transform of its reward in the reward's place; `info["raw_reward"]` is what it was.

    It serves an environment whose reward is learned as one with its own. `transform` takes rewards (1,).

    Raises:
        ValueError: `transform` is no function.
    """

    def __init__(self, env: gym.Env[Any, Any], transform: Transform) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, _disable_deepcopy=True, transform=transform)
        super().__init__(env)
        self.transform = _required(transform)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move one step.

        Raises:
            ValueError: the reward, or its transform, is not finite.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        value = _transformed(self.transform, checks.reals("the reward", [reward], (1,)))
        return observation, float(value[0]), terminated, truncated, info | {"raw_reward": reward}


class TransformedRewardVector(VectorWrapper):
    """A vector environment with a transform of its rewards in their place: `TransformedReward` for many rows.

    In mode NEXT_STEP the reward of a step that only starts the next episode is no reward, and stays as it is.

    Raises:
        ValueError: `transform` is no function.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], transform: Transform) -> None:
        super().__init__(env)
        self.transform = _required(transform)
        self._transitions = Transitions(env)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the next episodes of all rows, or of those in options["reset_mask"]."""
        self._transitions.reset(options)
        return self.env.reset(seed=seed, options=None if options is None else dict(options))  # type: ignore[arg-type]

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Move every row one step.

        Raises:
            ValueError: a reward, or its transform, is not finite.
        """
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        moved, _, _ = self._transitions.step(observations, terminated | truncated, info)
        raw = checks.reals("the reward", rewards, (self.num_envs,))
        found = raw.copy()
        if moved.size:
            found[moved] = _transformed(self.transform, raw[moved])
        return observations, found, terminated, truncated, info | {"raw_reward": raw}


def _required(transform: Any) -> Transform:
    if transform is None:
        raise ValueError("transform is None; expected a function of rewards, such as fit_transform returns.")
    _check_transform(transform)
    found: Transform = transform
    return found


def reference_rewards(
    env: gym.Env[Any, Any],
    model: Model,
    policy: Callable[[Any], Any] | None = None,
    steps: int = 1000,
    seed: int = 0,
) -> Array:
    """Return a model's rewards (steps,), or (members, steps), of steps of a policy: the references of `fit_transform`.

    `policy` is a function from an observation to an action, None for uniformly random actions. The environment is
    reset with the seed, and again after every episode.

    Raises:
        ValueError: `steps` or the seed is no integer in range, or a reward of the model is not finite.
    """
    steps, seed = checks.integer("steps", steps, 1), checks.integer("seed", seed, 0)
    space = copy.deepcopy(env.action_space)
    space.seed(seed)
    reward, found = _Reward(model), []
    observation, _ = env.reset(seed=seed)
    for _ in range(steps):
        action = space.sample() if policy is None else policy(observation)
        following, _, terminated, truncated, _ = env.step(action)
        row = reward.of_members(add_axis(observation), np.asarray(action)[None], add_axis(following), 1)
        found.append(row)
        observation = env.reset()[0] if terminated or truncated else following
    return np.concatenate(found, -1)
