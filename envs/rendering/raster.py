"""A small anti-aliased rasteriser in numpy: shapes are signed distance functions, a canvas paints them onto pixels.

A shape answers "how far is this point from my edge" (negative inside), so one rule paints everything: a pixel's
coverage is half minus its distance in pixels, clipped to [0, 1]. Outlines and halos are the same shape grown, soft
shadows the same edge widened. Details finer than a pixel are drawn on a larger canvas and averaged down with `shrink`.
The same calls always give the same bytes.

Coordinates are (x, y) with x to the right and y down, from the top left corner of the image. A `Canvas` may have any
unit and origin, and painting on a view such as `pixels[:, ::-1]` mirrors a picture.

Example::

    pixels = blank(100, 200, "#f6f4ef")
    canvas = Canvas(pixels)
    canvas.paint(circle((50, 50), 30), "#e63946", outline="#ffffff", width=3)
    canvas.paint(arrow([(90, 50), (180, 50)], 6), "#1d3557")
    canvas.text((50, 50), "A", 14, "#ffffff", anchor="center")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.rendering.font import SPACE, Point, strokes, text_width
from valuegym.envs.rendering.palette import Color, rgb

__all__ = ["Canvas", "Shape", "arrow", "blank", "circle", "line", "polygon", "rectangle", "shrink", "union"]

LARGEST = 2**14  # pixels along a side
Pixels: TypeAlias = npt.NDArray[np.uint8]
Field: TypeAlias = npt.NDArray[np.floating[Any]]


class Shape(NamedTuple):
    """A region of the plane: the distance of points (x, y) to its edge, negative inside, and the box that holds it."""

    distance: Callable[[Field, Field], Field]
    bounds: tuple[float, float, float, float]  # left, top, right, bottom


# ---------------------------------------------------------------- shapes


def circle(center: Point, radius: float | Point) -> Shape:
    """A disc, or an ellipse when `radius` is a pair (rx, ry), whose distance is exact to first order at its edge."""
    (cx, cy), (rx, ry) = center, radius if isinstance(radius, tuple) else (radius, radius)

    def distance(x: Field, y: Field) -> Field:
        x, y = x - cx + 1e-9 * rx, y - cy  # the nudge keeps the centre itself from 0 / 0
        size = np.hypot(x / rx, y / ry)
        return _field(size * (size - 1) / np.hypot(x / rx**2, y / ry**2))

    return Shape(distance, (cx - rx, cy - ry, cx + rx, cy + ry))


def rectangle(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Shape:
    """An axis-parallel rectangle whose corners are rounded with `radius`."""
    cx, cy, half_width, half_height = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2

    def distance(x: Field, y: Field) -> Field:
        dx, dy = np.abs(x - cx) - half_width + radius, np.abs(y - cy) - half_height + radius
        return _field(np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - radius)

    return Shape(distance, (left, top, right, bottom))


def line(points: Sequence[Point], width: float) -> Shape:
    """A polyline of the given width with round caps and joints; one point gives a dot."""
    pairs = list(pairwise(points)) or [(points[0], points[0])]

    return Shape(lambda x, y: _distance(x, y, pairs) - width / 2, _bounds(points, width / 2))


def polygon(points: Sequence[Point], radius: float = 0.0) -> Shape:
    """A filled polygon (even-odd rule), grown by `radius` with rounded corners."""
    edges = list(zip(points, [*points[1:], points[0]], strict=True))

    def distance(x: Field, y: Field) -> Field:
        inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
        for (ax, ay), (bx, by) in edges:
            if ay != by:  # a ray to the right crosses this edge
                inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
        return _distance(x, y, edges) * np.where(inside, -1, 1) - radius

    return Shape(distance, _bounds(points, radius))


def arrow(points: Sequence[Point], width: float, head: float | None = None) -> Shape:
    """A polyline with a triangular head, `head` long and wide (3 widths by default), whose tip is the last point."""
    head = 3 * width if head is None else head
    tip, before = np.asarray(points[-1], dtype=float), np.asarray(points[-2], dtype=float)
    along = (tip - before) / max(float(np.hypot(*(tip - before))), 1e-9)
    corner = head * 0.1  # the rounding of the head's corners, by which the triangle inside is smaller
    base, across = tip - (head - corner) * along, np.array([-along[1], along[0]]) * (head / 2 - corner)
    neck = tip - head / 2 * along
    triangle = polygon([_point(tip - corner * along), _point(base + across), _point(base - across)], corner)
    return union(line([*points[:-1], _point(neck)], width), triangle)


def union(*shapes: Shape) -> Shape:
    """Unite shapes into one, so that an outline goes around the whole."""
    lefts, tops, rights, bottoms = zip(*(shape.bounds for shape in shapes), strict=True)
    return Shape(
        lambda x, y: _field(np.minimum.reduce([shape.distance(x, y) for shape in shapes])),
        (min(lefts), min(tops), max(rights), max(bottoms)),
    )


def _distance(x: Field, y: Field, pieces: Sequence[tuple[Point, Point]]) -> Field:
    """Distance from (x, y) to the nearest of some straight pieces, each from one point to another."""
    squares = []
    for (ax, ay), (bx, by) in pieces:
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-18), 0, 1)
        squares.append((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)
    return _field(np.sqrt(np.minimum.reduce(squares)))


def _bounds(points: Sequence[Point], margin: float) -> tuple[float, float, float, float]:
    xs, ys = zip(*points, strict=True)
    return min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin


def _point(array: Field) -> Point:
    return float(array[0]), float(array[1])


def _field(values: Any) -> Field:
    return np.asarray(values)


# ---------------------------------------------------------------- pixels


def blank(height: int, width: int, color: Color) -> Pixels:
    """An image of one colour, uint8 (height, width, 3).

    Raises:
        ValueError: a side is no integer from 1 to LARGEST, or the colour is none.
    """
    height, width = checks.integer("height", height, 1, LARGEST), checks.integer("width", width, 1, LARGEST)
    return np.broadcast_to(rgb(color).astype(np.uint8), (height, width, 3)).copy()


def shrink(pixels: Pixels, factor: int) -> Pixels:
    """The image with every factor x factor block averaged into one pixel; its sides must be multiples of `factor`.

    Raises:
        ValueError: the factor is no integer of at least 1 that divides both sides.
    """
    (height, width, channels), factor = pixels.shape, checks.integer("factor", factor, 1)
    if height % factor or width % factor:
        raise checks.refusal("factor", factor, f"a divisor of the sides {height} and {width}")
    blocks = pixels.reshape(height // factor, factor, width // factor, factor, channels)
    return np.asarray(np.rint(blocks.mean((1, 3))), dtype=np.uint8)


@dataclass(frozen=True)
class Canvas:
    """Pixels (height, width, 3) to paint on in place, with units of `scale` pixels and the origin at pixel (x, y)."""

    pixels: Pixels
    scale: float = 1.0
    origin: Point = (0.0, 0.0)

    def at(self, x: float, y: float, scale: float) -> Canvas:
        """Return a canvas on these pixels with its origin at (x, y) and a unit of `scale` of this canvas' units."""
        return Canvas(self.pixels, self.scale * scale, self._pixel((x, y)))

    def paint(
        self,
        shape: Shape,
        fill: Color | None = None,
        *,
        outline: Color | None = None,
        width: float = 0.0,
        opacity: float = 1.0,
        blur: float = 0.0,
    ) -> None:
        """Fill a shape over an outline that reaches `width` units beyond its edge; `blur` units make the edge soft."""
        reach = width + blur
        left, top = self._pixel((shape.bounds[0] - reach, shape.bounds[1] - reach))
        right, bottom = self._pixel((shape.bounds[2] + reach, shape.bounds[3] + reach))
        x0, y0 = max(int(left) - 1, 0), max(int(top) - 1, 0)
        region = self.pixels[y0 : max(int(bottom) + 2, 0), x0 : max(int(right) + 2, 0)]
        if not region.size:
            return
        x = (np.arange(region.shape[1])[None, :] + (x0 + 0.5 - self.origin[0])) / self.scale
        y = (np.arange(region.shape[0])[:, None] + (y0 + 0.5 - self.origin[1])) / self.scale
        distance, soft = shape.distance(x, y) * self.scale, max(blur * self.scale, 1.0)
        inside = np.clip(0.5 - distance / soft, 0, 1)
        if outline is not None:  # without a fill the shape's inside stays as it is
            grown = np.clip(0.5 - (distance - width * self.scale) / soft, 0, 1)
            _blend(region, outline, opacity * grown * (1 if fill is not None else 1 - inside))
        if fill is not None:
            _blend(region, fill, opacity * inside)

    def stamp(self, left: int, top: int, coverage: Field, color: Color) -> None:
        """Blend a colour into pixels from (left, top) on, by its coverage (height, width) there."""
        above, before = max(-top, 0), max(-left, 0)
        height, width = coverage.shape
        region = self.pixels[top + above : max(top + height, 0), left + before : max(left + width, 0)]
        if region.size:
            _blend(region, color, coverage[above:, before:][: region.shape[0], : region.shape[1]])

    def fill(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        """Set the pixels of an axis-parallel rectangle of at least one, its sides rounded: quicker than `paint`."""
        (x0, y0), (x1, y1) = self._pixel((left, top)), self._pixel((right, bottom))
        x0, y0, x1, y1 = (max(round(side), 0) for side in (x0, y0, x1, y1))
        self.pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = rgb(color).astype(np.uint8)

    def text(
        self, position: Point, string: str, size: float, color: Color, *, anchor: str = "left", weight: float = 1.0
    ) -> None:
        """Write one line of ASCII in capitals `size` units high; `weight` 1 is regular, 1.5 bold.

        `position` is the left end, the centre or the right end (`anchor`) of the line, halfway up its capitals.
        """
        pixel_size = size * self.scale
        mask, pad = _text_mask(string, pixel_size, weight), _pad(pixel_size)
        x, y = self._pixel(position)
        x -= text_width(string, pixel_size) * {"left": 0.0, "center": 0.5, "right": 1.0}[anchor]
        self.stamp(round(x) - pad, round(y - pixel_size / 2) - pad, mask, color)

    def _pixel(self, point: Point) -> Point:
        return self.origin[0] + point[0] * self.scale, self.origin[1] + point[1] * self.scale


def _blend(region: Pixels, color: Color, coverage: Field) -> None:
    below = region.astype(np.float32)
    region[:] = below + coverage[..., None].astype(np.float32) * (rgb(color) - below) + np.float32(0.5)


# ---------------------------------------------------------------- text


def _pad(pixel_size: float) -> int:
    return 1 + int(pixel_size / 7)


def _text_mask(string: str, pixel_size: float, weight: float) -> Field:
    """Coverage of a line of text, `_pad` pixels larger than its capitals on every side."""
    pad, x = _pad(pixel_size), 0.0
    height = int(np.ceil(9 * pixel_size / 7)) + 2 * pad
    mask = np.zeros((height, int(text_width(string, pixel_size)) + 4 * pad + 2), dtype=np.float32)
    for char in string:
        if char != " ":
            glyph = _glyph_mask(char, pixel_size, weight, round(x % 1 * 4) / 4)
            region = mask[:, int(x) : int(x) + glyph.shape[1]]
            np.maximum(region, glyph, out=region)
        x += text_width(char + " ", pixel_size) - SPACE * pixel_size / 7
    return mask


@lru_cache(maxsize=4096)
def _glyph_mask(char: str, pixel_size: float, weight: float, shift: float) -> Field:
    """Coverage of a character whose left edge lies `_pad + shift` pixels from the mask's."""
    pitch, pad = pixel_size / 7, _pad(pixel_size)
    height, width = int(np.ceil(9 * pitch)) + 2 * pad, int(np.ceil(text_width(char, pixel_size))) + 2 * pad + 1
    x = (np.arange(width)[None, :] + 0.5 - pad - shift) / pitch - 0.5
    y = (np.arange(height)[:, None] + 0.5 - pad) / pitch - 0.5
    distance = (_distance(x, y, strokes(char)) - 0.55 * weight) * pitch
    mask: Field = np.clip(0.5 - distance, 0, 1).astype(np.float32)
    mask.setflags(write=False)
    return mask
