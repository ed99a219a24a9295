"""Measure how certain the answers of every annotator are, task by task, with its default temperature.

    python -m studies.preference.annotator_entropy [--units 5] [--table]

Pairs are segments of uniformly random play. A unit is a draw of play and pairs, or six random boards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from studies.preference import tasks
from valuegym.envs.control.optimal_values import values_of
from valuegym.envs.feedback.annotators import (
    BPREF,
    Annotator,
    Drifting,
    Implicit,
    Mixture,
    Noiseless,
    Thurstone,
    bpref,
    ideal_points,
    risky,
)
from valuegym.envs.feedback.answers import entropy
from valuegym.envs.feedback.calibration import calibrated, certain
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import (
    RISKY,
    Cyclic,
    EndState,
    Linear,
    PartialReturn,
    Perceived,
    Regret,
)
from valuegym.envs.feedback.wrapper import PreferenceFeedback

PAIRS = 1000
BITS = 0.5
BOARDS = 6  # random ones of a unit
BOARD, GAMBLES = "random delivery boards", "gambles"


class Task(NamedTuple):
    """One environment: its id, steps of a segment and of play, and features (N, d) of segments."""

    id: str
    length: int
    steps: int
    features: Callable[[Segments], Array]


def _mean_of(columns: slice) -> Callable[[Segments], Array]:
    """Return the function that averages some entries of the observations."""
    return lambda segments: segments.observations[:, :-1, columns].astype(np.float64).mean(1)


def _places(segments: Segments) -> Array:
    """Return mean row and column of cells, from 0 to 0.9."""
    return (np.stack(np.divmod(segments.observations[:, :-1], 10), -1) / 10).mean(1)


TASKS = {
    "Pendulum": Task("Pendulum-v1", 25, 10_000, _mean_of(slice(0, 2))),
    "CartPole": Task("CartPole-v1", 25, 20_000, _mean_of(slice(None))),
    "MountainCarContinuous": Task("MountainCarContinuous-v0", 25, 20_000, _mean_of(slice(None))),
    "Delivery": Task("valuegym/Delivery-v0", 3, 10_000, _places),
}
WITH_VALUES = ("Pendulum", "MountainCarContinuous", "Delivery")


def pairs(task: Task, unit: int) -> tuple[Segments, Segments]:
    """Return pairs from random play, with the columns that wrappers fill and a profile for each pair."""
    env = gym.make(task.id)
    asked = PreferenceFeedback(env, bpref(), PAIRS, segment_length=task.length, every=task.steps, rounds=1)
    asked.reset(seed=unit)
    asked.action_space.seed(unit)
    while asked.feedback() is None:
        *_, terminated, truncated, _ = asked.step(asked.action_space.sample())
        if terminated or truncated:
            asked.reset()
    found = asked.true_feedback()
    assert found is not None
    rng = np.random.default_rng([unit, 1])
    profile = rng.standard_normal((PAIRS, task.features(found.first).shape[1]))
    first, second = (part.with_info(profile=profile) for part in (found.first, found.second))
    return first, second


def annotators(name: str, first: Segments) -> dict[str, Any]:
    """Return every annotator of the page on preferences, by how it is written there."""
    task = TASKS[name]
    points = np.random.default_rng(7).standard_normal((4, task.features(first).shape[1]))
    known = values_of(gym.make(task.id)) if name in WITH_VALUES else None
    by_values = {
        "Annotator(Regret(values, γ))": Annotator(Regret(known, known.discount)),
        "Annotator(EndState(values))": Annotator(EndState(known)),
    } if known else {}  # fmt: skip
    return {
        "Annotator(PartialReturn(1))": Annotator(),
        **by_values,
        "Annotator(choice=Thurstone(1))": Annotator(choice=Thurstone(1.0)),
        "Annotator(choice=Noiseless(0))": Annotator(choice=Noiseless(0.0)),
        "Annotator(perception=Perceived(1))": Annotator(perception=Perceived(1.0)),
        **{f'bpref("{teacher}")': bpref(teacher) for teacher in BPREF},
        'Annotator(Linear("profile", features))': Annotator(Linear("profile", task.features)),
        "Annotator(Cyclic(features))": Annotator(Cyclic(task.features)),
        "ideal_points(points)": ideal_points(points, features=task.features),
        "Mixture([bpref(), bpref(...)])": Mixture([bpref(), bpref("stochastic")]),
        "Drifting(points, 1)": Drifting(points, 1.0, features=task.features),
        "Implicit(median)": Implicit(float(np.median(PartialReturn()(first)))),
    }


@dataclass(frozen=True)
class Given:
    """Differences of utilities that stand in the column `difference` of the first segments."""

    def difference(self, first: Segments, second: Segments) -> Array:
        """Return the differences (N,)."""
        return first.info["difference"]


def boards(unit: int) -> dict[str, tuple[Any, Segments, Segments]]:
    """Return annotators of the query environments, with pairs of some random boards."""
    found = {}
    for name, statistic in tasks.STATISTICS.items():
        differences = []
        for board in range(BOARDS * unit, BOARDS * (unit + 1)):
            task = tasks.random_task(board)
            drawn = tasks.draw_pairs(task, PAIRS // BOARDS, 3, np.random.default_rng(board))
            differences.append(tasks.utility_difference(task, drawn, statistic))
        column = np.concatenate(differences)
        empty = Segments(np.zeros((len(column), 2)), np.zeros((len(column), 1)))
        found[f'"{name.replace(" ", "-")}"'] = Annotator(Given()), empty.with_info(difference=column), empty
    return found


def gambles(unit: int) -> dict[str, tuple[Any, Segments, Segments]]:
    """Return annotators of gambles, with pairs of gambles of two outcomes from -50 to 50 and uniform chances."""
    rng, sides = np.random.default_rng(unit), []
    for _ in range(2):
        p = rng.random(PAIRS)
        info = {"outcomes": rng.uniform(-50, 50, (PAIRS, 2)), "chances": np.stack([p, 1 - p], -1)}
        sides.append(Segments(np.zeros((PAIRS, 2)), np.zeros((PAIRS, 1)), info=info))
    return {f'risky("{kind}")': (risky(kind), sides[0], sides[1]) for kind in RISKY}


def measure(annotator: Any, first: Segments, second: Segments, unit: int) -> list[float | None]:
    """Return the share of certain answers, their entropy, the share of none, and the temperature for BITS."""
    answers = annotator(first, second, np.random.default_rng([unit, 2]))
    try:
        choice = calibrated(annotator, first, second, BITS).choice
        temperature = getattr(choice, "temperature", getattr(choice, "scale", math.nan))
    except ValueError:  # it has no temperature, or none gives so many bits
        temperature = math.nan
    row = [certain(answers), entropy(answers), float(answers.skipped.mean()), temperature]
    return [None if math.isnan(x) else float(f"{x:.5g}") for x in row]


def study(name: str, unit: int) -> dict[str, tuple[Any, Segments, Segments]]:
    """Return all annotators of a task, each with the pairs that it is asked about."""
    if name in (BOARD, GAMBLES):
        return (boards if name == BOARD else gambles)(unit)
    first, second = pairs(TASKS[name], unit)
    return {title: (who, first, second) for title, who in annotators(name, first).items()}


def titles(name: str) -> list[str]:
    """Return the names of a task's annotators."""
    if name == BOARD:
        return [f'"{statistic.replace(" ", "-")}"' for statistic in tasks.STATISTICS]
    if name == GAMBLES:
        return [f'risky("{kind}")' for kind in RISKY]
    blank = Segments(
        np.zeros((1, 2, 4) if name != "Delivery" else (1, 2), np.int64), np.zeros((1, 1)), np.zeros((1, 1))
    )
    return list(annotators(name, blank))


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield all annotators of a task and a unit."""
    for unit in range(options.units):
        for name in (*TASKS, BOARD, GAMBLES):
            yield [(name, title, unit) for title in titles(name)]


def run(keys: Sequence[Key], options: Options) -> list[list[float | None]]:
    """Return the measures of annotators of one task and unit."""
    name, _, unit = keys[0]
    found = study(name, unit)
    return [measure(*found[title], unit) for _, title, _ in keys]


def _cell(values: list[Any], number: Callable[[float], str] = report.TWO_DECIMALS) -> str:
    """Return a mean with its interval, or a dash where a value is missing in any unit."""
    if any(value is None for value in values):
        return "-"
    return report.show(report.estimate(values), number)


def summary(records: Records) -> str:
    """Return the table of certain shares and bits that the page on preferences has, too."""
    cells = harness.columns(records)
    names = [name for name in (*TASKS, GAMBLES) if any(cell[0] == name for cell in cells)]
    rows = []
    for title in dict.fromkeys(cell[1] for cell in cells if cell[0] in names):
        row = [f"`{title}`"]
        for name in names:
            values = cells.get((name, title), [[None] * 4])
            known = all(v[0] is not None for v in values)
            row.append(" / ".join(f"{np.mean([v[i] for v in values]):.2f}" for i in range(2)) if known else "")
        rows.append(row)
    return report.table(["certain / bits", *names], rows)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    cells = harness.columns(records)
    units = max((len(values) for values in cells.values()), default=0)
    parts = [
        "# How certain the answers of every annotator are",
        f"{PAIRS:,} pairs of segments of uniformly random play for each of {units} draws; means with 95% bootstrap "
        "intervals over draws. `certain` is the share of answers with a probability above 0.99 for one label, `bits` "
        "the mean entropy of an answer (1 where both labels are as likely, and for ties), `none` the share of pairs "
        f"without an answer, and the last column the temperature, or Thurstone's scale, at which answers have {BITS} "
        "bits (`valuegym.envs.feedback.calibration.calibrated`); a dash where there is none, because the annotator has "
        "no temperature, or ties or mistakes alone give more.",
        "Written by `python -m studies.preference.annotator_entropy`, from "
        "[data/annotator-entropy.jsonl](data/annotator-entropy.jsonl).",
        "Temperatures are 1 by default, in units of each utility, and so mean something else in every task: the same "
        "annotator is all but certain in one and tosses a coin in another. `Noiseless` and the teachers of B-Pref "
        "without `beta` are certain by definition but for ties. Features are means over the steps of a segment: cosine "
        "and sine of the pendulum, observations of CartPole and MountainCarContinuous, row and column of Delivery. "
        "Four ideal points and a profile for each pair are standard normal. `Implicit` states no probabilities.",
    ]
    if records:
        parts.append(summary(records))
    about = {
        **{name: f"`{task.id}`, segments of {task.length} steps" for name, task in TASKS.items()},
        BOARD: "`RewardInference-v0`, segments of 3 steps: the two annotators of the query environments, "
        f"{BOARDS} boards for each draw",
        GAMBLES: "two outcomes from -50 to 50, uniform chances",
    }
    for name, text in about.items():
        rows = [
            [
                f"`{cell[1]}`",
                *(_cell([v[i] for v in values]) for i in range(3)),
                _cell([v[3] for v in values], report.significant),
            ]
            for cell, values in cells.items()
            if cell[0] == name
        ]
        if rows:
            parts += [f"## {name[0].upper()}{name[1:]}", f"{text}."]
            parts.append(report.table(["annotator", "certain", "bits", "none", f"temperature for {BITS} bits"], rows))
    parts.append(
        "CartPole has no regret here: its optimal values are not known, and a grid of its four coordinates that takes "
        "half a minute (15 x 15 x 21 x 21 nodes) is 15% below the value of balancing."
    )
    return {".md": report.page(*parts)}


STUDY = harness.Study("annotator-entropy", jobs, run, pages)
PARSER = harness.parser(__doc__, units=5)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
