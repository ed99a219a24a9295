"""A learned model of the dynamics as a Gymnasium vector environment, in which any agent can be trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from valuegym.agents.control.ensemble import Ensemble
from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks, keys
from valuegym.envs.functional import root

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
    the same step (`AutoresetMode.SAME_STEP`, `final_obs` in info). Every row has random numbers of its own, so that
    row i of several behaves as a single environment with its seed.

    Args:
        model: the ensemble; its actions are in [-1, 1], and those of `action_space` are scaled to them.
        starts: (S, D) states from which episodes start, each with the same probability.
        observation_space: of one environment.
        action_space: of one environment, bounded.
        num_envs: environments stepped together.
        max_episode_steps: after which episodes are truncated.
        terminal: observations (B, D) -> (B,) bool, where episodes terminate.

    Raises:
        ValueError: `starts` is not (S, D) with at least one state and finite numbers, or a size is out of range.
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
        self.model = model
        self.starts = checks.reals("starts", starts, (None, model.D)).astype(np.float32)
        if not len(self.starts):
            raise ValueError(f"starts has shape {self.starts.shape}; expected (S, D) with at least one state.")
        self.num_envs = num_envs = checks.integer("num_envs", num_envs, 1, 2**20)
        self.max_episode_steps = checks.integer("max_episode_steps", max_episode_steps, 1)
        if not callable(terminal):
            raise ValueError(f"terminal is {terminal!r}; expected a function.")
        self.terminal = terminal
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = None
        self._seeds = [-1] * num_envs
        self._roots = np.zeros(num_envs, np.uint64)
        self._episode = np.zeros(num_envs, np.int64)
        self._t = np.zeros(num_envs, np.int64)
        self._observation = np.zeros((num_envs, model.D), np.float32)
        self._ready = False

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of every row; -1 before its first reset."""
        return tuple(self._seeds)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Any]:
        """Start an episode in every row.

        An integer seed s seeds row i with s + i; a sequence gives one seed per row, None to keep a row's stream.

        Raises:
            ValueError: there is not one seed for each row, or an option is given.
            Error: Gymnasium's, where a seed is no integer of at least 0.
        """
        if options:
            raise ValueError(f"options is {options!r}; a model as an environment has none.")
        if isinstance(seed, int):
            seeds: list[Any] = [seed + i for i in range(self.num_envs)]
        elif isinstance(seed, Sequence) and not isinstance(seed, str | bytes):
            seeds = list(seed)
        else:
            seeds = [seed] * self.num_envs
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds given for {self.num_envs} environments; expected one for each.")
        drawn = {
            i: seeding.np_random(one) for i, one in enumerate(seeds) if one is not None or self._seeds[i] < 0
        }  # all of them before any row changes
        for i, (generator, own) in drawn.items():
            self._roots[i], self._seeds[i], self._episode[i] = root(None, generator)[0], own, -1
        self._ready = True
        self._begin(np.arange(self.num_envs))
        return self._observation.copy(), {}

    def _begin(self, rows: npt.NDArray[np.int64]) -> None:
        """Start the next episode of some rows."""
        self._episode[rows] += 1
        self._t[rows] = 0
        first = keys.integers(self._keys()[rows], len(self.starts), keys.RESET)
        self._observation[rows] = self.starts[first]

    def _keys(self) -> keys.Key:
        return keys.mix(self._roots, self._episode)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take one step of every row by the model.

        Raises:
            ResetNeeded: `reset` was not called.
            ValueError: the actions have another shape than the action space, or are not finite.
            DivergenceError: what the model predicts is not finite.
        """
        if not self._ready:
            raise gym.error.ResetNeeded("There are no episodes to step: call reset() first.")
        actions = checks.reals("actions", actions, self.action_space.shape).astype(np.float32)
        assert isinstance(self.single_action_space, gym.spaces.Box)
        low, high = self.single_action_space.low, self.single_action_space.high
        scaled = 2 * (actions - low) / (high - low) - 1
        device = self.model.input_mean.device
        observation, unit = torch.from_numpy(self._observation), torch.from_numpy(scaled.astype(np.float32))
        key, architecture = self._keys(), self.model.architecture
        member = torch.from_numpy(keys.integers(key, architecture.members, self._t, 0))
        noise = None
        if architecture.gaussian:
            draws = keys.normal(key[:, None], self._t[:, None], np.arange(1, self.model.D + 1)).astype(np.float32)
            noise = torch.from_numpy(draws).expand(1, architecture.members, *draws.shape)
        moved = self.model.step_of(observation.to(device), unit.to(device), member, noise)
        after, reward = (x.cpu().numpy() for x in moved)
        if not (np.isfinite(after).all() and np.isfinite(reward).all()):
            raise DivergenceError("What the model predicts is not finite: it has diverged.")
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
            self._begin(done.nonzero()[0])
        return self._observation.copy(), reward.astype(np.float64), terminated, truncated, info
