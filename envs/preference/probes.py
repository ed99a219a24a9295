"""Identifiability probes: pairs of tasks that partial return cannot distinguish, with different optimal policies.

The paired tasks of a probe share states, actions, dynamics and everything that is observed; they differ in what is
hidden, the reward weights or the discount. Whoever compares partial returns answers every query alike, or with the same
probabilities, in both tasks, while no policy is optimal in both: from endless preferences a learner is still wrong in
one of them. Whoever compares regrets answers differently, and the segments that nothing is preferred to show exactly
the optimal actions (Knox et al. 2024, section 3: three contexts in which partial return is not identifiable).

Segments are whole: all L transitions happen, nothing is padded after a terminal state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import models
from valuegym.envs.preference.outcomes import Outcomes, expected, follow
from valuegym.envs.preference.segments import Array, Segment

__all__ = ["PROBES", "Probe", "by_name"]

Pairs = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Probe:
    """Two tasks over one process.

    Attributes:
        about: what partial return cannot see.
        outcomes: the process that both share (B = 1).
        weights: (2, d) reward weights of the paired tasks.
        discounts: of the paired tasks.
        length: L, steps of a segment.
        choice: the most telling rule of choice under which partial return still fails.
        actions: names, A of them.
        features: names, d of them.
    """

    about: str
    outcomes: Outcomes
    weights: npt.NDArray[np.float64]
    discounts: tuple[float, float]
    length: int
    choice: models.Choice
    actions: tuple[str, ...]
    features: tuple[str, ...]

    def process(self, index: int) -> tabular.TabularMDP:
        """The dynamics of paired task 0 or 1, with its discount and expected features.

        Raises:
            ValueError: the index is another one.
        """
        index = checks.integer("index", index, 0, 1)
        return expected(self.outcomes, self.discounts[index])

    def solved(self, index: int) -> models.SolvedReward:
        """The reward of paired task 0 or 1 with its exact optimal values (B = 1)."""
        return models.solve(self.process(index), self.weights[index : index + 1])

    def optimal(self, index: int) -> npt.NDArray[np.bool_]:
        """Return the optimal actions as a mask (S, A): none in terminal states, where nothing is decided."""
        reward = tabular.reward(self.process(index), self.weights[index : index + 1])
        policy = tabular.optimal_policy(self.process(index), reward)[0]
        return (policy > 0) & ~self.outcomes.terminal[0][:, None]

    def segments(self) -> tuple[Segment, npt.NDArray[np.float64]]:
        """Return all whole segments (1, n, L) and their chances (n,) under random starts and actions."""
        (S, A, K), L = self.outcomes.chance.shape[1:], self.length
        grid = np.indices((S, *(A,) * L, *(K,) * L)).reshape(1 + 2 * L, -1)
        states, actions, which = grid[0], grid[1 : 1 + L].T, grid[1 + L :].T
        segment = follow(self.outcomes, states[None], actions[None], which[None])
        came = self.outcomes.chance[0, segment.states[0, :, :-1], segment.actions[0], which]
        chance = self.outcomes.start[0, states] * came.prod(-1) * segment.mask[0].all(-1)
        kept = chance > 0
        return Segment(*(field[:, kept] for field in segment)), chance[kept] / chance.sum()

    def preferences(self, index: int, statistic: models.Statistic, choice: models.Choice) -> Pairs:
        """P(the second is preferred) for every pair of segments, first and second: (n, n), exact."""
        segments, _ = self.segments()
        utility = statistic.utility(self.solved(index), segments, self.discounts[index])[0]
        return np.asarray(choice.probability(utility - utility[:, None]), np.float64)

    def unbeaten(self, preferences: Pairs) -> npt.NDArray[np.bool_]:
        """Actions (S, A) taken in segments that no other segment is preferred to, given preferences (n, n)."""
        segments, _ = self.segments()
        best = (preferences <= 0.5 + 1e-9).all(-1)
        taken = np.zeros(self.outcomes.chance.shape[1:3], np.bool_)
        taken[segments.states[0, best, :-1], segments.actions[0, best]] = True
        return taken


def _deterministic(next_state: Array, features: Array, terminal: Array) -> Outcomes:
    """One process (S, A) with features (S, A, d), every decision of which may be the first."""
    start = ~terminal / (~terminal).sum()
    chance = np.ones((1, *next_state.shape, 1))
    return Outcomes(next_state[None, ..., None], chance, features[None, :, :, None], terminal[None], start[None])


def _lottery() -> Probe:
    """State 0: take the sure thing, or a lottery that wins or loses evenly. Either ends the episode (state 1).

    Features: sure, win, lose. Both tasks rank win > sure > lose; the lottery is worth 2, the sure thing 1 or 3.
    """
    sure, win, lose = np.eye(3)
    outcomes = Outcomes(
        next_state=np.ones((1, 2, 2, 2), np.int64),
        chance=np.tile(np.array([[1.0, 0.0], [0.5, 0.5]]), (1, 2, 1, 1)),
        features=np.tile(np.array([[sure, sure], [win, lose]]), (1, 2, 1, 1, 1)),
        terminal=np.array([[False, True]]),
        start=np.array([[1.0, 0.0]]),
    )
    weights = np.array([(1.0, 4.0, 0.0), (3.0, 4.0, 0.0)])
    about = "without noise, the order of realised outcomes does not say how a lottery compares with a sure thing"
    return Probe(
        about, outcomes, weights, (0.999, 0.999), 1, models.Noiseless(), ("sure", "lottery"), ("sure", "win", "lose")
    )


def _variable_horizon() -> Probe:
    """A corridor of two cells and an exit at its end (state 2). Actions: stay, go on.

    Features: step (every transition), exit. A step costs 1 in one task and pays 1 in the other: the same constant in
    all segments of equal length, but leaving is best in the one, staying for ever in the other.
    """
    step, leave = np.eye(2)
    next_state = np.array([[0, 1], [1, 2], [2, 2]])
    features = np.array([[step, step], [step, step + leave], [0 * step, 0 * step]])
    outcomes = _deterministic(next_state, features, np.array([False, False, True]))
    about = "a constant added to every reward leaves segments of equal length alike, but decides whether to end"
    weights = np.array([(-1.0, 1.0), (1.0, 1.0)])
    return Probe(about, outcomes, weights, (0.9, 0.9), 2, models.BradleyTerry(), ("stay", "go on"), ("step", "exit"))


def _single_step() -> Probe:
    """State 0: take 1 now, or invest, which pays 0 now and leads to state 1, where either action pays 3 and leads back.

    Investing is best where the discount is above one half; single steps look the same at every discount.
    """
    take, harvest = np.eye(2)
    next_state = np.array([[0, 1], [0, 0]])
    features = np.array([[take, 0 * take], [harvest, harvest]])
    outcomes = _deterministic(next_state, features, np.array([False, False]))
    about = "the partial return of a single step is its reward, whatever the discount"
    weights = np.array([(1.0, 3.0), (1.0, 3.0)])
    return Probe(
        about, outcomes, weights, (0.3, 0.9), 1, models.BradleyTerry(), ("take", "invest"), ("take", "harvest")
    )


PROBES: dict[str, Probe] = {
    "lottery": _lottery(),
    "variable-horizon": _variable_horizon(),
    "single-step": _single_step(),
}


def by_name(name: str) -> Probe:
    """Return the probe of this name.

    Raises:
        ValueError: no probe has it.
    """
    return PROBES[checks.choice("probe", name, PROBES)]
