"""Standings: the rows of each experiment's table, ranked within their tiers of trust.

Who is ranked among whom is decided in `ranking`; within a division the order is that of the ranked number, the mean of
clipped scores over all evaluation points (`stats.summary`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.standings.ranking import OPEN_BOOK, division_of
from valuegym.leaderboards.stats.ranks import rank_intervals, units_needed
from valuegym.leaderboards.stats.summary import Summary, ranked_values, summarise
from valuegym.leaderboards.trust.tiers import DIVISIONS, LIMITS, TIERS

__all__ = ["FAMILIES", "Board", "Row", "as_data", "boards", "limits_of", "power_note", "starred"]

FAMILIES = ("preference", "control", "coevolution", "language")  # the order of boards; any other family comes after


@dataclass(frozen=True, eq=False)  # compared by identity: arrays have no single truth
class Row:
    """One line of a board.

    Attributes:
        score: of an agent on the board's experiment.
        numbers: its ranked number, and what is shown beside it.
        rank: its place in its division by the ranked number, None if not ranked.
        ranks: the interval that holds its true rank there, None if not ranked.
    """

    score: Score
    numbers: Summary
    rank: int | None = None
    ranks: tuple[int, int] | None = None

    @property
    def estimates(self) -> NDArray[np.float64]:
        """(P, 3), point, low and high of the mean at each evaluation point."""
        return self.numbers.points

    @property
    def last(self) -> float:
        """The mean at the last evaluation point."""
        return float(self.estimates[-1, 0])

    @property
    def value(self) -> float:
        """The ranked number."""
        return float(self.numbers.score[0])

    @property
    def clipped(self) -> bool:
        """True where some of its scores are below -1, so that the raw mean differs from the ranked number."""
        return self.numbers.raw < self.value - 0.005

    @property
    def tier(self) -> str:
        """The trust tier in one word, or "rejected"."""
        return self.score.standing.word

    @property
    def missing(self) -> str:
        """Number of missing seeds, in words; "" for none."""
        return self.score.standing.missing_text(len(self.score.seeds))

    @property
    def status(self) -> str:
        """The trust tier, and how many seeds are missing."""
        return self.score.standing.text(len(self.score.seeds))

    @property
    def division(self) -> str:
        """The key of DIVISIONS under which it has its place."""
        return division_of(self.score.standing, self.score.ranked)

    def at(self, point: int) -> NDArray[np.float64] | None:
        """Return point, low, high (3,) at an evaluation point; None if the agent was not scored there."""
        points = self.score.evaluation_points
        return self.estimates[points.index(point)] if point in points else None


@dataclass(frozen=True)
class Board:
    """The standing of every agent on one experiment: division by division, best first; references apart.

    Notes say which episodes have no defined score; an agent without any has no row.
    """

    experiment: str
    evaluation_points: tuple[int, ...]
    agents: tuple[Row, ...]
    references: tuple[Row, ...]
    ranked: bool
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Agents, then references."""
        return self.agents + self.references

    @property
    def divisions(self) -> list[tuple[str, tuple[Row, ...]]]:
        """The agents of each division, strongest tier first."""
        return [(name, tuple(rows)) for name, rows in itertools.groupby(self.agents, key=lambda row: row.division)]

    def peers(self, row: Row) -> int:
        """Count the agents that have a place in the division of an agent."""
        return sum(other.rank is not None and other.division == row.division for other in self.agents)

    @property
    def units(self) -> tuple[str, int]:
        """Independent repetitions in its tests of ranks, "tasks" or "seeds", and the most that an agent has."""
        rows = [row for row in self.agents if row.rank is not None] or list(self.rows)
        kind = rows[0].score.units if rows else "seeds"
        counts = (int((~np.isnan(ranked_values(row.score.values, kind))).sum()) for row in rows)
        return kind, max(counts, default=0)

    @property
    def clipped(self) -> bool:
        """True where a ranked number is not the mean of the raw scores."""
        return any(row.clipped for row in self.rows)

    @property
    def title(self) -> str:
        """The experiment's name, with a warning where nothing in it is ranked."""
        return self.experiment if self.ranked else f"{self.experiment} ({OPEN_BOOK})"


def boards(scores: Sequence[Score]) -> list[Board]:
    """Group scores by experiment, family by family, and rank the agents of each division by the ranked number.

    Executed scores come first. Scores that lack seeds, open-book scores and rejected ones come last, in this order, and
    have no rank, nor have references.

    Raises:
        ValueError: where a score's values do not have one column per evaluation point, or are not finite.
    """
    grouped: dict[str, list[Score]] = {}
    for score in scores:
        grouped.setdefault(score.experiment, []).append(score)
    return [_board(experiment, grouped[experiment]) for experiment in sorted(grouped, key=_order)]


def as_data(board: Board) -> dict[str, Any]:
    """Return a board as JSON can hold it: divisions with what their tier leaves open, every number, null for none."""

    def line(row: Row) -> dict[str, Any]:
        return {
            "agent": row.score.agent,
            "status": row.score.status,
            "rank": row.rank,
            "ranks": row.ranks,
            "seeds": len(row.score.seeds),
            "score": numbers(row.numbers.score),
            "evaluation_points": row.score.evaluation_points,
            "estimates": [numbers(line) for line in row.estimates],
            "near_optimal": numbers(row.numbers.near_optimal),
            "interquartile_mean": numbers(row.numbers.interquartile),
            "raw_mean": row.numbers.raw,
        }

    def numbers(values: NDArray[np.float64]) -> list[float | None]:
        return [None if math.isnan(x) else float(x) for x in values]

    return {
        "experiment": board.experiment,
        "ranked": board.ranked,
        "units": board.units,
        "divisions": [
            {"name": name, "about": DIVISIONS[name], "limit": LIMITS.get(name, ""), "agents": [*map(line, rows)]}
            for name, rows in board.divisions
        ],
        "references": [*map(line, board.references)],
        "notes": board.notes,
    }


def power_note(board: Board) -> str:
    """Say where a division has too few units for any rank to be told; "" where there are enough."""
    kind, count = board.units
    most = max((board.peers(row) for row in board.agents if row.rank is not None), default=0)
    needed = units_needed(max(most, 1))
    if most < 2 or count >= needed:
        return ""
    return f"With {count} {kind} no test can tell {most} agents apart; {needed} are the fewest that could."


def limits_of(found: Sequence[Board]) -> list[str]:
    """Return a line for each tier on some boards, strongest first, saying what it leaves open."""
    present = {row.tier for board in found for row in board.agents}
    return [f"{tier}: {LIMITS[tier]}." for tier in reversed(TIERS) if tier in present]


def starred(board: Board) -> list[Row]:
    """Return the open-book agents of a ranked board: they carry a star and have no rank."""
    return [row for row in board.agents if board.ranked and not row.score.ranked]


def _order(experiment: str) -> tuple[int, str]:
    family = experiment.partition("/")[0]
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), experiment


def _board(experiment: str, scores: Sequence[Score]) -> Board:
    for score in scores:
        if score.values.ndim != 3 or score.values.shape[2] != len(score.evaluation_points):
            raise ValueError(
                f"The values of {score.agent} on {experiment} have shape {score.values.shape}, "
                f"expected (seeds, episodes, {len(score.evaluation_points)}) for evaluation points "
                f"{score.evaluation_points}."
            )
    defined = [score for score in scores if len(score.values)]
    rows = [Row(score, summarise(score.values, score.units)) for score in defined]
    rows = sorted(rows, key=lambda row: (-row.value, row.score.agent))
    agents = [row for row in rows if row.score.role != "reference"]
    competing = [row for tier in reversed(TIERS) for row in _placed([each for each in agents if each.division == tier])]
    aside = [row for name in DIVISIONS if name not in TIERS for row in agents if row.division == name]
    return Board(
        experiment=experiment,
        evaluation_points=tuple(sorted({point for score in scores for point in score.evaluation_points})),
        agents=(*competing, *aside),
        references=tuple(row for row in rows if row.score.role == "reference"),
        ranked=any(row.score.ranked for row in (agents or rows)) if rows else any(score.ranked for score in scores),
        notes=_undefined(scores),
    )


def _undefined(scores: Sequence[Score]) -> tuple[str, ...]:
    """Say whose episodes have no score; on public seeds these are the same for all."""
    grouped: dict[tuple[int, int], list[str]] = {}
    for score in scores:
        if any(score.undefined):
            grouped.setdefault(score.undefined, []).append(score.agent)
    return tuple(
        f"{_counted(episodes, 'episode')} of {', '.join(agents)} without a score, because the oracle is not above the "
        f"naive reference there: left out{f', with them {runs} of the runs' if runs else ''}."
        for (episodes, runs), agents in grouped.items()
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _placed(rows: Sequence[Row]) -> list[Row]:
    """Rank rows, best first, by the ranked number; intervals of ranks are paired over the units of all.

    Scores on committed or secret seeds met other episodes than their neighbours: then the pairs are arbitrary, which
    costs the tests power but no validity.
    """
    shared = sorted(set.intersection(*(set(row.score.seeds) for row in rows))) if rows else []
    runs = [row.score.values[[row.score.seeds.index(seed) for seed in shared]] for row in rows]
    units = np.zeros((0, 0))
    if shared and len({part.shape for part in runs}) == 1:
        units = np.stack([ranked_values(part, row.score.units) for part, row in zip(runs, rows, strict=True)])
        units = units[:, ~np.isnan(units).any(0)]
    if units.size:
        ranks = rank_intervals(units, np.random.default_rng(0))
        found = list(zip(ranks.low.tolist(), ranks.high.tolist(), strict=True))
    else:  # nothing to pair, so nothing is known
        found = [(1, len(rows))] * len(rows)
    return [Row(row.score, row.numbers, i, found[i - 1]) for i, row in enumerate(rows, 1)]
