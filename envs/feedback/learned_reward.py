"""A learned reward where an agent expects a reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv, VectorWrapper

from valuegym.envs import checks
from valuegym.envs.feedback.batches import Transitions, add_axis, take
from valuegym.envs.feedback.segments import each

__all__ = ["AGGREGATIONS", "LearnedReward", "LearnedRewardVector", "Model"]

Array = npt.NDArray[Any]
Model = Callable[[Any, Array, Any], Any]  # observations, actions, next observations -> rewards

# How the rewards (members, N) of an ensemble become one reward: (N,).
AGGREGATIONS: dict[str, Callable[[Array, float], Array]] = {
    "mean": lambda rewards, coefficient: rewards.mean(0),
    "min": lambda rewards, coefficient: rewards.min(0),
    "mean_minus_std": lambda rewards, coefficient: rewards.mean(0) - coefficient * rewards.std(0),
}


@dataclass(frozen=True)
class _Reward:
    """A model's reward, checked and aggregated."""

    model: Model
    aggregation: str
    coefficient: float

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise ValueError(
                f"model is {self.model!r}; expected a function of observations, actions and next observations."
            )
        checks.choice("aggregation", self.aggregation, AGGREGATIONS)
        checks.real("coefficient", self.coefficient, 0)

    def __call__(self, observations: Any, actions: Array, following: Any, n: int) -> Array:
        found = self.model(observations, actions, following)
        if np.ndim(found) == 2:
            rewards = checks.reals("the reward of the model", found, (None, n))
            return AGGREGATIONS[self.aggregation](rewards, self.coefficient)
        return checks.reals("the reward of the model", found, (n,))


class LearnedReward(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """An environment with the reward of a model in its reward's place.

    Args:
        env: an environment, such as `PreferenceFeedback`.
        model: a function of observations (N, ...), actions (N, ...) and next observations (N, ...), that returns
            rewards (N,), or (members, N) of an ensemble. It may change while the environment runs.
        aggregation: of an ensemble: "mean", "min", or "mean_minus_std", the mean minus `coefficient` deviations.
        coefficient: at least 0.

    Raises:
        ValueError: an argument is not as stated.
    """

    def __init__(
        self, env: gym.Env[Any, Any], model: Model, aggregation: str = "mean", coefficient: float = 1.0
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True, model=model, aggregation=aggregation, coefficient=coefficient
        )
        super().__init__(env)
        self._reward = _Reward(model, aggregation, coefficient)
        self._last: Any = None

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
        model, aggregation, coefficient: as in `LearnedReward`.

    Raises:
        ValueError: an argument is not as stated.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], model: Model, aggregation: str = "mean", coefficient: float = 1.0
    ) -> None:
        super().__init__(env)
        self._reward = _Reward(model, aggregation, coefficient)
        self._transitions = Transitions(env)
        self._last: Any = None

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
