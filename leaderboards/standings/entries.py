"""Submissions on the boards: their scores with the tier that was reached, and what is known of their agents."""

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
from valuegym.leaderboards.standings.gather import gather
from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.trust.judgement import Judgement, judge
from valuegym.leaderboards.trust.ledger import TIERS, Ledger
from valuegym.leaderboards.verification.scores import Score


class Curve(NamedTuple):
    """A learning curve: steps (T,) of training, and point, low, high (T, 3) of the score after each."""

    steps: tuple[int, ...]
    estimates: NDArray[np.float64]


@dataclass(frozen=True)
class Entrant:
    """What is known of an agent besides its records, from one submission.

    card: of the submission; file: its name; digest: its SHA-256; tracks: where it counts; notes: what its judgement
    said besides; curves: its learning curves by track, which are claims.
    """

    card: Card
    file: str
    digest: str
    tracks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)


def curves(submission: Submission) -> dict[str, Curve]:
    """The learning curves in a submission's evidence `learning.json`; what is none is left out, it is evidence only.

    The file holds, for each of the submission's experiments with a training budget, {"timesteps": [...], "scores":
    [[...], ...]}: increasing numbers of steps within the budget, and a list of as many scores for each seed.
    """
    found: dict[str, Curve] = {}
    value = json.loads(submission.evidence.get("evidence/learning.json", b"{}"))
    for track, curve in value.items() if isinstance(value, dict) else ():
        if track in submission.manifest["experiments"] and isinstance(curve, dict):
            try:
                steps, scores = np.array(curve["timesteps"]), np.array(curve["scores"], np.float64)
            except (KeyError, ValueError, TypeError, OverflowError):
                continue
            if _is_curve(steps, scores, experiments.find(track).timesteps):
                found[track] = Curve(tuple(steps.tolist()), estimates(scores[:, None, :]))
    return found


def _is_curve(steps: NDArray[Any], scores: NDArray[np.float64], budget: int) -> bool:
    good = steps.ndim == 1 and 2 <= len(steps) <= 1000 and steps.dtype.kind == "i"
    good = good and bool((np.diff(steps) > 0).all()) and 0 <= steps[0] and steps[-1] <= budget
    return good and scores.ndim == 2 and 1 <= len(scores) <= 1000 and scores.shape[1] == len(steps)


def judge_all(
    files: Iterable[Path], data: str | None = None, workers: int = 2, ledger: Ledger | None = None
) -> list[Judgement]:
    """Judge submissions anew; of one that a board's book holds as executed, the tier is what the book says.

    Replay cannot find again that a board ran an agent itself, so that tier rests on the book and its signatures.
    """
    accepted = ledger.accepted() if ledger else ()
    executed = {entry.body["submission"] for entry in accepted if entry.body["tier"] == "executed"}
    found = [judge(path, data, workers, ledger, again=True) for path in files]
    return [
        judgement._replace(tier="executed") if judgement.tier and judgement.digest in executed else judgement
        for judgement in found
    ]


def enter(
    scores: Sequence[Score], judgements: Iterable[Judgement]
) -> tuple[list[Score], dict[str, tuple[Entrant, ...]]]:
    """Scores with those of accepted submissions, and the submissions that count of each agent, strongest tier first.

    A submission takes the place of loose records of its agent on the same experiments. Track by track, of several
    submissions of one agent that of the strongest tier counts, and of those the last.
    """
    accepted = [judgement for judgement in judgements if not judgement.reason]
    strongest = sorted(accepted[::-1], key=lambda judgement: -TIERS.index(judgement.tier))  # and of those the last
    chosen: dict[tuple[str, str], Score] = {}
    known: dict[str, tuple[Entrant, ...]] = {}
    for judgement in strongest:
        found = gather((v.record for v in judgement.verdicts if v.record is not None), judgement.tier)
        new = [score for score in found if (score.agent, score.experiment) not in chosen]
        if new:
            chosen |= {(score.agent, score.experiment): score for score in new}
            sent, tracks = open_submission(judgement.path), tuple(score.experiment for score in new)
            drawn = {track: curve for track, curve in curves(sent).items() if track in tracks}
            file = Path(judgement.path).name
            entrant = Entrant(sent.card, file, judgement.digest, tracks, judgement.notes, drawn)
            known[judgement.agent] = (*known.get(judgement.agent, ()), entrant)
    loose = [score for score in scores if (score.agent, score.experiment) not in chosen]
    return [*loose, *chosen.values()], known
