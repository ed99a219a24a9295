"""Optimal values of registered environments: of the suite's own, and of Gymnasium's with the same equations.

`values_of(env)` returns what `Regret` and `EndState` take:

    env = gym.make("Pendulum-v1")
    values = values_of(env)
    annotator = Annotator(Regret(values, values.discount))
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.control import grid, lqr, mountain_car, pendulum
from valuegym.envs.feedback.values import DISCOUNT, GridTask, GridValues, LinearQuadraticValues, TabularValues
from valuegym.envs.preference import delivery

__all__ = [
    "EXACT",
    "GRIDS",
    "classic_mountain_car",
    "climb",
    "gymnasium_climb",
    "gymnasium_swing_up",
    "swing_up",
    "values_of",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# Arguments of the environments around a core that change neither observations nor actions nor rewards.
_AROUND = ("core", "render_mode", "num_envs", "vectorization_mode", "max_episode_steps", "autoreset_mode")
TORQUES, FORCES = 41, 21  # between which the best is sought
NODES = (400, 321)  # of the pendulum, twice as fine as the suite's own oracle has them; angle and velocity

_CHANGES = (
    gym.ObservationWrapper,
    gym.ActionWrapper,
    gym.vector.VectorObservationWrapper,
    gym.vector.VectorActionWrapper,
)


def _from_circle(observations: Array) -> grid.Points:
    """Return angles and velocities (M,) of observations (M, 3)."""
    x = checks.reals("observations", observations, (None, 3))
    return np.arctan2(x[:, 1], x[:, 0]), x[:, 2]


def _as_they_are(observations: Array) -> grid.Points:
    """Return positions and velocities (M,) of observations (M, 2)."""
    x = checks.reals("observations", observations, (None, 2))
    return x[:, 0], x[:, 1]


def _never(points: grid.Points) -> npt.NDArray[np.bool_]:
    return np.zeros(np.shape(points[0]), np.bool_)


def _bounded(limit: float, unit: float) -> Any:
    """Return the function from actions (M, 1) to controls (M,): clipped to +-limit, in units of `unit`."""
    return lambda actions: unit * np.clip(checks.reals("actions", actions, (None, 1))[:, 0], -limit, limit)


def _pendulum(p: pendulum.Parameters, nodes: tuple[int, int] | None, limit: float) -> GridTask:
    return GridTask(
        pendulum.value_grid(p, nodes or NODES),
        lambda points, torque: pendulum.step(p, points, torque),
        _from_circle,
        _bounded(limit, p.max_torque / limit),
        p.max_torque * np.linspace(-1, 1, TORQUES),
        _never,
    )


def swing_up(nodes: tuple[int, int] | None = None, **parameters: Any) -> GridTask:
    """Return the task of `valuegym/Pendulum-v0`; nodes are those of angle and velocity.

    Raises:
        ValueError: a parameter is outside its range.
    """
    return _pendulum(pendulum.Parameters(**parameters), nodes, 1.0)


def gymnasium_swing_up(nodes: tuple[int, int] | None = None, g: float = 10.0) -> GridTask:
    """Return the task of Gymnasium's `Pendulum-v1`; nodes are those of angle and velocity.

    Raises:
        ValueError: gravity is outside its range.
    """
    p = pendulum.Parameters(gravity=g)
    return _pendulum(p, nodes, p.max_torque)


def climb(nodes: tuple[int, int] | None = None, **parameters: Any) -> GridTask:
    """Return the task of `valuegym/MountainCarContinuous-v0`; nodes are those of position and velocity.

    Raises:
        ValueError: a parameter is outside its range.
    """
    p = mountain_car.Parameters(**parameters)
    return GridTask(
        mountain_car.value_grid(p, nodes or mountain_car.NODES),
        lambda points, force: mountain_car.step(p, points, force),
        _as_they_are,
        _bounded(1.0, 1.0),
        np.linspace(-1, 1, FORCES),
        lambda points: mountain_car.arrived(p, points[0], points[1]),
    )


def _check_goal(goal_velocity: float) -> None:
    if goal_velocity != 0:
        raise checks.refusal("goal_velocity", goal_velocity, "0, for which the values of this task are computed")


def gymnasium_climb(nodes: tuple[int, int] | None = None, goal_velocity: float = 0) -> GridTask:
    """Return the task of Gymnasium's `MountainCarContinuous-v0`; nodes are those of position and velocity.

    Raises:
        ValueError: the goal velocity is not 0.
    """
    _check_goal(goal_velocity)
    return climb(nodes)


def classic_mountain_car(nodes: tuple[int, int] | None = None, goal_velocity: float = 0) -> GridTask:
    """Return the task of Gymnasium's `MountainCar-v0`: -1 a step until the goal; actions are 0, 1 and 2.

    Raises:
        ValueError: the goal velocity is not 0.
    """
    _check_goal(goal_velocity)
    p = mountain_car.Parameters(power=0.001, goal=0.5)

    def step(points: grid.Points, force: Any) -> grid.Step:
        position, velocity = points
        after = mountain_car.move(p, position, velocity, force)
        ends = mountain_car.arrived(p, *after)
        return grid.Step(after, np.full(ends.shape, -1.0), ends)

    return GridTask(
        mountain_car.value_grid(p, nodes or mountain_car.NODES),
        step,
        _as_they_are,
        lambda actions: np.asarray(checks.integers("actions", actions, (None,), 0, 2) - 1, np.float64),
        np.array([-1.0, 0.0, 1.0]),
        lambda points: mountain_car.arrived(p, points[0], points[1]),
        discrete=True,
    )


def _regulator(**parameters: Any) -> LinearQuadraticValues:
    """Return the values of `valuegym/LQR-v0`, whose observations are those of its linear system."""
    p = lqr.Parameters(**parameters)
    return LinearQuadraticValues(lqr.system(p), p.max_force, 1.0)


def _delivery(observation: str = "cell", reward: str = "true", discount: float = delivery.DISCOUNT) -> TabularValues:
    """Return the values of `valuegym/Delivery-v0` under the true reward, whether the agent sees it or not."""
    if observation != "cell":
        raise checks.refusal("observation", observation, "'cell', whose values stand in a table")
    board = np.array([delivery.BOARD])
    return TabularValues(
        delivery.board_mdp(board, checks.real("discount", discount, above=0, below=1)), delivery.WEIGHTS
    )


# Functions from the arguments of an environment, and the nodes of the grid, to a task that a grid can solve.
GRIDS: dict[str, Callable[..., GridTask]] = {
    "valuegym/Pendulum-v0": swing_up,
    "valuegym/MountainCarContinuous-v0": climb,
    "Pendulum-v1": gymnasium_swing_up,
    "MountainCarContinuous-v0": gymnasium_climb,
    "MountainCar-v0": classic_mountain_car,
}
# Functions from the arguments of an environment, and perhaps another discount, to exact values.
EXACT: dict[str, Callable[..., LinearQuadraticValues | TabularValues]] = {
    "valuegym/LQR-v0": _regulator,
    "valuegym/LQR-D4-v0": _regulator,
    "valuegym/Delivery-v0": _delivery,
}


def values_of(
    env: Any, *, discount: float | None = None, horizon: int | None = None, nodes: tuple[int, int] | None = None
) -> GridValues | LinearQuadraticValues | TabularValues:
    """Return the optimal values of an environment, scalar or vector, that was made by its id; see `GRIDS` and `EXACT`.

    Values of a grid are computed on first use, in one to four seconds, and kept in memory for each set of arguments.

    Args:
        env: the environment; only its spec is read.
        discount: None for the environment's own, 0.99 for Gymnasium's.
        horizon: steps that count, for grids alone; None for all (see `valuegym.envs.feedback.values`).
        nodes: of the grid along its two axes, at least 3 each; None for 400 x 321 of the pendulum, 331 x 141 of
            mountain cars.

    Raises:
        ValueError: nothing is known of such an environment or of the arguments that it was made with, it is wrapped so
            that observations or actions are others, or an argument is not as stated.
    """
    inner = env
    while isinstance(inner, (gym.Wrapper, gym.vector.VectorWrapper)):
        if isinstance(inner, _CHANGES):
            raise checks.refusal("env", inner, "no wrapper that changes observations or actions")
        inner = inner.env
    spec = getattr(env, "spec", None)
    if spec is None or spec.id not in GRIDS | EXACT:
        known = ", ".join([*GRIDS, *EXACT])
        raise checks.refusal("env", env, f"one of {known}; for others write value() and action_value()")
    registered = gym.registry[spec.id].kwargs
    arguments = {name: value for name, value in {**registered, **spec.kwargs}.items() if name not in _AROUND}
    if discount is not None:
        checks.real("discount", discount, 0, 1)
    if nodes is not None:
        nodes = tuple(checks.integers("nodes", nodes, (2,), 3).tolist())
    try:
        return _solved(spec.id, discount, horizon, nodes, tuple(sorted(arguments.items())))
    except TypeError as error:
        raise ValueError(f"The arguments {arguments} of {spec.id} are not understood: {error}.") from None


@lru_cache(maxsize=16)
def _solved(
    id: str, discount: float | None, horizon: int | None, nodes: tuple[int, int] | None, arguments: tuple[Any, ...]
) -> GridValues | LinearQuadraticValues | TabularValues:
    """Return the provider of an id, its own arguments among the others."""
    given = dict(arguments)
    if id in GRIDS:
        rate = given.get("discount", DISCOUNT) if discount is None else discount
        return GridValues(GRIDS[id](nodes=nodes, **given), rate, horizon)
    for name, value in (("horizon", horizon), ("nodes", nodes)):
        if value is not None:
            raise checks.refusal(name, value, f"None: the values of {id} are exact, and without an end")
    return EXACT[id](**given | ({} if discount is None else {"discount": discount}))
