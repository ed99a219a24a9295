"""Pictures of the delivery task: the board, paths as ordered arrows, a pair of segments for a person, a text board.

The pictures follow the protocol of Knox et al. (2022, "Models of human preference for learning reward functions"):
moves are arrows in the order yellow, purple, blue, and a move that a house or the edge blocks is a short arrow that
ends in an X. Arrows also carry their number, so that nobody needs to distinguish purple from blue, and lie across the
cells' borders, so that the items under a path stay visible.

Boards hold integer codes, 0..5 as in `NAMES` on road and 6..11 the same on brick; cells are (row, column); actions are
0 up, 1 down, 2 left, 3 right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
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
]

Board: TypeAlias = npt.NDArray[np.uint8]
Cell: TypeAlias = tuple[int, int]
Cells: TypeAlias = list[Cell]
Segment: TypeAlias = "tuple[npt.ArrayLike, npt.ArrayLike]"

NAMES = ("road", "goal", "house", "sheep", "coin", "roadblock")
BRICK = 6  # added to a code, it puts the same thing on brick
GOAL, HOUSE, SHEEP, COIN, ROADBLOCK = 1, 2, 3, 4, 5
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))

LONGEST, MOST = 640, 4096  # pixels along the board's longer side: by default, and at most
PLAIN, SMALL = 14, 28  # cells smaller than this have plain marks instead of icons, arrows without numbers
ICON, ROW, COLUMN = 26, 34, 142  # pixels: the legend's icons, lines and columns
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


@lru_cache(maxsize=512)
def _tile(code: int, size: int, vehicle: int = 0, plain: bool = False) -> Pixels:
    """One cell, read-only (size, size, 3); `vehicle` is 0 for none, 1 for a van that faces right, -1 for left."""
    pixels, item = raster.blank(4 * size, 4 * size, Delivery.PAGE), code % BRICK
    pen = Canvas(pixels, 4 * size)
    (_brick if code >= BRICK else _road)(pen)
    if plain:
        _mark(pen, item)
    elif item:  # under a vehicle the item shrinks into the upper left corner
        _ICONS[item](pen.at(0.02, 0.0, 0.52) if vehicle else pen.at(0.06, 0.05, 0.88))
    if vehicle:
        pen = Canvas(pixels[:, ::vehicle], 4 * size)
        _vehicle(pen.at(0.14, 0.22, 0.78) if item else pen.at(0.05, 0.02, 0.9))
    pixels = raster.shrink(pixels, 4)
    pixels.setflags(write=False)
    return pixels


@lru_cache(maxsize=64)
def _ground(board: bytes, height: int, width: int, size: int) -> Pixels:
    """The board without path or vehicle, read-only (height * size, width * size, 3)."""
    tiles = np.stack([_tile(code, size, 0, size < PLAIN) for code in range(2 * BRICK)])
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


def _draw_move(pen: Canvas, move: Move, small: bool = False, lane: float = 0.0) -> None:
    """An arrow on a canvas in cells, shifted sideways by `lane`."""
    (down, right), (row, column) = move.step, move.start
    length = float(np.hypot(down, right))
    ux, uy = right / length, down / length
    x, y = column + 0.5 + lane * abs(uy), row + 0.5 + lane * abs(ux)

    def along(distance: float, aside: float = 0.0) -> Point:
        return x + distance * ux - aside * uy, y + distance * uy + aside * ux

    tail, tip, width, head, halo = (0.15, 0.05, 0.22, 0.55, 0.12) if small else (0.3, 0.19, 0.1, 0.28, 0.045)
    if move.blocked:
        tail = 0.02  # the cross stays inside the cell: at the edge of the board there is nothing beyond it
        cross = [line([along(0.26, -side), along(0.41, side)], width) for side in (-0.08, 0.08)]
        shape = union(line([along(tail), along(0.335)], width), *cross)
    else:
        shape = arrow([along(tail), along(length - tip)], width, head)
    fill, ink = Delivery.ARROWS[move.number % len(Delivery.ARROWS)]
    if small:
        pen.paint(shape, fill, outline=Delivery.WHITE, width=halo)
    else:
        pen.paint(union(shape, circle(along(tail), 0.14)), fill, outline=Delivery.WHITE, width=halo)
        number = str(move.number + 1)
        pen.text(along(tail), number, 0.2 if len(number) == 1 else 0.13, ink, anchor="center", weight=1.2)


def _board(board: Board, cell: Cell, cells: Cells, actions: Sequence[int], size: int) -> Pixels:
    """A board with the vehicle and a path."""
    pixels, plain, (row, column) = _ground(board.tobytes(), *board.shape, size).copy(), size < PLAIN, cell
    pen = Canvas(pixels, size)
    if plain:  # markers larger than a cell, found at a glance
        for goal_row, goal_column in np.argwhere(board % BRICK == GOAL).tolist():
            _goal(pen.at(goal_column + 0.5 - 9 / size, goal_row + 0.6 - 16 / size, 18 / size))
        dot = circle((column + 0.5, row + 0.5), max(0.4, 3.5 / size))
        pen.paint(dot, Delivery.RED, outline=Delivery.WHITE, width=max(0.15, 1.5 / size))
    else:
        facing = next((-1 if action == 2 else 1 for action in reversed(actions) if action >= 2), 1)
        tile = _tile(int(board[cell]), size, facing)
        pixels[row * size : (row + 1) * size, column * size : (column + 1) * size] = tile
        if size < SMALL:  # easy to miss without a frame
            pen.paint(rectangle(column, row, column + 1, row + 1, 0.1), outline=Delivery.WHITE, width=2 / size)
    moves = _moves(board, cells, actions)
    count, used = Counter(move.border for move in moves), Counter[frozenset[Cell]]()
    for move in moves:  # those over the same border lie side by side
        lane = (used[move.border] - (count[move.border] - 1) / 2) * min(0.32, 0.8 / count[move.border])
        used[move.border] += 1
        _draw_move(pen, move, size < SMALL, lane)
    return pixels


# ---------------------------------------------------------------- the page

LEGEND: dict[str, int | Move] = {
    "vehicle": 0,
    "destination": GOAL,
    **{NAMES[code]: code for code in (HOUSE, SHEEP, COIN, ROADBLOCK, 0)},
    "brick": BRICK,
    **{f"{order} move": Move(i, (0, 0), (0, 1), False) for i, order in enumerate(("first", "second", "third"))},
    "blocked move": Move(3, (0, 0), (0, 1), True),
}


def _legend(canvas: Canvas, left: int, top: int, columns: int, plain: bool) -> None:
    """Icons with their names in columns, `COLUMN` pixels wide and `ROW` high each."""
    rows = -(-len(LEGEND) // columns)
    for i, (name, entry) in enumerate(LEGEND.items()):
        x, y = left + COLUMN * (i // rows), top + ROW * (i % rows)
        icon, vehicle = canvas.pixels[y : y + ICON, x : x + ICON], name == "vehicle"
        if isinstance(entry, Move):
            canvas.paint(rectangle(x, y, x + ICON, y + ICON, 3), Delivery.ROAD)
            _draw_move(canvas.at(x - (0.48 if entry.blocked else 0.73) * ICON, y - ICON / 8, 1.25 * ICON), entry)
        else:
            icon[:] = _tile(entry, ICON, int(vehicle and not plain), plain and entry != GOAL)
        if vehicle and plain:
            canvas.paint(circle((x + ICON / 2, y + ICON / 2), 5), Delivery.RED, outline=Delivery.WHITE, width=2)
        canvas.text((x + ICON + 9, y + ICON / 2), name, 9, Delivery.INK)


@lru_cache(maxsize=32)
def _page(height: int, width: int, copies: int, plain: bool) -> tuple[Pixels, tuple[Cell, ...]]:
    """The page around one board or two of height x width pixels, read-only, and each board's top left (y, x)."""
    top, gap, frame = MARGIN + (28 if copies > 1 else 0), 2 * MARGIN, 3
    span, entries = copies * width + (copies - 1) * gap, len(LEGEND)
    beside = copies == 1 and width <= 1.2 * height
    columns = (1 if height >= entries * ROW else 2) if beside else min(6, max(2, (span + MARGIN) // COLUMN))
    tall, wide = -(-entries // columns) * ROW - (ROW - ICON), columns * COLUMN - MARGIN
    if beside:
        inside_height, inside_width = max(height, tall), width + gap + wide
        legend = MARGIN + width + gap, top + (inside_height - tall) // 2
    else:
        inside_height, inside_width = height + 28 + tall, max(span, wide)
        legend = MARGIN + (inside_width - wide) // 2, top + height + 28
    total_height, total_width = top + inside_height + CAPTION, inside_width + 2 * MARGIN
    total_height, total_width = (side + side % 2 for side in (total_height, total_width))  # video wants even sides
    pixels = raster.blank(total_height, total_width, Delivery.PAGE)
    canvas = Canvas(pixels)
    x0 = MARGIN if beside else MARGIN + (inside_width - span) // 2
    y0 = top + (inside_height - height) // 2 if beside else top
    corners = tuple((y0, x0 + i * (width + gap)) for i in range(copies))
    for (y, x), heading in zip(corners, ("first", "second"), strict=False):
        canvas.paint(rectangle(x, y + 3, x + width, y + height + 3, 4), Delivery.INK, opacity=0.25, blur=8)
        canvas.paint(rectangle(x, y, x + width, y + height, 2), Delivery.INK, outline=Delivery.INK, width=frame)
        if copies > 1:
            canvas.text((x + width / 2, y - 22), heading, 13, Delivery.INK, anchor="center", weight=1.25)
    _legend(canvas, *legend, columns, plain)
    pixels.setflags(write=False)
    return pixels, corners


def _picture(board: Board, scenes: Sequence[tuple[Cell, Cells, Sequence[int]]], caption: str, size: int) -> Pixels:
    """A page with one board for every scene (vehicle, path, actions) and the caption."""
    height, width = board.shape[0] * size, board.shape[1] * size
    page, corners = _page(height, width, len(scenes), size < PLAIN)
    pixels = page.copy()
    for (y, x), scene in zip(corners, scenes, strict=True):
        pixels[y : y + height, x : x + width] = _board(board, *scene, size)
    room = pixels.shape[1] - 2 * MARGIN
    if text_width(caption, CAPTION_SIZE) > room:
        while caption and text_width(caption + "...", CAPTION_SIZE) > room:
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
) -> Pixels:
    """Draw the board, the vehicle, its last moves and a legend.

    Args:
        board: codes, (H, W) integers in 0..11.
        cell: the vehicle's (row, column).
        path: the n + 1 cells visited most recently, oldest first, the last one being `cell`; empty for none.
        actions: the n actions between them.
        caption: one line below the picture, shortened where it does not fit.
        cell_size: pixels along a cell's side; 48 by default, less where the board's longer side would pass 640 pixels.

    Returns:
        uint8 (height, width, 3), both sides even; the size depends on the board's shape and `cell_size` alone.

    Raises:
        ValueError: an unknown code, a cell outside the board, a path and actions that do not fit each other, or a
            `cell_size` below 2 or with which the board's longer side passes 4,096 pixels.
    """
    codes = _check_board(board)
    vehicle = _check_cells(codes, [cell])[0]
    scene = (vehicle, *_check_path(codes, path, actions, vehicle))
    return _picture(codes, [scene], caption, _check_size(codes, cell_size, LONGEST))


def image(board: npt.ArrayLike, cell: Sequence[int], cell_size: int = 8) -> Pixels:
    """The bare board and the vehicle as an observation, every cell's mark within its own pixels.

    Returns:
        uint8 (H * cell_size, W * cell_size, 3).

    Raises:
        ValueError: an unknown code, a cell outside the board, or a `cell_size` as in `rgb`.
    """
    codes = _check_board(board)
    (row, column), size = _check_cells(codes, [cell])[0], _check_size(codes, cell_size, LONGEST)
    pixels = _ground(codes.tobytes(), *codes.shape, size).copy()
    own = pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]
    Canvas(own, size).paint(circle((0.5, 0.5), 0.3), Delivery.RED, outline=Delivery.WHITE, width=0.14)
    return pixels


def pair(
    board: npt.ArrayLike, first: Segment, second: Segment, caption: str = "", cell_size: int | None = None
) -> Pixels:
    """Draw two segments side by side, as a query to a person; each vehicle stands where its segment starts.

    Args:
        board: codes, (H, W) integers in 0..11.
        first: a segment: its cells (L + 1, 2) and its actions (L,). Padding after its end is left out.
        second: the other segment.
        caption: one line below the pictures.
        cell_size: pixels along a cell's side; 48 by default, less where the board's longer side would pass 480 pixels.

    Returns:
        uint8 (height, width, 3), both sides even.

    Raises:
        ValueError: an unknown code, a cell outside the board, cells and actions that do not fit each other, or a
            `cell_size` as in `rgb`.
    """
    codes = _check_board(board)
    paths = [_check_path(codes, *segment) for segment in (first, second)]
    if not all(cells for cells, _ in paths):
        raise ValueError("A segment is empty; give cells (L + 1, 2) and actions (L,) with at least one cell.")
    scenes = [(cells[0], cells, actions) for cells, actions in paths]
    return _picture(codes, scenes, caption, _check_size(codes, cell_size, 0.75 * LONGEST))


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
    items = "  ".join(f"{mark} {name}" for mark, name in zip(_TEXT_ITEMS, NAMES, strict=True))
    lines.append(f"V vehicle  {items}  {_TEXT_BRICK} brick")
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


def _check_size(board: Board, cell_size: int | None, longest: float) -> int:
    if cell_size is None:
        return max(2, min(48, int(longest // max(board.shape))))
    return checks.integer("cell_size", cell_size, 2, MOST // max(board.shape))
