"""The one array format of segments: what a person sees and judges.

Letters: L steps, d reward features; `...` any leading axes (pairs, batches). A pair of segments is a leading axis of
length 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = ["Deterministic", "Segment", "follow"]

Array = npt.NDArray[Any]


class Segment(NamedTuple):
    """A stretch of L transitions.

    After a terminal state it is padded with that state, action 0, zero features and a False mask.

    states (..., L+1) and actions (..., L) integers; features (..., L, d) realised reward features; mask (..., L)
    bool, True while the episode runs.
    """

    states: Array
    actions: Array
    features: Array
    mask: Array


class Deterministic(Protocol):
    """B deterministic processes."""

    @property
    def next_state(self) -> Array | None:
        """(B, S, A)."""

    @property
    def features(self) -> Array:
        """(B, S, A, d)."""

    @property
    def terminal(self) -> Array:
        """(B, S) bool."""


def follow(mdp: Deterministic, states: Array, actions: Array) -> Segment:
    """Follow actions (B, ..., L) from states (B, ...) in deterministic processes, and return the segments.

    Raises:
        ValueError: states or actions are no integers, or transitions are stochastic, so that the outcomes are part of
            the data.
    """
    for name, array in (("states", states), ("actions", actions)):
        if array.dtype.kind not in "iu":
            raise checks.refusal(name, array, "integers")
    if mdp.next_state is None:
        raise ValueError("Actions do not determine a segment in a stochastic process; record the states as they come.")
    B = len(states)
    process = np.arange(B).reshape(B, *(1,) * (states.ndim - 1))
    visited, taken, running = [states], [], []
    for t in range(actions.shape[-1]):
        here = visited[-1]
        running.append(~mdp.terminal[process, here])
        taken.append(np.where(running[-1], actions[..., t], 0))
        visited.append(mdp.next_state[process, here, taken[-1]])
    features = [mdp.features[process, s, a] for s, a in zip(visited, taken, strict=False)]
    return Segment(np.stack(visited, -1), np.stack(taken, -1), np.stack(features, -2), np.stack(running, -1))
