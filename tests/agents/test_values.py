"""Optimal values of one process under many rewards: against policy iteration, wherever the loops and the ways are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from valuegym.agents.preference import posterior, values
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference.reward_inference import RewardInference


def board(seed: int) -> tabular.TabularMDP:
    core = RewardInference(split="dev", evaluation_points=(1,))
    task, _ = core.initial(keys.mix(seed, np.arange(1)))
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    return condense(mdp).mdp


def process(next_state: Any, terminal: Any, discount: float, d: int = 3, seed: int = 0) -> tabular.TabularMDP:
    S, A = np.shape(next_state)
    features = np.random.default_rng(seed).standard_normal((1, S, A, d))
    start = np.full((1, S), 1 / S)
    return tabular.TabularMDP(features, np.array([terminal]), start, discount, next_state=np.array([next_state]))


def exact(mdp: tabular.TabularMDP, weights: Any) -> Any:
    return tabular.optimal_actions(mdp, tabular.reward(mdp, weights[:, None]))[1][:, 0].T


def check(mdp: tabular.TabularMDP, weights: Any) -> None:
    expected = exact(mdp, weights)
    optimal = OptimalValues(mdp)
    np.testing.assert_allclose(optimal(weights), expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    advantages = optimal.advantages(weights)
    q = tabular.q_values(mdp, tabular.reward(mdp, weights[:, None]), expected.T[:, None])[:, 0]
    np.testing.assert_allclose(
        advantages, (q - expected.T[..., None]).transpose(1, 2, 0), rtol=0, atol=1e-8 * np.abs(expected).max()
    )
    chosen = np.take_along_axis(advantages, optimal.policies(weights).T[:, None], 1)
    assert np.abs(chosen).max() <= 1e-8 * np.abs(expected).max()


@pytest.mark.parametrize("seed", range(6))
def test_boards(seed: int) -> None:
    check(board(seed), posterior.draw(np.random.default_rng(seed), 150, 6))


def test_any_deterministic_process() -> None:
    """Loops of any length, and states from which no loop of two steps starts."""
    rng = np.random.default_rng(0)
    for seed in range(8):
        ends = np.arange(12) == (11 if seed % 2 else 12)
        check(process(rng.integers(0, 12, (12, 2)), ends, 0.95, seed=seed), rng.standard_normal((30, 3)))
    ring = (np.arange(7)[:, None] + 1) % 7  # one loop of seven steps
    check(process(ring, np.zeros(7, bool), 0.999), rng.standard_normal((30, 3)))


def test_ways_longer_than_the_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "SWEEPS", 8)
    check(board(0), posterior.draw(np.random.default_rng(0), 40, 6))


def test_no_discount_and_chance_are_left_to_policy_iteration() -> None:
    corridor = np.stack([np.arange(6), np.maximum(np.arange(6) - 1, 0)], 1)
    mdp = process(corridor, np.arange(6) == 0, 1.0, d=2)
    costs = tabular.TabularMDP(-np.abs(mdp.features), mdp.terminal, mdp.start, 1.0, next_state=mdp.next_state)
    check(costs, np.abs(np.random.default_rng(0).standard_normal((5, 2))))
    rng = np.random.default_rng(1)
    chances = rng.dirichlet(np.ones(5), (1, 5, 3))
    mdp = tabular.TabularMDP(
        rng.standard_normal((1, 5, 3, 2)), np.zeros((1, 5), bool), np.full((1, 5), 0.2), 0.9, probability=chances
    )
    check(mdp, rng.standard_normal((20, 2)))


def test_weights_are_solved_alike_alone_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    mdp, weights = board(1), posterior.draw(np.random.default_rng(0), 40, 6)
    together = OptimalValues(mdp)(weights)
    monkeypatch.setattr(values, "BLOCK", 1)
    np.testing.assert_allclose(OptimalValues(mdp)(weights), together, rtol=0, atol=1e-10 * np.abs(together).max())


def test_condensing_keeps_what_happens() -> None:
    core = RewardInference(split="dev", evaluation_points=(1,))
    task, _ = core.initial(keys.mix(3, np.arange(1)))
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    small, state = condense(mdp)
    assert small.terminal.sum() == 1 and small.start.sum() == pytest.approx(1)
    weights = posterior.draw(np.random.default_rng(0), 5, 6)
    whole, part = OptimalValues(mdp), OptimalValues(small)
    np.testing.assert_allclose(part.advantages(weights)[state], whole.advantages(weights), atol=1e-9)
    np.testing.assert_allclose(small.start[0] @ part(weights), mdp.start[0] @ whole(weights))
