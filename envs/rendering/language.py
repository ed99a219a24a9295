"""Pictures of responses (a tile for each token, advantages of the next) and of values (a bar for each)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.rendering.palette import Language
from valuegym.envs.rendering.raster import Canvas, Pixels, blank, rectangle

__all__ = ["ansi", "name", "rgb", "values"]

Floats = npt.NDArray[Any]
REACH, ROW, NAMES, HALF = 4.0, 16, 150, 150  # values drawn go from -REACH to REACH
TILE, GAP, LEFT, TOP, BARS = 44, 8, 20, 20, 110


def name(token: int) -> str:
    """Return a letter, or a number from the 27th token on."""
    return chr(ord("A") + token) if token < 26 else str(token)


def ansi(prompt: int, tokens: Sequence[int], earned: Sequence[float], length: int, advantages: Floats | None) -> str:
    """Return the response on one line, with the return so far."""
    written = " ".join([*map(name, tokens), *"." * (length - len(tokens))])
    return f"prompt {prompt}: {written}  return {sum(earned):+.2f}"


def rgb(prompt: int, tokens: Sequence[int], earned: Sequence[float], length: int, advantages: Floats | None) -> Pixels:
    """Return tiles of prompt and tokens with rewards below, and a bar for the optimal advantage of each next token."""
    shown = 0 if advantages is None else min(len(advantages), 32)
    width = max(2 * LEFT + (length + 1) * (TILE + GAP) + GAP, 480)
    pixels = blank(TOP + TILE + 34 + BARS + 50, width, Language.PAGE)
    pen = Canvas(pixels)
    tiles = [(str(prompt), Language.PROMPT, "prompt")]
    tiles += [(name(token), Language.TOKEN, f"{r:+.2f}") for token, r in zip(tokens, earned, strict=True)]
    tiles += [("", Language.EMPTY, "")] * (length - len(tokens))
    for i, (text, fill, below) in enumerate(tiles):
        x = LEFT + i * (TILE + GAP) + (GAP if i else 0)
        pen.paint(rectangle(x, TOP, x + TILE, TOP + TILE, 6), fill, outline=Language.INK, width=1.5)
        pen.text((x + TILE / 2, TOP + TILE / 2), text, 16, Language.WHITE, anchor="center", weight=1.4)
        pen.text((x + TILE / 2, TOP + TILE + 16), below, 8, Language.INK, anchor="center")
    top = TOP + TILE + 34
    if advantages is not None and shown:
        lowest = max(float(-advantages[:shown].min()), 1e-9)
        step = (width - 2 * LEFT) / shown
        for token in range(shown):
            left, depth = LEFT + token * step, BARS * float(-advantages[token]) / lowest
            best = advantages[token] >= -1e-9
            bar = rectangle(left + 0.15 * step, top, left + 0.85 * step, top + max(depth, 3.0), 2)
            pen.paint(bar, Language.BEST if best else Language.BAR)
            pen.text((left + step / 2, top + BARS + 14), name(token), min(9, step / 3), Language.INK, anchor="center")
    caption = f"return {sum(earned):+.2f}" + ("    bars: optimal advantages of the next token" if shown else "")
    pen.text((LEFT, top + BARS + 34), caption, 9, Language.INK)
    return pixels


def values(mode: str, names: Sequence[str], read: Floats, stated: Floats | None, caption: str) -> Pixels | str:
    """Return the values (D,) that people's answers express as bars, and those of an agent's answers, if any, as marks.

    Raises:
        ValueError: the mode is neither "rgb_array" nor "ansi".
    """
    checks.choice("mode", mode, ("rgb_array", "ansi"))
    if mode == "ansi":
        rows = [f"{name:>24} {value:+.2f}" for name, value in zip(names, read, strict=True)]
        if stated is not None:
            rows = [f"{row}  agent {value:+.2f}" for row, value in zip(rows, stated, strict=True)]
        return "\n".join([caption, *rows])
    pixels = blank(2 * TOP + ROW * (len(names) + 1), NAMES + 2 * HALF + 3 * LEFT, Language.PAGE)
    pen, middle = Canvas(pixels), NAMES + HALF + LEFT
    pen.text((LEFT, TOP), caption, 9, Language.INK)
    for d, label in enumerate(names):
        y = TOP + ROW * (d + 1)
        at = middle + HALF * min(max(float(read[d]) / REACH, -1.0), 1.0)
        pen.text((NAMES, y), label.replace("_", " "), 8, Language.INK, anchor="right")
        pen.paint(rectangle(min(middle, at) - 1, y - 5, max(middle, at) + 1, y + 5, 1), Language.TOKEN)
        if stated is not None:
            mark = middle + HALF * min(max(float(stated[d]) / REACH, -1.0), 1.0)
            pen.paint(rectangle(mark - 2, y - 7, mark + 2, y + 7, 1), Language.PROMPT)
    return pixels
