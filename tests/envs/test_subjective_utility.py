"""The subjective utility: its terms counted by hand on the published board, and the models that it contains."""

from __future__ import annotations

import numpy as np
import pytest

from valuegym.envs.preference import delivery, models, subjective_utility
from valuegym.envs.preference.segments import Segment, follow
from valuegym.envs.preference.subjective_utility import SubjectiveUtility

UP, DOWN, LEFT, RIGHT = range(4)
PROCESS = delivery.board_mdp(np.array([delivery.BOARD]), discount=1.0)
REWARD = models.solve(PROCESS, np.array([delivery.WEIGHTS]))
VALUES = REWARD.values[0]


def segment(row: int, column: int, *actions: int) -> Segment:
    return follow(PROCESS, np.array([[10 * row + column]]), np.array([[actions]]))


def random_segments(n: int = 300) -> Segment:
    rng = np.random.default_rng(0)
    starts = rng.choice(np.flatnonzero(PROCESS.start[0]), (1, n))
    return follow(PROCESS, starts, rng.integers(4, size=(1, n, 3)))


def terms_of(row: int, column: int, *actions: int) -> dict[str, float]:
    found = subjective_utility.terms(REWARD, segment(row, column, *actions), 1.0)
    assert found.shape == (1, 1, len(subjective_utility.TERMS))
    return dict(zip(subjective_utility.TERMS, found[0, 0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("path", "terminal_outcome", "change", "road", "brick", "no_progress"),
    [
        ((9, 7, RIGHT, RIGHT, UP), 1, 1 - 2, 2, 0, 0),  # past a coin, into the destination
        ((8, 8, RIGHT, UP, UP), 1, -0.0, 0, 0, 0),  # into it at once: nothing follows
        ((1, 3, DOWN, LEFT, LEFT), -1, -1, 1, 0, 0),  # along the road, into a sheep
        ((0, 0, UP, UP, LEFT), 0, -3, 3, 0, 3),  # against the edge three times
        ((0, 5, RIGHT, LEFT, RIGHT), 0, -3, 3, 0, 2),  # there and back
        ((0, 1, RIGHT, RIGHT, RIGHT), 0, -4, 3, 0, 0),  # past a roadblock
        ((2, 6, RIGHT, RIGHT, RIGHT), 0, -6, 0, 3, 0),  # over brick
    ],
)
def test_terms_by_hand(
    path: tuple[int, ...], terminal_outcome: int, change: float, road: int, brick: int, no_progress: int
) -> None:
    found, states = terms_of(*path), segment(*path).states[0, 0]
    assert found["terminal_outcome"] == terminal_outcome and found["change"] == change
    assert found["step"] == -road and found["non_progress_steps"] == -no_progress
    assert segment(*path).features[0, 0, :, 5].sum() == brick
    earned = 50 * terminal_outcome + change
    assert found["expected_final_return"] == pytest.approx(earned + VALUES[states[-1]])
    assert found["start"] == pytest.approx(-VALUES[states[0]])
    assert found["regret"] == pytest.approx(-np.sqrt(VALUES[states[0]] - earned - VALUES[states[-1]]), abs=1e-6)


def test_three_weights_and_regret_are_special_cases() -> None:
    segments = random_segments()
    for w_r, w_0, w_l in ((1.0, 1.0, 1.0), (0.3, 0.16, 0.28), (1.0, 0.0, 0.0)):
        ours = SubjectiveUtility(
            expected_final_return=w_l, start=w_0, change=w_r - w_l, terminal_outcome=50 * (w_r - w_l)
        )
        expected = models.ThreeWeights(w_r, w_0, w_l).utility(REWARD, segments, 1.0)
        np.testing.assert_allclose(ours.utility(REWARD, segments, 1.0), expected, atol=1e-9)


def test_subjective_utility_is_the_weighted_sum_of_its_terms() -> None:
    segments, weights = random_segments(), np.arange(1.0, 8.0)
    expected = (subjective_utility.terms(REWARD, segments, 1.0) * weights).sum(-1)
    np.testing.assert_allclose(SubjectiveUtility(*weights).utility(REWARD, segments, 1.0), expected, atol=1e-9)
    assert len(subjective_utility.TERMS) == len(subjective_utility.UNITS) == len(subjective_utility.PRIOR_SCALES) == 7
    assert 1.0 * len(weights) + 1 <= 8  # with the lapse rate


def test_terms_do_not_depend_on_the_batch_axes() -> None:
    segments = random_segments(12)
    folded = Segment(*(field.reshape(1, 3, 4, *field.shape[2:]) for field in segments))
    whole = subjective_utility.terms(REWARD, segments, 1.0)
    assert (subjective_utility.terms(REWARD, folded, 1.0).reshape(whole.shape) == whole).all()
