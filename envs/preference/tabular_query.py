"""Queries about finite processes with linear rewards: what is observed of them, how to read it, and their source.

Observations are flat dictionaries of flat Boxes; `read` restores the shapes of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from valuegym.envs import checks, keys
from valuegym.envs import mdp as tabular
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import annotators, outcomes, query, segments
from valuegym.envs.preference.human_data import HumanPreferences
from valuegym.envs.preference.own_annotators import OwnAnnotator
from valuegym.envs.preference.query import LOWEST
from valuegym.envs.preference.segments import Array, Segment

__all__ = [
    "Drawn",
    "Query",
    "Solved",
    "TabularSource",
    "Task",
    "Tasks",
    "flat_process",
    "flat_segments",
    "policy_of",
    "process_spaces",
    "read",
    "read_candidates",
    "segment_spaces",
    "sides",
    "unit_scale",
]

# --- observations ---


class Query(NamedTuple):
    """One observation with its shapes restored: what `read` returns.

    S states, A actions, d features, L steps: next_states (S, A), features (S, A, d), terminals (S,) bool, start
    (S,), discount float; the pair as a Segment with leading axis 2; answer FIRST, SECOND, SAME or CANNOT_TELL;
    num_queries so far; is_evaluation_point bool.
    """

    next_states: Array
    features: Array
    terminals: Array
    start: Array
    discount: float
    pair: Segment
    answer: int
    num_queries: int
    is_evaluation_point: bool

    def mdp(self) -> tabular.TabularMDP:
        """Return the known dynamics, as a process without rewards."""
        return tabular.TabularMDP(
            self.features[None].astype(np.float64),
            self.terminals[None],
            self.start[None],
            self.discount,
            next_state=self.next_states[None],
        )


def read(observation: dict[str, Array]) -> Query:
    """Restore the shapes of one flat observation; they follow from the lengths alone."""
    S = observation["terminals"].size
    A = observation["next_states"].size // S
    d = observation["features"].size // (S * A)
    return Query(
        observation["next_states"].reshape(S, A),
        observation["features"].reshape(S, A, d),
        observation["terminals"].astype(np.bool_),
        observation["start"],
        float(observation["discount"][0]),
        _read_segments(observation, "segment", (2,), d),
        int(observation["label"]),
        int(observation["num_queries"][0]),
        bool(observation["is_evaluation_point"]),
    )


def read_candidates(observation: dict[str, Array]) -> Segment:
    """Return the candidates (K, 2, ...) of one flat observation of an active environment; `read` restores the rest."""
    L, d = read(observation).pair.features.shape[1:]
    return _read_segments(observation, "candidate", (observation["candidate_mask"].size // (2 * L), 2), d)


def _read_segments(observation: dict[str, Array], name: str, lead: tuple[int, ...], d: int) -> Segment:
    """Return the segments (*lead, ...) whose flattened fields begin with `name`."""
    return Segment(
        observation[f"{name}_states"].reshape(*lead, -1),
        observation[f"{name}_actions"].reshape(*lead, -1),
        observation[f"{name}_features"].reshape(*lead, -1, d),
        observation[f"{name}_mask"].reshape(*lead, -1).astype(np.bool_),
    )


def process_spaces(shape: tuple[int, int, int]) -> dict[str, gym.Space[Any]]:
    """Return the spaces of the observation of a process of S states, A actions and d features (shape)."""
    (S, A, d), box = shape, gym.spaces.Box
    return {
        "next_states": box(0, S - 1, (S * A,), np.int64),
        "features": box(-1, 1, (S * A * d,), np.float32),
        "terminals": box(0, 1, (S,), np.int8),
        "start": box(0, 1, (S,), np.float64),
        "discount": box(0, 1, (1,), np.float64),
    }


def segment_spaces(name: str, n: int, shape: tuple[int, int, int], L: int) -> dict[str, gym.Space[Any]]:
    """Return the spaces of n pairs of segments of L steps, flattened; shape is (S, A, d)."""
    (S, A, d), box, n = shape, gym.spaces.Box, 2 * n
    return {
        f"{name}_states": box(0, S - 1, (n * (L + 1),), np.int64),
        f"{name}_actions": box(0, A - 1, (n * L,), np.int64),
        f"{name}_features": box(-1, 1, (n * L * d,), np.float32),
        f"{name}_mask": box(0, 1, (n * L,), np.int8),
    }


def flat_process(
    next_state: Array, features: Array, terminal: Array, start: Array, discount: float
) -> dict[str, Array]:
    """Return the observation of processes (B, ...); `process_spaces` are its spaces."""
    B = len(start)
    return {
        "next_states": next_state.reshape(B, -1).copy(),
        "features": features.reshape(B, -1).astype(np.float32),
        "terminals": terminal.astype(np.int8),
        "start": start.copy(),
        "discount": np.full((B, 1), discount),
    }


def flat_segments(name: str, pairs: Segment) -> dict[str, Array]:
    """Return pairs (B, ...), flattened, under a name; `segment_spaces` are its spaces."""
    types = {"states": np.int64, "actions": np.int64, "features": np.float32, "mask": np.int8}
    return query.lay_flat(name, pairs, types)


def policy_of(mdp: tabular.TabularMDP, estimate: Array, is_table: bool) -> Array:
    """Return the policies (..., S, A) of estimates: greedy for tables (..., S*A), optimal for weights (..., d)."""
    if not is_table:
        return tabular.optimal_policy(mdp, tabular.reward(mdp, estimate))
    table = estimate.reshape(*estimate.shape[:-1], *mdp.features.shape[1:3])
    return tabular.greedy_policy(table, tabular.reward_scale(table))


def unit_scale(table: Array) -> Array:
    """Return tables (B, n) divided by their largest absolute values, so that they fit an action space."""
    return (table / np.abs(table).max(-1, keepdims=True)).astype(np.float32)


# --- a source of tasks ---


class Drawn(NamedTuple):
    """Tasks as they are drawn, before anything is solved: deterministic processes with hidden linear rewards.

    Where what a move earns is left to chance, `chance` and `outcomes` state the outcomes and `features` their mean.
    """

    next_state: Array  # (B, S, A)
    features: Array  # (B, S, A, d), within [-1, 1]
    terminal: Array  # (B, S) bool
    start: Array  # (B, S), sums to 1
    weights: Array  # (B, d), hidden
    layout: Array  # (B, n): what is also observed and drawn, such as the cells of a board; n = 0 for nothing
    chance: Array | None = None  # (B, S, A, K)
    outcomes: Array | None = None  # (B, S, A, K, d)


class Tasks(Protocol):
    """A kind of tabular task: all that a new one must state, and all that differs between them.

    Attributes:
        shape: (S, A, d).
        discount: of the reward.
        random: whether every episode has a task of its own.
        spaces: of what `observation` adds to the process.
    """

    shape: tuple[int, int, int]
    discount: float
    random: bool
    spaces: dict[str, gym.Space[Any]]

    def draw(self, key: keys.Key) -> Drawn:
        """Draw a task for each key (B,)."""

    def observation(self, layout: Array) -> dict[str, Array]:
        """Return what is observed besides the process, from layouts (B, n)."""

    def render(self, mode: str, layout: Array, pair: Segment, caption: str, answer: int) -> Any:
        """Draw a pair (2, ...) on one layout (n,), and mark which one the answer (0, 1, 2 or 3) prefers.

        Tasks may also have `render_pair(layout, pair)`, a small picture (height, width, 3) for lists of candidates.
        """


class Task(NamedTuple):
    """One process, its true weights and all that follows from them.

    Weights, values, action_values, naive and best are hidden from the agent, everything else is observed.
    """

    key: Array  # (B,)
    layout: Array  # (B, n)
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


class Solved(Protocol):
    """Optimal values of B tasks."""

    @property
    def values(self) -> Array:
        """(B, S)."""

    @property
    def action_values(self) -> Array:
        """(B, S, A)."""


def sides(
    solved: Solved, terminal: Array, pair: Segment, reward: Array, discount: Array
) -> Callable[[Array], tuple[Segments, Segments]]:
    """Return what makes the first and second segments of some pairs, numbered from 0 to B n - 1, for `OwnAnnotator`.

    Args:
        solved: optimal values of the tasks.
        terminal: (B, S) bool.
        pair: (B, n, 2, L) segments.
        reward: (B, n, 2, L) of their steps.
        discount: (B,).
    """

    def make(numbers: Array) -> tuple[Segments, Segments]:
        b, at = np.divmod(numbers, reward.shape[1])
        first, second = (segments_of(b, (b, at, side)) for side in range(2))
        return first, second

    def segments_of(b: Array, at: tuple[Array, Array, int]) -> Segments:
        part, row = Segment(*(field[at] for field in pair)), b[:, None]
        values, here = solved.values[row, part.states], part.states[:, :-1]
        advantages = solved.action_values[row, here, part.actions] - values[:, :-1]
        return Segments(
            part.states,
            part.actions,
            np.where(part.mask, reward[at], 0.0),
            np.maximum(part.mask.sum(-1), 1),
            terminal[b, part.states[:, -1]],
            {
                "advantages": np.where(part.mask, advantages, 0.0),
                "values": values,
                "features": part.features,
                "discount": discount[b],
            },
        )

    return make


class TabularSource:
    """A source (`query.Source`) of finite tasks with linear rewards.

    Segments start in an open state and take uniformly random actions. An estimate is scored by the mean return, under
    the true reward, of the policy that it stands for: 0 for uniformly random actions, 1 for an optimal policy.

    Args:
        tasks: what is drawn for an episode.
        annotator: who answers: a preference model, an annotator of one's own, or people whose stored answers are dealt
            out, n at a time.
        length: L, steps of a segment; that of the stored segments where people answer.
        policy: whether estimates are tables of preferences over actions, used greedily, rather than reward weights.

    Raises:
        ValueError: the annotator is neither, the length is no integer of at least 1, or `policy` no bool or None.
    """

    hashes: tuple[str, ...] = ()

    def __init__(
        self,
        tasks: Tasks,
        annotator: annotators.Simulated | OwnAnnotator | HumanPreferences,
        length: int = 3,
        policy: bool | None = False,
    ) -> None:
        if not isinstance(annotator, annotators.Simulated | OwnAnnotator | HumanPreferences):
            raise checks.refusal("annotator", annotator, "Simulated, OwnAnnotator or HumanPreferences")
        self.tasks, self.length = tasks, checks.integer("length", length, 1)
        self.policy = None if policy is None else checks.flag("policy", policy)
        self.discount, self.random = tasks.discount, tasks.random
        self.annotator = annotator if isinstance(annotator, (annotators.Simulated, OwnAnnotator)) else None
        self.human = None if isinstance(annotator, (annotators.Simulated, OwnAnnotator)) else annotator
        self.available: int | None = None
        if isinstance(annotator, OwnAnnotator):
            self.hashes = annotator.hashes
        if self.human is not None:
            self.available, self.hashes = len(self.human.labels), tuple(self.human.sha256)
            self.length = self.human.segments.actions.shape[-1]
        S, A, d = tasks.shape
        self.spaces = {**tasks.spaces, **process_spaces(tasks.shape)}
        self.action_space: gym.spaces.Box = gym.spaces.Box(-1, 1, (S * A if policy else d,), np.float32)

    def pair_spaces(self, name: str, n: int) -> dict[str, gym.Space[Any]]:
        """Return the spaces of n pairs."""
        return segment_spaces(name, n, self.tasks.shape, self.length)

    def draw(self, key: keys.Key) -> Task:
        """Draw a task for each key, and solve it for scoring."""
        drawn = self.tasks.draw(key)
        mdp = tabular.TabularMDP(
            drawn.features, drawn.terminal, drawn.start, self.discount, next_state=drawn.next_state
        )
        reward = tabular.reward(mdp, drawn.weights)
        values, action_values = tabular.optimal_values(mdp, reward)
        shape, d = drawn.features.shape[:3], drawn.features.shape[3]
        return Task(
            key=key.copy(),
            layout=drawn.layout,
            next_state=drawn.next_state,
            features=drawn.features,
            terminal=drawn.terminal,
            start=drawn.start,
            weights=drawn.weights,
            values=values,
            action_values=action_values,
            naive=tabular.mean_return(mdp, tabular.evaluate(mdp, tabular.uniform_policy(mdp), reward)),
            best=tabular.mean_return(mdp, values),
            chance=np.zeros((*shape, 0)) if drawn.chance is None else drawn.chance,
            outcomes=np.zeros((*shape, 0, d)) if drawn.outcomes is None else drawn.outcomes,
            order=keys.permutation(key, self.available or 0, keys.RESET, 3),
        )

    def pool(self, task: Task, number: Array, n: int) -> tuple[Segment, Array]:
        """Return n candidates (B, n, 2, ...) for pair `number` (B,), from 1, and their answers (B, n)."""
        B, L = len(number), self.length
        if self.human is not None:
            stored = task.order[np.arange(B)[:, None], (number - 1)[:, None] * n + np.arange(n)]
            pair = Segment(*(field[stored] for field in self.human.segments))
            return pair, annotators.answer_codes(self.human.labels[stored])
        assert self.annotator is not None
        key = query.candidate_keys(task.key, number, n)
        draw = key[..., None]
        open_states = task.start > 0
        nth = keys.integers(draw, open_states.sum(-1)[:, None, None], np.arange(2))
        start = (np.cumsum(open_states, -1)[:, None, None] > nth[..., None]).argmax(-1)
        actions = keys.integers(draw, self.tasks.shape[1], np.arange(2, 2 + 2 * L)).reshape(B, n, 2, L)
        pair = segments.follow(task, start, actions)
        if task.chance.shape[-1]:  # segments show the outcomes that came true
            at = (np.arange(B)[:, None, None, None], pair.states[..., :-1], pair.actions)
            uniform = keys.uniform(draw, np.arange(3 + 2 * L, 3 + 4 * L)).reshape(B, n, 2, L)
            came = task.outcomes[(*at, outcomes.realise(task.chance[at], uniform))]
            pair = pair._replace(features=np.where(pair.mask[..., None], came, 0.0))
        if isinstance(self.annotator, OwnAnnotator):
            reward = (pair.features * task.weights[:, None, None, None]).sum(-1)
            discount = np.full(B, self.discount)
            return pair, self.annotator.codes(key, sides(task, task.terminal, pair, reward, discount))
        utility = self.annotator.statistic.utility(task, pair, self.discount)
        label = self.annotator.choice.label(utility[..., 1] - utility[..., 0], keys.uniform(key, 2 + 2 * L))
        return pair, annotators.answer_codes(label)

    def observation(self, task: Task) -> dict[str, Array]:
        """Return the process, and what the tasks add to it."""
        process = (task.next_state, task.features, task.terminal, task.start)
        return {**self.tasks.observation(task.layout), **flat_process(*process, self.discount)}

    def flat(self, name: str, task: Task, pairs: Segment) -> dict[str, Array]:
        """Return pairs (B, ...), flattened, under a name."""
        return flat_segments(name, pairs)

    def score(self, task: Task, estimate: Array) -> Array:
        """Return the normalised mean return (B,) of weights (B, d), or tables (B, S*A); clipped to -1 from below."""
        mdp = tabular.TabularMDP(task.features, task.terminal, task.start, self.discount, next_state=task.next_state)
        policy = policy_of(mdp, estimate.astype(np.float64), bool(self.policy))
        returns = tabular.mean_return(mdp, tabular.evaluate(mdp, policy, tabular.reward(mdp, task.weights)))
        return np.maximum(tabular.between(returns, task.naive, task.best), LOWEST)

    def oracle(self, task: Task) -> Array:
        """Return the true weights, or the optimal advantages, scaled into the action space."""
        advantages = (task.action_values - task.values[..., None]).reshape(len(task.key), -1)
        return unit_scale(advantages if self.policy else task.weights)

    def render(self, mode: str, task: Task, pair: Segment, number: int, answer: int) -> Any:
        """Draw the two segments of one task, with the answer."""
        shown = Segment(*(field[0] for field in pair))
        return self.tasks.render(mode, task.layout[0], shown, query.caption(number, answer), answer)

    def render_pairs(self, mode: str, task: Task, pairs: Segment) -> Any:
        """Draw pairs (n, 2, ...) of one task (B = 1) without answers: pictures or lines of text, None if it cannot."""
        shown = [Segment(*(field[i] for field in pairs)) for i in range(len(pairs.states))]
        if mode == "ansi":
            return [f"{_moves_text(pair, 0)} or {_moves_text(pair, 1)}" for pair in shown]
        draw = getattr(self.tasks, "render_pair", None)
        return None if draw is None else [draw(task.layout[0], pair) for pair in shown]


def _moves_text(pair: Segment, side: int) -> str:
    """Return a segment of a pair (2, ...) as its first state and its actions."""
    actions = pair.actions[side, pair.mask[side]]
    return f"state {pair.states[side, 0]}: {' '.join(map(str, actions.tolist())) or 'nothing'}"
