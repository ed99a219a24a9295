"""A language model as an annotator: it reads two segments in words and says which is better.

A model that is asked about a list prefers a place in it. So every pair is asked in both orders, and the log-odds of the
two answers are averaged: whatever a place adds to them cancels.

    difference = 1/2 [(s(second) - s(first) | a, b) + (s(first) - s(second) | b, a)]
    P(b is better) = logistic(difference / temperature)

with s the mean log-probability of a token of the answer "first" or "second" after the text that lists a and b in this
order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.agents.language.language_agent import model_for
from valuegym.envs import checks
from valuegym.envs.feedback.annotators import Boltzmann
from valuegym.envs.feedback.answers import Answers
from valuegym.envs.feedback.segments import Segments, each
from valuegym.envs.language.value_probes import mean_scores
from valuegym.envs.language.words import Words, choices

__all__ = ["ANSWERS", "QUESTION", "Describe", "LanguageAnnotator", "in_words"]

Floats = npt.NDArray[np.float64]
Describe = Callable[[Segments], str]

QUESTION = "Two stretches of behaviour.\nFirst: {first}\nSecond: {second}\nThe better one is the"
ANSWERS = (" first", " second")


def in_words(words: Words) -> Describe:
    """Return a function that tells a segment (N = 1) step by step: each context with the option that was taken.

    Raises:
        ValueError: by the function, for an action that is not among the options.
    """

    def describe(segment: Segments) -> str:
        steps = []
        for t in range(int(segment.lengths[0])):
            context, texts, actions = choices(words, each(itemgetter((0, t)), segment.observations))
            taken = segment.actions[0, t]
            found = [text for text, own in zip(texts, actions, strict=True) if np.array_equal(own, taken)]
            if not found:
                raise ValueError(
                    f"Action {taken.tolist()} of step {t} is none of the options {texts}; pass `describe`."
                )
            steps.append(f"{context}{found[0]}.")
        return " ".join(steps)

    return describe


@dataclass(frozen=True, eq=False)
class LanguageAnnotator:
    """A language model that compares segments; an annotator for `PreferenceFeedback` and for query environments.

    The label is the answer that is likelier, 0.5 where both are equally likely, so that nothing is random; with
    `draw=True` labels are drawn by the probabilities, which are returned in both cases.

    Args:
        model: a folder, "FILE.py:NAME", or an object with `score(context, continuations)`.
        describe: function of a segment (N = 1) that tells it in words, such as `in_words(words)`.
        question: a text with {first} and {second}, before the answer.
        answers: texts of the two answers.
        temperature: in nats per token, above 0: how much noise the choice has.
        draw: whether labels are drawn.

    Raises:
        ValueError: an argument is not as stated, or a segment has no description.
        FileNotFoundError: there is no such folder.
    """

    model: Any
    describe: Describe
    question: str = QUESTION
    answers: Sequence[str] = ANSWERS
    temperature: float = 1.0
    draw: bool = False

    def __post_init__(self) -> None:
        """Check all arguments, and load the model."""
        object.__setattr__(self, "model", model_for(self.model))
        checks.real("temperature", self.temperature, above=0)
        checks.flag("draw", self.draw)
        if not callable(self.describe):
            raise checks.refusal("describe", self.describe, "a function of a segment that returns a text")
        if any(self.question.count(place) != 1 for place in ("{first}", "{second}")):
            raise checks.refusal("question", self.question, "a text with {first} and {second}, each once")
        if not len(self.answers) == len(set(self.answers)) == 2 or not all(map(str.strip, self.answers)):
            raise checks.refusal("answers", self.answers, "two different texts, none of them empty")

    def _log_odds(self, texts: tuple[str, str]) -> float:
        """Return how much likelier the second answer is than the first, in nats per token."""
        given = dict(zip(("{first}", "{second}"), texts, strict=True))
        text = "".join(given.get(part, part) for part in re.split(r"(\{first\}|\{second\})", self.question))
        first, second = mean_scores(self.model, text, self.answers, "the pair")
        return float(second - first)

    def difference(self, first: Segments, second: Segments) -> Floats:
        """Return log-odds (N,) of the second against the first, mean of both orders, in nats per token.

        Raises:
            ValueError: there are not as many first as second segments, a segment has no description, or the model
                returns no log-probabilities.
        """
        if len(first) != len(second):
            raise ValueError(f"There are {len(first)} first and {len(second)} second segments; expected as many.")
        found = np.zeros(len(first))
        for i in range(len(first)):
            a, b = (checks.text("describe(segment)", self.describe(part[i])) for part in (first, second))
            found[i] = 0.5 * (self._log_odds((a, b)) - self._log_odds((b, a)))
        return found

    def __call__(self, first: Segments, second: Segments, rng: np.random.Generator) -> Answers:
        """Compare N pairs of segments.

        Raises:
            ValueError: as for `difference`.
        """
        difference = self.difference(first, second)
        probability = Boltzmann(self.temperature).probability(difference)
        if self.draw:
            return Answers((rng.random(len(first)) < probability).astype(np.float64), probability)
        return Answers(np.where(difference == 0, 0.5, (difference > 0) * 1.0), probability)
