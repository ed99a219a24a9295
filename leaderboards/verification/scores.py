"""Scores: 0 at the naive reference, 1 at the oracle; always recomputed from replayed records, never taken from them.

Where the oracle is not above the naive reference an episode has no score: NaN, which records hold as null and
statistics leave out.

Tracks of query environments are scored by the core itself at its evaluation points: `envs/preference/query.py`, with
`tabular_query.py` for finite tasks and `envs/control/lqr_from_preferences.py` for regulators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym.envs.functional import Core, take_rows
from valuegym.envs.mdp import between
from valuegym.leaderboards.verification.replay import Replay

__all__ = ["SCORES", "References", "normalised_returns", "reference_returns", "scores_at_evaluation_points"]

References = dict[tuple[Any, ...], tuple[float, float]]  # returns of both references, by the episode's id


def reference_returns(
    core: Core, replay: Replay, cached: References
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the returns (E,) of the naive reference and of the oracle in the replayed episodes.

    Each task is played once, however many agents met it. References depend on the episode's seed and options alone, so
    they are cached under these: cached ones are not played again, new ones are added.
    """
    once = np.unique(replay.task_index)
    new = np.array([e for e in once if replay.episode_ids[e] not in cached], np.int64)
    if new.size:
        found = (
            np.broadcast_to(np.asarray(r, np.float64), new.shape) for r in core.references(take_rows(replay.task, new))
        )
        pairs = zip(*(r.tolist() for r in found), strict=True)
        cached.update(zip((replay.episode_ids[e] for e in new), pairs, strict=True))
    naive, best = np.array([cached[episode] for episode in replay.episode_ids]).T
    return naive, best


def normalised_returns(core: Core, replay: Replay, cached: References) -> NDArray[np.float64]:
    """Return discounted true returns, 0 at the naive reference, 1 at the oracle, NaN where these coincide: (E, 1)."""
    return between(replay.returns, *reference_returns(core, replay, cached))[:, None]


def scores_at_evaluation_points(core: Core, replay: Replay, cached: References) -> NDArray[np.float64]:
    """Return the scores at the evaluation points of a query environment: (E, P)."""
    return np.asarray(replay.last.scores)


SCORES: dict[str, Callable[[Core, Replay, References], NDArray[np.float64]]] = {
    "return": normalised_returns,
    "evaluation_points": scores_at_evaluation_points,
}
