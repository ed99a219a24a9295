"""Pendulum swing-up, with its value function on a grid.

Source: Gymnasium's Pendulum-v1, whose transitions and rewards these are (Towers et al. 2024, "Gymnasium: a standard
interface for reinforcement learning environments").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, elementary, keys, rollouts
from valuegym.envs.control import grid
from valuegym.envs.rendering import control as rendering

__all__ = ["Parameters", "Pendulum", "State", "Task", "cost", "move", "step", "value_grid", "values"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
SinCos = Callable[[Floats], tuple[Floats, Floats]]

NODES = (200, 161)  # of the grid: angle and velocity
TORQUES = 21  # of the dynamic programme
CANDIDATES = 41  # torques that the oracle compares, before it refines the best
TOLERANCE = 1e-3  # of the fixed point
RANGES = {  # of the parameters; the value function is computed, and takes the longer the closer the discount is to 1
    "gravity": (-1e2, 1e2), "mass": (1e-3, 1e3), "length": (1e-3, 1e3), "max_torque": (1e-3, 1e3),
    "max_speed": (1.0, 50.0), "dt": (1e-4, 1.0), "discount": (0.0, 0.995),
}  # fmt: skip
ANGLE = 1e6  # largest angle of a reset option, rad


@dataclass(frozen=True)
class Parameters:
    """Parameters of a rod that hangs from one end, turned by a motor too weak to lift it at once.

    Fields, units and defaults are the arguments of `Pendulum`.

    Raises:
        ValueError: a parameter is outside its range.
    """

    gravity: float = 10.0
    mass: float = 1.0
    length: float = 1.0
    max_torque: float = 2.0
    max_speed: float = 8.0
    dt: float = 0.05
    discount: float = 0.99

    def __post_init__(self) -> None:
        checks.fields(self, RANGES)


def move(
    p: Parameters, angle: Floats, velocity: Floats, torque: Floats, sin_cos: SinCos = elementary.sin_cos
) -> tuple[Floats, Floats]:
    """Angle and velocity after one step, semi-implicit Euler.

    velocity' = velocity + (3 g / (2 l) sin angle + 3 / (m l^2) torque) dt, clipped to the largest speed;
    angle' = angle + velocity' dt.
    """
    pull = 3 * p.gravity / (2 * p.length) * sin_cos(angle)[0]
    faster = velocity + (pull + 3.0 / (p.mass * p.length**2) * torque) * p.dt
    faster = np.minimum(np.maximum(faster, -p.max_speed), p.max_speed)
    return elementary.wrap(angle + faster * p.dt), faster


def cost(angle: Floats, velocity: Floats, torque: Floats) -> Floats:
    """Angle^2 + 0.1 velocity^2 + 0.001 torque^2, with the angle in [-pi, pi] from upright."""
    return angle * angle + 0.1 * (velocity * velocity) + 0.001 * (torque * torque)


def value_grid(p: Parameters, nodes: tuple[int, int] = NODES) -> grid.Grid:
    """Return the grid over angles and velocities."""
    return grid.Grid((grid.Axis(-np.pi, np.pi, nodes[0], True), grid.Axis(-p.max_speed, p.max_speed, nodes[1])))


def step(p: Parameters, points: grid.Points, torque: Any) -> grid.Step:
    """Return what a grid needs of a step under a torque, in N m."""
    angle, velocity = points
    paid = -cost(angle, velocity, torque)
    return grid.Step(move(p, angle, velocity, torque), paid, np.zeros(np.shape(paid), np.bool_))


@lru_cache(maxsize=8)
def values(p: Parameters, nodes: tuple[int, int] = NODES) -> Floats:
    """Optimal values (S,) at the nodes, computed on first use in a few seconds."""
    torques = p.max_torque * np.linspace(-1, 1, TORQUES)
    solved = grid.solve(value_grid(p, nodes), lambda at, a: step(p, at, a), torques, p.discount, TOLERANCE)
    solved.setflags(write=False)
    return solved


class Task(NamedTuple):
    """Constants of B episodes: key (B,), first angle (B,) and velocity (B,)."""

    key: keys.Key
    angle: Floats
    velocity: Floats


class State(NamedTuple):
    """State of B episodes: angle (B,) from upright, in [-pi, pi], and velocity (B,) in rad / s."""

    angle: Floats
    velocity: Floats


class Pendulum:
    """Swing a pendulum up and keep it upright.

    ## Description
    Gymnasium's Pendulum-v1 with a value function: small enough to be solved on a grid, and with two ridges in its
    value, where the way to swing up changes, on which models that are trained on values go wrong.

    ## Observation
    Box (3,) float32: cosine and sine of the angle from upright, and the velocity in rad/s, at most 8.

    ## Action
    Box (1,) in [-1, 1]: the torque divided by 2 N m. Finite numbers beyond are clipped.

    ## Reward
    -(angle^2 + 0.1 velocity^2 + 0.001 torque^2), before the step.

    ## Episode end
    Never terminates. The registered environment truncates after 200 steps of 0.05 s. Angles start uniformly in
    [-pi, pi], velocities in [-1, 1], or where `reset(options={"angle": x, "velocity": v})` says.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `gravity` | float | 10.0 | m/s^2 | acceleration of gravity |
    | `mass` | float | 1.0 | kg | mass of the rod |
    | `length` | float | 1.0 | m | length of the rod |
    | `max_torque` | float | 2.0 | N m | torque of action 1 |
    | `max_speed` | float | 8.0 | rad/s | largest velocity, at which it is clipped |
    | `dt` | float | 0.05 | s | time step |
    | `discount` | float | 0.99 | | per step, in [0, 0.995] |

    Raises:
        ValueError: a parameter is outside its range.

    ## Oracle and naive scores
    Score 1 is the policy that is greedy for the optimal values on a grid of 200 x 161 nodes, score 0 the mean
    over 64 episodes of uniformly random actions, both from the very start of the episode, at discount 0.99 over 200
    steps. Over 2,000 starts the greedy policy earns -122.1 on average, 0.1 more than the grid's values say (root mean
    square 7.0, largest 41, at the ridges); on a grid twice as fine it earns 0.4 more, and the mean value is 0.5 higher.

    ## Source
    Gymnasium's Pendulum-v1 (Towers et al. 2024). From the same state and torque both go to the same state, up to whole
    turns and 1e-14; rewards agree to 1e-13.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 20}
    resets_ahead = 16
    clips_actions = True  # as Gymnasium's own control tasks do
    horizon = 200
    tolerance = 0.0  # see `elementary`: bit-identical on every processor
    physical, distracting = np.arange(3), np.arange(0)  # dimensions of the observation; for scoring only

    def __init__(self, **parameters: Any) -> None:
        self.parameters = p = Parameters(**parameters)
        self.discount = p.discount
        high = np.array([1, 1, p.max_speed], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self._sin_cos = elementary.LastSinCos()

    def initial(self, key: keys.Key, angle: Array | None = None, velocity: Array | None = None) -> tuple[Task, State]:
        """Draw angle and velocity uniformly, unless options give them.

        Raises:
            ValueError: an option is outside the range of the state.
        """
        drawn = 2 * keys.uniform(key, keys.RESET, 0) - 1, 2 * keys.uniform(key, keys.RESET, 1) - 1
        start, limit = np.pi * drawn[0], self.parameters.max_speed
        if angle is not None:
            start = checks.reals("angle", angle, key.shape, -ANGLE, ANGLE)
        start = elementary.wrap(start)
        speed = drawn[1] if velocity is None else checks.reals("velocity", velocity, key.shape, -limit, limit)
        return Task(key.copy(), start, speed), State(start.copy(), speed.copy())

    def start(self, task: Task) -> State:
        """Return the states in which these episodes begin."""
        return State(task.angle.copy(), task.velocity.copy())

    def _torque(self, action: Array) -> Floats:
        return self.parameters.max_torque * action[:, 0].astype(np.float64)

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move one step by Euler's method."""
        return State(*move(self.parameters, state.angle, state.velocity, self._torque(action), self._sin_cos))

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Negative cost (B,) of state and torque."""
        return -cost(state.angle, state.velocity, self._torque(action))

    def terminal(self, task: Task, state: State) -> Array:
        """Return False for every episode (B,): the task never terminates."""
        return np.zeros(len(state.angle), np.bool_)

    def observation(self, task: Task, state: State) -> Array:
        """Return cosine, sine and velocity."""
        observation = np.empty((len(state.angle), 3), np.float32)
        observation[:, 1], observation[:, 0] = self._sin_cos(state.angle)
        observation[:, 2] = state.velocity
        return observation

    def value(self, observation: Array) -> Array:
        """Optimal value (...) at observations (..., 3), on the circle or off it; for scoring only."""
        angle = np.arctan2(observation[..., 1], observation[..., 0])
        return self._value(angle.astype(np.float64), observation[..., 2].astype(np.float64))

    def _value(self, angle: Floats, velocity: Floats) -> Floats:
        p = self.parameters
        return value_grid(p).interpolate(values(p), (angle, velocity))

    def oracle_value(self, task: Task, state: State) -> Array:
        """Optimal value (B,)."""
        return self._value(state.angle, state.velocity)

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return the action that is greedy for the optimal value."""
        p = self.parameters
        torques = p.max_torque * np.linspace(-1, 1, CANDIDATES)
        at = state.angle, state.velocity
        best = grid.greedy(value_grid(p), values(p), lambda x, a: step(p, x, a), at, torques, p.discount)
        return np.clip(best / p.max_torque, -1, 1).astype(np.float32)[:, None]

    def references(self, task: Task) -> tuple[Array, Array]:
        """Episode returns (B,) of random actions and of the greedy policy from these very starts, for scoring."""
        return rollouts.references(self, task)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw the rod with its last positions, and the torque on it."""
        angle, velocity = float(states[-1].angle[0]), float(states[-1].velocity[0])
        push = float(actions[-1][0, 0]) if len(actions) else 0.0
        torque = self.parameters.max_torque * push
        text = f"angle {angle:+.3f} rad  velocity {velocity:+.3f} rad/s  torque {torque:+.2f} N m"
        if mode == "ansi":
            return text
        scene = rendering.Scene(1.75)
        for state in states:
            end = (float(-np.sin(state.angle[0])), float(np.cos(state.angle[0])))
            scene.rod((0.0, 0.0), end, 0.16, faint=state is not states[-1])
        scene.dot((0.0, 0.0), 0.05)
        scene.turn((0.0, 0.0), push, 0.35)
        return scene.image(text)
