"""Values of tasks: closed forms against grids, what regret must be, and the providers of registered environments."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym.envs  # noqa: F401 - registers the ids
from valuegym.envs import keys, mdp, rollouts
from valuegym.envs.control import grid, lqr, optimal_values, pendulum, riccati
from valuegym.envs.control.optimal_values import values_of
from valuegym.envs.feedback import values as v
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import EndState, PartialReturn, Regret
from valuegym.envs.preference import delivery

GAMMA = 0.9
COARSE = {"Pendulum": (100, 81), "Mountain": (121, 81)}


def random_process(seed: int = 0, S: int = 6, A: int = 3) -> mdp.TabularMDP:
    rng = np.random.default_rng(seed)
    return mdp.TabularMDP(
        rng.normal(size=(1, S, A, 2)),
        np.arange(S)[None] == S - 1,
        np.full((1, S), 1 / S),
        GAMMA,
        next_state=rng.integers(0, S, (1, S, A)),
    )


def walks(process: mdp.TabularMDP, n: int, L: int, reward: np.ndarray, seed: int = 0) -> Segments:
    """Return segments of uniformly random actions from any state but the last, which is terminal."""
    rng = np.random.default_rng(seed)
    S, A = process.features.shape[1:3]
    assert process.next_state is not None
    states, actions = np.zeros((n, L + 1), np.int64), rng.integers(0, A, (n, L))
    states[:, 0] = rng.integers(0, S - 1, n)
    for t in range(L):
        states[:, t + 1] = process.next_state[0, states[:, t], actions[:, t]]
    return Segments(states, actions, reward[states[:, :-1], actions])


# --- tabular ---


def test_regret_is_zero_for_optimal_actions_and_never_negative() -> None:
    process, w = random_process(), np.array([1.0, -0.5])
    known = v.TabularValues(process, w)
    states = np.repeat(np.arange(6), 3)
    actions = np.tile(np.arange(3), 6)
    advantage = (known.action_value(states, actions) - known.value(states)).reshape(6, 3)
    assert advantage.max() <= 0
    np.testing.assert_array_equal(advantage.max(1), 0)
    np.testing.assert_array_equal(known.action_value(np.full(3, 5), np.arange(3)), 0)  # the episode is over


def test_shaping_by_a_potential_changes_no_regret_but_the_partial_return() -> None:
    process, w = random_process(), np.array([1.0, -0.5])
    assert process.next_state is not None
    potential = np.random.default_rng(3).normal(size=6) * (np.arange(6) < 5)  # 0 at the end
    shaping = GAMMA * potential[process.next_state[0]] - potential[:, None]
    shaped = mdp.TabularMDP(
        np.concatenate([process.features, shaping[None, ..., None]], -1),
        process.terminal,
        process.start,
        GAMMA,
        next_state=process.next_state,
    )
    one, two = v.TabularValues(process, w), v.TabularValues(shaped, [*w, 1.0])
    segments = walks(process, 500, 4, mdp.reward(process, w)[0])
    other = Segments(
        segments.observations,
        segments.actions,
        mdp.reward(shaped, np.array([*w, 1.0]))[0][segments.observations[:, :-1], segments.actions],
    )
    np.testing.assert_allclose(Regret(one, GAMMA)(segments), Regret(two, GAMMA)(other), atol=1e-12)
    assert np.abs(PartialReturn(GAMMA)(segments) - PartialReturn(GAMMA)(other)).max() > 0.1
    np.testing.assert_allclose(two.value(np.arange(6)), one.value(np.arange(6)) - potential, atol=1e-12)


def test_regret_is_the_partial_return_where_the_optimal_value_is_constant() -> None:
    process = random_process()
    assert process.next_state is not None
    lost = -np.random.default_rng(1).random((6, 3)) * (np.arange(3) > 0)  # the first action costs nothing, anywhere
    free = mdp.TabularMDP(
        lost[None, ..., None], np.zeros((1, 6), np.bool_), process.start, GAMMA, next_state=process.next_state
    )
    known, segments = v.TabularValues(free, [1.0]), walks(free, 200, 5, lost)
    np.testing.assert_array_equal(known.value(np.arange(6)), 0)
    np.testing.assert_allclose(Regret(known, GAMMA)(segments), PartialReturn(GAMMA)(segments), atol=1e-14)


def test_regrets_telescope_whether_a_segment_ends_its_episode_or_not() -> None:
    process, w = random_process(2), np.array([0.3, 1.0])
    known, segments = v.TabularValues(process, w), walks(process, 500, 6, mdp.reward(process, w)[0])
    first, last = (known.value(segments.observations[:, i]) for i in (0, -1))
    expected = PartialReturn(GAMMA)(segments) + GAMMA**6 * last - first
    np.testing.assert_allclose(Regret(known, GAMMA)(segments), expected, atol=1e-12)
    np.testing.assert_array_equal(EndState(known)(segments), last)


# --- linear systems ---


def regulator() -> riccati.LinearSystem:
    return lqr.system(lqr.Parameters())


def lattice(n: int = 9, reach: float = 1.0) -> np.ndarray:
    line = np.linspace(-reach, reach, n)
    return np.stack([x.reshape(-1) for x in np.meshgrid(line, line, indexing="ij")], -1)


def test_linear_values_satisfy_the_bellman_equation() -> None:
    system, states = regulator(), lattice()
    known = v.LinearQuadraticValues(system)
    for force in (-3.0, 0.0, 2.0):
        action = np.full((len(states), 1), force)
        after = states @ system.A.T + action @ system.B.T
        paid = -np.einsum("ni,ij,nj->n", states, system.Q, states) - system.R[0, 0] * force**2
        expected = paid + system.discount * known.value(after)
        np.testing.assert_allclose(known.action_value(states, action), expected, atol=1e-9)
    K = riccati.gain(system, riccati.optimal(system).P)
    np.testing.assert_allclose(known.action_value(states, -states @ K.T), known.value(states), atol=1e-12)


def test_a_grid_agrees_with_the_riccati_equation() -> None:
    """Where the grid's edge is far away; its error falls with the pitch, quadratically as interpolation does."""
    system, p = regulator(), lqr.Parameters()
    exact, states = v.LinearQuadraticValues(system), lattice(7, 0.8)
    rng = np.random.default_rng(0)
    forces = rng.uniform(-3, 3, (len(states), 1))

    def step(points: grid.Points, force: Any) -> grid.Step:
        x, speed = points
        after = x + p.dt * speed + p.dt**2 / 2 * force, speed + p.dt * force
        cost = p.position_cost * x**2 + p.velocity_cost * speed**2 + p.force_cost * force**2
        return grid.Step(after, -cost, np.zeros(cost.shape, np.bool_))

    errors = []
    for n in (41, 81):
        axes = grid.Axis(-2.0, 2.0, n), grid.Axis(-3.0, 3.0, n)
        task = v.GridTask(
            grid.Grid(axes),
            step,
            lambda seen: (seen[:, 0], seen[:, 1]),
            lambda actions: actions[:, 0],
            np.linspace(-5, 5, 161),
            lambda points: np.zeros(np.shape(points[0]), np.bool_),
        )
        known = v.GridValues(task, 0.99)
        advantage = known.action_value(states, forces) - known.value(states)
        true = exact.action_value(states, forces) - exact.value(states)
        errors.append([np.abs(known.value(states) - exact.value(states)).max(), np.abs(advantage - true).max()])
        assert advantage.max() <= 0
    assert errors[1][0] < 0.3 * errors[0][0] and errors[1][0] < 0.02 * np.abs(exact.value(states)).max()
    assert errors[1][1] < 0.3 * errors[0][1] and errors[1][1] < 0.01 * np.abs(true).max()


def test_registered_regulators_are_solved_in_the_coordinates_of_their_observations() -> None:
    env = gym.make("valuegym/LQR-v0", distractors=3, rotated=True, map_seed=5, noise=0.1)
    core: Any = env.unwrapped.core  # type: ignore[attr-defined]
    known = values_of(env)
    task, state = core.initial(keys.mix(0, np.arange(50)))
    seen, best = core.observation(task, state), core.oracle_action(task, state)
    np.testing.assert_allclose(known.value(seen), core.oracle_value(task, state), rtol=1e-5)
    np.testing.assert_allclose(known.action_value(seen, best), known.value(seen), atol=1e-6)
    assert (known.action_value(seen, np.clip(best + 0.2, -1, 1)) < known.value(seen)).all()
    beyond = known.action_value(seen, np.full((50, 1), 9.0))
    np.testing.assert_array_equal(beyond, known.action_value(seen, np.ones((50, 1))))  # as the environment clips


# --- grids ---

IDS = ["valuegym/Pendulum-v0", "Pendulum-v1", "valuegym/MountainCarContinuous-v0", "MountainCarContinuous-v0"]
IDS += ["MountainCar-v0"]


def coarse(id: str, **options: Any) -> Any:
    nodes = next(nodes for name, nodes in COARSE.items() if name in id)
    return values_of(gym.make(id), nodes=nodes, **options)


def played(id: str, n: int = 20, steps: int = 12, seed: int = 0) -> Segments:
    """Return segments of random actions in the environment itself, from the beginnings of episodes."""
    env, rng = gym.make(id), np.random.default_rng(seed)
    space: Any = env.action_space
    seen, actions, rewards = [], [], []
    for i in range(n):
        seen.append([env.reset(seed=seed + i)[0]])
        for _ in range(steps):
            discrete = isinstance(space, gym.spaces.Discrete)
            actions.append(rng.integers(3) if discrete else rng.uniform(space.low, space.high).astype(np.float32))
            observation, reward, *_ = env.step(actions[-1])
            seen[-1].append(observation)
            rewards.append(reward)
    return Segments(
        np.array(seen), np.array(actions).reshape(n, steps, *(space.shape or ())), np.array(rewards).reshape(n, steps)
    )


@pytest.mark.parametrize("id", IDS)
def test_regret_on_a_grid(id: str) -> None:
    """No advantage is above 0, that of the best action is 0, and regrets telescope up to the Bellman residual."""
    known, segments = coarse(id), played(id)
    seen = segments.observations.reshape(-1, segments.observations.shape[-1])
    best = known.best_control(seen)
    unit = {"MountainCar-v0": best + 1, "valuegym/Pendulum-v0": best / 2}.get(id, best)
    actions = np.rint(unit).astype(int) if id == "MountainCar-v0" else unit[:, None]
    np.testing.assert_allclose(known.action_value(seen, actions), known.value(seen), atol=1e-9)
    lost = Regret(known, known.discount)(segments)
    assert (lost <= 0).all() and (lost < 0).any()
    L, g = segments.steps, known.discount
    first, last = (known.value(segments.observations[:, i]) for i in (0, L))
    error = lost - (PartialReturn(g)(segments) + g**L * last - first)
    assert np.abs(error).max() < 0.25 * np.abs(lost).max() + 0.3  # at coarse nodes, many times the pitch of the default


@pytest.mark.parametrize("id", IDS)
def test_one_observation_has_the_bits_of_many(id: str) -> None:
    known, segments = coarse(id), played(id, 5, 4)
    seen = segments.observations[:, :-1].reshape(20, -1)
    actions = segments.actions.reshape(20, *segments.actions.shape[2:])
    together = known.value(seen), known.action_value(seen, actions)
    for i in range(20):
        assert known.value(seen[i : i + 1])[0] == together[0][i]
        assert known.action_value(seen[i : i + 1], actions[i : i + 1])[0] == together[1][i]
    assert known.value(seen[:0]).shape == (0,)


def test_values_are_kept_and_are_the_same_for_scalar_and_vector_environments() -> None:
    scalar, vector = (make("Pendulum-v1") for make in (gym.make, partial(gym.make_vec, num_envs=3)))
    one = values_of(scalar, nodes=(100, 81))
    assert values_of(vector, nodes=(100, 81)) is one and values_of(gym.make("Pendulum-v1", g=9.81)) is not one
    assert values_of(scalar, nodes=(100, 81), discount=0.9) is not one


def test_units_of_actions_are_those_of_the_environments() -> None:
    ours, theirs = coarse("valuegym/Pendulum-v0"), coarse("Pendulum-v1")
    seen = played("Pendulum-v1").observations[:, 0]
    half, one = np.full((20, 1), 0.5), np.ones((20, 1))
    np.testing.assert_allclose(ours.value(seen), theirs.value(seen), atol=1e-12)
    np.testing.assert_allclose(ours.action_value(seen, half), theirs.action_value(seen, one), atol=1e-12)
    np.testing.assert_allclose(theirs.action_value(seen, 9 * one), theirs.action_value(seen, 2 * one), atol=1e-12)


def test_the_pendulums_values_are_those_of_its_oracle() -> None:
    """At the nodes of the suite's own solution, and the greedy policy earns what the oracle does."""
    core, p = pendulum.Pendulum(), pendulum.Parameters()
    known: Any = coarse("valuegym/Pendulum-v0")
    np.testing.assert_allclose(known.nodes, pendulum.values(p, COARSE["Pendulum"]), atol=2e-3)
    task, _ = core.initial(keys.mix(1, np.arange(20)))

    def policy(state: Any, t: int) -> np.ndarray:
        return (known.best_control(core.observation(task, state)) / 2)[:, None].astype(np.float32)

    earned = rollouts.returns(core, task, policy, 120)
    best = rollouts.returns(core, task, lambda state, t: core.oracle_action(task, state), 120)
    assert (best - earned).mean() < 2.5


def test_nothing_is_lost_after_the_end() -> None:
    known = coarse("MountainCar-v0")
    over = np.array([[0.51, 0.01], [0.6, 0.0]])
    np.testing.assert_array_equal(known.value(over), 0)
    np.testing.assert_array_equal(known.action_value(over, np.array([0, 2])), 0)
    rolling_back = np.array([[0.51, -0.01]])
    assert known.value(rolling_back)[0] < 0


def test_the_steps_to_the_goal_are_counted() -> None:
    """At discount 1 and a horizon, minus the value is the number of steps, at most the horizon."""
    known = coarse("MountainCar-v0", discount=1.0, horizon=30)
    near = np.array([[0.49, 0.05], [0.40, 0.05], [-0.5, 0.0]])
    np.testing.assert_allclose(known.value(near), [-1, -3, -30], atol=0.7)
    assert known.value(near)[0] == -1 and known.value(near)[2] == pytest.approx(-30)
    with pytest.raises(ValueError, match="horizon is 30"):
        known.residual(near)


def test_one_step_ahead_regret_is_what_the_reward_loses() -> None:
    known = coarse("Pendulum-v1", horizon=1, discount=1.0)
    segments = played("Pendulum-v1", 10, 1)
    torque = segments.actions[:, 0, 0]
    np.testing.assert_allclose(Regret(known)(segments), -0.001 * torque**2, atol=1e-6)


def test_a_longer_horizon_comes_closer_to_none() -> None:
    seen = played("Pendulum-v1", 20, 1).observations[:, 0]
    endless = coarse("Pendulum-v1", discount=0.9).value(seen)
    gaps = [np.abs(coarse("Pendulum-v1", discount=0.9, horizon=h).value(seen) - endless).max() for h in (3, 12, 48)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.5


# --- refusals ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: values_of(gym.make("CartPole-v1")), r"expected one of valuegym/Pendulum-v0, .*write value\(\)"),
        (lambda: values_of(pendulum.Pendulum()), "env is .*expected one of"),
        (
            lambda: values_of(gym.make("Pendulum-v1"), discount=1.0),
            "discount is 1.0; expected a finite number from 0 to 0.9999",
        ),
        (lambda: values_of(gym.make("Pendulum-v1"), discount=math.nan), "discount is nan"),
        (lambda: values_of(gym.make("Pendulum-v1"), horizon=0), "horizon is 0"),
        (lambda: values_of(gym.make("Pendulum-v1"), nodes=(2, 50)), r"nodes\[0\] is 2"),
        (lambda: values_of(gym.make("valuegym/LQR-v0"), horizon=5), "horizon is 5; expected None: the values of"),
        (lambda: values_of(gym.make("valuegym/Delivery-v0", observation="image")), "observation is 'image'"),
        (lambda: values_of(gym.make("MountainCar-v0", goal_velocity=0.01)), "goal_velocity is 0.01; expected 0"),
        (
            lambda: values_of(gym.wrappers.FlattenObservation(gym.make("Pendulum-v1"))),
            "expected no wrapper that changes observations or actions",
        ),
        (
            lambda: values_of(gym.wrappers.vector.FlattenObservation(gym.make_vec("Pendulum-v1", num_envs=2))),
            "expected no wrapper that changes observations or actions",
        ),
        (lambda: v.TabularValues(random_process(), [1.0]), "weights has shape"),
        (lambda: v.LinearQuadraticValues(regulator(), unit=0), "unit is 0"),
        (lambda: coarse("Pendulum-v1").value(np.zeros((3, 2))), "observations has shape"),
        (
            lambda: coarse("Pendulum-v1").action_value(np.zeros((3, 3)), np.full((3, 1), np.nan)),
            r"actions\[0, 0\] is nan",
        ),
        (lambda: coarse("MountainCar-v0").action_value(np.zeros((1, 2)), np.array([3])), r"actions\[0\] is 3"),
        (lambda: values_of(gym.make("valuegym/Delivery-v0")).value(np.array([100])), r"observations\[0\] is 100"),
    ],
)
def test_what_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_system_that_cannot_be_stabilised_is_refused() -> None:
    system = riccati.LinearSystem(2 * np.eye(1), np.zeros((1, 1)), np.eye(1), np.eye(1), np.zeros((1, 1)), 0.9)
    with pytest.raises(ValueError, match="No controller keeps the cost"):
        v.LinearQuadraticValues(system)


def test_the_delivery_task_has_the_published_value() -> None:
    known = values_of(gym.make("valuegym/Delivery-v0", reward="hidden"))
    board = delivery.board_mdp(np.array([delivery.BOARD]))
    assert (known.value(np.arange(100)) * board.start[0]).sum() == pytest.approx(41.2079, abs=1e-4)


def test_every_environment_of_the_tables_is_registered() -> None:
    for id in {**optimal_values.GRIDS, **optimal_values.EXACT}:
        assert values_of(gym.make(id)).discount < 1
