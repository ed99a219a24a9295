"""Rows of the annotator matrix: who answers, about segments that all of them see alike.

Answers of one board are about the same pairs, asked of the same ten users in turn, and drawn with the same random
numbers. Eight of the users are alike; in three rows the other two, the minority, want something else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from studies.harness import Array
from studies.preference import tasks
from valuegym.agents.preference.values import condense
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.feedback import utilities
from valuegym.envs.feedback.annotators import (
    Annotator,
    Boltzmann,
    Drifting,
    Implicit,
    Mistake,
    Mixture,
    Noiseless,
    Thurstone,
    as_annotator,
    bpref,
    ideal_points,
    risky,
)
from valuegym.envs.feedback.answers import Answers
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import models
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.segments import Segment
from valuegym.envs.preference.tabular_query import sides

USERS, MINORITY = 10, 2  # who answer in turn; those that want something else, where there are two kinds
ROUNDS = 10  # in which opinions drift
LENGTH = 3  # steps of a segment
HELD_OUT = 300  # pairs about which predictions are scored
SMALL = 0.1  # temperature of annotators that compare means of features, which are at most 1
PEOPLE = (0.30, 0.16, 0.28)  # the three weights in log-odds per unit of reward, fitted to people
BOARDS = {"random": "partial-return", "risky": "expected-value"}  # kinds of boards, and the row to compare with


class Board(NamedTuple):
    """One board, its pairs, and what annotators see of them."""

    task: tasks.Task
    other: Array  # (d,) weights of the minority: the most and the least valued feature change places
    pairs: Segment  # (n + HELD_OUT, 2, ...); the last ones are held out
    first: Segments
    second: Segments

    def users(self, minority: Any, majority: Any) -> list[Any]:
        """Return one of each user: the minority are the last."""
        return [majority] * (USERS - MINORITY) + [minority] * MINORITY


@dataclass(frozen=True, eq=False)
class Earned:
    """The discounted return of segments under weights (d,) of one's own."""

    weights: Array
    discount: float

    def __call__(self, segments: Segments) -> Array:
        """Return the returns (N,)."""
        return models.partial_return(segments.info["features"], self.weights, self.discount)


@dataclass(frozen=True)
class ThreeWeights:
    """Weighted sum of what was earned, and of the values of start and end, with weights fitted to people."""

    discount: float

    def __call__(self, segments: Segments) -> Array:
        """Return the weighted sums (N,)."""
        values = segments.info["values"]
        end = self.discount**segments.steps * values[:, -1]
        earned = utilities.PartialReturn(self.discount)(segments)
        return np.asarray(models.three_weights(earned, values[:, 0], end, PEOPLE))


def _always_first(first: Segments, second: Segments) -> Answers:
    return Answers(np.zeros(len(first)), np.zeros(len(first)))


def _coin(first: Segments, second: Segments, rng: np.random.Generator) -> Answers:
    return Answers(1.0 * (rng.random(len(first)) < 0.5), np.full(len(first), 0.5))


def _points(board: Board) -> Array:
    """Return ideal points of all users: unit vectors in the direction of their weights."""
    return np.array([w / np.linalg.norm(w) for w in board.users(board.other, board.task.weights)])


def _implicit(board: Board, delay: int) -> Implicit:
    """Return signs of dissatisfaction with what earns less than most: thresholds are the median of the segments."""
    earned = utilities.PartialReturn(board.task.mdp.discount)
    threshold = float(np.median(np.concatenate([earned(board.first), earned(board.second)])))
    return Implicit(threshold, rate=0.8, mistake=0.1, delay=delay, utility=earned)


def _discounted(utility: Any, **options: Any) -> Callable[[Board], Annotator]:
    return lambda board: Annotator(utility(discount=board.task.mdp.discount), **options)


def _two_kinds(board: Board) -> Mixture:
    kinds = (Annotator(Earned(w, board.task.mdp.discount)) for w in (board.other, board.task.weights))
    return Mixture(board.users(*kinds))


def _cyclic(board: Board) -> Annotator:
    """Return a disc game in two directions of the mean features, which have nothing to do with the reward."""
    both = np.concatenate([utilities.features_of(part, "features") for part in (board.first, board.second)])
    projection = np.random.default_rng(0).standard_normal((both.shape[1], 2))
    centre, spread = (both @ projection).mean(0), (both @ projection).std(0)

    def plane(segments: Segments) -> Array:
        return (utilities.features_of(segments, "features") @ projection - centre) / spread

    return Annotator(utilities.Cyclic(plane), choice=Boltzmann(SMALL))


def _drifting(board: Board) -> Drifting:
    return Drifting(_points(board), bound=10.0, rate=0.2, features="features", temperature=SMALL)


class Row(NamedTuple):
    """An annotator: the name on pages, how it is made for a board, and what is particular about it."""

    label: str
    make: Callable[[Board], Any]
    group: str
    kinds: bool = False  # whether there are two kinds of users
    strengths: bool = True  # whether it gives strengths of preferences
    board: str = "random"


RETURN, REGRET = utilities.PartialReturn, utilities.Regret
ROWS: dict[str, Row] = {
    "partial-return": Row("partial return", _discounted(RETURN), "returns"),
    "thurstone": Row("partial return, Thurstone", _discounted(RETURN, choice=Thurstone(2**0.5)), "returns"),
    "perceived": Row("partial return, perceived", _discounted(RETURN, perception=utilities.Perceived()), "returns"),
    "oracle": Row("B-Pref oracle", lambda board: bpref("oracle"), "returns", strengths=False),
    "stochastic": Row("B-Pref stochastic", lambda board: bpref("stochastic"), "returns"),
    "mistake": Row("B-Pref mistake", lambda board: bpref("mistake"), "returns", strengths=False),
    "skip": Row("B-Pref skip", lambda board: bpref("skip", adaptive=False), "returns", strengths=False),
    "equal": Row("B-Pref equal", lambda board: bpref("equal", equal=1.5, adaptive=False), "returns", strengths=False),
    "myopic": Row("B-Pref myopic", lambda board: bpref("myopic"), "returns", strengths=False),
    "implicit": Row("implicit", lambda board: _implicit(board, 0), "returns", strengths=False),
    "late": Row("implicit, one query late", lambda board: _implicit(board, 1), "returns", strengths=False),
    "regret": Row("regret", _discounted(lambda discount: REGRET(None, discount)), "values"),
    "regret-noiseless": Row(
        "regret, noiseless",
        _discounted(lambda discount: REGRET(None, discount), choice=Noiseless()),
        "values",
        strengths=False,
    ),
    "regret-mistake": Row(
        "regret, 10% mistakes", _discounted(lambda discount: REGRET(None, discount), noise=(Mistake(),)), "values"
    ),
    "end-state": Row("end state", lambda board: Annotator(utilities.EndState()), "values"),
    "three-weights": Row("three weights of people", _discounted(ThreeWeights), "values"),
    "two-kinds": Row("two kinds of users", _two_kinds, "others", kinds=True),
    "ideal-points": Row(
        "ideal points",
        lambda board: ideal_points(_points(board), features="features", temperature=SMALL),
        "others",
        kinds=True,
    ),
    "drifting": Row("ideal points, drifting", _drifting, "others", kinds=True),
    "cyclic": Row("cyclic", _cyclic, "others"),
    "expected-value": Row("expected value", lambda board: risky("expected-value"), "risky", board="risky"),
    "prospect": Row("prospect theory", lambda board: risky("prospect"), "risky", board="risky"),
    "first": Row("always the first", lambda board: as_annotator(_always_first), "control", strengths=False),
    "coin": Row("coin", lambda board: as_annotator(_coin), "control", strengths=False),
}


def _risky_task(unit: int) -> tuple[tasks.Task, Array, Array]:
    """Return a task with expected features, and the chances (S, A, K) and features (S, A, K, d) of its outcomes."""
    core = RewardInference(board="risky", evaluation_points=(1,))
    drawn, _ = core.initial(keys.mix(0, np.array([unit])))
    process = tabular.TabularMDP(
        drawn.features, drawn.terminal, drawn.start, core.discount, next_state=drawn.next_state
    )
    kept = np.unique(condense(process).state, return_index=True)[1]
    return tasks.make_task(process, drawn.weights[0]), drawn.chance[0, kept], drawn.outcomes[0, kept]


def _gambles(chance: Array, earned: Array) -> dict[str, Array]:
    """Return the columns of gambles (N, K**L) from the chances and rewards (N, L, K) of independent steps."""
    outcomes, chances = np.zeros((len(chance), 1)), np.ones((len(chance), 1))
    for t in range(chance.shape[1]):
        outcomes = (outcomes[:, :, None] + earned[:, t, None]).reshape(len(chance), -1)
        chances = (chances[:, :, None] * chance[:, t, None]).reshape(len(chance), -1)
    return {"outcomes": outcomes, "chances": chances}


@lru_cache(maxsize=4)
def board(unit: int, n: int, kind: str = "random") -> Board:
    """Return board number `unit` with n pairs to learn from and HELD_OUT to predict."""
    if kind == "risky":
        task, chance, outcomes = _risky_task(unit)
    else:
        task = tasks.random_task(unit)
    pairs = tasks.draw_pairs(task, n + HELD_OUT, LENGTH, np.random.default_rng([unit, 0]))
    count, discount = len(pairs.actions), task.mdp.discount
    solved = models.solve(task.mdp, task.weights[None])
    as_one = Segment(*(field[None] for field in pairs))
    both = sides(solved, task.mdp.terminal, as_one, as_one.features @ task.weights, np.array([discount]))
    place = np.minimum(np.arange(count), n - 1)  # held-out pairs are answered in the last round
    columns = {"user": np.arange(count) % USERS, "round": place * ROUNDS // n}
    parts = [part.with_info(**columns) for part in both(np.arange(count))]
    if kind == "risky":
        for side, part in enumerate(parts):
            at, run = (pairs.states[:, side, :-1], pairs.actions[:, side]), pairs.mask[:, side, :, None]
            earned = np.where(run, outcomes[at] @ task.weights, 0.0)
            parts[side] = part.with_info(**_gambles(chance[at], earned))
    other = task.weights.copy()
    ends = [int(other.argmin()), int(other.argmax())]
    other[ends] = other[ends[::-1]]
    return Board(task, other, pairs, *parts)


def answers(name: str, board: Board, unit: int) -> Answers:
    """Return the answers of one annotator about all pairs of a board, with random numbers that all annotators share."""
    return ROWS[name].make(board)(board.first, board.second, np.random.default_rng([unit, 1]))
