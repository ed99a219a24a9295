"""An environment of one's own as a core, and a track on it.

A core states an environment as pure functions of arrays with one leading axis (B,) for B episodes at once. valuegym
makes of it a scalar environment (B = 1) and a native vector environment, which give the same numbers.

Task and state are NamedTuples of arrays (B, ...). The task is constant within an episode, the state changes. Return
fresh arrays, and draw all that is random from the key, never from a generator: `keys.integers(key, n)`,
`keys.uniform(key, index)` and `keys.normal(key, index)`, where key is `keys.mix(key, keys.RESET, i)` in `initial` and
`keys.mix(key, t, i)` in `transition`, with another i for every draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

import valuegym
from valuegym.envs import checks, keys

Array = npt.NDArray[Any]


class Task(NamedTuple):
    """Cells of the start (B,) and of the goal (B,)."""

    start: Array
    goal: Array


class State(NamedTuple):
    """Cell of the walker (B,), and number of steps taken (B,): records hold states, so they hold all that changes."""

    position: Array
    time: Array


class Corridor:
    """Walk along a corridor to the goal and stay there.

    ## Description
    A corridor of `size` cells. Start and goal are drawn for each episode, and differ.

    ## Observation
    Box (2,): cells of the walker and of the goal, each divided by size - 1.

    ## Action
    Discrete(3): 0 to the left, 1 stay, 2 to the right.

    ## Reward
    The negative distance to the goal after the step, divided by size - 1.

    ## Episode end
    Terminates after `steps` steps.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `size` | int | 9 | cells | length of the corridor, at least 2 |
    | `steps` | int | 12 | steps | length of an episode |

    Raises:
        ValueError: an argument is outside its range.

    ## Oracle and naive scores
    Oracle: the shortest way, in closed form. Naive: to stay at the start.

    ## Source
    A template, to be replaced.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}
    discount = 1.0

    def __init__(self, size: int = 9, steps: int = 12) -> None:
        self.size, self.steps = checks.integer("size", size, 2, 100), checks.integer("steps", steps, 1, 1000)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(3)

    def initial(self, key: keys.Key) -> tuple[Task, State]:
        """Return task and state at the start of the episodes with these keys (B,); more arguments are reset options."""
        goal = keys.integers(keys.mix(key, keys.RESET, 0), self.size)
        distance = 1 + keys.integers(keys.mix(key, keys.RESET, 1), self.size - 1)
        start = (goal + distance) % self.size
        return Task(start, goal), State(start.copy(), np.zeros_like(start))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Return the next state; t (B,) counts steps from 0. A terminal state is followed by itself."""
        position = np.clip(state.position + action - 1, 0, self.size - 1)
        over = self.terminal(task, state)
        return State(np.where(over, state.position, position), np.where(over, state.time, state.time + 1))

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the rewards (B,) float64 of transitions, 0 from a terminal state."""
        distance = np.abs(task.goal - next_state.position) / (self.size - 1)
        return np.where(self.terminal(task, state), 0.0, -distance)

    def terminal(self, task: Task, state: State) -> Array:
        """Tell which episodes have ended, (B,) bool."""
        return state.time >= self.steps

    def observation(self, task: Task, state: State) -> Array:
        """Return what agents see (B, 2): an array, or a flat dictionary of arrays for a Dict space."""
        return (np.stack([state.position, task.goal], 1) / (self.size - 1)).astype(np.float32)

    def references(self, task: Task) -> tuple[Array, Array]:
        """Return the mean returns (B,) of the naive reference and of the oracle: scores 0 and 1.

        A core without this method can be played on tracks that declare both returns.
        """
        distance = np.abs(task.goal - task.start)
        left = np.maximum(distance[:, None] - np.arange(1, self.steps + 1), 0)
        return -self.steps * distance / (self.size - 1), -left.sum(1) / (self.size - 1)

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return a best action (B,); the agent `oracle` plays it. Optional."""
        return 1 + np.sign(task.goal - state.position)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw one environment (B = 1) from its last states, oldest first, and the actions between them."""
        goal, position, time = int(task.goal[0]), int(states[-1].position[0]), int(states[-1].time[0])
        if mode == "ansi":
            cells = ["G" if cell == goal else "." for cell in range(self.size)]
            cells[position] = "A"
            return f"{''.join(cells)}  {time} of {self.steps} steps"
        picture = np.full((24, 16 * self.size, 3), 255, np.uint8)
        picture[4:16, 16 * goal : 16 * goal + 16] = 60, 160, 80
        picture[6:14, 16 * position + 4 : 16 * position + 12] = 40, 60, 160
        picture[20:, : round(16 * self.size * time / self.steps)] = 120
        return picture


# By its file, so that every process that loads the track finds the core.
valuegym.register_core("own/Corridor-v0", f"{__file__}:Corridor", tags=("tabular",))
TRACK = valuegym.Experiment(
    id="own/corridor",
    about="Walk to the goal and stay there.",
    env_id="own/Corridor-v0",
    agents=("uniform", "oracle"),
)
