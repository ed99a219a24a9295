"""Pictures of populations: where people stand, how many hold what, and what the AI says. Pure functions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import drawing

Array = npt.NDArray[Any]

PAGE, PANEL, INK, GRID = "#f6f4ef", "#ffffff", "#1d3557", "#dfe3e8"
PERSON, FORMER, ESTIMATE, BROADCAST = "#457b9d", "#c6d8e4", "#e9a03b", "#e63946"
REACH = 1.25  # values shown go from -REACH to REACH
BINS = 25
SHOWN = 5  # dimensions with a histogram
SIDE, MARGIN, ROW = 320, 20, 60  # pixels
BARS = " ▁▂▃▄▅▆▇█"


def population(
    mode: str, points: list[Array], estimate: Array | None, broadcast: Array | None, caption: str
) -> npt.NDArray[np.uint8] | str:
    """People (n, D) at the last steps, the newest last, with what the AI says, (D,) or None.

    "rgb_array": (height, width, 3), the first two dimensions as a map, former places paler, and a histogram of each of
    the first five; the estimate is orange, the broadcast red. "ansi": histograms as text, `|` the estimate's place and
    `!` the broadcast's.
    """
    if mode == "ansi":
        return _text(points[-1], estimate, broadcast, caption)
    pixels = drawing.blank(SIDE + 3 * MARGIN + 16, 2 * SIDE + 3 * MARGIN, PAGE)
    pen = drawing.Canvas(pixels)
    pen.paint(drawing.rectangle(MARGIN, MARGIN, MARGIN + SIDE, MARGIN + SIDE, 8), PANEL)
    for at in (-1.0, -0.5, 0.0, 0.5, 1.0):
        x = MARGIN + _place(at)
        pen.paint(drawing.line([(x, MARGIN + 6), (x, MARGIN + SIDE - 6)], 1), GRID)
        pen.paint(drawing.line([(MARGIN + 6, x), (MARGIN + SIDE - 6, x)], 1), GRID)
    for i, people in enumerate(points):
        newest = i == len(points) - 1
        for person in people:
            pen.paint(drawing.circle(_on_map(person), 4.0 if newest else 2.5), PERSON if newest else FORMER)
    for value, colour, radius in ((estimate, ESTIMATE, 9.0), (broadcast, BROADCAST, 6.0)):
        if value is not None:
            pen.paint(drawing.circle(_on_map(value), radius), colour, outline=PANEL, width=2)
    dimensions = min(points[-1].shape[-1], SHOWN)
    for d in range(dimensions):
        _histogram(pen, d, points[-1], estimate, broadcast)
    pen.text((MARGIN, SIDE + 2 * MARGIN), caption, 10, INK)
    pen.text((MARGIN, SIDE + 2 * MARGIN + 18), "values 1 and 2", 8, PERSON)
    for right, word, colour in ((SIDE, "estimate", ESTIMATE), (SIDE + 130, "broadcast", BROADCAST)):
        pen.paint(drawing.circle((right + 4, SIDE + 2 * MARGIN), 6), colour)
        pen.text((right + 18, SIDE + 2 * MARGIN), word, 10, INK)
    return pixels


def _place(value: float) -> float:
    """Pixels from the left edge of a panel."""
    return (float(np.clip(value, -REACH, REACH)) / REACH + 1) / 2 * SIDE


def _on_map(value: Array) -> tuple[float, float]:
    """A person's place on the map: the first value to the right, the second (if any) upwards."""
    second = value[1] if len(value) > 1 else 0.0
    return MARGIN + _place(value[0]), MARGIN + SIDE - _place(second)


def counts(values: Array) -> npt.NDArray[np.int64]:
    """How many of the values (n,) lie in each of the bins; those beyond the ends count in the last ones."""
    index = np.floor((np.clip(values, -REACH, REACH) / REACH + 1) / 2 * BINS).astype(np.int64)
    return np.bincount(np.minimum(index, BINS - 1), minlength=BINS)


def _histogram(pen: drawing.Canvas, d: int, people: Array, estimate: Array | None, broadcast: Array | None) -> None:
    left, floor, high = 2 * MARGIN + SIDE, MARGIN + (d + 1) * (ROW + 5) - 5, ROW - 10
    pen.paint(drawing.rectangle(left, floor - ROW, left + SIDE, floor + 2, 6), PANEL)
    heights = counts(people[:, d])
    top = max(int(heights.max()), 1)
    for i, n in enumerate(heights.tolist()):
        if n:
            x = left + i * SIDE / BINS
            pen.paint(drawing.rectangle(x + 1, floor - high * n / top, x + SIDE / BINS - 1, floor), PERSON)
    for value, colour in ((estimate, ESTIMATE), (broadcast, BROADCAST)):
        if value is not None:
            x = left + _place(value[d])
            pen.paint(drawing.line([(x, floor - ROW + 6), (x, floor - 2)], 3), colour)
    pen.text((left + 6, floor - ROW + 10), f"{d + 1}", 8, INK)


def _text(people: Array, estimate: Array | None, broadcast: Array | None, caption: str) -> str:
    lines = [f"{caption}; values from {-REACH} to {REACH}"]
    for d in range(min(people.shape[-1], SHOWN)):
        heights = counts(people[:, d])
        bars = [BARS[int(np.ceil(8 * n / max(int(heights.max()), 1)))] for n in heights.tolist()]
        for value, mark in ((estimate, "|"), (broadcast, "!")):
            if value is not None:
                bars[min(int(_place(value[d]) / SIDE * BINS), BINS - 1)] = mark
        lines.append(f"{d + 1} [{''.join(bars)}]")
    return "\n".join(lines)
