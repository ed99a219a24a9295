"""Proximal policy optimisation on a reward that is learned from an annotator's answers while it trains.

After every rollout its steps get the rewards of the newest models, so that no rollout mixes two of them; before the
first answers the policy stays as it is.

Sources: Christiano et al. (2017), "Deep reinforcement learning from human preferences"; Schulman et al. (2017),
"Proximal policy optimization algorithms".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.utils import obs_as_tensor

from valuegym.agents import checkpoints
from valuegym.agents.base import check_env, check_seed
from valuegym.agents.feedback.asking import Asking, AskingEnv, OwnRandomness
from valuegym.agents.ppo import WatchedPPO

__all__ = ["PreferencePPO", "make"]

RATE = 1e-3  # step size at the start, which falls linearly to 0


def _falling(left: float) -> float:
    """Return the step size when this share of the training is left."""
    return RATE * left


ASKING: dict[str, Any] = {"every": 1600, "rounds": 5, "fit_steps": 150, "fit_batch": 32, "scale": 0.05}
SETTINGS: dict[str, Any] = {"n_steps": 512, "batch_size": 128, "learning_rate": _falling, "device": "cpu"}


class PreferencePPO(WatchedPPO):
    """PPO that learns its reward from answers.

    Args:
        env: an environment with a box of observations, and discrete actions or a bounded box of them.
        asking: settings of queries and reward models.
        seed: of everything random.
        kwargs: further arguments of `stable_baselines3.PPO`.

    Raises:
        ValueError: the environment is not as stated, or a number is not finite or out of range.
    """

    def __init__(self, env: gym.Env[Any, Any], asking: Asking, seed: int = 0, **kwargs: Any) -> None:
        self.asking = AskingEnv(check_env(env), asking, check_seed(seed))
        self.asking.followed = [] if self.asking.learns else None
        self.randomness = OwnRandomness()
        with self.randomness:
            super().__init__("MlpPolicy", self.asking, seed=seed, **(SETTINGS | kwargs))

    def learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> Any:
        """Train for this many steps; the global generators of random numbers are left as they were.

        Raises:
            ValueError: the number of steps is no integer of at least 0.
            DivergenceError: a part of the policy or of the reward models, an observation or a reward is not finite.
        """
        with self.randomness:
            return super().learn(total_timesteps, *args, **kwargs)

    def train(self) -> None:
        """Update the policy on the rollout, once there is a reward.

        Raises:
            DivergenceError: a part of the policy is not finite.
        """
        if self.asking.learns:
            if self.asking.fits:
                self.label()
            self.asking.followed = []
            if not self.asking.fits:
                return
        super().train()

    def label(self) -> None:
        """Add the learned rewards to those of the rollout, which are 0 but for the values of truncated episodes."""
        buffer: Any = self.rollout_buffer
        steps, space = buffer.rewards.size, self.action_space
        actions = buffer.actions.reshape(steps, *(space.shape or ()))
        if isinstance(space, gym.spaces.Box):
            actions = np.clip(actions, space.low, space.high)  # as the environment gets them
        else:
            actions = actions.astype(np.int64)
        observations = buffer.observations.reshape(steps, *buffer.observations.shape[2:])
        following = np.stack(self.asking.followed or [])
        buffer.rewards += self.asking.rewards(observations, actions, following).reshape(buffer.rewards.shape)
        last: Any = self._last_obs
        with torch.no_grad():
            values = self.policy.predict_values(obs_as_tensor(last, self.device))
        buffer.compute_returns_and_advantage(values, self._last_episode_starts)

    def training_state(self) -> dict[str, Any]:
        """Return all that learning depends on besides the environment: queries, answers and models, too.

        Raises:
            ValueError: the annotator answers later, or settings keep states elsewhere (`Watched.training_state`).
        """
        return super().training_state() | {"asking": self.asking.state()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Let the next call of `learn` go on from a state, with the same total of steps.

        Raises:
            ValueError: the state is one of other settings.
        """
        with self.randomness:
            super().resume(state)
        with checkpoints.fitting():
            self.asking.restore(state["asking"])

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "asking", "randomness"]


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> PreferencePPO:
    """Make PPO that learns from answers.

    Further arguments are those of `Asking` and of `stable_baselines3.PPO`.

    Raises:
        ValueError: `env` is no environment or has other spaces, the seed is no integer from 0 to 2**32 - 1, or a
            setting is out of range.
    """
    asking, others = Asking.among(ASKING | kwargs)
    return PreferencePPO(env, asking, seed, **others)
