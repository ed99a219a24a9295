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
from valuegym.agents.preference import descent
from valuegym.agents.preference.descent import PRIOR_SCALE, Differences, Fit
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.annotators import labels
from valuegym.envs.preference.segments import Segment
from valuegym.envs.preference.tabular_query import read

__all__ = ["STARTS", "Memory", "PreferenceLearner", "lowest"]

Floats = npt.NDArray[np.float64]
STARTS = 4  # starting points for the fit of a table
ROUNDS, MAX_ITERATIONS = 5, 200


class Memory(NamedTuple):
    """The answered pairs of N environments since their last resets, and the latest estimates."""

    steps: tuple[dict[str, Any], ...]  # batches of observations, oldest first
    since: npt.NDArray[np.int64]  # (N,): the step at which each episode began
    estimates: npt.NDArray[np.float32]  # (N, d)

    @classmethod
    def empty(cls, n: int, d: int) -> Memory:
        """Return what is remembered of n environments before their first observation."""
        return cls((), np.zeros(n, np.int64), np.zeros((n, d), np.float32))

    def after(self, observation: dict[str, Any], start: Mask) -> Memory:
        """Return the memory after a batch of observations; where an episode starts, what came before is forgotten."""
        step = {name: observation[name] for name in (*_SEGMENT, "label")}
        return Memory(
            (*self.steps, step),
            np.where(start, len(self.steps), self.since),
            np.where(start[:, None], np.float32(0.0), self.estimates),
        )

    def pairs(self, row: int, shape: tuple[int, int]) -> tuple[Segment, Floats]:
        """Return all answered pairs of one environment: segments (n, 2, ...) and labels (n,) of 0, 1 or 0.5.

        Shape is (L, d).
        """
        L, d = shape
        steps = self.steps[self.since[row] :]
        label = labels(np.array([step["label"][row] for step in steps]))
        answered = [step for step, value in zip(steps, label, strict=True) if not np.isnan(value)]
        shapes = ((2, L + 1), (2, L), (2, L, d), (2, L))
        fields = (
            np.reshape([step[name][row] for step in answered], (-1, *s))
            for name, s in zip(_SEGMENT, shapes, strict=True)
        )
        return Segment(*fields), label[~np.isnan(label)]


_SEGMENT = ("segment_states", "segment_actions", "segment_features", "segment_mask")


def lowest(loss: Callable[[Floats], tuple[float, Floats]], starts: Sequence[Floats]) -> Fit:
    """Return the lowest point seen by L-BFGS from each start (d,), and 0 itself; loss returns its gradient, too.

    At a kink L-BFGS may stop early and report the loss of another point, so points are watched, and every descent is
    restarted, with a fresh Hessian, until that helps no more.
    """

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
    return min((Fit(nothing, loss(nothing)[0]), *map(descend, starts)), key=lambda fit: fit.loss)


class PreferenceLearner(BatchAgent):
    """Base of learners that keep all answered pairs and fit weights at evaluation points.

    A subclass overrides `differences`, which states what people compare, or `estimate` as a whole; also `growing` if
    fits of one task share work. Without preferences the estimate is 0, which stands for the uniform policy. A fit
    depends on the answers and the seed alone, because each has a generator of its own. `prior_scale` is the standard
    deviation of the Gaussian prior on weights fitted by `descent`.

    Raises:
        ValueError: the environment is not one that it plays in, its rules cannot be given (`agents.base.rules`), or
            prior_scale is not above 0.
    """

    policy: ClassVar[bool] = False  # True if estimates are tables (S * A,) over states and actions, used greedily
    starts: ClassVar[int] = descent.STARTS  # number of starting points for fits of weights

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, prior_scale: float = PRIOR_SCALE) -> None:
        super().__init__(env)
        core: Any = rules(env)
        if not hasattr(core, "query") or core.policy != self.policy or getattr(core, "active", False):
            what, where = ("a policy", "Policy") if self.policy else ("reward weights", "")
            raise ValueError(
                f"Agent {type(self).__name__} infers {what}; it plays in valuegym/RewardInference{where}-v0 only."
            )
        if not prior_scale > 0:
            raise ValueError(f"prior_scale = {prior_scale}; expected a standard deviation above 0, in units of reward.")
        self.seed, self.prior_scale = seed, prior_scale

    def differences(self, mdp: TabularMDP, pairs: Segment) -> Differences:
        """Return the difference features of the model's statistic for these pairs, as a function of the weights."""
        raise NotImplementedError

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Return weights (d,), or a table (S * A,), of any scale.

        They are fitted to answered pairs (n, 2, ...) with labels (n,), n > 0.
        """
        differences, d = self.differences(mdp, pairs), mdp.features.shape[-1]
        return descent.fit(differences, label, rng, d, self.starts, self.prior_scale).weights

    def growing(
        self, mdp: TabularMDP, pairs: Segment, label: Floats, query_counts: Sequence[int], rng: np.random.Generator
    ) -> Floats:
        """Return `estimate` of the first n answers, with the same generator, for every n > 0 in `query_counts`."""
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
            ValueError: `query_counts` do not increase, or exceed the number of answers.
        """
        if list(query_counts) != sorted(set(query_counts)) or not 0 <= min(query_counts, default=0) <= max(
            query_counts, default=0
        ) <= len(label):
            raise ValueError(
                f"query_counts = {query_counts!r}; expected increasing integers from 0 to the {len(label)} answers."
            )
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
