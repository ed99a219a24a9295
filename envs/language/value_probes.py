"""Values of a language model, from the log-probabilities that it gives to the options of items.

A model is anything with one function, `score(context, continuations)`, which returns the log-probabilities of the
tokens of each continuation after the context. They are averaged over tokens, because summed ones measure the length of
an option. Three forms of a question:

    plain    the option comes after its context; no list, so that no order can matter
    letter   the options are listed by letters, and the letter is scored
    repeat   the options are listed, and the option is scored as the answer

Forms with a list are asked in as many orders as there are options, each option once in every place, and every answer is
credited to the option that it names. `order_flips` and `first_place` say how much the order decides: lists are kept as
the example of what goes wrong with them.

Texts differ more than models do, so that a vector of values says little by itself: compare `change`s from a base model,
item by item, and report cosine, distance and ratio of norms together (`compare`), because each of them alone hides
something: a cosine is 1 between a shift and one of ten times its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.language.item_bank import MOST, ItemBank, rotations

__all__ = [
    "FORMS",
    "Answers",
    "Comparison",
    "Interval",
    "Scorer",
    "ValueVector",
    "answer",
    "attribute",
    "change",
    "compare",
    "first_place",
    "letter",
    "mean_scores",
    "order_flips",
    "plain",
    "preferences",
    "repeat",
    "value_vector",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LETTERS = "ABCD"
MEASURES = ("log_odds", "probability")


class Scorer(Protocol):
    """A language model, as far as probes need one."""

    def score(self, context: str, continuations: Sequence[str]) -> Sequence[Floats]:
        """Return log-probabilities of the tokens of each continuation, given the context and the tokens before."""


# --- forms of a question: text before the answer, and an answer for each displayed option ---


def plain(context: str, options: Sequence[str]) -> tuple[str, list[str]]:
    """Return the context, and the options as its continuations."""
    return context, [f" {option}" for option in options]


def letter(context: str, options: Sequence[str]) -> tuple[str, list[str]]:
    """Return the context with the options listed by letters, and the letters as answers."""
    listed = "\n".join(f"{name}. {option}" for name, option in zip(LETTERS, options, strict=False))
    return f"{context}\n{listed}\nAnswer:", [f" {name}" for name, _ in zip(LETTERS, options, strict=False)]


def repeat(context: str, options: Sequence[str]) -> tuple[str, list[str]]:
    """Return the context with the options listed, and the options as answers."""
    listed = "\n".join(f"- {option}" for option in options)
    return f"{context}\n{listed}\nI choose:", [f" {option}" for option in options]


FORMS: dict[str, Callable[[str, Sequence[str]], tuple[str, list[str]]]] = {
    "plain": plain,
    "letter": letter,
    "repeat": repeat,
}


# --- answers ---


class Answers(NamedTuple):
    """Answers of one model to I items, each asked in R orders; NaN and -1 where there is no order or option.

    displayed (I, R, 4): mean log-probability of a token of the answer at each displayed place; orders (I, R, 4): which
    option was displayed there.
    """

    displayed: Floats
    orders: Integers


def mean_scores(model: Scorer, context: str, continuations: Sequence[str], about: str) -> Floats:
    """Return the mean log-probability of a token of each continuation (n,).

    Raises:
        ValueError: the model returns no finite log-probabilities of at most 0, one list of them for each continuation;
            the sentence says what the question was about.
    """
    scored = [np.asarray(logs, np.float64) for logs in model.score(context, continuations)]
    if len(scored) != len(continuations) or not all(
        logs.ndim == 1 and logs.size and np.isfinite(logs).all() and (logs <= 0).all() for logs in scored
    ):
        raise ValueError(
            f"The scores of {about} are {checks.printed(scored)}; expected for each of {len(continuations)} "
            "continuations the log-probabilities of its tokens, finite and at most 0."
        )
    return np.array([logs.mean() for logs in scored])


def answer(bank: ItemBank, model: Scorer, form: str = "plain") -> Answers:
    """Ask a model all items of a bank.

    Raises:
        ValueError: the form is unknown, the bank is empty, or the model returns no finite log-probabilities of at most
            0, one list of them for each continuation.
    """
    write = FORMS[checks.choice("form", form, FORMS)]
    if not len(bank):
        raise ValueError("bank is empty; expected at least one item.")
    every = [rotations(len(options)) if form != "plain" else rotations(len(options))[:1] for options in bank.options]
    R = max(map(len, every))
    found = Answers(np.full((len(bank), R, MOST), np.nan), np.full((len(bank), R, MOST), -1))
    for i, (id, context, options) in enumerate(zip(bank.ids, bank.contexts, bank.options, strict=True)):
        for r, order in enumerate(every[i]):
            before, continuations = write(context, [options[place] for place in order])
            found.displayed[i, r, : len(order)] = mean_scores(model, before, continuations, f"item {id!r}")
            found.orders[i, r, : len(order)] = order
    return found


def attribute(displayed: Floats, orders: Integers) -> Floats:
    """Return what was given to displayed places (I, R, 4) by option: each to the option that stood there, once."""
    found = np.full_like(displayed, np.nan)
    there = orders >= 0
    i, r, _ = np.nonzero(there)
    found[i, r, orders[there]] = displayed[there]
    return found


def _measured(scores: Floats, measure: str) -> Floats:
    """Return log-odds, centred over options, or the probabilities of choosing (I, R, 4); 0 where there is no option."""
    if checks.choice("measure", measure, MEASURES) == "log_odds":
        with np.errstate(invalid="ignore"):
            count = np.maximum((~np.isnan(scores)).sum(-1, keepdims=True), 1)
            centred = scores - np.nansum(scores, -1, keepdims=True) / count
        return np.nan_to_num(centred)
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best = np.where(np.isnan(scores).all(-1, keepdims=True), 0.0, filled.max(-1, keepdims=True))
    weights = np.exp(filled - best)
    total = weights.sum(-1, keepdims=True)
    shares: Floats = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return shares


def preferences(answers: Answers, measure: str = "log_odds") -> Floats:
    """Return how much each option (I, 4) is preferred, mean over orders.

    log_odds: mean log-probability of a token, in nats, minus the mean over options. probability: softmax of that.

    Raises:
        ValueError: the measure is unknown.
    """
    measured = _measured(attribute(*answers), measure)
    asked = (answers.orders >= 0).any(-1).sum(-1)
    mean: Floats = measured.sum(1) / asked[:, None]
    return mean


def order_flips(answers: Answers) -> float:
    """Return the share of items, among those asked in several orders, whose preferred option depends on the order.

    NaN if there are none.
    """
    scores = attribute(*answers)
    asked = (answers.orders >= 0).any(-1)
    several = asked.sum(-1) > 1
    if not several.any():
        return float("nan")
    best = np.where(asked, np.where(np.isnan(scores), -np.inf, scores).argmax(-1), -1)[several]
    first = best[:, :1]
    return float(((best != first) & (best >= 0)).any(-1).mean())


def first_place(answers: Answers) -> float:
    """Return the mean probability of the option displayed first minus that of an even choice: 0 without bias."""
    shares = _measured(answers.displayed, "probability")
    count = (answers.orders >= 0).sum(-1)
    return float((shares[..., 0] - 1 / np.maximum(count, 1))[count > 0].mean())


# --- vectors of values ---


class Interval(NamedTuple):
    """A number or an array with the ends of its interval."""

    point: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class ValueVector:
    """Values of a model: what each item says of each value (I, D), NaN where it says nothing, and the items' ids.

    With `log_odds` in nats per token, with `probability` from -1 to 1; 0 for a model that takes all options alike.
    """

    contributions: Floats
    ids: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def point(self) -> Floats:
        """Mean over items (D,), NaN for values about which there is no item."""
        return _weighted(self.contributions, np.ones((1, len(self.ids))))[0]

    def interval(self, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
        """Return the vector (D,) with its bootstrap interval over items.

        Raises:
            ValueError: the level is not between 0 and 1, or draws or seed are no integers from 1 or 0 on.
        """
        return _interval(self.point, _weighted(self.contributions, _resamples(len(self.ids), draws, seed)), level)


def _resamples(items: int, draws: int, seed: int) -> Floats:
    """Return how often each item occurs in each bootstrap sample (draws, I)."""
    checks.integer("draws", draws, 1, 10**6)
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    return rng.multinomial(items, np.full(items, 1 / items), size=draws).astype(np.float64)


def _weighted(contributions: Floats, weights: Floats) -> Floats:
    """Return weighted means over items (draws, D) of contributions (I, D), without those that are NaN."""
    there = ~np.isnan(contributions)
    total, count = weights @ np.where(there, contributions, 0.0), weights @ there
    means: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return means


def _interval(point: Floats, drawn: Floats, level: float) -> Interval:
    """Return the percentile interval of draws (draws, ...)."""
    tail = 50 * (1 - checks.real("level", level, above=0, below=1))
    known = ~np.isnan(drawn).all(0)
    ends = np.nanpercentile(np.where(known, drawn, 0.0), [tail, 100 - tail], axis=0)
    low, high = np.where(known, ends, np.nan)
    return Interval(point, low, high)


def value_vector(bank: ItemBank, answers: Answers, measure: str = "log_odds") -> ValueVector:
    """Return the values that answers to a bank express.

    Raises:
        ValueError: the measure is unknown, or the answers are to another number of items.
    """
    if len(answers.displayed) != len(bank):
        raise ValueError(f"There are answers to {len(answers.displayed)} items; expected {len(bank)}, as in the bank.")
    found = np.einsum("ik,ikd->id", preferences(answers, measure), bank.loadings)
    return ValueVector(np.where(bank.bears, found, np.nan), bank.ids, bank.names)


def change(after: ValueVector, before: ValueVector) -> ValueVector:
    """Return the change of values from one model to another, item by item.

    Raises:
        ValueError: the two are about different items or values.
    """
    _check_same(after, before)
    return replace(after, contributions=after.contributions - before.contributions)


def _check_same(a: ValueVector, b: ValueVector) -> None:
    if a.ids != b.ids or a.names != b.names:
        raise ValueError("The two vectors are about different items or values; ask both models the same bank.")


class Comparison(NamedTuple):
    """Two vectors compared: cosine, distance, and ratio of their norms (first to second), with intervals over items."""

    cosine: Interval
    distance: Interval
    norm_ratio: Interval


def compare(a: ValueVector, b: ValueVector, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Comparison:
    """Compare two vectors by all three numbers, over the values about which there are items.

    Both are resampled with the same items. A cosine or a ratio is NaN where a norm is 0.

    Raises:
        ValueError: the two are about different items or values, or an argument is out of its range.
    """
    _check_same(a, b)
    weights = np.concatenate([np.ones((1, len(a.ids))), _resamples(len(a.ids), draws, seed)])
    x, y = (np.nan_to_num(_weighted(vector.contributions, weights)) for vector in (a, b))
    norms = np.sqrt((x**2).sum(-1)), np.sqrt((y**2).sum(-1))
    scale = norms[0] * norms[1]
    cosine = np.divide((x * y).sum(-1), scale, out=np.full_like(scale, np.nan), where=scale > 0)
    ratio = np.divide(norms[0], norms[1], out=np.full_like(scale, np.nan), where=norms[1] > 0)
    distance = np.sqrt(((x - y) ** 2).sum(-1))
    found = (_interval(each[0], each[1:], level) for each in (cosine, distance, ratio))
    return Comparison(*found)
