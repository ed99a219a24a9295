"""Pictures of populations: where people stand, how many hold what, and what the AI says. Pure functions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.rendering import raster
from valuegym.envs.rendering.palette import LockIn, Population

__all__ = ["counts", "errors_as_picture", "errors_as_text", "population"]

Array = npt.NDArray[Any]

REACH = 1.25  # values drawn go from -REACH to REACH
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

    Raises:
        ValueError: the mode is another one.
    """
    checks.choice("mode", mode, ("rgb_array", "ansi"))
    if mode == "ansi":
        return _text(points[-1], estimate, broadcast, caption)
    pixels = raster.blank(SIDE + 3 * MARGIN + 16, 2 * SIDE + 3 * MARGIN, Population.PAGE)
    pen = raster.Canvas(pixels)
    pen.paint(raster.rectangle(MARGIN, MARGIN, MARGIN + SIDE, MARGIN + SIDE, 8), Population.PANEL)
    for at in (-1.0, -0.5, 0.0, 0.5, 1.0):
        x = MARGIN + _place(at)
        pen.paint(raster.line([(x, MARGIN + 6), (x, MARGIN + SIDE - 6)], 1), Population.GRID)
        pen.paint(raster.line([(MARGIN + 6, x), (MARGIN + SIDE - 6, x)], 1), Population.GRID)
    for i, people in enumerate(points):
        newest = i == len(points) - 1
        for person in people:
            pen.paint(
                raster.circle(_on_map(person), 4.0 if newest else 2.5),
                Population.PERSON if newest else Population.FORMER,
            )
    for value, colour, radius in ((estimate, Population.ESTIMATE, 9.0), (broadcast, Population.BROADCAST, 6.0)):
        if value is not None:
            pen.paint(raster.circle(_on_map(value), radius), colour, outline=Population.PANEL, width=2)
    dimensions = min(points[-1].shape[-1], SHOWN)
    for d in range(dimensions):
        _histogram(pen, d, points[-1], estimate, broadcast)
    pen.text((MARGIN, SIDE + 2 * MARGIN), caption, 10, Population.INK)
    pen.text((MARGIN, SIDE + 2 * MARGIN + 18), "values 1 and 2", 8, Population.PERSON)
    for right, word, colour in (
        (SIDE, "estimate", Population.ESTIMATE),
        (SIDE + 130, "broadcast", Population.BROADCAST),
    ):
        pen.paint(raster.circle((right + 4, SIDE + 2 * MARGIN), 6), colour)
        pen.text((right + 18, SIDE + 2 * MARGIN), word, 10, Population.INK)
    return pixels


def _place(value: float) -> float:
    """Pixels from the left edge of a panel."""
    return (float(np.clip(value, -REACH, REACH)) / REACH + 1) / 2 * SIDE


def _on_map(value: Array) -> tuple[float, float]:
    """A person's place on the map: the first value to the right, the second (if any) upwards."""
    second = value[1] if len(value) > 1 else 0.0
    return MARGIN + _place(value[0]), MARGIN + SIDE - _place(second)


def counts(values: Array) -> npt.NDArray[np.int64]:
    """Count the values (n,) in each of the bins; those beyond the ends count in the last ones."""
    index = np.floor((np.clip(values, -REACH, REACH) / REACH + 1) / 2 * BINS).astype(np.int64)
    return np.bincount(np.minimum(index, BINS - 1), minlength=BINS)


def _histogram(pen: raster.Canvas, d: int, people: Array, estimate: Array | None, broadcast: Array | None) -> None:
    left, floor, high = 2 * MARGIN + SIDE, MARGIN + (d + 1) * (ROW + 5) - 5, ROW - 10
    pen.paint(raster.rectangle(left, floor - ROW, left + SIDE, floor + 2, 6), Population.PANEL)
    heights = counts(people[:, d])
    top = max(int(heights.max()), 1)
    for i, n in enumerate(heights.tolist()):
        if n:
            x = left + i * SIDE / BINS
            pen.paint(raster.rectangle(x + 1, floor - high * n / top, x + SIDE / BINS - 1, floor), Population.PERSON)
    for value, colour in ((estimate, Population.ESTIMATE), (broadcast, Population.BROADCAST)):
        if value is not None:
            x = left + _place(value[d])
            pen.paint(raster.line([(x, floor - ROW + 6), (x, floor - 2)], 3), colour)
    pen.text((left + 6, floor - ROW + 10), f"{d + 1}", 8, Population.INK)


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


WIDE, ERROR_BINS = 4.0, 40  # the histogram of errors goes from -WIDE to WIDE units


def _error_counts(errors: Array) -> list[int]:
    """Return how many errors lie in each bin; those beyond the ends count in the last ones."""
    index = np.floor((np.clip(errors, -WIDE, WIDE) / WIDE + 1) / 2 * ERROR_BINS).astype(np.int64)
    return np.bincount(np.minimum(index, ERROR_BINS - 1), minlength=ERROR_BINS).tolist()


def errors_as_text(errors: Array, message: float | None, trust: float, weight: float, caption: str) -> str:
    """Return a histogram of the errors of people (N,), with the error of the last message, as lines of text."""
    counts = _error_counts(errors)
    bars = [" ▁▂▃▄▅▆▇█"[int(np.ceil(8 * n / max(*counts, 1)))] for n in counts]
    marks = [" "] * (ERROR_BINS + 1)
    marks[ERROR_BINS // 2] = "^"
    if message is not None:
        marks[int((np.clip(message, -WIDE, WIDE) / WIDE + 1) / 2 * ERROR_BINS)] = "!"
    return (
        f"{caption}; errors from -{WIDE:g} to {WIDE:g} times those of people alone\n[{''.join(bars)}]\n "
        f"{''.join(marks)}  ^ truth, ! the AI\ntrust {trust:.2f} of the threshold, voice {weight:.6f}"
    )


def errors_as_picture(errors: Array, message: float | None, trust: float, weight: float, caption: str) -> raster.Pixels:
    """Draw a histogram of the errors of people (N,), with the error of the last message.

    Errors are in units of those of people alone, trust in units of its threshold; weight is the message's.
    """
    side, left, floor, high = 560, 30, 270, 210
    pixels = raster.blank(380, side + 2 * left, LockIn.PAGE)
    pen = raster.Canvas(pixels)
    pen.text((left, 20), caption, 11, LockIn.INK)
    pen.paint(raster.rectangle(left, 40, left + side, floor, 8), LockIn.PANEL)

    def place(error: float) -> float:
        return left + (float(np.clip(error, -WIDE, WIDE)) / WIDE + 1) / 2 * side

    for at in range(-3, 4):
        pen.paint(raster.line([(place(at), 46), (place(at), floor)], 1), LockIn.GRID)
        pen.text((place(at), floor + 14), f"{at}", 8, LockIn.INK, anchor="center")
    counts = _error_counts(errors)
    for i, n in enumerate(counts):
        if n:
            x = left + i * side / ERROR_BINS
            pen.paint(
                raster.rectangle(x + 1, floor - high * n / max(counts), x + side / ERROR_BINS - 1, floor), LockIn.PERSON
            )
    pen.paint(raster.line([(place(0), 46), (place(0), floor)], 3), LockIn.TRUTH)
    if message is not None:
        pen.paint(raster.circle((place(message), 52), 8), LockIn.MESSAGE, outline=LockIn.PANEL, width=2)
    pen.text((left, floor + 34), "error of people, 1 = as if they were alone", 9, LockIn.INK)
    for i, (word, colour) in enumerate((("truth", LockIn.TRUTH), ("the AI", LockIn.MESSAGE))):
        pen.paint(raster.circle((left + 390 + 90 * i, floor + 34), 6), colour)
        pen.text((left + 402 + 90 * i, floor + 34), word, 9, LockIn.INK)
    for y, word, share, mark in ((floor + 58, "trust", trust / 2, True), (floor + 82, "voice", weight, False)):
        pen.text((left, y), word, 9, LockIn.INK)
        pen.paint(raster.rectangle(left + 80, y - 7, left + side, y + 7, 4), LockIn.PANEL)
        width = (side - 80) * min(share, 1.0)
        if width > 0:
            pen.paint(
                raster.rectangle(left + 80, y - 7, left + 80 + width, y + 7, 4),
                LockIn.MESSAGE if mark else LockIn.PERSON,
            )
        if mark:  # the threshold lies in the middle
            pen.paint(
                raster.line([(left + 80 + (side - 80) / 2, y - 10), (left + 80 + (side - 80) / 2, y + 10)], 2),
                LockIn.INK,
            )
    return pixels
