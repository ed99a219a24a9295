"""Answers to queries: labels, with what else is known of them.

Labels are 0 (first), 1 (second), 0.5 (the same) and NaN (can't tell, or skipped). Probabilities are those of
preferring the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.feedback.segments import Segments, concatenate
from valuegym.envs.preference import models

__all__ = ["MAX_STRENGTH", "Answers", "Feedback", "check_labels", "entropy", "join"]

Floats = npt.NDArray[np.float64]

MAX_STRENGTH = 3  # of a preference: 0 about the same, 1 slightly, 2 clearly, 3 much better


@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """Answers to N queries.

    Attributes:
        labels: (N,) 0 first, 1 second, 0.5 the same, NaN can't tell or skipped.
        probability: (N,) of preferring the second, as the annotator's model has it; NaN where unknown.
        strength: (N,) of the preference, 0 to 3; NaN where unknown.
        user: (N,) int64, who answered; -1 where unknown.

    Raises:
        ValueError: a label is another number, or a field has another shape or range.
    """

    labels: Floats
    probability: Any = None
    strength: Any = None
    user: Any = None

    def __post_init__(self) -> None:
        """Check all fields, and fill those that are not given."""
        labels = check_labels("labels", self.labels, None)
        N = len(labels)
        probability = _column("probability", self.probability, N, 1.0)
        strength = _column("strength", self.strength, N, MAX_STRENGTH)
        user = np.full(N, -1, np.int64) if self.user is None else checks.integers("user", self.user, (N,), -1)
        for name, value in (("labels", labels), ("probability", probability), ("strength", strength), ("user", user)):
            object.__setattr__(self, name, value)

    @classmethod
    def computed(cls, labels: Floats, probability: Floats, strength: Floats) -> Answers:
        """Return answers by nobody known, without a check of the columns (N,) float64 that the caller has computed."""
        answers = object.__new__(cls)
        user = np.full(len(labels), -1, np.int64)
        vars(answers).update(labels=labels, probability=probability, strength=strength, user=user)
        return answers

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = [int((self.labels == label).sum()) for label in (0, 1, 0.5)]
        return "<{} answers: {} first, {} second, {} the same>".format(len(self), *counts)

    def __getitem__(self, rows: Any) -> Answers:
        """Return some answers: an index array, a mask or a slice."""
        return Answers(self.labels[rows], self.probability[rows], self.strength[rows], self.user[rows])

    @property
    def skipped(self) -> npt.NDArray[np.bool_]:
        """(N,) bool, True where there is no answer."""
        return np.isnan(self.labels)


def _column(name: str, value: Any, N: int, high: float) -> Floats:
    """Return a column (N,) of numbers from 0 to `high`, or NaN."""
    if value is None:
        return np.full(N, np.nan)
    column = np.asarray(value)
    if column.shape != (N,) or column.dtype.kind not in "fiu" or (column < 0).any() or (column > high).any():
        raise ValueError(f"{name} has shape {column.shape}; expected ({N},) numbers from 0 to {high:g}, or NaN.")
    return column.astype(np.float64)


def check_labels(name: str, value: Any, N: int | None) -> Floats:
    """Return N labels as float64; True and False count as 1 and 0, and a single label will do where N is 1.

    Raises:
        ValueError: the shape is another one, or a label is none of 0, 1, 0.5 and NaN; the sentence begins with `name`.
    """
    labels = models.check_labels(name, value)
    if labels.ndim == 0 and N == 1:
        labels = labels[None]
    if labels.ndim != 1 or (N is not None and len(labels) != N):
        raise ValueError(
            f"{name} has shape {labels.shape}; expected ({'N' if N is None else N},), a label for each pair."
        )
    return labels


def entropy(answers: Answers) -> float:
    """Return the mean binary entropy, in bits, of the probabilities of all answers that were given.

    It is the least cross-entropy that a model of the answers can have, in bits per answer; a tie counts 1 bit. NaN if
    no answer has a known probability.
    """
    p = answers.probability[~answers.skipped & ~np.isnan(answers.probability)]
    if not p.size:
        return math.nan
    bits = [q[q > 0] * np.log2(q[q > 0]) for q in (p, 1 - p)]
    return max(0.0, -float(sum(part.sum() for part in bits)) / p.size)


@dataclass(frozen=True, eq=False, repr=False)
class Feedback:
    """Answered pairs: what a learner from preferences learns from.

    Attributes:
        first: N segments.
        second: N segments.
        answers: N answers.

    Raises:
        ValueError: there are not as many of each.
    """

    first: Segments
    second: Segments
    answers: Answers

    def __post_init__(self) -> None:
        """Check the numbers."""
        counts = len(self.first), len(self.second), len(self.answers)
        if len(set(counts)) > 1:
            raise ValueError(
                "There are {} first and {} second segments and {} answers; expected as many.".format(*counts)
            )

    def __len__(self) -> int:
        return len(self.answers)

    def __repr__(self) -> str:
        return f"<{len(self)} pairs of segments of at most {self.first.steps} steps, {self.answers!r}>"

    def __getitem__(self, rows: Any) -> Feedback:
        """Return some pairs: an index array, a mask or a slice."""
        return Feedback(self.first[rows], self.second[rows], self.answers[rows])

    def hidden(self, *columns: str, terminated: bool = False) -> Feedback:
        """Return what a learner may see: no true rewards or probabilities, nor these columns of `info`.

        Terminations are hidden, too, unless the learner may see them.
        """
        first, second = (part.without(*columns) for part in (self.first, self.second))
        if not terminated:
            first, second = (replace(part, terminated=None) for part in (first, second))
        return Feedback(first, second, replace(self.answers, probability=None))


def join(parts: Sequence[Feedback]) -> Feedback:
    """Return all pairs in one batch.

    Raises:
        ValueError: there is no part, or segments do not fit.
    """
    return Feedback(
        concatenate([part.first for part in parts]),
        concatenate([part.second for part in parts]),
        Answers(
            *(
                np.concatenate([getattr(part.answers, name) for part in parts])
                for name in ("labels", "probability", "strength", "user")
            )
        ),
    )
