"""The query environments: watch an annotator's preferences one by one, and say what the reward is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.functional import take_rows
from valuegym.envs.preference import (
    annotators,
    datasets,
    delivery,
    delivery_art,
    maps,
    outcomes,
    queries,
    random_delivery,
    risky_delivery,
    segments,
)
from valuegym.envs.preference.queries import Query, State, read

__all__ = ["EVALUATION_POINTS", "Query", "RewardInference", "State", "Task", "read"]

Array = npt.NDArray[Any]

EVALUATION_POINTS = (3, 10, 30, 100, 300, 1000, 3000)


class Task(NamedTuple):
    """One board, its true weights and all that follows from them.

    Everything but weights, values, action_values, naive and best is shown.
    """

    key: Array  # (B,)
    board: Array  # (B, H * W) cell codes
    next_state: Array  # (B, S, A)
    features: Array  # (B, S, A, d), expected
    terminal: Array  # (B, S)
    start: Array  # (B, S)
    weights: Array  # (B, d)
    values: Array  # (B, S): V* of the true reward
    action_values: Array  # (B, S, A): Q* of the true reward
    naive: Array  # (B,): mean return of uniformly random actions
    best: Array  # (B,): mean return of an optimal policy
    chance: Array  # (B, S, A, K): of each outcome of a move; K = 0 where there is only one
    outcomes: Array  # (B, S, A, K, d): its features
    order: Array  # (B, n): in which stored answers come; n = 0 for simulated annotators


class RewardInference:
    """Infer an unknown reward from an annotator's preferences over pairs of segments.

    ## Description
    Every episode is a new task: a board with known dynamics and a hidden linear reward. Each step shows one pair of
    segments and which of them the annotator prefers. It asks whether a learner recovers a reward whose *optimal
    policy* is right, which partial return can fail at even with endless data, and regret cannot (Knox et al. 2024).
    Which terminal item and which road item is the good one, the order of the features and their signs are drawn
    anew, so that no constant answer is good; a learner that ignores preferences must guess.

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
    0 until the end, so that it is no feedback; then the mean score over all evaluation points.

    ## Episode end
    Terminates with the action at the last evaluation point: after 3, 10, 30, 100, 300, 1000 and 3000 pairs by
    default (`evaluation_points=...`, 0 allowed), and at the latest after all stored answers. No time limit.

    ## Arguments
    `annotator`: "regret", "partial-return" (Bradley-Terry at temperature 1), the same with "-noiseless", or
    "human:CONDITION" with `data=FOLDER` (or the variable VALUEGYM_DATA). `board`: "random"; "risky", the tasks of
    `RiskyDelivery-v0` (`features` are then expected ones, segments show what came true); or as in `RandomDelivery-v0`
    "published" (always for humans), "stored", "stored:NAME" or a map. `size`: (height, width) of random and risky
    boards, up to 128. `split`: "train", "dev" or "test", disjoint by the content of the task, for random boards.
    `evaluation_points`: as above. `length`: steps of a segment. `action`: "weights"
    or "policy".

    ## Oracle and naive scores
    An estimate is scored by the mean return, under the true reward, of the policy that is optimal for the estimate
    (near-ties within 1e-6 of the reward scale share): 0 for uniformly random actions, 1 for an optimal policy, both
    computed exactly for the task at hand; cut at -1.

    ## Source
    Knox et al. (2024), TMLR; random boards from the generator released with it.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}
    discount = delivery.DISCOUNT
    tolerance = 1e-9  # scores come from linear solves, which differ between processors in the last digits
    checkpoint = 250  # a record holds every 250th state
    active = False  # whether actions also choose the next pair
    candidates = 1  # of which one is shown

    def __init__(
        self,
        annotator: str = "regret",
        board: str = "random",
        split: str = "test",
        evaluation_points: Sequence[int] = EVALUATION_POINTS,
        length: int = 3,
        action: str = "weights",
        data: str | None = None,
        size: Sequence[int] | None = None,
    ) -> None:
        if action not in ("weights", "policy"):
            raise ValueError(f"action = {action!r}; expected 'weights' or 'policy'.")
        if length < 1:
            raise ValueError(f"length = {length}; expected at least 1 step per segment.")
        evaluation_points = queries.check_evaluation_points(evaluation_points)
        self.human = datasets.load(annotator.partition(":")[2], data) if annotator.startswith("human:") else None
        self.annotator = annotators.by_name(annotator) if self.human is None else None
        self.risky = board == "risky" and self.human is None
        self.boards = (
            random_delivery.boards("random", split, size, generator=risky_delivery.RiskyDelivery.generator)
            if self.risky
            else random_delivery.boards(board if self.human is None else "published", split, size, data=data)
        )
        self.random = self.boards.random
        self.split, self.length, self.policy = split, length, action == "policy"
        if self.human is not None:
            self.length = self.human.segments.actions.shape[-1]
            available = len(self.human.labels) // self.candidates
            if not available:
                raise ValueError(
                    f"candidates = {self.candidates}; expected at most the {len(self.human.labels)} stored answers."
                )
            evaluation_points = tuple(r for r in evaluation_points if r < available) + (
                (available,) if evaluation_points[-1] >= available else ()
            )
        self.evaluation_points = evaluation_points
        self.shape = H, W = self.boards.shape
        S, A, d = shape = H * W, len(delivery.ACTIONS), len(delivery.FEATURES)
        self.observation_space = gym.spaces.Dict(
            {
                "board": gym.spaces.Box(delivery.OUTSIDE, 2 * delivery.BRICK - 1, (S,), np.int64),
                **queries.spaces(shape, self.length, self.evaluation_points[-1]),
            }
        )
        self.action_space = gym.spaces.Box(-1, 1, (S * A if self.policy else d,), np.float32)

    def initial(self, key: keys.Key) -> tuple[Task, State]:
        """Draw a task, and solve it for scoring."""
        boards, weights, shuffle, sign = self._draw(key)
        d = weights.shape[1]
        mdp = delivery.board_mdp(boards, self.discount)
        expected, chance, outcome = mdp.features, *(np.zeros((*mdp.features.shape[:3], 0, *n)) for n in ((), (d,)))
        if self.risky:
            process = risky_delivery.board_outcomes(boards)
            chance, outcome = process.chance, process.features
            expected = (chance[..., None] * outcome).sum(-2)
        outcome = np.take_along_axis(outcome, shuffle[:, None, None, None], -1) * sign[:, None, None, None]
        features = np.take_along_axis(expected, shuffle[:, None, None], -1) * sign[:, None, None]
        weights = np.take_along_axis(weights, shuffle, -1) * sign
        mdp = tabular.TabularMDP(features, mdp.terminal, mdp.start, self.discount, next_state=mdp.next_state)
        reward = tabular.reward(mdp, weights)
        values, action_values = tabular.optimal_values(mdp, reward)
        naive = tabular.mean_return(mdp, tabular.evaluate(mdp, tabular.uniform_policy(mdp), reward))
        assert mdp.next_state is not None
        order = keys.permutation(key, 0 if self.human is None else len(self.human.labels), keys.RESET, 3)
        board = boards.reshape(len(key), -1)
        best = tabular.mean_return(mdp, values)
        task = Task(
            key.copy(),
            board,
            mdp.next_state,
            features,
            mdp.terminal,
            mdp.start,
            weights,
            values,
            action_values,
            naive,
            best,
            chance,
            outcome,
            order,
        )
        return task, State(np.zeros(len(key), np.int64), np.zeros((len(key), len(self.evaluation_points))))

    def _draw(self, key: keys.Key) -> tuple[Array, Array, Array, Array]:
        """Boards (B, H, W), weights (B, d) in the published order, the features' shuffle and signs (B, d)."""
        B, d = len(key), len(delivery.FEATURES)
        task = self.boards.draw(key)
        if not self.random:
            return *task, np.tile(np.arange(d), (B, 1)), np.ones((B, d))
        swaps = 0.0 if self.risky else 0.5  # which terminal item, which road item is the good one
        swap = keys.uniform(key[:, None], keys.RESET, 1, np.arange(2)) < swaps
        ends = np.where(swap[:, :1], (0, 2, 1, 3, 4, 5), range(d))
        items = np.where(swap[:, 1:], (0, 1, 2, 4, 3, 5), range(d))
        weights = np.take_along_axis(task.weights, np.take_along_axis(ends, items, -1), -1)
        sign = np.where(keys.uniform(key[:, None], keys.RESET, 2, np.arange(d)) < 0.5, -1.0, 1.0)
        return task.boards, weights, keys.permutation(key, d, keys.RESET, 4), sign

    def pool(self, task: Task, number: Array, n: int) -> tuple[segments.Segment, Array]:
        """Return the n candidates (B, n, 2, ...) for pair `number` (B,), counted from 1, and their answers (B, n).

        Number 0 is blank, and so are those past the last evaluation point. People's answers are dealt out n at a time.
        """
        B, L = len(number), self.length
        blank = (number < 1) | (number > self.evaluation_points[-1])
        if self.human is not None:
            stored = task.order[np.arange(B)[:, None], np.where(blank, 0, number - 1)[:, None] * n + np.arange(n)]
            pair = segments.Segment(*(field[stored] for field in self.human.segments))
            answer = annotators.answer_codes(self.human.labels[stored])
        else:
            assert self.annotator is not None
            key = keys.mix(task.key, number)[:, None]
            key = np.concatenate([key, keys.mix(key, -np.arange(1, n))], -1)  # apart from the draws made from the first
            draw = key[..., None]
            open_cells = task.start > 0
            nth = keys.integers(draw, open_cells.sum(-1)[:, None, None], np.arange(2))
            cells = (np.cumsum(open_cells, -1)[:, None, None] > nth[..., None]).argmax(-1)
            actions = keys.integers(draw, len(delivery.ACTIONS), np.arange(2, 2 + 2 * L)).reshape(B, n, 2, L)
            pair = segments.follow(task, cells, actions)
            if task.chance.shape[-1]:  # the segments show what came true
                at = (np.arange(B)[:, None, None, None], pair.states[..., :-1], pair.actions)
                luck = keys.uniform(draw, np.arange(3 + 2 * L, 3 + 4 * L)).reshape(B, n, 2, L)
                came = task.outcomes[(*at, outcomes.realise(task.chance[at], luck))]
                pair = pair._replace(features=np.where(pair.mask[..., None], came, 0.0))
            utility = self.annotator.statistic.utility(task, pair, self.discount)
            label = self.annotator.choice.label(utility[..., 1] - utility[..., 0], keys.uniform(key, 2 + 2 * L))
            answer = annotators.answer_codes(label)
        for field in pair:
            field[blank] = 0
        return pair, np.where(blank[:, None], annotators.CANNOT_TELL, answer)

    def query(self, task: Task, number: Array) -> tuple[segments.Segment, Array]:
        """Pair number `number` (B,) of every task, from 1, and its answer (B,); blank as in `pool`."""
        pair, answer = self.pool(task, number, 1)
        return segments.Segment(*(field[:, 0] for field in pair)), answer[:, 0]

    def answered(self, task: Task, state: Any) -> tuple[segments.Segment, Array]:
        """The pair (B, 2, ...) that a state shows, and its answer (B,)."""
        return self.query(task, state.num_queries)

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Score the estimate at evaluation points, then show the next pair."""
        scores = state.scores.copy()
        for j, point in enumerate(self.evaluation_points):
            rows = np.flatnonzero(state.num_queries == point)
            if rows.size:
                scores[rows, j] = self.score(take_rows(task, rows), action[rows])
        return State(np.minimum(state.num_queries + 1, self.evaluation_points[-1] + 1), scores)

    def score(self, task: Task, action: Array) -> Array:
        """Normalised mean return (B,) of the policies that estimates (B, d), or tables (B, S*A), stand for.

        Cut at -1.
        """
        mdp = tabular.TabularMDP(task.features, task.terminal, task.start, self.discount, next_state=task.next_state)
        estimate = action.astype(np.float64)
        if self.policy:
            table = estimate.reshape(task.next_state.shape)
            policy = tabular.greedy_policy(table, tabular.reward_scale(table))
        else:
            policy = tabular.optimal_policy(mdp, tabular.reward(mdp, estimate))
        returns = tabular.mean_return(mdp, tabular.evaluate(mdp, policy, tabular.reward(mdp, task.weights)))
        return np.maximum(tabular.between(returns, task.naive, task.best), -1.0)

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the mean score at the last evaluation point, 0 before."""
        return np.where(self.terminal(task, next_state) & ~self.terminal(task, state), next_state.scores.mean(-1), 0.0)

    def terminal(self, task: Task, state: State) -> Array:
        """Return True after the last evaluation point."""
        return state.num_queries > self.evaluation_points[-1]

    def observation(self, task: Task, state: State) -> dict[str, Array]:
        """The process, the last pair and its answer."""
        process = (task.next_state, task.features, task.terminal, task.start)
        is_evaluation_point = np.isin(state.num_queries, self.evaluation_points)
        return {
            "board": task.board.copy(),
            **queries.flat(process, self.discount, *self.answered(task, state), state.num_queries, is_evaluation_point),
        }

    def references(self, task: Task) -> tuple[float, float]:
        """Scores are normalised already."""
        return 0.0, 1.0

    def oracle_action(self, task: Task, state: State) -> Array:
        """The true weights, or the optimal advantages, scaled into the action space."""
        table = (
            (task.action_values - task.values[..., None]).reshape(len(task.key), -1) if self.policy else task.weights
        )
        return (table / np.abs(table).max(-1, keepdims=True)).astype(np.float32)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """The last pair side by side, with its answer."""
        board = task.board[0].reshape(self.shape)
        number = states[-1].num_queries
        pair, answer = self.answered(task, states[-1])
        cells = np.stack(np.unravel_index(pair.states[0], self.shape), -1)
        steps = pair.mask[0].sum(-1)
        first, second = ((cells[i, : steps[i] + 1], pair.actions[0, i, : steps[i]]) for i in range(2))
        caption = (
            f"pair {int(number[0])}: {('first preferred', 'second preferred', 'the same', 'no answer')[int(answer[0])]}"
        )
        board = maps.crop(board)
        if mode == "rgb_array":
            return delivery_art.pair(board, first, second, caption=caption)
        pictures = (
            delivery_art.ansi(board, path[-1], path, moves, name)
            for name, (path, moves) in (("first", first), ("second", second))
        )
        return "\n".join((*pictures, caption))
