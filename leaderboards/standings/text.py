"""Leaderboards as text: one table per experiment, for the terminal and as Markdown.

Only entries that the board executed itself compete first-class. Every tier of trust is a division of its own, strongest
first, with its own places; no entry of a weaker tier has a place among those of a stronger one.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.stats.ranks import rank_intervals
from valuegym.leaderboards.trust.judgement import LIMITS
from valuegym.leaderboards.trust.ledger import TIERS
from valuegym.leaderboards.verification.scores import Score

WIDTH = 110
FAMILIES = ("preference", "control", "coevolution")  # the order of boards; any other family comes after
OPEN_BOOK = "open-book reference, not ranked"
DIVISIONS = {  # what stands above the agents of a division
    "executed": "executed by the board on secret seeds",
    "committed": "replayed on seeds drawn after the agent was fixed",
    "replayed": "replayed on public seeds",
    "claimed": "claimed, not checked",
    "open book": "open book, not ranked",
    "rejected": "rejected",
}


@dataclass(frozen=True, eq=False)  # compared by identity: arrays have no single truth
class Row:
    """One line of a board.

    score; estimates (P, 3): point, low, high; rank: its place in its division by point estimate, None if not ranked;
    ranks: the interval that holds its true rank there.
    """

    score: Score
    estimates: NDArray[np.float64]
    rank: int | None = None
    ranks: tuple[int, int] | None = None

    @property
    def last(self) -> float:
        """The point estimate at the last evaluation point."""
        return float(self.estimates[-1, 0])

    @property
    def tier(self) -> str:
        """The trust tier in one word."""
        return self.standing.partition(",")[0]

    @property
    def standing(self) -> str:
        """The trust tier, and whether seeds are missing."""
        return self.score.status.partition(":")[0].strip()

    @property
    def division(self) -> str:
        """Among whom it has its place: a key of DIVISIONS."""
        if self.tier == "rejected":
            return "rejected"
        return "open book" if not self.score.ranked else self.tier if self.tier in TIERS else "claimed"

    def at(self, point: int) -> NDArray[np.float64] | None:
        """Point, low, high (3,) at an evaluation point, None if the agent was not scored there."""
        points = self.score.evaluation_points
        return self.estimates[points.index(point)] if point in points else None


@dataclass(frozen=True)
class Board:
    """The standing of every agent on one experiment: division by division, best first; references apart."""

    experiment: str
    evaluation_points: tuple[int, ...]
    agents: tuple[Row, ...]
    references: tuple[Row, ...]
    ranked: bool

    @property
    def rows(self) -> tuple[Row, ...]:
        """Agents, then references."""
        return self.agents + self.references

    @property
    def divisions(self) -> list[tuple[str, tuple[Row, ...]]]:
        """The agents of each division, strongest tier first."""
        return [(name, tuple(rows)) for name, rows in itertools.groupby(self.agents, key=lambda row: row.division)]

    def peers(self, row: Row) -> int:
        """How many agents have a place in the division of an agent."""
        return sum(other.rank is not None and other.division == row.division for other in self.agents)

    @property
    def title(self) -> str:
        """The experiment's name, with a warning where nothing in it is ranked."""
        return self.experiment if self.ranked else f"{self.experiment} ({OPEN_BOOK})"


def boards(scores: Sequence[Score]) -> list[Board]:
    """Group scores by experiment, family by family, and rank the agents of each division at the last evaluation point.

    Executed entries come first. Rejected scores come after all others and have no rank, nor have open-book scores and
    references.

    Raises:
        ValueError: where a score's values do not have one column per evaluation point, or are not finite.
    """
    grouped: dict[str, list[Score]] = {}
    for score in scores:
        grouped.setdefault(score.experiment, []).append(score)
    return [_board(experiment, grouped[experiment]) for experiment in sorted(grouped, key=_order)]


def render(scores: Sequence[Score]) -> str:
    """The boards as text for a terminal, at most 110 columns wide.

    Where one line per agent would be too wide the intervals go under the points, and where even that is too wide the
    middle evaluation points are left out, with a line that says so.
    """
    found = boards(scores)
    limits = [line for text in limits_of(found) for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
    return "\n\n".join([*map(_terminal, found), *(["\n".join(limits)] if limits else [])]) or "No scores yet."


def render_markdown(scores: Sequence[Score]) -> str:
    """The boards as Markdown: a heading and a table for each."""
    found = boards(scores)
    return "\n\n".join([*map(_markdown, found), *(_escape(text) for text in limits_of(found))]) or "No scores yet."


def as_data(board: Board) -> dict[str, Any]:
    """A board as JSON can hold it: divisions with what their tier leaves open, every number, null for none."""

    def entry(row: Row) -> dict[str, Any]:
        return {
            "agent": row.score.agent,
            "status": row.score.status,
            "rank": row.rank,
            "ranks": row.ranks,
            "seeds": len(row.score.seeds),
            "evaluation_points": row.score.evaluation_points,
            "estimates": [[None if math.isnan(x) else float(x) for x in line] for line in row.estimates],
        }

    return {
        "experiment": board.experiment,
        "ranked": board.ranked,
        "divisions": [
            {"name": name, "about": DIVISIONS[name], "limit": LIMITS.get(name, ""), "agents": [*map(entry, rows)]}
            for name, rows in board.divisions
        ],
        "references": [*map(entry, board.references)],
    }


def limits_of(found: Sequence[Board]) -> list[str]:
    """What each tier on some boards leaves open, strongest first: a line for each."""
    present = {row.tier for board in found for row in board.agents}
    return [f"{tier}: {LIMITS[tier]}." for tier in reversed(TIERS) if tier in present]


def heading(point: int, first: bool) -> str:
    """What stands above a column: the first names the unit."""
    return f"{point} pref{'s' * (point != 1)}" if first else str(point)


def point_text(estimate: NDArray[np.float64] | None) -> str:
    """The point estimate with two decimals (none from 100 on), or a dash."""
    return "–" if estimate is None else _number(estimate[0])


def interval_text(estimate: NDArray[np.float64] | None) -> str:
    """The interval in brackets, or nothing where there is none."""
    if estimate is None or math.isnan(estimate[1]):
        return ""
    return f"[{_number(estimate[1])}, {_number(estimate[2])}]"


def footnotes(board: Board, left_out: int = 0, ranks: bool = True) -> list[str]:
    """What a reader of the board must know beyond its cells; without ranks where a column has them."""
    notes = [f"{row.score.agent}: {row.score.status}" for row in board.agents if row.tier == "rejected"]
    if starred(board):
        notes.append(f"* {OPEN_BOOK}")
    found = [f"{row.score.agent} {span(*row.ranks)}" for row in board.agents if row.ranks]
    if ranks and len(found) > 1:
        notes.append(f"Ranks in each division, with 95% confidence for all of it together: {', '.join(found)}.")
    if left_out:
        notes.append(f"{left_out} of {len(board.evaluation_points)} evaluation points left out to fit the width.")
    return notes


def starred(board: Board) -> list[Row]:
    """The open-book agents of a ranked board: they carry a star and have no rank."""
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
    rows = sorted((Row(s, estimates(s.values)) for s in scores), key=lambda row: (-row.last, row.score.agent))
    agents = [row for row in rows if row.score.role != "reference"]
    competing = [row for tier in reversed(TIERS) for row in _placed([each for each in agents if each.division == tier])]
    aside, rejected = ([row for row in agents if row.division == name] for name in ("open book", "rejected"))
    return Board(
        experiment=experiment,
        evaluation_points=tuple(sorted({point for score in scores for point in score.evaluation_points})),
        agents=(*competing, *aside, *rejected),
        references=tuple(row for row in rows if row.score.role == "reference"),
        ranked=any(row.score.ranked for row in (agents or rows)),
    )


def _placed(rows: Sequence[Row]) -> list[Row]:
    """Rank rows, best first, by the last evaluation point; intervals of ranks are paired over the seeds of all.

    Entries on committed or secret seeds met other episodes than their neighbours: then the pairs are arbitrary, which
    costs the tests power but no validity.
    """
    shared = sorted(set.intersection(*(set(row.score.seeds) for row in rows))) if rows else []
    runs = [row.score.values[[row.score.seeds.index(seed) for seed in shared], :, -1] for row in rows]
    if shared and len({part.shape for part in runs}) == 1:
        ranks = rank_intervals(np.stack(runs), np.random.default_rng(0))
        found = list(zip(ranks.low.tolist(), ranks.high.tolist(), strict=True))
    else:  # nothing to pair, so nothing is known
        found = [(1, len(rows))] * len(rows)
    return [Row(row.score, row.estimates, i, found[i - 1]) for i, row in enumerate(rows, 1)]


def span(low: int, high: int) -> str:
    """An interval of ranks in words."""
    return str(low) if low == high else f"{low} to {high}"


def _number(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 100 else f"{round(float(x), 2) + 0.0:.2f}"  # adding zero turns -0.0 into 0.0


def _headings(points: Sequence[int]) -> list[str]:
    return ["score"] if list(points) == [0] else [heading(r, i == 0) for i, r in enumerate(points)]


def _lines(board: Board, points: Sequence[int], stacked: bool, longest: int) -> list[list[list[str]]]:
    """Cells by row and line: [row][line][column]; the heading is row 0, names are cut to their `longest` length."""
    lines = [[["#", "agent", *_headings(points), "seeds", "status"]]]
    columns = [[row.at(point) for row in board.rows] for point in points]
    lengths = [max(len(interval_text(e)) for e in column) for column in columns]
    for i, row in enumerate(board.rows):
        points, intervals = ([text(column[i]) for column in columns] for text in (point_text, interval_text))
        if not stacked:
            points = [f"{p} {q.rjust(n)}" for p, q, n in zip(points, intervals, lengths, strict=True)]
        name = row.score.agent if len(row.score.agent) <= longest else row.score.agent[: longest - 1] + "…"
        star = "*" if row in starred(board) else ""
        status = "ref" if row.score.role == "reference" else row.standing
        lines.append([[str(row.rank or ""), name + star, *points, str(len(row.score.seeds)), status]])
        if stacked:
            lines[-1].append(["", "", *intervals, "", ""])
    return lines


def _layout(board: Board) -> tuple[list[list[list[str]]], list[int], int]:
    """Cells, column widths and how many evaluation points had to be left out for the table to fit."""
    points = list(board.evaluation_points)
    for stacked in (False, True):
        while True:
            cells = _lines(board, points, stacked, longest=24)
            widths = [max(len(line[c]) for row in cells for line in row) for c in range(len(cells[0][0]))]
            if sum(widths) + 2 * (len(widths) - 1) <= WIDTH:
                return cells, widths, len(board.evaluation_points) - len(points)
            if not stacked or len(points) <= 2:
                break
            del points[len(points) // 2]
    return cells, widths, len(board.evaluation_points) - len(points)


def _terminal(board: Board) -> str:
    cells, widths, left_out = _layout(board)
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    blocks = ["\n".join(_justify(line, widths) for line in row) for row in cells]
    table, rows = [board.title, rule, blocks[0], rule], iter(blocks[1:])
    for name, members in board.divisions:
        table += [f"── {DIVISIONS[name]}", *itertools.islice(rows, len(members))]
    if board.agents and board.references:
        table.append("╌" * len(rule))
    table += [*rows, rule]
    notes = [line for note in footnotes(board, left_out) for line in textwrap.wrap(note, max(WIDTH, 20))]
    return "\n".join(table + notes)


def _justify(line: Sequence[str], widths: Sequence[int]) -> str:
    """Names and statuses to the left, numbers to the right."""
    left = (1, len(widths) - 1)
    text = (cell.ljust(w) if c in left else cell.rjust(w) for c, (cell, w) in enumerate(zip(line, widths, strict=True)))
    return "  ".join(text).rstrip()


def _escape(text: str) -> str:
    """Markdown that reads as the text: no column breaks, emphasis or HTML."""
    return "".join(f"\\{c}" if c in "|*_<>`" else c for c in text.replace("\n", " "))


def _markdown(board: Board) -> str:
    header, *body = (row[0] for row in _lines(board, board.evaluation_points, stacked=False, longest=10_000))
    align = [":--" if c in (1, len(header) - 1) else "--:" for c in range(len(header))]
    lines, rows = [header, align], iter(body)
    for name, members in board.divisions:
        lines += [["", f"— {DIVISIONS[name]}", *[""] * (len(header) - 2)], *itertools.islice(rows, len(members))]
    if board.references:
        lines.append(["", "— references", *[""] * (len(header) - 2)])
    cells = [[_escape(cell.strip()) for cell in line] for line in (*lines, *rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    notes = "".join(f"\n\n{_escape(note)}" for note in footnotes(board))
    return f"### {board.title}\n\n{table}{notes}"
