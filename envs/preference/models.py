"""Models of human preference: a statistic of each segment, and a rule that chooses between two statistics.

Source: Knox et al. (2024), "Models of human preference for learning reward functions". Every equation stands once
and accepts numpy arrays and torch tensors alike. A statistic is a utility: higher is better. Differences are second
minus first, and probabilities are those of preferring the second segment; labels are 0 (first), 1 (second), 0.5
(same) and NaN (can't tell).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.preference.segments import Array, Segment

__all__ = [
    "DETERMINISTIC_REGRET",
    "END_STATE",
    "PARTIAL_RETURN_AND_END_VALUE",
    "RANGE",
    "BradleyTerry",
    "Choice",
    "Lapse",
    "Noiseless",
    "Noisy",
    "PartialReturn",
    "Regret",
    "Reward",
    "SolvedReward",
    "Statistic",
    "TemperatureFit",
    "ThreeWeights",
    "Thurstone",
    "check_choice",
    "check_labels",
    "cross_validate_temperature",
    "discounted_sum",
    "fit_temperature",
    "log_normal_cdf",
    "partial_return",
    "regret",
    "solve",
    "three_weights",
]


def _library(x: Any) -> Any:
    """The module whose functions act on x."""
    return sys.modules["torch"] if type(x).__module__.partition(".")[0] == "torch" else np


def discounted_sum(signal: Any, discount: float) -> Any:
    """Discounted sum, sum_t discount**t x_t: (..., L) -> (...)."""
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


def three_weights(
    partial_return: Any, start_value: Any, end_value: Any, weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Any:
    """w_r * partial return - w_0 * V*(s_0) + w_L * discount**L V*(s_L), the general form of Knox et al. (2024).

    weights (w_r, w_0, w_L): (1, 1, 1) is minus the deterministic regret (their eq. 3), (1, 0, 0) the partial return,
    (1, 0, 1) partial return and end value, (0, 0, 1) the end state alone. end_value comes discounted.
    """
    return weights[0] * partial_return - weights[1] * start_value + weights[2] * end_value


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


def solve(mdp: tabular.TabularMDP, weights: Array, temperature: float = 0.0) -> SolvedReward:
    """Solve rewards (B, d): their exact V* and Q*; with a temperature (in units of reward) the maximum-entropy ones.

    Raises:
        ValueError: a weight or the temperature is not finite, the shape is another one, or the temperature is below 0.
    """
    checks.reals("weights", weights, (None, mdp.features.shape[-1]))
    return SolvedReward(weights, *tabular.soft_values(mdp, tabular.reward(mdp, weights), temperature))


class Statistic(Protocol):
    """The quantity that a preference model compares."""

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """Utility (B, ...) of segments (B, ..., L) in B processes."""


@dataclass(frozen=True)
class PartialReturn:
    """Partial return: people prefer the segment that earned more reward, discounted like the task."""

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """partial_return of every segment."""
        B, d = reward.weights.shape
        return partial_return(
            segments.features, reward.weights.reshape(B, *(1,) * (segments.actions.ndim - 2), d), discount
        )


@dataclass(frozen=True)
class Regret:
    """Regret: people prefer the segment whose decisions cost less against optimal play (the general form).

    On values that `solve` found at a temperature it is the soft advantage, sum_t discount**t [Q(s_t, a_t) - V(s_t)] =
    temperature * sum_t discount**t log pi(a_t | s_t), the statistic of contrastive preference learning
    (Hejna et al. 2024).
    """

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """Minus the regret of every segment."""
        states = segments.states[..., :-1]
        process = np.arange(len(states)).reshape(-1, *(1,) * (states.ndim - 1))
        return -regret(
            reward.values[process, states], reward.action_values[process, states, segments.actions], discount
        )


@dataclass(frozen=True)
class ThreeWeights:
    """Three weights: people weigh what was earned, how good the start was and how good the end is, each as they like.

    Weights without unit, 1 each for the deterministic regret. It judges outcomes: where transitions are stochastic
    random outcomes count, unlike in `Regret`. At discount 1 it is what people were shown; at any other the end value is
    discounted by the length of the segment, so that (1, 1, 1) equals `Regret` in every deterministic process.

    Raises:
        ValueError: a weight is no finite number.
    """

    partial_return: float = 1.0
    start: float = 1.0
    end: float = 1.0

    def __post_init__(self) -> None:
        """Check the weights."""
        for name in ("partial_return", "start", "end"):
            checks.real(name, getattr(self, name))

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """three_weights of every segment."""
        states = segments.states
        process = np.arange(len(states)).reshape(-1, *(1,) * (states.ndim - 2))
        return three_weights(
            PartialReturn().utility(reward, segments, discount),
            reward.values[process, states[..., 0]],
            discount ** segments.actions.shape[-1] * reward.values[process, states[..., -1]],
            (self.partial_return, self.start, self.end),
        )


END_STATE = ThreeWeights(0.0, 0.0, 1.0)
PARTIAL_RETURN_AND_END_VALUE = ThreeWeights(1.0, 0.0, 1.0)
DETERMINISTIC_REGRET = ThreeWeights(1.0, 1.0, 1.0)


class Choice(Protocol):
    """A rule that turns a difference of utilities into an answer."""

    def probability(self, difference: Any) -> Any:
        """Probability of preferring the second segment."""

    def label(self, difference: Any, uniform: Any) -> Any:
        """An answer, given uniform draws on [0, 1)."""


class Noisy(Choice, Protocol):
    """A choice rule under which every answer has a likelihood."""

    def cross_entropy(self, difference: Any, label: Any) -> Any:
        """-[label log P(second) + (1 - label) log P(first)]."""


def check_choice(choice: Any) -> None:
    """Refuse what is no choice rule, such as the class of one.

    Raises:
        ValueError: it has not the methods of `Choice`.
    """
    if isinstance(choice, type) or not all(callable(getattr(choice, name, None)) for name in ("probability", "label")):
        raise checks.refusal("choice", choice, "a choice rule such as BradleyTerry()")


@dataclass(frozen=True)
class BradleyTerry:
    """P(second) = logistic(difference / temperature) (Bradley, Terry 1952); temperature in units of reward.

    Ties are never answered.

    Raises:
        ValueError: the temperature is no finite number above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the temperature: 0 would divide by it, and one below 0 would turn preferences round."""
        checks.real("temperature", self.temperature, above=0)

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
    """The higher utility always wins; differences up to tie_band (in units of reward) are answered "same".

    Raises:
        ValueError: the band is no finite number of at least 0.
    """

    tie_band: float = 1e-6

    def __post_init__(self) -> None:
        """Check the band."""
        checks.real("tie_band", self.tie_band, 0)

    def probability(self, difference: Any) -> Any:
        """0, 0.5 or 1."""
        return 0.5 * (1.0 + _library(difference).sign(difference) * (abs(difference) > self.tie_band))

    def label(self, difference: Any, uniform: Any) -> Any:
        """Return the probability itself: nothing is random."""
        return self.probability(difference)


def log_normal_cdf(x: Any) -> Any:
    """Logarithm of the standard normal distribution function, finite wherever x**2 is.

    numpy has no error function: the one of the standard library does the work above -30, and below it the asymptotic
    series log phi(x) - log(-x) + log(1 - 1/x**2 + 3/x**4 - 15/x**6), whose relative error there is below 1e-10.
    """
    library = _library(x)
    if library is not np:
        return library.special.log_ndtr(x)
    far, near = np.minimum(x, -30.0), np.maximum(x, -30.0)
    square = far**2
    series = -square / 2 - np.log(-far) - 0.5 * math.log(2 * math.pi)
    series += np.log1p((-1 + (3 - 15 / square) / square) / square)
    tail = 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(np.abs(near) / math.sqrt(2))
    return np.where(x < -30.0, series, np.where(near < 0, np.log(np.where(near < 0, tail, 1.0)), np.log1p(-tail)))


@dataclass(frozen=True)
class Thurstone:
    """P(second) = Phi(difference / scale): each segment is perceived with normal noise (Thurstone 1927, case V).

    scale, in units of reward, is the standard deviation of the difference: sqrt(2) times that of one segment.

    Raises:
        ValueError: the scale is no finite number above 0.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the scale."""
        checks.real("scale", self.scale, above=0)

    def probability(self, difference: Any) -> Any:
        """The normal distribution function, accurate in both tails."""
        return _library(difference).exp(log_normal_cdf(difference / self.scale))

    def label(self, difference: Any, uniform: Any) -> Any:
        """One Bernoulli draw per pair: 0.0 or 1.0."""
        return 1.0 * (uniform < self.probability(difference))

    def cross_entropy(self, difference: Any, label: Any) -> Any:
        """-[label log Phi(x) + (1 - label) log Phi(-x)], x = difference / scale."""
        x = difference / self.scale
        return -label * log_normal_cdf(x) - (1 - label) * log_normal_cdf(-x)


@dataclass(frozen=True)
class Lapse:
    """Answers given without looking with chance `rate`: p' = (1 - rate) p + rate / 2 (the uniform mixture).

    Raises:
        ValueError: the rate is not a probability, or `choice` is no choice rule.
    """

    choice: Choice
    rate: float = 0.0

    def __post_init__(self) -> None:
        """Check the rule and the rate."""
        check_choice(self.choice)
        checks.real("rate", self.rate, 0, 1)

    def probability(self, difference: Any) -> Any:
        """Return probabilities between rate / 2 and 1 - rate / 2."""
        return (1 - self.rate) * self.choice.probability(difference) + self.rate / 2

    def label(self, difference: Any, uniform: Any) -> Any:
        """Answer the lowest `rate` of the draws by 0.0 and 1.0 in equal parts, the rest by the choice rule."""
        lapse = uniform < self.rate
        rest = abs(uniform - self.rate) / max(1 - self.rate, 1e-12)
        random = 1.0 * (uniform < self.rate / 2)
        return _library(difference).where(lapse, random, self.choice.label(difference, rest))

    def cross_entropy(self, difference: Any, label: Any) -> Any:
        """Return losses of at most -log(rate / 2), however sure the choice rule is.

        Raises:
            ValueError: the choice rule gives no likelihood.
        """
        if not hasattr(self.choice, "cross_entropy"):
            raise ValueError(f"{self.choice} gives no likelihood; expected a choice rule such as BradleyTerry.")
        if self.rate == 0:
            return self.choice.cross_entropy(difference, label)
        logaddexp = _library(difference).logaddexp
        attentive = math.log1p(-self.rate) if self.rate < 1 else -math.inf
        floor = 0 * label + 0 * difference + math.log(self.rate / 2)
        first = logaddexp(attentive - self.choice.cross_entropy(difference, 0 * label), floor)
        second = logaddexp(attentive - self.choice.cross_entropy(difference, 0 * label + 1), floor)
        return -label * second - (1 - label) * first


# --- labels ---


def check_labels(name: str, labels: Any, cannot_tell: bool = True) -> Array:
    """Return labels (n,) or of any other shape as floats: 0 first, 1 second, 0.5 same, NaN can't tell.

    Args:
        name: of the argument, for the error.
        labels: numbers; True and False are 1 and 0.
        cannot_tell: whether NaN is a label.

    Raises:
        ValueError: any other label; where all are 1 and 2, or -1 and 1, it says how to convert them.
    """
    last = ", 0.5 (same) or NaN (can't tell)" if cannot_tell else " or 0.5 (same)"
    expected = f"0 (first), 1 (second){last}"
    try:
        array = np.asarray(labels)
    except ValueError:  # ragged lists
        array = np.asarray(None)
    if array.dtype.kind not in "fiub" and array.size:
        raise checks.refusal(name, labels, expected)
    array = np.array(array, np.float64)
    missing = np.isnan(array)
    wrong = ~((array == 0) | (array == 1) | (array == 0.5) | missing)
    if wrong.any():
        for values, coding, conversion in (
            ((1.0, 1.5, 2.0), "1 (first) and 2 (second)", f"{name} - 1"),
            ((-1.0, 0.0, 1.0), "-1 (first) and 1 (second)", f"({name} + 1) / 2"),
        ):
            if np.isin(array[~missing], values).all():
                expected += f"; where {coding} are meant, give {conversion}"
    elif not cannot_tell:
        wrong = missing
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f"[{', '.join(map(str, where))}]" if where else ""
        raise ValueError(f"{name}{place} is {array[where].item()!r}; expected {expected}.")
    return array


# --- temperatures ---

RANGE, GRID, HALVINGS = 1e5, 47, 60  # of the search: around the size of the differences, points, golden sections


class TemperatureFit(NamedTuple):
    """temperature fitted to all answers; folds (K,) to those outside each fold; loss of those inside, held out."""

    temperature: float
    folds: Array
    loss: float


def fit_temperature(choice: Callable[[float], Noisy], difference: Array, label: Array) -> float:
    """Return the temperature that makes the answers likeliest, in the unit of the differences.

    By a grid of logarithms and golden sections around its lowest point, so that a loss with several minima, as that of
    `Lapse`, does no harm. Answers that never err have no best temperature: what comes back is the lowest one searched,
    the root mean square of the differences divided by RANGE; if they are worse than guessing, it is the highest.

    Args:
        choice: a choice rule for each temperature, such as `BradleyTerry` or `Thurstone`.
        difference: (n,) of utilities, second minus first.
        label: (n,) 0, 1, 0.5, or NaN, which is left out.

    Raises:
        ValueError: shapes differ, a difference is not finite, a label is another one, or no answer is about two
            segments that differ.
    """
    difference, label = checks.reals("difference", difference), check_labels("label", label)
    if difference.shape != label.shape or difference.ndim != 1:
        raise ValueError(f"differences {difference.shape} and labels {label.shape}; expected (n,) and (n,).")
    x, y = difference[~np.isnan(label)], label[~np.isnan(label)]
    scale = float(np.sqrt((x**2).mean())) if x.size else 0.0
    if not 0 < scale < math.inf:
        raise ValueError("No answer is about two segments that differ by a finite utility, so no temperature fits.")

    def loss(log: float) -> float:
        return float(choice(scale * math.exp(log)).cross_entropy(x, y).mean())

    grid = np.linspace(-math.log(RANGE), math.log(RANGE), GRID)
    best = int(np.argmin([loss(log) for log in grid]))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, GRID - 1)])
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(HALVINGS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return scale * math.exp((low + high) / 2)


def cross_validate_temperature(
    choice: Callable[[float], Noisy], difference: Array, label: Array, fold: Array
) -> TemperatureFit:
    """Fit the temperature outside every fold, and score the answers inside it.

    Args:
        choice: as in `fit_temperature`.
        difference: (n,).
        label: (n,); NaN is neither fitted nor scored.
        fold: (n,) integers; answers about the same two segments belong into the same fold.

    Raises:
        ValueError: as `fit_temperature`, or there are fewer than two folds.
    """
    fold, label = checks.integers("fold", fold), check_labels("label", label)
    if fold.shape != label.shape or len(names := np.unique(fold)) < 2:
        raise ValueError(f"folds {fold.shape} for labels {label.shape}; expected at least two folds, (n,) and (n,).")
    found, losses = [], []
    for name in names:
        inside = (fold == name) & ~np.isnan(label)
        found.append(fit_temperature(choice, difference[fold != name], label[fold != name]))
        losses.append(choice(found[-1]).cross_entropy(difference[inside], label[inside]))
    return TemperatureFit(
        fit_temperature(choice, difference, label), np.array(found), float(np.concatenate(losses).mean())
    )
