"""Pictures of responses (a tile for each token, advantages of the next) and of values (a bar for each)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.rendering.axes import Key, Panel, legend, mark
from valuegym.envs.rendering.palette import Language
from valuegym.envs.rendering.raster import Canvas, Pixels, blank, rectangle

__all__ = ["ansi", "name", "rgb", "values"]

Floats = npt.NDArray[Any]
REACH, ROW, NAMES, HALF = 4.0, 16, 150, 150  # values drawn go from -REACH to REACH
TILE, GAP, LEFT, TOP, BARS = 44, 8, 20, 20, 110


def name(token: int) -> str:
    """Return a letter, or a number from the 27th token on."""
    return chr(ord("A") + token) if token < 26 else str(token)


def ansi(
    prompt: int, tokens: Sequence[int], earned: Sequence[float] | None, length: int, advantages: Floats | None
) -> str:
    """Return the response on one line, with the return so far where rewards are known."""
    written = " ".join([*map(name, tokens), *"." * (length - len(tokens))])
    return f"prompt {prompt}: {written}" + ("" if earned is None else f"  return {sum(earned):+.2f}")


def rgb(
    prompt: int, tokens: Sequence[int], earned: Sequence[float] | None, length: int, advantages: Floats | None
) -> Pixels:
    """Return tiles of prompt and tokens with rewards below, and a bar for the optimal advantage of each next token.

    Rewards and advantages are None where they may not be known.
    """
    shown = 0 if advantages is None else min(len(advantages), 32)
    width = max(2 * LEFT + (length + 1) * (TILE + GAP) + GAP, 480)
    pixels = blank(TOP + TILE + 34 + BARS + 68, width + width % 2, Language.PAGE)
    pen = Canvas(pixels)
    tiles = [(str(prompt), Language.PROMPT, "prompt")]
    below_each = [""] * len(tokens) if earned is None else [f"{r:+.2f}" for r in earned]
    tiles += [(name(token), Language.TOKEN, words) for token, words in zip(tokens, below_each, strict=True)]
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
    caption = "rewards are hidden" if earned is None else f"below each token its reward; return {sum(earned):+.2f}"
    pen.text((LEFT, top + BARS + 36), caption, 9, Language.INK)
    if shown and advantages is not None:
        worst = f"{float(advantages[:shown].min()):+.2f}"
        words = f"bars: what the next token loses against the best one (green), at most {worst}"
        pen.text((LEFT, top + BARS + 54), words, 8, Language.INK)
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
    tall, top = ROW * len(names), 44
    height = top + tall + 90
    pixels = blank(height + height % 2, NAMES + 2 * HALF + 4 * LEFT, Language.PAGE)
    pen = Canvas(pixels)
    pen.text((LEFT, TOP), caption, 10, Language.INK, weight=1.2)
    panel = Panel(pen, (NAMES + 2 * LEFT, top, 2 * HALF, tall), (-REACH, REACH), (float(len(names)), 0.0))
    panel.frame((-3, -2, -1, 0, 1, 2, 3), (), "weight of the value in answers (log-odds)")
    for d, label in enumerate(names):
        (left, y), (right, _) = panel.place(min(0.0, float(read[d])), d + 0.5), panel.place(max(0.0, float(read[d])), 0)
        pen.text((NAMES + 2 * LEFT - 8, y), label.replace("_", " "), 8, Language.INK, anchor="right")
        pen.paint(rectangle(left - 1, y - 5, right + 1, y + 5, 1), Language.TOKEN)
        if stated is not None:
            at, _ = panel.place(float(stated[d]), 0)
            pen.paint(rectangle(at - 2, y - 7, at + 2, y + 7, 1), Language.PROMPT)
    keys: list[Key] = [("people's answers of this step", partial(mark, kind="bar", color=Language.TOKEN, size=6.0))]
    if stated is not None:
        keys.append(("the agent's last ones", partial(mark, kind="bar", color=Language.PROMPT, size=6.0)))
    legend(pen, LEFT, top + tall + 48, pixels.shape[1] - LEFT, keys)
    return pixels
