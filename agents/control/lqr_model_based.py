"""Model-based control of linear systems with quadratic costs: a linear model of low rank and the Riccati equation.

The agent is given the rank of the model, but neither cost nor dynamics. It fits the quadratic cost to rewards, the
value of the current controller by least-squares temporal differences, and the model to transitions, weighted by
gradients of that value; the new controller is optimal for the model. `loss` alone decides the weights.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from valuegym.agents.base import TrainingEnv, check_seed, finite_action
from valuegym.agents.control import linear_model, losses
from valuegym.agents.control.losses import CriticStatistics, LossWeights
from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks
from valuegym.envs.control import riccati

__all__ = ["LQRModelBased"]

Floats = npt.NDArray[np.float64]
MAX_ROUNDS = 100
LINEAR_LOSSES = (*linear_model.CONSTANT, "vagram", "vagram_taylor")


class LQRModelBased:
    """Agent that explores at random, fits a linear model, and acts by u = -K s, clipped to the action space.

    Raises:
        ValueError: spaces are not flat boxes, actions are unbounded, the loss has no linear form, or seed, rank, rounds
            or discount is out of range.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        loss: str = "vagram_matrix",
        rank: int = 2,
        rounds: int = 4,
        discount: float = 0.99,
    ) -> None:
        self.env, self.seed = TrainingEnv(env), check_seed(seed)
        for space in (env.observation_space, env.action_space):
            if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
                raise ValueError(f"lqr_model_based plays with flat boxes for observations and actions, not {space}.")
        self.loss = checks.choice("loss", loss, sorted(LINEAR_LOSSES))
        self.rank, self.rounds = checks.integer("rank", rank, 1), checks.integer("rounds", rounds, 1, MAX_ROUNDS)
        self.discount = checks.real("discount", discount, above=0, below=1)
        assert isinstance(env.action_space, gym.spaces.Box) and env.observation_space.shape is not None
        if not env.action_space.is_bounded():
            raise ValueError(f"lqr_model_based needs bounded actions; {env.action_space} is not.")
        self.space = env.action_space
        self.n, self.m = env.observation_space.shape[0], self.space.shape[0]
        self.gain: Floats = np.zeros((self.m, self.n))

    def explore(self, steps: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Return observations (N, n), actions (N, m), costs (N,) and next observations (N, n) under random actions."""
        rng = np.random.default_rng(self.seed)
        rows: list[tuple[Any, Any, float, Any]] = []
        observation, _ = self.env.reset(seed=self.seed)
        for _ in range(steps):
            action = rng.uniform(self.space.low, self.space.high).astype(self.space.dtype)
            after, reward, terminated, truncated, _ = self.env.step(action)
            rows.append((observation, action, -float(reward), after))
            observation = self.env.reset()[0] if terminated or truncated else after
        s, u, cost, y = (np.asarray(column, np.float64) for column in zip(*rows, strict=True))
        return s, u, cost, y

    def _weights(self, y: Tensor, costs: list[Tensor]) -> LossWeights:
        """Return the weights of the loss, given critics whose costs are the quadratic forms P (n, n) in `costs`."""
        N, one = len(y), torch.ones((), dtype=y.dtype)
        units = LossWeights(torch.ones(self.n, dtype=y.dtype), one, self.discount, one)
        if self.loss == "mse":
            return units._replace(diagonal=(1 / y.var(0, correction=0).clamp_min(1e-12)).expand(N, self.n))
        gradient = torch.stack([-2 * y @ P for P in costs], 1)
        unused = torch.zeros(N, len(costs), dtype=y.dtype)  # no linear loss depends on the values themselves
        statistics = CriticStatistics(unused, unused, gradient, torch.ones(N, dtype=torch.bool))
        return losses.find(self.loss).prepare(statistics, units, None)

    def learn(self, total_timesteps: int) -> LQRModelBased:
        """Explore for this many steps, then alternately fit the value of the controller and the model.

        Raises:
            ValueError: the number of steps is no integer of at least 0.
            DivergenceError: a transition, the cost, the value or the model is not finite.
        """
        if not checks.integer("total_timesteps", total_timesteps, 0):
            return self
        s, u, cost, y = (torch.from_numpy(field) for field in self.explore(total_timesteps))
        x = torch.cat([s, u], -1)
        features = self._finite("quadratic features", linear_model.quadratic_features(x))
        H = linear_model.symmetric(
            torch.linalg.lstsq(features, cost[:, None], driver="gelsd").solution[:, 0], x.shape[-1]
        )
        self._finite("cost", H)
        Q, R = H[: self.n, : self.n].numpy(), H[self.n :, self.n :].numpy()
        order = torch.from_numpy(np.random.default_rng([self.seed, 1]).permutation(total_timesteps))
        halves = (order[::2], order[1::2])  # two critics that share no transition, so that their errors are independent
        for _ in range(self.rounds):
            K = torch.from_numpy(self.gain)
            parts = [
                linear_model.state_cost(
                    linear_model.action_cost(s[rows], u[rows], cost[rows], y[rows], K, self.discount), K
                )
                for rows in halves
            ]
            self._finite("value", *parts)
            form = linear_model.form(self._weights(y, parts), x, y)
            self._finite("weighted loss", *form)
            fit = linear_model.reduced_rank if self.loss in linear_model.CONSTANT else linear_model.low_rank
            B = self._finite("model", fit(form, min(self.rank, self.n))).numpy()
            no_noise = np.zeros((self.n, self.n))
            system = riccati.LinearSystem(B[:, : self.n], B[:, self.n :], Q, R, no_noise, self.discount)
            with np.errstate(all="ignore"):
                gain = riccati.gain(system, riccati.optimal(system).P)
            if not np.isfinite(gain).all():  # no controller has finite cost under this model: keep the last one
                break
            self.gain = gain
        return self

    def state_dict(self) -> dict[str, Floats]:
        """Return what the agent has learnt: its gain (m, n)."""
        return {"gain": self.gain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the gain of another agent.

        Raises:
            ValueError: there is none, or it has another shape or a number that is not finite.
        """
        if set(state) != {"gain"}:
            raise ValueError(f"state holds {sorted(state)}; expected a gain.")
        self.gain = checks.reals("gain", state["gain"], self.gain.shape)

    def _finite(self, what: str, *parts: Tensor) -> Tensor:
        """Return the first of some tensors, if all are finite."""
        if not all(bool(part.isfinite().all()) for part in parts):
            steps = self.env.steps
            raise DivergenceError(f"The {what} of lqr_model_based with seed {self.seed} diverged after {steps} steps.")
        return parts[0]

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return the controller's action, for one observation (n,) or several (N, n).

        Raises:
            ValueError: no finite action follows from an observation that is not finite.
            DivergenceError: the gain is not finite.
        """
        action = -np.asarray(observation, np.float64) @ self.gain.T
        finite_action(action, self, observation)
        return np.clip(action, self.space.low, self.space.high).astype(self.space.dtype), state
