"""Scores: 0 at the naive reference, 1 at the oracle, both computed; recomputed from records, never taken from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym.envs.functional import Core, take_rows
from valuegym.envs.mdp import between
from valuegym.leaderboards.verification.replay import Replay


@dataclass(frozen=True)
class Score:
    """One agent on one experiment."""

    agent: str  # registered name, e.g. "regret"
    experiment: str  # e.g. "preference/boards-regret"
    evaluation_points: tuple[int, ...]  # pairs answered before each scored estimate; (0,) if single
    values: NDArray[np.float64]  # (seeds, episodes, evaluation points): 0 = naive reference, 1 = oracle
    seeds: tuple[int, ...]
    status: str = "claimed"  # trust tier: "claimed", "replayed" (verified by replay) or "rejected: <reason>"
    ranked: bool = True  # False = open-book reference track, never ranked
    role: str = "agent"  # "agent" or "reference" (uniform, best constant, oracle): drawn as lines, never ranked


Known = dict[tuple[Any, ...], tuple[float, float]]  # both references of episodes, by what each began with


def references(core: Core, replay: Replay, known: Known) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns (E,) of the naive reference and of the oracle in the replayed episodes.

    Each task is played once, however many agents met it. What is known by the episode's seed and options is not played
    again, and what was not is added: a reference depends on nothing else in a record.
    """
    once = np.unique(replay.alike)
    new = np.array([e for e in once if replay.begun[e] not in known], np.int64)
    if new.size:
        found = (
            np.broadcast_to(np.asarray(r, np.float64), new.shape) for r in core.references(take_rows(replay.task, new))
        )
        known.update(zip((replay.begun[e] for e in new), zip(*(r.tolist() for r in found), strict=True), strict=True))
    naive, best = np.array([known[what] for what in replay.begun]).T
    return naive, best


def normalised_returns(core: Core, replay: Replay, known: Known) -> NDArray[np.float64]:
    """Discounted true returns between those of the naive reference and of the oracle: (E, 1)."""
    return between(replay.returns, *references(core, replay, known))[:, None]


def evaluation_points(core: Core, replay: Replay, known: Known) -> NDArray[np.float64]:
    """Return the scores at the evaluation points of a query environment: (E, R)."""
    return np.asarray(replay.last.scores)


SCORES: dict[str, Callable[[Core, Replay, Known], NDArray[np.float64]]] = {
    "return": normalised_returns,
    "evaluation_points": evaluation_points,
}
