"""Plots of boards as SVG that takes its colours and typeface from the page it is put into.

Everything is drawn in stand-in colours, which become CSS variables at the end: one drawing serves a light and a dark
page. The same board gives the same bytes.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym.leaderboards.table import Board, Row, heading

INK, MUTED, FAINT, CARD = "#010203", "#010204", "#010205", "#010206"  # stand-ins: text, references, grid, background
SERIES = [f"#0a0b0{i}" for i in range(8)]
VARIABLES = {INK: "--ink", MUTED: "--muted", FAINT: "--faint", CARD: "--card"}
VARIABLES |= {colour: f"--agent-{i}" for i, colour in enumerate(SERIES)}
MARKERS = "os^DvPXp"
LABELLED = 16  # more names than this do not fit beside a plot
LOWEST, HIGHEST = -1.0, 2.0  # far outside the references nothing is worth the loss of detail within them
STYLE: Any = {
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "grid.color": FAINT,
    "lines.linewidth": 2.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "valuegym",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": INK,
    "ytick.major.size": 0,
}


def plot(board: Board, series: Mapping[str, int], name: str, narrow: bool = False) -> str:
    """One board as an SVG element: curves over the number of preferences, or dots where there is a single report.

    Args:
        board: what to draw; rejected scores are left out.
        series: agent name -> index of its colour and marker.
        name: prefix of the ids within the SVG, unique on the page; begins with a letter.
        narrow: 360 pixels wide for phones, without names beside the curves, instead of 800.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows = drawn(board)
    with matplotlib.rc_context(STYLE):
        if len(board.reports) > 1:
            figure = Figure(figsize=_inches(360 if narrow else 800, 300 if narrow else 360))
            _curves(figure, board, rows, series, narrow)
        else:
            figure = Figure(figsize=_inches(360 if narrow else 800, 62 + 30 * (len(rows) + len(board.references))))
            _dots(figure, rows, board.references, series, narrow)
        return _element(figure, name, "narrow" if narrow else "wide", f"Scores on {board.experiment}", describe(board))


def profile(tags: str, agent: str, members: Sequence[tuple[Board, Row]], index: int | None, name: str) -> str:
    """An agent's last scores on some tracks as an SVG element 360 pixels wide: a line for each, all others behind.

    Args:
        tags: what the tracks have in common.
        agent: whose profile it is.
        members: boards with the agent's row.
        index: of its colour and marker; None for a reference.
        name: prefix of the ids within the SVG, unique on the page; begins with a letter.
    """
    import matplotlib
    from matplotlib.figure import Figure

    tracks = [_shorten(board.experiment.partition("/")[2] or board.experiment, 22) for board, _ in members]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_inches(360, 58 + 28 * len(tracks)))
        everyone = [other for board, _ in members for other in (*drawn(board), *board.references)]
        axes = _lines(figure, tracks, _limits(everyone), "score")
        for y, (board, row) in enumerate(members):
            others = [other.last for other in (*drawn(board), *board.references) if other is not row]
            axes.plot(others, [y] * len(others), marker="o", markersize=4, linestyle="none", **_hollow(0.9))
            _dot(axes, y, row, index)
        spoken = ", ".join(f"{board.experiment} {row.last:.2f}" for board, row in members)
        return _element(figure, name, "", f"Scores of {agent}: {tags}", f"Interquartile mean scores: {spoken}.")


@cache
def symbol(index: int) -> str:
    """The colour and marker with this index as an SVG symbol with id `agent-<index>`, for keys."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_inches(26, 12))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-1, 1), ylim=(-1, 1))
        axes.axis("off")
        axes.plot([-1, 1], [0, 0], color=_colour(index))
        axes.plot([0], [0], **_marker(index))
        box, body = _embeddable(figure, f"symbol-{index}")
    return f'<symbol id="agent-{index}" viewBox="{box}">{body.removesuffix("</svg>")}</symbol>'


def assign(all_boards: Sequence[Board]) -> dict[str, int]:
    """Agent -> index of its colour and marker: the same on every board, and different from all it ever meets."""
    meets: dict[str, set[str]] = {}
    for board in all_boards:
        names = {row.score.agent for row in drawn(board)}
        for name in names:
            meets.setdefault(name, set()).update(names - {name})
    series: dict[str, int] = {}
    for name in sorted(meets, key=lambda name: (-len(meets[name]), name)):
        taken = {series[other] for other in meets[name] if other in series}
        series[name] = next(index for index in range(len(meets)) if index not in taken)
    return series


def describe(board: Board) -> str:
    """The plot in words, for those who do not see it."""
    spoken = [f"{row.score.agent} {row.last:.2f}" for row in drawn(board)]
    first, last = board.reports[0], board.reports[-1]
    span = f" from {first} to {last} preferences; at the end" if first < last else ":"
    return f"Interquartile mean scores with 95% intervals{span} {', '.join(spoken) or 'no agents'}."


def drawn(board: Board) -> list[Row]:
    """The agents that appear in a plot: all but the rejected."""
    return [row for row in board.agents if row.tier != "rejected"]


def clipped(board: Board) -> bool:
    """Whether some scores lie so far outside the references that the plot cuts them off."""
    values = _values([*drawn(board), *board.references])
    return bool(values.min() < LOWEST or values.max() > HIGHEST)


def positions(reports: Sequence[int]) -> list[float]:
    """Where report counts stand on a logarithmic axis that has a place for zero, one mean step before the rest."""
    logs = [math.log10(report) for report in reports if report > 0]
    if not logs:
        return [0.0] * len(reports)
    step = (logs[-1] - logs[0]) / (len(logs) - 1) if len(logs) > 1 else 1.0
    return [math.log10(report) - logs[0] + step if report > 0 else 0.0 for report in reports]


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Move ascending values apart until neighbours are at least `gap` apart, each cluster about its own mean."""
    clusters: list[tuple[float, int]] = []  # (mean of the wanted values, how many)
    for value in wanted:
        mean, count = value, 1
        while clusters and mean - (count - 1) * gap / 2 < clusters[-1][0] + (clusters[-1][1] + 1) * gap / 2:
            below, number = clusters.pop()
            mean, count = (mean * count + below * number) / (count + number), count + number
        clusters.append((mean, count))
    return [mean + (i - (count - 1) / 2) * gap for mean, count in clusters for i in range(count)]


def _curves(figure: Any, board: Board, rows: Sequence[Row], series: Mapping[str, int], narrow: bool) -> None:
    labels = [] if narrow else _labels(board, rows, series)
    room = 6.4 * max((len(text) for _, text, _ in labels), default=0) + 22
    axes = _axes(figure, left=34, right=12 if narrow else min(room, 260), bottom=44, top=26)
    low, high = _limits([*rows, *board.references])
    place = dict(zip(board.reports, positions(board.reports), strict=True))
    end = place[board.reports[-1]]
    axes.set(xlim=(-0.03 * end, end * 1.02), ylim=(low, high))
    axes.set_xticks(list(place.values()), [heading(report, False) for report in place])
    axes.set_xlabel("preferences shown", color=INK)
    axes.set_title("score", loc="left", x=-26 / _pixels(axes)[0], size=12, color=INK)
    axes.yaxis.set_major_locator(_steps())
    axes.grid(axis="y", linewidth=0.8)
    for anchor in (0, 1):
        axes.axhline(anchor, color=MUTED, linewidth=1.2, dashes=(5, 4))
    for row in board.references:
        if _anchor(row) is None:
            points = [place[report] for report in row.score.reports]
            axes.plot(points, row.estimates[:, 0], color=MUTED, linewidth=1.2, dashes=(2, 3))
    for row in reversed(rows):  # the best on top
        index = series[row.score.agent]
        points = [place[report] for report in row.score.reports]
        point, below, above = row.estimates.T
        axes.fill_between(points, below, above, color=_colour(index), alpha=0.16, linewidth=0)
        axes.plot(points, point, color=_colour(index), solid_capstyle="round")
        axes.plot(points, point, linestyle="none", clip_on=clipped(board), **_marker(index))
    if narrow:
        names = _anchor_names(board)
        lift = 3 * (high - low) / _pixels(axes)[1]
        axes.text(0, 1.0 + lift, names[1], size=11, color=MUTED, va="bottom")
        axes.text(end, 0.0 - lift, names[0], size=11, color=MUTED, va="top", ha="right")
        for row in board.references:
            if _anchor(row) is None:
                axes.text(end, row.last + lift, row.score.agent, size=11, color=MUTED, va="bottom", ha="right")
    pixels = (high - low) / _pixels(axes)[1]
    for y, (_, text, colour) in zip(spread([y for y, _, _ in labels], 15.5 * pixels), labels, strict=True):
        axes.text(end * 1.02 + 10 * end / _pixels(axes)[0], y, text, color=colour, va="center", clip_on=False)


def _dots(figure: Any, rows: Sequence[Row], references: Sequence[Row], series: Mapping[str, int], narrow: bool) -> None:
    everyone = [*rows, *references]
    names = [_shorten(row.score.agent, 18 if narrow else 40) for row in everyone]
    axes = _lines(figure, names, _limits(everyone), "score" if narrow else "score (0 = naive reference, 1 = oracle)")
    for y, row in enumerate(everyone):
        _dot(axes, y, row, series[row.score.agent] if row.score.role != "reference" else None)


def _lines(figure: Any, names: Sequence[str], limits: tuple[float, float], label: str) -> Any:
    """Axes with a horizontal line for each name, and the two anchors."""
    axes = _axes(figure, left=6.6 * max(map(len, names), default=0) + 16, right=16, bottom=44, top=12)
    axes.set(xlim=limits, ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(label, color=INK)
    axes.xaxis.set_major_locator(_steps())
    axes.grid(axis="x", linewidth=0.8)
    for anchor in (0, 1):
        axes.axvline(anchor, color=MUTED, linewidth=1.2, dashes=(5, 4))
    return axes


def _dot(axes: Any, y: float, row: Row, index: int | None) -> None:
    """A point with its interval; index None for a reference."""
    point, below, above = row.estimates[-1]
    colour = MUTED if index is None else _colour(index)
    axes.plot([below, above], [y, y], color=colour, alpha=0.45, linewidth=7, solid_capstyle="butt")
    marker = {"marker": "o", **_hollow(1.4)} if index is None else _marker(index)
    axes.plot([point], [y], **marker, clip_on=True)


def _hollow(width: float) -> dict[str, Any]:
    return {"color": MUTED, "markerfacecolor": CARD, "markeredgecolor": MUTED, "markeredgewidth": width}


def _labels(board: Board, rows: Sequence[Row], series: Mapping[str, int]) -> list[tuple[float, str, str]]:
    """(height, text, colour) of the names beside the curves, from the bottom up."""
    labels = [(float(anchor), name, MUTED) for anchor, name in _anchor_names(board).items()]
    labels += [(row.last, row.score.agent, MUTED) for row in board.references if _anchor(row) is None]
    labels += [(row.last, row.score.agent, _colour(series[row.score.agent])) for row in rows[:LABELLED]]
    inside = [(min(max(y, LOWEST), HIGHEST), _shorten(text, 36), colour) for y, text, colour in labels]
    return sorted(inside)


def _anchor(row: Row) -> int | None:
    """0 or 1 for a reference that is that line everywhere, None for any other."""
    near = [anchor for anchor in (0, 1) if np.abs(row.estimates[:, 0] - anchor).max() < 0.02]
    return near[0] if near else None


def _anchor_names(board: Board) -> dict[int, str]:
    names = {0: "naive reference", 1: "oracle"}
    return names | {a: row.score.agent for row in board.references if (a := _anchor(row)) is not None}


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    values = _values(rows)
    return float(max(values.min(), LOWEST)) - 0.06, float(min(values.max(), HIGHEST)) + 0.06


def _values(rows: Sequence[Row]) -> NDArray[np.float64]:
    """All points and bounds, with the two anchors."""
    values = np.concatenate([*(row.estimates.ravel() for row in rows), [0.0, 1.0]])
    return values[~np.isnan(values)]


def _axes(figure: Any, left: float, right: float, bottom: float, top: float) -> Any:
    """Axes with these margins in pixels."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))


def _pixels(axes: Any) -> tuple[float, float]:
    """Width and height of the axes in pixels."""
    width, height = axes.figure.get_size_inches() * 72
    box = axes.get_position()
    return width * box.width, height * box.height


def _steps() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10])


def _inches(width: float, height: float) -> tuple[float, float]:
    return width / 72, height / 72  # SVG is written at 72 units to the inch


def _colour(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _marker(index: int) -> dict[str, Any]:
    turn = index // len(SERIES)  # past the last colour the pairs of colour and marker shift
    return {"marker": MARKERS[(index + turn) % len(MARKERS)], "color": _colour(index), "markersize": 6.5}


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _element(figure: Any, name: str, kind: str, title: str, description: str) -> str:
    """A figure as an SVG element that says what it shows."""
    box, body = _embeddable(figure, name)
    title, description = html.escape(title), html.escape(description)
    return (
        f'<svg class="plot{f" {kind}" if kind else ""}" viewBox="{box}" role="img" '
        f'aria-labelledby="{name}-title" aria-describedby="{name}-words">'
        f'<title id="{name}-title">{title}</title><desc id="{name}-words">{description}</desc>{body}'
    )


def _embeddable(figure: Any, name: str) -> tuple[str, str]:
    """A figure's view box and the inside of its SVG up to `</svg>`, with ids and colours that fit into a page."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    box = svg.split('viewBox="', 1)[1].split('"', 1)[0]
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index(">") + 1 :], flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for stand_in, variable in VARIABLES.items():
        body = body.replace(stand_in, f"var({variable})")
    return box, body
