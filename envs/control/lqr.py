"""Linear quadratic regulator: value function, its gradient and the optimal gain in closed form.

Source: Anderson and Moore (1990), "Optimal control: linear quadratic methods".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, elementary, keys, rollouts
from valuegym.envs.control import riccati
from valuegym.envs.rendering import control as rendering

__all__ = [
    "LQR",
    "PHYSICAL",
    "Parameters",
    "State",
    "Task",
    "distractor_matrix",
    "noise_scale",
    "rotation",
    "start_covariance",
    "system",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

PHYSICAL = 2  # position and velocity
SLOWEST, FASTEST = 0.2, 1.2  # angular speeds of distractors, radians per step
RANGES = {  # of the parameters; within them the Riccati equation is solved accurately
    "mass": (1e-2, 1e2), "dt": (1e-3, 1.0), "position_cost": (1e-3, 1e3), "velocity_cost": (0.0, 1e3),
    "force_cost": (1e-3, 1e3), "max_force": (1e-3, 1e6), "start": (1e-3, 1e3), "noise": (0.0, 1e3),
    "discount": (0.0, 0.999_999), "distractor_scale": (0.0, 1e3), "distractor_memory": (0.0, 0.999_999),
}  # fmt: skip
MOST = 256  # distractors
FARTHEST = 1e6  # position and velocity of a reset option
NEAREST = 1e-6  # to rest at the origin, of reset options
_SPEEDS, _ROTATION = 1, 2  # streams of the map's own seed


@dataclass(frozen=True)
class Parameters:
    """Parameters of a mass pushed along a line towards the origin, and of its distractors.

    Fields, units and defaults are the arguments of `LQR`.

    Raises:
        ValueError: a parameter is outside its range.
    """

    mass: float = 1.0
    dt: float = 0.1
    position_cost: float = 1.0
    velocity_cost: float = 0.1
    force_cost: float = 0.1
    max_force: float = 6.0
    start: float = 1.0
    noise: float = 0.0
    discount: float = 0.99
    distractors: int = 0
    distractor_scale: float = 1.0
    distractor_memory: float = 0.95
    rotated: bool = False
    map_seed: int = 0

    def __post_init__(self) -> None:
        checks.fields(self, RANGES)
        object.__setattr__(self, "distractors", checks.integer("distractors", self.distractors, 0, MOST))
        seed = checks.integer("map_seed", self.map_seed, 0)
        if not keys.SECRET_SEEDS <= seed < 2 * keys.SECRET_SEEDS:  # else it was drawn with a secret key
            checks.integer("map_seed", seed, 0, 2**63 - 1)
        object.__setattr__(self, "map_seed", seed)
        object.__setattr__(self, "rotated", checks.flag("rotated", self.rotated))


def distractor_matrix(parameters: Parameters) -> Floats:
    """Matrix (D, D) by which distractors move: planes that rotate, each at its own speed, and shrink by their memory.

    The last of an odd number only shrinks.
    """
    D = parameters.distractors
    speed = SLOWEST + (FASTEST - SLOWEST) * keys.uniform(
        keys.mix(keys.seed_key(parameters.map_seed), _SPEEDS), np.arange(D // 2)
    )
    sine, cosine = elementary.sin_cos(speed)
    M = np.eye(D)
    for i in range(D // 2):
        M[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[cosine[i], -sine[i]], [sine[i], cosine[i]]]
    return parameters.distractor_memory * M


def rotation(parameters: Parameters) -> Floats:
    """Orthogonal matrix (n, n) from states to observations."""
    n = PHYSICAL + parameters.distractors
    if not parameters.rotated:
        return np.eye(n)
    return elementary.orthogonal(
        keys.normal(keys.mix(keys.seed_key(parameters.map_seed), _ROTATION, np.arange(n))[:, None], np.arange(n))
    )


def system(parameters: Parameters) -> riccati.LinearSystem:
    """Return the task as a linear system in the coordinates of the observation; the control is the force, in N."""
    p, D = parameters, parameters.distractors
    n = PHYSICAL + D
    A, Q, W = np.eye(n), np.zeros((n, n)), np.zeros((n, n))
    A[0, 1] = p.dt
    A[PHYSICAL:, PHYSICAL:] = distractor_matrix(p)
    B = np.zeros((n, 1))
    B[:PHYSICAL, 0] = p.dt**2 / (2 * p.mass), p.dt / p.mass
    Q[0, 0], Q[1, 1] = p.position_cost, p.velocity_cost
    W[np.arange(n), np.arange(n)] = noise_scale(p) ** 2
    plain = riccati.LinearSystem(A, B, Q, np.array([[p.force_cost]]), W, p.discount)
    return riccati.rotated(plain, rotation(p))


def start_covariance(parameters: Parameters) -> Floats:
    """Covariance (n, n) of the first observation."""
    scale = np.full(PHYSICAL + parameters.distractors, parameters.distractor_scale**2)
    scale[:PHYSICAL] = parameters.start**2 / 3
    T = rotation(parameters)
    return T @ np.diag(scale) @ T.T


def noise_scale(parameters: Parameters) -> Floats:
    """Standard deviations (n,) of the noise in each step, by which distractors stay stationary."""
    innovation = parameters.distractor_scale * np.sqrt(1 - parameters.distractor_memory**2)
    return np.concatenate([[0.0, parameters.noise], np.full(parameters.distractors, innovation)])


class Task(NamedTuple):
    """Constants of B episodes: key (B,) and first state (B, n)."""

    key: keys.Key
    state: Floats


class State(NamedTuple):
    """State (B, n) of B episodes: position in m, velocity in m / s, and the distractors."""

    state: Floats


class LQR:
    """Bring a mass to rest at the origin with little force.

    ## Description
    The control task with a closed-form solution: the value of any linear controller is a quadratic form, the best
    controller is linear, and the gradient of the value is 2 P s. So the cost of every error of a learned model can be
    computed exactly. `distractors` adds dimensions that rotate with noise and do not matter; `rotated` rotates the
    observation, so that the dimensions that matter are no longer aligned with its axes.

    ## Observation
    Box (2 + D,) float32: position in m, velocity in m/s and the distractors, multiplied by an orthogonal matrix if
    `rotated`. Unbounded.

    ## Action
    Box (1,) in [-1, 1]: the force divided by `max_force`, 6 N. From every start the optimal force stays below 5.1 N, so
    that the bound never binds and the solution of the unbounded problem is the solution of this one (without `noise`;
    with it, as long as the noise is small). Finite numbers beyond are clipped.

    ## Reward
    -(position^2 + 0.1 velocity^2 + 0.1 force^2), before the step.

    ## Episode end
    Never terminates. The registered environment truncates after 200 steps of 0.1 s. Position and velocity start
    uniformly in [-1, 1], or where `reset(options={"position": x, "velocity": v})` says; distractors start in their
    stationary distribution.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `mass` | float | 1.0 | kg | mass |
    | `dt` | float | 0.1 | s | time step |
    | `position_cost` | float | 1.0 | 1/m^2 | weight of the squared position |
    | `velocity_cost` | float | 0.1 | s^2/m^2 | weight of the squared velocity |
    | `force_cost` | float | 0.1 | 1/N^2 | weight of the squared force |
    | `max_force` | float | 6.0 | N | force of action 1 |
    | `start` | float | 1.0 | m, m/s | half-width of the box from which position and velocity are drawn |
    | `noise` | float | 0.0 | m/s | standard deviation of the velocity's noise in each step |
    | `discount` | float | 0.99 | | per step, in [0, 0.999999] |
    | `distractors` | int | 0 | | D, number of distracting dimensions |
    | `distractor_scale` | float | 1.0 | m | standard deviation of the distractors |
    | `distractor_memory` | float | 0.95 | | share of the distractors' state that one step keeps, in [0, 0.999999] |
    | `rotated` | bool | False | | whether a random orthogonal matrix rotates the observation |
    | `map_seed` | int | 0 | | seed of the distractors' speeds and of the rotation |

    The distractors' speeds and the rotation depend on `map_seed` alone, so that training and evaluation share them.

    Raises:
        ValueError: a parameter is outside its range.

    ## Oracle and naive scores
    Score 1 is the optimal gain, from the discounted Riccati equation, score 0 no force at all, for random forces cost
    thousands of times as much and would make every controller look alike. Both are played in the very episode: from the
    same start, under the same noise, at discount 0.99 over 200 steps. The tracks start at rest. `system` and `riccati`
    give the expected cost of any linear controller.

    ## Source
    Anderson and Moore (1990), "Optimal control: linear quadratic methods".

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}
    resets_ahead = 16
    clips_actions = True  # as Gymnasium's own control tasks do
    horizon = 200
    tolerance = 0.0  # additions and multiplications in a fixed order: bit-identical everywhere

    def __init__(self, **parameters: Any) -> None:
        self.parameters = p = Parameters(**parameters)
        self.discount = p.discount
        n = PHYSICAL + p.distractors
        self.physical, self.distracting = np.arange(PHYSICAL), np.arange(PHYSICAL, n)  # of the state; for scoring only
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (n,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.rotation = rotation(p)
        self._moves, self._noise = distractor_matrix(p), noise_scale(p)
        self._noisy = np.flatnonzero(self._noise)
        self._solution: tuple[riccati.Quadratic, Floats] | None = None

    def initial(
        self, key: keys.Key, position: Array | None = None, velocity: Array | None = None
    ) -> tuple[Task, State]:
        """Draw position and velocity uniformly, unless options give them, and distractors from their stationary law.

        Raises:
            ValueError: an option is not finite or too large, or a mass that nothing moves starts at rest at the origin.
        """
        p = self.parameters
        state = np.empty((len(key), PHYSICAL + p.distractors))
        state[:, :PHYSICAL] = p.start * (2 * keys.uniform(key[:, None], keys.RESET, np.arange(PHYSICAL)) - 1)
        if p.distractors:
            state[:, PHYSICAL:] = p.distractor_scale * keys.normal(key[:, None], keys.RESET, self.distracting)
        for i, (name, value) in enumerate((("position", position), ("velocity", velocity))):
            if value is not None:
                state[:, i] = checks.reals(name, value, key.shape, -FARTHEST, FARTHEST)
        if position is not None and velocity is not None and not p.noise:
            still = (np.abs(state[:, :PHYSICAL]) < NEAREST).all(1)
            if still.any():
                raise ValueError(
                    f"position is {state[still, 0][0].item()!r} and velocity {state[still, 1][0].item()!r}; "
                    f"expected one of them {NEAREST!r} or more from 0, for a mass at rest at the origin needs no force."
                )
        return Task(key.copy(), state), State(state.copy())

    def start(self, task: Task) -> State:
        """Return the states in which these episodes begin."""
        return State(task.state.copy())

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move the mass one step, under a constant force, by the exact solution."""
        p, s = self.parameters, state.state
        push = p.max_force * action[:, 0].astype(np.float64) / p.mass * p.dt
        after = np.empty_like(s)
        after[:, 0] = s[:, 0] + p.dt * s[:, 1] + 0.5 * p.dt * push
        after[:, 1] = s[:, 1] + push
        if p.distractors:
            after[:, PHYSICAL:] = elementary.matvec(self._moves, s[:, PHYSICAL:])
        if self._noisy.size:
            after[:, self._noisy] += self._noise[self._noisy] * keys.normal(key[:, None], t[:, None], self._noisy)
        return State(after)

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Negative quadratic cost (B,)."""
        p, s = self.parameters, state.state
        force = p.max_force * action[:, 0].astype(np.float64)
        return -(p.position_cost * s[:, 0] ** 2 + p.velocity_cost * s[:, 1] ** 2 + p.force_cost * force**2)

    def terminal(self, task: Task, state: State) -> Array:
        """Return False for every episode (B,): the task never terminates."""
        return np.zeros(len(state.state), np.bool_)

    def observation(self, task: Task, state: State) -> Array:
        """Return the state, rotated if so configured."""
        s = elementary.matvec(self.rotation, state.state) if self.parameters.rotated else state.state
        return s.astype(np.float32)

    def solve(self) -> tuple[riccati.Quadratic, Floats]:
        """Return the optimal cost and gain, in the coordinates of the observation; solved once."""
        if self._solution is None:
            linear = system(self.parameters)
            best = riccati.optimal(linear)
            self._solution = best, riccati.gain(linear, best.P)
        return self._solution

    def value(self, observation: Array) -> Array:
        """Optimal value (...) at observations (..., n): expected, over an infinite horizon; for scoring only."""
        return -riccati.cost(self.solve()[0], observation.astype(np.float64))

    def oracle_value(self, task: Task, state: State) -> Array:
        """Optimal value (B,): expected, over an infinite horizon."""
        return -riccati.cost(self.solve()[0], state.state @ self.rotation.T)

    def oracle_gradient(self, task: Task, state: State) -> Array:
        """Gradient (B, n) of the optimal value with respect to the observation."""
        return -riccati.gradient(self.solve()[0], state.state @ self.rotation.T)

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return the optimal force, as an action."""
        K = self.solve()[1] @ self.rotation
        return np.clip(-elementary.matvec(K, state.state) / self.parameters.max_force, -1, 1).astype(np.float32)

    def references(self, task: Task) -> tuple[Array, Array]:
        """Episode returns (B,) of no force and of the optimal gain in these very episodes, for scoring."""
        still = np.zeros((len(task.key), 1), np.float32)
        best = rollouts.returns(self, task, lambda state, t: self.oracle_action(task, state))
        return rollouts.returns(self, task, lambda state, t: still), best

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw the mass on its line, the force on it, and the distractors as bars."""
        s = states[-1].state[0]
        force = self.parameters.max_force * float(actions[-1][0, 0]) if len(actions) else 0.0
        line = f"position {s[0]:+.3f} m  velocity {s[1]:+.3f} m/s  force {force:+.2f} N"
        if mode == "ansi":
            return line + rendering.listed(s[PHYSICAL:])
        scene = rendering.Scene(3.0)
        scene.track(-2.5, 2.5, 0.0, goal=0.0)
        for before in states[:-1]:
            scene.block((float(before.state[0, 0]), 0.0), faint=True)
        scene.block((float(s[0]), 0.0))
        scene.push((float(s[0]), 0.12), force / self.parameters.max_force)
        picture, full = scene.image(line), 3 * self.parameters.distractor_scale or 1.0
        if not self.parameters.distractors:
            return picture
        return np.concatenate([picture, rendering.bars(s[PHYSICAL:], full, picture.shape[1])])
