"""Plots of boards as SVG that takes its colours and typeface from the page it is put into.

Every colour is a CSS variable, so that one drawing serves a light and a dark page, and every shape is written down as
it is: a page of plots is made in milliseconds and is small. The same board gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from valuegym.leaderboards.standings.entries import Curve
from valuegym.leaderboards.standings.standings import Board, Row
from valuegym.leaderboards.standings.text import heading, point_text

__all__ = [
    "HIGHEST",
    "LOWEST",
    "Frame",
    "assign_series",
    "clipped",
    "describe",
    "dodge",
    "drawn",
    "learning_curve",
    "plot",
    "positions",
    "profile",
    "radar",
    "symbol",
    "ticks",
]

INK, MUTED, FAINT, CARD = (f"var(--{name})" for name in ("ink", "muted", "faint", "card"))
SERIES = [f"var(--agent-{i})" for i in range(8)]
DASHED, DOTTED = "6 5", "2 4"
_CROSS = "M-5,-2 -2,-2 -2,-5 2,-5 2,-2 5,-2 5,2 2,2 2,5 -2,5 -2,2 -5,2Z"
MARKERS = (  # about the origin, in pixels
    "M4,0A4,4 0 1 1 -4,0A4,4 0 1 1 4,0Z", "M-3.7,-3.7 3.7,-3.7 3.7,3.7 -3.7,3.7Z", "M0,-5 4.8,3.6 -4.8,3.6Z",
    "M0,-5.2 5.2,0 0,5.2 -5.2,0Z", "M0,5 4.8,-3.6 -4.8,-3.6Z", _CROSS, "M-5,-2.3 -2.3,-5 0,-2.7 2.3,-5 5,-2.3 2.7,0 "
    "5,2.3 2.3,5 0,2.7 -2.3,5 -5,2.3 -2.7,0Z", "M0,-4.9 4.7,-1.5 2.9,4 -2.9,4 -4.7,-1.5Z",
)  # fmt: skip
LABELLED = 16  # more names than this do not fit beside a plot
LOWEST, HIGHEST = -1.0, 2.0  # far outside the references nothing is worth the loss of detail within them
CHARACTER = 6.6  # pixels of a letter of the plots' size, in the mean and a little more


class Frame:
    """A drawing of a size, with an area inside its margins (left, right, top, bottom) that numbers are mapped to."""

    def __init__(
        self,
        size: tuple[float, float],
        margins: tuple[float, float, float, float],
        x: tuple[float, float],
        y: tuple[float, float],
    ) -> None:
        self.width, self.height = size
        self.left, right, self.top, bottom = margins
        self.right, self.bottom = self.width - right, self.height - bottom
        self._x, self._y = x, y
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        """Map a number to pixels from the left."""
        low, high = self._x
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Map a number to pixels from the top, where the second limit lies."""
        low, high = self._y
        return self.bottom + (value - low) / (high - low) * (self.top - self.bottom)

    def line(
        self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.2, dash: str = "", opacity: float = 1
    ) -> None:
        """Draw a line through points in pixels."""
        marks = (f' stroke-dasharray="{dash}"' if dash else "") + (f' opacity="{opacity}"' if opacity < 1 else "")
        self.parts.append(f'<path d="{_path(points)}" fill="none" stroke="{colour}" stroke-width="{width}"{marks}/>')

    def area(self, points: Sequence[tuple[float, float]], colour: str, opacity: float) -> None:
        """Fill a shape with these corners in pixels."""
        self.parts.append(f'<path d="{_path(points)}Z" fill="{colour}" opacity="{opacity}"/>')

    def text(self, x: float, y: float, words: str, colour: str = INK, anchor: str = "start", size: int = 12) -> None:
        """Write words whose middle line is at y."""
        place = f'x="{x:.1f}" y="{y + 0.35 * size:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}"'
        self.parts.append(Markup(f"<text {place}>{{}}</text>").format(words))

    def mark(self, x: float, y: float, index: int | None) -> None:
        """Draw the marker of a series, a hollow one for a reference."""
        shape = f'd="{MARKERS[0]}" fill="{CARD}" stroke="{MUTED}" stroke-width="1.4"' if index is None else _look(index)
        self.parts.append(f'<path transform="translate({x:.1f},{y:.1f})" {shape}/>')

    def clip(self, start: int, name: str) -> None:
        """Cut what was drawn since then to the area inside the margins."""
        box = f'x="{self.left}" y="{self.top}" width="{self.right - self.left:.1f}" height="{self.bottom - self.top}"'
        inside = "".join(self.parts[start:])
        self.parts[start:] = [f'<clipPath id="{name}"><rect {box}/></clipPath><g clip-path="url(#{name})">{inside}</g>']

    def element(self, name: str, kind: str, title: str, description: str) -> Markup:
        """Return the drawing as an SVG element that says what it shows; kind is its class besides "plot"."""
        return Markup(
            '<svg class="plot{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-title" '
            'aria-describedby="{name}-words"><title id="{name}-title">{title}</title>'
            '<desc id="{name}-words">{description}</desc>{parts}</svg>'
        ).format(
            kind=f" {kind}" if kind else "",
            width=self.width,
            height=self.height,
            name=name,
            title=title,
            description=description,
            parts=Markup("".join(self.parts)),
        )


def plot(board: Board, series: Mapping[str, int], name: str, narrow: bool = False) -> Markup:
    """Draw one board as an SVG element: curves over the number of preferences, or dots for a single evaluation point.

    Args:
        board: what to draw; rejected scores are left out.
        series: agent name -> index of its colour and marker.
        name: prefix of the ids within the SVG, unique on the page; begins with a letter.
        narrow: 360 pixels wide for phones, without names beside the curves, instead of 800.
    """
    rows = drawn(board)
    draw = _curves if len(board.evaluation_points) > 1 else _dots
    frame = draw(board, rows, series, name, narrow)
    return frame.element(name, "narrow" if narrow else "wide", f"Scores on {board.experiment}", describe(board))


def profile(tags: str, agent: str, members: Sequence[tuple[Board, Row]], index: int | None, name: str) -> Markup:
    """Draw an agent's scores on some tracks, 360 pixels wide: a line for each track, all other agents behind.

    Args:
        tags: what the tracks have in common.
        agent: whose profile it is.
        members: boards with the agent's row.
        index: of its colour and marker; None for a reference.
        name: prefix of the ids within the SVG, unique on the page; begins with a letter.
    """
    tracks = [_shorten(_track(board), 22) for board, _ in members]
    everyone = [other for board, _ in members for other in (*drawn(board), *board.references)]
    frame = _lines(360, 58 + 28 * len(tracks), tracks, _limits(everyone), "score")
    start = len(frame.parts)
    for y, (board, row) in enumerate(members):
        for other in (*drawn(board), *board.references):
            if other is not row:
                frame.parts.append(
                    f'<circle cx="{frame.x(other.value):.1f}" cy="{frame.y(y):.1f}" r="2.4" fill="{CARD}" '
                    f'stroke="{MUTED}" stroke-width="0.9"/>'
                )
        _dot(frame, y, row, index)
    frame.clip(start, f"{name}-clip")
    listed = ", ".join(f"{board.experiment} {row.value:.2f}" for board, row in members)
    return frame.element(name, "", f"Scores of {agent}: {tags}", f"Mean scores: {listed}.")


def radar(tags: str, agent: str, members: Sequence[tuple[Board, Row]], index: int | None, name: str) -> Markup:
    """Draw the scores as a star: a spoke for each of three or more tracks, 0 in the middle, 1 on the outer ring.

    Scores beyond are drawn at the end of their spoke. Args as for `profile`.
    """
    centre, radius, n = (180.0, 125.0), 90.0, len(members)
    frame = Frame((360, 250), (0, 0, 0, 0), (0, 1), (0, 1))
    turns = [(math.sin(2 * math.pi * i / n), -math.cos(2 * math.pi * i / n)) for i in range(n)]

    def at(i: int, score: float) -> tuple[float, float]:
        length = radius * min(max(score, 0.0), 1.0)
        return centre[0] + length * turns[i][0], centre[1] + length * turns[i][1]

    for ring in (0.25, 0.5, 0.75, 1.0):
        corners = [at(i, ring) for i in range(n)]
        frame.line([*corners, corners[0]], MUTED if ring == 1.0 else FAINT, 1.2 if ring == 1.0 else 0.8)
    colour = MUTED if index is None else _colour(index)
    first = {_track(board).partition("-")[:2] for board, _ in members}
    shared = len("".join(first.pop())) if len(first) == 1 else 0  # a word that all begin with says nothing here
    for i, (board, row) in enumerate(members):
        frame.line([centre, at(i, 1.0)], FAINT, 0.8)
        across, down = turns[i]
        anchor = "middle" if abs(across) < 0.2 else "start" if across > 0 else "end"
        place = centre[0] + (radius + 12) * across, centre[1] + (radius + 14) * down
        room = 34 if anchor == "middle" else int((place[0] if anchor == "end" else 360 - place[0]) / 6.8)
        frame.text(*place, _shorten(_track(board)[shared:], room), size=11, anchor=anchor)
        _, low, high = row.numbers.score
        if not math.isnan(low):
            frame.line([at(i, low), at(i, high)], colour, 6, opacity=0.35)
    frame.area([at(i, row.value) for i, (_, row) in enumerate(members)], colour, 0.16)
    corners = [at(i, row.value) for i, (_, row) in enumerate(members)]
    frame.line([*corners, corners[0]], colour, 2)
    for corner in corners:
        frame.mark(*corner, index)
    listed = ", ".join(f"{board.experiment} {row.value:.2f}" for board, row in members)
    words = f"A star with a spoke for each track, from 0 in the middle to 1 on the ring: {listed}."
    return frame.element(name, "", f"Scores of {agent} around: {tags}", words)


def learning_curve(track: str, agent: str, curve: Curve, index: int | None, name: str) -> Markup:
    """Draw a learning curve with its interval, 360 pixels wide."""
    points, values = curve.estimates, curve.estimates[~np.isnan(curve.estimates)]
    limits = float(max(min(values.min(), 0.0), LOWEST)) - 0.06, float(min(max(values.max(), 1.0), HIGHEST)) + 0.06
    frame = Frame((360, 240), (34, 14, 22, 42), (0, max(curve.steps)), limits)
    _grid(frame, limits)
    for step in ticks(0, max(curve.steps), 4):
        frame.text(frame.x(step), frame.bottom + 14, f"{step:,.0f}", anchor="middle")
    frame.text((frame.left + frame.right) / 2, frame.bottom + 32, "steps of training", anchor="middle")
    colour, start, across = (
        MUTED if index is None else _colour(index),
        len(frame.parts),
        [frame.x(x) for x in curve.steps],
    )
    bounded = ~np.isnan(points[:, 1])
    band = [(x, frame.y(y)) for x, y, good in zip(across, points[:, 1], bounded, strict=True) if good]
    band += [(x, frame.y(y)) for x, y, good in zip(across[::-1], points[::-1, 2], bounded[::-1], strict=True) if good]
    if band:
        frame.area(band, colour, 0.16)
    frame.line([(x, frame.y(y)) for x, y in zip(across, points[:, 0], strict=True)], colour, 2.2)
    frame.clip(start, f"{name}-clip")
    words = (
        f"Scores of {agent} on {track} from {points[0, 0]:.2f} to {points[-1, 0]:.2f} after {curve.steps[-1]} steps."
    )
    return frame.element(name, "", f"Learning curve of {agent} on {track}", words)


def symbol(index: int) -> Markup:
    """Draw the colour and marker with this index as an SVG symbol with id `agent-<index>`, for keys."""
    line = f'<path d="M0,6 26,6" stroke="{_colour(index)}" stroke-width="2.2"/>'
    mark = f'<path transform="translate(13,6)" {_look(index)}/>'
    return Markup(f'<symbol id="agent-{index}" viewBox="0 0 26 12">{line}{mark}</symbol>')


def assign_series(all_boards: Sequence[Board]) -> dict[str, int]:
    """Map each agent to the index of its colour and marker: the same on every board, and no other agent's there."""
    neighbours: dict[str, set[str]] = {}  # agent -> all that share a board with it
    for board in all_boards:
        names = {row.score.agent for row in drawn(board)}
        for name in names:
            neighbours.setdefault(name, set()).update(names - {name})
    series: dict[str, int] = {}
    for name in sorted(neighbours, key=lambda name: (-len(neighbours[name]), name)):
        taken = {series[other] for other in neighbours[name] if other in series}
        series[name] = next(index for index in range(len(neighbours)) if index not in taken)
    return series


def describe(board: Board) -> str:
    """Describe the plot in words, for those who do not see it."""
    listed = [f"{row.score.agent} {row.last:.2f}" for row in drawn(board)]
    first, last = board.evaluation_points[0], board.evaluation_points[-1]
    span = f" from {first} to {last} preferences; at the end" if first < last else ":"
    return f"Mean scores with 95% intervals{span} {', '.join(listed) or 'no agents'}."


def drawn(board: Board) -> list[Row]:
    """Return the agents that appear in a plot: all but the rejected."""
    return [row for row in board.agents if row.tier != "rejected"]


def clipped(board: Board) -> bool:
    """Tell whether some scores lie so far outside the references that the plot cuts them off."""
    values = _values([*drawn(board), *board.references])
    return bool(values.min() < LOWEST or values.max() > HIGHEST)


def positions(points: Sequence[int]) -> list[float]:
    """Place evaluation points on a logarithmic axis that has a place for zero, one mean step before the rest."""
    logs = [math.log10(point) for point in points if point > 0]
    if not logs:
        return [0.0] * len(points)
    step = (logs[-1] - logs[0]) / (len(logs) - 1) if len(logs) > 1 else 1.0
    return [math.log10(point) - logs[0] + step if point > 0 else 0.0 for point in points]


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Return round numbers within limits, 1, 2, 2.5 or 5 times a power of ten apart, with at most so many steps."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10, 20) if power * times >= rough * (1 - 1e-9))
    return [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def dodge(wanted: Sequence[float], gap: float) -> list[float]:
    """Dodge: move ascending values until neighbours are at least `gap` apart, each cluster about its own mean."""
    clusters: list[tuple[float, int]] = []  # (mean of the wanted values, how many)
    for value in wanted:
        mean, count = value, 1
        while clusters and mean - (count - 1) * gap / 2 < clusters[-1][0] + (clusters[-1][1] + 1) * gap / 2:
            below, number = clusters.pop()
            mean, count = (mean * count + below * number) / (count + number), count + number
        clusters.append((mean, count))
    return [mean + (i - (count - 1) / 2) * gap for mean, count in clusters for i in range(count)]


def _curves(board: Board, rows: Sequence[Row], series: Mapping[str, int], name: str, narrow: bool) -> Frame:
    labels = [] if narrow else _labels(board, rows, series)
    room = CHARACTER * max((len(text) for _, text, _ in labels), default=0) + 22
    place = dict(zip(board.evaluation_points, positions(board.evaluation_points), strict=True))
    end, limits = place[board.evaluation_points[-1]], _limits([*rows, *board.references])
    size = (360.0, 300.0) if narrow else (800.0, 360.0)
    frame = Frame(size, (34, 12 if narrow else min(room, 260), 26, 44), (-0.03 * end, end * 1.02), limits)
    _grid(frame, limits)
    for point, x in place.items():
        frame.text(frame.x(x), frame.bottom + 14, heading(point, False), anchor="middle")
    frame.text((frame.left + frame.right) / 2, frame.bottom + 33, "preferences shown", anchor="middle")
    start = len(frame.parts)
    for row in board.references:
        if _anchor(row) is None:
            frame.line(_points(frame, place, row, 0), MUTED, dash=DOTTED)
    for row in reversed(rows):  # the best on top
        index = series[row.score.agent]
        band = _points(frame, place, row, 1) + _points(frame, place, row, 2)[::-1]
        if not np.isnan(row.estimates).any():
            frame.area(band, _colour(index), 0.16)
        points = _points(frame, place, row, 0)
        frame.line(points, _colour(index), 2.2)
        for x, y in points:
            frame.mark(x, y, index)
    if clipped(board):
        frame.clip(start, f"{name}-clip")
    if narrow:
        _names_inside(frame, board, end)
    heights = dodge([-frame.y(y) for y, _, _ in labels], 15.5)
    for height, (_, text, colour) in zip(heights, labels, strict=True):
        frame.text(frame.right + 10, -height, text, colour)
    return frame


def _names_inside(frame: Frame, board: Board, end: float) -> None:
    """Write the names of references inside the plot, where there is no room beside the curves."""
    names = _anchor_names(board)
    frame.text(frame.x(0), frame.y(1) - 9, names[1], MUTED, size=11)
    frame.text(frame.x(end), frame.y(0) + 9, names[0], MUTED, anchor="end", size=11)
    for row in board.references:
        if _anchor(row) is None:
            frame.text(frame.x(end), frame.y(row.last) - 9, row.score.agent, MUTED, anchor="end", size=11)


def _points(frame: Frame, place: Mapping[int, float], row: Row, column: int) -> list[tuple[float, float]]:
    values = zip(row.score.evaluation_points, row.estimates[:, column], strict=True)
    return [(frame.x(place[point]), frame.y(value)) for point, value in values]


def _dots(board: Board, rows: Sequence[Row], series: Mapping[str, int], name: str, narrow: bool) -> Frame:
    everyone = [*rows, *board.references]
    names = [_shorten(row.score.agent, 18 if narrow else 40) for row in everyone]
    label = "score" if narrow else "score (0 = naive reference, 1 = oracle)"
    frame = _lines(360 if narrow else 800, 62 + 30 * len(everyone), names, _limits(everyone), label)
    start = len(frame.parts)
    for y, row in enumerate(everyone):
        _dot(frame, y, row, series[row.score.agent] if row.score.role != "reference" else None)
    frame.clip(start, f"{name}-clip")
    return frame


def _lines(width: float, height: float, names: Sequence[str], limits: tuple[float, float], label: str) -> Frame:
    """Make a frame with a line of its own for each name, from the top down, and the two anchors."""
    left = CHARACTER * max(map(len, names), default=0) + 16
    frame = Frame((width, height), (left, 16, 12, 44), limits, (len(names) - 0.5, -0.5))
    for tick in ticks(*limits):
        frame.line([(frame.x(tick), frame.top), (frame.x(tick), frame.bottom)], FAINT, 0.8)
        frame.text(frame.x(tick), frame.bottom + 13, _tick(tick), anchor="middle")
    for anchor in (0, 1):
        frame.line([(frame.x(anchor), frame.top), (frame.x(anchor), frame.bottom)], MUTED, dash=DASHED)
    for y, words in enumerate(names):
        frame.text(frame.left - 8, frame.y(y), words, anchor="end")
    frame.text((frame.left + frame.right) / 2, frame.bottom + 32, label, anchor="middle")
    return frame


def _grid(frame: Frame, limits: tuple[float, float]) -> None:
    """Draw lines across at round scores, the two anchors, and the word for what is drawn upwards."""
    for tick in ticks(*limits):
        frame.line([(frame.left, frame.y(tick)), (frame.right, frame.y(tick))], FAINT, 0.8)
        frame.text(frame.left - 6, frame.y(tick), _tick(tick), anchor="end")
    for anchor in (0, 1):
        frame.line([(frame.left, frame.y(anchor)), (frame.right, frame.y(anchor))], MUTED, dash=DASHED)
    frame.text(8, 11, "score")


def _dot(frame: Frame, y: float, row: Row, index: int | None) -> None:
    """Draw a point with its interval, or an arrow and the number beyond the plot; index None for a reference."""
    point, low, high = row.numbers.score
    if not LOWEST <= point <= HIGHEST:
        words = f"← {point_text(row.numbers.score)}" if point < LOWEST else f"{point_text(row.numbers.score)} →"
        side, anchor = (frame.left + 6, "start") if point < LOWEST else (frame.right - 6, "end")
        frame.text(side, frame.y(y), words.replace("-", "−"), MUTED if index is None else _colour(index), anchor)
        return
    if not math.isnan(low):
        colour = MUTED if index is None else _colour(index)
        frame.line([(frame.x(low), frame.y(y)), (frame.x(high), frame.y(y))], colour, 7, opacity=0.45)
    frame.mark(frame.x(point), frame.y(y), index)


def _labels(board: Board, rows: Sequence[Row], series: Mapping[str, int]) -> list[tuple[float, str, str]]:
    """Return (score, text, colour) of the names beside the curves, from the bottom up."""
    labels = [(float(anchor), name, MUTED) for anchor, name in _anchor_names(board).items()]
    labels += [(row.last, row.score.agent, MUTED) for row in board.references if _anchor(row) is None]
    labels += [(row.last, row.score.agent, _colour(series[row.score.agent])) for row in rows[:LABELLED]]
    inside = [(min(max(y, LOWEST), HIGHEST), _shorten(text, 36), colour) for y, text, colour in labels]
    return sorted(inside)


def _anchor(row: Row) -> int | None:
    """Return 0 or 1 for a reference that is that line everywhere, None for any other."""
    near = [anchor for anchor in (0, 1) if np.abs(row.estimates[:, 0] - anchor).max() < 0.02]
    return near[0] if near else None


def _anchor_names(board: Board) -> dict[int, str]:
    names = {0: "naive reference", 1: "oracle"}
    return names | {a: row.score.agent for row in board.references if (a := _anchor(row)) is not None}


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    values = _values(rows)
    return float(max(values.min(), LOWEST)) - 0.06, float(min(values.max(), HIGHEST)) + 0.06


def _values(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return all points and bounds, with the two anchors."""
    values = np.concatenate([*(row.estimates.ravel() for row in rows), [0.0, 1.0]])
    return values[~np.isnan(values)]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _tick(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-", "−") if abs(value) > 1e-9 else "0"


def _colour(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _look(index: int) -> str:
    """Return the shape and colour of a marker as attributes of a path."""
    turn = index // len(SERIES)  # past the last colour the pairs of colour and marker shift
    return f'd="{MARKERS[(index + turn) % len(MARKERS)]}" fill="{_colour(index)}"'


def _track(board: Board) -> str:
    return board.experiment.partition("/")[2] or board.experiment


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
