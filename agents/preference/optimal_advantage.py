"""Optimal advantages from preferences: the partial-return model over states and actions, and two uses of them.

Source: Knox et al. (2024), "Learning optimal advantage from preferences and mistaking it for reward" (AAAI,
arXiv:2310.02456).
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.preference.comparisons import check_answers, sparse_visits
from valuegym.agents.preference.descent import PRIOR_SCALE
from valuegym.agents.preference.preference_learner import Floats, PreferenceLearner, lowest
from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.models import BradleyTerry
from valuegym.envs.preference.segments import Segment

__all__ = ["USES", "OptimalAdvantage", "as_reward", "fit_table"]

USES = ("greedy", "reward")


class OptimalAdvantage(PreferenceLearner):
    """P(second) = logistic(sum_t discount**t A(second) - sum_t discount**t A(first)), one free number A(s, a) each.

    If people answer by regret, the function that the partial-return model learns is the optimal advantage, not the
    reward. With `use="greedy"` the learner acts greedily on it, which needs neither dynamics nor planning. With
    `use="reward"` it treats the advantage as a reward, as published, and plans exactly under the known dynamics.

    The greedy policy depends only on differences between the actions of a state. As a reward the absolute level counts
    too; only segments that end early, whose remaining steps are worth 0, identify it. Without them the prior sets the
    level, and if that leaves a cycle of positive "reward" the planned policy never ends an episode.

    The prior is N(0, 10**2) for each entry. Actions that no segment took keep the prior mean, A = 0.

    Raises:
        ValueError: as `PreferenceLearner`, or `use` is unknown.
    """

    policy = True

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, use: str = "greedy") -> None:
        super().__init__(env, seed)
        self.use = checks.choice("use", use, USES)

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Return the table (S * A,) to act on greedily: learnt advantages, or with `use="reward"` those of planning.

        Raises:
            ValueError: pairs or labels are not valid (`comparisons.check_answers`).
            DivergenceError: the table is not finite.
        """
        S, A = mdp.features.shape[1:3]
        table = fit_table(pairs, label, S, A, mdp.discount)
        return table if self.use == "greedy" else as_reward(mdp, table)


def fit_table(pairs: Segment, label: Floats, S: int, A: int, discount: float) -> Floats:
    """Return maximum-posterior advantages (S * A,) for answered pairs (n, 2, ...) with labels (n,).

    The loss is strictly convex, so one start suffices. Rows are sparse: at most 2 L entries are not 0.

    Raises:
        ValueError: pairs or labels are not valid (`comparisons.check_answers`), or the discount is outside (0, 1].
        DivergenceError: the table is not finite.
    """
    pairs, label = check_answers(pairs, label, S, A)
    every = sparse_visits(pairs, S, A, discount)
    seen = np.flatnonzero(abs(every).sum(0))
    counts = every[:, seen]
    transposed, choice = counts.T.tocsr(), BradleyTerry()

    def loss(advantage: Floats) -> tuple[float, Floats]:
        x, prior = counts @ advantage, advantage / PRIOR_SCALE**2
        gradient = transposed @ (choice.probability(x) - label) + prior
        return float(choice.cross_entropy(x, label).sum() + 0.5 * advantage @ prior), gradient

    table = np.zeros(S * A)
    if len(seen):
        table[seen] = lowest(loss, (np.zeros(len(seen)),)).weights
    return table


def as_reward(mdp: TabularMDP, table: Floats) -> Floats:
    """Return optimal advantages (S * A,) of one process for the table (S * A,) as reward, 0 in terminal states.

    Raises:
        ValueError: the table has another size, or an entry is not finite.
    """
    table = checks.reals("table", np.reshape(table, -1), (mdp.features[0, ..., 0].size,))
    reward = np.where(mdp.terminal[..., None], 0.0, table.reshape(mdp.features.shape[:3]))
    values, action_values = tabular.optimal_values(mdp, reward)
    return tabular.advantages(values, action_values).reshape(-1)
