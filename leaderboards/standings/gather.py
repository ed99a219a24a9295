"""The board: verified records gathered into one score per agent and experiment."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from valuegym.leaderboards import experiments
from valuegym.leaderboards.records.record import Record
from valuegym.leaderboards.verification.scores import Score
from valuegym.leaderboards.verification.verify import Verdict

REFERENCES = ("uniform", "no_force", "constant", "oracle")


def gather(records: Iterable[Record], status: str) -> list[Score]:
    """One Score per agent and experiment, in the order of the experiments and of their agents.

    An entry that lacks seeds says so in its status: leaving out an unlucky seed must not pay. Raises ValueError for two
    records of one run.
    """
    entries: dict[tuple[str, str], dict[int, Record]] = {}
    for record in records:
        runs = entries.setdefault((record.experiment, record.agent), {})
        if record.seed in runs:
            raise ValueError(f"Two records of {record.agent} on {record.experiment}, seed {record.seed}; keep one.")
        runs[record.seed] = record
    scores = []
    for (experiment, agent), runs in entries.items():
        what = experiments.find(experiment)
        seeds = tuple(sorted(runs))
        missing = len(what.seeds) - len(seeds)
        values = np.array([runs[seed].scores for seed in seeds], np.float64)
        role = "reference" if agent in REFERENCES else "agent"
        note = f"{status}, {missing} of {len(what.seeds)} seeds missing" if missing else status
        scores.append(
            Score(agent, experiment, evaluation_points(what, values.shape[-1]), values, seeds, note, what.ranked, role)
        )
    order = list(experiments.EXPERIMENTS)
    return sorted(scores, key=lambda score: (order.index(score.experiment), score.role, score.agent))


def evaluation_points(what: experiments.Experiment, columns: int) -> tuple[int, ...]:
    """Return the numbers of preferences after which estimates are scored; (0,) where there is a single score.

    With human annotators the last one is at most the number of the answers there are.
    """
    return tuple(what.kwargs["evaluation_points"])[:columns] if what.score == "evaluation_points" else (0,)


def from_verdicts(verdicts: Iterable[Verdict]) -> list[Score]:
    """The scores of all records that were found true."""
    return gather((verdict.record for verdict in verdicts if verdict.record is not None), "replayed")
