"""Models of human preference: a statistic of each segment, and a rule that chooses between two statistics.

Source: Knox et al. (2024), "Models of human preference for learning reward functions". Every equation stands once
and accepts numpy arrays and torch tensors alike. A statistic is a utility: higher is better. Differences are second
minus first, and probabilities are those of preferring the second segment; labels are 0 (first), 1 (second), 0.5
(same) and NaN (can't tell).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from valuegym.envs import mdp as tabular
from valuegym.envs.preference.segments import Array, Segment


def _library(x: Any) -> Any:
    """The module whose functions act on x."""
    return sys.modules["torch"] if type(x).__module__.partition(".")[0] == "torch" else np


def discounted_sum(signal: Any, discount: float) -> Any:
    """sum_t discount**t x_t: (..., L) -> (...)."""
    total = signal[..., 0]
    for t in range(1, signal.shape[-1]):
        total = total + discount**t * signal[..., t]
    return total


def partial_return(features: Any, weights: Any, discount: float) -> Any:
    """sum_t discount**t w . phi_t (Knox et al. 2024, eq. 1): features (..., L, d), weights (..., d) -> (...)."""
    return discounted_sum((features * weights[..., None, :]).sum(-1), discount)


def regret(values: Any, action_values: Any, discount: float) -> Any:
    """sum_t discount**t [V*(s_t) - Q*(s_t, a_t)] = -sum_t discount**t A*(s_t, a_t) (Knox et al. 2024, eq. 4, general).

    values (..., L): V* of the states visited; action_values (..., L): Q* of the actions taken there -> (...), at
    least 0. With deterministic transitions it telescopes to V*(s_0) - [partial return + discount**L V*(s_L)].
    """
    return discounted_sum(values - action_values, discount)


class Reward(Protocol):
    """B rewards with their exact optimal values."""

    @property
    def weights(self) -> Array:
        """(B, d)."""

    @property
    def values(self) -> Array:
        """(B, S)."""

    @property
    def action_values(self) -> Array:
        """(B, S, A)."""


class SolvedReward(NamedTuple):
    """The rewards that `solve` returns."""

    weights: Array
    values: Array
    action_values: Array


def solve(mdp: tabular.TabularMDP, weights: Array) -> SolvedReward:
    """Rewards (B, d) with their exact V* and Q*."""
    return SolvedReward(weights, *tabular.optimal_values(mdp, tabular.reward(mdp, weights)))


class Statistic(Protocol):
    """What a preference model compares."""

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """Utility (B, ...) of segments (B, ..., L) in B processes."""


@dataclass(frozen=True)
class PartialReturn:
    """People prefer the segment that earned more reward; discounted like the task."""

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """partial_return of every segment."""
        B, d = reward.weights.shape
        return partial_return(
            segments.features, reward.weights.reshape(B, *(1,) * (segments.actions.ndim - 2), d), discount
        )


@dataclass(frozen=True)
class Regret:
    """People prefer the segment whose decisions cost less against optimal play."""

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """Minus the regret of every segment."""
        states = segments.states[..., :-1]
        process = np.arange(len(states)).reshape(-1, *(1,) * (states.ndim - 1))
        return -regret(
            reward.values[process, states], reward.action_values[process, states, segments.actions], discount
        )


class Choice(Protocol):
    """How a difference of utilities becomes an answer."""

    def probability(self, difference: Any) -> Any:
        """Probability of preferring the second segment."""

    def label(self, difference: Any, uniform: Any) -> Any:
        """An answer, given uniform draws on [0, 1)."""


@dataclass(frozen=True)
class BradleyTerry:
    """P(second) = logistic(difference / temperature) (Bradley, Terry 1952); temperature in units of reward.

    Ties are never answered.
    """

    temperature: float = 1.0

    def probability(self, difference: Any) -> Any:
        """Logistic function, written with tanh so that nothing overflows."""
        return 0.5 * (1.0 + _library(difference).tanh(0.5 / self.temperature * difference))

    def label(self, difference: Any, uniform: Any) -> Any:
        """One Bernoulli draw per pair: 0.0 or 1.0."""
        return 1.0 * (uniform < self.probability(difference))

    def cross_entropy(self, difference: Any, label: Any) -> Any:
        """-[label log P(second) + (1 - label) log P(first)] = softplus(x) - label x, x = difference / temperature.

        Label 0.5 is a tie.
        """
        x, library = difference / self.temperature, _library(difference)
        return 0.5 * (abs(x) + x) + library.log1p(library.exp(-abs(x))) - label * x


@dataclass(frozen=True)
class Noiseless:
    """The higher utility always wins; differences up to tie_band (in units of reward) are answered "same"."""

    tie_band: float = 1e-6

    def probability(self, difference: Any) -> Any:
        """0, 0.5 or 1."""
        return 0.5 * (1.0 + _library(difference).sign(difference) * (abs(difference) > self.tie_band))

    def label(self, difference: Any, uniform: Any) -> Any:
        """The probability itself: there is no luck in it."""
        return self.probability(difference)
