"""The colours of all pictures: one class for each family of environments."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Chart", "Color", "Control", "Delivery", "Language", "Population", "rgb"]

Color: TypeAlias = "str | tuple[int, int, int]"


class Delivery:
    """Boards, their items and the arrows of paths; also the probes."""

    PAGE, INK, WHITE, FACE = "#f7f4ed", "#2b2f40", "#ffffff", "#4a4e63"
    ROAD, ROAD_EDGE, BRICKS, MORTAR = "#8b929c", "#7b828d", ("#bf6f55", "#c97c61", "#b5654c"), "#dcb39c"
    GREEN, GOLD, ORANGE, RED, CREAM, SLATE = "#0fa37f", "#ffcf33", "#f47b20", "#e0353f", "#fff3dc", "#3f6aa1"
    ARROWS = (("#ffd21f", INK), ("#7b2fbe", WHITE), ("#2f9bf0", WHITE))  # fill and number: yellow, purple, blue


class Control:
    """Moving bodies on a panel."""

    PAPER, INK, PANEL = "#f6f4ef", "#2b2d42", "#dfe7ee"
    RED, GREEN, GOLD, SLATE, VIOLET = "#e63946", "#0ea37f", "#f4b400", "#8d99ae", "#6567a8"


class Population:
    """People as dots, those without an AI as rings, what is estimated of them and what is broadcast to them."""

    PAGE, INK = "#f6f4ef", "#1d3557"
    PERSON, FORMER, ESTIMATE, BROADCAST = "#457b9d", "#c6d8e4", "#e9a03b", "#e63946"
    COUNTERFACTUAL, TRUTH = "#7a5195", "#2a9d5c"


class Chart:
    """Axes, and what stands on them."""

    PANEL, INK, GRID = "#ffffff", "#1d3557", "#dfe3e8"


class Language:
    """Tokens as tiles, advantages as bars."""

    PAGE, INK, WHITE, EMPTY = "#f6f4ef", "#1d3557", "#ffffff", "#dfe3e8"
    PROMPT, TOKEN, BEST, BAR = "#e9a03b", "#457b9d", "#2a9d5c", "#c6d8e4"


@lru_cache(maxsize=256)
def rgb(color: Color) -> npt.NDArray[np.float32]:
    """Return a colour, "#rrggbb" or (red, green, blue) in 0..255, as a read-only float array (3,).

    Raises:
        ValueError: anything else.
    """
    try:
        value = tuple(bytes.fromhex(color.removeprefix("#"))) if isinstance(color, str) else tuple(color)
        if len(value) != 3 or not all(0 <= part <= 255 for part in value):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f'{color!r} is not a colour: write "#rrggbb" or three numbers in 0..255.') from None
    array = np.array(value, dtype=np.float32)
    array.setflags(write=False)
    return array
