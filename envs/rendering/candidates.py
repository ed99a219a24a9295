"""Pictures of the pairs that an agent may choose from, beside the picture of the last answered one."""

from __future__ import annotations

from collections.abc import Sequence

from valuegym.envs.rendering import raster
from valuegym.envs.rendering.font import text_width
from valuegym.envs.rendering.palette import Delivery
from valuegym.envs.rendering.raster import Canvas, Pixels

__all__ = ["beside"]

MARGIN, GAP, CAPTION, LABEL = 18, 16, 40, 18  # pixels


def beside(picture: Pixels, drawn: Sequence[Pixels], places: int, words: str, empty: bool = False) -> Pixels:
    """Return a picture with so many places for numbered thumbnails of one size to its right.

    Args:
        picture: of the answered pair, (height, width, 3).
        drawn: thumbnails (h, w, 3) of one size, at least one.
        places: how many there is room for.
        words: a line above them, left out where they stay empty.
        empty: whether the places stay empty, for pictures of one size.
    """
    height, width = drawn[0].shape[0] + LABEL + GAP, drawn[0].shape[1] + GAP
    columns = -(-places // max(1, (picture.shape[0] - CAPTION - MARGIN) // height))
    rows = -(-places // columns)
    tall = max(picture.shape[0], CAPTION + rows * height + MARGIN)
    wide = max(columns * width - GAP, round(text_width(words, 10))) + 2 * MARGIN
    edge = picture.shape[1]
    page = raster.blank(tall + tall % 2, edge + wide + (edge + wide) % 2, Delivery.PAGE)
    page[: picture.shape[0], :edge] = picture
    pen = Canvas(page)
    pen.paint(raster.line([(edge, MARGIN), (edge, tall - MARGIN)], 2), Delivery.INK, opacity=0.3)
    pen.text((edge + MARGIN, CAPTION / 2), "no pair follows" if empty else words, 10, Delivery.INK)
    for i, one in enumerate([] if empty else drawn):
        x, y = edge + MARGIN + (i % columns) * width, CAPTION + (i // columns) * height
        pen.text((x, y + LABEL / 2 - 2), str(i), 9, Delivery.INK, weight=1.2)
        y += LABEL
        page[y : y + one.shape[0], x : x + one.shape[1]] = one
        pen.paint(raster.rectangle(x, y, x + one.shape[1], y + one.shape[0]), outline=Delivery.INK, width=2)
    return page
