"""Scores: records gathered into one score per agent and experiment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuegym.leaderboards import experiments
from valuegym.leaderboards.records.record import Record
from valuegym.leaderboards.standings.ranking import role_of
from valuegym.leaderboards.trust.tiers import Standing
from valuegym.leaderboards.verification.verify import Verdict

__all__ = ["Score", "evaluation_points", "from_verdicts", "gather_scores"]

CLAIMED = Standing()


@dataclass(frozen=True)
class Score:
    """The scores of one agent on one experiment.

    Attributes:
        agent: registered name, such as "regret".
        experiment: its id, such as "preference/boards-regret".
        evaluation_points: (P,) pairs answered before each scored estimate; (0,) where there is a single score.
        values: (seeds, E, P), 0 at the naive reference and 1 at the oracle, NaN where undefined.
        seeds: of the runs, in the order of the values.
        standing: how far the score is to be trusted.
        ranked: False on open-book reference tracks.
        role: "agent", or "reference" for agents that are drawn as lines and never ranked.
        units: what tests of ranks take as independent repetitions, "tasks" or "seeds".
        undefined: how many episodes have no score, because the oracle is not above the naive reference, and in how
            many runs there is an evaluation point where none has: these runs are not among the values.
    """

    agent: str
    experiment: str
    evaluation_points: tuple[int, ...]
    values: NDArray[np.float64]
    seeds: tuple[int, ...]
    standing: Standing = CLAIMED
    ranked: bool = True
    role: str = "agent"
    units: str = "seeds"
    undefined: tuple[int, int] = (0, 0)

    @property
    def status(self) -> str:
        """The standing for people: its tier and how many seeds are missing, or why it was rejected."""
        words = self.standing.text(len(self.seeds))
        return f"{words}: {self.standing.reason}" if self.standing.reason else words


def gather_scores(records: Iterable[Record], tier: str) -> list[Score]:
    """Return one score per agent and experiment, in the order of the experiments and of their agents.

    A score that lacks seeds says so in its standing: leaving out an unlucky seed must not pay. Runs without a defined
    score are left out, which the score says; they do not count as missing. A score on an environment that does not
    repeat itself is claimed, unless the board executed the agent itself.

    Raises:
        ValueError: for two records of one run, an unknown tier, or an unknown experiment.
    """
    grouped: dict[tuple[str, str], dict[int, Record]] = {}
    for record in records:
        runs = grouped.setdefault((record.experiment, record.agent), {})
        if record.seed in runs:
            raise ValueError(f"Two records of {record.agent} on {record.experiment}, seed {record.seed}; keep one.")
        runs[record.seed] = record
    scores = []
    for (experiment, agent), runs in grouped.items():
        what = experiments.find(experiment)
        seeds = tuple(sorted(runs))
        missing = len(set(what.seeds) - set(seeds))
        values = np.array([runs[seed].scores for seed in seeds], np.float64)
        there = ~np.isnan(values)
        kept: NDArray[np.bool_] = np.all(there.any(1), axis=-1)
        undefined = int((~there.all(-1)).sum()), int((~kept).sum())
        seeds = tuple(seed for seed, keep in zip(seeds, kept, strict=True) if keep)
        reached = tier if what.replayable or tier == "executed" else "claimed"  # nobody can replay its rewards
        standing, points = Standing(reached, missing), evaluation_points(what, values.shape[-1])
        about = (standing, what.ranked, role_of(agent), what.rank_units, undefined)
        scores.append(Score(agent, experiment, points, values[kept], seeds, *about))
    order = list(experiments.EXPERIMENTS)
    return sorted(scores, key=lambda score: (order.index(score.experiment), score.role, score.agent))


def evaluation_points(what: experiments.Experiment, columns: int) -> tuple[int, ...]:
    """Return the numbers of preferences after which estimates are scored; (0,) where there is a single score.

    With human annotators the last one is at most the number of the answers there are.
    """
    return tuple(what.kwargs["evaluation_points"])[:columns] if what.score == "evaluation_points" else (0,)


def from_verdicts(verdicts: Iterable[Verdict]) -> list[Score]:
    """Return the scores of all records that were found true."""
    return gather_scores((verdict.record for verdict in verdicts if verdict.record is not None), "replayed")
