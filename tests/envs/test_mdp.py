"""Exact solutions of tabular processes, against brute force, plain iteration and the identities they must obey."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.delivery import board_mdp

Floats = np.ndarray
KINDS = ("deterministic", "dense")


def process(kind: str, seed: int, B: int = 4, S: int = 6, A: int = 3, d: int = 4, discount: float = 0.9) -> TabularMDP:
    """Random processes, with loops of positive reward, terminal states and an uneven start."""
    rng = np.random.default_rng([seed, kind == "dense"])
    laws: dict[str, Any] = {"next_state": rng.integers(S, size=(B, S, A))}
    if kind == "dense":
        laws = {"probability": rng.dirichlet(np.full(S, 0.3), size=(B, S, A))}
    terminal = rng.random((B, S)) < 0.25
    terminal[:, 0] = False
    return TabularMDP(rng.normal(size=(B, S, A, d)), terminal, rng.dirichlet(np.ones(S), size=B), discount, **laws)


def as_dense(mdp: TabularMDP) -> TabularMDP:
    assert mdp.next_state is not None
    probability = np.eye(mdp.next_state.shape[1])[mdp.next_state]
    return TabularMDP(mdp.features, mdp.terminal, mdp.start, mdp.discount, probability=probability)


def one(mdp: TabularMDP, b: int) -> TabularMDP:
    """Process b alone."""
    fields = {f.name: getattr(mdp, f.name) for f in dataclasses.fields(mdp)}
    return TabularMDP(**{k: v[b : b + 1] if isinstance(v, np.ndarray) else v for k, v in fields.items()})


def random_weights(mdp: TabularMDP, *lead: int, seed: int = 0) -> Floats:
    B, _, _, d = mdp.features.shape
    return np.random.default_rng(seed).normal(size=(*lead, B, d))


def random_policy(mdp: TabularMDP, *lead: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).dirichlet(np.ones(mdp.features.shape[2]), size=(*lead, *mdp.terminal.shape))


def dense_law(mdp: TabularMDP) -> Floats:
    law = as_dense(mdp).probability if mdp.probability is None else mdp.probability
    assert law is not None
    return law


def brute_force(mdp: TabularMDP, reward: Floats) -> Floats:
    """V* (B, S): the best of all A**S deterministic policies, each solved as a linear system."""
    B, S, A = reward.shape
    law, state, best = dense_law(mdp), np.arange(S), np.full((B, S), -np.inf)
    for choice in itertools.product(range(A), repeat=S):
        for b in range(B):
            system = np.eye(S) - mdp.discount * law[b, state, list(choice)]
            best[b] = np.maximum(best[b], np.linalg.solve(system, reward[b, state, list(choice)]))
    return best


def value_iteration(mdp: TabularMDP, reward: Floats, sweeps: int) -> Floats:
    law, values = dense_law(mdp), np.zeros(reward.shape[:2])
    for _ in range(sweeps):
        values = (reward + mdp.discount * np.einsum("bsat,bt->bsa", law, values)).max(-1)
    return values


close = np.testing.assert_allclose


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discount", [0.1, 0.9, 0.999])
def test_optimal_values_equal_brute_force(kind: str, discount: float) -> None:
    mdp = process(kind, seed=1, B=3, S=5, A=3, discount=discount)
    reward = tabular.reward(mdp, random_weights(mdp))
    close(tabular.optimal_values(mdp, reward)[0], brute_force(mdp, reward), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_optimal_values_equal_value_iteration(kind: str, seed: int) -> None:
    mdp = process(kind, seed, B=5, S=12, A=4)
    reward = tabular.reward(mdp, random_weights(mdp, seed=seed))
    values, action_values = tabular.optimal_values(mdp, reward)
    expected = value_iteration(mdp, reward, 400)
    close(values, expected, atol=1e-10)
    close(action_values, reward + 0.9 * np.einsum("bsat,bt->bsa", dense_law(mdp), expected), atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discount", [0.5, 0.999])
def test_optimality(kind: str, discount: float) -> None:
    mdp = process(kind, seed=2, S=20, A=4, discount=discount)
    reward = tabular.reward(mdp, random_weights(mdp, 3))
    values, action_values = tabular.optimal_values(mdp, reward)
    advantage = tabular.advantages(values, action_values)
    close(advantage.max(-1), 0, atol=1e-9)
    assert (advantage <= 1e-9).all() and (advantage.min(-1)[:, ~mdp.terminal] < -1e-3).all()
    greedy = tabular.greedy_policy(action_values, tabular.reward_scale(reward))
    close(greedy.sum(-1), 1, rtol=1e-15)
    close(tabular.evaluate(mdp, greedy, reward), values, rtol=1e-9, atol=1e-9)
    close(tabular.evaluate(mdp, action_values.argmax(-1), reward), values, rtol=1e-9, atol=1e-9)
    assert (tabular.optimal_policy(mdp, reward) == greedy).all()
    others = tabular.evaluate(mdp, random_policy(mdp, 3), reward)
    assert (others <= values + 1e-9).all() and (others < values - 1e-3).any()


@pytest.mark.parametrize("kind", KINDS)
def test_values_obey_the_bellman_equation(kind: str) -> None:
    mdp = process(kind, seed=3)
    reward, policy = tabular.reward(mdp, random_weights(mdp, 2)), random_policy(mdp, 2)
    values = tabular.evaluate(mdp, policy, reward)
    assert values.shape == (2, *mdp.terminal.shape)
    close((policy * tabular.q_values(mdp, reward, values)).sum(-1), values, atol=1e-12)
    close(tabular.expected_next(mdp, values), np.einsum("bsat,lbt->lbsa", dense_law(mdp), values), atol=1e-14)


def test_reward_is_linear_in_the_features() -> None:
    mdp = process("deterministic", seed=4)
    weights = random_weights(mdp, 5, 2)
    close(tabular.reward(mdp, weights), np.einsum("lkbd,bsad->lkbsa", weights, mdp.features), atol=1e-14)
    assert (tabular.reward(mdp, weights[0, 0, 0]) == tabular.reward(mdp, np.tile(weights[0, 0, 0], (4, 1)))).all()
    scale = tabular.reward_scale(tabular.reward(mdp, weights))
    assert scale.shape == (5, 2, 4) and scale[1, 1, 2] == abs(tabular.reward(mdp, weights)[1, 1, 2]).max()


@pytest.mark.parametrize("discount", [1e-20, 0.3, 0.9, 0.99, 0.999, 0.9999])
def test_path_doubling_equals_the_linear_solve(discount: float) -> None:
    mdp = process("deterministic", seed=5, B=3, S=30, A=4, discount=discount)
    actions = np.random.default_rng(0).integers(4, size=(2, 3, 30))
    reward = tabular.reward(mdp, random_weights(mdp, 2))
    paths = tabular.evaluate(mdp, actions, reward)
    chances = tabular.probabilities(actions, 4)
    assert (chances.argmax(-1) == actions).all() and (chances.sum(-1) == 1).all()
    close(paths, tabular.evaluate(mdp, chances, reward), rtol=1e-10, atol=1e-10)
    close(paths, tabular.evaluate(as_dense(mdp), actions, reward), rtol=1e-10, atol=1e-10)
    close(tabular.successor_features(mdp, actions), tabular.successor_features(mdp, chances), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("discount", [0.6, 0.999])
def test_deterministic_written_as_dense_is_the_same_process(discount: float) -> None:
    mdp = process("deterministic", seed=6, S=15, discount=discount)
    dense = as_dense(mdp)
    weights, policy = random_weights(mdp, 2), random_policy(mdp, 2)
    reward = tabular.reward(mdp, weights)
    assert (reward == tabular.reward(dense, weights)).all()
    for a, b in zip(tabular.optimal_values(mdp, reward), tabular.optimal_values(dense, reward), strict=True):
        close(a, b, rtol=1e-9, atol=1e-9)
    assert (tabular.optimal_policy(mdp, reward) == tabular.optimal_policy(dense, reward)).all()
    close(tabular.successor_features(mdp, policy), tabular.successor_features(dense, policy), rtol=1e-9, atol=1e-9)
    close(tabular.occupancy(mdp, policy), tabular.occupancy(dense, policy), rtol=1e-9, atol=1e-9)
    close(tabular.normalised_return(mdp, reward, policy), tabular.normalised_return(dense, reward, policy), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_successor_features_give_values_for_every_weight(kind: str) -> None:
    mdp = process(kind, seed=7)
    for policy in (random_policy(mdp), np.random.default_rng(1).integers(3, size=mdp.terminal.shape)):
        psi = tabular.successor_features(mdp, policy)
        assert psi.shape == (*mdp.terminal.shape, 4)
        for seed in range(3):
            weights = random_weights(mdp, seed=seed)
            values = tabular.evaluate(mdp, policy, tabular.reward(mdp, weights))
            close((psi * weights[:, None]).sum(-1), values, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discount", [0.8, 0.99])
def test_gradient_of_optimal_values_is_the_optimal_successor_features(kind: str, discount: float) -> None:
    """The envelope theorem: the policy's own change does not matter at the optimum."""
    mdp, step = process(kind, seed=8, S=10, discount=discount), 1e-6
    weights = random_weights(mdp)

    def optimal(w: Floats) -> Floats:
        return tabular.optimal_values(mdp, tabular.reward(mdp, w))[0]

    psi = tabular.successor_features(mdp, tabular.optimal_actions(mdp, tabular.reward(mdp, weights))[0])
    for i in range(4):
        change = step * np.eye(4)[i]
        close((optimal(weights + change) - optimal(weights - change)) / (2 * step), psi[..., i], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_occupancy(kind: str) -> None:
    mdp = process(kind, seed=9, discount=0.95)
    policy, reward = random_policy(mdp, 3), tabular.reward(mdp, random_weights(mdp, 3))
    visits = tabular.occupancy(mdp, policy)
    assert visits.shape == (3, *mdp.terminal.shape) and (visits >= -1e-12).all()
    close(visits.sum(-1), 1 / (1 - 0.95), rtol=1e-12)
    returns = tabular.mean_return(mdp, tabular.evaluate(mdp, policy, reward))
    close((visits * (policy * reward).sum(-1)).sum(-1), returns, atol=1e-11)
    actions = np.random.default_rng(1).integers(3, size=mdp.terminal.shape)
    close(tabular.occupancy(mdp, actions), tabular.occupancy(mdp, tabular.probabilities(actions, 3)), atol=0)
    flow, distribution = np.zeros(mdp.terminal.shape), mdp.start  # the definition, summed step by step
    step = np.einsum("bsa,bsat->bst", policy[0], dense_law(mdp))
    for t in range(800):
        flow += 0.95**t * distribution
        distribution = np.einsum("bs,bst->bt", distribution, step)
    close(visits[0], flow, atol=1e-10)


@pytest.mark.parametrize("discount", [0.9, 0.999])
def test_batches_equal_single_processes_to_the_bit(discount: float) -> None:
    mdp = process("deterministic", seed=10, B=7, S=25, A=4, discount=discount)
    weights, policy = random_weights(mdp, 3), random_policy(mdp, 3)
    reward = tabular.reward(mdp, weights)
    actions, values = tabular.optimal_actions(mdp, reward)
    together = (reward, actions, values, tabular.optimal_policy(mdp, reward), tabular.successor_features(mdp, actions))
    scores = tabular.normalised_return(mdp, reward, policy)
    for i, b in itertools.product(range(3), range(7)):
        single, r = one(mdp, b), tabular.reward(one(mdp, b), weights[i, b : b + 1])
        a, v = tabular.optimal_actions(single, r)
        alone = (r, a, v, tabular.optimal_policy(single, r), tabular.successor_features(single, a))
        for x, y in zip(together, alone, strict=True):
            assert x[i, b].tobytes() == y[0].tobytes()
        close(scores[i, b], tabular.normalised_return(single, r, policy[i, b : b + 1])[0], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_policy_iteration_may_start_anywhere(kind: str) -> None:
    mdp = process(kind, seed=11, S=15)
    reward = tabular.reward(mdp, random_weights(mdp, 2))
    actions, values = tabular.optimal_actions(mdp, reward)
    first = np.random.default_rng(0).integers(3, size=mdp.terminal.shape)
    kept = first.copy()
    close(tabular.optimal_actions(mdp, reward, first)[1], values, rtol=1e-10, atol=1e-10)
    assert (first == kept).all()
    again, _ = tabular.optimal_actions(mdp, reward, actions, max_iterations=1)  # an optimal one is a fixed point
    assert (again == actions).all()
    with pytest.raises(ArithmeticError, match="1 iterations"):
        tabular.optimal_actions(mdp, -reward, actions, max_iterations=1)


def test_endless_positive_loops_are_worth_their_discounted_sum() -> None:
    """Two states; staying in the second pays 1 at every step, the way there costs 5."""
    features = np.array([[[[0.0], [-5.0]], [[1.0], [0.0]]]])
    mdp = TabularMDP(
        features, np.zeros((1, 2), bool), np.array([[1.0, 0.0]]), 0.999, next_state=np.array([[[0, 1], [1, 0]]])
    )
    values, action_values = tabular.optimal_values(mdp, tabular.reward(mdp, np.ones((1, 1))))
    close(values, [[-5 + 999.0, 1000.0]], rtol=1e-12)
    close(action_values, [[[0.999 * 994, 994], [1000, 0.999 * 994]]], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_terminal_states_absorb(kind: str) -> None:
    mdp = process(kind, seed=12)
    b, s = np.nonzero(mdp.terminal)
    assert len(b) and (mdp.features[b, s] == 0).all()
    assert (dense_law(mdp)[b, s] == np.eye(6)[s][:, None]).all()
    assert (mdp.features[~mdp.terminal] != 0).all()
    values, action_values = tabular.optimal_values(mdp, tabular.reward(mdp, random_weights(mdp)))
    close(values[b, s], 0, atol=1e-13)
    close(action_values[b, s], 0, atol=1e-13)
    close(tabular.evaluate(mdp, random_policy(mdp), tabular.reward(mdp, random_weights(mdp)))[b, s], 0, atol=1e-13)


def test_without_discount_episodic_values_are_plain_sums() -> None:
    """A corridor of ten cells that ends on the right; every step costs 1, the end pays 20."""
    S = 10
    next_state = np.stack([np.maximum(np.arange(S) - 1, 0), np.minimum(np.arange(S) + 1, S - 1)], -1)[None]
    features = np.full((1, S, 2, 1), -1.0)
    features[0, S - 2, 1] = 20.0
    mdp = TabularMDP(features, np.arange(S)[None] == S - 1, np.full((1, S), 0.1), 1.0, next_state=next_state)
    reward = tabular.reward(mdp, np.ones((1, 1)))
    values, _ = tabular.optimal_values(mdp, reward)
    close(values[0], [*(20 - np.arange(S - 2, -1, -1.0)), 0.0], atol=0)
    assert (tabular.optimal_policy(mdp, reward)[0, :-1] == (0, 1)).all()
    for solve in (tabular.evaluate, lambda m, p, _: tabular.occupancy(m, p)):
        with pytest.raises(ValueError, match="discount = 1"):
            solve(mdp, tabular.uniform_policy(mdp), reward)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_near_ties_share_equally(scale: float) -> None:
    best = np.array([0.0, 1.0, 1.0, 1.0])
    for gap, expected in ((0.0, [0, 1 / 3, 1 / 3, 1 / 3]), (1e-8, [0, 1 / 3, 1 / 3, 1 / 3]), (1e-3, [0, 0.5, 0, 0.5])):
        q = (scale * (best - gap * np.array([0, 0, 1, 0])))[None, None]
        close(tabular.greedy_policy(q, scale), [[expected]], rtol=1e-15)
        close(tabular.greedy_policy(q[None], np.full((1, 1), scale)), [[[expected]]], rtol=1e-15)


def test_no_reward_makes_all_policies_equal() -> None:
    mdp = process("deterministic", seed=13)
    nothing = tabular.reward(mdp, np.zeros((4, 4)))
    assert (tabular.optimal_policy(mdp, nothing) == tabular.uniform_policy(mdp)).all()
    assert np.isnan(tabular.normalised_return(mdp, nothing, random_policy(mdp))).all()  # which is no score


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discount", [0.5, 0.999])
def test_normalised_return(kind: str, discount: float) -> None:
    mdp = process(kind, seed=14, S=12, discount=discount)
    weights = random_weights(mdp, 2)
    reward = tabular.reward(mdp, weights)
    uniform = np.broadcast_to(tabular.uniform_policy(mdp), reward.shape)
    assert (tabular.normalised_return(mdp, reward, uniform) == 0).all()
    close(tabular.normalised_return(mdp, reward, tabular.optimal_actions(mdp, reward)[0]), 1, rtol=1e-9)
    close(tabular.normalised_return(mdp, reward, tabular.optimal_policy(mdp, reward)), 1, rtol=1e-9)
    scores = tabular.normalised_return(mdp, reward, random_policy(mdp, 2))
    assert scores.shape == (2, 4) and (scores < 1).all()
    close(tabular.normalised_return(mdp, 1e5 * reward, random_policy(mdp, 2)), scores, rtol=1e-9, atol=1e-9)
    worst = tabular.optimal_policy(mdp, tabular.reward(mdp, -weights))
    assert (tabular.normalised_return(mdp, reward, worst) < 0).all()


def test_between() -> None:
    close(
        tabular.between(np.array([-1.0, 0.0, 5.0, 10.0]), np.zeros(4), np.full(4, 10.0)),
        [-0.1, 0, 0.5, 1],
    )


@pytest.mark.parametrize("naive", [0.0, 3.0, -3.0, 1e9, np.nan])
@pytest.mark.parametrize("excess", [0.0, -1.0, 1e-9, -np.inf, np.nan])
def test_between_is_undefined_where_the_best_is_not_above_the_naive_reference(naive: float, excess: float) -> None:
    best = naive + excess * max(abs(naive), excess == -1.0)
    returns = np.array([naive, best, 1e12, -1e12])
    assert np.isnan(tabular.between(returns, np.full(4, naive), np.full(4, best))).all()


def test_inputs_are_left_alone() -> None:
    next_state, features = np.ones((1, 2, 2), np.int64), np.ones((1, 2, 2, 3))
    mdp = TabularMDP(features, np.array([[True, False]]), np.array([[0.0, 1.0]]), 0.9, next_state=next_state)
    assert (next_state == 1).all() and (features == 1).all() and (mdp.features[0, 0] == 0).all()
    with pytest.raises(dataclasses.FrozenInstanceError):
        mdp.discount = 0.5  # type: ignore[misc]


_LAW = np.array([[[0, 1], [1, 0]]])
_WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "features without B": ({"features": np.zeros((2, 2, 1))}, r"features.*\(2, 2, 1\).*\(B, S, A, d\)"),
    "terminal": ({"terminal": np.zeros((1, 3), bool)}, r"terminal.*\(1, 3\).*\(1, 2\)"),
    "start shape": ({"start": np.array([1.0, 0.0])}, r"start.*\(2,\).*\(1, 2\)"),
    "start sum": ({"start": np.array([[0.5, 0.4]])}, "start must be a probability distribution"),
    "start sign": ({"start": np.array([[1.5, -0.5]])}, "start must be a probability distribution"),
    "start nan": ({"start": np.array([[np.nan, 1.0]])}, "start must be a probability distribution"),
    "next_state shape": ({"next_state": _LAW[0]}, r"next_state.*\(2, 2\).*\(1, 2, 2\)"),
    "next_state high": ({"next_state": 2 * _LAW}, "next_state.*0 to 1"),
    "next_state low": ({"next_state": -_LAW}, "next_state.*0 to 1"),
    "no law": ({"next_state": None}, "exactly one"),
    "two laws": ({"probability": np.full((1, 2, 2, 2), 0.5)}, "exactly one"),
    "probability shape": ({"next_state": None, "probability": np.full((1, 2, 2), 0.5)}, r"probability.*\(1, 2, 2, 2\)"),
    "probability sum": ({"next_state": None, "probability": np.full((1, 2, 2, 2), 0.4)}, "probability"),
    "probability sign": ({"next_state": None, "probability": np.tile([1.5, -0.5], (1, 2, 2, 1))}, "probability"),
    "undiscounted chance": (
        {"next_state": None, "probability": np.full((1, 2, 2, 2), 0.5), "discount": 1.0},
        "below 1",
    ),
    "discount 0": ({"discount": 0.0}, "discount is 0.0; .*above 0"),
    "discount above 1": ({"discount": 1.01}, "discount is 1.01; .*at most 1"),
    "discount none": ({"discount": None}, "discount is None"),
    "features nan": ({"features": np.full((1, 2, 2, 1), np.nan)}, r"features\[0, 0, 0, 0\] is nan"),
    "features text": ({"features": np.full((1, 2, 2, 1), "x")}, "features is .*real numbers"),
    "features list": ({"features": [[[[0.0]]]]}, "features is .*real numbers"),
    "terminal numbers": ({"terminal": np.zeros((1, 2))}, "terminal is .*bools"),
    "next_state fractions": ({"next_state": 0.5 * _LAW}, "next_state is .*integers"),
    "discount nan": ({"discount": np.nan}, "discount is nan"),
}


@pytest.mark.parametrize("name", _WRONG)
def test_wrong_processes_are_refused(name: str) -> None:
    right: dict[str, Any] = {
        "features": np.zeros((1, 2, 2, 1)),
        "terminal": np.zeros((1, 2), bool),
        "start": np.array([[1.0, 0.0]]),
        "discount": 0.9,
        "next_state": _LAW,
    }
    TabularMDP(**right)
    change, said = _WRONG[name]
    with pytest.raises(ValueError, match=said):
        TabularMDP(**{**right, **change})


@pytest.mark.parametrize("shape", [(24, 17), (17, 24), (402, 1), (1, 402)])
def test_block_elimination_agrees_with_the_dense_solver(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    process = board_mdp(rng.choice([0, 1, 2, 3, 5, 10], p=[0.6, 0.02, 0.1, 0.08, 0.1, 0.1], size=(2, *shape)))
    S = shape[0] * shape[1]
    assert S >= tabular.BLOCKS
    policy, signal = rng.dirichlet(np.ones(4), size=(3, 2, S)), rng.standard_normal((3, 2, S, 4, 2))
    fast = tabular.discounted_sum(process, policy, signal), tabular.occupancy(process, policy)
    monkeypatch.setattr(tabular, "BLOCKS", 10**9)
    slow = tabular.discounted_sum(process, policy, signal), tabular.occupancy(process, policy)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)


# --- maximum entropy ---


@pytest.mark.parametrize("discount", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("temperature", [1e-3, 0.3, 5.0])
@pytest.mark.parametrize("kind", KINDS)
def test_soft_values_solve_the_soft_bellman_equations(kind: str, temperature: float, discount: float) -> None:
    mdp = process(kind, 0, discount=discount)
    reward = tabular.reward(mdp, random_weights(mdp, 2))
    values, action_values = tabular.soft_values(mdp, reward, temperature)
    assert values.shape == reward.shape[:-1] and action_values.shape == reward.shape
    scale = np.abs(values).max() + temperature
    np.testing.assert_allclose(action_values, tabular.q_values(mdp, reward, values), rtol=0, atol=1e-9 * scale)
    policy = np.exp((action_values - values[..., None]) / temperature)
    running = np.broadcast_to(~mdp.terminal, values.shape)
    assert (values[~running] == 0).all()
    np.testing.assert_allclose(policy.sum(-1)[running], 1, rtol=1e-9 * scale / temperature)
    assert (values >= tabular.optimal_values(mdp, reward)[0] - 1e-9 * scale).all()  # entropy is never a cost


def test_soft_values_are_those_of_plain_iteration() -> None:
    mdp = process("dense", 3, discount=0.8)
    reward = tabular.reward(mdp, random_weights(mdp))
    values = np.zeros(mdp.terminal.shape)
    for _ in range(200):
        q = tabular.q_values(mdp, reward, values)
        values = np.where(mdp.terminal, 0, 0.7 * np.log(np.exp(q / 0.7).sum(-1)))
    np.testing.assert_allclose(tabular.soft_values(mdp, reward, 0.7)[0], values, atol=1e-10)


def test_soft_values_cool_down_to_the_optimal_ones() -> None:
    mdp = process("deterministic", 1)
    reward = tabular.reward(mdp, random_weights(mdp))
    best = tabular.optimal_values(mdp, reward)
    gaps = [np.abs(tabular.soft_values(mdp, reward, t)[0] - best[0]).max() for t in (1.0, 0.1, 0.01, 1e-6)]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-4
    bound = np.log(mdp.features.shape[2]) / (1 - mdp.discount)  # entropy over an infinite horizon
    assert gaps[0] <= bound and gaps[1] <= 0.1 * bound and gaps[2] <= 0.01 * bound
    for soft, hard in zip(tabular.soft_values(mdp, reward, 0.0), best, strict=True):
        assert (soft == hard).all()


def test_soft_maximum_neither_overflows_nor_loses_small_temperatures() -> None:
    values = np.array([[1e5, 1e5 - 1.0], [-1e5, -1e5], [3.0, -np.inf]])
    np.testing.assert_allclose(
        tabular.soft_maximum(values, 1.0), [1e5 + np.log1p(np.exp(-1.0)), -1e5 + np.log(2), 3.0], rtol=1e-15
    )
    assert (tabular.soft_maximum(values[:1], 1e-9) == 1e5).all()


def test_soft_values_refuse_what_has_no_answer() -> None:
    mdp = process("deterministic", 0)
    reward = tabular.reward(mdp, random_weights(mdp))
    for bad in (-1.0, np.nan, np.inf, None, "1"):
        with pytest.raises(ValueError, match="temperature is"):
            tabular.soft_values(mdp, reward, bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="temperature is"):
            tabular.soft_maximum(reward, bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature is 0; expected a finite number above 0"):
        tabular.soft_maximum(reward, 0)
    endless = process("deterministic", 0, discount=1.0)
    with pytest.raises(ValueError, match="discount = 1"):
        tabular.soft_values(endless, -np.ones((4, 6, 3)) * ~endless.terminal[..., None], 0.5)
