"""Planning of broadcasts: where they serve most, and when they are worth the diversity that they cost.

The planner of Coevolve's reference, which knows both populations, and of the agent `pluralist`, which estimates them.
Shapes: B episodes, N and M people, K candidate broadcasts, D value dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs.coevolution import dynamics, metrics

__all__ = ["expected_final_return", "modes", "plan"]

Array = npt.NDArray[Any]

STARTS = 12  # people at whom mean shift starts
SHIFTS = 8  # steps of mean shift from each
CACHED = 2**14  # numbers that are computed at a time


def plan(
    people: Array,
    natural: Array,
    remaining: Array,
    bound: float,
    influence: float,
    attachment: float,
    price: float,
    at_end: bool = False,
) -> tuple[Array, Array]:
    """Return the best broadcast (B, D), and its worth (B,): the gain in final return by speaking rather than silence.

    Candidates are the modes of the population to serve, each compared by `expected_final_return`.

    Args:
        people: (B, N, D), the listeners.
        natural: (B, M, D), the population to serve, as it would be without the AI.
        remaining: (B,) steps until the end, this one included.
        bound: confidence bound.
        influence: share of the way to a broadcast, per step.
        attachment: share of the way back to the anchors, per step.
        price: of diversity.
        at_end: whether diversity is paid for at the last step only, rather than at every step.
    """
    starts = np.concatenate([natural[:, :STARTS], dynamics.mean(natural)[:, None]], axis=1)
    options = modes(natural, starts, bound)
    service = metrics.benefit(options, natural[:, None], bound)
    after = np.empty(options.shape[:2])  # diversity after each
    for rows in _batches(len(people), options.shape[1] * people[0].size):
        here = people[rows, None]
        after[rows] = metrics.diversity(here + influence * dynamics.bounded_pull(here, options[rows, :, None], bound))
    now, usual = metrics.diversity(people), metrics.diversity(natural)
    deviation = np.sqrt(now / np.where(usual > 0, usual, 1.0))
    kept = np.sqrt(after / np.where(now > 0, now, 1.0)[:, None])
    speech, silence = (
        expected_final_return(first, service, kept, deviation, remaining, attachment, price, at_end)
        for first in (True, False)
    )
    best, row = speech.argmax(-1), np.arange(len(people))
    return options[row, best], speech[row, best] - silence.max(-1)


def modes(people: Array, starts: Array, bound: float) -> Array:
    """Return the ends of mean shift, a <- mean {x_i : |x_i - a| < bound}, from starts (B, K, D) among people (B, N, D).

    It climbs the sum over people of max(0, 1 - |a - x_i|^2 / bound^2) (Comaniciu, Meer 2002, "Mean shift").
    """
    B, K, D = starts.shape
    at, axes = starts.reshape(B * K, D).copy(), [np.ascontiguousarray(people[..., d]) for d in range(D)]
    for rows in _batches(B * K, people.shape[1]):
        for _ in range(SHIFTS):
            here, others = at[rows], [axis[rows // K] for axis in axes]
            square = (here[:, :1] - others[0]) ** 2
            for d in range(1, D):
                square += (here[:, d : d + 1] - others[d]) ** 2
            near = (square < bound**2).astype(np.float64)
            total = np.stack([(near * other).sum(-1) for other in others], -1)
            count = near.sum(-1)[:, None]
            at[rows] = np.where(count > 0, total / np.maximum(count, 1.0), here)
            rows = rows[(at[rows] != here).any(-1)]  # the others have converged
            if not rows.size:
                break
    return at.reshape(B, K, D)


def _batches(rows: int, size: int) -> list[Array]:
    """Split rows of `size` numbers each into as many at a time as a processor's caches hold."""
    return np.array_split(np.arange(rows), max(1, rows * size // CACHED))


def expected_final_return(
    first: bool,
    service: Array,
    kept: Array,
    deviation: Array,
    remaining: Array,
    attachment: float,
    price: float,
    at_end: bool = False,
) -> Array:
    """Return the best return until the end (B, K) of plans that speak now or not (`first`) and speak in the last steps.

    Plans differ in how many of the last steps they speak in, and are silent in between. Where diversity counts at the
    end only, it recovers from early losses: plans then speak in the next steps, and are silent after them. Every
    broadcast is assumed to serve as much as this one and to keep the same share of the differences between people,
    which anchors restore: with c the standard deviation of people over that of the counterfactual population,
    c' = c + attachment (1 - c) - (1 - kept) c in a step with a broadcast, and without the last term otherwise.

    Args:
        first: whether to speak now.
        service: (B, K) of K broadcasts.
        kept: (B, K) share of the standard deviation that a broadcast keeps.
        deviation: c, (B,).
        remaining: (B,) steps until the end, this one included.
        attachment: share of the way back to the anchors, per step.
        price: of diversity.
        at_end: whether it is paid at the last step only.
    """
    steps = int(remaining.max(initial=1))
    many = np.arange(steps)  # how many of the last, or of the next, steps have a broadcast
    c, total = np.broadcast_to(deviation[:, None, None], (*service.shape, steps)), np.zeros((*service.shape, steps))
    for i in range(steps):
        until = remaining[:, None, None] - i
        spoken = (i if at_end else until) <= many
        speaks = np.float64(first) if i == 0 else spoken.astype(np.float64)
        c = c + attachment * (1.0 - c) - speaks * (1.0 - kept[..., None]) * c
        paid = price * np.abs(1.0 - c * c)
        earned = speaks * service[..., None] - (np.where(until == 1, paid, 0.0) if at_end else paid)
        total = total + np.where(i < remaining[:, None, None], earned, 0.0)
    return total.max(-1)
