"""Axes of pictures: a panel with ticks and labels, the places of numbers in it, and legends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from valuegym.envs.rendering.font import Point, text_width
from valuegym.envs.rendering.palette import Chart, Color
from valuegym.envs.rendering.raster import Canvas, circle, line, polygon, rectangle

__all__ = ["KEY", "Key", "Panel", "legend", "mark"]

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
        pen.paint(rectangle(left, top, left + width, floor, 6), fill)
        for x in xs:
            at, _ = self.place(x, self.y[0])
            pen.paint(line([(at, top + 5), (at, floor - 5)], 1), Chart.GRID)
            if numbers:
                pen.text((at, floor + 11), f"{x:g}", SMALL, Chart.INK, anchor="center")
        for y in ys:
            _, at = self.place(self.x[0], y)
            pen.paint(line([(left + 5, at), (left + width - 5, at)], 1), Chart.GRID)
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
    if kind == "dot":
        pen.paint(circle(at, size), color)
    elif kind == "ring":
        pen.paint(circle(at, size - 1.6), outline=color, width=1.6)
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
