"""How much the temperature of the answers, the length of segments and the learner's discount matter.

    python benchmarks/sweeps.py [--units 30] [--seeds 1] [--table]

Writes docs/results/sweeps.md and sweeps.svg. Units are random tasks of the split "test"; seeds draw other pairs and
answers about the same task.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import _study
import gymnasium as gym
import numpy as np

from valuegym.agents import make
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import models
from valuegym.envs.preference.segments import Segment

TEMPERATURES = (0.1, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
LENGTHS = (3, 6, 9, 12, 15)
DISCOUNTS = (0.0, 0.5, 0.9, 0.99, 0.999)
REPORTS = (300, 3000)
STATISTICS: dict[str, models.Statistic] = {"partial return": models.PartialReturn(), "regret": models.Regret()}


class Setting(NamedTuple):
    """Temperature of the answers (in units of reward), steps of a segment, and discount that the learner believes."""

    temperature: float = 1.0
    length: int = 3
    discount: float = 0.999


class Learner(NamedTuple):
    """What answers compare, who learns from them, from how many of them, and how many seeds at most."""

    answers: str
    name: str
    reports: tuple[int, ...]
    seeds: int

    def label(self) -> str:
        """As pages name it."""
        return self.name if self.answers.replace(" ", "_") in self.name else f"{self.name} from {self.answers} answers"


LEARNERS = (
    Learner("partial return", "partial_return", REPORTS, 100),
    Learner("regret", "regret", REPORTS, 100),
    Learner("regret", "partial_return", REPORTS, 100),
    Learner("regret", "bayes_regret", REPORTS[:1], 1),
)
SWEEPS: dict[str, tuple[Setting, ...]] = {
    "temperature": tuple(Setting(temperature=value) for value in TEMPERATURES),
    "length": tuple(Setting(length=value) for value in LENGTHS),
    "discount": tuple(Setting(discount=value) for value in DISCOUNTS),
}


@lru_cache(maxsize=64)
def asked(unit: int, seed: int, length: int, answers: str) -> tuple[Segment, Any, Any]:
    """Pairs, their differences of utility, and the luck of the answers: the same at every temperature."""
    task, rng = _study.random_task(unit), np.random.default_rng([unit, seed, length])
    pairs, luck = _study.draw_pairs(task, max(REPORTS), length, rng), rng.random(max(REPORTS))
    return pairs, _study.utility_difference(task, pairs, STATISTICS[answers]), luck


@cache
def agent(name: str) -> Any:
    """A learner."""
    return make(name, gym.make("valuegym/RewardInference-v0", evaluation_points=(1,)))


def learn(unit: int, seed: int, setting: Setting, answers: str, name: str, reports: int) -> list[float]:
    """The score of one fit."""
    task = _study.random_task(unit)
    pairs, difference, luck = asked(unit, seed, setting.length, answers)
    label = models.BradleyTerry(setting.temperature).label(difference, luck)[:reports]
    believed = tabular.TabularMDP(
        task.mdp.features,
        task.mdp.terminal,
        task.mdp.start,
        setting.discount or 1e-12,  # processes have discounts above 0; what comes later is then below rounding
        next_state=task.mdp.next_state,
    )
    shown = Segment(*(field[:reports] for field in pairs))
    weights = agent(name).estimate(believed, shown, label, np.random.default_rng([seed, reports]))
    return [_study.score_weights(task, weights)]


def jobs(options: argparse.Namespace) -> Iterator[_study.Job]:
    """Settings that several sweeps share are learnt once; learners on their own answers come first."""
    settings = dict.fromkeys(setting for sweep in SWEEPS.values() for setting in sweep)
    for stage, seed, n in product((LEARNERS[:2], LEARNERS[2:3], LEARNERS[3:]), range(options.seeds), REPORTS):
        for who in stage:
            if n in who.reports and seed < who.seeds:
                for setting, unit in product(settings, range(options.units)):
                    run = partial(learn, unit, seed, setting, who.answers, who.name, n)
                    yield _study.Job([(*setting, who.answers, who.name, n, unit, seed)], run)


def pages(raw: _study.Raw) -> Mapping[str, str]:
    """The page and the picture."""
    near = {cell: _study.near_optimal(scores).astype(float) for cell, scores in raw.items()}
    estimates = {cell: _study.estimate(share) for cell, share in near.items()}
    draws = {cell[4]: scores.shape[1] for cell, scores in raw.items()}
    units, done = max(map(len, raw.values())), {cell[3:5] for cell in raw}
    learners = [who for who in LEARNERS if (who.answers, who.name) in done]
    parts = [
        "# Sweeps: temperature, length of segments, discount",
        f"Share of fits near-optimal (score at least {_study.NEAR_OPTIMAL}) on {units} random tasks, with 95% "
        f"bootstrap intervals over tasks; draws of pairs and answers for each task: {draws['regret']}. Answers are "
        "Bradley-Terry; where nothing else is said at temperature 1, about segments of 3 steps, learnt and given at "
        "discount 0.999. Learners learn from the answers of their own model where a column does not say otherwise. The "
        "last column is the paired difference. Policies are scored at discount 0.999 throughout. An interval "
        "without width means that every task, or none, was near-optimal.",
        "Written by `python benchmarks/sweeps.py`.",
        "![Near-optimal shares of every learner over each of the three](sweeps.svg)",
    ]
    panels = []
    for n, (name, sweep) in product(REPORTS, SWEEPS.items()):
        curves = []
        for i, who in enumerate(learners):
            found = [estimates.get((*s, who.answers, who.name, n)) for s in sweep]
            kept = [(x, value) for x, value in enumerate(found) if value is not None]
            if kept:
                curves.append(
                    _study.Curve(who.label(), *zip(*kept, strict=True), style=i, dashed=who.label() != who.name)
                )
        ticks = [f"{getattr(s, name):g}" for s in sweep]
        panels.append(_study.Panel(f"{n} preferences", name, "near-optimal share", curves, ticks))
    head = ["preferences", *(who.label() for who in learners), "regret - partial_return"]
    for name, sweep in SWEEPS.items():
        rows = []
        for n, setting in product(REPORTS, sweep):
            cells = [(*setting, who.answers, who.name, n) for who in learners]
            rival, own = cells[:2]
            gain = _study.estimate(near[own] - near[rival]) if own in near and rival in near else ""
            rows.append([f"{getattr(setting, name):g}", n, *(estimates.get(cell, "") for cell in cells), gain])
        parts += [f"## {name.capitalize()}", _study.table([name, *head], rows)]
    return {".md": "\n\n".join(parts) + "\n", ".svg": _study.picture(panels)}


STUDY = _study.Study("sweeps", jobs, pages)

if __name__ == "__main__":
    _study.run(STUDY, _study.parser(__doc__, units=30, seeds=1).parse_args())
