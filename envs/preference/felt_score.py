"""The felt score: our model of what a segment is worth to the person who looks at it.

Regret and partial return say what people should compare. This model starts from the three weights of Knox et al.
(2024), which say how much people attend to what was earned, to the start and to the end, and adds four regularities
of judgment: sums of money count less the larger they are (Kahneman, Tversky 1979), a step counts as a step whatever
its price, moves that lead nowhere look bad, and some answers are given without looking. It was developed on the
condition Privileged-Control alone; docs/preference-model.md says how and with what result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuegym.envs.preference import delivery
from valuegym.envs.preference.models import PartialReturn, Regret, Reward
from valuegym.envs.preference.segments import Array, Segment

TERMS = ("outlook", "start", "prize", "change", "step", "regret", "waste")
UNITS = ("per dollar", "per dollar", "per prize", "per dollar", "per step", "per root dollar", "per step")
# Standard deviation of the normal prior with mean 0 on each weight, in its unit. It keeps small samples, in which a
# prize is rare, from reading much into one answer.
PRIOR_SCALES = (0.3, 0.3, 3.0, 0.3, 0.3, 0.3, 0.3)
_PRIZES = [delivery.FEATURES.index("goal"), delivery.FEATURES.index("sheep")]
_ROAD = delivery.FEATURES.index("gas")


def terms(reward: Reward, segments: Segment, discount: float, width: int = len(delivery.BOARD[0])) -> Array:
    """What the seven weights multiply, each so that a positive weight is expected: (B, ..., L) -> (B, ..., 7).

    outlook: partial return + value of the end, the best final score still possible, in dollars.
    start: minus the value of the start, in dollars.
    prize: destinations reached minus sheep hit, a count.
    change: partial return without these prizes, in dollars.
    step: minus the number of steps on road.
    regret: minus the square root of the regret, in root dollars.
    waste: minus the steps that did not lead away from the start (steps - city-block distance from start to end).

    Rewards and segments are those of the delivery task on boards of this width, features in the order of
    `delivery.FEATURES`.
    """
    states, features = segments.states, segments.features
    process = np.arange(len(states)).reshape(-1, *(1,) * (states.ndim - 2))
    weights = reward.weights.reshape(len(reward.weights), *(1,) * (features.ndim - 2), -1)
    earned = PartialReturn().utility(reward, segments, discount)
    prizes = features[..., _PRIZES]
    L = segments.actions.shape[-1]
    won = (discount ** np.arange(L) * (prizes * weights[..., _PRIZES]).sum(-1)).sum(-1)
    rows, columns = states // width, states % width
    moved = abs(rows[..., -1] - rows[..., 0]) + abs(columns[..., -1] - columns[..., 0])
    return np.stack(
        [
            earned + discount**L * reward.values[process, states[..., -1]],
            -reward.values[process, states[..., 0]],
            (prizes * np.sign(weights[..., _PRIZES])).sum((-2, -1)),
            earned - won,
            -features[..., _ROAD].sum(-1),
            -np.sqrt(np.maximum(-Regret().utility(reward, segments, discount), 0.0)),
            -1.0 * (segments.mask.sum(-1) - moved),
        ],
        -1,
    )


@dataclass(frozen=True)
class FeltScore:
    """A statistic: the weighted sum of `terms`, in log-odds of preferring the segment (UNITS).

    start = outlook with all else 0 is regret at temperature 1 / outlook; the three weights of Knox et al. (2024) are
    outlook = w_L, start = w_0, change = w_r - w_L, prize = 50 (w_r - w_L), all else 0.
    """

    outlook: float
    start: float
    prize: float = 0.0
    change: float = 0.0
    step: float = 0.0
    regret: float = 0.0
    waste: float = 0.0

    def utility(self, reward: Reward, segments: Segment, discount: float) -> Array:
        """Felt score of every segment."""
        return terms(reward, segments, discount) @ np.array([getattr(self, name) for name in TERMS])
