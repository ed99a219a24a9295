"""Learners that say which pair to query next, and what has been learnt so far.

`BayesRegretLearner` is the posterior of `agents.preference.posterior` under the regret model, for the delivery task; it
queries for the expected information about the weights. `EnsembleLearner` is an ensemble of reward models
(`agents.reward_models`), for any other environment; it queries where its members disagree.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from valuegym.agents.preference import comparisons, posterior
from valuegym.agents.preference.active_bayes_regret import expected_information
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import checks, mdp
from valuegym.envs.feedback.answers import Feedback
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import delivery, human_data
from valuegym.envs.preference.models import BradleyTerry
from valuegym.envs.preference.segments import Segment
from valuegym.envs.rendering import delivery as rendering
from valuegym.labelling.films import DELIVERY, make_film
from valuegym.labelling.study import Study

__all__ = ["BayesRegretLearner", "EnsembleLearner", "Fitted", "Learner", "delivery_pairs", "learner_of"]

PIXELS = 16  # along a side of a picture as an input of the ensemble
HIDDEN, STEPS, MEMBERS = 32, 200, 5


class Fitted(NamedTuple):
    """Something learnt from all answers so far.

    Attributes:
        priority: (K,) of the candidates, from 0.
        score: normalised return of the policy that is best for what was learnt, 0 that of random actions and 1 the
            best; NaN where the environment's true reward is not known.
        film: what the learner would do now; None where it is not known.
    """

    priority: np.ndarray
    score: float
    film: bytes | None


class Learner(Protocol):
    """A learner of the answers of a study."""

    def fit(self, feedback: Feedback, candidates: tuple[Segments, Segments]) -> Fitted:
        """Learn from all answers (N > 0), and rate K candidates."""

    def predict(self, first: Segments, second: Segments) -> np.ndarray | None:
        """Return the probabilities (N,) that the second is preferred, by the last fit; None before the first."""


def learner_of(study: Study) -> Learner | None:
    """Return the learner of a study, None where pairs come in random order.

    With "auto", the delivery task has `BayesRegretLearner`, and other environments have `EnsembleLearner` where torch
    is installed.

    Raises:
        ValueError: the learner does not suit the environment.
        ImportError: the learner needs torch, which is not installed.
    """
    plain = study.environment == DELIVERY and not {"observation"} & set(study.arguments)
    if study.learner == "bayes_regret" and not plain:
        raise ValueError(
            f"learner is 'bayes_regret', which knows {DELIVERY} alone; for {study.environment} expected 'ensemble' or "
            "'none'."
        )
    if study.learner == "none":
        return None
    if plain and study.learner != "ensemble":
        return BayesRegretLearner(study)
    try:
        return EnsembleLearner(study)
    except ImportError:
        if study.learner == "ensemble":
            raise
        return None


def delivery_pairs(first: Segments, second: Segments) -> Segment:
    """Return N pairs of segments of the delivery task, whose observations are cells, with leading axes (N, 2).

    Raises:
        ValueError: they are no segments of the published board.
    """
    starts, moves = [], []
    width = len(delivery.BOARD[0])
    steps = max(first.steps, second.steps)
    for side in (first, second):
        cells = checks.integers("observations", side.observations, (None, None), 0, 10**4)
        starts.append(np.stack(np.divmod(cells[:, 0], width), -1))
        actions = np.where(side.mask, side.actions, -1)
        moves.append(np.pad(actions, [(0, 0), (0, steps - side.steps)], constant_values=-1))
    return human_data.segments(np.stack(starts, 1), np.stack(moves, 1))


class BayesRegretLearner:
    """The posterior over the weights of the delivery task under the regret model, and queries that tell most about it.

    Args:
        study: its seed is that of the posterior's sample.
    """

    def __init__(self, study: Study) -> None:
        self._frame_ms, self._seed = study.frame_ms, study.seed
        self.process = delivery.board_mdp(np.array(delivery.BOARD)[None])
        self._true = mdp.reward(self.process, np.array(delivery.WEIGHTS))
        self._condensed = condense(self.process)
        self._values = OptimalValues(self._condensed.mdp)
        self._sample: posterior.Sample | None = None

    def _comparison(self, first: Segments, second: Segments) -> comparisons.Comparison:
        return comparisons.regret(self._condensed.mdp, self._condensed.renumbered(delivery_pairs(first, second)))

    def _second(self, first: Segments, second: Segments) -> np.ndarray:
        """Return the probability (K, n) that each draw gives to the second being preferred."""
        assert self._sample is not None
        question, weights = self._comparison(first, second), self._sample.weights
        return BradleyTerry().probability(question.features @ weights.T + question.values @ self._values(weights))

    def fit(self, feedback: Feedback, candidates: tuple[Segments, Segments]) -> Fitted:
        """Learn from all answers (N > 0), and rate K candidates.

        Raises:
            DivergenceError: no sample follows the likelihood of the answers.
        """
        likelihood = posterior.likelihood(
            self._values, self._comparison(feedback.first, feedback.second), feedback.answers.labels
        )
        d = self.process.features.shape[-1]
        [self._sample] = posterior.samples(likelihood, [len(feedback)], self._seed, d)
        priority = np.zeros(0)
        if len(candidates[0]):
            priority = expected_information(self._second(*candidates), self._sample.probability)
        weights = posterior.bayes_weights(self._values, self._sample)
        policy = mdp.optimal_policy(self.process, mdp.reward(self.process, weights))
        score = float(mdp.normalised_return(self.process, self._true, policy)[0])
        return Fitted(priority, score, self._film(policy[0].argmax(-1)))

    def _film(self, actions: np.ndarray) -> bytes:
        """Return a film of what a policy does from the cell at the top left."""
        assert self.process.next_state is not None
        board, cell = np.array(delivery.BOARD), 0
        path, moves = [divmod(cell, board.shape[1])], []
        for _ in range(20):
            if self.process.terminal[0, cell]:
                break
            moves.append(int(actions[cell]))
            cell = int(self.process.next_state[0, cell, moves[-1]])
            path.append(divmod(cell, board.shape[1]))
        frames = [rendering.rgb(board, path[t], path[: t + 1], moves[:t]) for t in range(len(path))]
        return make_film(frames, self._frame_ms // 2).film

    def predict(self, first: Segments, second: Segments) -> np.ndarray | None:
        """Return the posterior mean probabilities (N,) of the second, by the last fit; None before the first."""
        if self._sample is None:
            return None
        found: np.ndarray = self._second(first, second) @ self._sample.probability
        return found


class EnsembleLearner:
    """An ensemble of reward models of steps, and queries about which its members disagree.

    Pictures among the observations are reduced to 16 x 16 grey ones.

    Raises:
        ImportError: torch is not installed.
    """

    def __init__(self, study: Study) -> None:
        import torch

        self._generator = torch.Generator().manual_seed(study.seed % 2**63)
        self._model: Any = None
        self._actions: int | None = None

    def _inputs(self, segments: Segments) -> Segments:
        observations = segments.observations
        named = observations if isinstance(observations, dict) else {"": observations}
        seen = {name: _reduced(value) for name, value in named.items()}
        found: Any = seen if isinstance(observations, dict) else seen[""]
        return Segments(found, segments.actions, lengths=segments.lengths)

    def _discrete(self, *segments: Segments) -> int | None:
        """Return the number of discrete actions, as far as it has been seen, None where actions are numbers."""
        first = segments[0].actions
        if first.ndim != 2 or first.dtype.kind not in "iu":
            return None
        return max(int(one.actions.max(initial=0)) for one in segments if len(one)) + 1

    def fit(self, feedback: Feedback, candidates: tuple[Segments, Segments]) -> Fitted:
        """Learn from all answers (N > 0), and rate K candidates.

        Raises:
            DivergenceError: the models diverged.
        """
        import torch

        from valuegym.agents.reward_models.bradley_terry import fit_pairs, reward_ensemble
        from valuegym.agents.reward_models.fitting import FitSettings
        from valuegym.agents.reward_models.pairs import feedback_pairs, segment_pairs
        from valuegym.agents.reward_models.queries import disagreement

        self._actions = self._discrete(feedback.first, feedback.second, *candidates)
        known = Feedback(self._inputs(feedback.first), self._inputs(feedback.second), feedback.answers)
        pairs = feedback_pairs(known, self._actions)
        self._model = reward_ensemble(pairs.inputs.shape[-1], self._generator, MEMBERS, HIDDEN)
        fit_pairs(self._model, pairs, FitSettings(STEPS, bagging=True), self._generator)
        priority = np.zeros(0)
        if len(candidates[0]):
            with torch.no_grad():
                one, two = (self._inputs(side) for side in candidates)
                logits = self._model(segment_pairs(one, two, None, self._actions))
                priority = disagreement(logits).double().numpy()
        return Fitted(priority, math.nan, None)

    def predict(self, first: Segments, second: Segments) -> np.ndarray | None:
        """Return the members' mean probabilities (N,) of the second, by the last fit; None before the first."""
        import torch

        from valuegym.agents.reward_models.pairs import segment_pairs

        count = self._discrete(first, second)
        if self._model is None or (count is not None and self._actions is not None and count > self._actions):
            return None
        with torch.no_grad():
            logits = self._model(segment_pairs(self._inputs(first), self._inputs(second), None, self._actions))
            found: np.ndarray = logits.sigmoid().mean(0).double().numpy()
        return found


def _reduced(value: np.ndarray) -> np.ndarray:
    """Return observations (N, L, ...) as numbers, pictures as small grey ones from 0 to 1."""
    if value.ndim != 5 or value.dtype != np.uint8:
        return value.astype(np.float64)
    rows, columns = (np.linspace(0, size, PIXELS + 1).astype(int)[:-1] for size in value.shape[2:4])
    grey = value.mean(-1)
    sums = np.add.reduceat(np.add.reduceat(grey, rows, 2), columns, 3)
    counts = np.diff([*rows, value.shape[2]])[:, None] * np.diff([*columns, value.shape[3]])
    return sums / counts / 255.0
