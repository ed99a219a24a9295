"""Vary the temperature of the answers, the length of segments and the learner's discount, one at a time.

    python -m studies.preference.sweeps [--units 30] [--seeds 1] [--table]

Units are random tasks of the split "test"; seeds draw other pairs and answers about the same task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from studies import figures, harness, report
from studies.harness import Key, Options, Records
from studies.preference import tasks
from valuegym.envs.preference import models
from valuegym.envs.preference.segments import Segment

TEMPERATURES = (0.1, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
LENGTHS = (3, 6, 9, 12, 15)
DISCOUNTS = (0.0, 0.5, 0.9, 0.99, 0.999)
NUMBERS = (300, 3000)


class Setting(NamedTuple):
    """Temperature of the answers (in units of reward), steps of a segment, and discount that the learner assumes."""

    temperature: float = 1.0
    length: int = 3
    discount: float = 0.999


class Learner(NamedTuple):
    """The statistic that answers compare, a learner, numbers of its preferences, and its seeds at most."""

    answers: str
    name: str
    numbers: tuple[int, ...]
    seeds: int

    def label(self) -> str:
        """Return its name on pages."""
        return self.name if self.answers.replace(" ", "_") in self.name else f"{self.name} from {self.answers} answers"


LEARNERS = (
    Learner("partial return", "partial_return", NUMBERS, 100),
    Learner("regret", "regret", NUMBERS, 100),
    Learner("regret", "partial_return", NUMBERS, 100),
    Learner("regret", "bayes_regret", NUMBERS[:1], 1),
)
SWEEPS: dict[str, tuple[Setting, ...]] = {
    "temperature": tuple(Setting(temperature=value) for value in TEMPERATURES),
    "length": tuple(Setting(length=value) for value in LENGTHS),
    "discount": tuple(Setting(discount=value) for value in DISCOUNTS),
}


@lru_cache(maxsize=64)
def drawn(unit: int, seed: int, length: int, answers: str) -> tuple[Segment, Any, Any]:
    """Return pairs, their differences of utility, and the random draws of the answers, equal at every temperature."""
    task, rng = tasks.random_task(unit), np.random.default_rng([unit, seed, length])
    pairs, draws = tasks.draw_pairs(task, max(NUMBERS), length, rng), rng.random(max(NUMBERS))
    return pairs, tasks.utility_difference(task, pairs, tasks.STATISTICS[answers]), draws


def run(keys: Sequence[Key], options: Options) -> list[float]:
    """Return the score of one fit."""
    [(*values, answers, name, number, seed, unit)] = keys
    setting, task = Setting(*values), tasks.random_task(unit)
    pairs, difference, draws = drawn(unit, seed, setting.length, answers)
    label = models.BradleyTerry(setting.temperature).label(difference, draws)[:number]
    # Processes have discounts above 0; with 1e-12 later rewards are below rounding.
    assumed = replace(task.mdp, discount=setting.discount or 1e-12)
    first = Segment(*(field[:number] for field in pairs))
    weights = tasks.learner(name).estimate(assumed, first, label, np.random.default_rng([seed, number]))
    return [harness.rounded(tasks.score_weights(task, weights))]


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield settings that several sweeps share once; learners on answers of their own model come first."""
    settings = dict.fromkeys(setting for sweep in SWEEPS.values() for setting in sweep)
    for stage, seed, n in product((LEARNERS[:2], LEARNERS[2:3], LEARNERS[3:]), range(options.seeds), NUMBERS):
        for who in stage:
            if n in who.numbers and seed < who.seeds:
                for setting, unit in product(settings, range(options.units)):
                    yield [(*setting, who.answers, who.name, n, seed, unit)]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the figure."""
    raw = harness.arrays(records, jobs(options))
    near = {cell: report.near_optimal(scores) for cell, scores in raw.items()}
    estimates = {cell: report.estimate(share.mean(1)) for cell, share in near.items()}
    draws = {cell[4]: scores.shape[1] for cell, scores in raw.items()}
    units, done = max(map(len, raw.values())), {cell[3:5] for cell in raw}
    learners = [who for who in LEARNERS if (who.answers, who.name) in done]
    parts = [
        "# Sweeps: temperature, length of segments, discount",
        f"Share of fits near-optimal (score at least {report.NEAR_OPTIMAL}) on {units} random tasks, with 95% "
        f"bootstrap intervals over tasks; draws of pairs and answers for each task: {draws['regret']}. Answers are "
        "Bradley-Terry, by default at temperature 1 about segments of 3 steps, learnt and given at discount 0.999. "
        "Learners learn from the answers of their own model where a column does not say otherwise. The "
        "last column is the paired difference. Policies are scored at discount 0.999 throughout. An interval "
        "without width means that every task, or none, was near-optimal.",
        "Written by `python -m studies.preference.sweeps`.",
        "![Near-optimal shares of every learner over each of the three](sweeps.svg)",
    ]
    panels = []
    for n, (name, sweep) in product(NUMBERS, SWEEPS.items()):
        curves = []
        for i, who in enumerate(learners):
            found = [estimates.get((*setting, who.answers, who.name, n)) for setting in sweep]
            curves.append(figures.Curve(who.label(), found, i, dashed=who.label() != who.name))
        ticks = [f"{getattr(setting, name):g}" for setting in sweep]
        panels.append(figures.Panel(f"{n} preferences", name, "near-optimal share", curves, ticks))
    head = ["preferences", *(who.label() for who in learners), "regret - partial_return"]
    for name, sweep in SWEEPS.items():
        rows = []
        for n, setting in product(NUMBERS, sweep):
            cells = [(*setting, who.answers, who.name, n) for who in learners]
            rival, own = cells[:2]
            gain = report.estimate((near[own] - near[rival]).mean(1)) if own in near and rival in near else ""
            rows.append([f"{getattr(setting, name):g}", n, *(estimates.get(cell, "") for cell in cells), gain])
        parts += [f"## {name.capitalize()}", report.table([name, *head], rows)]
    return {".md": report.page(*parts), ".svg": figures.draw(panels)}


STUDY = harness.Study("sweeps", jobs, run, pages)
PARSER = harness.parser(__doc__, units=30, seeds=1)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
