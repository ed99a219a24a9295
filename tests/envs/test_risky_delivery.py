"""Risky delivery: outcomes as frequent as stated, decisions scored in expectation, exact values by plain sums."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import models, outcomes, risky_delivery
from valuegym.envs.preference.delivery import GOAL, SHEEP, State
from valuegym.envs.preference.outcomes import Outcomes
from valuegym.envs.preference.random_delivery import Task
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.risky_delivery import STAKES, RiskyDelivery

close = np.testing.assert_allclose
ID = "valuegym/RiskyDelivery-v0"


def begin(core: RiskyDelivery, n: int, seed: int = 0) -> tuple[Task, State]:
    return core.initial(keys.mix(seed, np.arange(n)))


def test_tasks_follow_the_published_law() -> None:
    n = 6000
    task = risky_delivery.draw(keys.mix(3, np.arange(n)))
    assert task.boards.shape == (n, 5, 5) and set(np.unique(task.boards)) == {0, GOAL, SHEEP}
    flat = task.boards.reshape(n, 25)
    assert ((flat == GOAL).sum(-1) == 1).all()
    risky = (flat == SHEEP).sum(-1)  # 1, 2 or 7, less the one that the goal may take the place of
    law = {0: 1 / 25, 1: 24 / 25 + 2 / 25, 2: 23 / 25, 6: 7 / 25, 7: 18 / 25}
    for count, thirds in law.items():
        p = thirds / 3
        assert abs((risky == count).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)
    for item, share in ((GOAL, 1 / 25), (SHEEP, (10 / 3) / 25 * 24 / 25)):
        assert (abs((flat == item).mean(0) - share) < 5 * np.sqrt(share / n)).all()
    stakes, counts = np.unique(task.weights[:, [2, 3]], axis=0, return_counts=True)
    assert sorted(map(tuple, stakes)) == sorted(map(tuple, STAKES))
    assert (abs(counts / n - 1 / 5) < 5 * np.sqrt(4 / 25 / n)).all()
    assert (task.weights[:, [0, 1, 4, 5]] == (-1, 50, 0, 0)).all()


def test_a_gamble_pays_both_ways_evenly_and_ends_the_episode() -> None:
    env = gym.make(ID, board=".S", weights=(-1, 50, -7, 11, 0, 0))
    paid = []
    for episode in range(2000):
        env.reset(seed=0 if episode == 0 else None)
        first = env.step(2)
        assert first[1:3] == (-1.0, False)
        _, reward, terminated, truncated, _ = env.step(3)
        assert terminated and not truncated
        paid.append(reward)
    assert set(paid) == {-7.0, 11.0}
    assert abs(np.mean(np.array(paid) == 11) - 0.5) < 5 * np.sqrt(0.25 / 2000)
    assert abs(np.corrcoef(paid[:-1], paid[1:])[0, 1]) < 5 / np.sqrt(2000)


def test_rows_of_a_vector_have_the_draws_of_scalar_environments() -> None:
    envs = gym.make_vec(ID, num_envs=8, max_episode_steps=15)
    singles = [gym.make(ID, max_episode_steps=15) for _ in range(8)]
    rng, over, gambles = np.random.default_rng(1), np.zeros(8, np.bool_), set()
    envs.reset(seed=2)
    for i, env in enumerate(singles):
        env.reset(seed=2 + i)
    for _ in range(200):
        action = rng.integers(4, size=8)
        seen, reward, terminated, truncated, _ = envs.step(action)
        for i, env in enumerate(singles):
            alone, paid, end, cut, _ = (env.reset()[0], 0.0, False, False, {}) if over[i] else env.step(action[i])
            assert all(seen[name][i].tobytes() == np.asarray(alone[name]).tobytes() for name in seen)
            assert (reward[i], terminated[i], truncated[i]) == (paid, end, cut)
            if end:
                gambles.add(paid)
        over = terminated | truncated
    assert len(gambles) >= 5


def test_scores_count_decisions_and_not_outcomes() -> None:
    core = RiskyDelivery()
    task, state = begin(core, 200)
    naive, best = core.references(task)
    key, n = keys.mix(9, np.arange(200)), 200
    returns, paid, gambled = np.zeros(n), np.zeros(n), np.zeros(n, np.bool_)
    for t in range(40):
        action = core.oracle_action(task, state)
        after = core.transition(task, state, action, key, np.full(n, t))
        returns += 0.999**t * core.true_reward(task, state, action, after)
        paid += 0.999**t * core.reward(task, state, action, after)
        gambled |= (task.board[np.arange(n), after.cell] == SHEEP) & ~core.terminal(task, state)
        state = after
    close(returns, best, atol=1e-9)
    assert 20 < gambled.sum() < 180  # sometimes the risk pays, and sometimes it does not
    assert (paid[~gambled] == returns[~gambled]).all() and (paid[gambled] != returns[gambled]).all()
    assert (naive < best).all()


def test_values_obey_bellmans_equations() -> None:
    core = RiskyDelivery()
    task, _ = begin(core, 30)
    for row, (actions, best, naive) in enumerate(core._solve(task)):
        board, w = task.board[row].reshape(5, 5), task.weights[row]
        for s in range(25):
            r, c = divmod(s, 5)
            if board[r, c] in (GOAL, SHEEP):
                close([best[s], naive[s]], 0, atol=1e-9)
                continue
            q, u = [], []
            for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                to = (r + dr, c + dc) if 0 <= r + dr < 5 and 0 <= c + dc < 5 else (r, c)
                now = {GOAL: w[1], SHEEP: (w[2] + w[3]) / 2}.get(int(board[to]), w[0])
                q.append(now + 0.999 * best[to[0] * 5 + to[1]])
                u.append(now + 0.999 * naive[to[0] * 5 + to[1]])
            close(best[s], max(q), atol=1e-7)
            close(naive[s], np.mean(u), atol=1e-7)
            assert q[actions[s]] >= max(q) - 1e-6 * np.abs(w).max() - 1e-7


# --- outcomes ---


def random_outcomes(rng: np.random.Generator, B: int = 2, S: int = 5, A: int = 3, K: int = 4, d: int = 2) -> Outcomes:
    return Outcomes(
        rng.integers(S, size=(B, S, A, K)),
        rng.dirichlet(np.ones(K), size=(B, S, A)),
        rng.standard_normal((B, S, A, K, d)),
        np.arange(S) == np.full((B, 1), S - 1),
        np.tile(np.eye(S)[0], (B, 1)),
    )


def test_expectations_are_sums_over_outcomes() -> None:
    process = random_outcomes(np.random.default_rng(0))
    mdp = outcomes.expected(process, 0.9)
    assert mdp.probability is not None
    for b, s, a in np.ndindex(2, 4, 3):
        p = np.zeros(5)
        for k in range(4):
            p[process.next_state[b, s, a, k]] += process.chance[b, s, a, k]
        close(mdp.probability[b, s, a], p)
        close(mdp.features[b, s, a], process.chance[b, s, a] @ process.features[b, s, a])
    assert (mdp.features[:, 4] == 0).all() and (mdp.probability[:, 4, :, 4] == 1).all()


def test_both_ways_of_solving_agree() -> None:
    """Risky boards by the deterministic path, and again through a matrix of transition probabilities."""
    boards, weights = risky_delivery.draw(keys.mix(5, np.arange(10)))
    fast = risky_delivery.process(boards)
    assert fast.next_state is not None
    slow = tabular.TabularMDP(
        fast.features, fast.terminal, fast.start, fast.discount, probability=np.eye(25)[fast.next_state]
    )
    reward = tabular.reward(fast, weights)
    for a, b in zip(tabular.optimal_values(fast, reward), tabular.optimal_values(slow, reward), strict=True):
        close(a, b, atol=1e-8)


def test_outcomes_come_true_as_often_as_stated() -> None:
    process, n = random_outcomes(np.random.default_rng(1), B=1), 40_000
    states, actions = np.full((1, n), 2), np.full((1, n, 1), 1)
    segment = outcomes.follow(process, states, actions, keys.uniform(keys.mix(0, np.arange(n)), 0)[None, :, None])
    for k in range(4):
        p = process.chance[0, 2, 1, k]
        here = (segment.features[0, :, 0] == process.features[0, 2, 1, k]).all(-1)
        assert abs(here.mean() - p) < 5 * np.sqrt(p * (1 - p) / n)
        assert (segment.states[0, here, 1] == process.next_state[0, 2, 1, k]).all()


def test_segments_hold_what_came_true_and_stop_at_the_end() -> None:
    rng = np.random.default_rng(2)
    process = random_outcomes(rng)
    states, actions, uniform = rng.integers(5, size=(2, 50)), rng.integers(3, size=(2, 50, 6)), rng.random((2, 50, 6))
    segment = outcomes.follow(process, states, actions, uniform)
    for b, i in np.ndindex(2, 50):
        s = states[b, i]
        for t in range(6):
            running = s != 4
            assert segment.mask[b, i, t] == running and segment.states[b, i, t] == s
            if not running:
                assert segment.actions[b, i, t] == 0 and not segment.features[b, i, t].any()
                continue
            a = actions[b, i, t]
            k = int(np.searchsorted(np.cumsum(process.chance[b, s, a])[:-1], uniform[b, i, t], side="right"))
            assert segment.actions[b, i, t] == a
            assert (segment.features[b, i, t] == process.features[b, s, a, k]).all()
            s = process.next_state[b, s, a, k]
        assert segment.states[b, i, 6] == s


def test_regret_does_not_depend_on_outcomes_and_partial_return_does() -> None:
    boards = risky_delivery.draw(keys.mix(0, np.arange(20)))
    process = risky_delivery.board_outcomes(boards.boards)
    mdp = outcomes.expected(process, 0.999)
    solved = models.solve(mdp, boards.weights)
    rng = np.random.default_rng(0)
    states, actions = rng.integers(25, size=(20, 40)), rng.integers(4, size=(20, 40, 1))
    lucky, unlucky = (outcomes.follow(process, states, actions, np.full(actions.shape, u)) for u in (0.99, 0.01))
    a, b = (models.Regret().utility(solved, segment, 0.999) for segment in (lucky, unlucky))
    assert (a == b).all() and (a <= 1e-6).all()
    a, b = (models.PartialReturn().utility(solved, segment, 0.999) for segment in (lucky, unlucky))
    entered = (lucky.features[:, :, 0, risky_delivery.WON] == 1) & lucky.mask[:, :, 0]
    assert entered.any() and (a[entered] > b[entered]).all() and (a[~entered] == b[~entered]).all()
    q = tabular.q_values(mdp, tabular.reward(mdp, boards.weights), solved.values)
    close(q, solved.action_values, atol=1e-9)


def test_queries_show_what_came_true() -> None:
    """Pairs hold realised features, the process expected ones; regret judges decisions, partial return outcomes."""
    core = RewardInference(board="risky", annotator="partial-return-noiseless", length=2)
    judge = RewardInference(board="risky", annotator="regret-noiseless", length=2)
    task, _ = core.initial(keys.mix(0, np.arange(60)))
    close(core.score(task, core.oracle_action(task, None)), 1, atol=1e-6)  # type: ignore[arg-type]
    gambles, wins, overruled = 0, 0, 0
    for number in range(1, 60):
        pair, answer = core.query(task, np.full(60, number))
        again, judged = judge.query(task, np.full(60, number))
        assert all((a == b).all() for a, b in zip(pair, again, strict=True))
        row = np.arange(60)[:, None, None]
        here, action = pair.states[..., :-1], pair.actions
        expected = np.where(pair.mask[..., None], task.features[row, here, action], 0)
        entered = (abs(expected) == 0.5).any(-1)
        assert (pair.features[~entered] == expected[~entered]).all()
        came = pair.features[entered]
        assert (abs(came).sum(-1) == 1).all() and (abs(expected[entered]).sum(-1) == 1).all()
        paid = (pair.features * task.weights[:, None, None]).sum(-1) @ (1, 0.999)
        gap = paid[:, 1] - paid[:, 0]
        sure = abs(gap) > 1e-5
        assert (answer[sure] == (gap > 0)[sure]).all()
        gambles += entered.sum()
        wins += ((pair.features * task.weights[:, None, None]).sum(-1)[entered] > 0).sum()
        overruled += (answer != judged).sum()
    assert abs(wins / gambles - 0.5) < 5 * np.sqrt(0.25 / gambles) and overruled > 300


def test_a_larger_board_and_a_wrong_one() -> None:
    assert RiskyDelivery(size=(7, 9)).shape == (7, 9)
    task, _ = begin(RiskyDelivery(size=(7, 9)), 50)
    assert set(map(tuple, task.weights[:, [2, 3]])) == set(map(tuple, STAKES))
    with pytest.raises(ValueError, match="no cell to start from"):
        RiskyDelivery(board="SG")
