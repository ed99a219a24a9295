"""The one core of all query environments: pairs, answers, evaluation points and the score.

A query environment shows one answered pair of segments per step. At its evaluation points the agent's action is scored
as an estimate of what the answers are about. What the tasks are, which pairs are compared and what an estimate is worth
is up to a `Source`, so that a new kind of task is one class:

- `tabular_query.TabularSource`: finite processes with linear rewards, of which `delivery_tasks` draws one kind;
- `probe_inference.ProbeSource`: the identifiability probes;
- `valuegym.envs.control.lqr_from_preferences.RegulatorSource`: linear regulators with quadratic costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from valuegym.envs import checks, keys
from valuegym.envs.functional import take_rows
from valuegym.envs.preference import annotators
from valuegym.envs.preference.segments import Array
from valuegym.envs.rendering import candidates as rendering

__all__ = [
    "ActiveState",
    "QueryCore",
    "Source",
    "State",
    "candidate_keys",
    "caption",
    "check_evaluation_points",
    "lay_flat",
]

LOWEST = -1.0  # scores are clipped to this from below
MOST_CANDIDATES, MOST_POINTS, MOST_PAIRS = 1000, 10_000, 10**9
SHOWN_CANDIDATES = 10  # in a picture


class State(NamedTuple):
    """Progress of an episode.

    Attributes:
        num_queries: (B,) answered pairs seen so far.
        scores: (B, R) at the evaluation points passed so far, 0 at the others.
    """

    num_queries: Array
    scores: Array


class ActiveState(NamedTuple):
    """Progress of an episode whose agent chooses the pairs.

    Attributes:
        num_queries, scores: as in `State`.
        query_index: (B,) which of the candidates was chosen for the last answered pair.
    """

    num_queries: Array
    scores: Array
    query_index: Array


class Source(Protocol):
    """Tasks with a hidden objective, pairs to compare in them, and what an estimate of the objective is worth.

    Methods are pure functions of arrays with one leading axis (B,), one row for each task; tasks and pairs are
    NamedTuples of such arrays, fresh at every call. Pairs are numbered from 1; n candidates for one number have the
    axes (B, n, 2, ...), of which the first candidate is the pair of a passive environment.

    Attributes:
        discount: of the objective.
        random: whether every episode has a task of its own.
        policy: whether estimates are tables of preferences over actions rather than reward weights; None if neither.
        available: how many stored answers there are; None if answers are computed and never run out.
        hashes: of the files that were read.
        action_space: of estimates.
        spaces: of what `observation` returns.
    """

    discount: float
    random: bool
    policy: bool | None
    available: int | None
    hashes: tuple[str, ...]
    action_space: gym.spaces.Box
    spaces: dict[str, gym.Space[Any]]

    def pair_spaces(self, name: str, n: int) -> dict[str, gym.Space[Any]]:
        """Return the spaces of n pairs that `flat` writes under a name."""

    def draw(self, key: keys.Key) -> Any:
        """Draw a task for each key (B,), with all that scoring needs."""

    def pool(self, task: Any, number: Array, n: int) -> tuple[Any, Array]:
        """Return n candidates (B, n, 2, ...) for pair `number` (B,), and their answers (B, n) as codes."""

    def observation(self, task: Any) -> dict[str, Array]:
        """Return the constant part of the observation of a task."""

    def flat(self, name: str, task: Any, pairs: Any) -> dict[str, Array]:
        """Return pairs (B, ..., 2, ...) as the agent sees them, flattened, under a name: (B, -1) each."""

    def score(self, task: Any, estimate: Array) -> Array:
        """Return the score (B,) of estimates: 0 for the naive reference, 1 for the oracle, at least -1."""

    def oracle(self, task: Any) -> Array:
        """Return a best estimate for each task, in the action space."""

    def render(self, mode: str, task: Any, pair: Any, number: int, answer: int) -> Any:
        """Draw an answered pair of one task (B = 1)."""


class QueryCore:
    """Base of the query environments, and one itself: `QueryCore(source, evaluation_points)`.

    With `candidates` the environment is active: actions end with one number for each candidate, and the candidate with
    the highest is answered next.

    Raises:
        ValueError: evaluation points that do not increase, candidates outside 1 .. 1,000, or more than stored answers.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}
    tolerance = 1e-9  # scores come from linear solves, which differ between processors in the last digits
    checkpoint = 250  # a record holds every 250th state

    def __init__(self, source: Source, evaluation_points: Sequence[int], candidates: int | None = None) -> None:
        if candidates is not None:
            candidates = checks.integer("candidates", candidates, 1, MOST_CANDIDATES)
        points = check_evaluation_points(evaluation_points)
        self.source, self.active, self.candidates = source, candidates is not None, candidates or 1
        if source.available is not None:
            last = source.available // self.candidates
            if not last:
                raise checks.refusal("candidates", candidates, f"at most the {source.available} stored answers")
            points = (*(point for point in points if point < last), *((last,) if points[-1] >= last else ()))
        self.evaluation_points = points
        self.discount, self.random, self.policy, self.hashes = (
            source.discount, source.random, source.policy, source.hashes
        )  # fmt: skip
        self.observation_space = gym.spaces.Dict(
            {
                **source.spaces,
                **source.pair_spaces("segment", 1),
                "label": gym.spaces.Discrete(4),
                "num_queries": gym.spaces.Box(0, points[-1] + 1, (1,), np.int64),
                "is_evaluation_point": gym.spaces.Discrete(2),
                **(source.pair_spaces("candidate", self.candidates) if self.active else {}),
            }
        )
        size = source.action_space.shape[0] + (self.candidates if self.active else 0)
        self.action_space = gym.spaces.Box(-1, 1, (size,), np.float32)

    def initial(self, key: keys.Key) -> tuple[Any, Any]:
        """Draw tasks, before any pair."""
        none = np.zeros(len(key), np.int64)
        scores = np.zeros((len(key), len(self.evaluation_points)))
        state = ActiveState(none, scores, none.copy()) if self.active else State(none, scores)
        return self.source.draw(key), state

    def pool(self, task: Any, number: Array, n: int) -> tuple[Any, Array]:
        """Return n candidates (B, n, 2, ...) for pair `number` (B,), counted from 1, and their answers (B, n).

        Number 0 is blank (zeros, no answer), and so are numbers past the last evaluation point.
        """
        last = self.evaluation_points[-1]
        pairs, answers = self.source.pool(task, np.clip(number, 1, max(last, 1)), n)
        blank = (number < 1) | (number > last)
        for field in pairs:
            field[blank] = 0
        return pairs, np.where(blank[:, None], annotators.CANNOT_TELL, answers)

    def query(self, task: Any, number: Array) -> tuple[Any, Array]:
        """Return pair `number` (B,) of each task, (B, 2, ...), and its answer (B,); blank as in `pool`."""
        return _choose(*self.pool(task, number, 1), 0)

    def answered(self, task: Any, state: Any) -> tuple[Any, Array]:
        """Return the last answered pair (B, 2, ...) of each task, and its answer (B,)."""
        pool = self.pool(task, state.num_queries, self.candidates)
        return _choose(*pool, state.query_index if self.active else 0)

    def score(self, task: Any, estimate: Array) -> Array:
        """Return the score (B,) of estimates (B, ...)."""
        return self.source.score(task, estimate)

    def transition(self, task: Any, state: Any, action: Array, key: keys.Key, t: Array) -> Any:
        """Score the estimate at evaluation points, then show the next pair or the one that was chosen."""
        size = self.source.action_space.shape[0]
        scores = state.scores.copy()
        for j, point in enumerate(self.evaluation_points):
            rows = np.flatnonzero(state.num_queries == point)
            if rows.size:
                scores[rows, j] = self.score(take_rows(task, rows), action[rows, :size])
        number = np.minimum(state.num_queries + 1, self.evaluation_points[-1] + 1)
        if not self.active:
            return State(number, scores)
        chosen = action[:, size:].argmax(-1)
        return ActiveState(number, scores, np.where(self.terminal(task, state), state.query_index, chosen))

    def reward(self, task: Any, state: Any, action: Array, next_state: Any) -> Array:
        """Return the mean score at the last evaluation point, 0 before: rewards give no feedback."""
        return np.where(self.terminal(task, next_state) & ~self.terminal(task, state), next_state.scores.mean(-1), 0.0)

    def terminal(self, task: Any, state: Any) -> Array:
        """Return True after the last evaluation point."""
        return state.num_queries > self.evaluation_points[-1]

    def observation(self, task: Any, state: Any) -> dict[str, Array]:
        """Return the observation of the task, the last pair with its answer, and the candidates for the next."""
        pair, answer = self.answered(task, state)
        seen = {
            **self.source.observation(task),
            **self.source.flat("segment", task, pair),
            "label": answer,
            "num_queries": state.num_queries[:, None].copy(),
            "is_evaluation_point": np.isin(state.num_queries, self.evaluation_points).astype(np.int64),
        }
        if self.active:
            candidates, _ = self.pool(task, state.num_queries + 1, self.candidates)
            seen |= self.source.flat("candidate", task, candidates)
        return seen

    def references(self, task: Any) -> tuple[float, float]:
        """Return 0 and 1: scores are normalised already."""
        return 0.0, 1.0

    def oracle_action(self, task: Any, state: Any) -> Array:
        """Return a best estimate, and the first candidate."""
        estimate = self.source.oracle(task)
        if not self.active:
            return estimate
        return np.concatenate([estimate, np.zeros((len(estimate), self.candidates), np.float32)], -1)

    def render(self, mode: str, task: Any, states: Sequence[Any], actions: Sequence[Array]) -> Any:
        """Draw the last pair with its answer, and the candidates for the next where the agent chooses."""
        (pair, answer), number = self.answered(task, states[-1]), int(states[-1].num_queries[0])
        picture = self.source.render(mode, task, pair, number, int(answer[0]))
        draw = getattr(self.source, "render_pairs", None)
        if not self.active or draw is None:
            return picture
        shown = min(self.candidates, SHOWN_CANDIDATES)
        pool, _ = self.pool(task, states[-1].num_queries + 1, self.candidates)
        drawn = draw(mode, task, type(pool)(*(field[0, :shown] for field in pool)))
        over = number >= self.evaluation_points[-1]
        some = f" (here {shown})" if shown < self.candidates else ""
        words = f"next, choose one of {self.candidates} candidates{some}"
        if mode == "ansi":
            heading = "no pair follows" if over else words
            return "\n".join((picture, heading, *(f"{i:4d}  {line}" for i, line in enumerate(drawn) if not over)))
        return picture if drawn is None else rendering.beside(picture, drawn, shown, words, empty=over)


def caption(number: int, answer: int) -> str:
    """Return what a picture says of a pair and its answer."""
    if number == 0:
        return "before the first pair"
    words = ("the first is preferred", "the second is preferred", "both are the same", "no answer")
    return f"pair {number}: {words[answer]}"


def _choose(pairs: Any, answers: Array, index: Array | int) -> tuple[Any, Array]:
    """Return one candidate of each row, (B, 2, ...), and its answer (B,)."""
    chosen = (np.arange(len(answers)), index)
    return type(pairs)(*(field[chosen] for field in pairs)), answers[chosen]


def candidate_keys(key: keys.Key, number: Array, n: int) -> keys.Key:
    """Return a key (B, n) for each candidate for pair `number` (B,); the first does not depend on n."""
    first = keys.mix(key, number)[:, None]
    return np.concatenate([first, keys.mix(first, -np.arange(1, n))], -1)  # apart from the draws made from the first


def lay_flat(name: str, pairs: Any, types: dict[str, Any]) -> dict[str, Array]:
    """Return the fields of pairs (B, ...), flattened, as `name_field`; types of the fields in their order."""
    fields = zip(types.items(), pairs, strict=True)
    return {f"{name}_{field}": value.reshape(len(value), -1).astype(type) for (field, type), value in fields}


def check_evaluation_points(evaluation_points: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of answered pairs after which estimates are scored.

    Raises:
        ValueError: they are not 1 to 10,000 integers that increase from 0 or above, up to 10**9 at most.
    """
    expected = f"at least one and at most {MOST_POINTS} integers, increasing, from 0 to {MOST_PAIRS}"
    given: Any = evaluation_points
    if isinstance(given, np.ndarray):
        given = given.tolist()
    listed = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if not listed or not 1 <= len(given) <= MOST_POINTS:
        raise checks.refusal("evaluation_points", evaluation_points, expected)
    points = tuple(checks.integer(f"evaluation_points[{i}]", n, 0, MOST_PAIRS) for i, n in enumerate(given))
    if list(points) != sorted(set(points)):
        raise checks.refusal("evaluation_points", evaluation_points, expected)
    return points
