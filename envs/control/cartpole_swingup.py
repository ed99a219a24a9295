"""Cart-pole swing-up: a cart with a hanging pole, to be swung up and balanced.

Sources: Barto, Sutton, Anderson (1983), "Neuronlike adaptive elements that can solve difficult learning control
problems"; the equations of Florian (2007), "Correct equations for the dynamics of the cart-pole system", as in
Gymnasium's CartPole-v1; swinging up by energy as in Åström and Furuta (2000), "Swinging up a pendulum by energy
control".
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
from valuegym.envs.control import planning, riccati
from valuegym.envs.rendering import control as rendering
from valuegym.envs.rendering.palette import Control

__all__ = ["CartPoleSwingUp", "Parameters", "State", "Task", "catch_gain", "expansion", "move", "off_track", "pay"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
SinCos = Callable[[Floats], tuple[Floats, Floats]]

# The reference's numbers, found by the cross-entropy method over 1,800 vectors: acceleration (m / s^2) for each unit of
# missing energy, for each m from the middle and for each m / s; the energy above the top's that is aimed at; the catch:
# how far (rad) from the top, with what weight of the spin inside and outside of the distance.
SWING, BACK, BRAKE, BEYOND = 11.475, 18.039, 4.978, 0.037
CATCH, LEAD, SLACK = 0.638, 0.189, 0.012
RANGES = {  # of the parameters
    "gravity": (1e-3, 1e3), "cart_mass": (1e-3, 1e3), "pole_mass": (1e-3, 1e3), "half_length": (1e-3, 1e3),
    "max_force": (1e-3, 1e3), "track": (0.1, 1e3), "dt": (1e-4, 1.0), "discount": (0.0, 0.999_999),
}  # fmt: skip
PASSES = 40  # of the plan's improvement
NUDGE = 1e-5  # of differences that stand for derivatives
HOLD = 10  # steps, 0.2 s, within which the reference must not leave the track if options give the start
ANGLE = 1e6  # largest angle of a reset option, rad


@dataclass(frozen=True)
class Parameters:
    """Parameters of a cart on a track, and a pole that turns freely on it.

    Fields, units and defaults are the arguments of `CartPoleSwingUp`.

    Raises:
        ValueError: a parameter is outside its range.
    """

    gravity: float = 9.8
    cart_mass: float = 1.0
    pole_mass: float = 0.1
    half_length: float = 0.5
    max_force: float = 10.0
    track: float = 2.4
    dt: float = 0.02
    discount: float = 0.99

    def __post_init__(self) -> None:
        checks.fields(self, RANGES)


class Task(NamedTuple):
    """Constants of B episodes: key (B,) and first state (B,)."""

    key: keys.Key
    position: Floats
    velocity: Floats
    angle: Floats
    spin: Floats


class State(NamedTuple):
    """State of B episodes (B,): position in m, velocity in m / s, angle from upright in [-pi, pi], spin in rad / s."""

    position: Floats
    velocity: Floats
    angle: Floats
    spin: Floats


def move(p: Parameters, s: State, force: Floats, sin_cos: SinCos = elementary.sin_cos) -> State:
    """Move one step by semi-implicit Euler, velocities first.

    With m, M, l for the pole's and the total mass and the half length,
    b = (force + m l spin^2 sin angle) / M,
    spin' = (g sin angle - b cos angle) / (l (4/3 - m cos^2 angle / M)),
    velocity' = b - m l spin' cos angle / M.
    """
    total, moment = p.cart_mass + p.pole_mass, p.pole_mass * p.half_length
    sine, cosine = sin_cos(s.angle)
    b = (force + moment * (s.spin * s.spin) * sine) / total
    turn = (p.gravity * sine - cosine * b) / (p.half_length * (4.0 / 3.0 - p.pole_mass * (cosine * cosine) / total))
    push = b - moment * turn * cosine / total
    velocity, spin = s.velocity + p.dt * push, s.spin + p.dt * turn
    return State(s.position + p.dt * velocity, velocity, elementary.wrap(s.angle + p.dt * spin), spin)


def pay(p: Parameters, s: State, action: Floats, sin_cos: SinCos = elementary.sin_cos) -> Floats:
    """Reward (B,): (1 + cos angle) / 2 (1 - (position / track)^2 / 2) (1 - action^2 / 10), at most 1."""
    upright, aside = (1 + sin_cos(s.angle)[1]) / 2, s.position / p.track
    return upright * (1 - 0.5 * (aside * aside)) * (1 - 0.1 * (action * action))


def off_track(observation: Array, track: float = Parameters.track) -> Array:
    """Tell where an episode ends, from observations (..., 5): the cart is beyond the end of the track; (...) bool.

    Agents with a model need it, for their rollouts have no other sign of an episode's end.
    """
    return np.asarray(np.abs(np.asarray(observation)[..., 0]) > track)


@lru_cache(maxsize=8)
def catch_gain(p: Parameters) -> tuple[float, float, float, float]:
    """Gains in N on position, velocity, angle and spin: optimal for the task linearised at the top."""
    total = p.cart_mass + p.pole_mass
    inertia = p.half_length * (4.0 / 3.0 - p.pole_mass / total)
    ratio = p.pole_mass * p.half_length / total
    spin = np.array([0.0, 0.0, p.gravity, 0.0]) / inertia
    spin_u = -1 / total / inertia
    velocity, velocity_u = -ratio * spin, 1 / total - ratio * spin_u
    A, B = np.eye(4), np.zeros((4, 1))
    A[1], A[3] = A[1] + p.dt * velocity, A[3] + p.dt * spin
    B[1], B[3] = p.dt * velocity_u, p.dt * spin_u
    A[0], A[2] = A[0] + p.dt * A[1], A[2] + p.dt * A[3]
    B[0], B[2] = p.dt * B[1], p.dt * B[3]
    Q = np.diag([0.5 / p.track**2, 0.0, 0.25, 0.0])  # the reward falls short of 1 by this form, to second order
    system = riccati.LinearSystem(A, B, Q, np.array([[0.1 / p.max_force**2]]), np.zeros((4, 4)), p.discount)
    least = riccati.optimal(system).P
    if not np.isfinite(least).all():  # too weak a force to balance the pole
        return 0.0, 0.0, 0.0, 0.0
    K = riccati.gain(system, least)[0]
    return float(K[0]), float(K[1]), float(K[2]), float(K[3])


def expansion(p: Parameters, states: Floats, actions: Floats) -> planning.Expansion:
    """Expand steps about states (B, T, 4) and actions (B, T).

    Derivatives of the move by central differences, of the reward U(angle) P(position) C(action) by hand:
    U' = -sin / 2, U'' = -cos / 2; P' = -position / track^2, P'' = -1 / track^2; C' = -action / 5, C'' = -1 / 5.
    """
    (B, T, n), flat, a = states.shape, states.reshape(-1, states.shape[2]), actions.reshape(-1)

    def slope(off: Floats, push: float) -> Floats:
        ahead, behind = (
            np.stack(move(p, State(*np.ascontiguousarray((flat + way * off).T)), p.max_force * (a + way * push)), 1)
            for way in (NUDGE, -NUDGE)
        )
        change = ahead - behind
        change[:, 2] = elementary.wrap(change[:, 2])
        return change / (2 * NUDGE)

    f_x = np.stack([slope(np.eye(n)[i], 0.0) for i in range(n)], 2)
    sine, cosine = elementary.sin_cos(flat[:, 2])
    wide = p.track * p.track
    u, u_1, u_2 = (1 + cosine) / 2, -sine / 2, -cosine / 2
    q, q_1, q_2 = 1 - 0.5 * (flat[:, 0] * flat[:, 0]) / wide, -flat[:, 0] / wide, -1 / wide
    c, c_1, c_2 = 1 - 0.1 * (a * a), -0.2 * a, -0.2
    r_x, r_xu, r_xx = np.zeros((B * T, n)), np.zeros((B * T, n)), np.zeros((B * T, n, n))
    r_x[:, 0], r_x[:, 2] = u * q_1 * c, u_1 * q * c
    r_xu[:, 0], r_xu[:, 2] = u * q_1 * c_1, u_1 * q * c_1
    r_xx[:, 0, 0], r_xx[:, 2, 2] = u * q_2 * c, u_2 * q * c
    r_xx[:, 0, 2] = r_xx[:, 2, 0] = u_1 * q_1 * c
    parts = (f_x, slope(np.zeros(n), 1.0), r_x, u * q * c_1, r_xx, r_xu, u * q * c_2)
    return planning.Expansion(*(part.reshape(B, T, *part.shape[1:]) for part in parts))


class CartPoleSwingUp:
    """Swing up the pole that hangs from a cart, and balance it in the middle of the track.

    ## Description
    The cart and pole of Gymnasium's CartPole-v1 with the pole hanging at first, and continuous force. Value comes
    late and is steep: near the top and near the ends of the track.

    ## Observation
    Box (5,) float32: position in m, velocity in m/s, cosine and sine of the angle from upright, and its velocity in
    rad/s.

    ## Action
    Box (1,) in [-1, 1]: the force on the cart divided by 10 N. Finite numbers beyond are clipped.

    ## Reward
    (1 + cos angle) / 2 (1 - (position / 2.4)^2 / 2) (1 - action^2 / 10), before the step: in [0, 1].

    ## Episode end
    Terminates when the cart is beyond 2.4 m from the middle. The registered environment truncates after 500 steps of
    0.02 s. Position, velocity, angle from hanging and its velocity start uniformly in [-0.05, 0.05], or where
    `reset(options={"position": x, "angle": y})` says.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `gravity` | float | 9.8 | m/s^2 | acceleration of gravity |
    | `cart_mass` | float | 1.0 | kg | mass of the cart |
    | `pole_mass` | float | 0.1 | kg | mass of the pole |
    | `half_length` | float | 0.5 | m | distance from the pole's axis to its centre of mass |
    | `max_force` | float | 10.0 | N | force of action 1 |
    | `track` | float | 2.4 | m | distance of the track's ends from the middle |
    | `dt` | float | 0.02 | s | time step |
    | `discount` | float | 0.99 | | per step, in [0, 0.999999] |
    | `reference` | str | "controller" | | what scores 1: "controller" or "plan" |

    Raises:
        ValueError: a parameter is outside its range, or the reference another one.

    ## Oracle and naive scores
    No exact solution is known. Score 1 is a *reference*, which a good agent may pass. "controller": pump energy and
    keep to the middle, then catch the pole with the best linear gain; it earns 59.1 on average. "plan": the
    controller's episode improved from its very start by 40 passes of differential dynamic programming, 60.3.
    Score 0 is the mean over 64
    episodes of uniformly random actions; both at discount 0.99 over 500 steps, from the very start of the episode.

    ## Source
    Barto, Sutton, Anderson (1983); Florian (2007). From the same state and force Gymnasium's CartPole-v1 with its
    semi-implicit integrator goes to the same state, up to 1e-13.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 50}
    resets_ahead = 16
    clips_actions = True  # as Gymnasium's own control tasks do
    horizon = 500
    tolerance = 0.0  # see `elementary`: bit-identical on every processor
    physical, distracting = np.arange(5), np.arange(0)  # dimensions of the observation; for scoring only

    def __init__(self, reference: str = "controller", **parameters: Any) -> None:
        self.reference = checks.choice("reference", reference, planning.REFERENCES)
        self._plans = planning.Plans(self._make_plans)
        self.parameters = p = Parameters(**parameters)
        self.discount = p.discount
        high = np.array([2 * p.track, np.inf, 1, 1, np.inf], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self._sin_cos = elementary.LastSinCos()

    def initial(self, key: keys.Key, position: Array | None = None, angle: Array | None = None) -> tuple[Task, State]:
        """Start almost at rest with the pole hanging, unless options say otherwise.

        Raises:
            ValueError: an option is outside the range of the state, or the reference leaves the track at once.
        """
        drawn = [0.1 * keys.uniform(key, keys.RESET, i) - 0.05 for i in range(4)]
        drawn[2] = np.pi + drawn[2] if angle is None else checks.reals("angle", angle, key.shape, -ANGLE, ANGLE)
        drawn[2] = elementary.wrap(drawn[2])
        if position is not None:
            limit = self.parameters.track
            drawn[0] = checks.reals("position", position, key.shape, -limit, limit)
        task = Task(key.copy(), *drawn)
        if position is not None or angle is not None:
            lost = np.flatnonzero(self._lost(task))
            if lost.size:
                raise ValueError(
                    f"position is {drawn[0][lost[0]].item()!r} and angle {drawn[2][lost[0]].item()!r}; expected "
                    f"a start from which the reference stays on the track for {HOLD} steps, or no score is defined."
                )
        return task, self.start(task)

    def _lost(self, task: Task) -> Array:
        """Tell from which starts (B,) the reference soon leaves the track, and is no better than random actions."""
        state = self.start(task)
        for t in range(HOLD):
            state = self.transition(task, state, self.oracle_action(task, state), task.key, np.full(len(task.key), t))
        return self.terminal(task, state)

    def start(self, task: Task) -> State:
        """Return the states in which these episodes begin."""
        return State(*(part.copy() for part in task[1:]))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move one step; a cart off the track stays."""
        over = self.terminal(task, state)
        force = self.parameters.max_force * action[:, 0].astype(np.float64)
        after = move(self.parameters, state, force, self._sin_cos)
        return State(*(np.where(over, a, b) for a, b in zip(state, after, strict=True)))

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Reward (B,) for an upright pole, a central cart and little force."""
        paid = pay(self.parameters, state, action[:, 0].astype(np.float64), self._sin_cos)
        return np.where(self.terminal(task, state), 0.0, paid)

    def terminal(self, task: Task, state: State) -> Array:
        """Tell which carts are off the track (B,)."""
        return np.abs(state.position) > self.parameters.track

    def observation(self, task: Task, state: State) -> Array:
        """Return position, velocity, cosine, sine and spin."""
        observation = np.empty((len(state.angle), 5), np.float32)
        observation[:, 0], observation[:, 1], observation[:, 4] = state.position, state.velocity, state.spin
        observation[:, 3], observation[:, 2] = self._sin_cos(state.angle)
        return observation

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return the reference's action: the controller's, or the plan's where the state is on it."""
        action = self._controller_action(state)
        if self.reference == "controller":
            return action
        return self._plans.actions(np.stack(task[1:], 1), np.stack(state, 1), action[:, 0])[:, None]

    def _make_plans(self, starts: Floats) -> list[planning.Plan]:
        """Improve the controller's episodes from these starts (B, 4)."""
        p = self.parameters

        def step(states: Floats, actions: Floats) -> tuple[Floats, Floats]:
            s = State(*np.ascontiguousarray(states.T))
            over = np.abs(s.position) > p.track
            after = np.where(over[:, None], states, np.stack(move(p, s, p.max_force * actions), 1))
            return after, np.where(over, 0.0, pay(p, s, actions))

        def rolled(policy: Callable[[int, State], Array]) -> tuple[Floats, Array]:
            states, actions = [starts], []
            for t in range(self.horizon):
                actions.append(policy(t, State(*np.ascontiguousarray(states[-1].T))))
                states.append(step(states[-1], actions[-1].astype(np.float64))[0])
            return np.stack(states, 1), np.stack(actions, 1)

        states, actions = rolled(lambda t, s: self._controller_action(s)[:, 0])
        planned, better, _, gains = planning.improve(
            states, actions.astype(np.float64), step, lambda s, a: expansion(p, s, a), p.discount, PASSES
        )

        def followed(t: int, s: State) -> Array:  # rounding of actions grows where the pole stands
            off = (gains[:, t] * (np.stack(s, 1) - planned[:, t])).sum(1)
            return np.clip(better[:, t] + off, -1, 1).astype(np.float32)

        states, actions = rolled(followed)
        return [planning.Plan(*both) for both in zip(states, actions, strict=True)]

    def _controller_action(self, state: State) -> Array:
        """Return the controller's action (B, 1): swing by energy, then catch."""
        p, s = self.parameters, state
        cosine = self._sin_cos(s.angle)[1]
        missing = 2.0 / 3.0 * p.half_length * (s.spin * s.spin) / p.gravity + cosine - 1 - BEYOND
        push = SWING * missing * np.where(s.spin * cosine >= 0, 1.0, -1.0) - BACK * s.position - BRAKE * s.velocity
        K = catch_gain(p)
        hold = -(K[0] * s.position + K[1] * s.velocity + K[2] * s.angle + K[3] * s.spin)
        near = np.abs(s.angle + LEAD * s.spin) + SLACK * np.abs(s.spin) < CATCH
        force = np.where(near, hold, (p.cart_mass + p.pole_mass) * push)
        return np.clip(force / p.max_force, -1, 1).astype(np.float32)[:, None]

    def references(self, task: Task) -> tuple[Array, Array]:
        """Episode returns (B,) of random actions and of the reference from these very starts, for scoring."""
        return rollouts.references(self, task)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw cart and pole with their last positions, and the force."""
        p, now = self.parameters, [float(part[0]) for part in states[-1]]
        push = float(actions[-1][0, 0]) if len(actions) else 0.0
        text = f"position {now[0]:+.2f} m  angle {now[2]:+.2f} rad  force {p.max_force * push:+.1f} N"
        if mode == "ansi":
            return text
        scene = rendering.Scene(1.25 * p.track)
        scene.track(-p.track, p.track, 0.0, goal=0.0)
        for state in states:
            x, angle = float(state.position[0]), float(state.angle[0])
            end = x + 2 * p.half_length * float(np.sin(angle)), 2 * p.half_length * float(np.cos(angle))
            faint = state is not states[-1]
            scene.block((x, 0.0), (0.6, 0.32), faint, Control.VIOLET)
            scene.rod((x, 0.0), end, 0.12, faint=faint)
        scene.dot((now[0], 0.0), 0.05)
        scene.push((now[0], -0.35), push)
        return scene.image(text)
