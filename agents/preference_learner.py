"""What learners from preferences share: a memory of the pairs seen, and one way of fitting weights.

Both learners maximise the same posterior, log-likelihood of the answers plus a Gaussian prior on the weights, with
the same optimiser from the same starting points; they differ in the statistic that they believe people compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from valuegym.agents.base import batch_size
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference.annotators import labels
from valuegym.envs.preference.models import BradleyTerry
from valuegym.envs.preference.reward_inference import read
from valuegym.envs.preference.segments import Segment

Floats = npt.NDArray[np.float64]
# Difference features (n, d) at weights (d,): the statistic's difference, second minus first, is linear in the
# weights with these coefficients.
Differences = Callable[[Floats], Floats]

PRIOR_SCALE = 10.0  # standard deviation of each weight, in units of reward
STARTS = 4
ROUNDS, MAX_ITERATIONS = 5, 200


class Memory:
    """The answered pairs of N environments since their last resets, and the latest estimates (N, d)."""

    def __init__(self, n: int, d: int) -> None:
        self.steps: list[dict[str, Any]] = []
        self.since = np.zeros(n, np.int64)
        self.estimates = np.zeros((n, d), np.float32)

    def append(self, observation: dict[str, Any], episode_start: npt.NDArray[np.bool_]) -> None:
        """Remember a batch of observations; environments that were just reset forget what came before."""
        self.since[episode_start] = len(self.steps)
        self.estimates[episode_start] = 0.0
        self.steps.append({name: observation[name] for name in (*_SEGMENT, "label")})

    def pairs(self, row: int, shape: tuple[int, int]) -> tuple[Segment, Floats]:
        """All answered pairs of one environment: segments (n, 2, ...) and labels (n,) of 0, 1 or 0.5.

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


def visits(pairs: Segment, S: int, A: int, discount: float) -> Floats:
    """Discounted visits to states and actions, second minus first: pairs (n, 2, ...) -> (n, S * A).

    Steps after the end of an episode do not count. Times a table over states and actions this is the difference of
    its discounted sums.
    """
    n, _, L = pairs.actions.shape
    visited = (pairs.states[..., :-1] * A + pairs.actions).reshape(n, -1)
    signed = np.multiply.outer((-1.0, 1.0), discount ** np.arange(L)) * pairs.mask
    counts = np.zeros((n, S * A))
    np.add.at(counts, (np.arange(n)[:, None], visited), signed.reshape(n, -1))
    return counts


class Fit(NamedTuple):
    """weights (d,), and the negative log posterior that they reach."""

    weights: Floats
    loss: float


def fit(differences: Differences, label: Floats, rng: np.random.Generator, d: int) -> Fit:
    """Maximum-posterior weights (d,) under Bradley-Terry answers at temperature 1 and the prior N(0, PRIOR_SCALE**2).

    L-BFGS from STARTS points: a linear guess (the statistic's coefficients at 0 against the answers) and standard
    normal draws; the lowest loss is kept. By the envelope theorem the gradient needs no derivative of the differences.
    """
    choice = BradleyTerry()

    def loss(weights: Floats) -> tuple[float, Floats]:
        D = differences(weights)
        x = D @ weights
        gradient = D.T @ (choice.probability(x) - label) + weights / PRIOR_SCALE**2
        return float(choice.cross_entropy(x, label).sum() + 0.5 * weights @ weights / PRIOR_SCALE**2), gradient

    D = differences(np.zeros(d))
    guess = np.asarray(np.linalg.solve(D.T @ D + np.eye(d), D.T @ (4.0 * (label - 0.5))), np.float64)
    return lowest(loss, (guess, *rng.standard_normal((STARTS - 1, d))))


def lowest(loss: Callable[[Floats], tuple[float, Floats]], starts: Sequence[Floats]) -> Fit:
    """The lowest point seen by L-BFGS from each start (d,), and 0 itself; loss returns its gradient, too.

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


class PreferenceLearner:
    """Remembers every answered pair and fits weights when a report is due; subclasses say what people compare.

    Without preferences the estimate is 0, which stands for the uniform policy. Fits depend on the data alone: every
    one draws its starting points from a generator seeded with (seed, pairs shown).
    """

    policy: ClassVar[bool] = False  # whether estimates are tables (S * A,) over states and actions, used greedily

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        core: Any = getattr(env.unwrapped, "core", None)
        if not hasattr(core, "query") or core.policy != self.policy or getattr(core, "asks", False):
            what, where = ("a policy", "Policy") if self.policy else ("reward weights", "")
            raise ValueError(
                f"Agent {type(self).__name__} infers {what}; it plays in valuegym/RewardInference{where}-v0 only."
            )
        self.observation_space, self.action_space, self.seed = env.observation_space, env.action_space, seed

    def differences(self, mdp: TabularMDP, pairs: Segment) -> Differences:
        """Difference features of the model's statistic for these pairs, as a function of the weights."""
        raise NotImplementedError

    def estimate(self, mdp: TabularMDP, pairs: Segment, label: Floats, rng: np.random.Generator) -> Floats:
        """Weights (d,), or a table (S * A,), of any scale, from answered pairs (n, 2, ...) with labels (n,), n > 0."""
        return fit(self.differences(mdp, pairs), label, rng, mdp.features.shape[-1]).weights

    def learn(self, total_timesteps: int) -> PreferenceLearner:
        """Everything is learnt from the preferences of the episode at hand."""
        return self

    def predict(
        self, observation: Any, state: Memory | None = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Memory]:
        """The estimates, refitted where a report is due."""
        n = batch_size(observation, self.observation_space)
        batch = observation if n is not None else {name: np.asarray(value)[None] for name, value in observation.items()}
        rows = len(batch["label"])
        memory = state or Memory(rows, self.action_space.shape[0])  # type: ignore[index]
        memory.append(
            batch, np.zeros(rows, np.bool_) if episode_start is None else np.atleast_1d(episode_start).astype(np.bool_)
        )
        for row in np.flatnonzero(batch["report"]).tolist():
            query = read({name: value[row] for name, value in batch.items()})
            pairs, label = memory.pairs(row, query.pair.features.shape[1:])
            if len(label):
                estimate = self.estimate(query.mdp(), pairs, label, np.random.default_rng([self.seed, query.shown]))
                memory.estimates[row] = estimate / max(np.abs(estimate).max(), 1e-12)
        return (memory.estimates.copy() if n is not None else memory.estimates[0].copy()), memory
