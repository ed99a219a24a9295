"""Preferences and control at once: control a regulator whose dynamics are seen and whose cost is only preferred."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import elementary, keys
from valuegym.envs.control import lqr, pictures, riccati
from valuegym.envs.control.lqr import PHYSICAL
from valuegym.envs.preference import annotators, models, queries
from valuegym.envs.preference.queries import State
from valuegym.envs.preference.random_delivery import SPLITS

__all__ = ["EVALUATION_POINTS", "LQRFromPreferences", "Query", "State", "Task", "read"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

EVALUATION_POINTS = (0, 10, 30, 100, 300)
ANNOTATORS = ("regret", "regret-noiseless", "partial-return", "partial-return-noiseless")
MAX_GAIN = 15.0  # N per unit of the observation that action 1 stands for
FORCE = 2.0  # N, standard deviation of the forces in segments and transitions
CLEAR = 2.0  # median difference between two segments, in temperatures
CALIBRATION = 64  # pairs that this median is over
LOWEST = -1.0  # score
_NUMBERS, _MAP, _ROTATION, _ORDER, _SIGN = range(5)  # what is drawn at reset
_TRANSITIONS, _PAIRS = -2, -3  # numbers of no pair that is shown


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


def _times(matrices: Array, vectors: Array) -> Floats:
    """Products of matrices (B, m, n) with vectors (B, ..., n): (B, ..., m), in the same bits for any B."""
    shape = (len(matrices), *(1,) * (vectors.ndim - 2), *matrices.shape[1:])
    return elementary.dot(matrices.reshape(shape), vectors[..., None, :])


class LQRFromPreferences:
    """Control a linear regulator whose cost is known from an annotator's preferences only.

    ## Description
    Every episode is a new regulator: a mass on a line as in `LQR-v0` among distracting dimensions, of its own mass, its
    own costs of position, velocity and force, and its own coordinates. Transitions are shown, from which to learn the
    dynamics; costs are not. Each step shows one pair of segments, both with random forces, and which of them the
    annotator prefers. It asks for both halves of a value at once: whether the learnt reward has the right optimal
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
    0 until the end, so that it is no feedback; then the mean score over all evaluation points.

    ## Episode end
    Terminates with the action at the last evaluation point: after 0, 10, 30, 100 and 300 pairs by default. No time
    limit.

    ## Arguments
    `annotator`: "regret" or "partial-return" (Bradley-Terry; the median difference between two segments, over 64 other
    pairs of the task, is 2 temperatures), or the same with "-noiseless". `split`: "train", "dev" or "test", whose
    regulators are drawn apart. `evaluation_points`: as above. `length` (5): steps of a
    segment. `transitions` (1000): N. `distractors` (4), `distractor_scale` (1), `rotated` (False): as in `LQR-v0`.

    ## Oracle and naive scores
    An estimate is scored by the expected discounted cost J of its controller for ever, over starts of covariance
    `lqr.start_covariance`, from the Lyapunov equation: log(J_0 / J) / log(J_0 / J*), where J_0 is the cost of no force,
    J* the least one by the Riccati equation. So no force scores 0, the optimal controller 1, and the mean of scores is
    a geometric mean of costs. Costs go up to infinity: scores are cut at -1, which an unstable controller gets.

    ## Source
    Knox et al. (2024), TMLR; Voelcker et al. (2022), ICLR; Anderson and Moore (1990).

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}
    discount = 0.99
    tolerance = 1e-9  # scores come from linear solves, which differ between processors in the last digits
    random = True  # every task is drawn
    checkpoint = 250  # a record holds every 250th state

    def __init__(
        self,
        annotator: str = "regret",
        split: str = "test",
        evaluation_points: Sequence[int] = EVALUATION_POINTS,
        length: int = 5,
        transitions: int = 1000,
        distractors: int = 4,
        distractor_scale: float = 1.0,
        rotated: bool = False,
    ) -> None:
        if annotator not in ANNOTATORS:
            raise ValueError(f"annotator = {annotator!r}; expected one of {ANNOTATORS}.")
        if split not in SPLITS:
            raise ValueError(f"split = {split!r}; expected one of {tuple(SPLITS)}.")
        for name, number in (("length", length), ("transitions", transitions)):
            if type(number) is not int or number < 1:
                raise ValueError(f"{name} = {number!r}; expected an integer of at least 1.")
        self.evaluation_points = queries.check_evaluation_points(evaluation_points)
        self.annotator = annotators.by_name(annotator)
        self.split, self.length, self.transitions, self.rotated = split, length, transitions, rotated
        self.plain = lqr.Parameters(distractors=distractors, distractor_scale=distractor_scale)
        n, box = PHYSICAL + distractors, gym.spaces.Box
        self.n = n

        def real(size: int) -> gym.spaces.Box:
            return box(-np.inf, np.inf, (size,), np.float32)

        self.observation_space = gym.spaces.Dict(
            {
                "transition_states": real(transitions * n),
                "transition_actions": real(transitions),
                "transition_next_states": real(transitions * n),
                "features": box(-1, 1, (n**3,), np.float32),
                "discount": box(0, 1, (1,), np.float64),
                "segment_states": real(2 * (length + 1) * n),
                "segment_actions": real(2 * length),
                "label": gym.spaces.Discrete(4),
                "num_queries": box(0, self.evaluation_points[-1] + 1, (1,), np.int64),
                "is_evaluation_point": gym.spaces.Discrete(2),
            }
        )
        self.action_space = gym.spaces.Box(-1, 1, (n,), np.float32)

    def parameters(self, key: keys.Key) -> list[lqr.Parameters]:
        """The regulators of these episodes (B,), in their own coordinates.

        Masses are uniform between half and twice that of `LQR-v0`, square roots of costs likewise.
        """
        factor = 0.5 + 1.5 * keys.uniform(keys.mix(key, keys.RESET)[:, None], _NUMBERS, np.arange(4))
        maps = keys.integers(key, 2**31, keys.RESET, _MAP)
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
            for (mass, position, velocity, force), seed in zip(factor.tolist(), maps.tolist(), strict=True)
        ]

    def _rotations(self, key: keys.Key, parameters: list[lqr.Parameters]) -> Array:
        """From the regulators' own coordinates to the observed ones, (B, n, n)."""
        if self.rotated:
            return np.stack([lqr.rotation(replace(p, rotated=True)) for p in parameters])
        sign = np.where(keys.uniform(key[:, None], keys.RESET, _SIGN, np.arange(self.n)) < 0.5, -1.0, 1.0)
        return np.eye(self.n)[keys.permutation(key, self.n, keys.RESET, _ROTATION)] * sign[:, None]

    def initial(self, key: keys.Key) -> tuple[Task, State]:
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
        apart = np.abs(costs[:, 1::2] - costs[:, ::2])
        task = task._replace(
            states=seen[:, :, 0].copy(),
            actions=forces[:, :, 0].astype(np.float32),
            next_states=seen[:, :, 1].copy(),
            temperature=np.median(apart, -1) / CLEAR,
        )
        return task, State(np.zeros(B, np.int64), np.zeros((B, len(self.evaluation_points))))

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

    def costs(self, task: Task, states: Floats, forces: Floats) -> Floats:
        """What the annotator compares, (B, M): regrets of segments, or what they cost, both under the true cost."""
        s = states[:, :, :-1]
        if isinstance(self.annotator.statistic, models.Regret):
            K, S = task.K[:, None, None], task.curvature[:, None, None]
            each = riccati.regret(K, S, s, forces)
        else:
            Q, R = (np.diagonal(field, axis1=1, axis2=2)[:, None, None] for field in (task.Q, task.R))
            each = elementary.dot(Q, s * s) + elementary.dot(R, forces * forces)
        discounts = np.asarray(self.discount ** np.arange(each.shape[-1]), np.float64)
        return elementary.dot(discounts, each)

    def query(self, task: Task, number: Array) -> tuple[Floats, Floats, Array]:
        """Pair number `number` (B,), from 1: states (B, 2, L + 1, n), forces (B, 2, L, 1) and answers (B,).

        States are in the regulator's own coordinates. Blank before the first and after the last.
        """
        key = keys.mix(task.key, number)
        states, forces = self.play(task, keys.mix(key[:, None], np.arange(2)), self.length)
        costs = self.costs(task, states, forces)
        label = self.annotator.choice.label((costs[:, 0] - costs[:, 1]) / task.temperature, keys.uniform(key, 2))
        blank = (number < 1) | (number > self.evaluation_points[-1])
        states[blank], forces[blank] = 0.0, 0.0
        return states, forces, np.where(blank, annotators.CANNOT_TELL, annotators.answer_codes(label))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Score the controller at evaluation points, then show the next pair."""
        is_evaluation_point = state.num_queries[:, None] == np.array(self.evaluation_points)
        scores = (
            np.where(is_evaluation_point, self.score(task, action)[:, None], state.scores)
            if is_evaluation_point.any()
            else state.scores.copy()
        )
        return State(np.minimum(state.num_queries + 1, self.evaluation_points[-1] + 1), scores)

    def cost(self, task: Task, action: Array) -> Floats:
        """The expected discounted cost (B,) of controllers (B, n); infinite where they are unstable."""
        K = _times(task.rotation.swapaxes(-1, -2), MAX_GAIN * action.astype(np.float64))[:, None]
        system = riccati.LinearSystem(task.A, task.B, task.Q, task.R, task.W, self.discount)
        return riccati.mean_cost(riccati.cost_of(system, K), task.start)

    def score(self, task: Task, action: Array) -> Floats:
        """The score (B,) of controllers (B, n): log(naive / cost) / log(naive / best), cut at -1."""
        costs = zip(task.naive.tolist(), self.cost(task, action).tolist(), task.best.tolist(), strict=True)
        return np.array(  # Python's logarithm: numpy's may depend on how many are taken at once
            [max(math.log(naive / cost) / math.log(naive / best), LOWEST) if cost < math.inf else LOWEST
             for naive, cost, best in costs]
        )  # fmt: skip

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the mean score at the last evaluation point, 0 before."""
        return np.where(self.terminal(task, next_state) & ~self.terminal(task, state), next_state.scores.mean(-1), 0.0)

    def terminal(self, task: Task, state: State) -> Array:
        """Return True after the last evaluation point."""
        return state.num_queries > self.evaluation_points[-1]

    def observation(self, task: Task, state: State) -> dict[str, Array]:
        """The data, the last pair and its answer."""
        B = len(state.num_queries)
        states, forces, answer = self.query(task, state.num_queries)
        return {
            "transition_states": task.states.reshape(B, -1).copy(),
            "transition_actions": task.actions.reshape(B, -1).copy(),
            "transition_next_states": task.next_states.reshape(B, -1).copy(),
            "features": task.features.reshape(B, -1).copy(),
            "discount": np.full((B, 1), self.discount),
            "segment_states": _times(task.rotation, states).reshape(B, -1).astype(np.float32),
            "segment_actions": forces.reshape(B, -1).astype(np.float32),
            "label": answer,
            "num_queries": state.num_queries[:, None].copy(),
            "is_evaluation_point": np.isin(state.num_queries, self.evaluation_points).astype(np.int64),
        }

    def references(self, task: Task) -> tuple[float, float]:
        """Scores are normalised already."""
        return 0.0, 1.0

    def oracle_action(self, task: Task, state: State) -> Array:
        """The optimal gain."""
        return (_times(task.rotation, task.K)[:, 0] / MAX_GAIN).astype(np.float32)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """The last pair side by side, positions over steps with the forces as arrows, and its answer."""
        number = states[-1].num_queries
        pair, forces, answer = self.query(task, number)
        count, code, names = int(number[0]), int(answer[0]), ("first", "second")
        if mode == "ansi":
            said = ("first preferred", "second preferred", "the same", "no answer")[code]
            lines = [
                f"{name:>6}: position "
                + " ".join(f"{x:+.2f}" for x in pair[0, i, :, 0])
                + " m  force "
                + " ".join(f"{u:+.2f}" for u in forces[0, i, :, 0])
                + " N"
                for i, name in enumerate(names)
            ]
            return "\n".join((*lines, f"pair {count}: {said}"))
        panels = []
        for i, name in enumerate(names):
            words = {i: "preferred", annotators.SAME: "the same", annotators.CANNOT_TELL: "no answer"}
            caption = f"pair {count}, {name}: {words.get(code, 'not preferred')}"
            panels.append(_panel(pair[0, i], forces[0, i, :, 0], caption, code == i))
        return np.concatenate(panels, 1)


def _panel(states: Floats, forces: Floats, caption: str, preferred: bool) -> Any:
    """Position (red), velocity (dark) and distractors (violet) of a segment over its steps, forces as arrows.

    A flag marks the preferred one.
    """
    scene, reach, top = pictures.Scene(3.6), 3.0, 2.1
    x, y = np.linspace(-reach, reach, len(states)).tolist(), np.clip(states, -top, top)
    scene.curve([(-reach, 0.0), (reach, 0.0)], pictures.SLATE, 2)
    if preferred:
        scene.flag((reach + 0.1, 0.0))
    traces = [(i, pictures.VIOLET, 2.0, 0.5) for i in range(PHYSICAL, states.shape[1])]
    for i, color, width, opacity in (*traces, (1, pictures.INK, 3.0, 1.0), (0, pictures.RED, 5.0, 1.0)):
        scene.curve(list(zip(x, y[:, i].tolist(), strict=True)), color, width, opacity)
    for at, position, force in zip(x, y[:, 0].tolist(), forces.tolist(), strict=False):
        scene.lift((at, position), force / 6.0, 60.0)
    return scene.image(caption)
