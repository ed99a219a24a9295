"""Annotators: who answers the queries.

A simulated one is a preference model with a choice rule; a human one replays stored answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuegym.envs import checks
from valuegym.envs.preference import models
from valuegym.envs.preference.segments import Array

__all__ = ["ANNOTATORS", "CANNOT_TELL", "FIRST", "SAME", "SECOND", "Simulated", "answer_codes", "by_name", "labels"]


@dataclass(frozen=True)
class Simulated:
    """An annotator who compares a statistic under the true reward by a choice rule.

    Raises:
        ValueError: they are no statistic and no choice rule.
    """

    statistic: models.Statistic
    choice: models.Choice

    def __post_init__(self) -> None:
        """Check the statistic and the rule."""
        if isinstance(self.statistic, type) or not callable(getattr(self.statistic, "utility", None)):
            raise checks.refusal("statistic", self.statistic, "a statistic such as Regret()")
        models.check_choice(self.choice)


ANNOTATORS: dict[str, Simulated] = {
    "regret": Simulated(models.Regret(), models.BradleyTerry()),
    "regret-noiseless": Simulated(models.Regret(), models.Noiseless()),
    "partial-return": Simulated(models.PartialReturn(), models.BradleyTerry()),
    "partial-return-noiseless": Simulated(models.PartialReturn(), models.Noiseless()),
    "regret-thurstone": Simulated(models.Regret(), models.Thurstone(2.0**0.5)),
    "regret-lapse": Simulated(models.Regret(), models.Lapse(models.BradleyTerry(), 0.1)),
    "end-state": Simulated(models.END_STATE, models.BradleyTerry()),
    "partial-return-and-end-value": Simulated(models.PARTIAL_RETURN_AND_END_VALUE, models.BradleyTerry()),
    # Weights in log-odds per unit of reward, fitted to people who saw no statistics (docs/preference-model.md).
    "three-weights": Simulated(models.ThreeWeights(0.30, 0.16, 0.28), models.BradleyTerry()),
}


def by_name(name: str) -> Simulated:
    """Return the simulated annotator of this name.

    Raises:
        ValueError: no annotator has it.
    """
    names = (*ANNOTATORS, "human:CONDITION", "FILE.py:NAME", "PACKAGE.MODULE:NAME")
    expected = f"one of {', '.join(map(repr, names))}, an installed plug-in or a function"
    if checks.text("annotator", name, expected) not in ANNOTATORS:
        raise ValueError(f"{checks.refusal('annotator', name, expected)}{checks.similar(name, ANNOTATORS)}")
    return ANNOTATORS[name]


FIRST, SECOND, SAME, CANNOT_TELL = range(4)


def answer_codes(labels: Array) -> Array:
    """Return labels 0, 1, 0.5, NaN as the integers FIRST, SECOND, SAME, CANNOT_TELL.

    Raises:
        ValueError: any other label (`models.check_labels`).
    """
    if labels.dtype.kind not in "fiub":
        models.check_labels("labels", labels)
    codes = np.select(
        [labels == 0, labels == 1, labels == 0.5, np.isnan(labels)], [FIRST, SECOND, SAME, CANNOT_TELL], -1
    )
    if (codes < 0).any():
        models.check_labels("labels", labels)
    return codes


def labels(codes: Array) -> Array:
    """Return the integers FIRST, SECOND, SAME, CANNOT_TELL as labels 0, 1, 0.5, NaN.

    Raises:
        ValueError: any other code.
    """
    return np.array([0.0, 1.0, 0.5, np.nan])[checks.integers("codes", codes, None, FIRST, CANNOT_TELL)]
