"""Standings as text: one table per experiment, for the terminal and as Markdown."""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.standings.ranking import OPEN_BOOK
from valuegym.leaderboards.standings.standings import Board, boards, limits_of, power_note, starred
from valuegym.leaderboards.trust.tiers import DIVISIONS

__all__ = [
    "WIDTH",
    "footnotes",
    "heading",
    "interval_text",
    "point_text",
    "render_markdown",
    "render_text",
    "span",
]

WIDTH = 110  # columns of a terminal that a table may take


def render_text(scores: Sequence[Score], width: int = WIDTH) -> str:
    """Return the boards as text for a terminal, at most so many columns wide.

    Where one line per agent would be too wide the intervals of the ranked number and the last evaluation point go under
    them, and those of other points are left out; where even that is too wide names of
    agents are cut, and then the middle evaluation points are left out, with a line that says so.
    """
    found = boards(scores)
    limits = [line for text in limits_of(found) for line in textwrap.wrap(text, width, subsequent_indent="  ")]
    tables = [_terminal(board, width) for board in found]
    return "\n\n".join([*tables, *(["\n".join(limits)] if limits else [])]) or "No scores yet."


def render_markdown(scores: Sequence[Score]) -> str:
    """Return the boards as Markdown: a heading and a table for each."""
    found = boards(scores)
    return "\n\n".join([*map(_markdown, found), *(_escape(text) for text in limits_of(found))]) or "No scores yet."


def heading(point: int, first: bool) -> str:
    """Return the heading of an evaluation point's column: the first names the unit."""
    return f"{point} pref{'s' * (point != 1)}" if first else str(point)


def point_text(estimate: NDArray[np.float64] | None) -> str:
    """Return the point estimate with two decimals (none from 100 on), or a dash."""
    return "–" if estimate is None else _number(estimate[0])


def interval_text(estimate: NDArray[np.float64] | None) -> str:
    """Return the interval in brackets, or nothing where there is none."""
    if estimate is None or math.isnan(estimate[1]):
        return ""
    return f"[{_number(estimate[1])}, {_number(estimate[2])}]"


def footnotes(board: Board, left_out: int = 0, ranks: bool = True) -> list[str]:
    """Return what a reader must know beyond a board's cells; `ranks` is False where a column shows them."""
    notes = [f"{row.score.agent}: {row.score.status}" for row in board.agents if row.tier == "rejected"]
    notes += board.notes
    if starred(board):
        notes.append(f"* {OPEN_BOOK}")
    found = [f"{row.score.agent} {span(*row.ranks)}" for row in board.agents if row.ranks]
    if any(row.division == "incomplete" for row in board.agents):
        notes.append("Who lacks seeds has no rank; the ranks of the others are those that they have without it.")
        lacking = (f"{row.score.agent} {row.missing.partition(' seeds')[0]}" for row in board.agents if row.missing)
        notes.append(f"Seeds missing: {', '.join(lacking)}.")
    if ranks and len(found) > 1:
        notes.append(f"Ranks in each division, with 95% confidence for all of it together: {', '.join(found)}.")
    notes += [note] if (note := power_note(board)) else []
    if left_out:
        notes.append(f"{left_out} of {len(board.evaluation_points)} evaluation points left out to fit the width.")
    return notes


def span(low: int, high: int) -> str:
    """Return an interval of ranks in words."""
    return str(low) if low == high else f"{low} to {high}"


def _number(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 100 else f"{round(float(x), 2) + 0.0:.2f}"  # adding zero turns -0.0 into 0.0


def _headings(points: Sequence[int]) -> list[str]:
    return [] if list(points) == [0] else [heading(r, i == 0) for i, r in enumerate(points)]


def _lines(
    board: Board, points: Sequence[int], stacked: bool, longest: int, brief: bool = False
) -> list[list[list[str]]]:
    """Cells by row and line: [row][line][column]; the heading is row 0, names are cut to their `longest` length.

    `brief` leaves of a status what stands before a comma or colon.
    """
    headings, raw = _headings(points), ["raw"] if board.clipped else []
    lines = [[["#", "agent", "score", *headings, "near", "IQM", *raw, "seeds", "status"]]]
    columns: list[list[NDArray[np.float64] | None]] = [[row.numbers.score for row in board.rows]]
    columns += [[row.at(point) for row in board.rows] for point in (points if headings else ())]
    lengths = [max((len(interval_text(e)) for e in column), default=0) for column in columns]
    for i, row in enumerate(board.rows):
        estimates, intervals = ([text(column[i]) for column in columns] for text in (point_text, interval_text))
        if not stacked:
            estimates = [f"{p} {q.rjust(n)}" for p, q, n in zip(estimates, intervals, lengths, strict=True)]
        name = row.score.agent if len(row.score.agent) <= longest else row.score.agent[: longest - 1] + "…"
        star = "*" if row in starred(board) else ""
        status = "ref" if row.score.role == "reference" else row.status
        if brief:
            status = re.split(r"[,:]", status, maxsplit=1)[0]
        beside = [point_text(row.numbers.near_optimal), point_text(row.numbers.interquartile)]
        beside += [_number(row.numbers.raw)] if raw else []
        seeds = str(len(row.score.seeds))
        lines.append([[str(row.rank or ""), name + star, *estimates, *beside, seeds, status]])
        if stacked:  # of the ranked number and the last evaluation point; others would take the width of a column each
            shown = [interval if c in (0, len(intervals) - 1) else "" for c, interval in enumerate(intervals)]
            lines[-1].append(["", "", *shown, *("" for _ in beside), "", ""])
    return lines


def _layout(board: Board, width: int) -> tuple[list[list[list[str]]], list[int], int]:
    """Cells, column widths and how many evaluation points had to be left out for the table to fit."""
    points = list(board.evaluation_points)
    tries = [(False, 24, False), (True, 24, False)]  # intervals below, letters of names, short statuses
    tries += [] if width >= WIDTH else [(True, 24, True), (True, 16, True), (True, 12, True)]
    while True:
        for stacked, longest, brief in tries:
            cells = _lines(board, points, stacked, longest, brief)
            widths = [max(len(line[c]) for row in cells for line in row) for c in range(len(cells[0][0]))]
            fits = sum(widths) + 2 * (len(widths) - 1) <= width
            if fits or (len(points) <= (2 if width >= WIDTH else 0) and (stacked, longest, brief) == tries[-1]):
                return cells, widths, len(board.evaluation_points) - len(points)
        del points[len(points) // 2 if len(points) > 2 else 0]


def _terminal(board: Board, width: int) -> str:
    cells, widths, left_out = _layout(board, width)
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    blocks = ["\n".join(_justify(line, widths) for line in row) for row in cells]
    title = "\n".join(textwrap.wrap(board.title, width, subsequent_indent="  "))
    table, rows = [title, rule, blocks[0], rule], iter(blocks[1:])
    for name, members in board.divisions:
        heading = textwrap.shorten(f"── {DIVISIONS[name]}", width, placeholder="…")
        table += [heading, *itertools.islice(rows, len(members))]
    if board.agents and board.references:
        table.append("╌" * len(rule))
    table += [*rows, rule]
    notes = [line for note in footnotes(board, left_out) for line in textwrap.wrap(note, width)]
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
    cells = [[_escape(" ".join(cell.split())) for cell in line] for line in (*lines, *rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    notes = "".join(f"\n\n{_escape(note)}" for note in footnotes(board))
    return f"### {board.title}\n\n{table}{notes}"
