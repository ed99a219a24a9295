"""A learned model of the dynamics as a Gymnasium vector environment, in which any agent can be trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from valuegym.agents.control.ensemble import Ensemble

__all__ = ["ModelVectorEnv", "Terminal", "ended", "never"]

Floats = npt.NDArray[np.float32]
Terminal = Callable[[Any], Any]  # observations (B, D) -> (B,) bool


def never(observation: Any) -> Any:
    """Return False for every observation (B, D): nothing terminates."""
    return np.zeros(len(observation), np.bool_)


def ended(terminal: Terminal, observation: torch.Tensor) -> torch.Tensor:
    """Return whether each observation (B, D) is terminal, (B,) bool, on their device."""
    return torch.as_tensor(np.asarray(terminal(observation.cpu().numpy()), np.bool_), device=observation.device)


class ModelVectorEnv(VectorEnv[Any, Any, Any]):
    """Episodes that start from given states, and in which a random member of the ensemble predicts each step.

    Termination is a known function of the observation, as is usual in model-based learning. Finished rows are reset in
    the same step (`AutoresetMode.SAME_STEP`, `final_obs` in info).

    Args:
        model: the ensemble; its actions are in [-1, 1], and those of `action_space` are scaled to them.
        starts: (S, D) states from which episodes start, each with the same probability.
        observation_space: of one environment.
        action_space: of one environment, bounded.
        num_envs: environments stepped together.
        max_episode_steps: after which episodes are truncated.
        terminal: observations (B, D) -> (B,) bool, where episodes terminate.

    Raises:
        ValueError: `starts` is not (S, D) with at least one state.
    """

    def __init__(
        self,
        model: Ensemble,
        starts: npt.ArrayLike,
        observation_space: gym.Space[Any],
        action_space: gym.spaces.Box,
        num_envs: int = 1,
        max_episode_steps: int = 200,
        terminal: Terminal = never,
    ) -> None:
        self.model, self.starts = model, np.asarray(starts, np.float32)
        if self.starts.ndim != 2 or not len(self.starts):
            raise ValueError(f"starts has shape {self.starts.shape}; expected (S, D) with at least one state.")
        self.num_envs, self.max_episode_steps, self.terminal = num_envs, max_episode_steps, terminal
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = None
        self._torch = torch.Generator()
        self._ready = False

    def reset(self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Start an episode in every row."""
        if seed is not None or not self._ready:
            first = seed[0] if isinstance(seed, list) else seed
            self._rng = np.random.default_rng(first)
            self._torch.manual_seed(int(self._rng.integers(2**62)))
        self._ready = True
        self._t = np.zeros(self.num_envs, np.int64)
        self._observation = self._start(self.num_envs)
        return self._observation.copy(), {}

    def _start(self, rows: int) -> Floats:
        return self.starts[self._rng.integers(len(self.starts), size=rows)]

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take one step of every row by the model.

        Raises:
            ResetNeeded: `reset` was not called.
            ValueError: the actions have another shape than the action space.
        """
        if not self._ready:
            raise gym.error.ResetNeeded("There are no episodes to step: call reset() first.")
        actions = np.asarray(actions, np.float32)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"Actions of shape {actions.shape} given; expected {self.action_space.shape}.")
        assert isinstance(self.single_action_space, gym.spaces.Box)
        low, high = self.single_action_space.low, self.single_action_space.high
        scaled = 2 * (actions - low) / (high - low) - 1
        device = self.model.input_mean.device
        observation, unit = torch.from_numpy(self._observation), torch.from_numpy(scaled.astype(np.float32))
        moved = self.model.step(observation.to(device), unit.to(device), self._torch)
        after, reward = (x.cpu().numpy() for x in moved)
        self._observation = after.astype(np.float32)
        self._t += 1
        terminated = np.asarray(self.terminal(self._observation), np.bool_)
        truncated = (self._t >= self.max_episode_steps) & ~terminated
        info: dict[str, Any] = {}
        done = terminated | truncated
        if done.any():
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(done):
                final[i] = self._observation[i].copy()
            info = {"final_obs": final, "_final_obs": done.copy(), "final_info": {}, "_final_info": done.copy()}
            self._observation[done] = self._start(int(done.sum()))
            self._t[done] = 0
        return self._observation.copy(), reward.astype(np.float64), terminated, truncated, info
