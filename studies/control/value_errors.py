"""Measure how wrong the values are that regret is computed from: of grids of some pitches, and of trained critics.

    python -m studies.control.value_errors [--seeds 3] [--minutes 60] [--table]

Grids are compared with those of half the pitch, and with what their greedy policy earns in the environment. Critics are
those of soft actor-critic without a model on the pendulum, where the grid knows the truth; the file of the last ones of
seed 0 is written beside the records, and the page says its SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from studies import harness, report
from studies.control import pendulum_offline as offline
from studies.control import pendulum_segments as segments
from studies.harness import Array, Key, Options, Records
from valuegym.agents.control.buffer import ReplayBuffer
from valuegym.agents.control.critic_values import CriticValues, encode
from valuegym.envs import keys as hashes
from valuegym.envs import rollouts
from valuegym.envs.control.optimal_values import values_of
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import Regret, Values
from valuegym.envs.feedback.values import GridValues
from valuegym.leaderboards.records.record import write_atomically

POINTS, STEPS = 4000, 600  # states that grids are compared at; of episodes that are played
EPISODES = 100
TRAINED = (1000, 2000, 5000)  # steps of the environment
WORLD = offline.World(number=0)
LENGTH, PAIRS = 3, 2000
FILE = "pendulum-critic.safetensors"
PLACES = ("any state", "visited")


class Row(NamedTuple):
    """One environment: nodes by default, one edge more on an axis that is not periodic, and bounds of its states."""

    cells: tuple[int, int]
    edges: tuple[int, int]
    low: tuple[float, float]
    high: tuple[float, float]
    action: Callable[[Array], Array]  # of controls


_CAR = ((330, 140), (1, 1), (-1.2, -0.07))
ROWS = {
    "valuegym/Pendulum-v0": Row((400, 320), (0, 1), (-np.pi, -8), (np.pi, 8), lambda u: u[:, None] / 2),
    "Pendulum-v1": Row((400, 320), (0, 1), (-np.pi, -8), (np.pi, 8), lambda u: u[:, None]),
    "valuegym/MountainCarContinuous-v0": Row(*_CAR, (0.45, 0.07), lambda u: u[:, None]),
    "MountainCarContinuous-v0": Row(*_CAR, (0.45, 0.07), lambda u: u[:, None]),
    "MountainCar-v0": Row(*_CAR, (0.5, 0.07), lambda u: np.rint(u).astype(np.int64) + 1),
}
REFINED = (
    "valuegym/Pendulum-v0",
    "valuegym/MountainCarContinuous-v0",
    "MountainCar-v0",
)  # the others have their values
ORACLES = ("valuegym/Pendulum-v0", "valuegym/MountainCarContinuous-v0")


@cache
def solved(id: str, scale: float) -> GridValues:
    """Return the values on a grid with so many times the cells of the default along each axis."""
    row = ROWS[id]
    nodes = tuple(round(scale * n) + edge for n, edge in zip(row.cells, row.edges, strict=True))
    found = values_of(gym.make(id), nodes=nodes)  # type: ignore[arg-type]
    assert isinstance(found, GridValues)
    return found


def drawn(id: str) -> tuple[Array, Array]:
    """Return observations and actions, drawn uniformly."""
    rng, row = np.random.default_rng(0), ROWS[id]
    x, v = (rng.uniform(low, high, POINTS) for low, high in zip(row.low, row.high, strict=True))
    seen = segments.observe(x, v) if "Pendulum" in id else np.stack([x, v], -1)
    controls = solved(id, 1).task.controls
    u = rng.choice(controls, POINTS) if solved(id, 1).task.discrete else rng.uniform(controls[0], controls[-1], POINTS)
    return seen, row.action(u)


def advantages(values: Values, seen: Array, actions: Array) -> tuple[Array, Array]:
    """Return V and A = Q - V."""
    value = values.value(seen)
    return value, values.action_value(seen, actions) - value


def compare(found: tuple[Array, Array], true: tuple[Array, Array]) -> list[float]:
    """Return bias, root mean square error and true deviation of V, and error, deviation and correlation of A."""
    value, advantage = (np.subtract(a, b) for a, b in zip(found, true, strict=True))
    correlation = np.corrcoef(found[1], true[1])[0, 1]
    return [value.mean(), _rms(value), true[0].std(), _rms(advantage), true[1].std(), correlation]


def _rms(error: Array) -> float:
    return float(np.sqrt((error**2).mean()))


def refinement(id: str, scale: float) -> list[float]:
    """Return the comparison of a grid with that of half the pitch, and mean and root mean square of its residual."""
    seen, actions = drawn(id)
    one, two = (advantages(solved(id, factor), seen, actions) for factor in (scale, 2 * scale))
    residual = solved(id, scale).residual(seen)
    return [*compare(one, two), residual.mean(), _rms(residual)]


def played(id: str) -> list[float]:
    """Return what the greedy policy earns less what its values say: mean and root mean square, and the mean value.

    Discounted, over starts of episodes, which last 600 steps at most.
    """
    values, row = solved(id, 1), ROWS[id]
    envs = gym.make_vec(id, num_envs=EPISODES, max_episode_steps=STEPS)
    seen, _ = envs.reset(seed=0)
    value, total, live = values.value(seen), np.zeros(EPISODES), np.ones(EPISODES, np.bool_)
    for t in range(STEPS):
        action = row.action(values.best_control(seen)).astype(envs.single_action_space.dtype)
        seen, reward, terminated, truncated, _ = envs.step(action)
        total += np.where(live, values.discount**t * reward, 0.0)
        live &= ~(terminated | truncated)
    return [(total - value).mean(), _rms(total - value), value.mean()]


def against_oracle(id: str) -> list[float]:
    """Return how much more the greedy policy earns in an episode than the suite's own oracle, and what that earns."""
    values, row = solved(id, 1), ROWS[id]
    core: Any = gym.make(id).unwrapped.core  # type: ignore[attr-defined]
    task, _ = core.initial(hashes.mix(0, np.arange(EPISODES)))

    def policy(state: Any, t: int) -> Array:
        return row.action(values.best_control(core.observation(task, state)))

    best = rollouts.returns(core, task, lambda state, t: core.oracle_action(task, state))
    return [(rollouts.returns(core, task, policy) - best).mean(), best.mean()]


# --- critics ---


def visited(buffer: ReplayBuffer, seed: int) -> Segments:
    """Return segments of the latest half of what a learner did, several episodes at a time in its buffer."""
    data, P, T = buffer.transitions, offline.PARALLEL, offline.LENGTH
    observation, action = (x.reshape(-1, P, x.shape[-1]).numpy() for x in (data.observation, data.action))
    rounds = len(observation)
    starts = np.arange(rounds // 2, rounds - LENGTH)
    starts = starts[starts % T < T - LENGTH]  # within one episode
    rng = np.random.default_rng([seed, 9])
    t, row = rng.choice(starts, 2 * PAIRS), rng.integers(0, P, 2 * PAIRS)
    steps = t[:, None] + np.arange(LENGTH + 1)
    return Segments(observation[steps, row[:, None]], action[steps[:, :-1], row[:, None]])


def critic_errors(critic: CriticValues, drawn: Segments) -> list[float]:
    """Return the comparison of a critic with the grid at the steps of segments, and how many pairs it orders alike."""
    true = segments.grid_values()
    seen, actions = drawn.observations[:, :-1].reshape(-1, 3), drawn.actions.reshape(-1, 1)
    errors = compare(*(advantages(values, seen, actions) for values in (critic, true)))
    regrets = [Regret(values, true.discount)(drawn) for values in (critic, true)]
    first, second = (np.sign(r[:PAIRS] - r[PAIRS:]) for r in regrets)
    return [*errors, (first == second).mean()]


def train(seeds: tuple[int, ...], options: Options) -> dict[Key, list[float]]:
    """Train critics, write those of seed 0, and return their errors by key."""
    torch.set_num_threads(1)
    found: dict[Key, list[float]] = {}
    space = gym.make("valuegym/Pendulum-v0").action_space
    for steps, practice in offline.practise(WORLD, "mse", seeds, TRAINED[-1]):
        if steps not in TRAINED:
            continue
        returns = offline.actor_returns(practice, WORLD, seeds)
        for seed, learner, buffer, earned in zip(seeds, practice.learners, practice.buffers, returns, strict=True):
            critic = CriticValues(learner, space.low, space.high)  # type: ignore[attr-defined]
            where = segments.draw(2 * PAIRS, np.random.default_rng(4), LENGTH), visited(buffer, seed)
            for place, drawn in zip(PLACES, where, strict=True):
                row = [*critic_errors(critic, drawn), critic.temperature, float(earned)]
                found["critic", place, steps, seed] = harness.rounded(row)
            if steps == TRAINED[-1] and seed == 0:
                content, _ = encode(critic, env="valuegym/Pendulum-v0", seed=seed, steps=steps)
                write_atomically(options.docs / "data" / FILE, content)
    return found


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield measures of grids, then all critics, which are trained side by side."""
    yield from ([("refined", id, scale, 0)] for id, scale in product(REFINED, (0.5, 1.0)))
    yield from ([("played", id, 0)] for id in ROWS)
    yield from ([("oracle", id, 0)] for id in ORACLES)
    yield [("critic", place, steps, seed) for seed in range(options.seeds) for steps in TRAINED for place in PLACES]


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the values of one job."""
    if keys[0][0] == "critic":
        found = train(tuple(sorted({key[-1] for key in keys})), options)
        return [found[key] for key in keys]
    measures: dict[str, Callable[..., list[float]]] = {
        "refined": refinement,
        "played": played,
        "oracle": against_oracle,
    }
    return [harness.rounded(measures[key[0]](*key[1:-1])) for key in keys]


# --- the page ---


def _grids(records: Records) -> list[str]:
    three = report.significant
    refined = [
        [f"`{id}`", "half" if scale < 1 else "default", *map(three, records["refined", id, scale, 0])]
        for id, scale in product(REFINED, (0.5, 1.0))
        if ("refined", id, scale, 0) in records
    ]
    head = ["environment", "nodes", "V: bias", "V: error", "V: deviation", "A: error", "A: deviation"]
    head += ["A: correlation", "residual: mean", "residual: error"]
    rows = [[f"`{id}`", *map(three, records["played", id, 0])] for id in ROWS if ("played", id, 0) in records]
    oracle = [
        f"than the suite's own oracle of `{id}` {three(gain)} (of {three(best)})"
        for id in ORACLES
        for gain, best in [records.get(("oracle", id, 0), [np.nan, np.nan])]
        if np.isfinite(gain)
    ]
    return [
        "## Grids",
        f"Against the grid of half the pitch, at {POINTS:,} states and actions drawn uniformly: biases and root mean "
        "squares of differences of V and of A = Q - V, standard deviations and correlation. The residual is what "
        "interpolated values differ from the best of one step more. Errors of A come from the ridges of the value "
        "function, where the best way changes, and a hair decides how much a step costs.",
        report.table(head, refined),
        f"The greedy policy in the environment itself, {EPISODES} starts of at most {STEPS} steps: its discounted "
        "return, less what V said of the start.",
        report.table(["environment", "mean", "error", "mean V"], rows),
        f"In an episode it earns more {' and '.join(oracle)}, means over {EPISODES} episodes.",
    ]


def _critics(records: Records, options: Options) -> list[str]:
    found = {cell: np.array(values) for cell, values in harness.columns(records).items() if cell[0] == "critic"}
    if not found:
        return []
    file, rows = options.docs / "data" / FILE, []
    for place, steps in product(PLACES, TRAINED):
        values = found["critic", place, steps]
        cells = [
            " ".join(f"{x:.{digits}f}" for x in values[:, i]) for i, digits in enumerate((1, 1, 1, 1, 1, 2, 2, 2, 0))
        ]
        rows.append([place, f"{steps:,}", *cells])
    head = ["states", "steps", "V: bias", "V: error", "V: deviation", "A: error", "A: deviation", "A: correlation"]
    head += ["pairs alike", "temperature", "actor's return"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    return [
        "## Critics",
        "Soft actor-critic without a model on `valuegym/Pendulum-v0` (two critics of two hidden layers of 64 units, "
        f"{offline.UPDATES} updates a step), {len(rows) and found['critic', PLACES[0], TRAINED[0]].shape[0]} seeds, "
        "against the grid of 400 x 321 nodes; a number for each seed. `any state` are segments of 3 steps "
        "from uniformly drawn states with uniformly drawn torques, `visited` those of the latest half of training. "
        "`pairs alike` is the share of pairs of segments that regret orders as it does on the grid. Returns of the "
        "actor are undiscounted, over 8 episodes. Critics that are good enough to act on are far from the truth where "
        "the actor does not go, and their regrets with them.",
        report.table(head, rows),
        "What is saved are actor and critics of seed 0 after all steps: "
        f"[data/{FILE}](data/{FILE}), {file.stat().st_size / 1000:.0f} kB, SHA-256"
        if digest
        else "",
        f"`{digest}`" if digest else "",
    ]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    parts = [
        "# How wrong the values are that regret is computed from",
        "Written by `python -m studies.control.value_errors`, from [data/value-errors.jsonl](data/value-errors.jsonl).",
        *_grids(records),
        *_critics(records, options),
    ]
    return {".md": report.page(*(part for part in parts if part))}


STUDY = harness.Study("value-errors", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=3)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
