"""Mountain car, cart-pole and Acrobot: Gymnasium's own transitions, and references that hold what they say."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import ENVS, keys, rollouts
from valuegym.envs.control import acrobot, cartpole_swingup, mountain_car, riccati
from valuegym.envs.functional import load

CORES: dict[str, Any] = {
    "MountainCarContinuous": mountain_car.MountainCarContinuous,
    "CartPoleSwingUp": cartpole_swingup.CartPoleSwingUp,
    "Acrobot": acrobot.Acrobot,
}
ALL = pytest.mark.parametrize("name", CORES)
# Control by preferences, which ends with the last report, has tests of its own.
TIMED = [id for id, row in ENVS.items() if "control" in row.tags and row.max_episode_steps]


def started(core: Any, B: int) -> tuple[Any, Any, keys.Key, np.ndarray]:
    key = keys.mix(4, np.arange(B))
    return *core.initial(key), key, np.zeros(B, np.int64)


def test_mountain_car_moves_as_gymnasiums() -> None:
    theirs: Any = gym.make("MountainCarContinuous-v0").unwrapped
    theirs.reset(seed=0)
    core, rng, B = mountain_car.MountainCarContinuous(), np.random.default_rng(0), 3000
    x = rng.uniform(-1.2, 0.449, B).astype(np.float32).astype(np.float64)
    v = rng.uniform(-0.07, 0.07, B).astype(np.float32).astype(np.float64)
    action = rng.uniform(-1, 1, (B, 1)).astype(np.float32)
    task, _, key, t = started(core, B)
    state = mountain_car.State(x, v)
    after = core.transition(task, state, action, key, t)
    reward, over = core.reward(task, state, action, after), core.terminal(task, after)
    for i in range(B):
        theirs.state = np.array([x[i], v[i]], np.float64)
        seen, paid, terminated, _, _ = theirs.step(action[i].astype(np.float64))
        np.testing.assert_allclose([after.position[i], after.velocity[i]], seen, rtol=0, atol=1e-7)
        assert terminated == over[i] and paid == pytest.approx(reward[i], abs=1e-12)
    assert over.any()


def test_cart_and_pole_move_as_gymnasiums() -> None:
    theirs: Any = gym.make("CartPole-v1").unwrapped
    theirs.reset(seed=0)
    theirs.kinematics_integrator = "semi-implicit euler"
    core, rng, B = cartpole_swingup.CartPoleSwingUp(), np.random.default_rng(0), 2000
    state = cartpole_swingup.State(*(rng.uniform(-r, r, B) for r in (2.4, 5, math.pi, 10)))
    push = rng.integers(2, size=B)
    task, _, key, t = started(core, B)
    after = core.transition(task, state, (2.0 * push - 1)[:, None].astype(np.float32), key, t)
    for i in range(B):
        theirs.steps_beyond_terminated = None
        theirs.state = np.array([part[i] for part in state])
        theirs.step(int(push[i]))
        gap = np.array([part[i] for part in after]) - theirs.state
        gap[2] = math.remainder(gap[2], 2 * math.pi)
        assert np.abs(gap).max() < 1e-13


def test_acrobot_moves_as_gymnasiums() -> None:
    theirs: Any = gym.make("Acrobot-v1").unwrapped
    theirs.reset(seed=0)
    core, rng, B = acrobot.Acrobot(), np.random.default_rng(0), 600
    state = acrobot.State(*(rng.uniform(-r, r, B) for r in (3.1, 3.1, 12.0, 28.0)))
    push = rng.integers(3, size=B)
    task, _, key, t = started(core, B)
    after = core.transition(task, state, (push - 1.0)[:, None].astype(np.float32), key, t)
    reward, over, before = (
        core.reward(task, state, push, after),
        core.terminal(task, after),
        core.terminal(task, state),
    )
    for i in np.flatnonzero(~before):
        theirs.state = np.array([part[i] for part in state])
        _, paid, terminated, _, _ = theirs.step(int(push[i]))
        gap = np.array([part[i] for part in after]) - theirs.state
        gap[:2] = [math.remainder(g, 2 * math.pi) for g in gap[:2]]
        assert np.abs(gap).max() < 1e-11
        assert (paid, terminated) == (reward[i], over[i])
    assert over.any() and before.any()


@ALL
@pytest.mark.parametrize("B", [1, 3, 8, 300])
def test_bits_do_not_depend_on_the_number_of_rows(name: str, B: int) -> None:
    core, rng = CORES[name](), np.random.default_rng(B)
    task, together, key, _ = started(core, B)
    few = range(min(B, 40))
    alone = {i: core.initial(key[i : i + 1]) for i in few}
    for t in range(25):
        action = rng.uniform(-1, 1, (B, 1)).astype(np.float32)
        together = core.transition(task, together, action, key, np.full(B, t))
        for i in few:
            row = slice(i, i + 1)
            alone[i] = alone[i][0], core.transition(*alone[i], action[row], key[row], np.array([t]))
    choice = core.oracle_action(task, together) if B < 10 else None
    for i in few:
        assert all(a[0] == b[i] for a, b in zip(alone[i][1], together, strict=True))
        if choice is not None:
            assert (core.oracle_action(*alone[i])[0] == choice[i]).all()


@pytest.mark.parametrize("id", TIMED)
def test_vector_rows_equal_scalar_environments_through_resets(id: str) -> None:
    envs = gym.make_vec(id, num_envs=4, autoreset_mode="Disabled")
    scalars = [gym.make(id) for _ in range(4)]
    observations, rng = envs.reset(seed=21)[0], np.random.default_rng(0)
    for i, env in enumerate(scalars):
        assert env.reset(seed=21 + i)[0].tobytes() == observations[i].tobytes()
    for t in range(30):
        action = rng.uniform(-1, 1, (4, 1)).astype(np.float32)
        observations, rewards, terminated, _, _ = envs.step(action)
        for i, env in enumerate(scalars):
            seen, reward, over, _, _ = env.step(action[i])
            assert seen.tobytes() == observations[i].tobytes() and (reward, over) == (rewards[i], terminated[i])
        mask = terminated | (rng.random(4) < 0.1)
        if mask.any():
            fresh = envs.reset(options={"reset_mask": mask})[0]
            for i in np.flatnonzero(mask):
                assert scalars[i].reset()[0].tobytes() == fresh[i].tobytes(), t


@ALL
def test_terminal_states_stay_and_pay_nothing(name: str) -> None:
    core = CORES[name]()
    task, state, key, t = started(core, 2)
    over = {
        "MountainCarContinuous": lambda: mountain_car.State(np.full(2, 0.5), np.full(2, 0.01)),
        "CartPoleSwingUp": lambda: state._replace(position=np.full(2, -2.5)),
        "Acrobot": lambda: state._replace(first=np.full(2, math.pi)),
    }[name]()
    assert core.terminal(task, over).all() and not core.terminal(task, state).any()
    action = np.ones((2, 1), np.float32)
    after = core.transition(task, over, action, key, t)
    assert all((a == b).all() for a, b in zip(after, over, strict=True))
    assert (core.reward(task, over, action, after) == 0).all()


def test_values_of_the_mountain_car() -> None:
    core = mountain_car.MountainCarContinuous()
    task, state, _, _ = started(core, 100)
    naive, best = core.references(task)
    value = core.oracle_value(task, state)
    assert np.abs(best - value).max() < 0.5 and best.mean() == pytest.approx(47.6, abs=0.3)
    assert naive.mean() == pytest.approx(-0.1 / 3 / 0.01, abs=0.3)  # the goal is not found by chance
    np.testing.assert_allclose(core.value(core.observation(task, state)), value, atol=1e-3)
    for push in (0.5, 1.0):  # with the speed, the well-known heuristic

        def policy(s: mountain_car.State, t: int, push: float = push) -> np.ndarray:
            return np.where(s.velocity >= 0, push, -push).astype(np.float32)[:, None]

        assert (rollouts.returns(core, task, policy) <= best + 1e-9).all()
    p, coarse = core.parameters, (166, 71)
    at = np.random.default_rng(0).uniform([-1.2, -0.07], [0.44, 0.07], (2000, 2)).T
    a, b = (mountain_car.value_grid(p, n).interpolate(mountain_car.values(p, n), at) for n in (coarse, (331, 141)))
    assert np.abs(a - b).mean() < 0.5


def test_observations_tell_when_the_cart_is_off_the_track() -> None:
    env = gym.make("valuegym/CartPoleSwingUp-v0")
    for seed in range(4):
        observation, terminated = env.reset(seed=seed)[0], False
        while not terminated:
            assert not cartpole_swingup.off_track(observation)
            observation, _, terminated, truncated, _ = env.step(np.array([1 - 2 * (seed % 2)], np.float32))
            assert not truncated
        assert cartpole_swingup.off_track(observation[None]).tolist() == [True]


def test_the_cart_poles_reference_swings_up_and_stays() -> None:
    core = cartpole_swingup.CartPoleSwingUp()
    task, state, key, _ = started(core, 100)
    naive, best = core.references(task)
    assert best.mean() == pytest.approx(59.1, abs=0.4) and best.min() > 58 and naive.mean() < 15
    for t in range(500):
        state = core.transition(task, state, core.oracle_action(task, state), key, np.full(100, t))
    assert np.abs(state.angle).max() < 0.01 and np.abs(state.position).max() < 0.05


@pytest.mark.slow
def test_a_planner_hardly_improves_on_the_cart_poles_reference() -> None:
    """At every step five forces are tried as well, and the reference is followed in thought."""
    core, B, horizon = cartpole_swingup.CartPoleSwingUp(), 6, 150
    task = started(core, B)[0]
    forces = np.array([-1.0, -0.5, 0.0, 0.5, 1.0], np.float32)
    many = type(task)(*(np.tile(part, 6) for part in task))

    def plan(state: Any, _: int) -> np.ndarray:
        first = np.concatenate([core.oracle_action(task, state), np.repeat(forces, B)[:, None]])
        at = type(state)(*(np.tile(part, 6) for part in state))
        total, weight, action = np.zeros(6 * B), 1.0, first
        for _ in range(horizon):
            after = core.transition(many, at, action, many.key, np.zeros(6 * B, np.int64))
            total, weight = total + weight * core.reward(many, at, action, after), 0.99 * weight
            at, action = after, core.oracle_action(many, after)
        total = total + weight * 100 * core.reward(many, at, action, at)
        return first.reshape(6, B, 1)[total.reshape(6, B).argmax(0), np.arange(B)]

    planned = rollouts.returns(core, task, lambda s, t: plan(s, t) if t < 120 else core.oracle_action(task, s))
    plain = core.references(task)[1]
    assert 0 <= planned.mean() / plain.mean() - 1 < 0.015


def test_the_catch_is_the_best_linear_gain_at_the_top() -> None:
    """The linear system behind it is the derivative of the motion, and its cost the shortfall of the reward."""
    p, step = cartpole_swingup.Parameters(), 1e-6
    K = np.array([cartpole_swingup.catch_gain(p)])

    def motion(x: np.ndarray, u: float) -> np.ndarray:
        s = cartpole_swingup.State(*(np.array([part]) for part in x))
        return np.array([part[0] for part in cartpole_swingup.move(p, s, np.array([u]))])

    A = np.stack([(motion(step * e, 0.0) - motion(-step * e, 0.0)) / (2 * step) for e in np.eye(4)], -1)
    B = ((motion(np.zeros(4), step) - motion(np.zeros(4), -step)) / (2 * step))[:, None]
    Q, R = np.diag([0.5 / p.track**2, 0, 0.25, 0]), np.array([[0.1 / p.max_force**2]])
    system = riccati.LinearSystem(A, B, Q, R, np.zeros((4, 4)), p.discount)
    np.testing.assert_allclose(K, riccati.gain(system, riccati.optimal(system).P), rtol=1e-5)
    x = 1e-3 * np.array([1.0, 2.0, -1.5, 0.5])
    s = cartpole_swingup.State(*(np.array([part]) for part in x))
    short = 1 - cartpole_swingup.pay(p, s, np.array([0.001]))[0]
    assert short == pytest.approx(x @ Q @ x + R[0, 0] * 0.01**2, rel=1e-3)


def test_the_acrobots_reference_is_quick() -> None:
    core = acrobot.Acrobot()
    task, _, _, _ = started(core, 3)
    best = rollouts.returns(core, task, lambda s, t: core.oracle_action(task, s))
    steps = np.log(1 + 0.01 * best) / np.log(0.99)  # the last one is free
    assert steps.mean() < 72
    base = rollouts.returns(core, task, lambda s, t: acrobot.base_action(s).astype(np.float32)[:, None])
    assert base.mean() < best.mean()
    assert (core.references(task)[1] == best).all()  # with a draft policy, in batches of steps
    assert acrobot.Acrobot(max_speed=[1.0, 2.0]).parameters.max_speed == (1.0, 2.0)


def test_the_acrobots_plans_are_followed_as_far_as_it_takes_to_tell_the_best() -> None:
    core, B = acrobot.Acrobot(), 60
    rng = np.random.default_rng(2)
    state = acrobot.State(*(rng.uniform(-r, r, B) for r in (3.1, 3.1, 6.0, 12.0)))
    base = acrobot.base_action(state)
    needed = []
    for first in (base, np.full(B, -1.0), np.full(B, 1.0)):  # each plan to its end, or for as long as is looked ahead
        steps, over, ahead, push = np.zeros(B), core.terminal(None, state), state, first
        for _ in range(acrobot.FORESIGHT):
            moved = acrobot.move(core.parameters, ahead, push)
            ahead = acrobot.State(*(np.where(over, a, b) for a, b in zip(ahead, moved, strict=True)))
            over |= core.terminal(None, ahead)
            steps, push = steps + ~over, acrobot.base_action(ahead)
        needed.append(steps)
    best = np.choose(np.argmin(needed, 0), [base, np.full(B, -1.0), np.full(B, 1.0)]).astype(np.float32)
    assert (core.oracle_action(None, state)[:, 0] == best).all() and len(set(np.argmin(needed, 0))) == 3
    some = acrobot.State(*(part[7:8] for part in state))
    assert core.oracle_action(None, some)[0, 0] == best[7]


def test_the_acrobots_reference_does_not_depend_on_how_much_is_played_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    core = acrobot.Acrobot()
    task, _, _, _ = started(core, 3)
    together = core.references(task)
    monkeypatch.setattr(rollouts, "ROWS", 64)
    monkeypatch.setattr(rollouts, "AHEAD", 5)
    alone = core.references(acrobot.Task(*(part[1:] for part in task)))
    assert all((a[1:] == b).all() for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("id", TIMED)
def test_horizons_are_those_of_the_table(id: str) -> None:
    row = ENVS[id]
    core = load(row.core)(**row.kwargs)
    assert core.horizon == row.max_episode_steps
    assert set(core.physical) | set(core.distracting) == set(range(core.observation_space.shape[0]))


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("MountainCarContinuous", {"goal": 3.0}, "goal is 3"),
        ("MountainCarContinuous", {"power": 0.0}, "power is 0"),
        ("CartPoleSwingUp", {"track": -1.0}, "track"),
        ("CartPoleSwingUp", {"discount": 2.0}, "discount"),
        ("Acrobot", {"height": 5.0}, "height"),
        ("Acrobot", {"dt": 0}, "dt"),
    ],
)
def test_bad_parameters_name_themselves(name: str, kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CORES[name](**kwargs)


@pytest.mark.parametrize(
    ("id", "options"),
    [("CartPoleSwingUp", {"position": 3.0}), ("MountainCarContinuous", {"position": 0.7})],
)
def test_starts_off_the_map_are_refused(id: str, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="position"):
        gym.make(f"valuegym/{id}-v0").reset(options=options)
