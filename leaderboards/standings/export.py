"""Standings as rows: CSV, JSON and LaTeX, and a loader into a pandas DataFrame.

One row for each agent, track and evaluation point; a score of 0 is the naive reference and 1 the oracle.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from valuegym.envs import checks
from valuegym.leaderboards.standings.gather import Score, gather_scores
from valuegym.leaderboards.standings.standings import boards

__all__ = ["COLUMNS", "FORMATS", "frame", "load_frame", "rows", "to_csv", "to_json", "to_latex"]

COLUMNS = (
    "track", "agent", "role", "division", "tier", "rank", "rank_low", "rank_high",
    "preferences", "score", "low", "high", "seeds", "episodes",
)  # fmt: skip
_NUMBERS = {"rank", "rank_low", "rank_high", "preferences", "score", "low", "high", "seeds", "episodes"}


def rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return the standings of all tracks as rows with the names of COLUMNS, None for what is not there.

    `score` is the interquartile mean, `low` and `high` its 95% bootstrap interval, `preferences` the answered pairs at
    the evaluation point (0 on tracks with one score); `rank_low` and `rank_high` hold the rank with 95% confidence.
    """
    found = []
    for board in boards(scores):
        for row in board.rows:
            low, high = row.ranks or (None, None)
            for point, estimate in zip(row.score.evaluation_points, row.estimates, strict=True):
                numbers = [None if math.isnan(x) else float(x) for x in estimate]
                values = (
                    board.experiment, row.score.agent, row.score.role, row.division, row.tier, row.rank, low, high,
                    int(point), *numbers, len(row.score.seeds), int(row.score.values.shape[1]),
                )  # fmt: skip
                found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def to_csv(scores: Sequence[Score]) -> str:
    """Return the rows as CSV with a header; what is not there is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(scores))
    return text.getvalue()


def to_json(scores: Sequence[Score]) -> str:
    """Return the rows as a JSON list."""
    return json.dumps(rows(scores), indent=1, allow_nan=False) + "\n"


_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\\": "\\textbackslash{}"
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_SPECIAL.get(c, c) for c in text)


def to_latex(scores: Sequence[Score]) -> str:
    """Return a table for each track, with the package booktabs; an interval is in brackets after its score."""
    tables = []
    for board in boards(scores):
        single = list(board.evaluation_points) == [0]
        heads = ["score"] if single else [f"{point} pairs" for point in board.evaluation_points]
        lines = [
            f"% {_tex(board.title)}",
            f"\\begin{{tabular}}{{l{'r' * len(heads)}r}}",
            "\\toprule",
            f"agent & {' & '.join(heads)} & seeds \\\\",
            "\\midrule",
        ]
        for i, row in enumerate(board.rows):
            if board.agents and i == len(board.agents):
                lines.append("\\midrule")
            cells = [_cell(row.at(point)) for point in board.evaluation_points]
            lines.append(f"{_tex(row.score.agent)} & {' & '.join(cells)} & {len(row.score.seeds)} \\\\")
        tables.append("\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""]))
    return "\n".join(tables)


def _cell(estimate: Any) -> str:
    if estimate is None:
        return "--"
    point, low, high = (float(x) for x in estimate)
    return f"{point:.2f}" if math.isnan(low) else f"{point:.2f} [{low:.2f}, {high:.2f}]"


FORMATS: dict[str, Callable[[Sequence[Score]], str]] = {"csv": to_csv, "json": to_json, "latex": to_latex}


def frame(scores: Sequence[Score]) -> Any:
    """Return the rows as a pandas DataFrame.

    Raises:
        ImportError: pandas is not installed.
    """
    return _pandas().DataFrame(rows(scores), columns=list(COLUMNS))


def load_frame(path: str | Path) -> Any:
    """Return standings as a pandas DataFrame: from a file that `--format csv` or `json` wrote, or a folder of records.

    Scores of a folder are those that its records claim.

    Raises:
        ValueError: the file is none of these.
        OSError: it cannot be read, or a folder holds no record.
        ImportError: pandas is not installed.
    """
    from valuegym.leaderboards.records.record import read_record
    from valuegym.leaderboards.verification.verify import record_files

    place = Path(path)
    if place.is_dir():
        return frame(gather_scores((read_record(file) for file in record_files(str(place))), "claimed"))
    checks.choice("the ending of path", place.suffix, (".csv", ".json"))
    text = place.read_text(encoding="utf-8")
    found: Any = list(csv.DictReader(io.StringIO(text))) if place.suffix == ".csv" else json.loads(text)
    if not isinstance(found, list) or any(not isinstance(row, dict) or set(row) != set(COLUMNS) for row in found):
        raise ValueError(f"{place} is no table of standings; expected the columns {', '.join(COLUMNS)}.")
    try:
        table = [{name: _value(name, row[name]) for name in COLUMNS} for row in found]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} is no table of standings: {error}.") from error
    return _pandas().DataFrame(table, columns=list(COLUMNS))


def _value(name: str, value: Any) -> Any:
    """Return a cell in its type, None for an empty one."""
    if value is None or value == "":
        return None
    if name not in _NUMBERS:
        return str(value)
    number = float(value)
    return number if name in ("score", "low", "high") else int(number)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"A DataFrame needs pandas: pip install pandas ({error}).") from error
    return pandas
