"""Risky delivery: boards with cells that win or lose by chance, where the order of sure outcomes decides nothing.

Source: the code released with Knox et al. (2024), its test bed of stochastic outcomes.
"""

from __future__ import annotations

import numpy as np

from valuegym.envs import checks, keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, outcomes
from valuegym.envs.preference.delivery import BRICK, FEATURES, GOAL, SHEEP, State
from valuegym.envs.preference.random_delivery import Array, Generator, RandomDelivery, RandomTask, Task, codes_at

__all__ = ["STAKES", "WON", "RiskyDelivery", "board_outcomes", "draw", "process"]

SIDE = 5
SHARES = np.array([0.05, 0.1, 0.3])  # of risky cells
LOSS = 0.5  # chance that a risky cell loses
# What a risky cell loses or wins: published ones and others around the point where the risk pays. The published loss of
# 10,000 is left out, for it would make driving on for ever the best choice of a vehicle that risky cells shut in.
STAKES = np.array([(-50.0, 10.0), (-50.0, 50.0), (-50.0, 100.0), (-50.0, 200.0), (-1.0, 100.0)])
LOST, WON = FEATURES.index("sheep"), FEATURES.index("coin")
_WEIGHTS = np.zeros((len(STAKES), len(FEATURES)))
_WEIGHTS[:, [FEATURES.index("gas"), FEATURES.index("goal"), LOST, WON]] = [(-1.0, 50.0, *pair) for pair in STAKES]


def draw(key: keys.Key, size: tuple[int, int] = (SIDE, SIDE)) -> RandomTask:
    """Draw a task for each key (B,): boards (B, H, W) with risky cells (code SHEEP) and one goal anywhere, and weights.

    The weight of sheep is what a risky cell loses, that of coins what it wins.

    Raises:
        ValueError: the size is not two integers of at least 1.
    """
    checks.integers("size", size, (2,), 1)
    B, S = len(key), size[0] * size[1]
    share, goal, stakes = keys.integers(key, np.array([[len(SHARES)], [S], [len(STAKES)]]), np.array([[0], [2], [3]]))
    risky = (SHARES[share] * S).astype(np.int64)
    lots = keys.bits(key[:, None], 1, np.arange(S))  # no two are equal; the cells of the lowest are risky
    first = np.sort(lots, -1)[np.arange(B), risky]
    boards = (lots < first[:, None]).view(np.int8) * np.int8(SHEEP)  # and road
    boards[np.arange(B), goal] = GOAL
    return RandomTask(boards.reshape(B, *size), _WEIGHTS.take(stakes, 0))


def board_outcomes(boards: Array) -> outcomes.Outcomes:
    """Return the processes of boards (B, H, W), whose sheep cells are risky: both outcomes end the episode there."""
    mdp = delivery.board_mdp(boards)
    assert mdp.next_state is not None
    features = np.repeat(mdp.features[..., None, :], 2, -2)
    risky = features[..., 1, LOST] == 1
    features[risky, 1] = np.eye(len(FEATURES))[WON]
    chance = np.where(risky[..., None], (LOSS, 1 - LOSS), (1.0, 0.0))
    return outcomes.Outcomes(np.repeat(mdp.next_state[..., None], 2, -1), chance, features, mdp.terminal, mdp.start)


def process(boards: Array) -> tabular.TabularMDP:
    """Return the processes of boards with expected features."""
    return outcomes.expected(board_outcomes(boards), delivery.DISCOUNT)


class RiskyDelivery(RandomDelivery):
    """Drive to the destination, or take the chance: entering a risky cell wins or loses, and ends the episode.

    ## Description
    A new board of 5x5 cells in every episode, with 1, 2 or 7 risky cells and one goal. How a gamble compares with the
    sure way to the goal depends on the *sizes* of what can be won and lost, not on their order: here preferences
    without noise over realised returns do not determine the best policy, and regret, which judges decisions rather
    than random outcomes, does (Knox et al. 2024).

    ## Observation
    As in `RandomDelivery-v0`; the code of a risky cell is that of sheep.

    ## Action
    Discrete(4): up, down, left, right. Off the board the vehicle stays and pays the gas.

    ## Reward
    Road -1, goal +50. A risky cell pays the weight of sheep or the weight of a coin, with chance 1/2 each. Both are
    drawn for every episode, evenly from (-50, 10), (-50, 50), (-50, 100), (-50, 200) and (-1, 100).
    `reward="hidden"` pays 0 throughout.

    ## Episode end
    Terminates at the goal and at a risky cell. The registered environment truncates after 200 steps. Episodes start
    at any open cell, or at `reset(options={"cell": c})`.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `board` | str | "random" | | "random", or a map whose `S` are the risky cells |

    `observation`, `reward`, `split`, `size` and `weights` as in `RandomDelivery-v0`.

    Raises:
        ValueError: an argument is not as stated.

    ## Oracle and naive scores
    A score counts the *expected* reward of every decision, so that it is free of the randomness of outcomes: 0 for
    uniformly random actions and 1 for an optimal policy, both exact from the episode's start cell, at discount 0.999.

    ## Source
    Knox et al. (2024), TMLR, the released generator of stochastic tasks, which takes the win as an argument.

    ## Version history
    v0: first version.
    """

    process = staticmethod(process)
    generator = Generator(draw, (SIDE, SIDE), float(np.abs(STAKES).max()))
    gambles = True

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move; on entering a risky cell draw what it pays, and mark a win by a move number of at least 4 * S."""
        after, code, stays = self._move(task, state, action)
        gambles = ((code % BRICK == SHEEP) & ~stays).nonzero()[0]
        won = gambles[keys.uniform(key[gambles], t[gambles], 0) >= LOSS]
        after.move[won] += len(delivery.ACTIONS) * task.board.shape[1]
        return after

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the reward of the realised outcome, or 0 when it is hidden."""
        if self.hidden:
            return np.zeros(len(action))
        paid = self._earned(task, state, next_state)
        won = (next_state.move >= len(delivery.ACTIONS) * task.board.shape[1]).nonzero()[0]
        paid[won] = task.weights[won, WON]
        return paid

    def true_reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the expected reward of the decision, by which episodes are scored."""
        expected = LOSS * task.weights[:, LOST] + (1 - LOSS) * task.weights[:, WON]
        gambles = (codes_at(task, next_state.cell) % BRICK == SHEEP) & ~self.terminal(task, state)
        return np.where(gambles, expected, self._earned(task, state, next_state))

    def legend(self, weights: Array) -> dict[str, tuple[str, str]]:
        """Return what the legend of pictures says of items: of a gamble both outcomes, where they may be known."""
        lost, won = (f"{weights[i]:+g}" for i in (LOST, WON))
        stakes = "win or lose" if self.hidden else f"{lost} or {won}"
        return super().legend(weights) | {"sheep": ("gamble, ends", f"{stakes}, 1/2 each")}
