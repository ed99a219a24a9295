"""Policies for `LockIn-v0`: constant trust in people, and a filter that subtracts its own echo."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.agents.base import BatchAgent, Mask, rules
from valuegym.envs import checks
from valuegym.envs.coevolution.lock_in import LockIn

__all__ = ["ConstantTrust", "EchoFree", "below_threshold", "full", "none"]

Array = npt.NDArray[Any]


def _rules(env: gym.Env[Any, Any]) -> LockIn:
    core: Any = rules(env)
    if not isinstance(core, LockIn):
        raise ValueError("This agent plays in valuegym/LockIn-v0 only.")
    return core


class ConstantTrust(BatchAgent):
    """Constant trust in people, with the belief as message: the model of Qiu et al. (2025).

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, trust: float = 0.0) -> None:
        super().__init__(env, seed)
        core = _rules(env)
        trust = checks.real("trust", trust, 0, core.trust)
        self.action = np.array([2.0 * trust / core.trust - 1.0, 0.0], np.float32)

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return the constant action for every environment."""
        return np.tile(self.action, (len(start), 1)), memory


def none(env: gym.Env[Any, Any], seed: int = 0) -> ConstantTrust:
    """Make the agent that ignores people and is silent."""
    return ConstantTrust(env, seed, 0.0)


def full(env: gym.Env[Any, Any], seed: int = 0) -> ConstantTrust:
    """Make the agent of full trust."""
    return ConstantTrust(env, seed, _rules(env).trust)


def below_threshold(env: gym.Env[Any, Any], seed: int = 0) -> ConstantTrust:
    """Make the agent of 0.9 times the trust at which people are locked in."""
    core = _rules(env)
    return ConstantTrust(env, seed, min(0.9 * core.threshold, core.trust))


class _Memory(NamedTuple):
    """Estimate of the mean of people's observations, and its variance, for every environment (N,)."""

    estimate: Array
    variance: Array


class EchoFree(BatchAgent):
    """Subtract the own echo from people's reports, filter the rest, and send it with a bounded weight.

    People's mean belief is (1 - v) m + v s, with v the share of the message s and m the mean of their own observations.
    So z = (report - v s) / (1 - v) measures m with variance R = noise^2 / (n (1 - v)^2), and m itself moves by sigma^2
    / (n c (c - 1)) at its c-th observation: a Kalman filter with given laws. Trust is set so that people's next beliefs
    but one are `message_weight` parts message: the larger it is the better people share their evidence, and the less of
    it can be inferred from their reports.

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, message_weight: float = 0.92) -> None:
        super().__init__(env, seed)
        self.core = _rules(env)
        self.message_weight = checks.real("message_weight", message_weight, above=0, below=1)

    def act(self, observation: Any, memory: _Memory | None, start: Mask) -> tuple[Any, _Memory]:
        """Return trust and message for every environment."""
        core = self.core
        seen = np.asarray(observation, np.float64)
        belief, response, _, message, message_weight, _, time = seen.T
        count = np.round(time * core.steps) + 1.0  # observations that everybody has made
        own = np.maximum(1.0 - message_weight, 1e-6)
        measured = (response - message_weight * message) / own
        error = core.noise**2 / (core.people * own**2)
        before = memory or _Memory(np.zeros(len(seen)), np.zeros(len(seen)))
        moved = before.variance + core.sigma**2 / (core.people * count * np.maximum(count - 1.0, 1.0))
        gain = moved / (moved + error)
        estimate = np.where(start, measured, before.estimate + gain * (measured - before.estimate))
        variance = np.where(start, error, (1.0 - gain) * moved)
        # the AI's next precision is trust n q with q = c / (sigma^2 (1 - v)), people's own then (c + 2) / sigma^2
        parts = self.message_weight / (1.0 - self.message_weight)
        trust = parts * (count + 2.0) / count * own / (core.people * core.trust_in_ai)
        wanted = np.stack([2.0 * trust / core.trust - 1.0, (estimate - belief) / core.reach], axis=1)
        return np.clip(wanted, -1.0, 1.0).astype(np.float32), _Memory(estimate, variance)
