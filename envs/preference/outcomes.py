"""Stochastic processes as lists of possible outcomes: solved in expectation, played with random draws.

Letters as in `mdp`; K outcomes of every action. A realised segment holds the features of the outcomes that came true;
regret counts decisions only, partial return counts the outcomes as well (Knox et al. 2024, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.preference.segments import Array, Segment

__all__ = ["Outcomes", "expected", "follow", "realise"]


class Outcomes(NamedTuple):
    """B processes; states where `terminal` holds absorb, whatever their outcomes say."""

    next_state: npt.NDArray[np.int64]  # (B, S, A, K)
    chance: npt.NDArray[np.float64]  # (B, S, A, K), sums to 1 over K
    features: npt.NDArray[np.float64]  # (B, S, A, K, d)
    terminal: npt.NDArray[np.bool_]  # (B, S)
    start: npt.NDArray[np.float64]  # (B, S), sums to 1


def expected(outcomes: Outcomes, discount: float) -> tabular.TabularMDP:
    """Return the processes with expected features, as the exact solvers take them.

    Where chance decides what is earned but not the next state, the process is deterministic, which is fast to solve.

    Raises:
        ValueError: the chances are no probabilities, or another field is not as stated (`mdp.TabularMDP`).
    """
    chance = checks.reals("chance", outcomes.chance, (None,) * 4, 0, 1)
    if not np.allclose(chance.sum(-1), 1):
        raise checks.refusal("chance", chance, "probabilities with sum 1 along the last axis")
    features = np.zeros_like(outcomes.features[..., 0, :])
    for k in range(outcomes.chance.shape[-1]):
        features += outcomes.chance[..., k, None] * outcomes.features[..., k, :]
    process = (features, outcomes.terminal, outcomes.start, discount)
    if (outcomes.next_state == outcomes.next_state[..., :1]).all():
        return tabular.TabularMDP(*process, next_state=outcomes.next_state[..., 0])
    probability = np.zeros((*outcomes.chance.shape[:3], outcomes.chance.shape[1]))
    b, s, a = np.indices(outcomes.chance.shape[:3])
    for k in range(outcomes.chance.shape[-1]):  # several outcomes may lead to the same state
        probability[b, s, a, outcomes.next_state[..., k]] += outcomes.chance[..., k]
    return tabular.TabularMDP(*process, probability=probability)


def realise(chance: Array, uniform: Array) -> npt.NDArray[np.int64]:
    """Return the realised outcomes (...) for chances (..., K) and uniform draws (...) on [0, 1)."""
    cumulative = np.cumsum(chance[..., :-1], -1)
    which: npt.NDArray[np.int64] = (cumulative <= uniform[..., None]).sum(-1)
    return which


def follow(outcomes: Outcomes, states: Array, actions: Array, draws: Array) -> Segment:
    """Follow actions (B, ..., L) from states (B, ...), and return the segments.

    draws (B, ..., L): uniform ones on [0, 1), or integers, which are the numbers of the outcomes themselves.
    Features are the realised ones; after a terminal state segments are padded as `segments.Segment` says.
    """
    process = np.arange(len(states)).reshape(-1, *(1,) * (states.ndim - 1))
    visited, taken, running, earned = [states], [], [], []
    for t in range(actions.shape[-1]):
        here = visited[-1]
        running.append(~outcomes.terminal[process, here])
        taken.append(np.where(running[-1], actions[..., t], 0))
        at = (process, here, taken[-1])
        drawn = draws[..., t]
        came = (*at, drawn if drawn.dtype.kind == "i" else realise(outcomes.chance[at], drawn))
        visited.append(np.where(running[-1], outcomes.next_state[came], here))
        earned.append(np.where(running[-1][..., None], outcomes.features[came], 0.0))
    return Segment(np.stack(visited, -1), np.stack(taken, -1), np.stack(earned, -2), np.stack(running, -1))
