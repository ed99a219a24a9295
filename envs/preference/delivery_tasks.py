"""Delivery boards as tasks of the query environments: random ones, risky ones, the published one, or a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.envs import checks, keys
from valuegym.envs.preference import datasets, delivery, maps, own_annotators, random_delivery, risky_delivery
from valuegym.envs.preference.segments import Array, Segment
from valuegym.envs.preference.tabular_query import Drawn, TabularSource
from valuegym.envs.rendering import delivery as rendering

__all__ = ["DeliveryTasks", "delivery_source"]

LONGEST = 1000  # steps of a segment
THUMBNAIL = 128  # pixels along the longer side of a candidate's board


class DeliveryTasks:
    """Boards with hidden weights (`tabular_query.Tasks`).

    On random boards the order of the features, their signs and, unless they are risky, which terminal item and which
    road item is the good one are drawn for every episode.

    Args:
        boards: where boards and weights come from.
        risky: whether sheep cells win or lose by chance, as in `RiskyDelivery-v0`.
    """

    discount = delivery.DISCOUNT

    def __init__(self, boards: random_delivery.Boards, risky: bool = False) -> None:
        self.boards, self.risky, self.random = boards, risky, boards.random
        H, W = boards.shape
        self.shape = H * W, len(delivery.ACTIONS), len(delivery.FEATURES)
        self.spaces: dict[str, gym.Space[Any]] = {
            "board": gym.spaces.Box(delivery.OUTSIDE, 2 * delivery.BRICK - 1, (H * W,), np.int64)
        }

    def draw(self, key: keys.Key) -> Drawn:
        """Draw a board and its weights for each key (B,)."""
        boards, weights, shuffle, sign = self.original(key)
        mdp = delivery.board_mdp(boards, self.discount)
        assert mdp.next_state is not None
        features, chance, outcomes = mdp.features, None, None
        if self.risky:
            process = risky_delivery.board_outcomes(boards)
            chance = process.chance
            features = (chance[..., None] * process.features).sum(-2)
            outcomes = (
                np.take_along_axis(process.features, shuffle[:, None, None, None], -1) * sign[:, None, None, None]
            )
        return Drawn(
            next_state=mdp.next_state,
            features=np.take_along_axis(features, shuffle[:, None, None], -1) * sign[:, None, None],
            terminal=mdp.terminal,
            start=mdp.start,
            weights=np.take_along_axis(weights, shuffle, -1) * sign,
            layout=boards.reshape(len(key), -1).astype(np.int64),
            chance=chance,
            outcomes=outcomes,
        )

    def original(self, key: keys.Key) -> tuple[Array, Array, Array, Array]:
        """Draw boards (B, H, W) and weights (B, d) in the published order, the features' shuffle and signs (B, d).

        Fixed boards keep their weights, order and signs.
        """
        (boards, weights), d = self.boards.draw(key), len(delivery.FEATURES)
        if not self.random:
            return boards, weights, np.tile(np.arange(d), (len(key), 1)), np.ones((len(key), d))
        swaps = 0.0 if self.risky else 0.5  # which terminal item, which road item is the good one
        swap = keys.uniform(key[:, None], keys.RESET, 1, np.arange(2)) < swaps
        ends = np.where(swap[:, :1], (0, 2, 1, 3, 4, 5), range(d))
        items = np.where(swap[:, 1:], (0, 1, 2, 4, 3, 5), range(d))
        weights = np.take_along_axis(weights, np.take_along_axis(ends, items, -1), -1)
        sign = np.where(keys.uniform(key[:, None], keys.RESET, 2, np.arange(d)) < 0.5, -1.0, 1.0)
        return boards, weights, keys.permutation(key, d, keys.RESET, 4), sign

    def observation(self, layout: Array) -> dict[str, Array]:
        """Return the cells of the boards."""
        return {"board": layout.copy()}

    def render(self, mode: str, layout: Array, pair: Segment, caption: str, answer: int) -> Any:
        """Draw the board twice, with the path of each segment, and mark the preferred one."""
        board, (first, second) = maps.crop(layout.reshape(self.boards.shape)), self._paths(pair)
        if mode == "rgb_array":
            frame = self.boards.shape if self.random else None
            details = {"sheep": ("gamble", "wins or loses, ends")} if self.risky else {}
            return rendering.pair(
                board, first, second, caption, frame=frame, details=details, gambles=self.risky, answer=answer
            )
        drawn = (
            rendering.ansi(board, path[-1], path, moves, name)
            for name, (path, moves) in (("first", first), ("second", second))
        )
        return "\n".join((*drawn, caption))

    def _paths(self, pair: Segment) -> list[tuple[Array, Array]]:
        """Return the cells (l + 1, 2) and actions (l,) of both segments of a pair (2, ...)."""
        cells, steps = np.stack(np.unravel_index(pair.states, self.boards.shape), -1), pair.mask.sum(-1)
        return [(cells[i, : steps[i] + 1], pair.actions[i, : steps[i]]) for i in range(2)]

    def render_pair(self, layout: Array, pair: Segment) -> Any:
        """Draw a pair as a thumbnail, without words."""
        board = maps.crop(layout.reshape(self.boards.shape))
        frame = self.boards.shape if self.random else board.shape
        first, second = self._paths(pair)
        return rendering.thumbnail(board, first, second, max(THUMBNAIL, 2 * max(frame)), frame, self.risky)


def delivery_source(
    annotator: Any = "regret",
    board: str = "random",
    split: str = "test",
    length: int = 3,
    action: str = "weights",
    data: str | None = None,
    size: Sequence[int] | None = None,
) -> TabularSource:
    """Return the source of `RewardInference`, whose arguments these are.

    Raises:
        ValueError: an argument is not as its table says.
        FileNotFoundError: people's answers, or stored boards, are not where `data` says.
    """
    checks.choice("action", action, ("weights", "policy"))
    length = checks.integer("length", length, 1, LONGEST)
    maps.check_folder(data)
    who: Any
    if isinstance(annotator, str) and annotator.startswith("human:"):
        who, board = datasets.load(annotator.partition(":")[2], data), "published"
    else:
        who = own_annotators.resolve(annotator)
    if risky := checks.text("board", board, random_delivery.BOARD_NAMES) == "risky":
        generator = risky_delivery.RiskyDelivery.generator
        boards = random_delivery.boards("random", split, size, generator=generator)
    else:
        boards = random_delivery.boards(board, split, size, data=data)
    return TabularSource(DeliveryTasks(boards, risky), who, length, action == "policy")
