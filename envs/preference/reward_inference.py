"""The query environment: watch an annotator's preferences one by one, and estimate the reward behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from valuegym.envs.preference.delivery_tasks import delivery_source
from valuegym.envs.preference.query import QueryCore, State
from valuegym.envs.preference.tabular_query import Query, Task, read

__all__ = ["EVALUATION_POINTS", "Query", "RewardInference", "State", "Task", "read"]

EVALUATION_POINTS = (3, 10, 30, 100, 300, 1000, 3000)


class RewardInference(QueryCore):
    """Infer an unknown reward from an annotator's preferences over pairs of segments.

    ## Description
    Every episode is a new task: a board with known dynamics and a hidden linear reward. Each step shows one pair of
    segments and which of them the annotator prefers. The question is whether a learner recovers a reward whose *optimal
    policy* is right, which partial return can fail at even with endless data, and regret cannot (Knox et al. 2024).
    Which terminal item and which road item is the good one, the order of the features and their signs are drawn for
    every episode of random boards, so that no constant answer is good; a learner that ignores preferences must guess.
    With `relabel` so they are on a fixed board, and so is whether road or brick is the cheap surface: cells, features,
    weights and the segments that people judged change their labels together, and nothing that people said changes.

    ## Observation
    A flat Dict. The process: `board` (S,) cell codes (-1 outside), `next_states` (S*A,), `features` (S*A*d,),
    `terminals` (S,), `start` (S,), `discount` (1,). The last pair: `segment_states` (2*(L+1),), `segment_actions`
    (2*L,), `segment_features` (2*L*d,), `segment_mask` (2*L,), `label` (0 first, 1 second, 2 same, 3 can't tell).
    `num_queries` (1,): pairs answered so far; `is_evaluation_point`: 1 when the action answering this observation is
    scored. The observation at reset shows no pair (mask 0, label 3). `read(observation)` restores the shapes.

    ## Action
    `RewardInference-v0`: Box(-1, 1, (d,)), the estimated reward weights; scale is irrelevant.
    `RewardInferencePolicy-v0`: Box(-1, 1, (S*A,)), a table of preferences over actions (advantages, logits), used
    greedily. Only actions at evaluation points count.

    ## Reward
    0 until the end, so that it gives no feedback; then the mean score over all evaluation points.

    ## Episode end
    Terminates with the action at the last evaluation point, and at the latest after all stored answers. No time limit.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `annotator` | str or function | "regret" | | who answers: "human:CONDITION", or as in `own_annotators.resolve` |
    | `board` | str | "random" | | "random", "risky", "published", "stored", "stored:NAME" or a map |
    | `split` | str | "test" | | of random boards: "train", "dev" or "test", disjoint by content |
    | `evaluation_points` | ints | `EVALUATION_POINTS` | pairs | when an estimate is scored; increasing, 0 allowed |
    | `length` | int | 3 | steps | of a segment, 1 to 1,000 |
    | `action` | str | "weights" | | "weights" or "policy" |
    | `data` | str or None | None | | folder of stored answers and boards; None: the variable VALUEGYM_DATA |
    | `size` | two ints or None | None | cells | height and width of random boards, 2 to 128; None: drawn |

    | `relabel` | bool or None | None | | whether roles, order and signs are redrawn; None: on random boards |
    | `unseen` | int | 0 | maps | random boards of the split on which weights are scored instead; 0 to 1,000 |

    Simulated annotators compare in units of reward ("regret" and "partial-return": Bradley-Terry at temperature 1; the
    same with "-noiseless" never err). A function, or a text that names one, is an annotator of your own
    (`own_annotators`). "human:CONDITION" deals out people's stored answers, on the published board and
    with segments of the stored length. "risky" boards are the tasks of `RiskyDelivery-v0`: `features` are then expected
    ones, segments show what came true. The other boards are those of `RandomDelivery-v0`.

    Raises:
        ValueError: an argument is not as stated.
        FileNotFoundError: the data are missing.

    ## Oracle and naive scores
    An estimate is scored by the mean return, under the true reward, of the policy that is optimal for the estimate
    (near-ties within 1e-6 of the reward scale share): 0 for uniformly random actions, 1 for an optimal policy, both
    computed exactly for the task at hand; clipped to -1 from below.

    ## Source
    Knox et al. (2024), TMLR; random boards from the generator released with it.

    ## Version history
    v0: first version.
    """

    def __init__(
        self,
        annotator: Any = "regret",
        board: str = "random",
        split: str = "test",
        evaluation_points: Sequence[int] = EVALUATION_POINTS,
        length: int = 3,
        action: str = "weights",
        data: str | None = None,
        size: Sequence[int] | None = None,
        relabel: bool | None = None,
        unseen: int = 0,
    ) -> None:
        source = delivery_source(annotator, board, split, length, action, data, size, relabel, unseen)
        super().__init__(source, evaluation_points)
