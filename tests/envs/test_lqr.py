"""LQR: closed forms against rollouts, second derivations and scipy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys, rollouts
from valuegym.envs.control import lqr, riccati
from valuegym.envs.control.lqr import LQR, Parameters, Task


def random_systems(rng: np.random.Generator, B: int, n: int, m: int, radius: float = 1.1) -> riccati.LinearSystem:
    A = rng.normal(size=(B, n, n))
    A *= radius / np.abs(np.linalg.eigvals(A)).max(-1)[:, None, None]
    half, root, noise = rng.normal(size=(B, n, n)), rng.normal(size=(B, m, m)), 0.3 * rng.normal(size=(B, n, n))
    Q, R, W = (x @ x.swapaxes(-1, -2) for x in (half, root, noise))
    return riccati.LinearSystem(A, rng.normal(size=(B, n, m)), Q, R + 0.1 * np.eye(m), W, 0.97)


def one(system: riccati.LinearSystem, i: int) -> riccati.LinearSystem:
    return riccati.LinearSystem(*(part[i] for part in system[:5]), system.discount)


def test_riccati_equals_scipys() -> None:
    scipy_linalg = pytest.importorskip("scipy.linalg")
    many = random_systems(np.random.default_rng(0), 20, 6, 2)
    best = riccati.optimal(many)
    for i in range(20):
        s = one(many, i)
        root = np.sqrt(s.discount)
        P = scipy_linalg.solve_discrete_are(root * s.A, root * s.B, s.Q, s.R)
        np.testing.assert_allclose(best.P[i], P, rtol=1e-8, atol=1e-8 * np.abs(P).max())


def test_the_optimal_cost_is_a_fixed_point_and_no_gain_is_better() -> None:
    rng = np.random.default_rng(1)
    many = random_systems(rng, 30, 4, 2)
    best = riccati.optimal(many)
    K = riccati.gain(many, best.P)
    own = riccati.cost_of(many, K)
    np.testing.assert_allclose(own.P, best.P, rtol=1e-8, atol=1e-8 * np.abs(best.P).max())
    np.testing.assert_allclose(own.offset, best.offset, rtol=1e-8)
    covariance = np.eye(4)
    least = riccati.mean_cost(best, covariance)
    for _ in range(20):
        other = riccati.mean_cost(riccati.cost_of(many, K + 0.05 * rng.normal(size=K.shape)), covariance)
        assert (other >= least * (1 - 1e-12)).all()


def test_lyapunov_against_its_equation_and_scipy() -> None:
    scipy_linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(2)
    many = random_systems(rng, 10, 5, 1, radius=0.9)
    K = 0.02 * rng.normal(size=(10, 1, 5))
    cost = riccati.cost_of(many, K)
    for i in range(10):
        s = one(many, i)
        F = np.sqrt(s.discount) * (s.A - s.B @ K[i])
        P = scipy_linalg.solve_discrete_lyapunov(F.T, s.Q + K[i].T @ s.R @ K[i])
        np.testing.assert_allclose(cost.P[i], P, rtol=1e-8, atol=1e-8 * np.abs(P).max())


def test_unstable_controllers_cost_infinitely_much() -> None:
    system = lqr.system(Parameters(distractors=2))
    stable = riccati.gain(system, riccati.optimal(system).P)
    K = np.stack([stable, -stable, 100 * stable])
    cost = riccati.cost_of(system, K)
    means = riccati.mean_cost(cost, lqr.start_covariance(Parameters(distractors=2)))
    assert np.isfinite(means[0]) and np.isinf(means[1:]).all()
    assert (riccati.cost(cost, np.ones(4)) == np.inf).tolist() == [False, True, True]
    nothing = riccati.LinearSystem(1.2 * np.eye(2), np.zeros((2, 1)), np.eye(2), np.eye(1), np.zeros((2, 2)), 0.99)
    assert np.isinf(riccati.optimal(nothing).P).all()
    both = riccati.LinearSystem(np.stack([nothing.A, 0.5 * nothing.A]), *nothing[1:])
    assert np.isinf(riccati.optimal(both).offset).tolist() == [True, False]


def test_a_mode_that_grows_but_costs_nothing_does_not_count() -> None:
    system = lqr.system(Parameters(distractors=2))
    wild = np.stack([system.A, system.A])
    wild[0, 2:, 2:] *= 1.7
    system = system._replace(A=wild, W=np.zeros((4, 4)))
    best = riccati.optimal(system)
    np.testing.assert_allclose(best.P[0], best.P[1], atol=1e-9)
    K = riccati.gain(system, best.P)
    slow = np.stack([K[0], 0.01 * K[1]])  # the other one takes many more steps to settle
    cost = riccati.cost_of(system, slow)
    np.testing.assert_allclose(cost.P[0], best.P[0], atol=1e-9)
    assert np.isfinite(cost.P).all()


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("distractors", [0, 3, 8])
def test_rollouts_cost_what_the_quadratic_form_says(distractors: int, rotated: bool) -> None:
    core = LQR(distractors=distractors, rotated=rotated, distractor_scale=0.0)
    key = keys.mix(5, np.arange(6))
    task, state = core.initial(key)
    K = core.solve()[1]
    long = rollouts.returns(core, task, lambda s, t: core.oracle_action(task, s), 1500)
    np.testing.assert_allclose(long, core.oracle_value(task, state), rtol=1e-6)  # actions are float32
    np.testing.assert_allclose(core.value(core.observation(task, state)), core.oracle_value(task, state), rtol=1e-5)
    finite = riccati.cost_over(lqr.system(core.parameters), K, 200)
    s = core.observation(task, state).astype(np.float64)
    got = rollouts.returns(core, task, lambda s, t: core.oracle_action(task, s))
    np.testing.assert_allclose(got, -riccati.cost(finite, s), rtol=1e-6)
    step, base = 1e-5, core.oracle_value(task, state)
    for i in range(2 + distractors):
        nudge = step * core.rotation[:, i]  # one axis of the state, in the observation's coordinates
        moved = state.state.copy()
        moved[:, i] += step
        slope = (core.oracle_value(task, lqr.State(moved)) - base) / step
        np.testing.assert_allclose(core.oracle_gradient(task, state) @ nudge / step, slope, rtol=1e-3, atol=2e-3)


def test_the_gradient_is_the_riccati_one() -> None:
    torch = pytest.importorskip("torch")
    core = LQR(distractors=4, rotated=True)
    P, rng = core.solve()[0].P, np.random.default_rng(0)
    s = torch.tensor(rng.normal(size=(50, 6)), requires_grad=True)
    torch.einsum("bi,ij,bj->b", s, torch.tensor(P), s).sum().backward()
    np.testing.assert_allclose(riccati.gradient(core.solve()[0], s.detach().numpy()), s.grad.numpy(), atol=1e-6)


def test_cost_of_any_linear_controller_under_noise() -> None:
    core = LQR(distractors=2, noise=0.2, rotated=True, discount=0.9, max_force=60.0)
    system, p = lqr.system(core.parameters), core.parameters
    K = core.solve()[1] + np.array([[0.5, -0.3, 0.2, 0.1]])
    cost = riccati.cost_of(system, K)
    B = 3000
    task, _ = core.initial(keys.mix(9, np.arange(B)))

    def play(state: Any, t: int) -> np.ndarray:
        return (-(state.state @ core.rotation.T) @ K.T / p.max_force).astype(np.float32)

    got = -rollouts.returns(core, task, play, 100)
    expected = riccati.mean_cost(cost, lqr.start_covariance(p))
    assert abs(got.mean() - expected) < 4 * got.std() / np.sqrt(B)
    assert abs(got.mean() - expected) < 0.05 * expected
    start = np.broadcast_to(task.state[:1], task.state.shape)
    fixed = -rollouts.returns(core, Task(task.key, start), play, 100)
    one = riccati.cost(cost, start[0] @ core.rotation.T)
    assert abs(fixed.mean() - one) < 4 * fixed.std() / np.sqrt(B)


def test_the_best_force_never_meets_the_bound() -> None:
    core = LQR()
    corners = np.stack(np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21)), -1).reshape(-1, 2)
    F = core.solve()[1]
    A, B = lqr.system(core.parameters)[:2]
    s, worst = corners, 0.0
    for _ in range(200):
        worst = max(worst, float(np.abs(s @ F.T).max()))
        s = s @ (A - B @ F).T
    assert worst < 5.1 < core.parameters.max_force


def test_distractors_are_stationary_and_do_not_touch_the_mass() -> None:
    plain, noisy = LQR(), LQR(distractors=5, distractor_scale=3.0)
    key = keys.mix(1, np.arange(4000))
    a, b = plain.initial(key), noisy.initial(key)
    action = np.full((4000, 1), 0.3, np.float32)
    for t in range(30):
        a = a[0], plain.transition(*a, action, key, np.full(4000, t))
        b = b[0], noisy.transition(*b, action, key, np.full(4000, t))
    assert (a[1].state == b[1].state[:, :2]).all()
    np.testing.assert_allclose(np.cov(b[1].state[:, 2:].T), 9 * np.eye(5), atol=1.2)
    K = noisy.solve()[1]
    assert (np.abs(K[:, 2:]) < 1e-12).all()


def test_the_map_is_decided_by_its_own_seed() -> None:
    a, b, c = (LQR(distractors=4, rotated=True, map_seed=seed) for seed in (0, 0, 1))
    assert (a.rotation == b.rotation).all() and not (a.rotation == c.rotation).all()
    assert (lqr.distractor_matrix(a.parameters) != lqr.distractor_matrix(c.parameters)).any()
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(lqr.distractor_matrix(a.parameters))), 0.95)


def test_references() -> None:
    core = LQR(noise=0.05, distractors=2)
    task, _ = core.initial(keys.mix(3, np.arange(10)))
    naive, best = core.references(task)
    assert (best > naive).all()
    assert (best == rollouts.returns(core, task, lambda s, t: core.oracle_action(task, s))).all()
    # in expectation the cost of the gain 0
    over = riccati.cost_over(lqr.system(core.parameters), np.zeros((1, 4)), 200)
    expected = riccati.mean_cost(over, lqr.start_covariance(core.parameters))
    many, _ = core.initial(keys.mix(4, np.arange(1000)))
    still = core.references(many)[0]
    assert abs(-still.mean() - expected) < 4 * still.std() / np.sqrt(1000)


def test_the_naive_reference_of_random_actions() -> None:
    """Random forces of variance max_force^2 / 3 are noise, and cost force_cost times it."""
    core = LQR(distractors=2)
    p, s = core.parameters, lqr.system(core.parameters)
    variance = p.max_force**2 / 3
    noisy = s._replace(W=s.W + variance * s.B @ s.B.T)
    over = riccati.cost_over(noisy, np.zeros((1, 4)), 200)
    price = p.force_cost * variance * (1 - p.discount**200) / (1 - p.discount)
    expected = riccati.mean_cost(over, lqr.start_covariance(p)) + price
    many, _ = core.initial(keys.mix(4, np.arange(60)))
    assert abs(-rollouts.references(core, many)[0].mean() / expected - 1) < 0.1


def test_starts_can_be_chosen() -> None:
    env = gym.make("valuegym/LQR-v0")
    observation, _ = env.reset(seed=0, options={"position": 0.5, "velocity": -0.25})
    assert observation.tolist() == [0.5, -0.25]
    _, reward, *_ = env.step(np.array([0.5], np.float32))
    assert reward == pytest.approx(-(0.25 + 0.1 * 0.0625 + 0.1 * 9))


@pytest.mark.parametrize("kwargs", [{"mass": 0}, {"discount": 1.0}, {"distractors": -1}, {"distractor_memory": 1.5}])
def test_bad_parameters_name_themselves(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        LQR(**kwargs)


def test_one_singular_system_does_not_stop_the_others() -> None:
    stack = np.stack([2 * np.eye(2), np.ones((2, 2))])
    found = riccati._inverse(stack)
    np.testing.assert_array_equal(found[0], np.eye(2) / 2)
    assert np.isnan(found[1]).all()
