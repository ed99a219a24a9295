"""Acrobot: a two-link robot with a motor in its elbow only, with continuous torque.

Sources: Sutton (1996), "Generalization in reinforcement learning: successful examples using sparse coarse coding";
Gymnasium's Acrobot-v1, whose transitions and rewards these are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, elementary, keys, rollouts
from valuegym.envs.control import planning
from valuegym.envs.functional import put_rows, take_rows
from valuegym.envs.rendering import control as rendering
from valuegym.envs.rendering.palette import Control

__all__ = [
    "Acrobot",
    "Parameters",
    "State",
    "Task",
    "accelerations",
    "base_action",
    "energy",
    "joint_angles",
    "move",
    "tip",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# Weights of the base policy: of spins, and of the sines of the first, the second, and the sum of both angles. Found by
# the cross-entropy method over 24,000 weight vectors.
WEIGHTS = (-2.5, 5.45, 3.82, -3.86, -6.1)
RANGES = {  # of the parameters
    "gravity": (1e-3, 1e3), "mass": (1e-3, 1e3), "length": (1e-3, 1e3), "inertia": (1e-3, 1e3),
    "max_torque": (1e-3, 1e3), "height": (-2e3, 2e3), "dt": (1e-4, 1.0), "discount": (0.0, 0.999_999),
}  # fmt: skip
ANGLE = 1e6  # largest angle of a reset option, rad
BEAM, CELL, LONGEST = 1500, (0.2, 0.2, 0.4, 0.6), 150  # the plan's search: states kept, rad and rad / s, steps
FORESIGHT = 120  # simulated steps of the base policy by which the reference compares actions


@dataclass(frozen=True)
class Parameters:
    """Parameters of two equal links that hang from a hinge.

    Fields, units and defaults are the arguments of `Acrobot`.

    Raises:
        ValueError: a parameter is outside its range.
    """

    gravity: float = 9.8
    mass: float = 1.0
    length: float = 1.0
    inertia: float = 1.0
    max_torque: float = 1.0
    max_speed: tuple[float, float] = (4 * np.pi, 9 * np.pi)
    height: float = 1.0
    dt: float = 0.2
    discount: float = 0.99

    def __post_init__(self) -> None:
        checks.fields(self, RANGES)
        fastest = checks.reals("max_speed", self.max_speed, (2,), 0.1, 1e3)
        object.__setattr__(self, "max_speed", tuple(fastest.tolist()))
        low, top = -1.9 * self.length, 2 * self.length  # episodes begin below
        if not low <= self.height < top:
            raise ValueError(
                f"height is {self.height!r}; expected a number of at least {low!r} and below {top!r}, within reach of "
                f"two links of length = {self.length!r}."
            )


class Task(NamedTuple):
    """Constants of B episodes: key (B,) and first state (B,)."""

    key: keys.Key
    first: Floats
    second: Floats
    first_spin: Floats
    second_spin: Floats


class State(NamedTuple):
    """State of B episodes (B,).

    Angles in [-pi, pi], of the first link from hanging and of the second from the first; spins in rad / s.
    """

    first: Floats
    second: Floats
    first_spin: Floats
    second_spin: Floats


SinCos = Callable[[Floats], tuple[Floats, Floats]]


def joint_angles(s: State | Floats) -> Floats:
    """Angles (3, B) of which sines and cosines are needed: the first, the second, and their sum."""
    angles = np.empty((3, len(s[0])))
    angles[0], angles[1] = s[0], s[1]
    np.add(s[0], s[1], out=angles[2])
    return angles


def accelerations(p: Parameters, s: Floats, torque: Floats, sin_cos: SinCos = elementary.sin_cos) -> Floats:
    """Accelerations of both joints, (2, B) rad / s^2, of angles and spins (4, B).

    Lagrange's equations of two equal links whose centres of mass lie in their middles. d1 = inertia of both about the
    hinge, d2 = that of the second joint's motion about it; phi1, phi2 the moments of gravity and of the centrifugal and
    Coriolis forces.
    """
    w1, w2 = s[2], s[3]
    m, length, c = p.mass, p.length, p.length / 2
    sines, cosines = sin_cos(joint_angles(s))
    sine, cosine = sines[1], cosines[1]
    d1 = m * c * c + m * (length * length + c * c + 2 * length * c * cosine) + 2 * p.inertia
    d2 = m * (c * c + length * c * cosine) + p.inertia
    fall = m * c * p.gravity * sines[2]
    swing = m * length * c * sine
    phi1 = -swing * (w2 * w2) - 2 * swing * w2 * w1
    phi1 = phi1 + (m * c + m * length) * p.gravity * sines[0] + fall
    both = np.empty((2, len(w1)))
    both[1] = a2 = (torque + d2 / d1 * phi1 - swing * (w1 * w1) - fall) / (m * c * c + p.inertia - d2 * d2 / d1)
    both[0] = -(d2 * a2 + phi1) / d1
    return both


def move(p: Parameters, s: State, torque: Floats, sin_cos: SinCos = elementary.sin_cos) -> State:
    """Move one step by the classical Runge-Kutta method of fourth order, with velocities clipped and angles wrapped.

    `sin_cos` is called for the angles of s only.
    """

    def slope(y: Floats, sin_cos: SinCos = elementary.sin_cos) -> Floats:
        k = np.empty_like(y)
        k[:2], k[2:] = y[2:], accelerations(p, y, torque, sin_cos)
        return k

    y = np.array(s)
    k1 = slope(y, sin_cos)
    k2 = slope(y + p.dt / 2 * k1)
    k3 = slope(y + p.dt / 2 * k2)
    k4 = slope(y + p.dt * k3)
    after = y + p.dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    after[:2] = elementary.wrap(after[:2])
    limit = np.array(p.max_speed)[:, None]
    np.minimum(np.maximum(after[2:], -limit), limit, out=after[2:])
    return State(*after)


def tip(p: Parameters, s: State, sin_cos: SinCos = elementary.sin_cos) -> Floats:
    """Height of the tip above the hinge, m."""
    cosines = sin_cos(joint_angles(s))[1]
    return -p.length * (cosines[0] + cosines[2])


def energy(p: Parameters, states: Floats) -> Floats:
    """Mechanical energy (B,) of states (B, 4), J, which the motor alone changes; 0 of potential at the hinge."""
    first, second, w1, w2 = np.ascontiguousarray(states.T)
    m, length, c = p.mass, p.length, p.length / 2
    cosines = elementary.sin_cos(joint_angles(np.stack([first, second])))[1]
    both = w1 + w2
    turning = (m * c * c + p.inertia) * (w1 * w1) + p.inertia * (both * both)
    moving = length * length * (w1 * w1) + c * c * (both * both) + 2 * length * c * w1 * both * cosines[1]
    height = -(c + length) * cosines[0] - c * cosines[2]
    return np.asarray(0.5 * (turning + m * moving) + m * p.gravity * height)


def base_action(s: State, sin_cos: SinCos = elementary.sin_cos) -> Floats:
    """Action (B,) that pumps energy: the linear policy with WEIGHTS, clipped to [-1, 1]."""
    sines = sin_cos(joint_angles(s))[0]
    total = WEIGHTS[0] * s.first_spin + WEIGHTS[1] * s.second_spin
    total = total + WEIGHTS[2] * sines[0] + WEIGHTS[3] * sines[1] + WEIGHTS[4] * sines[2]
    return np.minimum(np.maximum(total, -1.0), 1.0)


class Acrobot:
    """Swing the tip of a two-link robot above a height, with a motor in the elbow only.

    ## Description
    Gymnasium's Acrobot-v1 with continuous torque. Every step costs the same, so the value is a time to
    the goal, through a chaotic system.

    ## Observation
    Box (6,) float32: cosine and sine of the first link's angle from hanging, cosine and sine of the second link's from
    the first, and both joints' velocities in rad/s, at most 4 pi and 9 pi.

    ## Action
    Box (1,) in [-1, 1]: the torque on the elbow divided by 1 N m. Finite numbers beyond are clipped.

    ## Reward
    -1 for every step that does not end the episode.

    ## Episode end
    Terminates when the tip is more than 1 m above the hinge. The registered environment truncates after 500 steps of
    0.2 s. Angles and velocities start uniformly in [-0.1, 0.1], or where `reset(options={"first": x, "second": y})`
    says.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `gravity` | float | 9.8 | m/s^2 | acceleration of gravity |
    | `mass` | float | 1.0 | kg | mass of each link |
    | `length` | float | 1.0 | m | length of each link |
    | `inertia` | float | 1.0 | kg m^2 | moment of inertia of each link about its middle |
    | `max_torque` | float | 1.0 | N m | torque of action 1 |
    | `max_speed` | two floats | (4 pi, 9 pi) | rad/s | largest velocities of both joints, at which they are clipped |
    | `height` | float | 1.0 | m | height of the tip above the hinge at which the episode ends |
    | `dt` | float | 0.2 | s | time step |
    | `discount` | float | 0.99 | | per step, in [0, 0.999999] |
    | `reference` | str | "controller" | | what scores 1: "controller" or "plan" |

    Raises:
        ValueError: a parameter is outside its range, or the reference another one.

    ## Oracle and naive scores
    No exact solution is known. Score 1 is a *reference*, which a good agent may pass. "controller": at every step it
    tries full torque to either side and the action of a linear policy that pumps energy, simulates that policy from
    there on, and takes the action that reaches the height first (a rollout algorithm; Bertsekas 2013). It needs 65
    steps on average, the policy alone 75. "plan": the shortest way found from the very start by a beam search over full
    torques that keeps the 1,500 states with most energy, one in each cell; it needs 60. Score 0 is the mean over 64
    episodes of uniformly random actions; both at discount 0.99, from the very start of the episode.

    ## Source
    Sutton (1996); Gymnasium's Acrobot-v1 (Towers et al. 2024). From the same state and torque both go to the same
    state, up to 1e-12.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 15}
    resets_ahead = 16
    clips_actions = True  # as Gymnasium's own control tasks do
    horizon = 500
    tolerance = 0.0  # see `elementary`: bit-identical on every processor
    physical, distracting = np.arange(6), np.arange(0)  # dimensions of the observation; for scoring only

    def __init__(self, reference: str = "controller", **parameters: Any) -> None:
        self.reference = checks.choice("reference", reference, planning.REFERENCES)
        self._plans = planning.Plans(self._make_plans)
        self.parameters = p = Parameters(**parameters)
        self.discount = p.discount
        high = np.array([1, 1, 1, 1, *p.max_speed], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self._sin_cos = elementary.LastSinCos()

    def initial(self, key: keys.Key, first: Array | None = None, second: Array | None = None) -> tuple[Task, State]:
        """Start hanging almost still, unless options give the angles.

        Raises:
            ValueError: an option is not finite or too large, or the tip starts above the height.
        """
        drawn = [0.2 * keys.uniform(key, keys.RESET, i) - 0.1 for i in range(4)]
        for i, (name, angle) in enumerate((("first", first), ("second", second))):
            if angle is not None:
                drawn[i] = elementary.wrap(checks.reals(name, angle, key.shape, -ANGLE, ANGLE))
        task = Task(key.copy(), *drawn)
        if first is not None or second is not None:
            up = np.flatnonzero(self.terminal(task, self.start(task)))
            if up.size:
                found = f"first is {drawn[0][up[0]].item()!r} and second {drawn[1][up[0]].item()!r}"
                raise ValueError(
                    f"{found}; expected a tip of at most {self.parameters.height!r} m, above which the episode is over."
                )
        return task, self.start(task)

    def start(self, task: Task) -> State:
        """Return the states in which these episodes begin."""
        return State(*(part.copy() for part in task[1:]))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move one step by Runge and Kutta's method; a tip that is up stays."""
        after = move(
            self.parameters, state, self.parameters.max_torque * action[:, 0].astype(np.float64), self._sin_cos
        )
        over = self.terminal(task, state)
        if over.any():
            put_rows(after, over, take_rows(state, over))
        return after

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Reward (B,): -1 for a step after which the tip is not up."""
        return np.where(self.terminal(task, state) | self.terminal(task, next_state), 0.0, -1.0)

    def terminal(self, task: Task, state: State) -> Array:
        """Tell which tips are up (B,)."""
        return tip(self.parameters, state, self._sin_cos) > self.parameters.height

    def observation(self, task: Task, state: State) -> Array:
        """Return cosines, sines and velocities."""
        observation = np.empty((len(state.first), 6), np.float32)
        sines, cosines = self._sin_cos(joint_angles(state))
        observation[:, 0], observation[:, 1] = cosines[0], sines[0]
        observation[:, 2], observation[:, 3] = cosines[1], sines[1]
        observation[:, 4], observation[:, 5] = state.first_spin, state.second_spin
        return observation

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return the reference's action: the best of three first steps, or the plan's where the state is on it."""
        if self.reference == "controller":
            return self._controller_action(task, state)
        none = np.full(len(state.first), np.nan, np.float32)
        action = self._plans.actions(np.stack(task[1:], 1), np.stack(state, 1), none)
        if (off := np.flatnonzero(np.isnan(action))).size:
            action[off] = self._controller_action(take_rows(task, off), take_rows(state, off))[:, 0]
        return action[:, None]

    def _make_plans(self, starts: Floats) -> list[planning.Plan]:
        """Search for the shortest way from each start (B, 4); an empty plan where none is found."""
        p = self.parameters

        def step(states: Floats, actions: Floats) -> Floats:
            return np.stack(move(p, State(*np.ascontiguousarray(states.T)), p.max_torque * actions), 1)

        def done(states: Floats) -> Array:
            return np.asarray(tip(p, State(*np.ascontiguousarray(states.T))) > p.height)

        plans = []
        for start in starts:
            found = planning.beam_search(
                start, step, done, lambda states: energy(p, states), np.array(CELL), (-1.0, 1.0), BEAM, LONGEST
            )
            states, actions = [start[None]], np.empty(0, np.float32) if found is None else found.astype(np.float32)
            for action in actions:
                states.append(step(states[-1], action[None].astype(np.float64)))
            plans.append(planning.Plan(np.concatenate(states), actions))
        return plans

    def _controller_action(self, task: Task, state: State) -> Array:
        """Return the controller's action (B, 1): the first step of the best of three plans."""
        p, B, sin_cos = self.parameters, len(state.first), elementary.LastSinCos()
        first = np.stack([base_action(state, self._sin_cos), np.full(B, -1.0), np.full(B, 1.0)])
        best = np.zeros(B, np.int64)  # the base policy, unless another plan comes first
        row = np.flatnonzero(~self.terminal(task, state))
        ahead, push = State(*(np.tile(part[row], 3) for part in state)), first[:, row].reshape(-1)
        for _ in range(FORESIGHT):
            ahead = move(p, ahead, p.max_torque * push, sin_cos)
            up = (tip(p, ahead, sin_cos) > p.height).reshape(3, -1)
            reached = up.any(0)
            if reached.any():  # and the other plans have not
                best[row[reached]] = up[:, reached].argmax(0)
                row, going = row[~reached], np.tile(~reached, 3)
                ahead = State(*(part[going] for part in ahead))
            if not row.size:
                break
            push = base_action(ahead, sin_cos)
        return first[best, np.arange(B)].astype(np.float32)[:, None]

    def references(self, task: Task) -> tuple[Array, Array]:
        """Episode returns (B,) of random actions and of the reference from these very starts, for scoring."""
        draft = self._base_action if self.reference == "controller" else None
        return rollouts.references(self, task, draft)

    def _base_action(self, task: Task, state: State) -> Array:
        """Return the action of the base policy, a draft of the reference's."""
        return base_action(state, self._sin_cos).astype(np.float32)[:, None]

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw both links with their last positions, the height to reach, and the torque on the elbow."""
        p, now = self.parameters, [float(part[0]) for part in states[-1]]
        push = float(actions[-1][0, 0]) if len(actions) else 0.0
        text = (
            f"angles {now[0]:+.2f} {now[1]:+.2f} rad  tip {float(tip(p, states[-1])[0]):+.2f} m  torque {push:+.2f} N m"
        )
        if mode == "ansi":
            return text
        scene = rendering.Scene(3.3 * p.length)
        scene.curve([(-3 * p.length, p.height), (3 * p.length, p.height)], Control.GREEN, 3)
        for state in states:
            a, b = float(state.first[0]), float(state.first[0] + state.second[0])
            elbow = p.length * float(np.sin(a)), -p.length * float(np.cos(a))
            end = elbow[0] + p.length * float(np.sin(b)), elbow[1] - p.length * float(np.cos(b))
            faint = state is not states[-1]
            scene.rod((0.0, 0.0), elbow, 0.2, faint=faint)
            scene.rod(elbow, end, 0.16, Control.VIOLET, faint=faint)
        scene.dot((0.0, 0.0), 0.06)
        scene.dot(elbow, 0.05)
        scene.turn(elbow, push, 0.4)
        return scene.image(text)
