"""Control of a linear regulator whose cost is known from preferences only.

Model, reward and value are learnt in turn, each from the others: the model is a linear one of low rank, fitted to
transitions under the weights of a value-gradient loss; the reward is learnt from preferences by their regret under this
model; the controller is the optimal one for model and reward; and the critic is its value, which weights the next
model. A model without the capacity for states that the force does not move cannot attribute regret to them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from valuegym.agents.base import BatchAgent, Mask, check_env, rules, unstack
from valuegym.agents.control import linear_model
from valuegym.agents.control import lqr_preferences as preferences
from valuegym.agents.control.lqr_preferences import Features, Pairs, Segments
from valuegym.agents.preference.comparisons import check_answer
from valuegym.envs import checks
from valuegym.envs.control import riccati
from valuegym.envs.control.lqr_from_preferences import MAX_GAIN, LQRFromPreferences, Query, read
from valuegym.envs.control.riccati import LinearSystem

__all__ = [
    "LOSSES",
    "STATISTICS",
    "Answers",
    "LQRPreferenceLearner",
    "diagonal",
    "partial_return",
    "plan",
    "squared_error",
    "unrestricted",
]

Floats = npt.NDArray[np.float64]
STATISTICS, LOSSES = preferences.STATISTICS, ("mse", "vagram", "vagram_taylor", "vagram_mean", "vagram_matrix")
MAX_ROUNDS = 100


class Answers(NamedTuple):
    """The answered pairs of one environment so far, oldest first, and its latest gain (n,) as an action."""

    states: list[Floats]  # (2, L + 1, n) each
    actions: list[Floats]  # (2, L, m) each
    label: list[float]
    gain: npt.NDArray[np.float32]


def _features(query: Query) -> Features:
    """Return the features of the cost, those of states and the force squared, of a query whose numbers are finite."""
    for name in ("states", "actions", "next_states", "features"):
        checks.reals(name, getattr(query, name))
    n = len(query.features)
    return Features(np.concatenate([query.features, np.zeros((1, n, n))]), np.eye(n + 1)[:, -1:, None])


def _system(B: Floats, discount: float) -> LinearSystem:
    """Return the dynamics y = B (s, u), B (n, n + 1), with costs and noise of 0."""
    n = len(B)
    zero = np.zeros((n, n))
    return LinearSystem(B[:, :n], B[:, n:], zero, np.zeros((1, 1)), zero, discount)


def plan(query: Query, pairs: Pairs, statistic: str, loss: str, rank: int, rounds: int) -> Floats:
    """Return the gain (1, n) for transitions and preferences.

    The value that weights a model is that of the last gain, at first of no force, under a linear model of full rank:
    only the model that plans is small, not the critic. With regret, the rounds are run twice, from the reward by
    partial return and from that by regret under the model of full rank, and the gain whose reward explains the answers
    better is returned. Rounds end early where a gain, its value or the model is not finite.

    Args:
        query: the last observation, with transitions and features of the cost.
        pairs: answered pairs of segments.
        statistic: "regret" or "partial_return".
        loss: of the model, one of LOSSES.
        rank: of the model.
        rounds: of model, reward and controller.

    Raises:
        ValueError: the statistic or the loss is unknown, rank or rounds is out of range, the pairs are not valid
            (`lqr_preferences.check_pairs`), or a transition or feature is not finite.
        DivergenceError: the weights are not finite.
    """
    checks.choice("statistic", statistic, STATISTICS)
    checks.choice("loss", loss, LOSSES)
    rank, rounds = checks.integer("rank", rank, 1), checks.integer("rounds", rounds, 1, MAX_ROUNDS)
    features, n = _features(query), len(query.features)
    x = np.concatenate([query.states, query.actions], 1)
    full_model = _system(np.linalg.lstsq(x, query.next_states, rcond=None)[0].T, query.discount)
    y = torch.from_numpy(query.next_states)
    moments = linear_model.moments(torch.from_numpy(x), y)
    units = preferences.units_of(pairs, features, query.discount)

    def small_model(P: Floats) -> LinearSystem:
        """Return the model of low rank whose errors are weighted by the value s'P s."""
        if loss == "mse":
            form = linear_model.constant_form(torch.diag(1 / y.var(0)), moments)
        else:
            form = linear_model.value_form(loss, moments, torch.from_numpy(P)[None])
        fit = linear_model.low_rank if loss in linear_model.PER_SAMPLE else linear_model.reduced_rank
        return _system(fit(form, min(rank, n)).numpy(), query.discount)

    def alternate(weights: Floats) -> tuple[float, Floats]:
        """Return the negative log posterior of the answers after all rounds, and the gain."""
        K, cost = np.zeros((1, n)), np.inf
        for _ in range(1 if loss == "mse" else rounds):
            P = riccati.cost_of(preferences.priced(full_model, features, weights), K).P
            if not np.isfinite(P).all():
                break
            model = small_model(P)
            known = bool(np.isfinite(model.A).all() and np.isfinite(model.B).all())
            if statistic == "regret" and known:
                weights = preferences.learn(pairs, features, model, "regret", units, start=weights)
            gain = preferences.controller(model, features, weights)
            if not np.isfinite(gain).all():
                break
            K = gain
            cost = preferences.posterior(pairs, features, model, statistic, units)(weights * units)[0]
        return cost, K

    with np.errstate(all="ignore"):
        first = preferences.learn(pairs, features, full_model, "partial_return", units)
        found = [alternate(first)]
        if statistic == "regret":
            found.append(alternate(preferences.learn(pairs, features, full_model, "regret", units, start=first)))
    return min(found, key=lambda each: each[0])[1]


class LQRPreferenceLearner(BatchAgent):
    """Agent that keeps all answered pairs and plans at evaluation points; no force before the first answer.

    It uses the features of the cost, which every agent observes, and the prior knowledge that weights are at least 0:
    their prior is normal with mean 0 and standard deviation 5, in units in which partial returns of two segments differ
    by 1. Gains are clipped to the action space.

    Args:
        env: valuegym/LQRFromPreferences-v0.
        seed: unused; nothing is random.
        statistic: of segments that answers compare, "regret" or "partial_return".
        loss: of the model, one of LOSSES.
        rank: of the model.
        rounds: of model, reward and controller in each plan.

    Raises:
        ValueError: the environment is not `LQRFromPreferences-v0`, its rules cannot be given (`agents.base.rules`), the
            statistic or loss is unknown, or seed, rank or rounds is out of range.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        statistic: str = "regret",
        loss: str = "vagram_matrix",
        rank: int = 2,
        rounds: int = 4,
    ) -> None:
        super().__init__(env, seed)
        if not isinstance(rules(env), LQRFromPreferences):
            raise ValueError("LQRPreferenceLearner answers gains; it plays in valuegym/LQRFromPreferences-v0 only.")
        self.statistic = checks.choice("statistic", statistic, STATISTICS)
        self.loss = checks.choice("loss", loss, LOSSES)
        self.rank, self.rounds = checks.integer("rank", rank, 1), checks.integer("rounds", rounds, 1, MAX_ROUNDS)

    def act(self, observation: Any, memory: list[Answers] | None, start: Mask) -> tuple[Any, list[Answers]]:
        """Return the gains, planned again at every evaluation point."""
        after = [
            self._watch(row, None if memory is None or start[i] else memory[i])
            for i, row in enumerate(unstack(observation))
        ]
        return np.stack([answers.gain for answers in after]), after

    def _watch(self, row: dict[str, Any], before: Answers | None) -> Answers:
        """Return the memory after one more observation."""
        shape: Any = self.action_space.shape
        now = before or Answers([], [], [], np.zeros(shape, np.float32))
        label = check_answer(row["label"])
        if np.isnan(label) and not (row["is_evaluation_point"] and now.label):
            return now
        query = read(row)
        if not np.isnan(label):
            now = now._replace(  # new lists: a caller may go on from an older memory
                states=[*now.states, query.pair_states.copy()],
                actions=[*now.actions, query.pair_actions.copy()],
                label=[*now.label, label],
            )
        if not query.is_evaluation_point:
            return now
        segments = Segments(np.stack(now.states)[:, :, :-1], np.stack(now.actions))
        pairs = Pairs(segments, np.array(now.label))
        K = plan(query, pairs, self.statistic, self.loss, self.rank, self.rounds)
        return now._replace(gain=np.clip(K[0] / MAX_GAIN, -1, 1).astype(np.float32))


def partial_return(env: gym.Env[Any, Any], seed: int = 0) -> LQRPreferenceLearner:
    """Return the learner with a reward by partial return.

    Raises:
        ValueError: the environment is another one.
    """
    return LQRPreferenceLearner(env, seed, statistic="partial_return")


def squared_error(env: gym.Env[Any, Any], seed: int = 0) -> LQRPreferenceLearner:
    """Return the learner with a model by squared error, in standard deviations of each dimension.

    Raises:
        ValueError: the environment is another one.
    """
    return LQRPreferenceLearner(env, seed, loss="mse")


def diagonal(env: gym.Env[Any, Any], seed: int = 0) -> LQRPreferenceLearner:
    """Return the learner with a model by the published loss: one weight for each dimension and sample.

    Raises:
        ValueError: the environment is another one.
    """
    return LQRPreferenceLearner(env, seed, loss="vagram")


def unrestricted(env: gym.Env[Any, Any], seed: int = 0) -> LQRPreferenceLearner:
    """Return the learner with a model of full rank, by squared error.

    Raises:
        ValueError: the environment is another one.
    """
    shape = check_env(env).action_space.shape
    n: int = shape[0] if shape else 1  # another environment is refused below
    return LQRPreferenceLearner(env, seed, loss="mse", rank=n)
