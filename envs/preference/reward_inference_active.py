"""The active query environment: the agent chooses which of several pairs the annotator answers next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from valuegym.envs.preference.delivery_tasks import delivery_source
from valuegym.envs.preference.query import ActiveState, QueryCore
from valuegym.envs.preference.reward_inference import EVALUATION_POINTS
from valuegym.envs.preference.tabular_query import read_candidates

__all__ = ["ActiveState", "RewardInferenceActive", "read_candidates"]


class RewardInferenceActive(QueryCore):
    """Infer an unknown reward from an annotator's preferences over pairs of one's own choice.

    ## Description
    `RewardInference-v0`, but before every answer the agent sees K pairs of segments without answers, and its action
    chooses the one that is answered; the others are discarded. It measures what a query is worth: whether a learner
    that knows what it does not know needs fewer answers. The candidates are independent of the choices, and the first
    candidate is the pair that `RewardInference-v0` shows under the same seed, with the same answer, so that an agent
    that always takes the first one plays that environment.

    ## Observation
    A flat Dict as in `RewardInference-v0`, whose last pair is the one that was chosen, and the candidates for the next
    answer: `candidate_states` (K*2*(L+1),), `candidate_actions` (K*2*L,), `candidate_features` (K*2*L*d,),
    `candidate_mask` (K*2*L,); all 0 when no answer will follow. `read(observation)` and `read_candidates(observation)`
    restore the shapes.

    ## Action
    Box(-1, 1, (d + K,)): the estimated reward weights, whose scale is irrelevant and which count only at evaluation
    points, and a number for each candidate, the highest of which is answered (the first one of equals).
    `action="policy"`: Box(-1, 1, (S*A + K,)), with a table over states and actions in the place of the weights.

    ## Reward
    0 until the end, so that it gives no feedback; then the mean score over all evaluation points.

    ## Episode end
    Terminates with the action at the last evaluation point; with people's answers, which are dealt out K at a time, at
    the latest after one K-th of them.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `candidates` | int | 10 | pairs | K, the pairs to choose from, 1 to 1,000 |

    All others as in `RewardInference-v0`.

    Raises:
        ValueError: an argument is not as stated, or fewer answers are stored than there are candidates.
        FileNotFoundError: the data are missing.

    ## Oracle and naive scores
    As in `RewardInference-v0`. The oracle knows the weights and always takes the first candidate.

    ## Source
    Queries that are chosen for their information, for rewards: Sadigh et al. (2017), Biyik et al. (2019). Pairs, tasks
    and annotators: Knox et al. (2024), TMLR.

    ## Version history
    v0: first version.
    """

    def __init__(
        self, candidates: int = 10, evaluation_points: Sequence[int] = EVALUATION_POINTS, **kwargs: Any
    ) -> None:
        super().__init__(delivery_source(**kwargs), evaluation_points, candidates)
