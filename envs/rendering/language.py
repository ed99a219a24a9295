"""Pictures of responses: a tile for the prompt and for each token, what tokens earned, and advantages of the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from valuegym.envs.rendering.palette import Language
from valuegym.envs.rendering.raster import Canvas, Pixels, blank, rectangle

__all__ = ["ansi", "name", "rgb"]

Floats = npt.NDArray[Any]
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
