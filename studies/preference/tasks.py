"""Tasks of the delivery family, pairs of segments and answers about them, and scores of what was learnt."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from studies.harness import Array
from valuegym.agents import make
from valuegym.agents.preference.values import condense
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, models, segments
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.segments import Segment

STATISTICS: dict[str, models.Statistic] = {"partial return": models.PartialReturn(), "regret": models.Regret()}


class Task(NamedTuple):
    """A process (its terminal states merged into one), its true weights (d,), and the naive and best mean returns."""

    mdp: tabular.TabularMDP
    weights: Array
    naive: float
    best: float


def make_task(mdp: tabular.TabularMDP, weights: Array) -> Task:
    """Return the task of one process (B = 1) and its true weights (d,)."""
    small = condense(mdp).mdp
    reward = tabular.reward(small, weights[None])
    naive = tabular.mean_return(small, tabular.evaluate(small, tabular.uniform_policy(small), reward))
    best = tabular.mean_return(small, tabular.optimal_values(small, reward)[0])
    return Task(small, weights, float(naive[0]), float(best[0]))


@lru_cache(maxsize=128)
def random_task(unit: int) -> Task:
    """Return random task number `unit` of the split "test", which `RewardInference-v0` draws for that key."""
    core = RewardInference(evaluation_points=(1,))
    task, _ = core.initial(keys.mix(0, np.array([unit])))
    process = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    return make_task(process, task.weights[0])


def published_task() -> Task:
    """Return the published board with its published weights."""
    return make_task(delivery.board_mdp(np.array([delivery.BOARD])), np.array(delivery.WEIGHTS))


@lru_cache(maxsize=8)
def learner(name: str, **settings: Any) -> Any:
    """Return a learner from answers, made in the environment that it plays in."""
    return make(name, gym.make("valuegym/RewardInference-v0", evaluation_points=(1,)), **settings)


def draw_pairs(task: Task, n: int, length: int, rng: np.random.Generator, whole: bool = False) -> Segment:
    """Draw pairs (n, 2, ...) of segments from uniformly random open states by uniformly random actions.

    With `whole`, pairs in which an episode ends before the last step are drawn again.
    """
    opens, found, missing = np.flatnonzero(task.mdp.start[0]), [], n
    while missing > 0:
        batch = max(missing, 100)
        cells = rng.choice(opens, (1, batch, 2))
        drawn = segments.follow(task.mdp, cells, rng.integers(0, 4, (1, batch, 2, length)))
        pairs = Segment(*(field[0] for field in drawn))
        if whole:
            pairs = Segment(*(field[pairs.mask.all((1, 2))] for field in pairs))
        found.append(pairs)
        missing -= len(pairs.actions)
    return Segment(*(np.concatenate(field)[:n] for field in zip(*found, strict=True)))


def utility_difference(task: Task, pairs: Segment, statistic: models.Statistic) -> Array:
    """Return second minus first (n,), under the true reward and the discount of the task."""
    solved = models.solve(task.mdp, task.weights[None])
    utility = statistic.utility(solved, Segment(*(field[None] for field in pairs)), task.mdp.discount)[0]
    difference: Array = utility[:, 1] - utility[:, 0]
    return difference


def score_policy(task: Task, policy: Array) -> float:
    """Return the normalised mean return of a policy (1, S, A) under the true reward, clipped to -1."""
    reward = tabular.reward(task.mdp, task.weights[None])
    returns = tabular.mean_return(task.mdp, tabular.evaluate(task.mdp, policy, reward))
    return max(float(tabular.between(returns, np.array([task.naive]), np.array([task.best]))[0]), -1.0)


def score_weights(task: Task, weights: Array) -> float:
    """Return the score of the policy that is optimal for these weights (d,)."""
    return score_policy(task, tabular.optimal_policy(task.mdp, tabular.reward(task.mdp, weights[None])))


def score_table(task: Task, table: Array) -> float:
    """Return the score of the greedy policy of a table (S * A,)."""
    table = table.reshape(task.mdp.features.shape[:3])
    return score_policy(task, tabular.greedy_policy(table, tabular.reward_scale(table)))
