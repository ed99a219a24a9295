"""A regulator known from preferences: exact answers, exact scores, the same bits for any number of rows."""

from __future__ import annotations

from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.control import lqr, riccati
from valuegym.envs.control.lqr_from_preferences import MAX_GAIN, LQRFromPreferences, Query, State, Task, read
from valuegym.envs.preference import annotators
from valuegym.envs.preference.random_delivery import SPLITS

close = np.testing.assert_allclose
ID = "valuegym/LQRFromPreferences-v0"
QUICK: dict[str, Any] = {"transitions": 30}


def begin(core: LQRFromPreferences, n: int, seed: int = 0) -> tuple[Task, State]:
    return core.initial(keys.mix(seed, np.arange(n)))


def at(state: State, number: int) -> State:
    return state._replace(num_queries=np.full_like(state.num_queries, number))


def seen(core: LQRFromPreferences, task: Task, state: State, row: int = 0) -> Query:
    return read({name: value[row] for name, value in core.observation(task, state).items()})


def observed(core: LQRFromPreferences, task: Task) -> riccati.LinearSystem:
    """The true systems in the coordinates of the observation."""
    return riccati.rotated(riccati.LinearSystem(*task[6:11], core.discount), task.rotation)


# --- scores ---


@pytest.mark.parametrize("rotated", [False, True])
def test_no_force_scores_zero_the_oracle_one_and_an_unstable_controller_minus_one(rotated: bool) -> None:
    core = LQRFromPreferences(rotated=rotated, **QUICK)
    task, state = begin(core, 40)
    oracle = core.oracle_action(task, state)
    assert oracle in gym.vector.utils.batch_space(core.action_space, 40)
    close(core.score(task, oracle), 1, atol=1e-12)
    assert (core.score(task, 0 * oracle) == 0).all()
    assert (core.source.cost(task, -oracle) == np.inf).all() and (core.score(task, -oracle) == -1).all()
    assert (core.score(task, 0.8 * oracle) < 1).all() and (core.score(task, 0.8 * oracle) > 0.9).all()


def test_scores_are_costs_in_observed_coordinates_on_a_scale_of_logarithms() -> None:
    core = LQRFromPreferences(rotated=True, **QUICK)
    task, state = begin(core, 30)
    system = observed(core, task)
    start = task.rotation @ task.start @ task.rotation.swapaxes(-1, -2)
    action = (core.oracle_action(task, state) + np.random.default_rng(0).uniform(-0.02, 0.02, (30, 6))).astype(
        np.float32
    )
    J = riccati.mean_cost(riccati.cost_of(system, MAX_GAIN * action[:, None].astype(np.float64)), start)
    J_0 = riccati.mean_cost(riccati.cost_of(system, np.zeros((30, 1, 6))), start)
    best = riccati.mean_cost(riccati.optimal(system), start)
    assert np.isfinite(J).all() and np.isfinite(J_0).all()
    close(core.score(task, action), np.maximum(np.log(J_0 / J) / np.log(J_0 / best), -1), atol=1e-9)


def test_a_cost_is_that_of_many_episodes() -> None:
    """The Lyapunov equation against steps that are taken one by one."""
    core = LQRFromPreferences(rotated=True, **QUICK)
    task, state = begin(core, 1)
    system, rng = observed(core, task), np.random.default_rng(0)
    action = 0.7 * core.oracle_action(task, state)
    A, B, Q, R, W = (field[0] for field in system[:5])
    K = MAX_GAIN * action.astype(np.float64)

    def draw(covariance: Any) -> Any:
        length, axes = np.linalg.eigh(covariance)
        return rng.standard_normal((4000, 6)) * np.sqrt(np.maximum(length, 0)) @ axes.T

    s, total = draw(task.rotation[0] @ task.start[0] @ task.rotation[0].T), np.zeros(4000)
    for t in range(700):
        u = -s @ K.T
        total += core.discount**t * (((s @ Q) * s).sum(-1) + ((u @ R) * u).sum(-1))
        s = s @ A.T + u @ B.T + draw(W)
    close(core.source.cost(task, action)[0], total.mean(), rtol=4 * total.std() / total.mean() / 4000**0.5)


def test_a_constant_controller_does_not_do() -> None:
    """The optimal controllers of some tasks, each in all others, and a little of everything."""
    core = LQRFromPreferences(**QUICK)
    task, state = begin(core, 40)
    every = np.array([core.score(task, np.tile(a, (40, 1))).mean() for a in core.oracle_action(task, state)])
    assert every.max() < 0.1
    even = [core.score(task, np.full((40, 6), share, np.float32)).mean() for share in (0.003, 0.01, 0.03, 0.1)]
    assert max(even) < 0.05


def test_the_bound_on_gains_does_not_bind() -> None:
    corners = product((0.5, 2.0), repeat=4)
    for mass, position, velocity, force in corners:
        system = lqr.system(
            lqr.Parameters(
                mass=mass, position_cost=position**2, velocity_cost=0.1 * velocity**2, force_cost=0.1 * force**2
            )
        )
        K = riccati.gain(system, riccati.optimal(system).P)
        assert np.linalg.norm(K) < MAX_GAIN  # no rotation makes an entry larger than this


def test_splits_are_apart() -> None:
    masses = [begin(LQRFromPreferences(split=split, **QUICK), 20)[0].B[:, 1, 0] for split in SPLITS]
    assert len(np.unique(masses)) == 60


# --- what is shown ---


@pytest.mark.parametrize("rotated", [False, True])
def test_transitions_are_those_of_the_regulator(rotated: bool) -> None:
    core = LQRFromPreferences(rotated=rotated)
    task, state = begin(core, 2)
    system = observed(core, task)
    for row in range(2):
        query = seen(core, task, state, row)
        off = query.next_states - query.states @ system.A[row].T - query.actions @ system.B[row].T
        close(off @ task.rotation[row][:, : lqr.PHYSICAL], 0, atol=1e-6)  # nothing shakes the mass
        close(off.T @ off / len(off), system.W[row], atol=0.02)
        start = task.rotation[row] @ task.start[row] @ task.rotation[row].T
        close(query.states.T @ query.states / len(off), start, atol=0.15)
        close(query.actions.std(), 2.0, rtol=0.1)


@pytest.mark.parametrize("rotated", [False, True])
def test_the_cost_is_a_sum_of_the_features(rotated: bool) -> None:
    core = LQRFromPreferences(rotated=rotated, **QUICK)
    task, state = begin(core, 5)
    system = observed(core, task)
    for row in range(5):
        query = seen(core, task, state, row)
        forms = query.features.reshape(6, -1)
        weights, *_ = np.linalg.lstsq(forms.T, system.Q[row].reshape(-1), rcond=None)
        close(weights @ forms, system.Q[row].reshape(-1), atol=1e-6)
        close(np.sort(weights), np.sort(np.diag(task.Q[row])), atol=1e-6)
    position = [np.argmax(np.abs(seen(core, task, state, row).features[0].sum(0))) for row in range(5)]
    assert rotated or len(set(position)) > 1  # neither order is given away


@pytest.mark.parametrize("rotated", [False, True])
def test_regret_is_the_sum_of_optimal_advantages(rotated: bool) -> None:
    """From the optimal values before and after each step, in observed coordinates, instead of the square completed."""
    core = LQRFromPreferences(rotated=rotated, **QUICK)
    task, state = begin(core, 20)
    (states, forces), _ = core.query(task, at(state, 1).num_queries)
    system = observed(core, task)
    P = riccati.optimal(system).P[:, None, None]
    s = np.einsum("bij,bklj->bkli", task.rotation, states)[:, :, :-1]
    x = np.einsum("bij,bklj->bkli", system.A, s) + np.einsum("bij,bklj->bkli", system.B, forces)

    def form(matrix: Any, v: Any) -> Any:
        return np.einsum("...i,...ij,...j->...", v, matrix, v)

    paid = form(system.Q[:, None, None], s) + form(system.R[:, None, None], forces)
    each = paid + core.discount * form(P, x) - form(P, s)
    close(core.source.costs(task, states, forces), (core.discount ** np.arange(5) * each).sum(-1), rtol=1e-9, atol=1e-9)


def test_partial_return_is_what_the_segment_costs() -> None:
    core = LQRFromPreferences("partial-return", **QUICK)
    task, state = begin(core, 20)
    (states, forces), _ = core.query(task, at(state, 1).num_queries)
    s = states[:, :, :-1]
    each = np.einsum("bklj,bji,bkli->bkl", s, task.Q, s) + task.R[:, :, 0][:, :, None] * forces[..., 0] ** 2
    close(core.source.costs(task, states, forces), (core.discount ** np.arange(5) * each).sum(-1), rtol=1e-12)


@pytest.mark.parametrize("statistic", ["regret", "partial-return"])
def test_answers(statistic: str) -> None:
    """Noiseless ones take the smaller cost, noisy ones a logistic chance of it."""
    sure, noisy = (LQRFromPreferences(f"{statistic}{end}", **QUICK) for end in ("-noiseless", ""))
    task, state = begin(sure, 60)
    expected, share, sizes = [], [], []
    for number in range(1, 41):
        (states, forces), answer = sure.query(task, at(state, number).num_queries)
        costs = sure.source.costs(task, states, forces)
        assert (answer == np.where(costs[:, 1] < costs[:, 0], annotators.SECOND, annotators.FIRST)).all()
        difference = (costs[:, 0] - costs[:, 1]) / task.temperature
        expected.append(1 / (1 + np.exp(-difference)))
        share.append(noisy.query(task, at(state, number).num_queries)[1] == annotators.SECOND)
        sizes.append(np.abs(difference))
    chance, chosen = np.array(expected), np.array(share)
    spread = (chance * (1 - chance)).sum() ** 0.5
    assert abs(chosen.sum() - chance.sum()) < 4 * spread
    assert abs((chosen * (chance - 0.5)).sum() - (chance * (chance - 0.5)).sum()) < 2 * spread
    close(np.median(sizes), 2.0, rtol=0.15)


def test_nothing_is_shown_before_the_first_and_after_the_last_pair() -> None:
    core = LQRFromPreferences(evaluation_points=(0, 2), **QUICK)
    task, state = begin(core, 3)
    for number in (0, 3):
        query = seen(core, task, at(state, number))
        assert query.answer == annotators.CANNOT_TELL and not query.pair_states.any() and not query.pair_actions.any()
    query = seen(core, task, at(state, 2))
    assert query.pair_states.shape == (2, 6, 6) and query.pair_actions.shape == (2, 5, 1) and query.is_evaluation_point


def test_the_reward_is_the_mean_score_at_the_end_and_only_reports_count() -> None:
    envs = gym.make_vec(ID, num_envs=3, evaluation_points=(0, 2), **QUICK)
    core: LQRFromPreferences = envs.unwrapped.core  # type: ignore[attr-defined]
    envs.reset(seed=3)
    rng = np.random.default_rng(0)
    for number, is_point in enumerate((True, False, True)):
        oracle = core.oracle_action(envs.unwrapped.task, envs.unwrapped.state)  # type: ignore[attr-defined]
        action = oracle if is_point else rng.uniform(-1, 1, (3, 6)).astype(np.float32)
        _, reward, terminated, truncated, info = envs.step(0.0 * action if number == 0 else action)
        assert (terminated == (number == 2)).all() and not truncated.any() and info == {}
        assert number == 2 or (reward == 0).all()
    close(reward, 0.5, atol=1e-12)


# --- the same bits ---


@pytest.mark.parametrize("rotated", [False, True])
def test_rows_do_not_depend_on_how_many_there_are(rotated: bool) -> None:
    core = LQRFromPreferences(rotated=rotated, transitions=8)
    many, many_state = begin(core, 250)
    action = np.random.default_rng(0).uniform(-0.1, 0.1, (250, 6)).astype(np.float32)
    scores = core.score(many, action)
    assert ((scores > -1) & (scores < 1)).sum() > 10
    observation = core.observation(many, at(many_state, 7))
    for n in (1, 3, 8):
        few, state = begin(core, n)
        for field, other in zip(few, many, strict=True):
            assert field.tobytes() == other[:n].copy().tobytes()
        assert core.score(few, action[:n]).tobytes() == scores[:n].tobytes()
        for name, value in core.observation(few, at(state, 7)).items():
            assert value.tobytes() == observation[name][:n].copy().tobytes()


# --- errors ---


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"annotator": "end-state"}, "annotator is 'end-state'; expected one of"),
        ({"split": "all"}, "split is 'all'; expected one of"),
        ({"length": 0}, "length is 0; expected an integer from 1 to 1000"),
        ({"transitions": 1.5}, "transitions is 1.5; expected an integer"),
        ({"evaluation_points": (3, 2)}, "evaluation_points"),
        ({"distractors": -1}, "distractors is -1"),
    ],
)
def test_errors_name_the_value(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LQRFromPreferences(**kwargs)
