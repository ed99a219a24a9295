"""Scores: 0 at the naive reference, 1 at the oracle, both computed; recomputed from records, never taken from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuegym.envs.functional import Core, take_rows
from valuegym.envs.mdp import between
from valuegym.leaderboards.replay import Replay


@dataclass(frozen=True)
class Score:
    """One agent on one experiment."""

    agent: str  # registered name, e.g. "regret"
    experiment: str  # e.g. "preference/boards-regret"
    reports: tuple[int, ...]  # preferences shown at each scored report, e.g. (0, 10, 100, 1000); (0,) if single
    values: NDArray[np.float64]  # (seeds, episodes, reports): 0 = naive reference, 1 = oracle
    seeds: tuple[int, ...]
    status: str = "claimed"  # trust tier: "claimed", "replayed" (verified by replay) or "rejected: <reason>"
    ranked: bool = True  # False = open-book reference track, never ranked
    role: str = "agent"  # "agent" or "reference" (uniform, best constant, oracle): drawn as lines, never ranked


def normalised_returns(core: Core, replay: Replay) -> NDArray[np.float64]:
    """Discounted true returns between those of the naive reference and of the oracle: (E, 1).

    References play each task once, however many agents met it.
    """
    once, which = np.unique(replay.alike, return_inverse=True)
    found = core.references(take_rows(replay.task, once))
    naive, best = (np.broadcast_to(np.asarray(reference), once.shape)[which] for reference in found)
    return between(replay.returns, naive, best)[:, None]


def reports(core: Core, replay: Replay) -> NDArray[np.float64]:
    """The scored reports of a query environment: (E, R)."""
    return np.asarray(replay.last.scores)


SCORES: dict[str, Callable[[Core, Replay], NDArray[np.float64]]] = {"return": normalised_returns, "reports": reports}
