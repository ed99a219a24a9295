"""Pictures of the identifiability probes: two segments as rows of states joined by arrows."""

from __future__ import annotations

from valuegym.envs.rendering import raster
from valuegym.envs.rendering.palette import Delivery
from valuegym.envs.rendering.raster import Canvas, Pixels

__all__ = ["paths"]


def paths(steps: list[list[tuple[int, str, str]]], length: int, caption: str) -> Pixels:
    """Two rows of states joined by arrows, which carry the action above and what was earned below."""
    step, row, left = 190, 120, 110
    pixels = raster.blank(2 * row + 70, left + length * step + 84, Delivery.PAGE)
    pen = Canvas(pixels)
    for i, (name, path) in enumerate(zip(("first", "second"), steps, strict=True)):
        y = 70.0 + i * row
        pen.paint(raster.rectangle(12, y - 48, pixels.shape[1] - 12, y + 48, 10), Delivery.ROAD)
        pen.text((28, y), name, 11, Delivery.WHITE)
        for j, (state, action, earned) in enumerate(path):
            x = left + 30.0 + j * step
            pen.paint(raster.circle((x, y), 24), Delivery.SLATE, outline=Delivery.WHITE, width=3)
            pen.text((x, y), str(state), 15, Delivery.WHITE, anchor="center", weight=1.3)
            if action:
                fill = Delivery.ARROWS[j % len(Delivery.ARROWS)][0]
                pen.paint(raster.arrow([(x + 32, y), (x + step - 32, y)], 7, 20), fill, outline="#ffffff", width=2)
                pen.text((x + step / 2, y - 24), action, 10, Delivery.WHITE, anchor="center")
                pen.text((x + step / 2, y + 26), earned, 10, Delivery.GOLD, anchor="center")
    pen.text((18, pixels.shape[0] - 24), caption, 10, Delivery.INK)
    return pixels
