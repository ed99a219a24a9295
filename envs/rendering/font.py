"""The font of all pictures: characters of dots on a grid, drawn as round strokes from dot to dot."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

__all__ = ["SPACE", "strokes", "text_width"]

Point: TypeAlias = tuple[float, float]

# The characters "!" to "~", up to five columns of nine dots: three octal digits a column, the top dot in the lowest
# bit, capitals seven dots high, descenders two. Round strokes from dot to dot make them look well at any size.
_FONT = (
    "137 003000003 024076024076024 044052177052022 143023010144143 066111131046120 003 076101 101076 024010024000 "
    "020020174020020 200140 020020020 140 300060014003 076101101076 002177 142121111106 042111111066 "
    "030024022177020 047105105071 076111111062 001161015003 066111111066 046111111076 044 200144 020050104 "
    "050050050050 104050020 002121011006 076101135125036 160034023034160 177111111066 076101101101042 "
    "177101101042034 177111111101 177011011001 076101101111072 177010010010177 177 040100100077 177010024042101 "
    "177100100100 177002014002177 177006010060177 076101101101076 177011011006 076101121041136 177011031146 "
    "046111111111062 001001177001001 077100100100077 007030140030007 077100070100077 143024010024143 "
    "003004170004003 141121111105103 177101 003014060300 101177 002001002 100100100100 001002 040124124170 "
    "177104104070 070104104104 070104104177 070124124030 176005005 070504504374 177004004170 175 400375 "
    "177020050104 077100 174004174004170 174004004170 070104104070 774104104070 070104104774 174010004 110124124044 "
    "077104104 074100100174 014060100060014 074100070100074 154020020154 074500500374 144124124114 010167101 377 "
    "101167010 020010020040020 "
).split()
SPACE, _GAP = 3, 1  # columns


def text_width(string: str, size: float) -> float:
    """The width of `string` set in capitals `size` high, in the unit of `size`."""
    columns = sum(SPACE if char == " " else len(_glyph(char)) // 3 for char in string) + _GAP * max(len(string) - 1, 0)
    return columns * size / 7


def _glyph(char: str) -> str:
    return _FONT[ord(char) - 33] if "!" <= char <= "~" else _FONT[ord("?") - 33]


@cache
def strokes(char: str) -> list[tuple[Point, Point]]:
    """A glyph's straight pieces in grid units: dots joined to their neighbours, diagonally only where no corner is."""
    code = _glyph(char)
    dots = {(x, y) for x in range(len(code) // 3) for y in range(9) if int(code[3 * x : 3 * x + 3], 8) >> y & 1}
    pieces: list[tuple[Point, Point]] = [(dot, dot) for dot in sorted(dots)]
    for x, y in sorted(dots):
        for dx, dy in ((1, 0), (0, 1), (1, 1), (-1, 1)):
            straight = dx == 0 or dy == 0
            if (x + dx, y + dy) in dots and (straight or not {(x + dx, y), (x, y + dy)} & dots):
                pieces.append(((x, y), (x + dx, y + dy)))
    return pieces
