"""Scores: 0 at the naive reference, 1 at the oracle; always recomputed from replayed records, never taken from them.

Where the oracle is not above the naive reference an episode has no score: NaN, which records hold as null and
statistics leave out.

Tracks of query environments are scored by the core itself at its evaluation points: `envs/preference/query.py`, with
`tabular_query.py` for finite tasks and `envs/control/lqr_from_preferences.py` for regulators.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym.envs.functional import Core, take_rows
from valuegym.envs.mdp import between
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records import simulators
from valuegym.leaderboards.records.record import Episode
from valuegym.leaderboards.verification.replay import Replay

__all__ = [
    "SCORES",
    "References",
    "declared_scores",
    "normalised_returns",
    "reference_returns",
    "scores_at_evaluation_points",
    "scores_of",
    "simulated_returns",
]

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


def declared_scores(what: Experiment, returns: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return returns (E,), 0 and 1 at the references that the author of the track declares: (E, 1)."""
    assert what.references is not None
    naive, best = (np.float64(value) for value in what.references)
    return np.asarray((np.asarray(returns, np.float64) - naive) / (best - naive))[:, None]


def simulated_returns(what: Experiment, episodes: Sequence[Episode]) -> list[float]:
    """Return the returns of recorded episodes of an environment without a core: replayed, or claimed.

    The options of the reset begin again with each record.

    Raises:
        RecordError: with the first thing that is not as the environment would have it.
    """
    options = itertools.cycle(what.reset_options())
    returns = []
    for claim, chosen in zip(episodes, options, strict=False):
        env = simulators.make(what.env_id, what.kwargs)  # a new one, so that no episode depends on another
        returns.append(simulators.replayed_return(env, claim, chosen, what.deterministic))
        env.close()
    return returns


def scores_of(what: Experiment, core: Core, replay: Replay, cached: References) -> NDArray[np.float64]:
    """Return the scores (E, P) of replayed episodes by the kind of score and the references of an experiment."""
    if what.references is not None:
        return declared_scores(what, replay.returns)
    return SCORES[what.score](core, replay, cached)


SCORES: dict[str, Callable[[Core, Replay, References], NDArray[np.float64]]] = {
    "return": normalised_returns,
    "evaluation_points": scores_at_evaluation_points,
}
