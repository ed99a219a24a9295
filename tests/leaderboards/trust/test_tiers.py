"""Tiers of trust and the standing of a score."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.trust.tiers import DIVISIONS, LIMITS, TIERS, Standing


def test_every_tier_has_a_limit_and_a_division() -> None:
    assert TIERS == tuple(LIMITS) == ("claimed", "replayed", "committed", "executed")
    assert set(DIVISIONS) == {*TIERS, "incomplete", "open book", "rejected"}


@pytest.mark.parametrize(
    ("standing", "word", "text"),
    [
        (Standing(), "claimed", "claimed"),
        (Standing("executed"), "executed", "executed"),
        (Standing("replayed", missing=1), "replayed", "replayed, 1 of 5 seeds missing"),
        (Standing(reason="no, not at all: never"), "rejected", "rejected"),
        (Standing("replayed", 1, "no"), "rejected", "rejected"),
    ],
)
def test_a_standing_in_words(standing: Standing, word: str, text: str) -> None:
    assert (standing.word, standing.text(4)) == (word, text)


def test_a_standing_is_checked_and_does_not_change() -> None:
    with pytest.raises(ValueError, match="tier is 'divine'; expected one of"):
        Standing("divine")
    with pytest.raises(ValueError, match="missing is -1"):
        Standing(missing=-1)
    with pytest.raises(FrozenInstanceError):
        Standing().tier = "executed"  # type: ignore[misc]


def test_the_status_of_a_score_gives_the_reason() -> None:
    score = Score("a", "test/walk", (0,), np.zeros((2, 3, 1)), (0, 1), Standing("replayed", missing=3))
    assert score.status == "replayed, 3 of 5 seeds missing"
    assert replace(score, standing=Standing(reason="x: y")).status == "rejected: x: y"
