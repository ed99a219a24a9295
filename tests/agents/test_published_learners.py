"""The learners of the papers: a library of policies, optimal advantages, contrastive preference learning."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("scipy")

from valuegym.agents import make
from valuegym.agents.preference import regret_library
from valuegym.agents.preference.comparisons import visits
from valuegym.agents.preference.cpl import CPL, log_softmax
from valuegym.agents.preference.optimal_advantage import as_reward, fit_table
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, models, segments
from valuegym.envs.preference.segments import Segment

WEIGHTS, POLICY = "valuegym/RewardInference-v0", "valuegym/RewardInferencePolicy-v0"
MDP = delivery.board_mdp(np.array([delivery.BOARD]))
TRUE = np.array(delivery.WEIGHTS)
SMALL = delivery.board_mdp(np.array([[[0, 5, 1], [0, 0, 3]]]), 0.9)


def learner(name: str, env_id: str = WEIGHTS, **kwargs: Any) -> Any:
    return make(name, gym.make(env_id, split="dev", evaluation_points=(1,)), **kwargs)


def random_pairs(mdp: tabular.TabularMDP, n: int, L: int = 3, seed: int = 0) -> Segment:
    rng = np.random.default_rng(seed)
    cells = rng.choice(np.flatnonzero(mdp.start[0]), (1, n, 2))
    return Segment(*(field[0] for field in segments.follow(mdp, cells, rng.integers(0, 4, (1, n, 2, L)))))


def regret_differences(mdp: tabular.TabularMDP, pairs: Segment, weights: Any) -> Any:
    batch = Segment(*(field[None] for field in pairs))
    utility = models.Regret().utility(models.solve(mdp, weights[None]), batch, mdp.discount)[0]
    return utility[:, 1] - utility[:, 0]


def test_visits_sum_a_table_along_segments() -> None:
    pairs, table = random_pairs(SMALL, 30), np.random.default_rng(0).standard_normal((6, 4))
    expected = np.zeros(30)
    for i in range(30):
        for side, sign in ((0, -1), (1, 1)):
            for t in range(3):
                if pairs.mask[i, side, t]:
                    expected[i] += sign * 0.9**t * table[pairs.states[i, side, t], pairs.actions[i, side, t]]
    assert not pairs.mask.all()
    np.testing.assert_allclose(visits(pairs, 6, 4, 0.9) @ table.reshape(-1), expected, atol=1e-12)


# --- the library ---


def test_a_library_with_the_optimal_policy_gives_exact_regret(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = tabular.successor_features(MDP, tabular.optimal_policy(MDP, tabular.reward(MDP, TRUE)))
    small = condense(MDP).mdp
    others = regret_library.library(small, "random", np.random.default_rng(0))
    psi = np.append(exact[0][~MDP.terminal[0]], np.zeros((1, 6)), 0)
    monkeypatch.setattr(regret_library, "library", lambda *args: np.concatenate([others, psi[None]]))
    pairs = random_pairs(MDP, 50)
    found = learner("regret_library").differences(MDP, pairs)(TRUE[None])[0] @ TRUE
    np.testing.assert_allclose(found, regret_differences(MDP, pairs, TRUE), atol=1e-8)


def test_policies_of_a_library_differ_and_follow_from_the_seed() -> None:
    small = condense(MDP).mdp
    for source in regret_library.SOURCES:
        psi = regret_library.library(small, source, np.random.default_rng(3))
        np.testing.assert_array_equal(psi, regret_library.library(small, source, np.random.default_rng(3)))
        assert 2 <= len(psi) <= regret_library.SIZE
        assert len(np.unique(psi.round(9).reshape(len(psi), -1), axis=0)) == len(psi)


def test_the_true_values_leak_the_answer() -> None:
    """Value lost by the best policy of each library under the true reward, mean over starts: the published finding."""
    small = condense(MDP).mdp
    optimal = OptimalValues(small)(TRUE[None])[:, 0]
    gaps = {}
    for source in regret_library.SOURCES:
        lost = []
        for seed in range(8):
            psi = regret_library.library(small, source, np.random.default_rng(seed))
            best = regret_library.best(psi, TRUE[None])[0] @ TRUE
            assert (best <= optimal + 1e-9).all()
            lost.append(small.start[0] @ (optimal - best))
        gaps[source] = np.mean(lost)
    assert gaps["true-values"] < 0.5 * gaps["nine-values"]
    assert gaps["nine-values"] < 0.1 * gaps["random"]


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        learner("regret_library", source="gaussian")


# --- tables ---


@pytest.mark.parametrize("name", ["optimal_advantage", "cpl"])
def test_many_regret_answers_teach_a_table_to_act(name: str) -> None:
    weights = np.array([-1.0, 6, -6, 1, -1, -2])
    pairs = random_pairs(SMALL, 3000)
    label = models.BradleyTerry().probability(regret_differences(SMALL, pairs, weights))
    table = learner(name, POLICY).estimate(SMALL, pairs, label, np.random.default_rng(0)).reshape(1, 6, 4)
    reward = tabular.reward(SMALL, weights)
    score = tabular.normalised_return(SMALL, reward, tabular.greedy_policy(table, np.abs(table).max()[None]))
    assert score[0] > 0.99
    assert not table[0][SMALL.terminal[0]].any()


def test_optimal_advantages_are_recovered_up_to_what_comparisons_show() -> None:
    """Single steps: probabilities fix the table up to one constant, and people who compare regret mean A*."""
    weights = np.array([-1.0, 6, -6, 1, -1, -2])
    pairs = random_pairs(SMALL, 20_000, L=1)
    label = models.BradleyTerry().probability(regret_differences(SMALL, pairs, weights))
    table = learner("optimal_advantage", POLICY).estimate(SMALL, pairs, label, np.random.default_rng(0))
    optimal = OptimalValues(SMALL).advantages(weights[None])[..., 0][~SMALL.terminal[0]]
    found = table.reshape(6, 4)[~SMALL.terminal[0]]
    gap = found - optimal
    assert gap.std() < 0.02 * optimal.std()


def all_pairs(mdp: tabular.TabularMDP, L: int, whole: bool) -> Segment:
    """Every pair of segments of L steps; without those that end early if they are to be whole."""
    starts, moves = np.flatnonzero(mdp.start[0]), np.indices((4,) * L).reshape(L, -1).T
    cells = np.repeat(starts, len(moves))
    every = segments.follow(mdp, cells[None], np.tile(moves, (len(starts), 1))[None])
    every = Segment(*(field[0] for field in every))
    if whole:
        every = Segment(*(field[every.mask.all(-1)] for field in every))
    first, second = np.triu_indices(len(every.actions), 1)
    return Segment(*(np.stack([field[first], field[second]], 1) for field in every))


SMALL_WEIGHTS = np.array([-1.0, 6, -6, 1, -1, -2])


@pytest.mark.parametrize("choice", [models.BradleyTerry(), models.Noiseless()])
@pytest.mark.parametrize("L", [1, 2, 3])
def test_all_comparisons_make_the_greedy_policy_optimal(L: int, choice: Any) -> None:
    pairs = all_pairs(SMALL, L, whole=False)
    label = choice.probability(regret_differences(SMALL, pairs, SMALL_WEIGHTS))
    agent = learner("optimal_advantage", POLICY)
    table = agent.estimate(SMALL, pairs, label, np.random.default_rng(0)).reshape(6, 4)
    optimal = OptimalValues(SMALL).advantages(SMALL_WEIGHTS[None])[..., 0]
    rows = np.flatnonzero(~SMALL.terminal[0])
    np.testing.assert_allclose(optimal[rows, table[rows].argmax(-1)], 0, atol=1e-9)


def test_as_a_reward_advantages_need_segments_that_end_early() -> None:
    """With them the optimal policy of the mistaken reward is optimal; without, its loops pay for ever."""
    score, level = {}, {}
    for whole in (False, True):
        pairs = all_pairs(SMALL, 3, whole)
        label = models.BradleyTerry().probability(regret_differences(SMALL, pairs, SMALL_WEIGHTS))
        tables = {}
        for use in ("greedy", "reward"):
            agent = learner("optimal_advantage", POLICY, use=use)
            tables[use] = agent.estimate(SMALL, pairs, label, np.random.default_rng(0)).reshape(1, 6, 4)
        policy = tabular.greedy_policy(tables["reward"], tabular.reward_scale(tables["reward"]))
        score[whole] = tabular.normalised_return(SMALL, tabular.reward(SMALL, SMALL_WEIGHTS), policy)[0]
        level[whole] = tables["greedy"][0].max(-1)[~SMALL.terminal[0]].mean()
        np.testing.assert_allclose(tables["reward"].max(-1), 0, atol=1e-9)
    assert score[False] == pytest.approx(1) and abs(level[False]) < 0.1
    assert score[True] < 0 and level[True] > 1


def test_the_exact_optimal_advantage_is_a_reward_with_the_same_optimal_policies() -> None:
    for mdp, weights in ((SMALL, SMALL_WEIGHTS), (MDP, TRUE)):
        optimal = OptimalValues(mdp).advantages(weights[None])[..., 0]
        np.testing.assert_allclose(as_reward(mdp, optimal).reshape(optimal.shape), optimal, atol=1e-8)


def test_the_fit_of_a_table_has_no_slope_left() -> None:
    pairs, label = random_pairs(SMALL, 40), np.arange(40) % 3 / 2
    found, counts = fit_table(pairs, label, 6, 4, 0.9), visits(pairs, 6, 4, 0.9)
    slope = counts.T @ (1 / (1 + np.exp(-counts @ found)) - label) + found / 10.0**2
    np.testing.assert_allclose(slope, 0, atol=1e-5)
    nothing = pairs._replace(mask=np.zeros_like(pairs.mask))
    np.testing.assert_array_equal(fit_table(nothing, label, 6, 4, 0.9), np.zeros(24))


def test_an_unknown_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"use is .shaping.; expected one of .greedy., .reward."):
        learner("optimal_advantage", POLICY, use="shaping")


def soft_policy(mdp: tabular.TabularMDP, weights: Any, alpha: float) -> Any:
    """Log probabilities (S, A) of the maximum-entropy optimum, by soft value iteration."""
    reward, values = tabular.reward(mdp, weights), np.zeros((1, mdp.features.shape[1]))
    for _ in range(2000):
        q = tabular.q_values(mdp, reward, values)
        values = np.where(mdp.terminal, 0, alpha * np.logaddexp.reduce(q / alpha, -1))
    return ((q - values[..., None]) / alpha)[0]


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("L", [1, 2])
def test_contrastive_learning_finds_the_exact_soft_optimal_policy(alpha: float, L: int) -> None:
    logs = soft_policy(SMALL, np.array([-1.0, 2, -2, 1, -1, -2]), alpha)
    open_cells = ~SMALL.terminal[0]
    np.testing.assert_allclose(np.exp(logs[open_cells]).sum(-1), 1)
    pairs = random_pairs(SMALL, 20_000, L)
    label = models.BradleyTerry().probability(alpha * visits(pairs, 6, 4, 0.9) @ logs.reshape(-1))
    agent = learner("cpl", POLICY, alpha=alpha)
    table = log_softmax(agent.estimate(SMALL, pairs, label, np.random.default_rng(0)).reshape(6, 4))
    np.testing.assert_allclose(np.exp(table[open_cells]), np.exp(logs[open_cells]), atol=0.01)


def test_the_gradient_of_contrastive_learning_is_that_of_its_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[Any] = []

    def catch(loss: Any, starts: Any) -> Any:
        caught.extend((loss, len(starts[0])))
        return type("Fit", (), {"weights": starts[0]})

    monkeypatch.setattr("valuegym.agents.preference.cpl.lowest", catch)
    label = np.arange(12) % 3 / 2
    learner("cpl", POLICY).estimate(SMALL, random_pairs(SMALL, 12), label, np.random.default_rng(0))
    (loss, size), h = caught, 1e-6
    logits = np.random.default_rng(1).standard_normal(size)
    numeric = [(loss(logits + h * e)[0] - loss(logits - h * e)[0]) / (2 * h) for e in np.eye(size)]
    np.testing.assert_allclose(loss(logits)[1], numeric, atol=1e-7)


@pytest.mark.parametrize("name", ["optimal_advantage", "cpl"])
def test_tables_play_where_policies_are_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match="RewardInferencePolicy-v0 only"):
        learner(name)
    with pytest.raises(ValueError, match="RewardInference-v0 only"):
        learner("regret_library", POLICY)
    env = gym.make(POLICY, split="dev", evaluation_points=(0, 40))
    agent, memory, start = make(name, env), None, np.array([True])
    observation, _ = env.reset(seed=0)
    for _ in range(41):
        answer, memory = agent.predict(observation, state=memory, episode_start=start)
        assert env.action_space.contains(answer)
        observation, _, terminated, _, _ = env.step(answer)
        start = np.array([False])
    assert terminated and np.abs(answer).max() == pytest.approx(1)


def test_a_temperature_is_above_nothing() -> None:
    with pytest.raises(ValueError, match=r"alpha is 0\.0"):
        CPL(gym.make(POLICY, evaluation_points=(1,)), alpha=0.0)
