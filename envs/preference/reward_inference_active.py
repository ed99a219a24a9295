"""The query environment whose agent asks: it chooses which of several pairs the annotator answers next."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from valuegym.envs import keys
from valuegym.envs.preference import delivery, queries
from valuegym.envs.preference.reward_inference import Array, RewardInference, State, Task
from valuegym.envs.preference.segments import Segment


class ActiveState(NamedTuple):
    """num_queries, scores as in `queries.State`; query_index (B,): the candidate chosen for the last answered pair."""

    num_queries: Array
    scores: Array
    query_index: Array


def read_candidates(observation: dict[str, Array]) -> Segment:
    """The candidates (K, 2, ...) of one flat observation; `read` restores the rest."""
    query = queries.read(observation)
    L, d = query.pair.features.shape[1:]
    return queries.read_segments(observation, "candidate", (observation["candidate_mask"].size // (2 * L), 2), d)


class RewardInferenceActive(RewardInference):
    """Infer an unknown reward from an annotator's preferences over pairs of one's own choice.

    ## Description
    `RewardInference-v0`, but before every answer the agent sees K pairs of segments without answers, and its action
    chooses the one that is answered; the others are gone. It asks what a question is worth: whether a learner that
    knows what it does not know gets by with fewer answers. The candidates are independent of the choices, and the
    first candidate is the pair that `RewardInference-v0` shows under the same seed, with the same answer, so that an
    agent that always takes the first one plays that environment.

    ## Observation
    A flat Dict as in `RewardInference-v0`, whose last pair is the one that was chosen, and the candidates for the next
    answer: `candidate_states` (K*2*(L+1),), `candidate_actions` (K*2*L,), `candidate_features` (K*2*L*d,),
    `candidate_mask` (K*2*L,); all 0 when no answer will follow. `read(observation)` and `read_candidates(observation)`
    restore the shapes.

    ## Action
    Box(-1, 1, (d + K,)): the estimated reward weights, whose scale is irrelevant and which count only at
    evaluation points, and a score for each candidate, the highest of which is asked (the first one of equals).
    `action="policy"`: Box(-1, 1, (S*A + K,)), with a table over states and actions in the place of the weights.

    ## Reward
    0 until the end, so that it is no feedback; then the mean score over all evaluation points.

    ## Episode end
    Terminates with the action at the last evaluation point; with people's answers, which are dealt out K at a time, at
    the latest after one K-th of them.

    ## Arguments
    `candidates`: K, 10 by default. All others as in `RewardInference-v0`.

    ## Oracle and naive scores
    As in `RewardInference-v0`. The oracle knows the weights and always takes the first candidate.

    ## Source
    Queries that are chosen for their information, for rewards: Sadigh et al. (2017), Biyik et al. (2019). Pairs, tasks
    and annotators: Knox et al. (2024), TMLR.

    ## Version history
    v0: first version.
    """

    active = True

    def __init__(self, candidates: int = 10, **kwargs: Any) -> None:
        if type(candidates) is not int or candidates < 1:
            raise ValueError(f"candidates = {candidates!r}; expected an integer, at least 1.")
        self.candidates = candidates
        super().__init__(**kwargs)
        shape = (self.shape[0] * self.shape[1], len(delivery.ACTIONS), len(delivery.FEATURES))
        offered = queries.segment_spaces("candidate", 2 * candidates, shape, self.length)
        self.observation_space = gym.spaces.Dict({**self.observation_space.spaces, **offered})
        self.action_space = gym.spaces.Box(-1, 1, (self.action_space.shape[0] + candidates,), np.float32)

    def initial(self, key: keys.Key) -> tuple[Task, Any]:
        """Draw a task, and solve it for scoring."""
        task, state = super().initial(key)
        return task, ActiveState(*state, np.zeros(len(key), np.int64))

    def transition(self, task: Task, state: Any, action: Array, key: keys.Key, t: Array) -> Any:
        """Score the estimate at evaluation points, then show the pair that was chosen."""
        estimate, choice = np.split(action, [-self.candidates], -1)
        after = super().transition(task, State(state.num_queries, state.scores), estimate, key, t)
        return ActiveState(*after, np.where(self.terminal(task, state), state.query_index, choice.argmax(-1)))

    def answered(self, task: Task, state: Any) -> tuple[Segment, Array]:
        """The pair (B, 2, ...) that was chosen, and its answer (B,)."""
        pairs, answers = self.pool(task, state.num_queries, self.candidates)
        chosen = (np.arange(len(state.query_index)), state.query_index)
        return Segment(*(field[chosen] for field in pairs)), answers[chosen]

    def observation(self, task: Task, state: Any) -> dict[str, Array]:
        """The process, the last pair and its answer, and the candidates for the next."""
        pairs, _ = self.pool(task, state.num_queries + 1, self.candidates)
        return super().observation(task, state) | queries.flat_segments("candidate", pairs)

    def oracle_action(self, task: Task, state: Any) -> Array:
        """The true weights, or the optimal advantages, scaled into the action space, and the first candidate."""
        estimate = super().oracle_action(task, state)
        return np.concatenate([estimate, np.zeros((len(estimate), self.candidates), np.float32)], -1)
