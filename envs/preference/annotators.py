"""Annotators: who answers the queries.

A simulated one is a preference model with a choice rule; a human one replays stored answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuegym.envs.preference import models
from valuegym.envs.preference.segments import Array

__all__ = ["ANNOTATORS", "CANNOT_TELL", "FIRST", "SAME", "SECOND", "Simulated", "answer_codes", "by_name", "labels"]


@dataclass(frozen=True)
class Simulated:
    """An annotator who compares a statistic under the true reward by a choice rule."""

    statistic: models.Statistic
    choice: models.Choice


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
    if name not in ANNOTATORS:
        raise ValueError(
            f"annotator = {name!r}; expected one of {sorted(ANNOTATORS)}, 'human:CONDITION', "
            "'FILE.py:NAME', 'PACKAGE.MODULE:NAME', an installed plug-in or a function."
        )
    return ANNOTATORS[name]


FIRST, SECOND, SAME, CANNOT_TELL = range(4)


def answer_codes(labels: Array) -> Array:
    """Return labels 0, 1, 0.5, NaN as the integers FIRST, SECOND, SAME, CANNOT_TELL.

    Raises:
        ValueError: any other label.
    """
    codes = np.select(
        [labels == 0, labels == 1, labels == 0.5, np.isnan(labels)], [FIRST, SECOND, SAME, CANNOT_TELL], -1
    )
    if (codes < 0).any():
        raise ValueError("Labels must be 0 (first), 1 (second), 0.5 (same) or NaN (can't tell).")
    return codes


def labels(codes: Array) -> Array:
    """Return the integers FIRST, SECOND, SAME, CANNOT_TELL as labels 0, 1, 0.5, NaN."""
    return np.array([0.0, 1.0, 0.5, np.nan])[codes]
