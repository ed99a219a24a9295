"""Axes of pictures: a panel with ticks and labels, the places of numbers in it, and legends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from valuegym.envs.rendering.font import Point, text_width
from valuegym.envs.rendering.palette import Chart, Color
from valuegym.envs.rendering.raster import Canvas, blank, circle, line, polygon, rectangle

__all__ = ["KEY", "Key", "Panel", "border", "legend", "mark"]

KEY = 26  # pixels: a line of a legend
SMALL, LABEL = 8, 9  # pixels: capitals of numbers, and of words
Key = tuple[str, Callable[[Canvas, Point], None]]  # a name, and what draws its symbol around a point


@dataclass(frozen=True)
class Panel:
    """A rectangle of pixels with axes.

    Attributes:
        pen: canvas in pixels.
        box: left, top, width and height in pixels.
        x: range of the horizontal axis.
        y: range of the vertical axis, which points up.
    """

    pen: Canvas
    box: tuple[float, float, float, float]
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)

    def frame(
        self,
        xs: Sequence[float] = (),
        ys: Sequence[float] = (),
        x_label: str = "",
        y_label: str = "",
        numbers: bool = True,
        fill: Color = Chart.PANEL,
    ) -> None:
        """Paint the background, grid lines at ticks with their numbers, and the labels of both axes."""
        left, top, width, height = self.box
        pen, floor = self.pen, top + height
        pen.fill(left, top, left + width, floor, fill)
        for x in xs:
            at, _ = self.place(x, self.y[0])
            pen.fill(at - 0.5, top + 4, at + 0.5, floor - 4, Chart.GRID)
            if numbers:
                pen.text((at, floor + 11), f"{x:g}", SMALL, Chart.INK, anchor="center")
        for y in ys:
            _, at = self.place(self.x[0], y)
            pen.fill(left + 4, at - 0.5, left + width - 4, at + 0.5, Chart.GRID)
            if numbers:
                pen.text((left - 6, at), f"{y:g}", SMALL, Chart.INK, anchor="right")
        if x_label:
            pen.text((left + width / 2, floor + (28 if numbers else 12)), x_label, LABEL, Chart.INK, anchor="center")
        if y_label:
            pen.text((left, top - 12), y_label, LABEL, Chart.INK)

    def place(self, x: float, y: float) -> Point:
        """Return the pixels of a point; one beyond the axes lies on their edge."""
        left, top, width, height = self.box
        across, up = (
            min(max((value - low) / (high - low), 0.0), 1.0) for value, (low, high) in ((x, self.x), (y, self.y))
        )
        return left + across * width, top + (1 - up) * height

    def bar(self, start: float, end: float, height: float, color: Color) -> None:
        """Fill a bar from 0 to a height, one pixel narrower than from start to end on each side."""
        (left, zero), (right, tip) = self.place(start, 0.0), self.place(end, height)
        if height:
            self.pen.fill(left + 1, min(zero, tip), right - 1, max(zero, tip), color)

    def steps(self, edges: Sequence[float], heights: Sequence[float], color: Color, width: float = 2.0) -> None:
        """Draw the outline of bars that stand side by side between edges."""
        before = 0.0
        for i, height in enumerate([*heights, 0.0]):
            (x, low), (_, high) = self.place(edges[i], min(before, height)), self.place(edges[i], max(before, height))
            self.pen.fill(x - width / 2, high - width / 2, x + width / 2, low + width / 2, color)
            if i < len(heights) and height:
                (left, y), (right, _) = self.place(edges[i], height), self.place(edges[i + 1], height)
                self.pen.fill(left - width / 2, y - width / 2, right + width / 2, y + width / 2, color)
            before = height

    def curve(self, points: Sequence[Point], color: Color, width: float = 2.0, opacity: float = 1.0) -> None:
        """Draw a line through points, given in numbers of the axes."""
        places = [self.place(x, y) for x, y in points]
        for i in range(len(places) - 1):
            self.pen.paint(line(places[i : i + 2], width), color, opacity=opacity)


def mark(pen: Canvas, at: Point, kind: str, color: Color, size: float = 7.0) -> None:
    """Draw a symbol of so many pixels to each side around a point.

    `kind` is "dot", "ring", "disc" (with an edge), "diamond", "square", "triangle", "line" or "bar".
    """
    x, y = at
    if kind in ("dot", "ring"):
        left, top = int(x // 1), int(y // 1)
        coverage = _round(kind, size, round((x - left) * 4) / 4, round((y - top) * 4) / 4)
        half = len(coverage) // 2
        pen.stamp(left - half, top - half, coverage, color)
    elif kind == "disc":
        pen.paint(circle(at, size), color, outline=Chart.PANEL, width=2)
    elif kind == "line":
        pen.paint(line([(x - size, y), (x + size, y)], 3), color)
    elif kind == "bar":
        pen.paint(rectangle(x - size, y - size, x + size, y + size, 1), color)
    else:
        corners = {
            "diamond": [(x, y - size), (x + size, y), (x, y + size), (x - size, y)],
            "square": [(x - size, y - size), (x + size, y - size), (x + size, y + size), (x - size, y + size)],
            "triangle": [(x, y - size), (x + size, y + size * 0.8), (x - size, y + size * 0.8)],
        }[kind]
        pen.paint(polygon(corners, 1), color, outline=Chart.PANEL, width=2)


@lru_cache(maxsize=512)
def _round(kind: str, size: float, right: float, down: float) -> Any:
    """Coverage of a disc or a ring whose centre lies right and down of the corner in the middle."""
    half = int(size) + 3
    pixels = blank(2 * half, 2 * half, (0, 0, 0))
    shape = circle((half + right, half + down), size if kind == "dot" else size - 1.6)
    style: dict[str, Any] = {"fill": (255, 255, 255)} if kind == "dot" else {"outline": (255, 255, 255), "width": 1.6}
    Canvas(pixels).paint(shape, **style)
    return pixels[..., 0].astype(np.float32) / np.float32(255)


def border(pen: Canvas, box: tuple[float, float, float, float], color: Color, width: float) -> None:
    """Draw a frame of so many pixels inside a box of left, top, right and bottom."""
    left, top, right, bottom = box
    for sides in (
        (left, top, right, top + width),
        (left, bottom - width, right, bottom),
        (left, top, left + width, bottom),
        (right - width, top, right, bottom),
    ):
        pen.fill(*sides, color)


def legend(pen: Canvas, left: float, top: float, width: float, keys: Sequence[Key]) -> None:
    """Write keys in as many columns as their names leave room for, from the left, KEY pixels a line."""
    if not keys:
        return
    column = max(text_width(name, LABEL) for name, _ in keys) + 40
    columns = max(1, int(width // column))
    for i, (name, draw) in enumerate(keys):
        x, y = left + (i % columns) * column, top + (i // columns) * KEY + KEY / 2
        draw(pen, (x + 8, y))
        pen.text((x + 24, y), name, LABEL, Chart.INK)
