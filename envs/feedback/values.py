"""Optimal values of tasks, from which annotators by regret and by end state take V and Q of the true reward.

A provider is any object with `value(observations)` and `action_value(observations, actions)` (`utilities.Values`):

| provider | tasks | error |
| --- | --- | --- |
| `TabularValues` | processes with a table of states | none: policy iteration |
| `LinearQuadraticValues` | linear systems with quadratic costs | none: Riccati equation |
| `GridValues` | deterministic tasks of few coordinates | measured, falls with the pitch of the grid |
| `agents.control.critic_values` | whatever an actor-critic can be trained on | measured where the truth is known |

`values_of(env)` in `valuegym.envs.control.optimal_values` returns the provider of a registered environment.

**Infinite horizon and truncated episodes.** V(s) is the most that can be earned from s on, discounted, without an end:
a time limit truncates an episode, but observations do not say how far off it is, and so values do not know of it. An
episode that terminates earns nothing more: V is 0 there. So a decision in the last steps before a time limit is judged
as if the episode went on, and regrets of a segment telescope,

    sum_t discount^t A(s_t, a_t) = sum_t discount^t r_t + discount^L V(s_L) - V(s_0),

in deterministic tasks, whether the segment ends with its episode, is cut off, or is followed by more. With a `horizon`
of h steps, values are those of h steps from every state on, which may be undiscounted; each decision is judged as the
first of h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, mdp
from valuegym.envs.control import riccati
from valuegym.envs.control.grid import Grid, Points, Step, greedy, solve, solve_steps
from valuegym.envs.feedback.utilities import Values

__all__ = [
    "DISCOUNT",
    "GridTask",
    "GridValues",
    "LinearQuadraticValues",
    "TabularValues",
    "Values",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

DISCOUNT = 0.99  # where an environment does not say its own
HIGHEST = 0.9999  # discount that a grid without a horizon is solved for
TOLERANCE = 1e-4  # of the fixed point of a grid
ROWS = 2**14  # observations at a time


class TabularValues:
    """Exact values of a process with a table of states, whose observations are the numbers of states.

    Args:
        process: one process, B = 1.
        weights: (d,) of the true reward.

    Raises:
        ValueError: there are several processes, or the weights are not as many finite numbers as features.
    """

    def __init__(self, process: mdp.TabularMDP, weights: Any) -> None:
        B, S, A, d = process.features.shape
        if B != 1:
            raise ValueError(f"process holds {B} processes; expected one.")
        reward = mdp.reward(process, checks.reals("weights", weights, (d,)))
        values, action_values = mdp.optimal_values(process, reward)
        self.discount, self.states, self.actions = process.discount, S, A
        self._action_values = np.where(process.terminal[0, :, None], 0.0, action_values[0])
        self._values = self._action_values.max(-1)
        assert np.allclose(self._values, values[0])

    def value(self, observations: Any) -> Floats:
        """Return V (M,) of states (M,).

        Raises:
            ValueError: an observation is no number of a state.
        """
        return self._values[checks.integers("observations", observations, (None,), 0, self.states - 1)]

    def action_value(self, observations: Any, actions: Array) -> Floats:
        """Return Q (M,) of states (M,) and actions (M,).

        Raises:
            ValueError: an observation is no number of a state, or an action none of an action.
        """
        rows = checks.integers("observations", observations, (None,), 0, self.states - 1)
        return self._action_values[rows, checks.integers("actions", actions, rows.shape, 0, self.actions - 1)]


class LinearQuadraticValues:
    """Exact values of a linear system whose reward is minus a quadratic cost, by the Riccati equation.

    Expected under the noise of the system, and without bounds of the control: Q - V = -(u + K s)'S(u + K s).

    Args:
        system: one system; observations are its states.
        unit: control of action 1.
        bound: actions are clipped to [-bound, bound], as the environment does; None for no bound.

    Raises:
        ValueError: no controller keeps the cost finite, or a number is not above 0.
    """

    def __init__(self, system: riccati.LinearSystem, unit: float = 1.0, bound: float | None = None) -> None:
        self.unit = checks.real("unit", unit, above=0)
        self.bound = None if bound is None else checks.real("bound", bound, above=0)
        self.discount = system.discount
        self._least = riccati.optimal(system)
        if not np.isfinite(self._least.P).all():
            raise ValueError("No controller keeps the cost of the system finite; expected one that can be stabilised.")
        self._gain, self._curvature = riccati.gain(system, self._least.P), riccati.curvature(system, self._least.P)

    def value(self, observations: Any) -> Floats:
        """Return V (M,) of states (M, n).

        Raises:
            ValueError: a state is not finite or of another length.
        """
        return -riccati.cost(self._least, self._states(observations))

    def action_value(self, observations: Any, actions: Array) -> Floats:
        """Return Q (M,) of states (M, n) and actions (M, m).

        Raises:
            ValueError: a state or an action is not finite or of another length.
        """
        states = self._states(observations)
        control = checks.reals("actions", actions, (len(states), self._gain.shape[0]))
        if self.bound is not None:
            control = np.clip(control, -self.bound, self.bound)
        lost = riccati.regret(self._gain, self._curvature, states, self.unit * control)
        return -riccati.cost(self._least, states) - lost

    def _states(self, observations: Any) -> Floats:
        return checks.reals("observations", observations, (None, self._gain.shape[1]))


@dataclass(frozen=True, eq=False)
class GridTask:
    """A deterministic task of few coordinates and one control, as a grid needs it.

    Attributes:
        grid: of the states.
        step: maps coordinates (...) and controls to a `grid.Step`.
        points: maps observations (M, ...) to coordinates (M,).
        control: maps actions (M, ...) to controls (M,), clipped as the environment clips them.
        controls: (A,) evenly spaced, between which the best is sought.
        over: tells at which coordinates (...) the episode has ended.
        discrete: whether there are no controls but these.
    """

    grid: Grid
    step: Callable[[Points, Any], Step]
    points: Callable[[Array], Points]
    control: Callable[[Array], Floats]
    controls: Floats
    over: Callable[[Points], npt.NDArray[np.bool_]]
    discrete: bool = False


@dataclass(frozen=True, eq=False)
class GridValues:
    """Optimal values by value iteration on a dense grid with linear interpolation between its nodes.

    Q(s, a) = r + discount W(s') looks one step ahead, with W the values on the grid; V(s) is its maximum over controls,
    the best of a list refined by a parabola, or the Q of the given action where that is higher by rounding. So no
    advantage Q - V is above 0, and that of `best_action` is 0. Both are 0 where the episode has ended.

    Args:
        task: dynamics, reward and grid.
        discount: per step, from 0 to 0.9999; up to 1 with a horizon.
        horizon: how many steps count, at least 1; None for all.

    Raises:
        ValueError: an argument is not as stated.
    """

    task: GridTask
    discount: float = DISCOUNT
    horizon: int | None = None

    def __post_init__(self) -> None:
        """Check discount and horizon."""
        checks.real("discount", self.discount, 0, HIGHEST if self.horizon is None else 1)
        if self.horizon is not None:
            checks.integer("horizon", self.horizon, 1)

    @cached_property
    def nodes(self) -> Floats:
        """W (S,) at the nodes: the values of what follows the first step; solved on first use."""
        t = self.task
        controls = t.controls if t.discrete else t.controls[::2]
        if self.horizon is None:
            found = solve(t.grid, t.step, controls, self.discount, TOLERANCE)
        else:
            found = solve_steps(t.grid, t.step, controls, self.discount, self.horizon - 1)
        found.setflags(write=False)
        return found

    def _quality(self, points: Points, controls: Any) -> Floats:
        """Return Q at points and controls of any common shape."""
        after = self.task.step(points, controls)
        return after.reward + self.discount * ~after.ends * self.task.grid.interpolate(self.nodes, after.points)

    def _best(self, points: Points) -> tuple[Floats, Floats]:
        """Return the best control (M,) and its Q (M,)."""
        t = self.task
        quality = self._quality([x[:, None] for x in points], t.controls)
        rows, at = np.arange(len(quality)), quality.argmax(-1)
        best, control = quality[rows, at], t.controls[at]
        if not t.discrete:
            refined = greedy(t.grid, self.nodes, t.step, points, t.controls, self.discount)
            refined = np.clip(refined, t.controls[0], t.controls[-1])
            value = self._quality(points, refined)
            control, best = np.where(value > best, refined, control), np.maximum(best, value)
        return control, best

    def _by_parts(self, observations: Any, function: Callable[..., Floats], *columns: Floats) -> Floats:
        """Return a function (M,) of coordinates and columns, computed for some rows at a time."""
        points = self.task.points(observations)
        M = len(points[0])
        found = [
            function([x[part] for x in points], *(column[part] for column in columns))
            for part in (slice(i, i + ROWS) for i in range(0, M, ROWS))
        ]
        return np.concatenate(found) if found else np.zeros(0)

    def value(self, observations: Any) -> Floats:
        """Return V (M,) of observations (M, ...).

        Raises:
            ValueError: an observation is not finite or of another shape.
        """
        return self._by_parts(observations, lambda x: np.where(self.task.over(x), 0.0, self._best(x)[1]))

    def action_value(self, observations: Any, actions: Array) -> Floats:
        """Return Q (M,) of observations (M, ...) and actions (M, ...), at most V.

        Raises:
            ValueError: an observation or an action is not as the environment's spaces say.
        """

        def quality(points: Points, control: Floats) -> Floats:
            found = np.minimum(self._quality(points, control), self._best(points)[1])
            return np.where(self.task.over(points), 0.0, found)

        return self._by_parts(observations, quality, self.task.control(actions))

    def best_control(self, observations: Any) -> Floats:
        """Return the control (M,) of the greedy policy, in the units of the dynamics.

        Raises:
            ValueError: an observation is not finite or of another shape.
        """
        return self._by_parts(observations, lambda x: self._best(x)[0])

    def residual(self, observations: Any) -> Floats:
        """Return the Bellman residual (M,), interpolated values less the best of one step more.

        It is 0 at the nodes but for the tolerance and the refinement, and the error of interpolation between them;
        without a horizon alone.

        Raises:
            ValueError: there is a horizon, or an observation is not finite or of another shape.
        """
        if self.horizon is not None:
            raise ValueError(f"horizon is {self.horizon}; expected None, for which values have one fixed point.")
        t = self.task
        return self._by_parts(
            observations,
            lambda x: np.where(t.over(x), 0.0, t.grid.interpolate(self.nodes, x) - self._best(x)[1]),
        )
