"""The delivery task: the 10x10 grid on which people's preferences over pairs of short segments were collected.

Source: Knox, Hatgis-Kessell, Booth, Niekum, Stone, Allievi (2024), "Models of human preference for learning reward
functions" (TMLR).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys, mdp
from valuegym.envs.rendering import delivery as rendering

__all__ = [
    "ACTIONS",
    "BOARD",
    "BRICK",
    "CLOSED",
    "COIN",
    "DISCOUNT",
    "FEATURES",
    "GOAL",
    "HOUSE",
    "MOVES",
    "OUTSIDE",
    "ROAD",
    "ROADBLOCK",
    "SHEEP",
    "WEIGHTS",
    "Delivery",
    "State",
    "Task",
    "board_mdp",
    "check_cells",
    "entry_features",
    "moved",
    "payments",
    "surface_features",
    "targets",
]

Array = npt.NDArray[Any]

# Cell codes: 0 road, 1 goal, 2 house, 3 sheep, 4 coin, 5 roadblock; 6 more for the same on brick; OUTSIDE pads
# smaller boards.
ROAD, GOAL, HOUSE, SHEEP, COIN, ROADBLOCK = range(6)
BRICK, OUTSIDE = 6, -1
CLOSED = (GOAL, HOUSE, SHEEP)  # items on cells where no episode starts
FEATURES = ("gas", "goal", "sheep", "coin", "roadblock", "brick")
ACTIONS = ("up", "down", "left", "right")
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
WEIGHTS = (-1.0, 50.0, -50.0, 1.0, -1.0, -2.0)
DISCOUNT = 0.999
BOARD = (
    (0, 0, 5, 0, 0, 0, 0, 0, 0, 0),
    (0, 0, 0, 0, 4, 0, 0, 0, 0, 6),
    (0, 0, 3, 0, 0, 0, 0, 6, 6, 6),
    (4, 0, 5, 0, 2, 3, 3, 6, 6, 0),
    (6, 6, 0, 0, 0, 0, 0, 0, 0, 0),
    (6, 0, 4, 0, 0, 0, 0, 0, 0, 0),
    (6, 2, 0, 3, 5, 2, 0, 0, 0, 0),
    (0, 4, 0, 0, 0, 0, 0, 10, 6, 6),
    (0, 0, 5, 0, 0, 0, 0, 6, 6, 7),
    (0, 0, 0, 0, 0, 0, 5, 0, 0, 4),
)


def surface_features(codes: Array) -> npt.NDArray[np.float64]:
    """Features (..., 6) of driving on cells with these codes, whatever lies on them: gas on road, brick on brick."""
    features = np.zeros((*codes.shape, len(FEATURES)))
    features[..., 0] = codes < BRICK
    features[..., 5] = codes >= BRICK
    return features


def entry_features(codes: Array) -> npt.NDArray[np.float64]:
    """Return features (..., 6) of entering cells with these codes.

    The item, and the surface unless the item ends the episode.
    """
    item = codes % BRICK
    features = surface_features(codes)
    features[(item == GOAL) | (item == SHEEP)] = 0
    for column, code in ((1, GOAL), (2, SHEEP), (3, COIN), (4, ROADBLOCK)):
        features[..., column] = item == code
    return features


def targets(H: int, W: int) -> npt.NDArray[np.int64]:
    """Cells (H * W, 4) that the moves lead to on an empty board, row-major; off the board they stay."""
    cell = np.arange(H * W)[:, None]
    row, column = cell // W + MOVES[:, 0], cell % W + MOVES[:, 1]
    inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
    return np.where(inside, row * W + column, cell)


def board_mdp(boards: Array, discount: float = DISCOUNT) -> mdp.TabularMDP:
    """Return the processes of boards (B, H, W), states in row-major order.

    Moves off the board or into a house stay and pay the surface underneath.

    Goals and sheep end the episode; every other cell except a house is a start, all equally likely.

    Raises:
        ValueError: the shape is another one, a code is unknown, or a board has no cell to start from.
    """
    boards = checks.integers("boards", boards, (None, None, None), OUTSIDE, 2 * BRICK - 1)
    B, H, W = boards.shape
    S = H * W
    codes = boards.reshape(B, S)
    closed = (codes == OUTSIDE) | (codes % BRICK == HOUSE)
    item = codes % BRICK
    terminal = closed | (((item == GOAL) | (item == SHEEP)) & (codes != OUTSIDE))
    start = (~terminal).astype(np.float64)
    if not start.any(-1).all():
        raise ValueError("A board has no cell to start from: every cell is a goal, a sheep or a house.")
    target = targets(H, W)
    bump = (target == np.arange(S)[:, None]) | closed[:, target]
    next_state = np.where(bump, np.arange(S)[:, None], target)
    features = np.where(bump[..., None], surface_features(codes)[:, :, None], entry_features(codes)[:, target])
    return mdp.TabularMDP(features, terminal, start / start.sum(-1, keepdims=True), discount, next_state=next_state)


def check_cells(cell: Array, is_open: Array) -> npt.NDArray[np.int64]:
    """Return start cells (B,) on boards whose open cells is_open (B, S) tells, or (1, S) for all.

    Raises:
        ValueError: a cell is no integer, outside its board, or not open.
    """
    S = is_open.shape[-1]
    expected = f"an open cell from 0 to {S - 1}: no goal, sheep or house"
    if cell.dtype.kind not in "iu":
        raise checks.refusal("cell", cell.tolist(), f"{expected}, as an integer")
    cell = checks.integers("cell", cell, (None,))
    inside = (cell >= 0) & (cell < S)
    rows = np.arange(len(cell)) if len(is_open) > 1 else 0
    wrong = np.flatnonzero(~(inside & is_open[rows, np.where(inside, cell, 0)]))
    if wrong.size:
        raise checks.refusal(f"cell[{wrong[0]}]", int(cell[wrong[0]]), expected)
    return cell


def payments(weights: Array) -> dict[str, tuple[str, str]]:
    """Return what entries of a picture's legend say where rewards are known, from weights (6,)."""
    gas, goal, sheep, coin, roadblock, brick = (f"{weight:+g}" for weight in weights.tolist())
    return {
        "road": ("road", f"{gas} a move"),
        "brick": ("brick", f"{brick} a move"),
        "destination": ("destination", f"{goal}, ends"),
        "sheep": ("sheep", f"{sheep}, ends"),
        "coin": ("coin", f"{coin} on top"),
        "roadblock": ("roadblock", f"{roadblock} on top"),
    }


def moved(moves: Sequence[int], paid: float | None) -> str:
    """Return the caption of a picture: the last move and what it paid, None where that is hidden."""
    if not moves:
        return "start"
    return f"last move: {ACTIONS[moves[-1]]}" + ("" if paid is None else f", reward {paid:+g}")


class Task(NamedTuple):
    """Nothing changes from one episode to the next."""


class State(NamedTuple):
    """cell (B,): index of the vehicle's cell, row-major; move (B,).

    4 * cell + action of the move that led here, 0 at reset.
    """

    cell: npt.NDArray[np.int64]
    move: npt.NDArray[np.int64]


class Delivery:
    """Drive to the destination past sheep, coins, roadblocks and brick, on the published board.

    ## Description
    The task on which the regret and the partial-return model of human preference were compared (Knox et al. 2024).
    Deterministic and small enough to be solved exactly, it shows whether an agent finds the way to the one goal from
    everywhere: sheep end an episode early and badly, coins tempt to loops that never pay (a coin cancels the gas of
    its own step), brick costs double.

    ## Observation
    `observation="cell"`: Discrete(100), row-major. `"onehot"`: Box (100,). `"features"`: Box (24,), the six reward
    features of each of the four moves from here (aliased: cells with equal surroundings look alike). `"image"`: Box
    (80, 80, 3) uint8, the board with the vehicle.

    ## Action
    Discrete(4): up, down, left, right. Off the board or into a house the vehicle stays and pays the surface underneath.

    ## Reward
    On entering a cell: road -1, brick -2; a coin adds 1, a roadblock -1; goal +50 and sheep -50 without surface
    cost. Items are never used up. `reward="hidden"` pays 0 throughout: the reward is then to be learnt from
    preferences.

    ## Episode end
    Terminates at the goal and at a sheep. The registered environment truncates after 200 steps. Episodes start at
    one of the 92 open cells, or at `reset(options={"cell": c})`.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `observation` | str | "cell" | | "cell", "onehot", "features" or "image" |
    | `reward` | str | "true" | | "true" or "hidden" |

    Raises:
        ValueError: an argument is not as stated.

    ## Oracle and naive scores
    At discount 0.999, averaged over the 92 starts: optimal policy 41.2079 (score 1), uniformly random actions
    -71.2574 (score 0).

    ## Source
    Knox et al. (2024), TMLR; board and rewards checked against every published statistic of the human data
    (`valuegym data check`).

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}
    discount = DISCOUNT
    resets_ahead = 16
    tolerance = 0.0  # states are integers: a replay must agree to the bit

    def __init__(self, observation: str = "cell", reward: str = "true") -> None:
        checks.choice("reward", reward, ("true", "hidden"))
        checks.choice("observation", observation, ("cell", "onehot", "features", "image"))
        self.board = np.array(BOARD)
        self.mdp = board_mdp(self.board[None])
        self.true_rewards = mdp.reward(self.mdp, np.array(WEIGHTS))
        assert self.mdp.next_state is not None
        S, A = self.mdp.next_state.shape[1:]
        self.action_space = gym.spaces.Discrete(A)
        self.observation_space, self._observations = self._observe(observation)
        self._first_move = A * np.arange(S)  # looking up is cheaper than multiplying, for one row
        self._next = self.mdp.next_state.reshape(-1)
        self._true = self.true_rewards.reshape(-1)
        self.hidden = reward == "hidden"
        self._rewards = self._true if reward == "true" else np.zeros(S * A)
        self._terminal = self.mdp.terminal[0]
        self._starts = np.flatnonzero(self.mdp.start[0])

    def _observe(self, observation: str) -> tuple[gym.Space[Any], Array | None]:
        """The observation space and the table (S, ...) that observations are read from."""
        S = self.board.size
        if observation == "cell":
            return gym.spaces.Discrete(S), None
        if observation == "onehot":
            return gym.spaces.Box(0, 1, (S,), np.float32), np.eye(S, dtype=np.float32)
        if observation == "features":
            table = self.mdp.features.reshape(S, -1).astype(np.float32)
            return gym.spaces.Box(0, 1, (table.shape[1],), np.float32), table
        W = self.board.shape[1]
        table = np.stack([rendering.image(self.board, divmod(cell, W)) for cell in range(S)])
        return gym.spaces.Box(0, 255, table.shape[1:], np.uint8), table

    def initial(self, key: keys.Key, cell: Array | None = None) -> tuple[Task, State]:
        """Start in a uniformly random open cell, or in the given one.

        Raises:
            ValueError: a cell that is not open.
        """
        if cell is None:
            return Task(), State(
                self._starts[keys.integers(key, len(self._starts), keys.RESET)], np.zeros_like(key, np.int64)
            )
        cell = check_cells(cell, self.mdp.start > 0)
        return Task(), State(cell, np.zeros_like(key, np.int64))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move, or stay where the way is blocked."""
        move = self._first_move[state.cell] + action
        return State(self._next[move], move)

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the reward of the agent: the true reward, or 0 when it is hidden."""
        return self._rewards[next_state.move]

    def true_reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the true reward, by which episodes are scored, hidden from the agent or not."""
        return self._true[next_state.move]

    def terminal(self, task: Task, state: State) -> Array:
        """Return True at the goal or at a sheep."""
        return self._terminal[state.cell]

    def observation(self, task: Task, state: State) -> Array:
        """The cell index, or its row of the observation table."""
        return state.cell.copy() if self._observations is None else self._observations[state.cell]

    def references(self, task: Task) -> tuple[float, float]:
        """Mean returns of the naive reference (uniformly random actions) and of the oracle, for scoring."""
        naive = mdp.evaluate(self.mdp, mdp.uniform_policy(self.mdp), self.true_rewards)
        best = mdp.optimal_values(self.mdp, self.true_rewards)[0]
        return float(mdp.mean_return(self.mdp, naive)[0]), float(mdp.mean_return(self.mdp, best)[0])

    def oracle_action(self, task: Task, state: State) -> Array:
        """An optimal action for every row, for the oracle agent."""
        return mdp.optimal_policy(self.mdp, self.true_rewards)[0].argmax(-1)[state.cell]

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """The board with the vehicle and its last steps."""
        path = [divmod(int(state.cell[0]), self.board.shape[1]) for state in states]
        moves = [int(action[0]) for action in actions]
        paid = None if self.hidden or not moves else float(self._true[states[-1].move[0]])
        caption = moved(moves, paid)
        if mode == "ansi":
            return rendering.ansi(self.board, path[-1], path, moves, caption)
        shown = {} if self.hidden else payments(np.array(WEIGHTS))
        return rendering.rgb(self.board, path[-1], path, moves, caption, details=shown)
