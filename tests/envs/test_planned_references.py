"""References from plans: derivatives, what a plan earns and that it is played, and how much further search finds."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys, rollouts
from valuegym.envs.control import acrobot, cartpole_swingup, planning
from valuegym.envs.control.acrobot import Acrobot
from valuegym.envs.control.cartpole_swingup import CartPoleSwingUp

KEY = keys.mix(0, np.arange(2))


def test_the_expansion_is_that_of_the_rewards_and_of_the_moves() -> None:
    """Against central differences of the reward, and a move from a neighbouring state."""
    p, draws, h = cartpole_swingup.Parameters(), np.random.default_rng(0), 1e-4
    x, u = draws.normal(0, 0.5, (3, 2, 4)), draws.uniform(-0.9, 0.9, (3, 2))
    found = cartpole_swingup.expansion(p, x, u)

    def reward(x: Any, u: Any) -> Any:
        flat = cartpole_swingup.State(*np.ascontiguousarray(x.reshape(-1, 4).T))
        return cartpole_swingup.pay(p, flat, u.ravel()).reshape(u.shape)

    def by(function: Any, i: int | None) -> Any:
        e = np.zeros(4) if i is None else np.eye(4)[i]
        push = h * (i is None)
        return lambda x, u: (function(x + h * e, u + push) - function(x - h * e, u - push)) / (2 * h)

    close = {"atol": 1e-5}
    np.testing.assert_allclose(by(reward, None)(x, u), found.r_u, **close)
    np.testing.assert_allclose(by(by(reward, None), None)(x, u), found.r_uu, **close)
    for i in range(4):
        np.testing.assert_allclose(by(reward, i)(x, u), found.r_x[..., i], **close)
        np.testing.assert_allclose(by(by(reward, i), None)(x, u), found.r_xu[..., i], **close)
        for j in range(4):
            np.testing.assert_allclose(by(by(reward, i), j)(x, u), found.r_xx[..., i, j], **close)
    off, push = 1e-5 * draws.normal(size=(3, 2, 4)), 1e-5
    moved, here = (
        np.stack(
            cartpole_swingup.move(p, cartpole_swingup.State(*np.ascontiguousarray(s.reshape(-1, 4).T)), 10 * a.ravel()),
            1,
        ).reshape(x.shape)
        for s, a in ((x + off, u + push), (x, u))
    )
    linear = (found.f_x * off[:, :, None]).sum(-1) + push * found.f_u
    np.testing.assert_allclose(moved - here, linear, atol=1e-8)


def test_improvement_solves_a_linear_quadratic_task_in_one_pass() -> None:
    """A scalar regulator without bounds in reach: the Riccati recursion gives the same return."""
    a, b, q, r, g, T = 0.9, 0.5, 1.0, 2.0, 0.95, 30

    def step(x: Any, u: Any) -> Any:
        return a * x + b * u[:, None], -(q * x[:, 0] ** 2 + r * u**2)

    def expand(x: Any, u: Any) -> planning.Expansion:
        one = np.ones((*u.shape, 1, 1))
        return planning.Expansion(
            a * one, b * one[..., 0], -2 * q * x, -2 * r * u, -2 * q * one, 0 * one[..., 0], -2 * r * np.ones(u.shape)
        )

    start = np.array([[0.4], [-0.7]])
    states = np.zeros((2, T + 1, 1))
    states[:, 0] = start
    for t in range(T):
        states[:, t + 1] = a * states[:, t]
    _, _, value, _ = planning.improve(states, np.zeros((2, T)), step, expand, g, 8)
    P = 0.0
    for _ in range(T):
        P = q + g * a * a * P - (g * a * b * P) ** 2 / (r + g * b * b * P)
    np.testing.assert_allclose(value, -P * start[:, 0] ** 2, rtol=1e-6)


def test_energy_is_kept_without_a_motor_and_is_that_of_a_point_at_rest() -> None:
    p = acrobot.Parameters(dt=0.01)
    states = np.random.default_rng(1).normal(0, 0.7, (5, 4))
    before, after = acrobot.energy(p, states), acrobot.State(*np.ascontiguousarray(states.T))
    for _ in range(100):
        after = acrobot.move(p, after, np.zeros(5))
    np.testing.assert_allclose(acrobot.energy(p, np.stack(after, 1)), before, rtol=1e-6)
    upright = acrobot.energy(p, np.array([[np.pi, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(upright, 9.8 * (0.5 + 1.5))


def test_beam_search_finds_the_shortest_way_in_a_row_of_cells() -> None:
    def step(x: Any, u: Any) -> Any:
        return x + u[:, None]

    found = planning.beam_search(
        np.zeros(1), step, lambda x: x[:, 0] >= 6, lambda x: x[:, 0], np.array([0.5]), (-1.0, 1.0, 2.0), 5, 10
    )
    assert found is not None and found.tolist() == [2, 2, 2]
    assert (
        planning.beam_search(np.zeros(1), step, lambda x: x[:, 0] > 99, lambda x: x[:, 0], np.ones(1), (1.0,), 5, 10)
        is None
    )


@pytest.mark.parametrize("core", [CartPoleSwingUp, Acrobot])
def test_plans_earn_more_than_controllers_and_are_what_the_oracle_plays(
    core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "horizon", 120)
    monkeypatch.setattr(cartpole_swingup, "PASSES", 12)
    plain, planned = core(), core(reference="plan")
    task, _ = plain.initial(KEY[:1])
    before, after = (
        rollouts.returns(one, task, lambda state, t, one=one: one.oracle_action(task, state))
        for one in (plain, planned)
    )
    [plan] = planned._plans.of(np.stack(task[1:], 1))
    played = rollouts.returns(plain, task, lambda state, t: plan.actions[None, t, None])
    np.testing.assert_array_equal(after, played)
    assert after > before + 0.005 * abs(before)
    elsewhere = type(planned.start(task))(*(part + 1e-3 for part in planned.start(task)))
    np.testing.assert_array_equal(planned.oracle_action(task, elsewhere), plain.oracle_action(task, elsewhere))


def test_the_reference_is_an_argument_of_the_environment() -> None:
    for id in ("CartPoleSwingUp", "Acrobot", "CartPoleSwingUp-D8"):
        env: Any = gym.make(f"valuegym/{id}-v0", reference="plan")
        assert getattr(env.unwrapped.core, "base", env.unwrapped.core).reference == "plan"
    with pytest.raises(ValueError, match="reference is 'best'"):
        CartPoleSwingUp(reference="best")


@pytest.mark.slow
def test_five_minutes_of_search_gain_less_than_half_a_percent() -> None:
    """Cart and pole: other first plans, from other controllers. Acrobot: 13 times as wide a beam in finer cells."""
    core = CartPoleSwingUp(reference="plan")
    task, _ = core.initial(KEY)
    naive, known = core.references(task)
    best, draws = known.copy(), np.random.default_rng(0)
    names = ("SWING", "BACK", "BRAKE", "BEYOND", "CATCH", "LEAD", "SLACK")
    numbers = [getattr(cartpole_swingup, name) for name in names]
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(40):
            other = numbers * draws.uniform(0.4, 2.2, 7) * np.where(np.arange(7) == 0, draws.choice([-1, 1]), 1)
            for name, number in zip(names, other, strict=True):
                patch.setattr(cartpole_swingup, name, float(number))
            best = np.maximum(best, CartPoleSwingUp(reference="plan").references(task)[1])
    assert ((best - known) / (known - naive)).mean() < 0.005
    swing = Acrobot(reference="plan")
    hanging, _ = swing.initial(KEY)
    lengths = [len(plan.actions) for plan in swing._plans.of(np.stack(hanging[1:], 1))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acrobot, "BEAM", 20_000)
        patch.setattr(acrobot, "CELL", (0.1, 0.1, 0.2, 0.3))
        wide = [len(plan.actions) for plan in Acrobot(reference="plan")._plans.of(np.stack(hanging[1:], 1))]
    assert wide == lengths
