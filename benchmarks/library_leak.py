"""What a library of policies gives away: the published regret learner under three libraries, against exact regret.

    python benchmarks/library_leak.py [--data FOLDER] [--units 30] [--shuffles 1] [--table]

Writes docs/results/library_leak.md and library_leak.svg. The task is the published board. Units are draws of a
library and of answers, or shuffles of people's answers, cut into disjoint partitions; people's answers are left out
without --data (or the variable VALUEGYM_DATA).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

import _study
import gymnasium as gym
import numpy as np

from valuegym.agents import make
from valuegym.agents.preference import comparisons, descent, regret_library
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import datasets, models
from valuegym.envs.preference.segments import Segment

Array = _study.Array
SOURCES = tuple(regret_library.SOURCES)
LEARNERS = ("exact", *SOURCES)
REPORTS = (35, 89)
CONDITION = "Privileged-Control"
PEOPLE, SIMULATED = f"people ({CONDITION})", "simulated regret"


@cache
def task() -> _study.Task:
    """The published board."""
    return _study.published_task()


@cache
def drawn(source: str, unit: int) -> tuple[Array, bool]:
    """A library (K, S, d) without the optimal policy, which is taken out as published, and whether that was drawn."""
    reward = tabular.reward(task().mdp, task().weights[None])
    best = tabular.successor_features(task().mdp, tabular.optimal_policy(task().mdp, reward))[0]
    psi = regret_library.library(task().mdp, source, np.random.default_rng(unit))
    same = (np.abs(psi - best) < 1e-9).all((1, 2))
    return psi[~same], bool(same.any())


def gap(source: str, unit: int) -> list[list[float]]:
    """Of one library: policies, whether the optimal one was drawn, and what is lost without it.

    The loss is V* minus the value of the best policy of the library under the true reward: mean over the open cells,
    highest, and the share of cells without any.
    """
    psi, held = drawn(source, unit)
    optimal = tabular.optimal_values(task().mdp, tabular.reward(task().mdp, task().weights[None]))[0][0]
    lost = (optimal - (psi @ task().weights).max(0))[task().mdp.start[0] > 0]
    return [[len(psi), float(held), lost.mean(), lost.max(), (lost < 1e-6).mean()]]


@cache
def exact() -> Any:
    """The learner with exact values."""
    return make("regret", gym.make("valuegym/RewardInference-v0", evaluation_points=(1,)))


def learn(name: str, unit: int, pairs: Segment, label: Array) -> float:
    """The score of one fit: the learner `regret_library`, but for the optimal policy, or `regret`."""
    mdp, rng = task().mdp, np.random.default_rng([unit, len(label)])
    if name == "exact":
        return _study.score_weights(task(), exact().estimate(mdp, pairs, label, rng))
    psi, comparison = drawn(name, unit)[0], comparisons.regret(mdp, pairs)

    def differences(weights: Array) -> Array:
        return comparison.coefficients(regret_library.best(psi, weights))

    return _study.score_weights(task(), descent.fit(differences, label, rng, psi.shape[-1]).weights)


def simulated(name: str, n: int, unit: int) -> list[list[float]]:
    """From answers by regret at temperature 1 about random pairs."""
    rng = np.random.default_rng([unit])
    pairs, luck = _study.draw_pairs(task(), max(REPORTS), 3, rng), rng.random(max(REPORTS))
    label = models.BradleyTerry().label(_study.utility_difference(task(), pairs, models.Regret()), luck)
    return [[learn(name, unit, Segment(*(field[:n] for field in pairs)), label[:n])]]


@cache
def human(data: str) -> datasets.HumanPreferences:
    """People's answers, in the states of the task."""
    answers = datasets.load(CONDITION, data)
    state = _study.condensed_states(_study.published_mdp())
    return answers._replace(segments=answers.segments._replace(states=state[answers.segments.states]))


def people(name: str, n: int, unit: int, data: str) -> list[list[float]]:
    """From every partition of n answers of one shuffle."""
    answers = human(data)
    order = np.random.default_rng(unit).permutation(len(answers.labels))
    parts = order[: len(order) // n * n].reshape(-1, n)
    return [
        [
            learn(name, unit, Segment(*(field[rows] for field in answers.segments)), answers.labels[rows])
            for rows in parts
        ]
    ]


def jobs(options: argparse.Namespace) -> Iterator[_study.Job]:
    """Gaps, fits to simulated answers, fits to people's."""
    for unit in range(options.units):
        for source in SOURCES:
            yield _study.Job([("gap", source, unit, 0)], partial(gap, source, unit))
        for name in LEARNERS:
            for n in REPORTS:
                yield _study.Job([(SIMULATED, name, n, unit, 0)], partial(simulated, name, n, unit))
    if options.data:
        for unit in range(options.shuffles):
            for name in LEARNERS:
                for n in REPORTS:
                    yield _study.Job([(PEOPLE, name, n, unit, 0)], partial(people, name, n, unit, options.data))


def pages(raw: _study.Raw) -> Mapping[str, str]:
    """The page and the picture."""
    rows = []
    for source in SOURCES:
        size, holds, lost, worst, free = np.moveaxis(raw["gap", source], -1, 0)
        median = f"{np.median(lost):.2f}"
        none = f"{(worst < 1e-4).mean():.2f}"
        shown = [f"{size.mean():.0f}", f"{holds.mean():.2f}", _study.estimate(lost), median, f"{worst.max():.1f}"]
        rows.append([source, *shown, _study.estimate(free), none])
    head = ["source of the library", "policies", "drew the optimal one", "mean loss", "its median", "highest loss"]
    head += ["cells without loss", "libraries without any loss"]
    fits, panels = [], []
    for answers in (SIMULATED, PEOPLE):
        if not all((answers, name, n) in raw for name in LEARNERS for n in REPORTS):
            continue
        near = {cell[1:]: _study.near_optimal(v).astype(float) for cell, v in raw.items() if cell[0] == answers}
        if answers == PEOPLE:  # partitions of one shuffle are what is independent
            near = {cell: share[:, 0].T for cell, share in near.items()}
        curves = []
        for style, name in enumerate(LEARNERS):
            found = [_study.estimate(near[name, n]) for n in REPORTS]
            curves.append(_study.Curve(name, range(len(REPORTS)), found, style))
        ticks = [str(n) for n in REPORTS]
        panels.append(_study.Panel(answers, "preferences", "near-optimal share", curves, ticks))
        for n in REPORTS:
            gains = [_study.estimate(near[s, n] - near["exact", n]) for s in ("nine-values", "true-values")]
            fits.append([answers, n, *(_study.estimate(near[name, n]) for name in LEARNERS), *gains])
    columns = ["answers", "preferences", "exact values", *SOURCES, "nine-values - exact", "true-values - exact"]
    units = len(raw["gap", SOURCES[0]])
    parts = [
        "# What a library of policies gives away",
        "The published regret learner takes the best of a library of policies for the optimal values of a candidate "
        "reward. The library is made from weights drawn from a source: standard normal (random), nine published "
        "values, or the six true values of the delivery task. The published board, whose true reward no learner is "
        "told.",
        "Written by `python benchmarks/library_leak.py`.",
        "## What is lost under the true reward",
        f"{units} libraries per source; the optimal policy itself, where it was drawn, is taken out first, as "
        "published. Loss: V* minus the value of the best policy left, mean over the 92 open cells. The mean with a "
        "95% bootstrap interval over libraries; uniformly random actions lose 112.",
        _study.table(head, rows),
        "## What is learnt",
        f"Share of fits near-optimal (score at least {_study.NEAR_OPTIMAL}): maximum posterior under exact values, and "
        "under the libraries. 95% bootstrap intervals over draws of a library and of answers, or over disjoint "
        "partitions of people's answers. Differences are paired.",
        "![Near-optimal shares under each library and exact values](library_leak.svg)",
        _study.table(columns, fits),
    ]
    return {".md": "\n\n".join(parts) + "\n", ".svg": _study.picture(panels, columns=2)}


STUDY = _study.Study("library_leak", jobs, pages)

if __name__ == "__main__":
    arguments = _study.parser(__doc__, units=30, seeds=1)
    arguments.add_argument("--data", metavar="FOLDER", default=os.environ.get(datasets.VARIABLE))
    arguments.add_argument("--shuffles", type=int, default=1)
    _study.run(STUDY, arguments.parse_args())
