"""Temperatures by entropy: the closed form, what noise leaves possible, and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from valuegym.envs.feedback import annotators as a
from valuegym.envs.feedback.answers import Answers, entropy
from valuegym.envs.feedback.calibration import calibrated, certain
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import Perceived


def pairs(differences: Any) -> tuple[Segments, Segments]:
    """Return pairs of one step whose partial returns differ by these numbers."""
    d = np.asarray(differences, np.float64)[:, None]
    empty = np.zeros((len(d), 2, 1)), np.zeros((len(d), 1, 1))
    return Segments(*empty, 0 * d), Segments(*empty, d)


def bits_of(annotator: Any, both: tuple[Segments, Segments]) -> float:
    return entropy(annotator(*both, np.random.default_rng(7)))


RANDOM = pairs(np.random.default_rng(0).standard_cauchy(400))  # heavy tails: over many orders of magnitude


def test_the_temperature_of_equal_differences_in_closed_form() -> None:
    """Entropy h(p) of p = 1 / (1 + exp(-d / T)): at p = 3/4 the temperature is d / ln 3."""
    h = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    found = calibrated(a.Annotator(), *pairs([2.0, -2.0, 2.0]), h)
    assert found.choice.temperature == pytest.approx(2 / math.log(3), rel=1e-9)  # type: ignore[attr-defined]


def test_ties_count_one_bit() -> None:
    """With half of the pairs the same, half a bit is certain about the rest."""
    both = pairs([0.0, 1.0, 0.0, -1.0])
    assert bits_of(calibrated(a.Annotator(), *both, 0.75), both) == pytest.approx(0.75, abs=1e-9)
    with pytest.raises(ValueError, match=r"bits is 0.4; expected a number above 0.5 and below 1"):
        calibrated(a.Annotator(), *both, 0.4)


@pytest.mark.parametrize("bits", [0.05, 0.5, 0.95])
@pytest.mark.parametrize(
    "annotator",
    [
        a.Annotator(),
        a.Annotator(choice=a.Thurstone(3.0)),
        a.Annotator(perception=Perceived(0.1)),
        a.Annotator(noise=(a.Equal(0.01),)),
        a.bpref("stochastic", mistake=0.001),
    ],
)
def test_answers_have_the_stated_entropy(annotator: a.Annotator, bits: float) -> None:
    found = calibrated(annotator, *RANDOM, bits)
    assert bits_of(found, RANDOM) == pytest.approx(bits, abs=1e-6)
    assert (found.utility, found.perception, found.noise) == (annotator.utility, annotator.perception, annotator.noise)
    assert type(found.choice) is type(annotator.choice)


def test_more_bits_are_a_higher_temperature_and_units_do_not_matter() -> None:
    temperatures = [calibrated(a.Annotator(), *RANDOM, bits).choice.temperature for bits in (0.1, 0.3, 0.6, 0.9)]  # type: ignore[attr-defined]
    assert (np.diff(temperatures) > 0).all()
    scaled = pairs(1000 * RANDOM[1].rewards[:, 0])
    assert calibrated(a.Annotator(), *scaled, 0.3).choice.temperature == pytest.approx(1000 * temperatures[1], rel=1e-9)  # type: ignore[attr-defined]


def test_mistakes_alone_have_an_entropy() -> None:
    h = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    with pytest.raises(ValueError, match=f"expected a number above {h:.6g}"):
        calibrated(a.Annotator(noise=(a.Mistake(0.1),)), *pairs([1.0, 1.0]), 0.4)


def test_certain_answers_are_counted_on_either_side() -> None:
    assert certain(Answers(np.array([1.0, 0, 1, np.nan]), np.array([0.995, 0.001, 0.5, 1.0]))) == pytest.approx(2 / 3)
    assert math.isnan(certain(Answers(np.array([1.0]))))


@pytest.mark.parametrize(
    ("annotator", "both", "bits", "message"),
    [
        (a.bpref("oracle"), RANDOM, 0.5, "expected an Annotator whose choice has a temperature"),
        (a.Mixture([a.bpref()]), RANDOM, 0.5, "expected an Annotator whose choice has a temperature"),
        (a.Annotator(), RANDOM, 0.0, "bits is 0.0"),
        (a.Annotator(), RANDOM, math.nan, "bits is nan"),
        (a.Annotator(), pairs([0.0, 0.0]), 0.5, "All 2 pairs are the same"),
    ],
)
def test_what_is_refused(annotator: Any, both: tuple[Segments, Segments], bits: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrated(annotator, *both, bits)
