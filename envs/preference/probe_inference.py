"""The identifiability probes as a query environment: which of the twins is it, and what should be done there?"""

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
    """key (B,) of the episode, and which twin (B,) it is, 0 or 1."""

    key: Array
    twin: Array


class ProbeInference:
    """Learn from preferences what to do in one of two tasks that partial return cannot tell apart.

    ## Description
    Every episode is one of the twins of a probe, by the toss of a coin. They share all that is shown, and no policy is
    optimal in both. Where the annotator compares partial returns, the observations of an episode would have been the
    same in the other twin (for the lottery: without noise), so that no learner whatever is right in both; where it
    compares regrets, the answers tell (Knox et al. 2024).

    ## Observation
    A flat Dict as in `RewardInference-v0` without `board`; `features` are expected ones, segments hold what came true.
    `discount` is 0, hidden, where it is what the twins differ in. Pairs are drawn evenly from random play.

    ## Action
    `action="policy"`: Box(-1, 1, (S*A,)), a table of preferences over actions, used greedily. `"weights"`: Box(-1, 1,
    (d,)), the estimated reward weights, where the discount is known. Only actions that answer a report count.

    ## Reward
    0 until the end, then the mean score over all reports.

    ## Episode end
    Terminates with the action that answers the last report.

    ## Arguments
    `probe`: "lottery", "variable-horizon" or "single-step". `annotator`: "regret", "partial-return", or the same with
    "-noiseless". `reports`: after how many pairs the estimate is scored. `action`: as above.

    ## Oracle and naive scores
    A report is scored by the mean return of its policy in the twin at hand (near-ties within 1e-6 of the scale share):
    0 for uniformly random actions, 1 for an optimal policy, both exact; cut at -1.

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
        reports: Sequence[int] = (10, 100),
        action: str = "policy",
    ) -> None:
        self.probe, self.annotator = probes.by_name(probe), annotators.by_name(annotator)
        hidden = len(set(self.probe.discounts)) > 1
        if action not in (known := ("policy",) if hidden else ("policy", "weights")):
            raise ValueError(f"action = {action!r}; expected {' or '.join(map(repr, known))}.")
        self.reports = queries.check_reports(reports)
        self.policy = action == "policy"
        self.segments, self.chance = self.probe.segments()
        self.mdps = [self.probe.process(twin) for twin in range(2)]
        self.rewards = [tabular.reward(mdp, w[None]) for mdp, w in zip(self.mdps, self.probe.weights, strict=True)]
        solved = [self.probe.solved(twin) for twin in range(2)]
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
        self.observation_space = gym.spaces.Dict(queries.spaces(shape, self.probe.length, self.reports[-1]))
        self.action_space = gym.spaces.Box(-1, 1, (S * A if self.policy else d,), np.float32)

    def initial(self, key: keys.Key) -> tuple[Task, State]:
        """One of the twins."""
        twin = keys.integers(key, 2, keys.RESET, 0)
        return Task(key.copy(), twin), State(np.zeros_like(twin), np.zeros((len(key), len(self.reports))))

    def query(self, task: Task, shown: Array) -> tuple[Segment, Array]:
        """Pair number `shown` (B,), from 1, and its answer (B,); blank before the first and after the last."""
        key = keys.mix(task.key, shown)
        nth = keys.choice(keys.mix(key[:, None], np.arange(2)), self.chance)
        pair = Segment(*(field[0, nth] for field in self.segments))
        utility = self.utility[task.twin[:, None], nth]
        label = self.annotator.choice.label(utility[:, 1] - utility[:, 0], keys.uniform(key, 2))
        blank = (shown < 1) | (shown > self.reports[-1])
        for field in pair:
            field[blank] = 0
        return pair, np.where(blank, annotators.CANNOT_TELL, annotators.answer_codes(label))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Score the estimate where it answers a report, then show the next pair."""
        due = state.shown[:, None] == np.array(self.reports)
        scores = np.where(due, self.score(task, action)[:, None], state.scores) if due.any() else state.scores.copy()
        return State(np.minimum(state.shown + 1, self.reports[-1] + 1), scores)

    def score(self, task: Task, action: Array) -> Array:
        """Normalised mean return (B,) of policies given as tables (B, S*A), or as weights (B, d); cut at -1."""
        scores = np.zeros(len(action))
        for twin, (mdp, reward) in enumerate(zip(self.mdps, self.rewards, strict=True)):
            rows = np.flatnonzero(task.twin == twin)
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
        """The mean score, with the last report."""
        return np.where(self.terminal(task, next_state) & ~self.terminal(task, state), next_state.scores.mean(-1), 0.0)

    def terminal(self, task: Task, state: State) -> Array:
        """After the last report."""
        return state.shown > self.reports[-1]

    def observation(self, task: Task, state: State) -> dict[str, Array]:
        """The process, the last pair and its answer."""
        next_state, features, terminal, start = (np.repeat(field, len(task.twin), 0) for field in self._process)
        due = np.isin(state.shown, self.reports)
        answered = self.query(task, state.shown)
        return queries.flat((next_state, features, terminal, start), self._discount, *answered, state.shown, due)

    def references(self, task: Task) -> tuple[float, float]:
        """Scores are normalised already."""
        return 0.0, 1.0

    def oracle_action(self, task: Task, state: State) -> Array:
        """The optimal advantages, or the true weights, scaled into the action space."""
        table = (self.tables.reshape(2, -1) if self.policy else self.probe.weights)[task.twin]
        return (table / np.abs(table).max(-1, keepdims=True)).astype(np.float32)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """The last pair, one segment above the other, with its answer."""
        shown = states[-1].shown
        pair, answer = self.query(task, shown)
        said = ("first preferred", "second preferred", "the same", "no answer")[int(answer[0])]
        caption = f"pair {int(shown[0])}: {said}"
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
