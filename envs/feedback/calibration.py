"""Temperature of an annotator by the entropy of its answers, so that they are neither all certain nor all noise.

A temperature of 1 in units of utility means nothing by itself: of answers by regret it leaves a third with a
probability above 0.99 on random delivery boards, and five sixths on the pendulum (docs/results/annotator-entropy.md).
With a stated entropy, answers by other utilities, or about segments of another length, carry as much information each:
1 - entropy bits, if either label is as likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.feedback.annotators import Annotator
from valuegym.envs.feedback.answers import Answers, entropy
from valuegym.envs.feedback.segments import Segments

__all__ = ["CERTAIN", "calibrated", "certain"]

Floats = npt.NDArray[np.float64]

CERTAIN = 0.99  # probability of either answer from which on an answer is called certain
EDGE = 1e3  # how far beyond all differences the temperature is sought
HALVINGS = 80


@dataclass(frozen=True)
class _Fixed:
    """A comparison with differences that were computed before."""

    values: Floats

    def difference(self, first: Segments, second: Segments) -> Floats:
        """Return the differences (N,)."""
        return self.values


def certain(answers: Answers) -> float:
    """Return the share of given answers whose probability is above CERTAIN for one label; NaN if none is known."""
    p = answers.probability[~answers.skipped & ~np.isnan(answers.probability)]
    return float((np.maximum(p, 1 - p) > CERTAIN).mean()) if p.size else math.nan


def calibrated(annotator: Annotator, first: Segments, second: Segments, bits: float = 0.5) -> Annotator:
    """Return the annotator with the temperature at which its answers about these pairs have a mean entropy of `bits`.

    The entropy grows with the temperature, so that bisection finds it. It counts what noise does to answers, such as
    mistakes, and pairs that are the same. Pairs should be drawn as those that will be asked about.

    Args:
        annotator: its choice has a temperature, or a scale as Thurstone's, which is replaced.
        first: N segments.
        second: N segments.
        bits: per answer, above what ties and mistakes alone give, and below what no temperature exceeds (1, if noise
            does not change it).

    Raises:
        ValueError: the annotator's choice has no temperature, all pairs are the same, or no temperature gives so many
            bits; the message says which ones are possible.
    """
    choice = getattr(annotator, "choice", None)  # mixtures of annotators have none
    name = next((name for name in ("temperature", "scale") if hasattr(choice, name)), None)
    if name is None:
        raise checks.refusal("annotator", annotator, "an Annotator whose choice has a temperature, such as Boltzmann")
    checks.real("bits", bits, above=0, below=1)
    differences = annotator.difference(first, second)
    sizes = np.abs(differences[differences != 0])
    if not sizes.size:
        raise ValueError(f"All {len(differences)} pairs are the same to the annotator; expected some that differ.")
    known = replace(annotator, utility=_Fixed(differences), perception=None)

    def found(temperature: float) -> float:
        choice = replace(annotator.choice, **{name: temperature})  # type: ignore[type-var]
        return entropy(replace(known, choice=choice)(first, second, np.random.default_rng(0)))

    low, high = math.log(sizes.min() / EDGE), math.log(sizes.max() * EDGE)
    least, most = found(math.exp(low)), found(math.exp(high))
    if not least < bits < most:
        raise ValueError(
            f"bits is {bits!r}; expected a number above {least:.6g} and below {most:.6g}, between which "
            "the mean entropy of answers about these pairs lies at any temperature."
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if found(math.exp(middle)) < bits else (low, middle)
    return replace(annotator, choice=replace(annotator.choice, **{name: math.exp((low + high) / 2)}))  # type: ignore[type-var]
