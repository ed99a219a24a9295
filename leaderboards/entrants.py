"""Submissions on the boards: their scores with the tier that was reached, and what is known of their agents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from valuegym.leaderboards.board import gather
from valuegym.leaderboards.ledger import TIERS, Ledger
from valuegym.leaderboards.scores import Score
from valuegym.leaderboards.submission import Card, open_submission
from valuegym.leaderboards.trust import Judgement, judge


@dataclass(frozen=True)
class Entrant:
    """What is known of an agent besides its records.

    card: of its submission; file: the submission's name; digest: its SHA-256; notes: what its judgement said besides.
    """

    card: Card
    file: str
    digest: str
    notes: tuple[str, ...] = ()


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


def enter(scores: Sequence[Score], judgements: Iterable[Judgement]) -> tuple[list[Score], dict[str, Entrant]]:
    """Scores with those of accepted submissions, and their agents.

    A submission takes the place of loose records of its agent on the same experiments. Of several submissions of one
    agent, that of the strongest tier counts, and of those the last.
    """
    chosen: dict[str, Judgement] = {}
    for judgement in judgements:
        other = chosen.get(judgement.agent)
        if not judgement.reason and (other is None or TIERS.index(judgement.tier) >= TIERS.index(other.tier)):
            chosen[judgement.agent] = judgement
    entered: list[Score] = []
    known: dict[str, Entrant] = {}
    for agent, judgement in chosen.items():
        entered += gather((v.record for v in judgement.verdicts if v.record is not None), judgement.tier)
        card = open_submission(judgement.path).card
        known[agent] = Entrant(card, Path(judgement.path).name, judgement.digest, judgement.notes)
    taken = {(score.agent, score.experiment) for score in entered}
    return [*(score for score in scores if (score.agent, score.experiment) not in taken), *entered], known
