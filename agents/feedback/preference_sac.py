"""Soft actor-critic on a reward that is learned from an annotator's answers while it trains: PEBBLE.

After every fit the whole replay buffer gets the rewards of the newest models. With `pretrain` the reward before the
first answers is the novelty of states, so that there is something to ask about; critics begin again after it.

Source: Lee et al. (2021), "PEBBLE: feedback-efficient interactive reinforcement learning via relabeling experience and
unsupervised pre-training".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from valuegym.agents import checkpoints
from valuegym.agents.base import check_env, check_seed
from valuegym.agents.control.sac import WatchedSAC
from valuegym.agents.feedback.asking import Asking, AskingEnv, OwnRandomness
from valuegym.envs import checks

__all__ = ["PreferenceSAC", "make", "novelty"]

Array = npt.NDArray[Any]

NEIGHBOUR = 5  # whose distance is the novelty of a state
ASKING: dict[str, Any] = {"every": 500, "rounds": 6, "fit_steps": 100}
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "learning_starts": 250,
    "batch_size": 128,
    "train_freq": 8,
    "gradient_steps": 8,
    "ent_coef": "auto_0.1",
    "policy_kwargs": {"net_arch": [64, 64], "optimizer_kwargs": {"fused": True}},
    "device": "cpu",
}


def novelty(states: Array, others: Array) -> Array:
    """Return log(1 + distance) (N,) of states (N, D) to their NEIGHBOUR-th nearest among others (M, D).

    Distances are Euclidean in standard deviations of the others; states among the others are their own nearest.
    """
    scale = others.std(0)
    unit = np.where(scale > 0, scale, 1.0)
    gaps = np.linalg.norm((states[:, None] - others[None]) / unit, axis=-1)
    k = min(NEIGHBOUR, len(others) - 1)
    found: Array = np.log1p(np.partition(gaps, k, axis=1)[:, k])
    return found


class PreferenceSAC(WatchedSAC):
    """SAC that learns its reward from answers.

    Args:
        env: an environment with a box of observations and a bounded box of actions.
        asking: settings of queries and reward models.
        seed: of everything random.
        pretrain: whether the reward before the first answers is the novelty of states, not 0.
        kwargs: further arguments of `stable_baselines3.SAC`.

    Raises:
        ValueError: the environment is not as stated, or a number is not finite or out of range.
    """

    def __init__(
        self, env: gym.Env[Any, Any], asking: Asking, seed: int = 0, pretrain: bool = False, **kwargs: Any
    ) -> None:
        if not isinstance(check_env(env).action_space, gym.spaces.Box):
            raise ValueError(f"preference_sac needs a bounded box of actions, not {env.action_space}.")
        self.asking = AskingEnv(env, asking, check_seed(seed))
        self.pretrain = checks.flag("pretrain", pretrain) and self.asking.learns
        self.randomness = OwnRandomness()
        self._row, self._fits = 0, 0  # rows before this one are labelled, by this many fits
        with self.randomness:
            super().__init__("MlpPolicy", self.asking, seed=seed, **(SETTINGS | kwargs))
        self._untrained = copy.deepcopy(self.critic.state_dict()) if self.pretrain else None

    def learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> Any:
        """Train for this many steps; the global generators of random numbers are left as they were.

        Raises:
            ValueError: the number of steps is no integer of at least 0.
            DivergenceError: a part of the policy or of the reward models, an observation or a reward is not finite.
        """
        with self.randomness:
            return super().learn(total_timesteps, *args, **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Put the learned rewards into the replay buffer, and update actor and critics.

        Raises:
            DivergenceError: a part of the policy is not finite.
        """
        if self.asking.learns:
            self.label()
        super().train(*args, **kwargs)

    def label(self) -> None:
        """Put the learned rewards into new rows of the replay buffer, and into all of them after a fit."""
        buffer: Any = self.replay_buffer
        size = buffer.buffer_size if buffer.full else buffer.pos
        end = buffer.pos + (buffer.buffer_size if buffer.pos < self._row else 0)
        rows, self._row = np.arange(self._row, end) % buffer.buffer_size, buffer.pos
        if self._fits < self.asking.fits:
            rows, self._fits = np.arange(size), self.asking.fits
            if self._untrained is not None:
                self.critic.load_state_dict(self._untrained)
                self.critic_target.load_state_dict(self._untrained)
                self._untrained = None
        observations, following = buffer.observations[rows, 0], buffer.next_observations[rows, 0]
        if self.pretrain and not self._fits:
            flat = buffer.observations[:size, 0].reshape(size, -1)
            buffer.rewards[rows, 0] = novelty(flat[rows], flat)
            return
        actions = self.policy.unscale_action(buffer.actions[rows, 0])
        buffer.rewards[rows, 0] = self.asking.rewards(observations, actions, following)

    def training_state(self) -> dict[str, Any]:
        """Return all that learning depends on besides the environment: queries, answers and models, too.

        Raises:
            ValueError: the annotator answers later, or settings keep states elsewhere (`Watched.training_state`).
        """
        return super().training_state() | {
            "asking": self.asking.state(),
            "labelled": [self._row, self._fits],
            "untrained": self._untrained,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Let the next call of `learn` go on from a state, with the same total of steps.

        Raises:
            ValueError: the state is one of other settings.
        """
        with self.randomness:
            super().resume(state)
        with checkpoints.fitting():
            self.asking.restore(state["asking"])
            self._row, self._fits = state["labelled"]
            before = state["untrained"]
            self._untrained = before and {name: torch.as_tensor(value) for name, value in before.items()}

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "asking", "randomness", "_untrained"]


def make(env: gym.Env[Any, Any], seed: int = 0, **kwargs: Any) -> PreferenceSAC:
    """Make SAC that learns from answers.

    Further arguments are those of `Asking` and `PreferenceSAC`, and of `stable_baselines3.SAC`.

    Raises:
        ValueError: `env` is no environment or has other spaces, the seed is no integer from 0 to 2**32 - 1, or a
            setting is out of range.
    """
    asking, others = Asking.among(ASKING | kwargs)
    return PreferenceSAC(env, asking, seed, **others)
