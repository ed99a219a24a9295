"""Preferences and control at once: control a regulator whose dynamics are seen and whose cost is only preferred."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, elementary, keys
from valuegym.envs.control import lqr, riccati
from valuegym.envs.control.lqr import PHYSICAL
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.plugins import installed, is_reference
from valuegym.envs.preference import annotators, models, query
from valuegym.envs.preference.own_annotators import GROUP, OwnAnnotator, resolve
from valuegym.envs.preference.query import LOWEST, QueryCore, State
from valuegym.envs.preference.random_delivery import SPLITS
from valuegym.envs.rendering import control as rendering

__all__ = ["EVALUATION_POINTS", "LQRFromPreferences", "Pair", "Query", "RegulatorSource", "State", "Task", "read"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

EVALUATION_POINTS = (0, 10, 30, 100, 300)
ANNOTATORS = ("regret", "regret-noiseless", "partial-return", "partial-return-noiseless")
MAX_GAIN = 15.0  # N per unit of the observation that action 1 stands for
FORCE = 2.0  # N, standard deviation of the forces in segments and transitions
CLEAR = 2.0  # median difference between two segments, in temperatures
LONGEST, MOST_TRANSITIONS, MOST_DISTRACTORS = 1000, 100_000, 64  # that an episode may hold, for memory's sake
CALIBRATION = 64  # pairs that this median is over
_NUMBERS, _MAP, _ROTATION, _ORDER, _SIGN = range(5)  # what is drawn at reset
_TRANSITIONS, _PAIRS = -2, -3  # numbers that no pair has


class Task(NamedTuple):
    """One regulator, n dimensions, and all that follows from it; systems in its own coordinates (position first).

    The data, the features and the rotation (only through the features) are observed, everything else is hidden.
    """

    key: Array  # (B,)
    rotation: Array  # (B, n, n): from its own coordinates to the observed ones, orthogonal
    states: Array  # (B, N, n) float32, observed
    actions: Array  # (B, N, 1) float32: forces in N
    next_states: Array  # (B, N, n) float32, observed
    features: Array  # (B, n, n, n) float32: quadratic forms of the observed states
    A: Array  # (B, n, n)
    B: Array  # (B, n, 1)
    Q: Array  # (B, n, n): the true cost of states, diagonal
    R: Array  # (B, 1, 1): of the force
    W: Array  # (B, n, n): covariance of the noise, diagonal
    start: Array  # (B, n, n): covariance of the starts, diagonal
    K: Array  # (B, 1, n): the optimal gain
    curvature: Array  # (B, 1, 1): what a squared deviation from it costs
    temperature: Array  # (B,): of noisy answers, in units of cost
    naive: Array  # (B,): cost of no force
    best: Array  # (B,): cost of the optimal gain


class Pair(NamedTuple):
    """Pairs of segments: states (..., 2, L + 1, n) and actions (..., 2, L, 1), forces in N."""

    states: Array
    actions: Array


class Query(NamedTuple):
    """One observation with its shapes restored: what `read` returns.

    N transitions: states (N, n), actions (N, 1) in newtons, next_states (N, n); features (n, n, n), the quadratic
    forms whose weighted sum the cost of states is; discount; the pair as pair_states (2, L + 1, n) and pair_actions
    (2, L, 1); answer FIRST, SECOND, SAME or CANNOT_TELL; num_queries so far, is_evaluation_point bool. All float64.
    """

    states: Floats
    actions: Floats
    next_states: Floats
    features: Floats
    discount: float
    pair_states: Floats
    pair_actions: Floats
    answer: int
    num_queries: int
    is_evaluation_point: bool


def read(observation: dict[str, Array]) -> Query:
    """Restore the shapes of one flat observation; they follow from the lengths alone."""
    wide = {name: np.asarray(value, np.float64) for name, value in observation.items()}
    n = wide["transition_states"].size // wide["transition_actions"].size
    return Query(
        wide["transition_states"].reshape(-1, n),
        wide["transition_actions"].reshape(-1, 1),
        wide["transition_next_states"].reshape(-1, n),
        wide["features"].reshape(-1, n, n),
        float(wide["discount"][0]),
        wide["segment_states"].reshape(2, -1, n),
        wide["segment_actions"].reshape(2, -1, 1),
        int(observation["label"]),
        int(observation["num_queries"][0]),
        bool(observation["is_evaluation_point"]),
    )


def _real(size: int) -> gym.spaces.Box:
    """Return the space of so many unbounded numbers."""
    return gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)


def _times(matrices: Array, vectors: Array) -> Floats:
    """Return products (B, ..., m) of matrices (B, m, n) and vectors (B, ..., n), bit-identical for any B."""
    shape = (len(matrices), *(1,) * (vectors.ndim - 2), *matrices.shape[1:])
    return elementary.dot(matrices.reshape(shape), vectors[..., None, :])


class RegulatorSource:
    """A source (`query.Source`) of linear regulators, whose quadratic costs are hidden and estimates are controllers.

    The arguments are those of `LQRFromPreferences`.

    Raises:
        ValueError: an argument is not as its table says.
    """

    discount = 0.99
    random = True
    policy: bool | None = None
    available: int | None = None
    hashes: tuple[str, ...] = ()

    def __init__(
        self,
        annotator: Any,
        split: str,
        length: int,
        transitions: int,
        distractors: int,
        distractor_scale: float,
        rotated: bool,
    ) -> None:
        own = not isinstance(annotator, str) or is_reference(annotator) or annotator in installed(GROUP)
        if not own and annotator not in ANNOTATORS:
            names = (*ANNOTATORS, "FILE.py:NAME", "PACKAGE.MODULE:NAME")
            expected = f"one of {', '.join(map(repr, names))}, an installed plug-in or a function"
            raise checks.refusal("annotator", annotator, expected)
        self.annotator = resolve(annotator)
        if isinstance(self.annotator, OwnAnnotator):
            self.hashes = self.annotator.hashes
        elif not isinstance(self.annotator.statistic, (models.Regret, models.PartialReturn)):
            raise ValueError(
                f"The annotator {annotator} compares {self.annotator.statistic}; expected regret or partial return."
            )
        self.split = checks.choice("split", split, SPLITS)
        self.length = length = checks.integer("length", length, 1, LONGEST)
        self.transitions = transitions = checks.integer("transitions", transitions, 1, MOST_TRANSITIONS)
        self.rotated = checks.flag("rotated", rotated)
        distractors = checks.integer("distractors", distractors, 0, MOST_DISTRACTORS)
        self.plain = lqr.Parameters(distractors=distractors, distractor_scale=distractor_scale)
        self.n = n = PHYSICAL + distractors
        self.spaces: dict[str, gym.Space[Any]] = {
            "transition_states": _real(transitions * n),
            "transition_actions": _real(transitions),
            "transition_next_states": _real(transitions * n),
            "features": gym.spaces.Box(-1, 1, (n**3,), np.float32),
            "discount": gym.spaces.Box(0, 1, (1,), np.float64),
        }
        self.action_space: gym.spaces.Box = gym.spaces.Box(-1, 1, (n,), np.float32)

    def pair_spaces(self, name: str, n: int) -> dict[str, gym.Space[Any]]:
        """Return the spaces of n pairs."""
        return {
            f"{name}_states": _real(2 * n * (self.length + 1) * self.n),
            f"{name}_actions": _real(2 * n * self.length),
        }

    def parameters(self, key: keys.Key) -> list[lqr.Parameters]:
        """The regulators of these episodes (B,), in their own coordinates.

        Masses are uniform between half and twice that of `LQR-v0`, square roots of costs likewise.
        """
        factor = 0.5 + 1.5 * keys.uniform(keys.mix(key, keys.RESET)[:, None], _NUMBERS, np.arange(4))
        maps = keys.seeds(key, 2**31, keys.RESET, _MAP)
        p = self.plain
        return [
            replace(
                p,
                mass=p.mass * mass,
                position_cost=p.position_cost * position**2,
                velocity_cost=p.velocity_cost * velocity**2,
                force_cost=p.force_cost * force**2,
                map_seed=seed,
            )
            for (mass, position, velocity, force), seed in zip(factor.tolist(), maps, strict=True)
        ]

    def _rotations(self, key: keys.Key, parameters: list[lqr.Parameters]) -> Array:
        """From the regulators' own coordinates to the observed ones, (B, n, n)."""
        if self.rotated:
            return np.stack([lqr.rotation(replace(p, rotated=True)) for p in parameters])
        sign = np.where(keys.uniform(key[:, None], keys.RESET, _SIGN, np.arange(self.n)) < 0.5, -1.0, 1.0)
        return np.eye(self.n)[keys.permutation(key, self.n, keys.RESET, _ROTATION)] * sign[:, None]

    def draw(self, key: keys.Key) -> Task:
        """Draw a regulator, solve it for scoring, and let it move under random forces."""
        key = keys.mix(key, keys.RESET, tuple(SPLITS).index(self.split))
        B, n, discount = len(key), self.n, self.discount
        parameters = self.parameters(key)
        each = [lqr.system(p) for p in parameters]
        A, drive, Q, R, W = (np.stack([s[i] for s in each]) for i in range(5))
        system = riccati.LinearSystem(A, drive, Q, R, W, discount)
        start = np.stack([lqr.start_covariance(p) for p in parameters])
        least = riccati.optimal(system)
        naive = riccati.mean_cost(riccati.cost_of(system, np.zeros((B, 1, n))), start)
        rotation = self._rotations(key, parameters)
        listed = rotation[
            np.arange(B)[:, None], :, keys.permutation(key, n, keys.RESET, _ORDER)
        ]  # (B, n, n), an axis each
        unseen = np.zeros((B, self.transitions, n), np.float32)
        task = Task(
            key=key,
            rotation=rotation,
            states=unseen,
            actions=unseen[..., :1],
            next_states=unseen,
            features=(listed[..., :, None] * listed[..., None, :]).astype(np.float32),
            A=A,
            B=drive,
            Q=Q,
            R=R,
            W=W,
            start=start,
            K=riccati.gain(system, least.P),
            curvature=riccati.curvature(system, least.P),
            temperature=np.ones(B),
            naive=naive,
            best=riccati.mean_cost(least, start),
        )
        states, forces = self.play(task, keys.mix(key[:, None], _TRANSITIONS, np.arange(self.transitions)), 1)
        seen = _times(rotation, states).astype(np.float32)
        costs = self.costs(
            task, *self.play(task, keys.mix(key[:, None], _PAIRS, np.arange(2 * CALIBRATION)), self.length)
        )
        difference = np.abs(costs[:, 1::2] - costs[:, ::2])
        return task._replace(
            states=seen[:, :, 0].copy(),
            actions=forces[:, :, 0].astype(np.float32),
            next_states=seen[:, :, 1].copy(),
            temperature=np.median(difference, -1) / CLEAR,
        )

    def play(self, task: Task, key: keys.Key, steps: int) -> tuple[Floats, Floats]:
        """States (B, M, steps + 1, n), in own coordinates, and forces (B, M, steps, 1) under these keys (B, M).

        States begin with the covariance of starts, normal; forces are normal with standard deviation 2 N.
        """
        spread, kick = (np.sqrt(np.diagonal(field, axis1=1, axis2=2))[:, None] for field in (task.start, task.W))
        dimensions, key = np.arange(self.n), key[..., None]
        forces = FORCE * keys.normal(key, 1, np.arange(steps))[..., None]
        s = spread * keys.normal(key, 0, dimensions)
        states = [s]
        for t in range(steps):
            s = _times(task.A, s) + _times(task.B, forces[:, :, t]) + kick * keys.normal(key, 2 + t, dimensions)
            states.append(s)
        return np.stack(states, 2), forces

    def regrets(self, task: Task, states: Floats, forces: Floats) -> Floats:
        """Return the regret of each step, (B, M, L), under the true cost."""
        K, S = task.K[:, None, None], task.curvature[:, None, None]
        return riccati.regret(K, S, states[:, :, :-1], forces)

    def step_costs(self, task: Task, states: Floats, forces: Floats) -> Floats:
        """Return the cost of each step, (B, M, L)."""
        Q, R = (np.diagonal(field, axis1=1, axis2=2)[:, None, None] for field in (task.Q, task.R))
        s = states[:, :, :-1]
        return elementary.dot(Q, s * s) + elementary.dot(R, forces * forces)

    def costs(self, task: Task, states: Floats, forces: Floats) -> Floats:
        """Return what the annotator compares, (B, M): regrets of segments, or their costs, both under the true cost."""
        by_regret = isinstance(self.annotator, annotators.Simulated) and isinstance(
            self.annotator.statistic, models.Regret
        )
        each = (self.regrets if by_regret else self.step_costs)(task, states, forces)
        discounts = np.asarray(self.discount ** np.arange(each.shape[-1]), np.float64)
        return elementary.dot(discounts, each)

    def pool(self, task: Task, number: Array, n: int) -> tuple[Pair, Array]:
        """Return n candidates (B, n, 2, ...) for pair `number` (B,), from 1, and their answers (B, n)."""
        B, key = len(number), query.candidate_keys(task.key, number, n)
        states, forces = self.play(task, keys.mix(key[..., None], np.arange(2)).reshape(B, 2 * n), self.length)
        if isinstance(self.annotator, OwnAnnotator):
            segments = self._segments(task, states, forces)
            codes = self.annotator.codes(key, lambda rows: (segments[2 * rows], segments[2 * rows + 1]))
            return self._pair(states, forces, n), codes
        costs = self.costs(task, states, forces).reshape(B, n, 2)
        label = self.annotator.choice.label(
            (costs[..., 0] - costs[..., 1]) / task.temperature[:, None], keys.uniform(key, 2)
        )
        return self._pair(states, forces, n), annotators.answer_codes(label)

    @staticmethod
    def _pair(states: Floats, forces: Floats, n: int) -> Pair:
        B = len(states)
        return Pair(states.reshape(B, n, 2, *states.shape[2:]), forces.reshape(B, n, 2, *forces.shape[2:]))

    def _segments(self, task: Task, states: Floats, forces: Floats) -> Segments:
        """Return segments (B * M) in observed coordinates, for an annotator of one's own; rewards in temperatures."""
        B, M, L = forces.shape[:3]
        scale = task.temperature[:, None, None]
        rewards, advantages = (-part(task, states, forces) / scale for part in (self.step_costs, self.regrets))
        return Segments(
            _times(task.rotation, states.reshape(B, -1, self.n)).reshape(B * M, L + 1, self.n),
            forces.reshape(B * M, L, 1),
            rewards.reshape(B * M, L),
            info={"advantages": advantages.reshape(B * M, L), "discount": np.full(B * M, self.discount)},
        )

    def observation(self, task: Task) -> dict[str, Array]:
        """Return the data, and what the cost may be made of."""
        B = len(task.key)
        return {
            "transition_states": task.states.reshape(B, -1).copy(),
            "transition_actions": task.actions.reshape(B, -1).copy(),
            "transition_next_states": task.next_states.reshape(B, -1).copy(),
            "features": task.features.reshape(B, -1).copy(),
            "discount": np.full((B, 1), self.discount),
        }

    def flat(self, name: str, task: Task, pairs: Pair) -> dict[str, Array]:
        """Return pairs (B, ...) in observed coordinates, flattened, under a name."""
        states = _times(task.rotation, pairs.states.reshape(len(task.key), -1, self.n))
        return query.lay_flat(name, Pair(states, pairs.actions), {"states": np.float32, "actions": np.float32})

    def cost(self, task: Task, estimate: Array) -> Floats:
        """Return the expected discounted cost (B,) of controllers (B, n); infinite where they are unstable."""
        K = _times(task.rotation.swapaxes(-1, -2), MAX_GAIN * estimate.astype(np.float64))[:, None]
        system = riccati.LinearSystem(task.A, task.B, task.Q, task.R, task.W, self.discount)
        return riccati.mean_cost(riccati.cost_of(system, K), task.start)

    def score(self, task: Task, estimate: Array) -> Floats:
        """Return the score (B,) of controllers (B, n): log(naive / cost) / log(naive / best), clipped to -1."""
        costs = zip(task.naive.tolist(), self.cost(task, estimate).tolist(), task.best.tolist(), strict=True)
        return np.array(  # Python's logarithm: numpy's may depend on how many are taken at once
            [max(math.log(naive / cost) / math.log(naive / best), LOWEST) if cost < math.inf else LOWEST
             for naive, cost, best in costs]
        )  # fmt: skip

    def oracle(self, task: Task) -> Array:
        """Return the optimal gain."""
        return (_times(task.rotation, task.K)[:, 0] / MAX_GAIN).astype(np.float32)

    def render(self, mode: str, task: Task, pair: Pair, number: int, answer: int) -> Any:
        """Draw the pair side by side, positions over steps with the forces as arrows, and its answer."""
        (states, forces), names = pair, ("first", "second")
        if mode == "ansi":
            lines = [
                f"{name:>6}: position "
                + " ".join(f"{x:+.2f}" for x in states[0, i, :, 0])
                + " m  force "
                + " ".join(f"{u:+.2f}" for u in forces[0, i, :, 0])
                + " N"
                for i, name in enumerate(names)
            ]
            return "\n".join((*lines, query.caption(number, answer)))
        return rendering.pair(states[0], forces[0, :, :, 0], PHYSICAL, query.caption(number, answer), answer)


class LQRFromPreferences(QueryCore):
    """Control a linear regulator whose cost is known from an annotator's preferences only.

    ## Description
    Every episode is a new regulator: a mass on a line as in `LQR-v0` among distracting dimensions, with its own mass,
    costs of position, velocity and force, and coordinates. Transitions are given, from which to learn the
    dynamics; costs are not. Each step shows one pair of segments, both with random forces, and which of them the
    annotator prefers. Both halves of a value are tested at once: whether the learnt reward has the right optimal
    controller, which the statistic decides (Knox et al. 2024), and whether a model that cannot hold everything holds
    what the value function is sensitive to (Voelcker et al. 2022). In a linear system both are exact: the annotator's
    regret is a closed form, and so is the cost of every controller.

    ## Observation
    A flat Dict, n = 2 + `distractors`. The data, the same in every step: `transition_states` (N*n,),
    `transition_actions` (N,) forces in N, `transition_next_states` (N*n,). What the cost may be made of: `features`
    (n*n*n,), n quadratic forms of the state in random order; the cost is an unknown weighted sum of them and the
    force squared, weights at least 0. `discount` (1,). The last pair: `segment_states` (2*(L+1)*n,), `segment_actions`
    (2*L,), `label` (0 first, 1 second, 2 same, 3 can't tell). `num_queries` (1,): pairs answered so
    far; `is_evaluation_point`: 1 when the action answering this observation is scored. The observation at reset shows
    no pair (zeros, label 3). `read(observation)` restores the shapes. Coordinates are position, velocity and
    distractors in random order and with random signs or, if `rotated`, turned by a random orthogonal matrix.

    ## Action
    Box(-1, 1, (n,)): a linear controller, u = -K s with K = 15 N times the action, s as observed and u unbounded. The
    optimal gains of all tasks lie within. Only actions at evaluation points count.

    ## Reward
    0 until the end, so that it gives no feedback; then the mean score over all evaluation points.

    ## Episode end
    Terminates with the action at the last evaluation point: after 0, 10, 30, 100 and 300 pairs by default. No time
    limit.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `annotator` | str or function | "regret" | | who answers: one of `ANNOTATORS`, or as in `own_annotators` |
    | `split` | str | "test" | | "train", "dev" or "test", whose regulators are disjoint |
    | `evaluation_points` | ints | `EVALUATION_POINTS` | pairs | when a controller is scored; increasing, 0 allowed |
    | `length` | int | 5 | steps | of a segment, 1 to 1,000 |
    | `transitions` | int | 1000 | | N, 1 to 100,000 |
    | `distractors` | int | 4 | | dimensions besides position and velocity, at most 64 |
    | `distractor_scale` | float | 1.0 | | their size, as in `LQR-v0` |
    | `rotated` | bool | False | | whether coordinates are turned, as in `LQR-v0` |

    Annotators are Bradley-Terry, and the median difference between two segments, over 64 other pairs of the task, is 2
    temperatures; with "-noiseless" they never err. Annotators of your own see rewards in these temperatures.

    Raises:
        ValueError: an argument is not as stated.

    ## Oracle and naive scores
    An estimate is scored by the expected discounted cost J of its controller for ever, over starts of covariance
    `lqr.start_covariance`, from the Lyapunov equation: log(J_0 / J) / log(J_0 / J*), where J_0 is the cost of no force,
    J* the least one by the Riccati equation. So no force scores 0, the optimal controller 1, and the mean of scores is
    a geometric mean of costs. Costs go up to infinity: scores are clipped to -1, which an unstable controller gets.

    ## Source
    Knox et al. (2024), TMLR; Voelcker et al. (2022), ICLR; Anderson and Moore (1990).

    ## Version history
    v0: first version.
    """

    def __init__(
        self,
        annotator: Any = "regret",
        split: str = "test",
        evaluation_points: Sequence[int] = EVALUATION_POINTS,
        length: int = 5,
        transitions: int = 1000,
        distractors: int = 4,
        distractor_scale: float = 1.0,
        rotated: bool = False,
    ) -> None:
        source = RegulatorSource(annotator, split, length, transitions, distractors, distractor_scale, rotated)
        super().__init__(source, evaluation_points)
