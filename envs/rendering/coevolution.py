"""Pictures of populations: where people stand, how many hold what, and what the AI says. Pure functions of arrays.

Pictures that explain show what is hidden from the agent, and say so; a person who plays sees what an agent may see.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.rendering import raster
from valuegym.envs.rendering.axes import KEY, Key, Panel, legend, mark
from valuegym.envs.rendering.palette import Chart, Color, Population

__all__ = [
    "Crowd",
    "Statement",
    "counts",
    "errors_as_picture",
    "errors_as_text",
    "population",
    "reports_as_picture",
]

Array = npt.NDArray[Any]

BINS = 25
SHOWN = 5  # dimensions with a histogram
SIDE, LEFT, TOP, GAP, FOOT = 340, 56, 62, 60, 44  # pixels
BARS = " ▁▂▃▄▅▆▇█"


class Crowd(NamedTuple):
    """People or responses at points (n, D), as "dot", "former" (paler, without a histogram) or "ring"."""

    name: str
    points: Array
    kind: str


class Statement(NamedTuple):
    """A value (D,) that is not a person's: an "estimate", a "message", or the "truth"."""

    name: str
    value: Array
    kind: str


_CROWDS: dict[str, tuple[str, Color, float]] = {
    "dot": ("dot", Population.PERSON, 4.0),
    "former": ("dot", Population.FORMER, 2.5),
    "ring": ("ring", Population.COUNTERFACTUAL, 4.5),
}
_STATEMENTS: dict[str, tuple[str, Color, float, str]] = {
    "truth": ("diamond", Population.TRUTH, 9.0, "^"),
    "estimate": ("disc", Population.ESTIMATE, 8.0, "|"),
    "message": ("square", Population.BROADCAST, 6.0, "!"),
}


def population(
    mode: str, crowds: Sequence[Crowd], statements: Sequence[Statement], caption: str, reach: float = 1.5
) -> npt.NDArray[np.uint8] | str:
    """Draw people with what the AI says: a map of the first two dimensions, and a histogram of each of the first five.

    Args:
        mode: "ansi" for text, any other mode for a picture (height, width, 3).
        crowds: those drawn, the later ones over the earlier ones; histograms are of those that are not "former".
        statements: single values, drawn over them.
        caption: a line above.
        reach: axes go from -reach to reach; what lies beyond is drawn at their ends.

    Raises:
        ValueError: the mode is another one.
    """
    checks.choice("mode", mode, ("rgb_array", "human", "ansi"))
    if mode == "ansi":
        return _text(crowds, statements, caption, reach)
    D = crowds[-1].points.shape[-1]
    height, width = TOP + SIDE + FOOT + 2 * KEY + 12, LEFT + 2 * SIDE + GAP + 24
    pixels = raster.blank(height + height % 2, width + width % 2, Population.PAGE)
    pen = raster.Canvas(pixels)
    pen.text((16, 22), caption, 11, Population.INK, weight=1.2)
    ticks = _ticks(reach)
    plane = Panel(pen, (LEFT, TOP, SIDE, SIDE), (-reach, reach), (-reach, reach))
    plane.frame(ticks, ticks if D > 1 else (), "value 1", "value 2" if D > 1 else "")
    for crowd in crowds:
        kind, color, size = _CROWDS[crowd.kind]
        for person in crowd.points:
            mark(pen, plane.place(person[0], person[1] if D > 1 else 0.0), kind, color, size)
    for one in statements:
        kind, color, size, _ = _STATEMENTS[one.kind]
        mark(pen, plane.place(one.value[0], one.value[1] if D > 1 else 0.0), kind, color, size)
    shown = [crowd for crowd in crowds if crowd.kind != "former"]
    rows = min(D, SHOWN)
    pitch = SIDE / rows
    for d in range(rows):
        box = (LEFT + SIDE + GAP, TOP + d * pitch, SIDE, pitch - 6)
        _histogram(pen, box, d, shown, statements, reach, ticks)
    bottom = TOP + SIDE - 6
    for x in ticks:
        at = LEFT + SIDE + GAP + (x / reach + 1) / 2 * SIDE
        pen.text((at, bottom + 11), f"{x:g}", 8, Chart.INK, anchor="center")
    of_d = f" of {D}" if D > SHOWN else ""
    pen.text((LEFT + SIDE + GAP, TOP - 12), f"how many hold what: values 1 to {rows}{of_d}", 9, Chart.INK)
    symbols: list[Key] = []
    for crowd in crowds:
        kind, color, size = _CROWDS[crowd.kind]
        symbols.append((crowd.name, partial(mark, kind=kind, color=color, size=size + 1)))
    for one in statements:
        kind, color, size, _ = _STATEMENTS[one.kind]
        symbols.append((one.name, partial(mark, kind=kind, color=color, size=min(size, 7.0))))
    legend(pen, LEFT, TOP + SIDE + FOOT, width - LEFT - 10, symbols)
    return pixels


def _ticks(reach: float) -> list[float]:
    """Return five or fewer round numbers from -reach to reach."""
    step = next(step for step in (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, reach) if reach / step < 3)
    most = int(reach / step)
    return [step * i for i in range(-most, most + 1)]


def counts(values: Array, reach: float = 1.5) -> npt.NDArray[np.int64]:
    """Count the values (n,) in each bin from -reach to reach; those beyond the ends count in the last ones."""
    index = np.floor((np.clip(values, -reach, reach) / reach + 1) / 2 * BINS).astype(np.int64)
    return np.bincount(np.minimum(index, BINS - 1), minlength=BINS)


def _histogram(
    pen: raster.Canvas,
    box: tuple[float, float, float, float],
    d: int,
    crowds: Sequence[Crowd],
    statements: Sequence[Statement],
    reach: float,
    ticks: Sequence[float],
) -> None:
    """Bars of the people, an outline of those drawn as rings, and lines of what was said."""
    heights = [counts(crowd.points[:, d], reach) for crowd in crowds]
    top = max(int(max(n.max() for n in heights)), 1)
    panel = Panel(pen, box, (-reach, reach), (0.0, top * 1.15))
    panel.frame(ticks, numbers=False)
    pen.text((box[0] - 6, box[1] + box[3] / 2), f"{d + 1}", 9, Population.INK, anchor="right")
    edges = np.linspace(-reach, reach, BINS + 1).tolist()
    for crowd, own in zip(crowds, heights, strict=True):
        if crowd.kind == "ring":
            panel.steps(edges, own.tolist(), Population.COUNTERFACTUAL)
            continue
        for i, n in enumerate(own.tolist()):
            panel.bar(edges[i], edges[i + 1], n, Population.PERSON)
    for one in statements:
        x, floor = panel.place(float(one.value[d]), 0)
        pen.fill(x - 1.5, box[1] + 4, x + 1.5, floor, _STATEMENTS[one.kind][1])


def _text(crowds: Sequence[Crowd], statements: Sequence[Statement], caption: str, reach: float) -> str:
    lines = [f"{caption}; values from {-reach:g} to {reach:g}"]
    shown = crowds[-1].points
    for d in range(min(shown.shape[-1], SHOWN)):
        heights = counts(shown[:, d], reach)
        bars = [BARS[int(np.ceil(8 * n / max(int(heights.max()), 1)))] for n in heights.tolist()]
        for one in statements:
            place = (float(np.clip(one.value[d], -reach, reach)) / reach + 1) / 2
            bars[min(int(place * BINS), BINS - 1)] = _STATEMENTS[one.kind][3]
        lines.append(f"{d + 1} [{''.join(bars)}]")
    words = [crowds[-1].name, *(f"{_STATEMENTS[one.kind][3]} {one.name}" for one in statements)]
    return "\n".join([*lines, "  ".join(words)])


WIDE, ERROR_BINS = 4.0, 40  # the histogram of errors goes from -WIDE to WIDE units


def _error_counts(errors: Array) -> list[int]:
    """Return how many errors lie in each bin; those beyond the ends count in the last ones."""
    index = np.floor((np.clip(errors, -WIDE, WIDE) / WIDE + 1) / 2 * ERROR_BINS).astype(np.int64)
    return np.bincount(np.minimum(index, ERROR_BINS - 1), minlength=ERROR_BINS).tolist()


def errors_as_text(errors: Array, message: float | None, trust: float, weight: float, caption: str) -> str:
    """Return a histogram of the errors of people (N,), with the error of the last message, as lines of text."""
    counts = _error_counts(errors)
    bars = [BARS[int(np.ceil(8 * n / max(*counts, 1)))] for n in counts]
    marks = [" "] * (ERROR_BINS + 1)
    marks[ERROR_BINS // 2] = "^"
    if message is not None:
        marks[int((np.clip(message, -WIDE, WIDE) / WIDE + 1) / 2 * ERROR_BINS)] = "!"
    return (
        f"{caption}; errors from -{WIDE:g} to {WIDE:g} times those of people alone\n[{''.join(bars)}]\n "
        f"{''.join(marks)}  ^ truth, ! the AI\ntrust {trust:.2f} of the threshold, weight {weight:.6f}"
    )


_BOX, _PAGE = (56.0, 66.0, 560.0, 220.0), (492, 650)  # the panel, and height and width of the page


def _gauge(
    pen: raster.Canvas, y: float, name: str, share: float, color: Color, ticks: Sequence[tuple[float, str]]
) -> None:
    """A bar from 0 to 1 with ticks below."""
    left, _, width, _ = _BOX
    pen.text((left, y - 18), name, 9, Chart.INK)
    pen.paint(raster.rectangle(left, y - 7, left + width, y + 7, 4), Chart.PANEL)
    if share > 0:
        pen.paint(raster.rectangle(left, y - 7, left + max(width * min(share, 1.0), 4), y + 7, 4), color)
    for at, label in ticks:
        pen.paint(raster.line([(left + at * width, y - 9), (left + at * width, y + 9)], 2), Chart.INK)
        anchor = "left" if at == 0 else "right" if at == 1 else "center"
        pen.text((left + at * width, y + 19), label, 8, Chart.INK, anchor=anchor)


def _gauges(pen: raster.Canvas, trust: float, weight: float) -> None:
    """Trust in units of its threshold, and the weight of the message."""
    ticks = [(0.0, "0"), (0.5, "1: locks in beyond"), (1.0, "2 or more")]
    _gauge(pen, 392.0, "trust of the AI in people, over its threshold", trust / 2, Population.BROADCAST, ticks)
    ticks = [(0.0, "0"), (0.5, "1/2"), (1.0, "1: people listen to nothing else")]
    _gauge(pen, 454.0, "weight of the AI's message in beliefs of people", weight, Population.PERSON, ticks)


def errors_as_picture(errors: Array, message: float | None, trust: float, weight: float, caption: str) -> raster.Pixels:
    """Draw a histogram of the errors of people (N,), with the error of the last message.

    Errors are in units of those of people alone, trust in units of its threshold; weight is the message's.
    """
    pixels = raster.blank(*_PAGE, Population.PAGE)
    pen, counts = raster.Canvas(pixels), _error_counts(errors)
    pen.text((16, 22), caption, 11, Population.INK, weight=1.2)
    top = max(counts)
    panel = Panel(pen, _BOX, (-WIDE, WIDE), (0.0, top * 1.15))
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 10**3, 10**4, 10**5, 10**6) if top / s < 5)
    words = "error of a person's belief (hidden), 1 = standard error of a person alone"
    panel.frame([float(at) for at in range(-3, 4)], [float(step * i) for i in range(top // step + 1)], words, "people")
    width = 2 * WIDE / ERROR_BINS
    for i, n in enumerate(counts):
        panel.bar(i * width - WIDE, (i + 1) * width - WIDE, n, Population.PERSON)
    symbols: list[Key] = [
        ("people", partial(mark, kind="bar", color=Population.PERSON, size=6.0)),
        ("truth (hidden)", partial(mark, kind="line", color=Population.TRUTH, size=7.0)),
        ("message of the AI", partial(mark, kind="square", color=Population.BROADCAST, size=6.0)),
    ]
    x, floor = panel.place(0, 0)
    pen.paint(raster.line([(x, _BOX[1] + 5), (x, floor)], 3), Population.TRUTH)
    if message is not None:
        mark(pen, (panel.place(message, 0)[0], _BOX[1] + 10), "square", Population.BROADCAST, 7)
    legend(pen, _BOX[0], _BOX[1] + _BOX[3] + 34, _BOX[2], symbols)
    _gauges(pen, trust, weight)
    return pixels


def reports_as_picture(
    belief: float, response: float, deviation: float, message: float | None, trust: float, weight: float, caption: str
) -> raster.Pixels:
    """Draw what the AI may see: its belief, mean and standard deviation of people's reports, and its last message."""
    pixels = raster.blank(*_PAGE, Population.PAGE)
    pen, reach = raster.Canvas(pixels), 4.0
    pen.text((16, 22), caption, 11, Population.INK, weight=1.2)
    panel = Panel(pen, _BOX, (-reach, reach), (0.0, 1.0))
    panel.frame(
        [float(at) for at in range(-3, 4)],
        (),
        "the hidden number, in its standard deviations; reports: mean and standard deviation",
    )
    (left, floor), (right, roof) = panel.place(response - deviation, 0.15), panel.place(response + deviation, 0.75)
    pen.paint(raster.rectangle(left - 1, roof, right + 1, floor, 3), Population.FORMER)
    x = panel.place(response, 0)[0]
    pen.paint(raster.line([(x, roof), (x, floor)], 3), Population.PERSON)
    mark(pen, panel.place(belief, 0.45), "disc", Population.ESTIMATE, 8)
    if message is not None:
        mark(pen, panel.place(message, 0.88), "square", Population.BROADCAST, 7)
    symbols: list[Key] = [
        ("reports of people", partial(mark, kind="bar", color=Population.PERSON, size=6.0)),
        ("belief of the AI", partial(mark, kind="disc", color=Population.ESTIMATE, size=7.0)),
        ("its message", partial(mark, kind="square", color=Population.BROADCAST, size=6.0)),
    ]
    legend(pen, _BOX[0], _BOX[1] + _BOX[3] + 34, _BOX[2], symbols)
    _gauges(pen, trust, weight)
    return pixels
