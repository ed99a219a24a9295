"""Random delivery tasks: the published generator of boards and weights, and the environment of a new task per episode.

Source: the code released with Knox et al. (2024); the distribution below is that of every board published with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys
from valuegym.envs import mdp as tabular
from valuegym.envs.functional import put_rows, take_rows
from valuegym.envs.preference import delivery, maps
from valuegym.envs.preference.delivery import (
    BRICK,
    COIN,
    FEATURES,
    GOAL,
    HOUSE,
    OUTSIDE,
    ROAD,
    ROADBLOCK,
    SHEEP,
    State,
)
from valuegym.envs.rendering import delivery as rendering

__all__ = [
    "CACHE_SIZE",
    "COIN_SHARES",
    "HEIGHTS",
    "PUBLISHED",
    "ROADBLOCK_SHARES",
    "SHEEP_SHARES",
    "SPLITS",
    "VALUES",
    "WIDTHS",
    "Boards",
    "Generator",
    "RandomDelivery",
    "RandomTask",
    "Solution",
    "Task",
    "boards",
    "codes_at",
    "digest",
    "draw",
    "solutions",
]

Array = npt.NDArray[Any]

HEIGHTS, WIDTHS = np.array([3, 6, 10, 15]), np.array([5, 6, 10])
SHAPE = (int(HEIGHTS.max()), int(WIDTHS.max()))  # of the arrays that boards of all sizes are padded to
SHEEP_SHARES, ROADBLOCK_SHARES, COIN_SHARES = (
    np.array([0.0, 0.1, 0.3]),
    np.array([0.0, 0.1, 0.5, 0.8]),
    np.array([0.0, 0.1, 0.2]),
)
# Values each weight is drawn from, in the order of FEATURES.
VALUES = tuple(
    map(np.array, ([-1.0], [0.0, 1, 5, 10, 50], [-5.0, -10, -50, -100], [1.0], [-2.0, -5, -10], [-1.0, -2, -3]))
)


LARGEST_WEIGHT = float(max(np.abs(values).max() for values in VALUES))
MOST_WEIGHT = 1e9  # that can be asked for, so that sums of rewards stay finite
BOARD_NAMES = "'random', 'published', 'stored', 'stored:NAME' or a map"
# In one call: the choices that do not depend on others, by the index of their draw. Values are padded to one length.
_INDICES = np.array([0, 1, 2, *range(7, 7 + len(VALUES))])[:, None]
_CHOICES = np.array([len(values) for values in (HEIGHTS, WIDTHS, SHEEP_SHARES, *VALUES)])[:, None]
# How many shares of roadblocks go with a share of sheep, and of coins with both: those that are small enough.
_SUMS = SHEEP_SHARES[:, None] + ROADBLOCK_SHARES
_ROADBLOCK_CHOICES, _COIN_CHOICES = (_SUMS < 1).sum(-1), (_SUMS[..., None] + COIN_SHARES < 1 - 1e-9).sum(-1)
_VALUES = np.array([np.resize(values, max(map(len, VALUES))) for values in VALUES])

_POSITIONS = 2**11  # cells that the low bits of a hash, which uniform draws do not have, can number
_UNIFORM = np.uint64(2**64 - _POSITIONS)
_IN_ORDER = np.array([ROAD, COIN, ROADBLOCK, SHEEP], np.int8)  # by the number of bounds that a cell lies before
_ITEMS = np.array([[ROAD], [GOAL], [SHEEP], [COIN], [ROADBLOCK], [BRICK]], np.uint16)  # in the order of the weights
_SIZES = [(h, w) for h in HEIGHTS.tolist() for w in WIDTHS.tolist()]
_ONE = np.ones(1, np.uint16)
_HASHED = np.arange(OUTSIDE, 2 * BRICK)  # cell codes

# Cells drawn at once, which bounds the memory. While fewer boards than SPARE are drawn, or an eighth of the cells,
# several attempts at a task are made at once, for few cost as much as one.
DRAWN, SPARE, ATTEMPTS = 2**19, 800, 16
AHEAD = 1024  # cells of the largest boards that are drawn for several episodes ahead
SPLITS = {"train": (0, 1), "dev": (2,), "test": (3,)}  # the quarters of all tasks, by digest modulo 4
_FITS = {split: np.isin(np.arange(4), quarters) for split, quarters in SPLITS.items()}


class RandomTask(NamedTuple):
    """boards (B, H, W) cell codes, padded with OUTSIDE; weights (B, 6) in the order of FEATURES."""

    boards: Array
    weights: Array


def draw(key: keys.Key, size: tuple[int, int] | None = None) -> RandomTask:
    """Draw one task for each key (B,).

    Drawn are the size (height, width) unless it is given, the shares of sheep, roadblocks and coins, their cells, one
    goal in any cell, and the weights. Each share is uniform among those that keep the sum of shares below 1; counts are
    rounded down.

    Raises:
        ValueError: the size is not two integers of at least 1.
    """
    if size is not None:
        checks.integers("size", size, (2,), 1)
    B, (H, W) = len(key), size or SHAPE
    nth = keys.integers(key, _CHOICES, _INDICES)
    height, width = (np.full(B, side) for side in size) if size else (HEIGHTS[nth[0]], WIDTHS[nth[1]])
    chance = keys.uniform(key, np.array([[3], [4]]))  # of roadblocks and coins
    sheep = nth[2]
    roadblocks = (chance[0] * _ROADBLOCK_CHOICES[sheep]).astype(np.int64)
    coins = (chance[1] * _COIN_CHOICES[sheep, roadblocks]).astype(np.int64)
    shares = SHEEP_SHARES[sheep], ROADBLOCK_SHARES[roadblocks], COIN_SHARES[coins]
    area = height * width
    bounds = np.cumsum([(share * area + 1e-9).astype(np.int64) for share in shares], axis=0)
    boards, lots = np.full((B, H, W), OUTSIDE, np.int8), keys.mix(key, 5)
    for h, w in [(H, W)] if size else _SIZES:
        rows = ((height == h) & (width == w)).nonzero()[0]
        if rows.size:
            boards[rows, :h, :w] = _items(lots[rows], bounds[:, rows], _cells(h, w, W)).reshape(-1, h, w)
    goal = keys.integers(key, area, 6)
    boards[np.arange(B), goal // width, goal % width] = GOAL
    return RandomTask(boards, _VALUES[np.arange(len(VALUES)), nth[3:].T])


def _items(key: keys.Key, bounds: Array, cells: keys.Key) -> Array:
    """Draw what lies on cells (S,) of boards of one size: codes (B, S).

    In a random order of the cells, those before bounds[0] (B,) hold sheep, up to bounds[1] roadblocks, up to bounds[2]
    coins.
    """
    lots = keys.bits(key[:, None], cells)
    lots &= _UNIFORM
    if cells[-1] < _POSITIONS:  # the order of equal lots is that of their cells
        lots |= cells
    else:
        lots = np.argsort(np.argsort(lots, -1, kind="stable"), -1, kind="stable").astype(np.uint64)
    first = np.sort(lots, -1)[np.arange(len(key)), bounds]  # the lots that the bounds fall on
    before = [(lots < limit[:, None]).view(np.int8) for limit in first]
    return _IN_ORDER.take(before[0] + before[1] + before[2])


@lru_cache(maxsize=64)
def _cells(h: int, w: int, W: int) -> keys.Key:
    """Return the cells (h * w,) that a board of h rows and w columns takes of one with W columns."""
    return np.add.outer(np.arange(h) * W, np.arange(w)).reshape(-1).astype(np.uint64)


def digest(task: RandomTask) -> keys.Key:
    """Return a 64-bit digest (B,) of each task: equal tasks have equal digests, whichever keys they were drawn from.

    Weights of items that are not on the board are left out.
    """
    # Cells first, boards last: numpy combines many short rows slowly.
    cells, weights = (np.ascontiguousarray(field.reshape(len(field), -1).T) for field in task)
    S, d = len(cells), len(FEATURES)
    present = np.bitwise_or.reduce(_ONE << cells.astype(np.uint8), 0)  # a bit for each code
    weights = np.where(present >> _ITEMS & 1, np.rint(weights), 0).astype(np.int64)
    position = np.arange(S + d)[:, None]
    total = np.bitwise_xor.reduce(_hashes(S).take(cells + (len(_HASHED) * position[:S] - OUTSIDE)), 0)
    total ^= np.bitwise_xor.reduce(keys.mix(0, position[S:], weights), 0)
    return keys.mix(total, S + d)


@lru_cache(maxsize=16)
def _hashes(S: int) -> keys.Key:
    """Return the hashes of all codes from OUTSIDE on in each of S cells, one cell after the other."""
    return keys.mix(0, np.arange(S)[:, None], _HASHED).reshape(-1)


class Generator(NamedTuple):
    """Generator of tasks: `draw(key (B,), size=None)`, padded to `shape`; `largest_weight` bounds absolute weights."""

    draw: Callable[..., RandomTask]
    shape: tuple[int, int]
    largest_weight: float


PUBLISHED = Generator(draw, SHAPE, LARGEST_WEIGHT)


@dataclass(frozen=True)
class Boards:
    """Source of boards with weights: a generator, or a fixed list of tasks, each drawn with equal probability.

    `split` restricts a generator to its "train", "dev" or "test" tasks, which are disjoint by content.

    Raises:
        ValueError: the source is neither, or the split unknown.
    """

    source: Generator | RandomTask
    split: str = "test"

    def __post_init__(self) -> None:
        """Check source and split."""
        if not isinstance(self.source, Generator | RandomTask):
            raise checks.refusal("source", self.source, "a Generator or a RandomTask")
        checks.choice("split", self.split, SPLITS)

    @property
    def random(self) -> bool:
        """True if every episode has a task of its own."""
        return isinstance(self.source, Generator)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (H, W) that boards are padded to."""
        if isinstance(self.source, Generator):
            return self.source.shape
        H, W = self.source.boards.shape[1:]
        return H, W

    @property
    def largest_weight(self) -> float:
        """Bound on the absolute value of every weight."""
        if isinstance(self.source, Generator):
            return self.source.largest_weight
        return float(np.abs(self.source.weights).max())

    def draw(self, key: keys.Key) -> RandomTask:
        """Draw one task for each episode key (B,)."""
        if not isinstance(self.source, Generator):
            nth = keys.integers(key, len(self.source.boards), keys.RESET, 0)
            return RandomTask(self.source.boards[nth], self.source.weights[nth])
        (H, W), B = self.shape, len(key)
        task = RandomTask(np.empty((B, H, W), np.int8), np.empty((B, len(FEATURES))))
        many, rows, attempt, key = max(1, DRAWN // (H * W)), np.arange(B), 0, keys.mix(key, keys.RESET, 0)
        while rows.size:
            tries, left = min(max(1, min(SPARE, many // 8) // rows.size), ATTEMPTS), []
            for some in np.split(rows, range(many, rows.size, many)):
                own = keys.mix(key[some, None], np.arange(attempt, attempt + tries))
                drawn = self.source.draw(own.reshape(-1))
                fits = _FITS[self.split][digest(drawn) % np.uint64(4)].reshape(-1, tries)
                found, nth = fits.any(-1), fits.argmax(-1)  # the first task that does not belong to another split
                put_rows(task, some[found], take_rows(drawn, (np.arange(len(some)) * tries + nth)[found]))
                left.append(some[~found])
            rows, attempt = np.concatenate(left), attempt + tries
        return task


def boards(
    board: str = "random",
    split: str = "test",
    size: Sequence[Any] | None = None,
    weights: Sequence[float] | None = None,
    data: str | None = None,
    generator: Generator = PUBLISHED,
) -> Boards:
    """Return the source of boards that a name stands for.

    Args:
        board: "random", "published", "stored" (those of the main experiment), "stored:NAME", or a map (`maps.parse`).
        split: "train", "dev" or "test", of random tasks only.
        size: (height, width) of random boards, at most LARGEST along a side.
        weights: six numbers in the order of FEATURES for every task, within +-MOST_WEIGHT; by default those of the
            task, on a map the published ones.
        data: the folder of the stored boards.
        generator: of random boards.

    Raises:
        ValueError: an argument is not as stated.
        FileNotFoundError: the stored boards are not there.
    """
    checks.text("board", board, BOARD_NAMES)
    checks.choice("split", split, SPLITS)
    maps.check_folder(data)
    if size is not None:
        height, width = checks.integers("size", size, (2,), 2, maps.LARGEST).tolist()
        if board != "random":
            raise checks.refusal("size", size, "None, for only random boards have one to choose")
    if weights is not None:
        checks.reals("weights", weights, (len(FEATURES),), -MOST_WEIGHT, MOST_WEIGHT)
    if board == "random":
        if weights is not None:
            raise ValueError("weights are drawn for random boards; they can be given for any other board.")
        if size is not None:
            shape = (height, width)
            generator = generator._replace(draw=partial(generator.draw, size=shape), shape=shape)
        return Boards(generator, split)
    tasks = _named(board, data)
    codes = maps.pad([codes for codes, _ in tasks]).astype(np.int8)
    delivery.board_mdp(codes)  # raises where there is no cell to start from
    return Boards(RandomTask(codes, np.array([own if weights is None else weights for _, own in tasks], np.float64)))


def _named(board: str, data: str | None) -> list[tuple[Array, Sequence[float]]]:
    """Return the boards (H, W) that a name or a map stands for, with their weights."""
    if board == "published":
        return [(np.array(delivery.BOARD), delivery.WEIGHTS)]
    kind, _, name = board.partition(":")
    if kind == "stored":
        known = maps.stored(data)
        if name and name not in known:
            hint = checks.similar(name, known)
            raise ValueError(f"There is no stored board {name!r}; expected one of {sorted(known)}.{hint}")
        return [known[name]] if name else [task for name, task in known.items() if name.startswith(maps.MAIN)]
    if board.replace("-", "").isalpha() and not set(board) <= set(maps.SYMBOLS):
        hint = checks.similar(board, ("random", "published", "stored", "risky"))
        raise ValueError(f"{checks.refusal('board', board, BOARD_NAMES)}{hint}")
    return [(maps.parse(board), delivery.WEIGHTS)]


class Solution(NamedTuple):
    """Solution of one task, in every state (S,): an optimal action, and the values of optimal and of random play."""

    action: Array
    best: Array
    naive: Array


_CACHE: dict[tuple[Any, ...], Solution] = {}  # solutions of the latest tasks, oldest first
CACHE_SIZE, BATCH_SIZE = 2048, 16  # number of solutions kept, and of tasks solved at once


def solutions(
    process: Callable[[Array], tabular.TabularMDP], boards: Array, weights: Array, shape: tuple[int, int]
) -> list[Solution]:
    """Return the solution of each task: boards (B, S), weights (B, 6). Tasks not in the cache are solved in batches."""
    rows = list(zip(boards, weights, strict=True))
    names = [(process, shape, board.tobytes(), own.tobytes()) for board, own in rows]
    found = {name: _CACHE.get(name) for name in names}
    todo = {name: row for name, row in zip(names, rows, strict=True) if found[name] is None}
    for chunk in range(0, len(todo), BATCH_SIZE):
        some = dict(list(todo.items())[chunk : chunk + BATCH_SIZE])
        mdp = process(np.stack([board for board, _ in some.values()]).reshape(-1, *shape).astype(np.int64))
        reward = tabular.reward(mdp, np.stack([own for _, own in some.values()]))
        best, action_values = tabular.optimal_values(mdp, reward)
        action = tabular.greedy_policy(action_values, tabular.reward_scale(reward)).argmax(-1)
        naive = tabular.evaluate(mdp, tabular.uniform_policy(mdp), reward)
        found.update(zip(some, map(Solution, action, best, naive), strict=True))
    _CACHE.update((name, solution) for name, solution in found.items() if name in todo and solution)
    for name in list(_CACHE)[: max(0, len(_CACHE) - CACHE_SIZE)]:
        del _CACHE[name]
    return [found[name] for name in names]  # type: ignore[misc]


# What each cell code means, as tables that codes index, OUTSIDE (-1) being the last entry.
_CODES = np.array([*range(2 * BRICK), OUTSIDE])
_ENDS = np.isin(_CODES % BRICK, (GOAL, SHEEP)) & (_CODES != OUTSIDE)
_BLOCKS = (_CODES % BRICK == HOUSE) | (_CODES == OUTSIDE)
_OPEN = ~(_ENDS | _BLOCKS)
# Features of a move: onto a cell of each code, then on the spot, none after the end.
_MOVES = np.concatenate(
    [delivery.entry_features(_CODES), np.where(_ENDS[:, None], 0.0, delivery.surface_features(_CODES))]
)


class Task(NamedTuple):
    """One board with its weights."""

    board: npt.NDArray[np.int8]  # (B, S) cell codes, row-major
    weights: npt.NDArray[np.float64]  # (B, 6)
    start: npt.NDArray[np.int64]  # (B,) the cell where the episode starts


def codes_at(task: Task, cells: Array) -> Array:
    """Return the codes of cells (B, ...) on the board of each row."""
    first = _first(*task.board.shape).reshape(-1, *(1,) * (cells.ndim - 1))
    return task.board.reshape(-1).take(first + cells)


@lru_cache(maxsize=16)
def _first(B: int, S: int) -> Array:
    """Return the place (B,) of each board's first cell among those of B boards of S cells."""
    return np.arange(0, B * S, S)


class RandomDelivery:
    """Drive to the destination on a board and with weights that are drawn for every episode.

    ## Description
    The generator of the experiments on synthetic tasks of Knox et al. (2024): 3 to 15 rows, 5 to 10 columns, up to
    30% sheep, 80% roadblocks and 20% coins, one goal, no houses, no brick. Whether the goal is worth the way, or one
    sheep in the way is better than many roadblocks, changes with the weights. It measures whether an agent reads a
    board rather than remembers one: tasks for training and for testing are disjoint.

    ## Observation
    `observation="dict"`: `board` Box (H*W,) int8 of cell codes (-1 outside), `cell` Discrete(H*W), and `weights` Box
    (6,). `"planes"`: Box (8*H*W + 6,), eight planes of 0 and 1 (goal, house, sheep, coin, roadblock, brick, inside,
    vehicle), then the weights scaled into [-1, 1]. `"features"`: Box (24 + 6,), the six reward features of each of the
    four moves from here, then the scaled weights (aliased: cells with equal surroundings look alike). Weights are
    observed with `reward="true"` only. Boards are padded at the right and below.

    ## Action
    Discrete(4): up, down, left, right. Off the board or into a house the vehicle stays and pays the surface underneath.

    ## Reward
    The task's weights times the features of the cell entered: gas on road or brick, and coin, roadblock, goal or sheep
    (the last two without gas). `reward="hidden"` pays 0 throughout.

    ## Episode end
    Terminates at the goal and at a sheep. The registered environment truncates after 200 steps; larger maps need
    more (`max_episode_steps` of `gym.make`). Episodes start at any open cell, or at `reset(options={"cell": c})`.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `observation` | str | "dict" | | "dict", "planes" or "features" |
    | `reward` | str | "true" | | "true" or "hidden" |
    | `board` | str | "random" | | "random", "published", "stored", "stored:NAME" or a map |
    | `split` | str | "test" | | of random tasks: "train", "dev" or "test", disjoint by content |
    | `size` | two ints or None | None | cells | height and width of random boards, 2 to 128; None: drawn |
    | `weights` | six floats or None | None | reward | in the order of `FEATURES`, within +-1e9, not for random boards |
    | `data` | str or None | None | | folder of stored boards; None: the variable VALUEGYM_DATA |

    "stored" is one of the stored boards of the publication in every episode. A map has one line for each row: `.` road,
    `#` brick, `G` goal, `H` house, `S` sheep, `$` coin, `X` roadblock, on brick `g h s % x`.

    Raises:
        ValueError: an argument is not as stated.
        FileNotFoundError: the stored boards are missing.

    ## Oracle and naive scores
    An episode's discounted return is scored between the values of its start cell, both exact: 0 for uniformly random
    actions, 1 for an optimal policy, at discount 0.999 without a step limit.

    ## Source
    Knox et al. (2024), TMLR; the generator agrees with every stored board of the publication.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}
    discount = delivery.DISCOUNT
    tolerance = 0.0  # states are integers: a replay must agree to the bit
    process: Callable[[Array], tabular.TabularMDP] = staticmethod(delivery.board_mdp)
    generator = PUBLISHED
    gambles = False  # whether cells with a sheep's code win or lose
    PLANES = 8

    def __init__(
        self,
        observation: str = "dict",
        reward: str = "true",
        board: str = "random",
        split: str = "test",
        size: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
        data: str | None = None,
    ) -> None:
        checks.choice("reward", reward, ("true", "hidden"))
        checks.choice("observation", observation, ("dict", "planes", "features"))
        self.boards = boards(board, split, size, weights, data, self.generator)
        self.kind, self.hidden, self.shape = observation, reward == "hidden", self.boards.shape
        S, A, d = self.shape[0] * self.shape[1], len(delivery.ACTIONS), len(FEATURES)
        self.resets_ahead = 12 if S <= AHEAD else 0
        self._targets = delivery.targets(*self.shape)
        self.largest = max(self.boards.largest_weight, 1.0)
        self.action_space = gym.spaces.Discrete(A)
        self.observation_space: gym.Space[Any]
        observed = 0 if self.hidden else d
        if observation == "dict":
            spaces: dict[str, gym.Space[Any]] = {
                "board": gym.spaces.Box(OUTSIDE, 2 * BRICK - 1, (S,), np.int8),
                "cell": gym.spaces.Discrete(S),
            }
            if observed:
                spaces["weights"] = gym.spaces.Box(-self.largest, self.largest, (d,), np.float64)
            self.observation_space = gym.spaces.Dict(spaces)
        else:
            n = self.PLANES * S if observation == "planes" else A * d
            low = np.concatenate([np.zeros(n), -np.ones(observed)]).astype(np.float32)
            self.observation_space = gym.spaces.Box(low, np.ones_like(low))

    def initial(self, key: keys.Key, cell: Array | None = None) -> tuple[Task, State]:
        """Draw a task, and start in a uniformly random open cell of its board or in the given one.

        Raises:
            ValueError: a cell that is not open.
        """
        boards, weights = self.boards.draw(key)
        board = boards.reshape(len(key), -1).astype(np.int8, copy=False)
        is_open = _OPEN.take(board)
        if cell is None:
            count = is_open.sum(-1)
            nth = keys.integers(key, count, keys.RESET, 5) + np.cumsum(count) - count  # among those of all boards
            cell = is_open.reshape(-1).nonzero()[0][nth] - np.arange(len(key)) * board.shape[1]
        else:
            cell = delivery.check_cells(cell, is_open)
        cell = cell.astype(np.int64)
        return Task(board, weights, cell), State(cell.copy(), np.zeros_like(cell))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move, or stay where the way is blocked or the episode over."""
        return self._move(task, state, action)[0]

    def _move(self, task: Task, state: State, action: Array) -> tuple[State, Array, Array]:
        """Return the next state, the code of the cell ahead, and whether the vehicle stays where it is (B,)."""
        move = state.cell * len(delivery.ACTIONS) + action
        target = self._targets.take(move)
        code = codes_at(task, target)
        stays = _BLOCKS.take(code) | self.terminal(task, state)
        return State(np.where(stays, state.cell, target), move), code, stays

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the reward of the agent: the true reward, or 0 when it is hidden."""
        return np.zeros(len(action)) if self.hidden else self._earned(task, state, next_state)

    def true_reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the true reward, by which episodes are scored, hidden from the agent or not."""
        return self._earned(task, state, next_state)

    def _earned(self, task: Task, state: State, next_state: State) -> Array:
        """Return weights times features of the move (B,)."""
        return (task.weights.T * _MOVES.T.take(self._kind(task, state.cell, next_state.cell), 1)).sum(0)

    def _kind(self, task: Task, here: Array, there: Array) -> Array:
        """Return which row of _MOVES holds the features of moves from cells `here` to `there` (B, ...)."""
        return codes_at(task, there) + len(_CODES) * (here == there)

    def terminal(self, task: Task, state: State) -> Array:
        """Return True at the goal or at a sheep."""
        return _ENDS.take(codes_at(task, state.cell))

    def observation(self, task: Task, state: State) -> Array | dict[str, Array]:
        """Return board, position and weights, in the form that `observation` names."""
        if self.kind == "dict":
            seen: dict[str, Array] = {"board": task.board.copy(), "cell": state.cell.copy()}
            return seen if self.hidden else seen | {"weights": task.weights.copy()}
        B = len(state.cell)
        view = self._planes(task, state) if self.kind == "planes" else self._moves(task, state)
        weights = [] if self.hidden else [task.weights / self.largest]
        return np.concatenate([view.reshape(B, -1), *weights], -1, dtype=np.float32)

    def _planes(self, task: Task, state: State) -> Array:
        """Return masks of the places of each kind of item: (B, PLANES, S) of 0 and 1."""
        inside, item = task.board != OUTSIDE, task.board % BRICK
        planes = np.zeros((len(task.board), self.PLANES, task.board.shape[1]), np.float32)
        for plane, code in enumerate((GOAL, HOUSE, SHEEP, COIN, ROADBLOCK)):
            planes[:, plane] = inside & (item == code)
        planes[:, -3], planes[:, -2] = task.board >= BRICK, inside
        planes[np.arange(len(planes)), -1, state.cell] = 1
        return planes

    def _moves(self, task: Task, state: State) -> Array:
        """Return the reward features (B, 4, 6) of the four moves from the current cell, 0 after the episode's end."""
        here, target = state.cell[:, None], self._targets[state.cell]
        stays = _BLOCKS.take(codes_at(task, target)) | self.terminal(task, state)[:, None]
        return _MOVES.take(self._kind(task, here, np.where(stays, here, target)), 0)

    def _solve(self, task: Task) -> list[Solution]:
        """Return the solution of every row's task, from the cache if it is there."""
        return solutions(self.process, task.board, task.weights, self.shape)

    def references(self, task: Task) -> tuple[Array, Array]:
        """Return the values (B,) of the start cells under uniformly random actions and under an optimal policy."""
        found = list(zip(self._solve(task), task.start.tolist(), strict=True))
        return np.array([own.naive[cell] for own, cell in found]), np.array([own.best[cell] for own, cell in found])

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return an optimal action for every row, for the oracle agent."""
        return np.array([own.action[cell] for own, cell in zip(self._solve(task), state.cell.tolist(), strict=True)])

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw the board with the vehicle and its last steps."""
        board = maps.crop(task.board[0].reshape(self.shape))
        path = [divmod(int(state.cell[0]), self.shape[1]) for state in states]
        moves = [int(action[0]) for action in actions]
        paid = None
        if moves and not self.hidden:
            paid = float(self.reward(task, states[-2], actions[-1], states[-1])[0])
        caption = delivery.moved(moves, paid)
        if mode == "ansi":
            return rendering.ansi(board, path[-1], path, moves, caption)
        shown, frame = self.legend(task.weights[0]), self.shape if self.boards.random else None
        return rendering.rgb(board, path[-1], path, moves, caption, frame=frame, details=shown, gambles=self.gambles)

    def legend(self, weights: Array) -> dict[str, tuple[str, str]]:
        """Return what the legend of pictures says of items: what they pay, where that may be known."""
        return {} if self.hidden else delivery.payments(weights)
