"""Base of learners from preferences: a memory of answered pairs, and one way of fitting weights.

Learners that are not Bayesian maximise the same posterior, log-likelihood of the answers plus a Gaussian prior, with
the same optimiser: `descent` for weights, L-BFGS for tables, from as many starting points as the shape of the loss
needs. They differ in the statistic that they assume people compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from valuegym.agents.base import BatchAgent, Mask, rules
from valuegym.agents.divergence import DivergenceError
from valuegym.agents.preference import descent
from valuegym.agents.preference.comparisons import check_answer, check_answers, check_counts
from valuegym.agents.preference.descent import PRIOR_SCALE, Differences, Fit
from valuegym.envs import checks
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.segments import Segment
from valuegym.envs.preference.tabular_query import read

__all__ = ["STARTS", "Answer", "Memory", "PreferenceLearner", "lowest"]

Floats = npt.NDArray[np.float64]
STARTS = 4  # starting points for the fit of a table
ROUNDS, MAX_ITERATIONS = 5, 200


class Answer(NamedTuple):
    """One answered pair, in arrays of its own."""

    pair: Segment  # fields as they are observed, flat
    label: float  # 0, 1 or 0.5


class Memory(NamedTuple):
    """The answered pairs of N environments since their last resets, and the latest estimates."""

    answers: tuple[tuple[Answer, ...], ...]  # of each environment, oldest first
    estimates: npt.NDArray[np.float32]  # (N, d)

    @classmethod
    def empty(cls, n: int, d: int) -> Memory:
        """Return what is remembered of n environments before their first observation."""
        return cls(((),) * n, np.zeros((n, d), np.float32))

    def after(self, observation: dict[str, Any], start: Mask) -> Memory:
        """Return the memory after a batch of observations; where an episode starts, what came before is forgotten.

        Raises:
            ValueError: a label is no answer.
        """
        answers = []
        for row, code in enumerate(observation["label"]):
            label = check_answer(code)
            before = () if start[row] else self.answers[row]
            if not np.isnan(label):  # in arrays of its own: observations belong to others
                before += (Answer(Segment(*(np.array(observation[name][row]) for name in _SEGMENT)), label),)
            answers.append(before)
        return Memory(tuple(answers), np.where(start[:, None], np.float32(0.0), self.estimates))

    def pairs(self, row: int, shape: tuple[int, int]) -> tuple[Segment, Floats]:
        """Return all answered pairs of one environment: segments (n, 2, ...) and labels (n,) of 0, 1 or 0.5.

        Shape is (L, d).
        """
        L, d = shape
        answers = self.answers[row]
        shapes = ((2, L + 1), (2, L), (2, L, d), (2, L))
        fields = (np.reshape([answer.pair[i] for answer in answers], (-1, *s)) for i, s in enumerate(shapes))
        return Segment(*fields), np.array([answer.label for answer in answers])


_SEGMENT = ("segment_states", "segment_actions", "segment_features", "segment_mask")


def lowest(loss: Callable[[Floats], tuple[float, Floats]], starts: Sequence[Floats]) -> Fit:
    """Return the lowest point seen by L-BFGS from each start (d,), and 0 itself; loss returns its gradient, too.

    At a kink L-BFGS may stop early and report the loss of another point, so points are watched, and every descent is
    restarted, with a fresh Hessian, until that helps no more.

    Raises:
        ValueError: a start is not finite.
        DivergenceError: the lowest loss is not finite.
    """
    starts = [checks.reals("start", start, (None,)) for start in starts]

    def descend(start: Floats) -> Fit:
        best = Fit(start, loss(start)[0])

        def watched(weights: Floats) -> tuple[float, Floats]:
            nonlocal best
            value, gradient = loss(weights)
            if value < best.loss:
                best = Fit(weights.copy(), value)
            return value, gradient

        for _ in range(ROUNDS):
            before = best
            minimize(
                watched,
                before.weights,
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": MAX_ITERATIONS, "ftol": 1e-12, "gtol": 1e-7},
            )
            if best.loss >= before.loss - 1e-9:
                break
        return best

    nothing = np.zeros_like(starts[0])
    found = min((Fit(nothing, loss(nothing)[0]), *map(descend, starts)), key=lambda fit: fit.loss)
    if not np.isfinite(found.loss):
        raise DivergenceError("The lowest loss of the answers is not finite.")
    return found


class PreferenceLearner(BatchAgent):
    """Base of learners that keep all answered pairs and fit weights at evaluation points.

    A subclass overrides `differences`, which states what people compare, or `estimate` as a whole; also `growing` if
    fits of one task share work. Without preferences the estimate is 0, which stands for the uniform policy. A fit
    depends on the answers and the seed alone, because each has a generator of its own. `prior_scale` is the standard
    deviation of the Gaussian prior on weights fitted by `descent`.

    Raises:
        ValueError: the environment is not one that it plays in, its rules cannot be given (`agents.base.rules`), or
            seed or prior_scale is out of range.
    """

    policy: ClassVar[bool] = False  # True if estimates are tables (S * A,) over states and actions, used greedily
    starts: ClassVar[int] = descent.STARTS  # number of starting points for fits of weights

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, prior_scale: float = PRIOR_SCALE) -> None:
        super().__init__(env, seed)
        core: Any = rules(env)
        if not hasattr(core, "query") or core.policy != self.policy or getattr(core, "active", False):
            what, where = ("a policy", "Policy") if self.policy else ("reward weights", "")
            raise ValueError(
                f"Agent {type(self).__name__} infers {what}; it plays in valuegym/RewardInference{where}-v0 only."
            )
        self.prior_scale = descent.check_scale(prior_scale, "prior_scale")

    def differences(self, mdp: TabularMDP, pairs: Segment) -> Differences:
        """Return the difference features of the model's statistic for these pairs, as a function of the weights."""
        raise NotImplementedError

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Return weights (d,), or a table (S * A,), of any scale.

        They are fitted to answered pairs (n, 2, ...) with labels (n,), n > 0.

        Raises:
            ValueError: pairs or labels are not valid (`comparisons.check_answers`).
            DivergenceError: what was fitted is not finite.
        """
        pairs, label = check_answers(pairs, label, *mdp.features.shape[1:])
        differences, d = self.differences(mdp, pairs), mdp.features.shape[-1]
        return descent.fit(differences, label, rng, d, self.starts, self.prior_scale).weights

    def growing(
        self, mdp: TabularMDP, pairs: Segment, label: Floats, query_counts: Sequence[int], rng: np.random.Generator
    ) -> Floats:
        """Return `estimate` of the first n answers, with the same generator, for every n > 0 in `query_counts`.

        Raises:
            ValueError: pairs, labels or counts are not valid (`comparisons.check_answers`, `check_counts`).
            DivergenceError: what was fitted is not finite.
        """
        pairs, label = check_answers(pairs, label, *mdp.features.shape[1:])
        query_counts = check_counts(query_counts, len(label))
        state = rng.bit_generator.state
        found = []
        for n in query_counts:
            rng.bit_generator.state = state
            found.append(self.estimate(mdp, Segment(*(field[:n] for field in pairs)), label[:n], rng))
        return np.array(found)

    def estimates(self, mdp: TabularMDP, pairs: Segment, label: Floats, query_counts: Sequence[int]) -> Floats:
        """Return estimates (len(query_counts), d), or tables (..., S * A), of one task as its answers come in.

        They are the agent's actions after the first n of the pairs (N, 2, ...) with labels (N,), for every n in
        `query_counts`: the numbers are those of one fit at a time, but what fits have in common is done once.

        Raises:
            ValueError: pairs or labels are not valid (`comparisons.check_answers`), or `query_counts` do not increase,
                or exceed the number of answers.
            DivergenceError: what was fitted is not finite.
        """
        pairs, label = check_answers(pairs, label, *mdp.features.shape[1:])
        query_counts = check_counts(query_counts, len(label))
        some = [n for n in query_counts if n]
        size = mdp.features[0, ..., 0].size if self.policy else mdp.features.shape[-1]
        nothing = np.zeros((len(query_counts) - len(some), size))
        if not some:
            return nothing
        return np.concatenate([nothing, self.growing(mdp, pairs, label, some, np.random.default_rng(self.seed))])

    def act(self, observation: Any, memory: Memory | None, start: Mask) -> tuple[Any, Memory]:
        """Return the estimates, refitted at evaluation points."""
        memory = (memory or Memory.empty(len(start), self.action_space.shape[0])).after(observation, start)
        estimates = memory.estimates.copy()
        for row in np.flatnonzero(observation["is_evaluation_point"]).tolist():
            query = read({name: value[row] for name, value in observation.items()})
            pairs, label = memory.pairs(row, query.pair.features.shape[1:])
            if len(label):
                estimate = self.estimate(query.mdp(), pairs, label, np.random.default_rng(self.seed))
                estimates[row] = estimate / max(np.abs(estimate).max(), 1e-12)
        return estimates.copy(), memory._replace(estimates=estimates)
