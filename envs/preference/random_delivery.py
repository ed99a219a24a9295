"""Random delivery tasks: the published generator of boards and weights, as a pure function of keys.

Source: the code released with Knox et al. (2024); the distribution below is that of every board published with it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import keys
from valuegym.envs.preference.delivery import BRICK, COIN, GOAL, OUTSIDE, ROAD, ROADBLOCK, SHEEP

Array = npt.NDArray[Any]

HEIGHTS, WIDTHS = np.array([3, 6, 10, 15]), np.array([5, 6, 10])
SHEEP_SHARES, ROADBLOCK_SHARES, COIN_SHARES = (
    np.array([0.0, 0.1, 0.3]),
    np.array([0.0, 0.1, 0.5, 0.8]),
    np.array([0.0, 0.1, 0.2]),
)
# Values each weight is drawn from, in the order of FEATURES.
VALUES = tuple(
    map(np.array, ([-1.0], [0.0, 1, 5, 10, 50], [-5.0, -10, -50, -100], [1.0], [-2.0, -5, -10], [-1.0, -2, -3]))
)


class RandomTask(NamedTuple):
    """boards (B, 15, 10) cell codes, padded with OUTSIDE; weights (B, 6) in the order of FEATURES."""

    boards: Array
    weights: Array


def draw(key: keys.Key) -> RandomTask:
    """One task for each key (B,).

    Size, shares of sheep, roadblocks and coins, their places, one goal anywhere, weights.

    A share is drawn uniformly among those that leave the board's total below 1; counts are rounded down.
    """
    B, (H, W) = len(key), (HEIGHTS.max(), WIDTHS.max())

    def pick(values: Array, index: int) -> Array:
        return values[keys.integers(key, len(values), index)]

    height, width = pick(HEIGHTS, 0), pick(WIDTHS, 1)
    sheep = pick(SHEEP_SHARES, 2)
    roadblocks = ROADBLOCK_SHARES[keys.choice(key, sheep[:, None] + ROADBLOCK_SHARES < 1, 3)]
    coins = COIN_SHARES[keys.choice(key, (sheep + roadblocks)[:, None] + COIN_SHARES < 1 - 1e-9, 4)]

    row, column = np.mgrid[:H, :W].reshape(2, 1, H * W)
    inside = (row < height[:, None]) & (column < width[:, None])
    area = height * width
    # A random order of the cells inside: the first take sheep, the next roadblocks, the next coins.
    order = np.where(inside, keys.uniform(key[:, None], 5, np.arange(H * W)), 2.0)
    rank = np.argsort(np.argsort(order, -1, kind="stable"), -1, kind="stable")
    bounds = np.cumsum([(share * area + 1e-9).astype(np.int64) for share in (sheep, roadblocks, coins)], axis=0)[
        ..., None
    ]
    boards = np.select(
        [~inside, rank < bounds[0], rank < bounds[1], rank < bounds[2]], [OUTSIDE, SHEEP, ROADBLOCK, COIN], 0
    )
    goal = keys.integers(key, area, 6)
    boards[np.arange(B), goal // width * W + goal % width] = GOAL
    weights = np.stack([pick(values, 7 + i) for i, values in enumerate(VALUES)], -1)
    return RandomTask(boards.reshape(B, H, W), weights)


def digest(task: RandomTask) -> keys.Key:
    """A 64-bit digest of what matters in each task (B,): equal tasks have equal digests, whichever keys they came from.

    Weights of items that are not on the board do not matter.
    """
    cells = task.boards.reshape(len(task.boards), -1)
    items = np.array([ROAD, GOAL, SHEEP, COIN, ROADBLOCK, BRICK])  # in the order of the weights
    relevant = np.where((cells[..., None] == items).any(1), np.rint(task.weights), 0).astype(np.int64)
    content = np.concatenate([cells, relevant], -1)
    position = np.arange(content.shape[-1])
    return keys.mix(np.bitwise_xor.reduce(keys.mix(0, position, content), -1), content.shape[-1])
