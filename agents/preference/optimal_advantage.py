"""Optimal advantages from preferences: the partial-return model over states and actions, and two uses of them.

Source: Knox et al. (2024), "Learning optimal advantage from preferences and mistaking it for reward" (AAAI,
arXiv:2310.02456).
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.preference.comparisons import sparse_visits
from valuegym.agents.preference.descent import PRIOR_SCALE
from valuegym.agents.preference.preference_learner import Floats, PreferenceLearner, lowest
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.models import BradleyTerry
from valuegym.envs.preference.segments import Segment

__all__ = ["USES", "OptimalAdvantage", "as_reward", "fit_table"]

USES = ("greedy", "reward")


class OptimalAdvantage(PreferenceLearner):
    """P(second) = logistic(sum_t discount**t A(second) - sum_t discount**t A(first)), one free number A(s, a) each.

    Where people answer by regret, what partial return takes for a reward is the optimal advantage. With `use="greedy"`
    it is what it is: its greedy policy needs no dynamics and no planning. With `use="reward"` it is mistaken for a
    reward, and the answer is the optimal policy for that, exact, under the known dynamics. Greedy use sees only
    differences between the actions of a state; as a reward also the level counts, and comparisons fix it by segments
    that end early, whose remaining steps are worth 0. Without them the level is that of the prior, and where it leaves
    loops of positive "reward" the second policy never ends an episode.

    The prior is that of the other learners, N(0, 10**2). Actions that no segment took keep its mean, A = 0.

    Raises:
        ValueError: as `PreferenceLearner`, or `use` is unknown.
    """

    policy = True

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, use: str = "greedy") -> None:
        if use not in USES:
            raise ValueError(f"use = {use!r}; expected one of {USES}: of the learnt table as a policy or as a reward.")
        super().__init__(env, seed)
        self.use = use

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Return the table (S * A,) to act on greedily: advantages, or optimal ones for the advantages as a reward."""
        S, A = mdp.features.shape[1:3]
        table = fit_table(pairs, label, S, A, mdp.discount)
        return table if self.use == "greedy" else as_reward(mdp, table)


def fit_table(pairs: Segment, label: Floats, S: int, A: int, discount: float) -> Floats:
    """Return maximum-posterior advantages (S * A,) for answered pairs (n, 2, ...) with labels (n,).

    The loss is strictly convex, so one descent is enough, and rows hold at most 2 L numbers, so they are kept sparse.
    """
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
    """Return optimal advantages (S * A,) of one process whose reward is the table (S * A,), and 0 at the end."""
    reward = np.where(mdp.terminal[..., None], 0.0, table.reshape(mdp.features.shape[:3]))
    values, action_values = tabular.optimal_values(mdp, reward)
    return tabular.advantages(values, action_values).reshape(-1)
