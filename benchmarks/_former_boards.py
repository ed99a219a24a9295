"""The former generators of random boards, whose bits the present ones must keep: for comparison by test and benchmark.

Every attempt is drawn, ranked and digested in full, one attempt of each row at a time.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import keys
from valuegym.envs.functional import put_rows, take_rows
from valuegym.envs.preference import random_delivery, risky_delivery
from valuegym.envs.preference.delivery import BRICK, COIN, GOAL, OUTSIDE, ROAD, ROADBLOCK, SHEEP
from valuegym.envs.preference.random_delivery import (
    COIN_SHARES,
    HEIGHTS,
    ROADBLOCK_SHARES,
    SHAPE,
    SHEEP_SHARES,
    SPLITS,
    VALUES,
    WIDTHS,
    Boards,
    Generator,
    RandomDelivery,
    RandomTask,
)
from valuegym.envs.preference.risky_delivery import RiskyDelivery

__all__ = ["DRAW", "FormerBoards", "FormerRandomDelivery", "FormerRiskyDelivery", "digest", "draw", "draw_risky"]

Array = npt.NDArray[Any]


def draw(key: keys.Key, size: tuple[int, int] | None = None) -> RandomTask:
    """Draw one task for each key (B,)."""
    B, (H, W) = len(key), size or SHAPE

    def pick(values: Array, index: int) -> Array:
        return values[keys.integers(key, len(values), index)]

    height, width = (np.full(B, side) for side in size) if size else (pick(HEIGHTS, 0), pick(WIDTHS, 1))
    sheep = pick(SHEEP_SHARES, 2)
    roadblocks = ROADBLOCK_SHARES[keys.choice(key, sheep[:, None] + ROADBLOCK_SHARES < 1, 3)]
    coins = COIN_SHARES[keys.choice(key, (sheep + roadblocks)[:, None] + COIN_SHARES < 1 - 1e-9, 4)]

    row, column = np.mgrid[:H, :W].reshape(2, 1, H * W)
    inside = (row < height[:, None]) & (column < width[:, None])
    area = height * width
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


def draw_risky(key: keys.Key, size: tuple[int, int] = (risky_delivery.SIDE, risky_delivery.SIDE)) -> RandomTask:
    """Draw one task with risky cells for each key (B,)."""
    B, S = len(key), size[0] * size[1]
    shares, stakes = risky_delivery.SHARES, risky_delivery.STAKES
    risky = (shares[keys.integers(key, len(shares), 0)] * S).astype(np.int64)
    boards = np.where(np.argsort(keys.permutation(key, S, 1), -1) < risky[:, None], SHEEP, 0)
    boards[np.arange(B), keys.integers(key, S, 2)] = GOAL
    weights = np.tile(np.array([-1.0, 50.0, 0.0, 0.0, 0.0, 0.0]), (B, 1))
    weights[:, [risky_delivery.LOST, risky_delivery.WON]] = stakes[keys.integers(key, len(stakes), 3)]
    return RandomTask(boards.reshape(B, *size), weights)


def digest(task: RandomTask) -> keys.Key:
    """Return a 64-bit digest (B,) of each task."""
    cells = task.boards.reshape(len(task.boards), -1)
    items = np.array([ROAD, GOAL, SHEEP, COIN, ROADBLOCK, BRICK])
    relevant = np.where((cells[..., None] == items).any(1), np.rint(task.weights), 0).astype(np.int64)
    content = np.concatenate([cells, relevant], -1)
    position = np.arange(content.shape[-1])
    return keys.mix(np.bitwise_xor.reduce(keys.mix(0, position, content), -1), content.shape[-1])


DRAW = {"random": draw, "risky": draw_risky}
_FORMER = {random_delivery.draw: draw, risky_delivery.draw: draw_risky}


class FormerBoards(Boards):
    """Random boards, one attempt of each row at a time."""

    @classmethod
    def of(cls, boards: Boards) -> FormerBoards:
        """Return the same boards as drawn before."""
        assert isinstance(boards.source, Generator)
        now = boards.source.draw
        of_size = now if isinstance(now, partial) else partial(now)
        return cls(boards.source._replace(draw=partial(_FORMER[of_size.func], **of_size.keywords)), boards.split)

    def draw(self, key: keys.Key) -> RandomTask:
        """Draw one task for each episode key (B,)."""
        assert isinstance(self.source, Generator)
        generate, attempt, todo = self.source.draw, 0, np.arange(len(key))
        task = generate(keys.mix(key, keys.RESET, 0, 0))
        while (todo := todo[self._other(take_rows(task, todo))]).size:
            attempt += 1  # the task drawn belongs to another split
            put_rows(task, todo, generate(keys.mix(key[todo], keys.RESET, 0, attempt)))
        return RandomTask(task.boards.astype(np.int8), task.weights)

    def _other(self, task: RandomTask) -> Array:
        return ~np.isin(digest(task) % np.uint64(4), SPLITS[self.split])


class FormerRandomDelivery(RandomDelivery):
    """`RandomDelivery` with boards drawn as before, one episode at a time."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.boards, self.resets_ahead = FormerBoards.of(self.boards), 0


class FormerRiskyDelivery(RiskyDelivery):
    """`RiskyDelivery` with boards drawn as before, one episode at a time."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.boards, self.resets_ahead = FormerBoards.of(self.boards), 0
