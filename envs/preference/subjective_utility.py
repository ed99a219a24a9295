"""Subjective utility: our model of what a segment is worth to the person who looks at it.

Regret and partial return say what people should compare. This model starts from the three weights of Knox et al.
(2024), which say how much people attend to what was earned, to the start and to the end, and adds four regularities
of judgment: sums of money count less the larger they are (Kahneman, Tversky 1979), a step counts as a step whatever
its price, moves that lead nowhere look bad, and some answers are given without looking. It was developed on the
condition Privileged-Control alone; docs/preference-model.md says how and with what result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuegym.envs import checks
from valuegym.envs.preference import delivery
from valuegym.envs.preference.models import PartialReturn, Regret, Reward
from valuegym.envs.preference.segments import Array, Segment

__all__ = ["PRIOR_SCALES", "TERMS", "UNITS", "SubjectiveUtility", "terms"]

TERMS = ("expected_final_return", "start", "terminal_outcome", "change", "step", "regret", "non_progress_steps")
UNITS = ("per dollar", "per dollar", "per outcome", "per dollar", "per step", "per root dollar", "per step")
# Standard deviation of the normal prior with mean 0 on each weight, in its unit. It keeps small samples, in which a
# terminal outcome is rare, from reading much into one answer.
PRIOR_SCALES = (0.3, 0.3, 3.0, 0.3, 0.3, 0.3, 0.3)
_OUTCOMES = [delivery.FEATURES.index("goal"), delivery.FEATURES.index("sheep")]
_ROAD = delivery.FEATURES.index("gas")


def terms(reward: Reward, segments: Segment, discount: float, width: int = len(delivery.BOARD[0])) -> Array:
    """Return the seven terms (B, ..., 7) of segments (B, ..., L), each signed so that a positive weight is expected.

    expected_final_return: partial return + value of the end, the best final score still possible, in dollars.
    start: minus the value of the start, in dollars.
    terminal_outcome: destinations reached minus sheep hit, a count.
    change: partial return without terminal outcomes, in dollars.
    step: minus the number of steps on road.
    regret: minus the square root of the regret, in root dollars.
    non_progress_steps: minus the steps that did not lead away from the start (steps - city-block distance to the end).

    Rewards and segments are those of the delivery task on boards of this width, features in the order of
    `delivery.FEATURES`.

    Raises:
        ValueError: the width is no integer of at least 1.
    """
    width = checks.integer("width", width, 1)
    states, features = segments.states, segments.features
    process = np.arange(len(states)).reshape(-1, *(1,) * (states.ndim - 2))
    weights = reward.weights.reshape(len(reward.weights), *(1,) * (features.ndim - 2), -1)
    earned = PartialReturn().utility(reward, segments, discount)
    outcomes = features[..., _OUTCOMES]
    L = segments.actions.shape[-1]
    won = (discount ** np.arange(L) * (outcomes * weights[..., _OUTCOMES]).sum(-1)).sum(-1)
    rows, columns = states // width, states % width
    moved = abs(rows[..., -1] - rows[..., 0]) + abs(columns[..., -1] - columns[..., 0])
    return np.stack(
        [
            earned + discount**L * reward.values[process, states[..., -1]],
            -reward.values[process, states[..., 0]],
            (outcomes * np.sign(weights[..., _OUTCOMES])).sum((-2, -1)),
            earned - won,
            -features[..., _ROAD].sum(-1),
            -np.sqrt(np.maximum(-Regret().utility(reward, segments, discount), 0.0)),
            -1.0 * (segments.mask.sum(-1) - moved),
        ],
        -1,
    )


@dataclass(frozen=True)
class SubjectiveUtility:
    """A statistic: the weighted sum of `terms`, in log-odds of preferring the segment (UNITS).

    With `start` equal to `expected_final_return` and all else 0 it is regret at temperature 1 / expected_final_return.
    The three weights of Knox et al. (2024) are expected_final_return = w_L, start = w_0, change = w_r - w_L,
    terminal_outcome = 50 (w_r - w_L), all else 0.

    Raises:
        ValueError: a weight is no finite number.
    """

    expected_final_return: float
    start: float
    terminal_outcome: float = 0.0
    change: float = 0.0
    step: float = 0.0
    regret: float = 0.0
    non_progress_steps: float = 0.0

    def __post_init__(self) -> None:
        """Check the weights."""
        for name in TERMS:
            checks.real(name, getattr(self, name))

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """Return the subjective utility of every segment."""
        return terms(reward, segments, discount) @ np.array([getattr(self, name) for name in TERMS])
