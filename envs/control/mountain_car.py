"""Mountain car with continuous force, with its value function on a grid.

Source: Moore (1990), "Efficient memory-based learning for robot control"; Gymnasium's MountainCarContinuous-v0, whose
transitions and rewards these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, elementary, keys, rollouts
from valuegym.envs.control import grid
from valuegym.envs.rendering import control as rendering
from valuegym.envs.rendering.palette import Control

__all__ = ["MountainCarContinuous", "Parameters", "State", "Task", "arrived", "move", "step", "value_grid", "values"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

NODES = (331, 141)  # of the grid: position and velocity
FORCES = 9  # of the dynamic programme
CANDIDATES = 21  # forces that the oracle compares, before it refines the best
TOLERANCE = 1e-3  # of the fixed point
RANGES = {  # of the parameters; the value function is computed, and takes the longer the closer the discount is to 1
    "power": (1e-6, 1e2), "gravity": (1e-6, 1e2), "max_speed": (1e-4, 1.0), "left": (-1e2, -0.6), "right": (-1e2, 1e2),
    "goal": (-1e2, 1e2), "goal_reward": (1e-3, 1e6), "effort": (0.0, 1e3), "discount": (0.0, 0.999),
}  # fmt: skip


@dataclass(frozen=True)
class Parameters:
    """Parameters of a car in a valley between two hills.

    Fields, units and defaults are the arguments of `MountainCarContinuous`.

    Raises:
        ValueError: a parameter is outside its range.
    """

    power: float = 0.0015
    gravity: float = 0.0025
    max_speed: float = 0.07
    left: float = -1.2
    right: float = 0.6
    goal: float = 0.45
    goal_reward: float = 100.0
    effort: float = 0.1
    discount: float = 0.99

    def __post_init__(self) -> None:
        checks.fields(self, RANGES)
        if not -0.4 < self.goal <= self.right:  # episodes begin up to -0.4
            raise ValueError(
                f"goal is {self.goal!r}; expected a position above -0.4 and of at most right = {self.right!r}."
            )


def move(p: Parameters, position: Floats, velocity: Floats, force: Floats) -> tuple[Floats, Floats]:
    """Position and velocity after one step.

    velocity' = velocity + power force - gravity cos(3 position), clipped to the largest speed; position' = position +
    velocity', where the left end stops the car.
    """
    faster = velocity + (force * p.power - p.gravity * elementary.sin_cos(3 * position)[1])
    faster = np.minimum(np.maximum(faster, -p.max_speed), p.max_speed)
    further = np.minimum(np.maximum(position + faster, p.left), p.right)
    return further, np.where((further == p.left) & (faster < 0), 0.0, faster)


def arrived(p: Parameters, position: Floats, velocity: Floats) -> npt.NDArray[np.bool_]:
    """Tell where the goal is reached (...), and the car does not roll back."""
    return (position >= p.goal) & (velocity >= 0)


def value_grid(p: Parameters, nodes: tuple[int, int] = NODES) -> grid.Grid:
    """Return the grid over positions up to the goal and velocities."""
    return grid.Grid((grid.Axis(p.left, p.goal, nodes[0]), grid.Axis(-p.max_speed, p.max_speed, nodes[1])))


def step(p: Parameters, points: grid.Points, force: Any) -> grid.Step:
    """Return what a grid needs of a step under a force, in [-1, 1]."""
    position, velocity = points
    after = move(p, position, velocity, force)
    ends = arrived(p, *after)
    return grid.Step(after, p.goal_reward * ends - p.effort * (force * force), ends)


@lru_cache(maxsize=8)
def values(p: Parameters, nodes: tuple[int, int] = NODES) -> Floats:
    """Optimal values (S,) at the nodes, computed on first use in a few seconds."""
    forces = np.linspace(-1, 1, FORCES)
    solved = grid.solve(value_grid(p, nodes), lambda at, a: step(p, at, a), forces, p.discount, TOLERANCE)
    solved.setflags(write=False)
    return solved


class Task(NamedTuple):
    """Constants of B episodes: key (B,), first position (B,) and velocity (B,)."""

    key: keys.Key
    position: Floats
    velocity: Floats


class State(NamedTuple):
    """State of B episodes: position (B,) and velocity (B,)."""

    position: Floats
    velocity: Floats


class MountainCarContinuous:
    """Drive out of a valley with an engine that is too weak for the slope.

    ## Description
    Gymnasium's MountainCarContinuous-v0 with a value function. The reward is far away: random actions do not find
    it, and standing still is a local optimum.

    ## Observation
    Box (2,) float32: position in [-1.2, 0.6] and velocity in [-0.07, 0.07].

    ## Action
    Box (1,) in [-1, 1]: the engine's force, of which 1 accelerates by 0.0015. Finite numbers beyond are clipped.

    ## Reward
    -0.1 action^2, and 100 at the goal.

    ## Episode end
    Terminates at position 0.45, unless the car rolls back. The registered environment truncates after 999 steps.
    Positions start uniformly in [-0.6, -0.4], at rest, or where `reset(options={"position": x, "velocity": v})` says.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `power` | float | 0.0015 | 1/step^2 | acceleration by action 1 |
    | `gravity` | float | 0.0025 | 1/step^2 | acceleration on the steepest slope |
    | `max_speed` | float | 0.07 | 1/step | largest velocity, at which it is clipped |
    | `left` | float | -1.2 | | left end of the landscape, at most -0.6 |
    | `right` | float | 0.6 | | right end of the landscape |
    | `goal` | float | 0.45 | | position, above -0.4, from which on the episode ends, unless the car rolls back |
    | `goal_reward` | float | 100.0 | | reward of the goal |
    | `effort` | float | 0.1 | | cost of action 1 |
    | `discount` | float | 0.99 | | per step, in [0, 0.999] |

    Lengths have no unit: they are those of the landscape.

    Raises:
        ValueError: a parameter is outside its range.

    ## Oracle and naive scores
    Score 1 is the policy that is greedy for the optimal values on a grid of 331 x 141 nodes, score 0 the mean
    over 64 episodes of uniformly random actions, both from the very start of the episode, at discount 0.99 over 999
    steps. From those starts the greedy policy earns 47.64 on average, 0.06 more than the grid's values say (at most
    0.3 more or less), and 0.03 less than on a grid twice as fine.

    ## Source
    Moore (1990); Gymnasium's MountainCarContinuous-v0 (Towers et al. 2024). From the same state and force both go to
    the same state, up to the 32 bits in which Gymnasium keeps it.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 30}
    resets_ahead = 16
    clips_actions = True  # as Gymnasium's own control tasks do
    horizon = 999
    tolerance = 0.0  # see `elementary`: bit-identical on every processor
    physical, distracting = np.arange(2), np.arange(0)  # dimensions of the observation; for scoring only

    def __init__(self, **parameters: Any) -> None:
        self.parameters = p = Parameters(**parameters)
        self.discount = p.discount
        low, high = np.array([p.left, -p.max_speed], np.float32), np.array([p.right, p.max_speed], np.float32)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def initial(
        self, key: keys.Key, position: Array | None = None, velocity: Array | None = None
    ) -> tuple[Task, State]:
        """Start at rest near the bottom of the valley, unless options say otherwise.

        Raises:
            ValueError: an option is outside the range of the state, or the car starts at the goal.
        """
        p = self.parameters
        start, speed = -0.6 + 0.2 * keys.uniform(key, keys.RESET, 0), np.zeros(len(key))
        if position is not None:
            start = checks.reals("position", position, key.shape, p.left, p.right)
        if velocity is not None:
            speed = checks.reals("velocity", velocity, key.shape, -p.max_speed, p.max_speed)
        if position is not None or velocity is not None:
            over = np.flatnonzero(arrived(p, start, speed))
            if over.size:
                found = f"position is {start[over[0]].item()!r} and velocity {speed[over[0]].item()!r}"
                raise ValueError(
                    f"{found}; expected a car before {p.goal!r} or one that rolls back, or the episode is over."
                )
        return Task(key.copy(), start, speed), State(start.copy(), speed.copy())

    def start(self, task: Task) -> State:
        """Return the states in which these episodes begin."""
        return State(task.position.copy(), task.velocity.copy())

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move one step; a car at the goal stays."""
        p, over = self.parameters, self.terminal(task, state)
        position, velocity = move(p, state.position, state.velocity, action[:, 0].astype(np.float64))
        return State(np.where(over, state.position, position), np.where(over, state.velocity, velocity))

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Reward (B,) of the goal minus the cost of the force."""
        p, force = self.parameters, action[:, 0].astype(np.float64)
        paid = p.goal_reward * self.terminal(task, next_state) - p.effort * (force * force)
        return np.where(self.terminal(task, state), 0.0, paid)

    def terminal(self, task: Task, state: State) -> Array:
        """Tell which cars are at the goal (B,)."""
        return arrived(self.parameters, state.position, state.velocity)

    def observation(self, task: Task, state: State) -> Array:
        """Return position and velocity."""
        return np.stack([state.position, state.velocity], -1).astype(np.float32)

    def value(self, observation: Array) -> Array:
        """Optimal value (...) at observations (..., 2), 0 at the goal; for scoring only."""
        return self._value(observation[..., 0].astype(np.float64), observation[..., 1].astype(np.float64))

    def _value(self, position: Floats, velocity: Floats) -> Floats:
        p = self.parameters
        inside = value_grid(p).interpolate(values(p), (position, velocity))
        return np.where(arrived(p, position, velocity), 0.0, inside)

    def oracle_value(self, task: Task, state: State) -> Array:
        """Optimal value (B,)."""
        return self._value(state.position, state.velocity)

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return the action that is greedy for the optimal value."""
        p = self.parameters
        forces, at = np.linspace(-1, 1, CANDIDATES), (state.position, state.velocity)
        best = grid.greedy(value_grid(p), values(p), lambda x, a: step(p, x, a), at, forces, p.discount)
        return best.astype(np.float32)[:, None]

    def references(self, task: Task) -> tuple[Array, Array]:
        """Episode returns (B,) of random actions and of the greedy policy from these very starts, for scoring."""
        return rollouts.references(self, task)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw the car on its hill, and the force on it."""
        p, x = self.parameters, float(states[-1].position[0])
        force = float(actions[-1][0, 0]) if len(actions) else 0.0
        text = f"position {x:+.4f}  velocity {float(states[-1].velocity[0]):+.4f}  force {force:+.2f}"
        if mode == "ansi":
            return text
        scene = rendering.Scene(1.0, ((p.left + p.right) / 2, 0.1))
        across = np.linspace(p.left, p.right, 90)
        scene.curve([(float(a), _height(a)) for a in across], Control.SLATE, 6)
        scene.flag((p.goal, _height(p.goal)))
        for state in states:
            at = float(state.position[0])
            slope = np.arctan(0.45 * 3 * np.cos(3 * at))
            along, up = np.array([np.cos(slope), np.sin(slope)]), np.array([-np.sin(slope), np.cos(slope)])
            middle = np.array([at, _height(at)]) + 0.075 * up
            back, front = ((float(q[0]), float(q[1])) for q in (middle - 0.06 * along, middle + 0.06 * along))
            scene.rod(back, front, 0.075, faint=state is not states[-1])
            if state is states[-1]:
                for q in (middle - 0.055 * along - 0.045 * up, middle + 0.055 * along - 0.045 * up):
                    scene.dot((float(q[0]), float(q[1])), 0.03, Control.INK)
                scene.push((float(middle[0]), float(middle[1]) + 0.12), force, 60)
        return scene.image(text)


def _height(x: Any) -> float:
    """Height of the landscape, whose slope gravity acts along."""
    return float(0.45 * np.sin(3 * x))
