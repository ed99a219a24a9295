"""Random search over clipped linear policies: the cheapest learner of a control task, in numpy.

Sources: Mania, Guy, Recht (2018), "Simple random search of static linear policies is competitive for reinforcement
learning", whose normalised observations these are; Rechenberg (1973), for an evolution strategy with one parent.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.agents.base import BatchAgent, Mask, TrainingEnv
from valuegym.envs import checks

__all__ = ["LinearSearch"]

Floats = npt.NDArray[np.float64]
SCALES = (0.3, 10.0)  # of drawn weights on observations in units of their deviation, log-uniform
FRESH = 0.3  # share of candidates that are redrawn once there is a best one
SHRINK, GROW, WIDEST = 0.85, 1.3, 0.6  # of steps from the parent, relative to the size of its weights


class LinearSearch(BatchAgent):
    """Agent whose action is a clipped linear function of the normalised observation, found by trying.

    The first episode is random, and gives mean and deviation of each number of the observation. Then a candidate is
    played for one episode: redrawn, or near the best one so far, which it replaces if its discounted return is
    higher. An episode that the budget cuts off counts for nothing.

    Args:
        env: scalar environment with a Box of numbers to observe and a bounded Box to act.
        seed: of the draws.
        discount: of returns.

    Raises:
        ValueError: the spaces are others, the discount is not in (0, 1], or the seed no integer from 0 to 2**32 - 1.
        DivergenceError: an observation or a reward is not finite.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, discount: float = 0.99) -> None:
        super().__init__(env, seed)
        self.discount = checks.real("discount", discount, above=0.0, high=1.0)
        space = self.action_space
        fits = isinstance(space, gym.spaces.Box) and space.is_bounded() and len(space.shape) == 1
        seen = self.observation_space
        if not fits or not isinstance(seen, gym.spaces.Box) or len(seen.shape) != 1:
            raise ValueError(
                f"Agent 'linear_search' needs a Box of numbers to observe and a bounded Box to act; it got {seen} and "
                f"{space}."
            )
        self.env = TrainingEnv(env)
        n, m = seen.shape[0], space.shape[0]
        self.centre, self.unit = np.zeros(n), np.ones(n)
        self.weights: Floats = np.random.default_rng([self.seed, 1]).normal(size=(m, n + 1))

    def learn(self, total_timesteps: int) -> LinearSearch:
        """Search for this many steps.

        Raises:
            ValueError: the number of steps is no integer of at least 0.
            DivergenceError: an observation or a reward is not finite.
        """
        left = checks.integer("total_timesteps", total_timesteps, 0)
        rng, best, size = np.random.default_rng(self.seed), -np.inf, WIDEST
        seen: list[Any] = []

        def episode(weights: Floats | None, seed: int | None = None) -> float | None:
            """Play one episode; None where the budget ends before it does."""
            nonlocal left
            observation, _ = self.env.reset(seed=seed)
            total, weight = 0.0, 1.0
            while left:
                left -= 1
                if weights is None:
                    action = rng.uniform(self.action_space.low, self.action_space.high)
                    seen.append(observation)
                else:
                    action = self._actions(observation[None], weights)[0]
                observation, reward, terminated, truncated, _ = self.env.step(action.astype(self.action_space.dtype))
                total, weight = total + weight * float(reward), weight * self.discount
                if terminated or truncated:
                    return total
            return None

        if left:
            episode(None, self.seed)
            self.centre, self.unit = np.mean(seen, 0), np.maximum(np.std(seen, 0), 1e-6)
        while left:
            fresh = not np.isfinite(best) or rng.random() < FRESH
            candidate = self._candidate(rng, None if fresh else size)
            found = episode(candidate)
            if found is not None and found > best:
                self.weights, best = candidate, found
                size = WIDEST if fresh else min(size * GROW, WIDEST)
            elif not fresh:
                size *= SHRINK
        return self

    def state_dict(self) -> dict[str, Floats]:
        """Return what the agent has learnt: weights (m, n + 1), centre and unit (n,) of observations."""
        return {"weights": self.weights, "centre": self.centre, "unit": self.unit}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what another agent has learnt.

        Raises:
            ValueError: something is missing, or has another shape or a number that is not finite.
        """
        own = self.state_dict()
        if set(state) != set(own):
            raise ValueError(f"state holds {sorted(state)}; expected {sorted(own)}.")
        for name, value in own.items():
            setattr(self, name, checks.reals(name, state[name], value.shape))

    def _candidate(self, rng: np.random.Generator, size: float | None) -> Floats:
        """Draw new weights (m, n + 1), or some at a distance of this relative size from the best ones."""
        shape = self.weights.shape
        if size is None:
            scale = np.exp(rng.uniform(*np.log(SCALES)))
            drawn: Floats = scale * rng.normal(size=shape) * np.append(np.ones(shape[1] - 1), 0.2)
            return drawn
        typical = np.sqrt((self.weights**2).mean()) + 1e-12
        return np.asarray(self.weights + size * typical * rng.normal(size=shape))

    def _actions(self, observation: Any, weights: Floats) -> Floats:
        """Return actions (N, m) at observations (N, n)."""
        scaled = (np.asarray(observation, np.float64) - self.centre) / self.unit
        raw = (scaled[:, None] * weights[:, :-1]).sum(-1) + weights[:, -1]
        low, high = self.action_space.low.astype(np.float64), self.action_space.high.astype(np.float64)
        return np.clip((low + high) / 2 + (high - low) / 2 * raw, low, high)

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return the best policy's action for every environment."""
        return self._actions(observation, self.weights).astype(self.action_space.dtype), memory
