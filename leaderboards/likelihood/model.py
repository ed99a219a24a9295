"""Held-out likelihood, accuracy and calibration of preference models on what people answered.

A model is a choice rule over a weighted sum of differences; its weights are fitted on training folds and everything
reported is measured on the folds left out. Symbols: n answered pairs, k weights, R partitions into folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from valuegym.envs.preference import delivery, models, subjective_utility
from valuegym.envs.preference.human_data import HumanPreferences
from valuegym.envs.preference.segments import Segment

__all__ = [
    "ABLATIONS",
    "FOLDS",
    "PARTITIONS",
    "ROWS",
    "UNINFORMED",
    "HeldOut",
    "LogisticFit",
    "Model",
    "Pairs",
    "calibration_error",
    "comparing",
    "cross_validate",
    "fit",
    "floor",
    "folds",
    "frozen_gain",
    "group_means",
    "is_correct",
    "pair_groups",
    "paired_gain",
    "pairs",
    "parameters",
    "soft_advantage",
    "tie_band",
    "without_best",
]

Floats = NDArray[np.float64]
FOLDS, PARTITIONS, INNER_FOLDS = 10, 3, 5
UNINFORMED = math.log(2)
EQUAL = 1e-9  # log-odds up to this are even: "same" is the prediction, whichever segment comes second
LAPSES = (1e-6, 0.5)  # a fitted share of answers given without looking lies between these
SOFT_TEMPERATURES = (0.1, 0.3, 0.5, 1.0)  # of the maximum-entropy values, in dollars; chosen inside the folds


class Pairs(NamedTuple):
    """Answers of one condition, ready for any model.

    segments (1, n, 2, ...); labels (n,) 0, 1 or 0.5; reward with its values at discount 1, as people
    were taught it; group (n,): which unordered pair of segments a row shows.
    """

    condition: str
    segments: Segment
    labels: Floats
    reward: models.SolvedReward
    group: NDArray[np.int64]


def pairs(human: HumanPreferences) -> Pairs:
    """Prepare one condition: solve the delivery task's true reward and leave out the answers "can't tell"."""
    answered = Segment(*(field[~np.isnan(human.labels)] for field in human.segments))
    segments, labels = Segment(*(field[None] for field in answered)), human.labels[~np.isnan(human.labels)]
    return Pairs(human.condition, segments, labels, _reward(1.0, 0.0), pair_groups(answered))


@cache
def _reward(discount: float, temperature: float) -> models.SolvedReward:
    """Solve the delivery task's true reward."""
    process = delivery.board_mdp(np.array([delivery.BOARD]), discount)
    return models.solve(process, np.array([delivery.WEIGHTS]), temperature)


def pair_groups(segments: Segment) -> NDArray[np.int64]:
    """Number pairs (n, 2) so that two that show the same two segments, on whichever side, share it: -> (n,)."""
    taken = np.where(segments.mask, segments.actions, -1)
    path = np.concatenate([segments.states, taken], -1)
    _, name = np.unique(path.reshape(-1, path.shape[-1]), axis=0, return_inverse=True)
    _, group = np.unique(np.sort(name.reshape(-1, 2), -1), axis=0, return_inverse=True)
    return group.reshape(-1).astype(np.int64)


# --- models ---


@dataclass(frozen=True)
class Model:
    """Model of preferences: log-odds of the second segment are differences @ weights, with or without lapses.

    differences: pairs -> (n, k), second minus first. scales: standard deviation of the normal prior on each weight, or
    empty for maximum likelihood.
    """

    name: str
    differences: Callable[[Pairs], Floats]
    lapse: bool = False
    scales: tuple[float, ...] = ()

    def without(self, column: int, name: str) -> Model:
        """Return this model without one of its weights, under another name."""
        whole = self.differences

        def differences(data: Pairs) -> Floats:
            return np.delete(whole(data), column, -1)

        return replace(self, name=name, differences=differences, scales=tuple(np.delete(self.scales, column).tolist()))


def _difference(utility: Floats) -> Floats:
    """Subtract the first from the second: utilities (1, n, 2, ...) -> (n, ...)."""
    return utility[0, :, 1] - utility[0, :, 0]


def comparing(*statistics: models.Statistic) -> Callable[[Pairs], Floats]:
    """Return a function to the differences of these statistics, a column each."""

    def differences(data: Pairs) -> Floats:
        columns = [_difference(s.utility(data.reward, data.segments, 1.0)) for s in statistics]
        return np.stack(columns, -1)

    return differences


def soft_advantage(temperature: float) -> Model:
    """Model of the maximum-entropy advantage, at the task's discount: at discount 1 entropy has no bound."""

    def differences(data: Pairs) -> Floats:
        reward = _reward(delivery.DISCOUNT, temperature)
        return _difference(models.Regret().utility(reward, data.segments, delivery.DISCOUNT))[:, None]

    return Model(f"soft advantage at {temperature}", differences)


def _nine(data: Pairs) -> Floats:
    """Return the six features, the root of the regret and the values of start and end: -> (n, 9)."""
    features = _difference(data.segments.features.sum(-2))
    subjective = _difference(subjective_utility.terms(data.reward, data.segments, 1.0))
    values = comparing(models.ThreeWeights(0.0, 1.0, 0.0), models.END_STATE)(data)
    return np.concatenate([features, subjective[:, [subjective_utility.TERMS.index("regret")]], values], -1)


def _subjective_terms(data: Pairs) -> Floats:
    return _difference(subjective_utility.terms(data.reward, data.segments, 1.0))


PARTIAL_RETURN = Model("partial return", comparing(models.PartialReturn()))
REGRET = Model("regret", comparing(models.DETERMINISTIC_REGRET))
END_VALUE = Model("partial return + end value", comparing(models.PARTIAL_RETURN_AND_END_VALUE))
THREE_WEIGHTS = Model(
    "three free weights",
    comparing(models.PartialReturn(), models.ThreeWeights(0.0, 1.0, 0.0), models.END_STATE),
)
# Each weight is log-odds per dollar, as are three of the subjective utility's, whose prior and lapse these have.
THREE_ALIKE = replace(
    THREE_WEIGHTS, name="three weights, prior and lapse", lapse=True, scales=(subjective_utility.PRIOR_SCALES[0],) * 3
)
NINE_WEIGHTS = Model("nine logistic weights", _nine)
SUBJECTIVE_UTILITY = Model("subjective utility", _subjective_terms, lapse=True, scales=subjective_utility.PRIOR_SCALES)
ABLATIONS = (
    *(
        SUBJECTIVE_UTILITY.without(i, f"without {name.replace('_', ' ')}")
        for i, name in enumerate(subjective_utility.TERMS)
    ),
    replace(SUBJECTIVE_UTILITY, name="without lapse", lapse=False),
)
# The rows of the table: what is fitted, or what is chosen among inside every training part, and how many parameters.
ROWS: dict[str, tuple[tuple[Model, ...], int]] = {
    "end state": ((Model("end state", comparing(models.END_STATE)),), 1),
    "partial return": ((PARTIAL_RETURN,), 1),
    "partial return, lapse": ((replace(PARTIAL_RETURN, lapse=True),), 2),
    "soft advantage": (tuple(map(soft_advantage, SOFT_TEMPERATURES)), 2),
    "regret": ((REGRET,), 1),
    "regret, lapse": ((replace(REGRET, lapse=True),), 2),
    "partial return + end value": ((END_VALUE,), 1),
    "three free weights": ((THREE_WEIGHTS,), 3),
    "three weights, prior and lapse": ((THREE_ALIKE,), 4),
    "nine logistic weights": ((NINE_WEIGHTS,), 9),
    "subjective utility": ((SUBJECTIVE_UTILITY,), 8),
    "subjective utility, chosen terms": ((THREE_WEIGHTS, SUBJECTIVE_UTILITY, *ABLATIONS), 8),
}


# --- fitting ---


class LogisticFit(NamedTuple):
    """Fitted weights (k,) and share of answers given without looking (0 for models without lapses)."""

    weights: Floats
    rate: float

    @property
    def choice(self) -> models.Lapse:
        """Choice rule that turns log-odds into probabilities."""
        return models.Lapse(models.BradleyTerry(), self.rate)


def fit(differences: Floats, labels: Floats, lapse: bool = False, scales: Sequence[float] = ()) -> LogisticFit:
    """Fit weights (k,) by maximum likelihood, or by maximum posterior under normal priors with these scales.

    L-BFGS-B in units in which every column has root mean square 1; convex without lapses.
    """
    n, k = differences.shape
    unit = np.sqrt((differences**2).mean(0)) if n else np.ones(k)
    unit = np.where(unit > 0, unit, 1.0)
    X = differences / unit
    precision = 1.0 / (np.asarray(scales) * unit) ** 2 if len(scales) else np.zeros(k)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        w, rate = parameters[:k], float(parameters[k]) if lapse else 0.0
        x, choice = X @ w, models.BradleyTerry()
        value = models.Lapse(choice, rate).cross_entropy(x, labels).mean() + 0.5 * (precision * w**2).sum() / n
        p = choice.probability(x)
        slope = p - labels  # of the loss by x, without lapses
        gradient = []
        if lapse:
            mixed = models.Lapse(choice, rate).probability(x)
            by_probability = (mixed - labels) / (mixed * (1 - mixed))
            slope = by_probability * (1 - rate) * p * (1 - p)
            gradient = [(by_probability * (0.5 - p)).mean()]
        return float(value), np.append(X.T @ slope / n + precision * w / n, gradient)

    start = np.append(np.zeros(k), [0.01] if lapse else [])
    free = np.full(k, np.inf)
    bounds = Bounds(np.append(-free, LAPSES[:lapse]), np.append(free, LAPSES[1:][:lapse]))
    options: Any = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-8}
    found: Any = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return LogisticFit(found.x[:k] / unit, float(found.x[k]) if lapse else 0.0)


def tie_band(log_odds: Floats, labels: Floats) -> float:
    """Return the band of log-odds within which "same" is predicted that gets most answers right, ties being a class."""
    size = np.sort(np.abs(log_odds))
    order = np.argsort(np.abs(log_odds), kind="stable")
    decided, tied = is_correct(log_odds, labels, 0.0)[order], (labels == 0.5)[order]
    hits = np.append(0, np.cumsum(tied)) + np.append(np.cumsum(decided[::-1])[::-1], 0)
    hits = np.where(np.append(np.append(True, size[1:] > size[:-1]), True), hits, -1)  # equal sizes go together
    best = int(np.argmax(hits))
    return float(size[best - 1]) if best else 0.0


def is_correct(log_odds: Floats, labels: Floats, band: float) -> NDArray[np.bool_]:
    """Tell whether first, second or same (within the band) was answered as predicted: (n,) each -> (n,)."""
    predicted = np.where(np.abs(log_odds) <= max(band, EQUAL), 0.5, 1.0 * (log_odds > 0))
    return predicted == labels


def calibration_error(probability: Floats, labels: Floats, bins: int = 10) -> float:
    """Expected calibration error: mean gap between confidence and agreement over bins of equally many answers.

    Confidence is the probability max(p, 1 - p) of the answer held more likely, agreement the share of people who gave
    it (a tie is half), so that it does not matter which segment is called the second (Naeini et al. 2015).
    """
    confidence = np.maximum(probability, 1 - probability)
    agreement = np.where(probability >= 0.5, labels, 1 - labels)
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(labels)))
    gaps = [abs(confidence[part].sum() - agreement[part].sum()) for part in parts]
    return float(sum(gaps) / len(labels))


def floor(labels: Floats) -> float:
    """Return the lowest reachable loss: 0.5 where people tied, certainty everywhere else."""
    return float(UNINFORMED * (labels == 0.5).mean())


# --- cross-validation ---


class HeldOut(NamedTuple):
    """Predictions for answers that their model was not fitted to, for each of R partitions.

    loss, probability (R, n): negative log-likelihood in nats and probability of the second segment; correct
    (R, n): whether the answer, ties being a class, was predicted; chosen: the name of the model used in every fold.
    """

    loss: Floats
    probability: Floats
    correct: NDArray[np.bool_]
    chosen: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean held-out loss in nats."""
        return float(self.loss.mean())

    @property
    def accuracy(self) -> float:
        """Share of answers predicted."""
        return float(self.correct.mean())


def folds(group: NDArray[np.int64], rng: np.random.Generator, parts: int = FOLDS) -> NDArray[np.int64]:
    """Assign rows (n,) to folds 0..parts-1: rows of one group to the same, and equally many groups to each."""
    names, inverse = np.unique(group, return_inverse=True)
    fold = rng.permutation(len(names)) * parts // len(names)
    return fold[inverse.reshape(-1)]


def cross_validate(
    candidates: Sequence[Model], data: Pairs, grouped: bool = True, partitions: int = PARTITIONS, seed: int = 0
) -> HeldOut:
    """Cross-validate a model, or the choice among several, on ten folds.

    With several candidates every training part chooses by its own five-fold cross-validation, so that the fold left
    out has no say in it. grouped: rows that show the same two segments share a fold. The tie band is fitted on
    training parts, too. Partition r is drawn from the generator seeded with (seed, r) and is the same for every model.
    """
    n = len(data.labels)
    group = data.group if grouped else np.arange(n)
    columns = [model.differences(data) for model in candidates]
    loss, probability, hits = np.zeros((partitions, n)), np.zeros((partitions, n)), np.zeros((partitions, n), np.bool_)
    chosen = []
    for r in range(partitions):
        fold = folds(group, np.random.default_rng([seed, r]))
        for k in range(FOLDS):
            train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            best = _choose(candidates, columns, data.labels, group, train, [seed, r, k])
            model, X = candidates[best], columns[best]
            fitted = fit(X[train], data.labels[train], model.lapse, model.scales)
            band = tie_band(X[train] @ fitted.weights, data.labels[train])
            x = X[test] @ fitted.weights
            loss[r, test] = fitted.choice.cross_entropy(x, data.labels[test])
            probability[r, test] = fitted.choice.probability(x)
            hits[r, test] = is_correct(x, data.labels[test], band)
            chosen.append(model.name)
    return HeldOut(loss, probability, hits, tuple(chosen))


def _choose(
    candidates: Sequence[Model],
    columns: Sequence[Floats],
    labels: Floats,
    group: NDArray[np.int64],
    rows: NDArray[np.int64],
    seed: Sequence[int],
) -> int:
    """Return the index of the candidate with the lowest loss in a cross-validation within these rows."""
    if len(candidates) == 1:
        return 0
    fold = folds(group[rows], np.random.default_rng(seed), INNER_FOLDS)
    losses = []
    for model, X in zip(candidates, columns, strict=True):
        total = 0.0
        for k in range(INNER_FOLDS):
            train, test = rows[fold != k], rows[fold == k]
            fitted = fit(X[train], labels[train], model.lapse, model.scales)
            total += float(fitted.choice.cross_entropy(X[test] @ fitted.weights, labels[test]).sum())
        losses.append(total)
    return int(np.argmin(losses))


def paired_gain(
    reference: HeldOut, model: HeldOut, group: NDArray[np.int64], repeats: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean loss of the reference minus that of the model in nats, and its 95% percentile bootstrap interval.

    Whole groups are resampled, because answers about the same two segments are not independent.
    """
    difference = (reference.loss - model.loss).mean(0)
    low, high = np.quantile(group_means(difference, group, repeats, seed), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def group_means(values: Floats, group: NDArray[np.int64], repeats: int, seed: int) -> Floats:
    """Bootstrap means of values (n,) under resampling of whole groups: -> (repeats,)."""
    _, inverse = np.unique(group, return_inverse=True)
    sums, sizes = np.bincount(inverse.reshape(-1), values), np.bincount(inverse.reshape(-1))
    drawn = np.random.default_rng(seed).integers(len(sums), size=(repeats, len(sums)))
    means: Floats = sums[drawn].sum(-1) / sizes[drawn].sum(-1)
    return means


def frozen_gain(
    reference: Model, model: Model, source: Pairs, target: Pairs, repeats: int = 2000
) -> tuple[float, float, float]:
    """Mean loss of the reference minus that of the model in nats on a target, both fitted to all answers of a source.

    With its 95% percentile bootstrap interval over unique pairs of the target. Nothing of the target is used for the
    fit, so that source and target must differ for this to be a held-out loss.
    """
    losses = []
    for one in (reference, model):
        fitted = fit(one.differences(source), source.labels, one.lapse, one.scales)
        losses.append(fitted.choice.cross_entropy(one.differences(target) @ fitted.weights, target.labels))
    difference = losses[0] - losses[1]
    low, high = np.quantile(group_means(difference, target.group, repeats, 0), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def without_best(reference: HeldOut, model: HeldOut) -> float:
    """Return the mean gain of a model over the reference in nats without the answer at which it gains most."""
    difference = (reference.loss - model.loss).mean(0)
    return float(np.delete(difference, difference.argmax()).mean())


def parameters(data: Pairs, model: Model = SUBJECTIVE_UTILITY, repeats: int = 200, seed: int = 0) -> Floats:
    """Fit the model to all answers and to bootstrap samples of whole groups: -> (1 + repeats, k + 1).

    Weights, then the lapse rate.
    """
    X, rng = model.differences(data), np.random.default_rng(seed)
    rows_of = [np.flatnonzero(data.group == g) for g in np.unique(data.group)]

    def fitted(rows: NDArray[np.int64]) -> Floats:
        found = fit(X[rows], data.labels[rows], model.lapse, model.scales)
        return np.append(found.weights, found.rate)

    drawn = (rng.integers(len(rows_of), size=len(rows_of)) for _ in range(repeats))
    samples = (np.concatenate([rows_of[i] for i in groups]) for groups in drawn)
    return np.stack([fitted(np.arange(len(X))), *(fitted(rows) for rows in samples)])
