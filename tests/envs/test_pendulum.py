"""Pendulum: Gymnasium's own transitions, and a value function whose error is known."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys, rollouts
from valuegym.envs.control import grid, pendulum
from valuegym.envs.control.pendulum import Pendulum, State


def test_transitions_and_rewards_are_gymnasiums() -> None:
    theirs = gym.make("Pendulum-v1").unwrapped
    theirs.reset(seed=0)
    core, rng = Pendulum(), np.random.default_rng(0)
    B = 2000
    angle, velocity = rng.uniform(-math.pi, math.pi, B), rng.uniform(-8, 8, B)
    action = rng.uniform(-1, 1, (B, 1)).astype(np.float32)
    key, t = keys.mix(0, np.arange(B)), np.zeros(B, np.int64)
    state = State(angle, velocity)
    task = core.initial(key)[0]
    after = core.transition(task, state, action, key, t)
    reward, seen = core.reward(task, state, action, after), core.observation(task, after)
    for i in range(B):
        theirs.state = np.array([angle[i], velocity[i]])  # type: ignore[attr-defined]
        observation, paid, *_ = theirs.step(2.0 * action[i].astype(np.float64))
        x, v = theirs.state  # type: ignore[attr-defined]
        assert abs(math.remainder(x - after.angle[i], 2 * math.pi)) < 1e-14 and abs(v - after.velocity[i]) < 1e-14
        assert abs(paid - reward[i]) < 1e-13
        np.testing.assert_allclose(observation, seen[i], rtol=0, atol=1.2e-7)


def test_whole_episodes_are_gymnasiums() -> None:
    ours, theirs = gym.make("valuegym/Pendulum-v0"), gym.make("Pendulum-v1")
    rng = np.random.default_rng(1)
    theirs.reset(seed=0)
    x, v = (float(y) for y in theirs.unwrapped.state)  # type: ignore[attr-defined]
    ours.reset(seed=0, options={"angle": x, "velocity": v})
    for t in range(200):
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        a, b = ours.step(action), theirs.step(2.0 * action.astype(np.float64))
        np.testing.assert_allclose(a[0], b[0], rtol=0, atol=1e-5)
        assert a[1] == pytest.approx(b[1], abs=1e-5)
        assert a[2:4] == b[2:4] == (False, t == 199)


@pytest.mark.parametrize("B", [1, 3, 8, 300])
def test_bits_do_not_depend_on_the_number_of_rows(B: int) -> None:
    core, rng = Pendulum(), np.random.default_rng(B)
    key = keys.mix(7, np.arange(B))
    task, together = core.initial(key)
    alone = [core.initial(key[i : i + 1]) for i in range(B)]
    for t in range(20):
        action = rng.uniform(-1, 1, (B, 1)).astype(np.float32)
        together = core.transition(task, together, action, key, np.full(B, t))
        for i in range(B):
            row = slice(i, i + 1)
            alone[i] = alone[i][0], core.transition(*alone[i], action[row], key[row], np.array([t]))
    for i, (own, state) in enumerate(alone):
        assert state.angle[0] == together.angle[i] and state.velocity[0] == together.velocity[i]
        assert (core.oracle_action(own, state) == core.oracle_action(task, together)[i]).all()


def test_starts() -> None:
    core = Pendulum()
    _, state = core.initial(keys.mix(0, np.arange(20_000)))
    assert np.abs(state.angle).max() <= math.pi and np.abs(state.velocity).max() <= 1
    assert abs(state.angle.std() - math.pi / math.sqrt(3)) < 0.02
    assert abs(state.velocity.std() - 1 / math.sqrt(3)) < 0.02
    with pytest.raises(ValueError, match="velocity"):
        gym.make("valuegym/Pendulum-v0").reset(options={"velocity": 9.0})


def test_values_are_those_of_their_greedy_policy() -> None:
    core = Pendulum()
    task, state = core.initial(keys.mix(1, np.arange(300)))
    value = core.oracle_value(task, state)
    earned = rollouts.returns(core, task, lambda s, t: core.oracle_action(task, s), 400)
    assert abs((earned - value).mean()) < 0.5 and np.sqrt(((earned - value) ** 2).mean()) < 8
    assert value.mean() == pytest.approx(-121, abs=8)
    np.testing.assert_allclose(core.value(core.observation(task, state)), value, atol=0.05)
    up = core.oracle_value(task, State(np.zeros(1), np.zeros(1)))
    assert abs(up[0]) < 1e-2


def test_a_finer_grid_says_the_same() -> None:
    p = pendulum.Parameters()
    coarse, fine = (100, 81), pendulum.NODES
    rng = np.random.default_rng(0)
    at = rng.uniform(-math.pi, math.pi, 5000), rng.uniform(-1, 1, 5000)
    a, b = (pendulum.value_grid(p, n).interpolate(pendulum.values(p, n), at) for n in (coarse, fine))
    assert abs((a - b).mean()) < 1.5 and np.sqrt(((a - b) ** 2).mean()) < 6


def test_no_policy_among_many_is_better() -> None:
    core = Pendulum()
    task, _ = core.initial(keys.mix(2, np.arange(50)))
    naive, best = core.references(task)
    assert (naive < best).all() and best.mean() > -160 and naive.mean() < -300
    rng = np.random.default_rng(0)
    for _ in range(10):  # energy shaping and a linear catch, with random gains
        k = rng.uniform([0.5, 4, 1], [4, 12, 4])

        def policy(s: State, t: int, k: np.ndarray = k) -> np.ndarray:
            missing = 7.5 * (1 - np.cos(s.angle)) - 0.5 * s.velocity**2
            swing, hold = k[0] * missing * np.sign(s.velocity), -k[1] * s.angle - k[2] * s.velocity
            torque = np.where(np.abs(s.angle) + 0.3 * np.abs(s.velocity) < 0.7, hold, swing)
            return np.clip(torque / 2, -1, 1).astype(np.float32)[:, None]

        assert rollouts.returns(core, task, policy).mean() < best.mean()


def test_grids_solve_what_is_known() -> None:
    # walk to the right at a cost of 1 a step, until x = 1: the value is minus the (discounted) number of steps
    line = grid.Grid((grid.Axis(0.0, 1.0, 11),))

    def step(points: grid.Points, action: float) -> grid.Step:
        x = points[0] + 0.1 * action
        return grid.Step((x,), np.full(len(x), -1.0), x >= 1 - 1e-9)

    values = grid.solve(line, step, np.array([-1.0, 0.0, 1.0]), 0.9, 1e-6)
    n = np.maximum(np.ceil(np.round(10 - np.arange(11), 6)), 1)
    np.testing.assert_allclose(values, -(1 - 0.9**n) / 0.1, atol=1e-5)
    ring = grid.Grid((grid.Axis(-math.pi, math.pi, 16, True), grid.Axis(0, 1, 5)))
    x = np.array([-math.pi, math.pi, 3.1, 9.0])
    wave = np.cos(ring.nodes()[0]) + ring.nodes()[1]
    got = ring.interpolate(wave, (x, np.full(4, 0.5)))
    assert got[0] == pytest.approx(got[1]) and got[0] == pytest.approx(-0.5)
    np.testing.assert_allclose(got, np.cos(x) + 0.5, atol=0.03)


def test_bad_parameters_name_themselves() -> None:
    with pytest.raises(ValueError, match=r"dt is 0;"):
        Pendulum(dt=0)
    with pytest.raises(ValueError, match="discount"):
        Pendulum(discount=1.0)
