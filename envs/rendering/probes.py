"""Pictures of the identifiability probes: two segments as rows of states, and of chances that came true or did not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from valuegym.envs.rendering import raster
from valuegym.envs.rendering.font import Point
from valuegym.envs.rendering.palette import Delivery
from valuegym.envs.rendering.raster import Canvas, Pixels

__all__ = ["Step", "paths"]


class Step(NamedTuple):
    """A state of a segment, and the action taken there; no action in the last one.

    Attributes:
        state: its number.
        action: its name, "" for none.
        outcomes: what the action may earn, with the chance of each; one where nothing is left to chance.
        came: which outcome came true.
    """

    state: int
    action: str
    outcomes: Sequence[tuple[str, float]]
    came: int


STEP, ROW, LEFT, TOP = 260, 150, 150, 30  # pixels


def paths(steps: Sequence[Sequence[Step]], length: int, caption: str, answer: int) -> Pixels:
    """Draw two segments as rows of states joined by arrows, with the action above and what was earned below.

    An action that chance decides is a wheel with a field for each outcome: the arrow goes on from the one that came
    true, the others are faint. A frame marks the preferred segment, 0 or 1.
    """
    width, height = LEFT + length * STEP + 90, TOP + 2 * ROW + 76
    pixels = raster.blank(height + height % 2, width + width % 2, Delivery.PAGE)
    pen = Canvas(pixels)
    for i, (name, path) in enumerate(zip(("first", "second"), steps, strict=True)):
        y = TOP + (i + 0.5) * ROW
        card, green = raster.rectangle(14, y - 64, width - 14, y + 64, 10), Delivery.GREEN
        pen.paint(card, Delivery.ROAD, outline=green if answer == i else None, width=7 if answer == i else 0)
        pen.text((32, y - (14 if answer == i else 0)), name, 12, Delivery.WHITE, weight=1.25)
        if answer == i:
            pen.paint(raster.rectangle(26, y + 4, 124, y + 28, 12), green)
            pen.text((75, y + 16), "preferred", 9, Delivery.WHITE, anchor="center", weight=1.2)
        for j, step in enumerate(path):
            x = LEFT + 24.0 + j * STEP
            pen.paint(raster.circle((x, y), 24), Delivery.SLATE, outline=Delivery.WHITE, width=3)
            pen.text((x, y), str(step.state), 15, Delivery.WHITE, anchor="center", weight=1.3)
            if step.action:
                _transition(pen, (x, y), j, step)
    foot = height - 40
    pen.text((18, foot), caption, 10, Delivery.INK)
    words = "circles: states; above an arrow the action, below what it earned"
    if any(len(step.outcomes) > 1 for path in steps for step in path):
        words += "; a wheel: chance decides"
    pen.text((18, foot + 20), words, 8, Delivery.FACE)
    return pixels


def _transition(pen: Canvas, start: Point, number: int, step: Step) -> None:
    """The arrow of an action, through a wheel where chance decides."""
    x, y = start
    fill = Delivery.ARROWS[number % len(Delivery.ARROWS)][0]
    end = (x + STEP - 32, y)
    if len(step.outcomes) == 1:
        pen.paint(raster.arrow([(x + 32, y), end], 7, 20), fill, outline=Delivery.WHITE, width=2)
        pen.text((x + STEP / 2, y - 24), step.action, 10, Delivery.WHITE, anchor="center")
        pen.text((x + STEP / 2, y + 26), f"earns {step.outcomes[0][0]}", 10, Delivery.GOLD, anchor="center")
        return
    wheel = (x + 88.0, y)
    pen.paint(raster.line([(x + 32, y), (wheel[0] - 22, y)], 7), fill, outline=Delivery.WHITE, width=2)
    pen.text((wheel[0], y - 40), step.action, 10, Delivery.WHITE, anchor="center")
    _wheel(pen, wheel, step)
    places = np.linspace(-34, 34, len(step.outcomes)).tolist()
    for k, ((earned, chance), up) in enumerate(zip(step.outcomes, places, strict=True)):
        came = k == step.came
        bend = [(wheel[0] + 24, y + 0.5 * up), (wheel[0] + 46, y + up), (end[0] - 16, y + up), (end[0], y + 0.3 * up)]
        if came:
            pen.paint(raster.arrow(bend, 6, 17), fill, outline=Delivery.WHITE, width=2)
        else:
            pen.paint(raster.line(bend[:3], 3), Delivery.WHITE, opacity=0.35)
        words = f"{earned}, chance {chance:g}"
        at = (wheel[0] + 54, y + up + (-15 if up <= 0 else 16))
        pen.text(at, words, 9, Delivery.GOLD if came else Delivery.WHITE, weight=1.3 if came else 1.0)


def _wheel(pen: Canvas, middle: Point, step: Step) -> None:
    """A disc with a sector for each outcome, as large as its chance; the one that came true is gold."""
    (x, y), radius, begun = middle, 22.0, -np.pi / 2 - np.pi * step.outcomes[0][1]
    pen.paint(raster.circle(middle, radius), Delivery.WHITE, outline=Delivery.INK, width=3)
    for k, (_, chance) in enumerate(step.outcomes):
        angles = np.linspace(begun, begun + 2 * np.pi * chance, 24)
        rim = [(x + radius * float(np.cos(a)), y + radius * float(np.sin(a))) for a in angles]
        shown = Delivery.GOLD if k == step.came else Delivery.ROAD_EDGE
        pen.paint(raster.polygon([middle, *rim]), shown, outline=Delivery.INK, width=0.7)
        begun += 2 * np.pi * chance
