"""The identifiability probes as a query environment: which of the paired tasks is it, and what should be done there?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import drawing, keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, delivery_art, probes, queries
from valuegym.envs.preference.queries import State
from valuegym.envs.preference.segments import Segment

Array = npt.NDArray[Any]


class Task(NamedTuple):
    """key (B,) of the episode, and which of the paired tasks (B,) it is, 0 or 1."""

    key: Array
    paired_task: Array


class ProbeInference:
    """Learn from preferences what to do in one of two tasks that partial return cannot tell apart.

    ## Description
    Every episode is one of the two paired tasks of a probe, with equal chances. They share all that is observed, and no
    policy is optimal in both. Where the annotator compares partial returns, an episode's observations would have been
    the same in the other task (for the lottery: without noise), so that no learner whatever is right in both; where it
    compares regrets, the answers tell (Knox et al. 2024).

    ## Observation
    A flat Dict as in `RewardInference-v0` without `board`; `features` are expected ones, segments hold what came true.
    `discount` is 0, hidden, where it is what the paired tasks differ in. Pairs are drawn evenly from random play.

    ## Action
    `action="policy"`: Box(-1, 1, (S*A,)), a table of preferences over actions, used greedily. `"weights"`: Box(-1, 1,
    (d,)), the estimated reward weights, where the discount is known. Only actions at evaluation points count.

    ## Reward
    0 until the end, then the mean score over all evaluation points.

    ## Episode end
    Terminates with the action at the last evaluation point.

    ## Arguments
    `probe`: "lottery", "variable-horizon" or "single-step". `annotator`: "regret", "partial-return", or the same with
    "-noiseless". `evaluation_points`: after how many pairs the estimate is scored. `action`: as above.

    ## Oracle and naive scores
    An estimate is scored by the mean return of its policy in the task at hand (near-ties within 1e-6 of the scale
    share): 0 for uniformly random actions, 1 for an optimal policy, both exact; cut at -1.

    ## Source
    The three contexts in which Knox et al. (2024), TMLR, show partial return not to be identifiable.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}
    discount = 1.0  # of the scores; that of the tasks is the probe's
    tolerance = 1e-9

    def __init__(
        self,
        probe: str = "lottery",
        annotator: str = "regret-noiseless",
        evaluation_points: Sequence[int] = (10, 100),
        action: str = "policy",
    ) -> None:
        self.probe, self.annotator = probes.by_name(probe), annotators.by_name(annotator)
        hidden = len(set(self.probe.discounts)) > 1
        if action not in (known := ("policy",) if hidden else ("policy", "weights")):
            raise ValueError(f"action = {action!r}; expected {' or '.join(map(repr, known))}.")
        self.evaluation_points = queries.check_evaluation_points(evaluation_points)
        self.policy = action == "policy"
        self.segments, self.chance = self.probe.segments()
        self.mdps = [self.probe.process(index) for index in range(2)]
        self.rewards = [tabular.reward(mdp, w[None]) for mdp, w in zip(self.mdps, self.probe.weights, strict=True)]
        solved = [self.probe.solved(index) for index in range(2)]
        self.utility = np.concatenate(
            [
                self.annotator.statistic.utility(reward, self.segments, mdp.discount)
                for reward, mdp in zip(solved, self.mdps, strict=True)
            ]
        )
        self.tables = np.concatenate([tabular.advantages(s.values, s.action_values) for s in solved])
        mdp = self.mdps[0]
        assert mdp.next_state is not None  # luck decides what is earned, not where it leads
        self._process = (mdp.next_state, mdp.features, mdp.terminal, mdp.start)
        self._discount = 0.0 if hidden else mdp.discount
        S, A, d = shape = mdp.features.shape[1:]
        self.observation_space = gym.spaces.Dict(queries.spaces(shape, self.probe.length, self.evaluation_points[-1]))
        self.action_space = gym.spaces.Box(-1, 1, (S * A if self.policy else d,), np.float32)

    def initial(self, key: keys.Key) -> tuple[Task, State]:
        """Draw one of the paired tasks."""
        index = keys.integers(key, 2, keys.RESET, 0)
        return Task(key.copy(), index), State(np.zeros_like(index), np.zeros((len(key), len(self.evaluation_points))))

    def query(self, task: Task, number: Array) -> tuple[Segment, Array]:
        """Pair number `number` (B,), from 1, and its answer (B,); blank before the first and after the last."""
        key = keys.mix(task.key, number)
        nth = keys.choice(keys.mix(key[:, None], np.arange(2)), self.chance)
        pair = Segment(*(field[0, nth] for field in self.segments))
        utility = self.utility[task.paired_task[:, None], nth]
        label = self.annotator.choice.label(utility[:, 1] - utility[:, 0], keys.uniform(key, 2))
        blank = (number < 1) | (number > self.evaluation_points[-1])
        for field in pair:
            field[blank] = 0
        return pair, np.where(blank, annotators.CANNOT_TELL, annotators.answer_codes(label))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Score the estimate at evaluation points, then show the next pair."""
        is_evaluation_point = state.num_queries[:, None] == np.array(self.evaluation_points)
        scores = (
            np.where(is_evaluation_point, self.score(task, action)[:, None], state.scores)
            if is_evaluation_point.any()
            else state.scores.copy()
        )
        return State(np.minimum(state.num_queries + 1, self.evaluation_points[-1] + 1), scores)

    def score(self, task: Task, action: Array) -> Array:
        """Normalised mean return (B,) of policies given as tables (B, S*A), or as weights (B, d); cut at -1."""
        scores = np.zeros(len(action))
        for index, (mdp, reward) in enumerate(zip(self.mdps, self.rewards, strict=True)):
            rows = np.flatnonzero(task.paired_task == index)
            estimate = action[rows].astype(np.float64)
            if self.policy:
                table = estimate.reshape(len(rows), *reward.shape)
                policy = tabular.greedy_policy(table, tabular.reward_scale(table))
            else:
                policy = tabular.optimal_policy(mdp, tabular.reward(mdp, estimate[:, None]))
            true = np.broadcast_to(reward, (len(rows), *reward.shape))
            scores[rows] = tabular.normalised_return(mdp, true, policy)[:, 0]
        return np.maximum(scores, -1.0)

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the mean score at the last evaluation point, 0 before."""
        return np.where(self.terminal(task, next_state) & ~self.terminal(task, state), next_state.scores.mean(-1), 0.0)

    def terminal(self, task: Task, state: State) -> Array:
        """Return True after the last evaluation point."""
        return state.num_queries > self.evaluation_points[-1]

    def observation(self, task: Task, state: State) -> dict[str, Array]:
        """The process, the last pair and its answer."""
        next_state, features, terminal, start = (np.repeat(field, len(task.paired_task), 0) for field in self._process)
        is_evaluation_point = np.isin(state.num_queries, self.evaluation_points)
        answered = self.query(task, state.num_queries)
        return queries.flat(
            (next_state, features, terminal, start), self._discount, *answered, state.num_queries, is_evaluation_point
        )

    def references(self, task: Task) -> tuple[float, float]:
        """Scores are normalised already."""
        return 0.0, 1.0

    def oracle_action(self, task: Task, state: State) -> Array:
        """The optimal advantages, or the true weights, scaled into the action space."""
        table = (self.tables.reshape(2, -1) if self.policy else self.probe.weights)[task.paired_task]
        return (table / np.abs(table).max(-1, keepdims=True)).astype(np.float32)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """The last pair, one segment above the other, with its answer."""
        number = states[-1].num_queries
        pair, answer = self.query(task, number)
        said = ("first preferred", "second preferred", "the same", "no answer")[int(answer[0])]
        caption = f"pair {int(number[0])}: {said}"
        paths = [self._path(Segment(*(field[0, i] for field in pair))) for i in range(2)]
        if mode == "rgb_array":
            return _picture(paths, self.probe.length, caption)
        lines = [
            f"{name:>6}: "
            + " ".join(f"({s}) --{action}, {earned}-->" for s, action, earned in path[:-1])
            + f" ({path[-1][0]})"
            for name, path in zip(("first", "second"), paths, strict=True)
        ]
        return "\n".join((*lines, caption))

    def _path(self, segment: Segment) -> list[tuple[int, str, str]]:
        """State, action and features earned of every step, and the last state."""
        steps = []
        for t in range(int(segment.mask.sum())):
            earned = [name for name, x in zip(self.probe.features, segment.features[t], strict=True) if x]
            steps.append(
                (int(segment.states[t]), self.probe.actions[segment.actions[t]], "+".join(earned) or "nothing")
            )
        return [*steps, (int(segment.states[len(steps)]), "", "")]


def _picture(paths: list[list[tuple[int, str, str]]], length: int, caption: str) -> npt.NDArray[np.uint8]:
    """Two rows of states joined by arrows, which carry the action above and what was earned below."""
    step, row, left = 190, 120, 110
    pixels = drawing.blank(2 * row + 70, left + length * step + 84, delivery_art.PAGE)
    pen = drawing.Canvas(pixels)
    for i, (name, path) in enumerate(zip(("first", "second"), paths, strict=True)):
        y = 70.0 + i * row
        pen.paint(drawing.rectangle(12, y - 48, pixels.shape[1] - 12, y + 48, 10), delivery_art.ROAD)
        pen.text((28, y), name, 11, delivery_art.WHITE)
        for j, (state, action, earned) in enumerate(path):
            x = left + 30.0 + j * step
            pen.paint(drawing.circle((x, y), 24), delivery_art.SLATE, outline=delivery_art.WHITE, width=3)
            pen.text((x, y), str(state), 15, delivery_art.WHITE, anchor="center", weight=1.3)
            if action:
                fill = delivery_art.ARROWS[j % len(delivery_art.ARROWS)][0]
                pen.paint(drawing.arrow([(x + 32, y), (x + step - 32, y)], 7, 20), fill, outline="#ffffff", width=2)
                pen.text((x + step / 2, y - 24), action, 10, delivery_art.WHITE, anchor="center")
                pen.text((x + step / 2, y + 26), earned, 10, delivery_art.GOLD, anchor="center")
    pen.text((18, pixels.shape[0] - 24), caption, 10, delivery_art.INK)
    return pixels
