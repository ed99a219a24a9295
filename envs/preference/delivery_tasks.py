"""Delivery boards as tasks of the query environments: random ones, risky ones, the published one, or a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.envs import checks, keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import datasets, delivery, maps, own_annotators, random_delivery, risky_delivery
from valuegym.envs.preference.query import LOWEST
from valuegym.envs.preference.segments import Array, Segment
from valuegym.envs.preference.tabular_query import Drawn, TabularSource, Task, policy_of
from valuegym.envs.rendering import delivery as rendering

__all__ = ["DeliveryTasks", "UnseenMaps", "delivery_source", "draw_roles", "swap_roles"]

LONGEST = 1000  # steps of a segment
MOST_UNSEEN = 1000
ROLES = ((1, 2), (3, 4), (0, 5))  # features that may change places: goal and sheep, coin and roadblock, road and brick
THUMBNAIL = 128  # pixels along the longer side of a candidate's board


class DeliveryTasks:
    """Boards with hidden weights (`tabular_query.Tasks`).

    On random boards the order of the features, their signs and, unless they are risky, which terminal item and which
    road item is the good one are drawn for every episode. Fixed boards have their published labels, or, relabelled,
    roles, order and signs drawn for every episode: goals and sheep, coins and roadblocks, road and brick change places
    on the board or do not, and weights with them, so that returns, regrets and optimal policies are the same.

    Args:
        boards: where boards and weights come from.
        risky: whether sheep cells win or lose by chance, as in `RiskyDelivery-v0`.
        relabel: whether labels are redrawn; None for random boards only.
    """

    discount = delivery.DISCOUNT

    def __init__(self, boards: random_delivery.Boards, risky: bool = False, relabel: bool | None = None) -> None:
        self.relabel = boards.random if relabel is None else checks.flag("relabel", relabel)
        self.boards, self.risky, self.random = boards, risky, boards.random or self.relabel
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

        Boards that are not relabelled keep their weights, order and signs.
        """
        (boards, weights), d = self.boards.draw(key), len(delivery.FEATURES)
        if not self.relabel:
            return boards, weights, np.tile(np.arange(d), (len(key), 1)), np.ones((len(key), d))
        if not self.boards.random:
            roles, swap = draw_roles(key)
            weights = np.take_along_axis(weights, roles, -1)
            return swap_roles(boards, swap), weights, *_order_and_signs(key)
        swaps = 0.0 if self.risky else 0.5  # which terminal item, which road item is the good one
        swap = keys.uniform(key[:, None], keys.RESET, 1, np.arange(2)) < swaps
        ends = np.where(swap[:, :1], (0, 2, 1, 3, 4, 5), range(d))
        items = np.where(swap[:, 1:], (0, 1, 2, 4, 3, 5), range(d))
        weights = np.take_along_axis(weights, np.take_along_axis(ends, items, -1), -1)
        return boards, weights, *_order_and_signs(key)

    def seen_features(self, key: keys.Key, features: Array) -> Array:
        """Return features (B, ..., d) of the published labels as an agent sees those of its episode."""
        if not self.relabel:
            return features
        shuffle, sign = _order_and_signs(key)
        chosen = np.take_along_axis(draw_roles(key)[0], shuffle, -1)
        between = (1,) * (features.ndim - 2)
        order = chosen.reshape(len(key), *between, -1)
        return np.take_along_axis(features, order, -1) * sign.reshape(len(key), *between, -1)

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


def _order_and_signs(key: keys.Key) -> tuple[Array, Array]:
    """Draw the features' shuffle and signs (B, d)."""
    d = len(delivery.FEATURES)
    sign = np.where(keys.uniform(key[:, None], keys.RESET, 2, np.arange(d)) < 0.5, -1.0, 1.0)
    return keys.permutation(key, d, keys.RESET, 4), sign


def draw_roles(key: keys.Key) -> tuple[Array, Array]:
    """Draw which roles change places in each episode: the order of features (B, d), and for each pair a bool (B, 3).

    The pairs are goal and sheep, coin and roadblock, road and brick.
    """
    swap = keys.uniform(key[:, None], keys.RESET, 1, np.arange(3)) < 0.5
    order = np.tile(np.arange(len(delivery.FEATURES)), (len(key), 1))
    for nth, (one, other) in enumerate(ROLES):
        rows = swap[:, nth]
        order[rows, one], order[rows, other] = other, one
    return order, swap


def swap_roles(boards: Array, swap: Array) -> Array:
    """Return boards (B, H, W) on which the items and surfaces of some pairs (B, 3) have changed places.

    `delivery.board_mdp` of the result is the same process with its features in the order of `draw_roles`.
    """
    swap = swap[:, :, None, None]
    item, brick = boards % delivery.BRICK, boards >= delivery.BRICK
    changed = item.copy()
    for nth, (one, other) in enumerate(((delivery.GOAL, delivery.SHEEP), (delivery.COIN, delivery.ROADBLOCK))):
        changed[swap[:, nth] & (item == one)] = other
        changed[swap[:, nth] & (item == other)] = one
    moved = changed + delivery.BRICK * (brick ^ swap[:, 2])
    return np.where(boards == delivery.OUTSIDE, boards, moved).astype(boards.dtype)


class UnseenMaps(TabularSource):
    """A source whose estimates are scored on random maps that no segment showed, with the task's own weights.

    The maps of an episode are drawn from the split, keep the labels of the episode, and count alike; on each a score is
    0 for uniformly random actions, 1 for an optimal policy and at least -1.

    Args:
        tasks: fixed boards.
        annotator: as in `TabularSource`.
        length: as in `TabularSource`.
        count: maps of an episode.
        split: of the maps.

    Raises:
        ValueError: as in `TabularSource`.
    """

    def __init__(self, tasks: DeliveryTasks, annotator: Any, length: int, count: int, split: str) -> None:
        super().__init__(tasks, annotator, length)
        self.count, self.maps = count, random_delivery.boards("random", split)

    def score(self, task: Task, estimate: Array) -> Array:
        """Return the mean score (B,) of weights (B, d) over the maps of each episode."""
        tasks: Any = self.tasks
        nth = keys.mix(task.key[:, None], keys.RESET, 5, np.arange(self.count))
        maps_mdp = delivery.board_mdp(self.maps.draw(nth.reshape(-1)).boards, self.discount)
        lead = (len(task.key), self.count)
        seen = tasks.seen_features(task.key, maps_mdp.features.reshape(*lead, *maps_mdp.features.shape[1:]))
        mdp = tabular.TabularMDP(
            seen.reshape(maps_mdp.features.shape),
            maps_mdp.terminal,
            maps_mdp.start,
            self.discount,
            next_state=maps_mdp.next_state,
        )
        true, given = (np.repeat(vector, self.count, 0) for vector in (task.weights, estimate.astype(np.float64)))
        reward = tabular.reward(mdp, true)
        returns = (
            tabular.mean_return(mdp, tabular.evaluate(mdp, policy, reward))
            for policy in (policy_of(mdp, given, False), tabular.uniform_policy(mdp))
        )
        best = tabular.mean_return(mdp, tabular.optimal_values(mdp, reward)[0])
        found, naive = returns
        return np.maximum(tabular.between(found, naive, best), LOWEST).reshape(lead).mean(1)


def delivery_source(
    annotator: Any = "regret",
    board: str = "random",
    split: str = "test",
    length: int = 3,
    action: str = "weights",
    data: str | None = None,
    size: Sequence[int] | None = None,
    relabel: bool | None = None,
    unseen: int = 0,
) -> TabularSource:
    """Return the source of `RewardInference`, whose arguments these are.

    Raises:
        ValueError: an argument is not as its table says.
        FileNotFoundError: people's answers, or stored boards, are not where `data` says.
    """
    checks.choice("action", action, ("weights", "policy"))
    length = checks.integer("length", length, 1, LONGEST)
    unseen = checks.integer("unseen", unseen, 0, MOST_UNSEEN)
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
    tasks = DeliveryTasks(boards, risky, relabel)
    if not unseen:
        return TabularSource(tasks, who, length, action == "policy")
    if action == "policy" or boards.random:
        raise checks.refusal("unseen", unseen, "0, for only weights learnt on a fixed board can be scored on others")
    return UnseenMaps(tasks, who, length, unseen, split)
