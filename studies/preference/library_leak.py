"""Measure what a library of policies gives away: the published regret learner under three libraries, and exact regret.

    python -m studies.preference.library_leak [--data FOLDER] [--units 30] [--shuffles 1] [--table]

The task is the published board. Units are draws of a library and of answers, or disjoint partitions of a shuffle of
people's answers, which are left out without --data (or the variable VALUEGYM_DATA).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product

import numpy as np

from studies import figures, harness, report
from studies.harness import Array, Key, Options, Records
from studies.preference import tasks
from valuegym.agents.preference import comparisons, descent, regret_library
from valuegym.agents.preference.values import condense
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import datasets, delivery, models
from valuegym.envs.preference.human_data import HumanPreferences
from valuegym.envs.preference.segments import Segment

SOURCES = tuple(regret_library.SOURCES)
LEARNERS = ("exact", *SOURCES)
NUMBERS = (35, 89)
CONDITION = "Privileged-Control"
PEOPLE, SIMULATED = f"people ({CONDITION})", "simulated regret"
TASK = tasks.published_task()


@cache
def drawn(source: str, unit: int) -> tuple[Array, bool]:
    """Return a library (K, S, d), the optimal policy taken out as published, and whether that had been drawn."""
    reward = tabular.reward(TASK.mdp, TASK.weights[None])
    best = tabular.successor_features(TASK.mdp, tabular.optimal_policy(TASK.mdp, reward))[0]
    psi = regret_library.library(TASK.mdp, source, np.random.default_rng(unit))
    same = (np.abs(psi - best) < 1e-9).all((1, 2))
    return psi[~same], bool(same.any())


def gap(source: str, unit: int) -> list[float]:
    """Return a library's number of policies, whether it had the optimal one, and the loss without that.

    The loss is V* minus the value of the best policy of the library under the true reward: mean over the open cells,
    highest, and the share of cells without any.
    """
    psi, held = drawn(source, unit)
    optimal = tabular.optimal_values(TASK.mdp, tabular.reward(TASK.mdp, TASK.weights[None]))[0][0]
    lost = (optimal - (psi @ TASK.weights).max(0))[TASK.mdp.start[0] > 0]
    return [len(psi), float(held), lost.mean(), lost.max(), (lost < 1e-6).mean()]


def learn(name: str, unit: int, pairs: Segment, label: Array) -> float:
    """Return the score of one fit of `regret`, or of `regret_library` without the optimal policy."""
    mdp, rng = TASK.mdp, np.random.default_rng([unit, len(label)])
    if name == "exact":
        return tasks.score_weights(TASK, tasks.learner("regret").estimate(mdp, pairs, label, rng))
    psi, comparison = drawn(name, unit)[0], comparisons.regret(mdp, pairs)

    def differences(weights: Array) -> Array:
        return comparison.coefficients(regret_library.best(psi, weights))

    return tasks.score_weights(TASK, descent.fit(differences, label, rng, psi.shape[-1]).weights)


def simulated(name: str, n: int, unit: int) -> list[float]:
    """Return the score from answers by regret at temperature 1 about random pairs."""
    rng = np.random.default_rng([unit])
    pairs, draws = tasks.draw_pairs(TASK, max(NUMBERS), 3, rng), rng.random(max(NUMBERS))
    label = models.BradleyTerry().label(tasks.utility_difference(TASK, pairs, models.Regret()), draws)
    return [learn(name, unit, Segment(*(field[:n] for field in pairs)), label[:n])]


@cache
def human(data: str) -> HumanPreferences:
    """Return people's answers, in the states of the task."""
    answers = datasets.load(CONDITION, data)
    state = condense(delivery.board_mdp(np.array([delivery.BOARD]))).state
    return answers._replace(segments=answers.segments._replace(states=state[answers.segments.states]))


def people(name: str, n: int, unit: int, data: str) -> list[float]:
    """Return the scores from every partition of n answers of one shuffle."""
    answers = human(data)
    order = np.random.default_rng(unit).permutation(len(answers.labels))
    parts = order[: len(order) // n * n].reshape(-1, n)
    return [
        learn(name, unit, Segment(*(field[rows] for field in answers.segments)), answers.labels[rows]) for rows in parts
    ]


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield gaps, fits to simulated answers, fits to people's."""
    for unit in range(options.units):
        yield from ([("gap", source, 0, unit)] for source in SOURCES)
        yield from ([(SIMULATED, name, n, 0, unit)] for name, n in product(LEARNERS, NUMBERS))
    for unit in range(options.shuffles if options.data else 0):
        yield from ([(PEOPLE, name, n, 0, unit)] for name, n in product(LEARNERS, NUMBERS))


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the value of one key."""
    [(kind, *cell, _, unit)] = keys
    if kind == PEOPLE:
        return [harness.rounded(people(*cell, unit, options.data))]
    return [harness.rounded((gap if kind == "gap" else simulated)(*cell, unit))]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the figure."""
    raw, rows = harness.arrays(records, jobs(options)), []
    for source in SOURCES:
        size, holds, lost, worst, free = np.moveaxis(raw["gap", source], -1, 0)
        shown = [f"{size.mean():.0f}", f"{holds.mean():.2f}", report.estimate(lost[:, 0]), f"{np.median(lost):.2f}"]
        shown += [f"{worst.max():.1f}", report.estimate(free[:, 0]), f"{(worst < 1e-4).mean():.2f}"]
        rows.append([source, *shown])
    head = ["source of the library", "policies", "drew the optimal one", "mean loss", "its median", "highest loss"]
    head += ["cells without loss", "libraries without any loss"]
    fits, panels = [], []
    for answers in (SIMULATED, PEOPLE):
        if not all((answers, name, n) in raw for name in LEARNERS for n in NUMBERS):
            continue
        near = {cell[1:]: report.near_optimal(v[:, 0]) for cell, v in raw.items() if cell[0] == answers}
        if answers == PEOPLE:  # partitions of one shuffle are what is independent
            near = {cell: share.T for cell, share in near.items()}
        near = {cell: share.mean(1) for cell, share in near.items()}
        curves = figures.curves({name: [report.estimate(near[name, n]) for n in NUMBERS] for name in LEARNERS})
        panels.append(figures.Panel(answers, "preferences", "near-optimal share", curves, NUMBERS))
        for n in NUMBERS:
            gains = [report.estimate(near[s, n] - near["exact", n]) for s in ("nine-values", "true-values")]
            fits.append([answers, n, *(report.estimate(near[name, n]) for name in LEARNERS), *gains])
    columns = ["answers", "preferences", "exact values", *SOURCES, "nine-values - exact", "true-values - exact"]
    units = len(raw["gap", SOURCES[0]])
    parts = [
        "# What a library of policies gives away",
        "The published regret learner takes the best of a library of policies for the optimal values of a candidate "
        "reward. The library is made from weights drawn from a source: standard normal (random), nine published "
        "values, or the six true values of the delivery task. On the published board, whose true reward no learner "
        "knows.",
        "Written by `python -m studies.preference.library_leak`.",
        "## Loss under the true reward",
        f"{units} libraries per source; the optimal policy itself, where it was drawn, is taken out first, as "
        "published. Loss: V* minus the value of the best policy left, mean over the 92 open cells. The mean with a "
        "95% bootstrap interval over libraries; uniformly random actions lose 112.",
        report.table(head, rows),
        "## Scores of what is learnt",
        f"Share of fits near-optimal (score at least {report.NEAR_OPTIMAL}): maximum posterior under exact values, and "
        "under the libraries. 95% bootstrap intervals over draws of a library and of answers, or over disjoint "
        "partitions of people's answers. Differences are paired.",
        "![Near-optimal shares under each library and exact values](library-leak.svg)",
        report.table(columns, fits),
    ]
    return {".md": report.page(*parts), ".svg": figures.draw(panels, columns=2)}


STUDY = harness.Study("library-leak", jobs, run, pages)
PARSER = harness.parser(__doc__, units=30)
PARSER.add_argument("--data", metavar="FOLDER", default=os.environ.get(datasets.VARIABLE))
PARSER.add_argument("--shuffles", type=int, default=1)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
