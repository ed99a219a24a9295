"""Pictures of the delivery task: the board, paths as ordered arrows, a pair of segments for a person, a text board.

The pictures follow the protocol of Knox et al. (2022, "Models of human preference for learning reward functions"):
moves are arrows in the order yellow, purple, blue, and a move that a house or the edge blocks is marked by an X. Arrows
also carry their number, so that nobody needs to distinguish purple from blue, and lie on the cells' borders, beside the
items and not over them. The legend names what is on the board, and what it pays where the caller says so.

Boards hold integer codes, 0..5 as in `NAMES` on road and 6..11 the same on brick; cells are (row, column); actions are
0 up, 1 down, 2 left, 3 right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.rendering import raster
from valuegym.envs.rendering.font import Point, text_width
from valuegym.envs.rendering.palette import Delivery
from valuegym.envs.rendering.raster import Canvas, Pixels, Shape, arrow, circle, line, polygon, rectangle, union

__all__ = [
    "BRICK",
    "COIN",
    "GOAL",
    "HOUSE",
    "LONGEST",
    "MARGIN",
    "MOVES",
    "NAMES",
    "ROADBLOCK",
    "SHEEP",
    "SMALL",
    "Move",
    "ansi",
    "image",
    "pair",
    "rgb",
    "thumbnail",
]

Board: TypeAlias = npt.NDArray[np.uint8]
Cell: TypeAlias = tuple[int, int]
Cells: TypeAlias = list[Cell]
Segment: TypeAlias = "tuple[npt.ArrayLike, npt.ArrayLike]"

NAMES = ("road", "goal", "house", "sheep", "coin", "roadblock")
BRICK = 6  # added to a code, it puts the same thing on brick
GOAL, HOUSE, SHEEP, COIN, ROADBLOCK = 1, 2, 3, 4, 5
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))

SIZE, LARGE = 48, 72  # pixels along a cell's side, at most by default: of a board by itself, and within a frame
LONGEST, MOST = 640, 4096  # pixels along the board's longer side: by default, and at most
PLAIN, SMALL = 14, 28  # cells smaller than this have plain marks instead of icons, arrows without numbers
ICON, ROW, COLUMN = 26, 36, 154  # pixels: the legend's icons, lines and columns
HEADING = 34  # pixels above each board of a pair
MARGIN, CAPTION, CAPTION_SIZE = 18, 42, 10  # pixels: around the page, its caption's strip, the caption's capitals


# ---------------------------------------------------------------- icons, each drawn in a unit square


def _road(pen: Canvas) -> None:
    pen.paint(rectangle(0, 0, 1, 1), Delivery.ROAD_EDGE)
    pen.paint(rectangle(0.02, 0.02, 0.98, 0.98, 0.06), Delivery.ROAD)
    for i in range(24):  # grit, spread evenly by the golden ratio
        spot = (0.06 + 0.88 * (i * 0.618 % 1), 0.06 + 0.88 * (i + 0.5) / 24)
        pen.paint(circle(spot, 0.012), Delivery.WHITE if i % 3 else Delivery.INK, opacity=0.16)


def _brick(pen: Canvas) -> None:
    pen.paint(rectangle(0, 0, 1, 1), Delivery.MORTAR)
    for row in range(4):
        for column in range(-1, 3):
            left, shade = (column + row % 2 / 2) / 2, Delivery.BRICKS[(row * 2 + column % 2 * (1 + row // 2)) % 3]
            pen.paint(rectangle(left + 0.02, row / 4 + 0.02, left + 0.48, row / 4 + 0.23, 0.03), shade)


def _sticker(pen: Canvas, shape: Shape, fill: str, width: float = 0.03) -> None:
    """A shape with a dark outline."""
    pen.paint(shape, fill, outline=Delivery.INK, width=width)


def _shadow(pen: Canvas, y: float, width: float) -> None:
    pen.paint(circle((0.5, y), (width, 0.07)), Delivery.INK, opacity=0.35, blur=0.08)


def _goal(pen: Canvas) -> None:
    _shadow(pen, 0.88, 0.2)
    pin = union(circle((0.5, 0.38), 0.27), polygon([(0.26, 0.49), (0.74, 0.49), (0.5, 0.88)]))
    pen.paint(pin, outline=Delivery.WHITE, width=0.065)
    _sticker(pen, pin, Delivery.GREEN)
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 0.08, 0.185)
    star = [(0.5 + float(r * np.sin(a)), 0.385 - float(r * np.cos(a))) for r, a in zip(radii, angles, strict=True)]
    pen.paint(polygon(star, 0.012), Delivery.WHITE)


def _house(pen: Canvas) -> None:
    _shadow(pen, 0.87, 0.4)
    _sticker(pen, rectangle(0.66, 0.16, 0.76, 0.4), Delivery.RED)
    _sticker(pen, rectangle(0.2, 0.42, 0.8, 0.86, 0.02), Delivery.CREAM)
    _sticker(pen, polygon([(0.12, 0.47), (0.5, 0.15), (0.88, 0.47)], 0.02), Delivery.SLATE)
    _sticker(pen, rectangle(0.3, 0.6, 0.45, 0.86), "#9a5b3c", 0.02)
    _sticker(pen, rectangle(0.55, 0.58, 0.7, 0.72, 0.01), "#ffd97a", 0.02)


def _sheep(pen: Canvas) -> None:
    _shadow(pen, 0.86, 0.34)
    for x in (0.34, 0.44, 0.58, 0.68):
        pen.paint(line([(x, 0.65), (x, 0.83)], 0.065), Delivery.INK)
    puffs = [(0.36, 0.4), (0.5, 0.34), (0.65, 0.37), (0.75, 0.5), (0.67, 0.62), (0.52, 0.65), (0.37, 0.61)]
    _sticker(pen, union(circle((0.52, 0.5), 0.2), *(circle(puff, 0.135) for puff in puffs)), Delivery.WHITE)
    ears = circle((0.15, 0.4), (0.08, 0.04)), circle((0.38, 0.38), (0.07, 0.04))
    pen.paint(union(circle((0.26, 0.48), (0.115, 0.15)), *ears), Delivery.FACE)
    pen.paint(circle((0.3, 0.33), (0.1, 0.065)), Delivery.WHITE)
    for x in (0.215, 0.3):
        pen.paint(circle((x, 0.46), 0.026), Delivery.WHITE)


def _coin(pen: Canvas) -> None:
    _shadow(pen, 0.82, 0.28)
    _sticker(pen, circle((0.5, 0.52), 0.3), "#c98a00")
    _sticker(pen, circle((0.5, 0.49), 0.3), Delivery.GOLD)
    pen.paint(circle((0.5, 0.49), 0.21), outline="#d99a0b", width=0.03)
    pen.text((0.5, 0.49), "$", 0.26, "#8a5a00", anchor="center", weight=1.4)


def _roadblock(pen: Canvas) -> None:
    _shadow(pen, 0.85, 0.4)
    for x in (0.24, 0.76):
        _sticker(pen, rectangle(x - 0.04, 0.25, x + 0.04, 0.84, 0.02), "#c9ccd3")
    for y in (0.3, 0.57):
        plank = rectangle(0.11, y, 0.89, y + 0.18, 0.03)
        _sticker(pen, plank, Delivery.WHITE)
        for i in range(4):
            x = 0.13 + 0.2 * i
            pen.paint(polygon([(x + 0.09, y), (x + 0.18, y), (x + 0.09, y + 0.18), (x, y + 0.18)]), Delivery.ORANGE)


def _gamble(pen: Canvas) -> None:
    """A wheel of fortune, half win and half loss."""
    _shadow(pen, 0.88, 0.3)
    wheel = circle((0.5, 0.52), 0.33)
    _sticker(pen, wheel, Delivery.WHITE)
    for i in range(8):
        angles = np.pi / 4 * (i + np.array([0.0, 0.5, 1.0]))
        rim = [(0.5 + 0.3 * float(np.cos(a)), 0.52 + 0.3 * float(np.sin(a))) for a in angles]
        pen.paint(polygon([(0.5, 0.52), *rim]), Delivery.GREEN if i % 2 else Delivery.RED)
    _sticker(pen, circle((0.5, 0.52), 0.07), Delivery.GOLD, 0.02)
    _sticker(pen, polygon([(0.42, 0.1), (0.58, 0.1), (0.5, 0.26)], 0.01), Delivery.INK, 0.01)


def _vehicle(pen: Canvas) -> None:
    """A delivery van that faces right."""
    _shadow(pen, 0.86, 0.42)
    body = union(
        rectangle(0.08, 0.3, 0.62, 0.78, 0.05),
        polygon([(0.55, 0.4), (0.75, 0.4), (0.9, 0.58), (0.9, 0.76), (0.55, 0.76)], 0.02),
    )
    pen.paint(body, outline=Delivery.WHITE, width=0.065)
    _sticker(pen, body, Delivery.RED)
    pen.paint(rectangle(0.08, 0.62, 0.92, 0.67), Delivery.CREAM)
    pen.paint(polygon([(0.66, 0.46), (0.735, 0.46), (0.825, 0.58), (0.66, 0.58)], 0.015), "#cfeaff")
    _sticker(pen, rectangle(0.22, 0.38, 0.46, 0.56, 0.02), "#e0b07a", 0.02)
    pen.paint(line([(0.34, 0.38), (0.34, 0.56)], 0.045), "#a8713d")
    for x in (0.27, 0.72):
        pen.paint(circle((x, 0.79), 0.105), Delivery.INK)
        pen.paint(circle((x, 0.79), 0.045), "#d5d8de")


def _mark(pen: Canvas, item: int) -> None:
    """An item on a cell too small for an icon."""
    if item == GOAL:
        pen.paint(rectangle(0.14, 0.14, 0.86, 0.86), Delivery.GREEN)
        pen.paint(circle((0.5, 0.5), 0.18), Delivery.WHITE)
    elif item == HOUSE:
        pen.paint(rectangle(0.14, 0.14, 0.86, 0.86), Delivery.SLATE)
    elif item == SHEEP:
        pen.paint(circle((0.5, 0.5), 0.4), Delivery.WHITE)
        pen.paint(circle((0.5, 0.5), 0.16), Delivery.INK)
    elif item == COIN:
        pen.paint(circle((0.5, 0.5), 0.3), Delivery.GOLD)
    elif item == ROADBLOCK:
        pen.paint(line([(0.2, 0.8), (0.8, 0.2)], 0.3), Delivery.ORANGE)


_ICONS = {GOAL: _goal, HOUSE: _house, SHEEP: _sheep, COIN: _coin, ROADBLOCK: _roadblock}


# How boards are drawn: as observations, whose pixels never change; as pictures, with room for arrows around the icons;
# the same, where cells with a sheep's code are gambles.
OBSERVATION, PICTURE, GAMBLES = range(3)


@lru_cache(maxsize=512)
def _tile(code: int, size: int, vehicle: int = 0, plain: bool = False, style: int = OBSERVATION) -> Pixels:
    """One cell, read-only (size, size, 3); `vehicle` is 0 for none, 1 for a van that faces right, -1 for left."""
    pixels, item = raster.blank(4 * size, 4 * size, Delivery.PAGE), code % BRICK
    pen = Canvas(pixels, 4 * size)
    (_brick if code >= BRICK else _road)(pen)
    if style != OBSERVATION and not plain:
        pen = pen.at(0.1, 0.1, 0.8)
    if plain:
        _mark(pen, item)
    elif item:  # under a vehicle the item shrinks into the upper left corner
        icon = _gamble if item == SHEEP and style == GAMBLES else _ICONS[item]
        icon(pen.at(0.02, 0.0, 0.52) if vehicle else pen.at(0.06, 0.05, 0.88))
    if vehicle:
        pen = Canvas(pixels[:, ::vehicle], pen.scale, pen.origin)
        _vehicle(pen.at(0.14, 0.22, 0.78) if item else pen.at(0.05, 0.02, 0.9))
    pixels = raster.shrink(pixels, 4)
    pixels.setflags(write=False)
    return pixels


@lru_cache(maxsize=64)
def _ground(board: bytes, height: int, width: int, size: int, style: int = OBSERVATION) -> Pixels:
    """The board without path or vehicle, read-only (height * size, width * size, 3)."""
    tiles = np.stack([_tile(code, size, 0, size < PLAIN, style) for code in range(2 * BRICK)])
    cells = tiles[np.frombuffer(board, dtype=np.uint8).reshape(height, width)]
    pixels = cells.transpose(0, 2, 1, 3, 4).reshape(height * size, width * size, 3)
    pixels.setflags(write=False)
    return pixels


# ---------------------------------------------------------------- the path


class Move(NamedTuple):
    """One move of a path: its number from 0, where it leads from and to, and whether the way was blocked."""

    number: int
    start: Cell
    step: Cell  # (rows, columns)
    blocked: bool

    @property
    def border(self) -> frozenset[Cell]:
        """The two cells it joins."""
        return frozenset({self.start, (self.start[0] + self.step[0], self.start[1] + self.step[1])})


def _moves(board: Board, cells: Cells, actions: Sequence[int]) -> list[Move]:
    """The moves of a path, without the padding after a destination or a sheep."""
    moves = []
    for number, (action, here, there) in enumerate(zip(actions, cells[:-1], cells[1:], strict=True)):
        if here != there:
            moves.append(Move(number, here, (there[0] - here[0], there[1] - here[1]), False))
        elif board[here] % BRICK not in (GOAL, SHEEP):
            moves.append(Move(number, here, MOVES[action], True))
    return moves


def _draw_move(pen: Canvas, move: Move, size: int, lane: float = 0.0) -> None:
    """An arrow on a canvas in cells of so many pixels, on the border that it crosses, shifted sideways by `lane`."""
    (down, right), (row, column) = move.step, move.start
    length = float(np.hypot(down, right))
    ux, uy = right / length, down / length
    x, y = column + 0.5 + lane * abs(uy), row + 0.5 + lane * abs(ux)
    middle, small, plain = length / 2, size < SMALL, size < PLAIN

    def along(distance: float, aside: float = 0.0) -> Point:
        return x + distance * ux - aside * uy, y + distance * uy + aside * ux

    width, halo = (0.22, 0.12) if plain else (0.15, 0.07) if small else (0.1, 0.045)
    disc = along(middle - 0.12)
    if move.blocked:  # the cross stays inside the cell: at the edge of the board there is nothing beyond it
        at = 0.3 if plain else 0.37
        across = 0.0 if small else 0.13
        shape = union(
            *(line([along(at - 0.07, across - s), along(at + 0.07, across + s)], width) for s in (-0.07, 0.07))
        )
        disc = along(0.35, -0.16)
    elif plain:
        shape = arrow([along(0.15), along(length - 0.05)], width, 0.55)
    elif small:
        shape = arrow([along(middle - 0.26), along(middle + 0.28)], width, 0.36)
    else:
        shape = arrow([disc, along(middle + 0.26)], width, 0.27)
    fill, ink = Delivery.ARROWS[move.number % len(Delivery.ARROWS)]
    if small:
        pen.paint(shape, fill, outline=Delivery.WHITE, width=halo)
    else:
        pen.paint(union(shape, circle(disc, 0.14)), fill, outline=Delivery.WHITE, width=halo)
        number = str(move.number + 1)
        pen.text(disc, number, 0.2 if len(number) == 1 else 0.13, ink, anchor="center", weight=1.2)


def _draw_vehicle(pen: Canvas, board: Board, cell: Cell, facing: int, size: int, style: int) -> None:
    """The vehicle on its cell, or a dot where cells are too small for one."""
    row, column = cell
    if size < PLAIN:
        dot = circle((column + 0.5, row + 0.5), max(0.4, 3.5 / size))
        pen.paint(dot, Delivery.RED, outline=Delivery.WHITE, width=max(0.15, 1.5 / size))
        return
    tile = _tile(int(board[cell]), size, facing, False, style)
    pen.pixels[row * size : (row + 1) * size, column * size : (column + 1) * size] = tile
    if size < SMALL:  # easy to miss without a frame
        pen.paint(rectangle(column, row, column + 1, row + 1, 0.1), outline=Delivery.WHITE, width=2 / size)


def _board(board: Board, cell: Cell | None, moves: Sequence[Move], facing: int, size: int, style: int) -> Pixels:
    """A board with the vehicle, if it has a cell, and the moves of a path."""
    pixels, plain = _ground(board.tobytes(), *board.shape, size, style).copy(), size < PLAIN
    pen = Canvas(pixels, size)
    if plain:  # markers larger than a cell, found at a glance
        for goal_row, goal_column in np.argwhere(board % BRICK == GOAL).tolist():
            _goal(pen.at(goal_column + 0.5 - 9 / size, goal_row + 0.6 - 16 / size, 18 / size))
    if cell is not None:
        _draw_vehicle(pen, board, cell, facing, size, style)
    count, used = Counter(move.border for move in moves), Counter[frozenset[Cell]]()
    for move in moves:  # those over the same border lie side by side
        lane = (used[move.border] - (count[move.border] - 1) / 2) * min(0.34, 0.8 / count[move.border])
        used[move.border] += 1
        _draw_move(pen, move, size, lane)
    return pixels


# ---------------------------------------------------------------- the page


class _Entry(NamedTuple):
    """An entry of the legend: what it shows, its name, and one more line."""

    code: int  # of a cell, or one of the following
    name: str
    detail: str


_VAN, _MOVE, _BLOCKED = -1, -2, -6  # the first move is -2, the third -4
_KEYS = {"vehicle": _VAN, "destination": GOAL, **{NAMES[code]: code for code in (HOUSE, SHEEP, COIN, ROADBLOCK, 0)}}
_KEYS["brick"] = BRICK
_MOVE_NAMES = ("first move", "second move", "third move")
_DETAILS = {"destination": "ends the episode", "house": "blocks the way", "sheep": "ends the episode"}


def _entries(board: Board, paths: Sequence[Sequence[Move]], details: Mapping[str, tuple[str, str]]) -> list[_Entry]:
    """Return the legend: what is on the board, then what is in the paths."""
    there = {code % BRICK for code in np.unique(board).tolist() if code % BRICK or code < BRICK}
    there |= {BRICK} if (board >= BRICK).any() else set()
    found = [
        _Entry(code, *details.get(key, (key, _DETAILS.get(key, ""))))
        for key, code in _KEYS.items()
        if code == _VAN or code in there
    ]
    moves = [move for path in paths for move in path]
    numbers = sorted({move.number for move in moves if move.number < len(_MOVE_NAMES)})
    found += [_Entry(_MOVE - number, _MOVE_NAMES[number], "") for number in numbers]
    if any(move.blocked for move in moves):
        found.append(_Entry(_BLOCKED, "blocked move", "stays where it is"))
    return found


def _legend(canvas: Canvas, left: int, top: int, rows: int, entries: Sequence[_Entry], plain: bool, style: int) -> None:
    """Icons with their names in columns of so many rows, `COLUMN` pixels wide and `ROW` high each."""
    for i, (code, name, detail) in enumerate(entries):
        x, y = left + COLUMN * (i // rows), top + ROW * (i % rows)
        icon, vehicle = canvas.pixels[y : y + ICON, x : x + ICON], code == _VAN
        if code <= _MOVE:
            canvas.paint(rectangle(x, y, x + ICON, y + ICON, 3), Delivery.ROAD)
            blocked = code == _BLOCKED
            move = Move(0 if blocked else _MOVE - code, (0, 0), (0, 1), blocked)
            scale = 1.5 * ICON
            start, up = x + ICON / 2 - (0.86 if blocked else 1.03) * scale, y + ICON / 2 - scale / 2
            _draw_move(canvas.at(start, up, scale), move, SIZE)
        else:
            own = style if style == GAMBLES else OBSERVATION
            icon[:] = _tile(max(code, 0), ICON, int(vehicle and not plain), plain and code != GOAL, own)
        if vehicle and plain:
            canvas.paint(circle((x + ICON / 2, y + ICON / 2), 5), Delivery.RED, outline=Delivery.WHITE, width=2)
        middle = y + ICON / 2
        canvas.text((x + ICON + 9, middle - 6 if detail else middle), name, 9, Delivery.INK)
        if detail:
            canvas.text((x + ICON + 9, middle + 8), detail, 7, Delivery.FACE)


class _Page(NamedTuple):
    """Places on a page, in pixels."""

    height: int
    width: int
    corners: tuple[tuple[int, int], ...]  # (y, x) of the area of each board
    legend: tuple[int, int]  # (x, y)
    rows: int  # of the legend


def _layout(height: int, width: int, copies: int, room: int) -> _Page:
    """Lay out boards within areas of height x width pixels, and a legend of at most `room` entries."""
    top, gap = MARGIN + (HEADING if copies > 1 else 0), 2 * MARGIN
    span = copies * width + (copies - 1) * gap
    beside = copies == 1 and width <= 1.2 * height
    columns = (1 if height >= room * ROW else 2) if beside else min(6, max(2, (span + MARGIN) // COLUMN))
    rows = -(-room // columns)
    tall, wide = rows * ROW - (ROW - ICON), columns * COLUMN - MARGIN
    if beside:
        inside_height, inside_width = max(height, tall), width + gap + wide
        legend = MARGIN + width + gap, top + (inside_height - tall) // 2
    else:
        inside_height, inside_width = height + 28 + tall, max(span, wide)
        legend = MARGIN + (inside_width - wide) // 2, top + height + 28
    total_height, total_width = top + inside_height + CAPTION, inside_width + 2 * MARGIN
    total_height, total_width = (side + side % 2 for side in (total_height, total_width))  # video wants even sides
    x0 = MARGIN if beside else MARGIN + (inside_width - span) // 2
    y0 = top + (inside_height - height) // 2 if beside else top
    corners = tuple((y0, x0 + i * (width + gap)) for i in range(copies))
    return _Page(total_height, total_width, corners, legend, rows)


def _heading(canvas: Canvas, x: float, y: float, name: str, preferred: bool) -> None:
    """The name of a segment, with a badge where it is the preferred one."""
    width = text_width(name, 13)
    if not preferred:
        canvas.text((x, y), name, 13, Delivery.INK, anchor="center", weight=1.25)
        return
    words = "preferred"
    badge = text_width(words, 10) + 40
    left = x - (width + 12 + badge) / 2
    canvas.text((left, y), name, 13, Delivery.INK, weight=1.25)
    left += width + 12
    canvas.paint(rectangle(left, y - 12, left + badge, y + 12, 12), Delivery.GREEN)
    canvas.paint(line([(left + 12, y), (left + 16, y + 4), (left + 23, y - 5)], 2.6), Delivery.WHITE)
    canvas.text((left + 30, y), words, 10, Delivery.WHITE, weight=1.2)


@lru_cache(maxsize=64)
def _page(
    page: _Page,
    places: tuple[tuple[int, int, int, int], ...],
    entries: tuple[_Entry, ...],
    plain: bool,
    style: int,
    answer: int | None,
) -> Pixels:
    """The page around boards at places (y, x, height, width), read-only."""
    pixels, frame = raster.blank(page.height, page.width, Delivery.PAGE), 3
    canvas = Canvas(pixels)
    for i, (y, x, height, width) in enumerate(places):
        preferred = answer == i
        canvas.paint(rectangle(x, y + 3, x + width, y + height + 3, 4), Delivery.INK, opacity=0.25, blur=8)
        if preferred:
            canvas.paint(rectangle(x, y, x + width, y + height, 2), Delivery.GREEN, outline=Delivery.GREEN, width=9)
        canvas.paint(rectangle(x, y, x + width, y + height, 2), Delivery.INK, outline=Delivery.INK, width=frame)
        if len(places) > 1:
            _heading(canvas, x + width / 2, y - 26, ("first", "second")[i], preferred)
    _legend(canvas, *page.legend, page.rows, entries, plain, style)
    pixels.setflags(write=False)
    return pixels


_MOST, _MOST_GAMBLES = len(_KEYS), 4  # entries of the longest legend, without moves


def _picture(
    board: Board,
    scenes: Sequence[tuple[Cell | None, Cells, Sequence[int]]],
    caption: str,
    sizes: tuple[int, int, int],
    fixed: bool,
    details: Mapping[str, tuple[str, str]],
    gambles: bool,
    answer: int | None = None,
) -> Pixels:
    """A page with one board for every scene (vehicle, path, actions) and the caption; sizes as `_sizes` returns."""
    size, tall, wide = sizes
    paths = [_moves(board, cells, actions) for _, cells, actions in scenes]
    entries = _entries(board, paths, details)
    named = sum(entry.code > _MOVE for entry in entries)
    room = (max(named, _MOST_GAMBLES if gambles else _MOST) if fixed else named) + len(_MOVE_NAMES) + 1
    page = _layout(tall, wide, len(scenes), room)
    plain, style = size < PLAIN, GAMBLES if gambles else PICTURE
    height, width = board.shape[0] * size, board.shape[1] * size
    down, right = (tall - height) // 2, (wide - width) // 2
    if len(scenes) > 1:
        down, (left, top) = 0, page.legend  # headings stay above their boards, and the legend below
        page = page._replace(legend=(left, top - (tall - height)))
    places = tuple((y + down, x + right, height, width) for y, x in page.corners)
    pixels = _page(page, places, tuple(entries), plain, style, answer).copy()
    for (y, x, _, _), (cell, _, actions), moves in zip(places, scenes, paths, strict=True):
        facing = next((-1 if action == 2 else 1 for action in reversed(actions) if action >= 2), 1)
        pixels[y : y + height, x : x + width] = _board(board, cell, moves, facing, size, style)
    free = pixels.shape[1] - 2 * MARGIN
    if text_width(caption, CAPTION_SIZE) > free:
        while caption and text_width(caption + "...", CAPTION_SIZE) > free:
            caption = caption[:-1]
        caption += "..."
    Canvas(pixels).text((MARGIN, pixels.shape[0] - CAPTION / 2 - 1), caption, CAPTION_SIZE, Delivery.INK)
    return pixels


# ---------------------------------------------------------------- what others call


def rgb(
    board: npt.ArrayLike,
    cell: Sequence[int],
    path: Sequence[Sequence[int]] | npt.NDArray[np.integer] = (),
    actions: Sequence[int] | npt.NDArray[np.integer] = (),
    caption: str = "",
    cell_size: int | None = None,
    frame: tuple[int, int] | None = None,
    details: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    gambles: bool = False,
) -> Pixels:
    """Draw the board, the vehicle, its last moves, and a legend of what is there.

    Args:
        board: codes, (H, W) integers in 0..11.
        cell: the vehicle's (row, column).
        path: the n + 1 cells visited most recently, oldest first, the last one being `cell`; empty for none.
        actions: the n actions between them.
        caption: one line below the picture, shortened where it does not fit.
        cell_size: pixels along a cell's side; 48 by default, less where the longer side would pass 640 pixels.
        frame: (rows, columns) of the largest board that may come, for pictures of one size; this board by default.
        details: name and one more line for entries of the legend, "vehicle", "destination", "brick" or one of NAMES,
            such as what entering pays.
        gambles: whether cells with a sheep's code are drawn as wheels of fortune.

    Returns:
        uint8 (height, width, 3), both sides even; the same size for every board in a frame.

    Raises:
        ValueError: an unknown code, a cell outside the board, a path and actions that do not fit each other, a frame
            that is smaller than the board, or a `cell_size` below 2 or with which the longer side passes 4,096 pixels.
    """
    codes = _check_board(board)
    vehicle = _check_cells(codes, [cell])[0]
    scene = (vehicle, *_check_path(codes, path, actions, vehicle))
    sizes = _sizes(codes, frame, cell_size, LONGEST)
    return _picture(codes, [scene], caption, sizes, frame is not None, details, gambles)


def image(board: npt.ArrayLike, cell: Sequence[int], cell_size: int = 8) -> Pixels:
    """The bare board and the vehicle as an observation, every cell's mark within its own pixels.

    Returns:
        uint8 (H * cell_size, W * cell_size, 3).

    Raises:
        ValueError: an unknown code, a cell outside the board, or a `cell_size` as in `rgb`.
    """
    codes = _check_board(board)
    (row, column), size = _check_cells(codes, [cell])[0], _check_size(codes.shape, cell_size, LONGEST)
    pixels = _ground(codes.tobytes(), *codes.shape, size).copy()
    own = pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]
    Canvas(own, size).paint(circle((0.5, 0.5), 0.3), Delivery.RED, outline=Delivery.WHITE, width=0.14)
    return pixels


def pair(
    board: npt.ArrayLike,
    first: Segment,
    second: Segment,
    caption: str = "",
    cell_size: int | None = None,
    frame: tuple[int, int] | None = None,
    details: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    gambles: bool = False,
    answer: int | None = None,
) -> Pixels:
    """Draw two segments side by side, as a query to a person; each vehicle stands where its segment starts.

    Args:
        board: codes, (H, W) integers in 0..11.
        first: a segment: its cells (L + 1, 2) and its actions (L,). Padding after its end is left out.
        second: the other segment.
        caption: one line below the pictures.
        cell_size: pixels along a cell's side; 48 by default, less where the longer side would pass 480 pixels.
        frame: as in `rgb`.
        details: as in `rgb`.
        gambles: as in `rgb`.
        answer: which one is marked as preferred, 0 or 1; neither by default.

    Returns:
        uint8 (height, width, 3), both sides even.

    Raises:
        ValueError: an unknown code, a cell outside the board, cells and actions that do not fit each other, or a
            frame or `cell_size` as in `rgb`.
    """
    codes = _check_board(board)
    paths = [_check_path(codes, *segment) for segment in (first, second)]
    if not all(cells for cells, _ in paths):
        raise ValueError("A segment is empty; give cells (L + 1, 2) and actions (L,) with at least one cell.")
    shown = any(actions for _, actions in paths)  # else no pair has come yet, and the boards stay empty
    scenes = [(cells[0] if shown else None, cells, actions) for cells, actions in paths]
    sizes = _sizes(codes, frame, cell_size, 0.75 * LONGEST)
    return _picture(codes, scenes, caption, sizes, frame is not None, details, gambles, answer)


def thumbnail(
    board: npt.ArrayLike, first: Segment, second: Segment, side: int, frame: tuple[int, int], gambles: bool = False
) -> Pixels:
    """Draw two segments side by side without legend and words, for lists of pairs: arguments and errors as in `pair`.

    Returns:
        uint8 (height, width, 3), the longer side of each board's frame `side` pixels or little less.
    """
    codes = _check_board(board)
    size, tall, wide = _sizes(codes, frame, None, checks.integer("side", side, 2 * max(frame)))
    pixels = raster.blank(tall, 2 * wide + 6, Delivery.PAGE)
    for i, segment in enumerate((first, second)):
        cells, actions = _check_path(codes, *segment)
        left = i * (wide + 6) + (wide - codes.shape[1] * size) // 2
        drawn = _board(codes, cells[0], _moves(codes, cells, actions), 1, size, GAMBLES if gambles else PICTURE)
        top = (tall - drawn.shape[0]) // 2
        pixels[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
    return pixels


def ansi(
    board: npt.ArrayLike,
    cell: Sequence[int],
    path: Sequence[Sequence[int]] | npt.NDArray[np.integer] = (),
    actions: Sequence[int] | npt.NDArray[np.integer] = (),
    caption: str = "",
) -> str:
    """Draw the board as lines of text, without colours: arguments and errors as in `rgb`.

    A cell is five characters: ground or vehicle, item, last move made from here (an arrow, and x if it was blocked).
    """
    codes = _check_board(board)
    vehicle = _check_cells(codes, [cell])[0]
    moves = _moves(codes, *_check_path(codes, path, actions, vehicle))
    route = [_TEXT_ARROWS.get(move.step, "*") + "x" * move.blocked for move in moves]
    marks = {move.start: mark for move, mark in zip(moves, route, strict=True)}
    lines = ["     " + "".join(f"{column:^5d}" for column in range(codes.shape[1])).rstrip()]
    for row, values in enumerate(codes.tolist()):
        text = ""
        for column, code in enumerate(values):
            ground = _TEXT_BRICK if code >= BRICK else " "
            item = _TEXT_ITEMS[code % BRICK] if code % BRICK or code < BRICK else ground
            front = "V" if (row, column) == vehicle else ground
            text += ground + front + item + marks.get((row, column), ground).ljust(2, ground)
        lines.append(f"{row:3d}  {text}".rstrip())
    there = {code % BRICK for code in np.unique(codes).tolist() if code % BRICK or code < BRICK}
    marks_of = [(mark, name) for i, (mark, name) in enumerate(zip(_TEXT_ITEMS, NAMES, strict=True)) if i in there]
    marks_of += [(_TEXT_BRICK, "brick")] if (codes >= BRICK).any() else []
    lines.append("  ".join(f"{mark} {name}" for mark, name in (("V", "vehicle"), *marks_of)))
    if route:
        lines[-1] += "  moves (x = blocked): " + " ".join(route)
    return "\n".join(lines + [caption] * bool(caption)) + "\n"


_TEXT_ITEMS, _TEXT_BRICK, _TEXT_ARROWS = "·GHS$X", "▒", dict(zip(MOVES, "↑↓←→", strict=True))


def _check_board(board: npt.ArrayLike) -> Board:
    codes = checks.integers("board", board, (None, None))
    if not codes.size:
        raise checks.refusal("board", board, "at least one cell")
    unknown = codes[(codes < 0) | (codes >= 2 * BRICK)]
    if unknown.size:
        raise ValueError(f"The board holds the unknown code {unknown[0]}; give 0..5 ({', '.join(NAMES)}), +6 on brick.")
    return codes.astype(np.uint8)


def _check_cells(board: Board, cells: npt.ArrayLike) -> Cells:
    array = checks.integers("Cells", cells)
    if array.size and (array.ndim != 2 or array.shape[1] != 2):
        raise ValueError(f"Cells have shape {array.shape}; give integer (row, column) pairs.")
    pairs = [(int(row), int(column)) for row, column in array]
    for row, column in pairs:
        if not (0 <= row < board.shape[0] and 0 <= column < board.shape[1]):
            raise ValueError(f"Cell ({row}, {column}) lies outside the board of (rows, columns) {board.shape}.")
    return pairs


def _check_path(
    board: Board, path: npt.ArrayLike, actions: npt.ArrayLike, end: Cell | None = None
) -> tuple[Cells, list[int]]:
    cells, steps = _check_cells(board, path), checks.integers("actions", actions).ravel().tolist()
    if len(steps) != max(len(cells) - 1, 0):
        raise ValueError(f"A path of {len(cells)} cells needs {max(len(cells) - 1, 0)} actions, not {len(steps)}.")
    if any(action not in range(len(MOVES)) for action in steps):
        raise ValueError(f"The actions {steps} must be 0 up, 1 down, 2 left or 3 right.")
    if cells and end is not None and cells[-1] != end:
        raise ValueError(f"The path ends at {cells[-1]}, but the vehicle is at {end}; end it there.")
    return cells, steps


def _sizes(board: Board, frame: tuple[int, int] | None, cell_size: int | None, longest: float) -> tuple[int, int, int]:
    """Return the pixels of a cell's side, and those of the height and width of the area for a board in a frame."""
    if frame is None:
        size = _check_size(board.shape, cell_size, longest)
        return size, board.shape[0] * size, board.shape[1] * size
    if frame[0] < board.shape[0] or frame[1] < board.shape[1]:
        raise checks.refusal("frame", frame, f"at least the board's (rows, columns) {board.shape}")
    size = _check_size(frame, cell_size, longest)
    tall, wide = frame[0] * size, frame[1] * size
    if cell_size is None:  # a smaller board has larger cells
        size = min(LARGE, tall // board.shape[0], wide // board.shape[1])
    return size, tall, wide


def _check_size(shape: Sequence[int], cell_size: int | None, longest: float) -> int:
    if cell_size is None:
        return max(2, min(SIZE, int(longest // max(shape))))
    return checks.integer("cell_size", cell_size, 2, MOST // max(shape))
