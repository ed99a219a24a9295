"""What the query environments share: the flat observation of a process and an answered pair, and how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from valuegym.envs import mdp as tabular
from valuegym.envs.preference.segments import Array, Segment


class State(NamedTuple):
    """num_queries (B,): answered pairs seen so far; scores (B, R): at the evaluation points passed so far, 0 before."""

    num_queries: Array
    scores: Array


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
        """The known dynamics, as a process without rewards."""
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
        read_segments(observation, "segment", (2,), d),
        int(observation["label"]),
        int(observation["num_queries"][0]),
        bool(observation["is_evaluation_point"]),
    )


def read_segments(observation: dict[str, Array], name: str, lead: tuple[int, ...], d: int) -> Segment:
    """The segments (*lead, ...) whose fields lie flat under `name`."""
    return Segment(
        observation[f"{name}_states"].reshape(*lead, -1),
        observation[f"{name}_actions"].reshape(*lead, -1),
        observation[f"{name}_features"].reshape(*lead, -1, d),
        observation[f"{name}_mask"].reshape(*lead, -1).astype(np.bool_),
    )


def segment_spaces(name: str, n: int, shape: tuple[int, int, int], L: int) -> dict[str, gym.Space[Any]]:
    """Of n segments of L steps, laid flat; shape is (S, A, d)."""
    (S, A, d), box = shape, gym.spaces.Box
    return {
        f"{name}_states": box(0, S - 1, (n * (L + 1),), np.int64),
        f"{name}_actions": box(0, A - 1, (n * L,), np.int64),
        f"{name}_features": box(-1, 1, (n * L * d,), np.float32),
        f"{name}_mask": box(0, 1, (n * L,), np.int8),
    }


def flat_segments(name: str, segments: Segment) -> dict[str, Array]:
    """Segments (B, ...), laid flat."""
    B = len(segments.mask)
    return {
        f"{name}_states": segments.states.reshape(B, -1),
        f"{name}_actions": segments.actions.reshape(B, -1),
        f"{name}_features": segments.features.reshape(B, -1).astype(np.float32),
        f"{name}_mask": segments.mask.reshape(B, -1).astype(np.int8),
    }


def spaces(shape: tuple[int, int, int], L: int, last: int) -> dict[str, gym.Space[Any]]:
    """Of the observation of a process of S states, A actions, d features (shape), pairs of L steps, the last counted.

    `flat` fills them.
    """
    (S, A, d), box = shape, gym.spaces.Box
    return {
        "next_states": box(0, S - 1, (S * A,), np.int64),
        "features": box(-1, 1, (S * A * d,), np.float32),
        "terminals": box(0, 1, (S,), np.int8),
        "start": box(0, 1, (S,), np.float64),
        "discount": box(0, 1, (1,), np.float64),
        **segment_spaces("segment", 2, shape, L),
        "label": gym.spaces.Discrete(4),
        "num_queries": box(0, last + 1, (1,), np.int64),
        "is_evaluation_point": gym.spaces.Discrete(2),
    }


def flat(
    process: tuple[Array, Array, Array, Array],
    discount: float,
    pair: Segment,
    answer: Array,
    num_queries: Array,
    is_evaluation_point: Array,
) -> dict[str, Array]:
    """The observation of B rows.

    process: next states (B, S, A), features (B, S, A, d), terminal (B, S) and start (B, S); pair (B, 2, ...) with its
    answer (B,); num_queries (B,); is_evaluation_point (B,): whether the action answering this observation is scored.
    """
    next_state, features, terminal, start = process
    B = len(num_queries)
    return {
        "next_states": next_state.reshape(B, -1).copy(),
        "features": features.reshape(B, -1).astype(np.float32),
        "terminals": terminal.astype(np.int8),
        "start": start.copy(),
        "discount": np.full((B, 1), discount),
        **flat_segments("segment", pair),
        "label": answer,
        "num_queries": num_queries[:, None].copy(),
        "is_evaluation_point": is_evaluation_point.astype(np.int64),
    }


def check_evaluation_points(evaluation_points: Sequence[int]) -> tuple[int, ...]:
    """The numbers of pairs after which estimates are scored; ValueError unless they increase from 0 or above."""
    evaluation_points = tuple(evaluation_points)
    if (
        not evaluation_points
        or not all(type(n) is int and n >= 0 for n in evaluation_points)
        or list(evaluation_points) != sorted(set(evaluation_points))
    ):
        raise ValueError(
            f"evaluation_points = {evaluation_points}; expected increasing integers, at least one, none below 0."
        )
    return evaluation_points
