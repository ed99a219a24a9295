"""Pictures of control tasks: a panel in metres, arrows for what pushes, and distracting dimensions as bars below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.rendering.axes import Key, Panel, border, legend, mark
from valuegym.envs.rendering.font import Point, text_width
from valuegym.envs.rendering.palette import Control
from valuegym.envs.rendering.raster import Canvas, Pixels, Shape, arrow, blank, circle, line, polygon, rectangle

__all__ = ["WIDTH", "Scene", "bars", "listed", "pair"]

Array = npt.NDArray[Any]

WIDTH, HEIGHT, STRIP, MARGIN, CAPTION = 480, 320, 110, 14, 30
PIECE = 4  # of a curve, segments painted at once


def listed(values: Array) -> str:
    """Distracting dimensions as text; nothing if there are none."""
    return "  distractors " + " ".join(f"{value:+.2f}" for value in values) if len(values) else ""


@cache
def _panel() -> Pixels:
    """The empty page with its framed panel."""
    pixels = blank(HEIGHT + CAPTION, WIDTH, Control.PAPER)
    frame = rectangle(MARGIN, MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN / 2, 6)
    Canvas(pixels).paint(frame, Control.PANEL, outline=Control.INK, width=2.5)
    return pixels


class Scene:
    """A picture in the making; positions are (x, y) in world units with y up, `half_width` of them to each side.

    Raises:
        ValueError: the half width is no finite number above 0.
    """

    def __init__(self, half_width: float, center: Point = (0.0, 0.0)) -> None:
        checks.real("half_width", half_width, above=0)
        self.pixels = _panel().copy()
        self.page = Canvas(self.pixels)
        self.scale = (WIDTH - 2 * MARGIN) / (2 * half_width)
        middle = (HEIGHT + MARGIN / 2) / 2
        self.pen = self.page.at(WIDTH / 2 - center[0] * self.scale, middle + center[1] * self.scale, self.scale)

    def _px(self, pixels: float) -> float:
        """Pixels in world units."""
        return pixels / self.scale

    def _flip(self, points: Sequence[Point]) -> list[Point]:
        return [(float(x), -float(y)) for x, y in points]

    def paint(self, shape: Shape, fill: Any, outline: float = 2.0, opacity: float = 1.0) -> None:
        """A shape in world units (with y down) with a dark outline of so many pixels."""
        if outline:
            self.pen.paint(shape, fill, outline=Control.INK, width=self._px(outline), opacity=opacity)
        else:
            self.pen.paint(shape, fill, opacity=opacity)

    def curve(self, points: Sequence[Point], color: Any, width: float = 3.0, opacity: float = 1.0) -> None:
        """A line through points, so many pixels wide."""
        for i in range(0, len(points) - 1, PIECE):  # short pieces have small boxes, and are quick
            self.pen.paint(line(self._flip(points[i : i + PIECE + 1]), self._px(width)), color, opacity=opacity)

    def track(self, left: float, right: float, y: float, goal: float | None = None) -> None:
        """A rail from left to right with a stop at each end, and a flag at the goal."""
        self.curve([(left, y), (right, y)], Control.SLATE, 5)
        for x in (left, right):
            self.curve([(x, y - self._px(7)), (x, y + self._px(7))], Control.INK, 4)
        if goal is not None:
            self.flag((goal, y))

    def flag(self, foot: Point) -> None:
        """A green flag on a pole."""
        x, y = foot
        px = self._px
        self.curve([(x, y), (x, y + px(64))], Control.INK, 3)
        corners = [(x + px(2), y + px(64)), (x + px(28), y + px(55)), (x + px(2), y + px(46))]
        self.pen.paint(polygon(self._flip(corners)), Control.GREEN)

    def block(self, at: Point, size: Point = (0.44, 0.24), faint: bool = False, color: str = Control.RED) -> None:
        """A block centred at a point; faint for where it was."""
        (x, y), (w, h) = at, size
        box = rectangle(x - w / 2, -y - h / 2, x + w / 2, -y + h / 2, h / 6)
        self.paint(box, color, 0 if faint else 2.5, 0.18 if faint else 1.0)

    def rod(self, start: Point, end: Point, width: float, color: str = Control.RED, faint: bool = False) -> None:
        """A rod of so many world units' width between two points."""
        self.paint(line(self._flip([start, end]), width), color, 0 if faint else 2.5, 0.18 if faint else 1.0)

    def dot(self, at: Point, radius: float, color: str = Control.INK, outline: float = 0.0) -> None:
        """A disc."""
        self.paint(circle((at[0], -at[1]), radius), color, outline)

    def push(self, at: Point, share: float, reach: float = 90.0) -> None:
        """A horizontal arrow from a point, `reach` pixels long for a share of 1; none for a very small one."""
        if abs(share) * reach > 6:
            tip = (at[0] + self._px(reach * share), at[1])
            shaft = arrow(self._flip([at, tip]), self._px(5), self._px(min(16.0, abs(share) * reach)))
            self.paint(shaft, Control.GOLD, 1.5)

    def lift(self, at: Point, share: float, reach: float = 90.0) -> None:
        """Draw a vertical arrow from a point, upwards for positive shares, as `push` does."""
        if abs(share) * reach > 6:
            tip = (at[0], at[1] + self._px(reach * share))
            shaft = arrow(self._flip([at, tip]), self._px(5), self._px(min(16.0, abs(share) * reach)))
            self.paint(shaft, Control.GOLD, 1.5)

    def turn(self, at: Point, share: float, radius: float) -> None:
        """An arc with an arrowhead around a point, counter-clockwise for positive shares; 1 is half a turn."""
        if abs(share) > 0.03:
            angles = np.pi / 2 + np.sign(share) * np.linspace(0, abs(share) * np.pi, 24)
            points = [(at[0] + radius * float(np.cos(a)), at[1] + radius * float(np.sin(a))) for a in angles]
            self.paint(arrow(self._flip(points), self._px(5), self._px(16)), Control.GOLD, 1.5)

    def image(self, caption: str) -> Pixels:
        """The finished picture with a caption."""
        self.page.text((MARGIN + 2, HEIGHT + CAPTION / 2 - 2), caption, 9, Control.INK)
        return self.pixels


def bars(values: Array, full: float, width: int) -> Pixels:
    """A strip of picture (STRIP, width, 3) with values as bars up and down; `full` fills it.

    Raises:
        ValueError: `full` is no finite number above 0, or the width no number of pixels.
    """
    checks.real("full", full, above=0)
    pixels = blank(STRIP, width, Control.PAPER)
    page, top, bottom = Canvas(pixels), 20, STRIP - 24
    words = f"distractors: they move, and change nothing (full scale {full:g})"
    page.text((MARGIN + 2, 8), words, 8, Control.INK)
    page.paint(rectangle(MARGIN, top, width - MARGIN, bottom, 6), Control.PANEL, outline=Control.INK, width=2)
    middle, half = (top + bottom) / 2, (bottom - top) / 2 - 5
    page.paint(line([(MARGIN + 8, middle), (width - MARGIN - 8, middle)], 1.5), Control.SLATE)
    pitch = (width - 2 * MARGIN - 16) / max(len(values), 1)
    named = text_width(f"d{len(values)}", 8) + 4 <= pitch
    for i, value in enumerate(np.clip(np.asarray(values) / full, -1, 1).tolist()):
        x, tip = MARGIN + 8 + pitch * i, middle - half * value
        page.paint(
            rectangle(x + 0.2 * pitch, min(middle, tip), x + 0.8 * pitch, max(middle, tip) + 0.5), Control.VIOLET
        )
        if named:
            page.text((x + pitch / 2, bottom + 12), f"d{i + 1}", 8, Control.INK, anchor="center")
    return pixels


REACH, FULL_FORCE = 2.5, 6.0  # of the axes of segments (m, m/s), and of their forces (N)


def pair(states: Array, forces: Array, physical: int, caption: str, answer: int) -> Pixels:
    """Draw two segments side by side over their steps, states (2, L + 1, n), with forces (2, L) as bars below.

    The first `physical` dimensions are position and velocity, the others distractors. A frame marks the preferred
    segment, 0 or 1.
    """
    side, tall, low, left, gap = 400, 260, 90, 64, 76
    pixels = blank(590, 2 * side + left + gap + 36, Control.PAPER)
    page, steps = Canvas(pixels), forces.shape[1]
    ticks = [float(t) for t in range(0, steps + 1, max(1, steps // 5))]
    for i, name in enumerate(("first", "second")):
        x = left + i * (side + gap)
        if answer == i:
            border(page, (x - 56, 12, x + side + 18, 512), Control.GREEN, 6)
        words = f"{name}: preferred" if answer == i else name
        page.text((x + side / 2, 32), words, 12, Control.INK, anchor="center", weight=1.4 if answer == i else 1.1)
        panel = Panel(page, (x, 70, side, tall), (0, steps), (-REACH, REACH))
        panel.frame(ticks, (-2, -1, 0, 1, 2), "", "position (m), velocity (m/s)")
        for d in reversed(range(states.shape[2])):
            width, opacity = ((4.5, 1.0), (3.0, 1.0))[d] if d < physical else (1.6, 0.55)
            points = [(float(t), float(value)) for t, value in enumerate(states[i, :, d])]
            panel.curve(points, _COLORS[min(d, physical)], width, opacity)
        panel = Panel(page, (x, 70 + tall + 44, side, low), (0, steps), (-FULL_FORCE, FULL_FORCE))
        panel.frame(ticks, (-5, 0, 5), "step", "force (N)")
        for t, force in enumerate(forces[i].tolist()):
            panel.bar(t + 0.15, t + 0.85, force, Control.GOLD)
    keys: list[Key] = [
        (word, partial(mark, kind=kind, color=color))
        for word, kind, color in (
            ("position", "line", _COLORS[0]),
            ("velocity", "line", _COLORS[1]),
            ("force", "bar", Control.GOLD),
            ("distractors", "line", _COLORS[2]),
        )[: 4 if states.shape[2] > physical else 3]
    ]
    legend(page, left - 8, 522, pixels.shape[1] - left, keys)
    page.text((left - 8, 568), caption, 10, Control.INK)
    return pixels


_COLORS = (Control.RED, Control.INK, Control.VIOLET)  # position, velocity, distractors
