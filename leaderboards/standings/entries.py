"""Submissions among the standings: which of them counts on which track, and what its agent's card says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from valuegym.leaderboards import experiments
from valuegym.leaderboards.records.submission import Card, Submission, open_submission
from valuegym.leaderboards.standings.gather import Score, gather_scores
from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.trust.judgement import Judgement
from valuegym.leaderboards.trust.tiers import TIERS

__all__ = ["Curve", "ListedSubmission", "learning_curves", "merge_submissions"]

MAX_POINTS = 200  # of a learning curve, for each takes a bootstrap


class Curve(NamedTuple):
    """A learning curve.

    Attributes:
        steps: (T,), of training.
        estimates: (T, 3), point, low and high of the score after each.
    """

    steps: tuple[int, ...]
    estimates: NDArray[np.float64]


@dataclass(frozen=True)
class ListedSubmission:
    """A submission that counts on some tracks.

    Attributes:
        card: of its agent.
        file: name of the submission.
        digest: SHA-256 of the submission.
        tracks: where it counts.
        notes: of its judgement.
        curves: its learning curves by track, which are claims.
    """

    card: Card
    file: str
    digest: str
    tracks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)


def learning_curves(submission: Submission) -> dict[str, Curve]:
    """Return the learning curves in a submission's evidence `learning.json`; what is not a curve is left out.

    The file holds, for each of the submission's experiments with a training budget, {"timesteps": [...], "scores":
    [[...], ...]}: 2 to 200 increasing numbers of steps within the budget, and a list of as many scores for each seed,
    at most as many lists as the experiment has seeds.
    """
    found: dict[str, Curve] = {}
    value = json.loads(submission.evidence.get("evidence/learning.json", b"{}"))
    for track, curve in value.items() if isinstance(value, dict) else ():
        if track in submission.manifest["experiments"] and isinstance(curve, dict):
            try:
                steps, scores = np.array(curve["timesteps"]), np.array(curve["scores"], np.float64)
            except (KeyError, ValueError, TypeError, OverflowError):
                continue
            what = experiments.find(track)
            if _is_curve(steps, scores, what.timesteps, len(what.seeds)):
                found[track] = Curve(tuple(steps.tolist()), estimates(scores[:, None, :]))
    return found


def _is_curve(steps: NDArray[Any], scores: NDArray[np.float64], budget: int, seeds: int) -> bool:
    good = steps.ndim == 1 and 2 <= len(steps) <= MAX_POINTS and steps.dtype.kind == "i"
    good = good and bool((np.diff(steps) > 0).all()) and 0 <= steps[0] and steps[-1] <= budget
    return good and scores.ndim == 2 and 1 <= len(scores) <= seeds and scores.shape[1] == len(steps)


def merge_submissions(
    scores: Sequence[Score], judgements: Iterable[Judgement]
) -> tuple[list[Score], dict[str, tuple[ListedSubmission, ...]]]:
    """Merge the scores of accepted submissions into those of loose records.

    A submission takes the place of loose records of its agent on the same experiments. Track by track, of several
    submissions of one agent that of the strongest tier counts, and of those the last.

    Returns:
        All scores, and by agent the submissions that count, strongest tier first.

    Raises:
        SubmissionError, OSError: where an accepted submission can no longer be read.
    """
    accepted = [judgement for judgement in judgements if not judgement.reason]
    strongest = sorted(accepted[::-1], key=lambda judgement: -TIERS.index(judgement.tier))  # and of those the last
    chosen: dict[tuple[str, str], Score] = {}
    listed: dict[str, tuple[ListedSubmission, ...]] = {}
    for judgement in strongest:
        found = gather_scores((v.record for v in judgement.verdicts if v.record is not None), judgement.tier)
        new = [score for score in found if (score.agent, score.experiment) not in chosen]
        if new:
            chosen |= {(score.agent, score.experiment): score for score in new}
            submission, tracks = open_submission(judgement.path), tuple(score.experiment for score in new)
            curves = {track: curve for track, curve in learning_curves(submission).items() if track in tracks}
            file = Path(judgement.path).name
            counts = ListedSubmission(submission.card, file, judgement.digest, tracks, judgement.notes, curves)
            listed[judgement.agent] = (*listed.get(judgement.agent, ()), counts)
    loose = [score for score in scores if (score.agent, score.experiment) not in chosen]
    return [*loose, *chosen.values()], listed
