"""Algorithms of Stable-Baselines3 that stop when they diverge."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from valuegym.agents.base import TrainingEnv, check_seed, finite_action
from valuegym.agents.control.finite import all_sound, diverged
from valuegym.envs import checks

__all__ = ["Watched"]


class Watched:
    """Mixin for algorithms of Stable-Baselines3: they stop when they diverge, and own their observations.

    Its place is before the algorithm: `class MyPPO(Watched, PPO)`.

    Raises:
        ValueError: the seed is no integer from 0 to 2**32 - 1, or another number is not finite.
    """

    policy: Any
    num_timesteps: int
    seed: Any

    def __init__(self, policy: Any, env: Any, *args: Any, seed: Any = None, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            if isinstance(value, float):
                checks.real(name, value)
        own = TrainingEnv(env) if isinstance(env, gym.Env) else env
        super().__init__(policy, own, *args, seed=None if seed is None else check_seed(seed), **kwargs)  # type: ignore[call-arg]

    def learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> Any:
        """Train for this many steps.

        Raises:
            ValueError: the number of steps is no integer of at least 0.
            DivergenceError: a part of the policy, an observation or a reward is not finite.
        """
        checks.integer("total_timesteps", total_timesteps, 0)
        try:
            found = super().learn(total_timesteps, *args, **kwargs)  # type: ignore[misc]
        except ValueError:  # PyTorch refuses distributions with parameters that are not finite
            self.check_finite()
            raise
        self.check_finite()
        return found

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Update the policy once.

        Raises:
            DivergenceError: a part of the policy is not finite.
        """
        super().train(*args, **kwargs)  # type: ignore[misc]
        self.check_finite()

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return actions as the algorithm does.

        Raises:
            ValueError: no finite action follows from an observation that is not finite.
            DivergenceError: the action or a part of the policy is not finite.
        """
        try:
            action, state = super().predict(observation, *args, **kwargs)  # type: ignore[misc]
        except ValueError:
            self.check_finite()
            raise
        return finite_action(action, self, observation), state

    def check_finite(self) -> None:
        """Raise an error if the policy is not finite.

        Raises:
            DivergenceError: a part of it is not; the message names it.
        """
        parameters = dict(self.policy.named_parameters())
        entropy = getattr(self, "log_ent_coef", None)
        if entropy is not None:
            parameters["entropy coefficient"] = entropy
        if not all_sound(parameters.values()):
            wrong = {name.split(".")[0] for name, value in parameters.items() if not all_sound([value])}
            raise diverged(self, self.seed, self.num_timesteps, sorted(wrong))
