"""Ask by the value of answers with a learner that is not told how people answer, against asking at random.

    python -m studies.preference.less_to_ask [--data FOLDER] [--units 16] [--shuffles 10] [--table]

Before every answer the agent sees ten pairs and chooses one; on people's answers the pairs come from the stored pool,
each of which is offered once. Both strategies see the same candidates.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
from scipy.integrate import trapezoid

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from valuegym.agents import make
from valuegym.envs.preference import datasets

POINTS = (1, 2, 3, 5, 10)
STRATEGIES = ("value_bayes_mixture", "random_bayes_mixture")
SETTINGS = (("random", "regret"), ("random", "partial-return"))
HUMAN = (("published", "human:Privileged-Control"), ("published", "human:Pr-Privileged"))
NUMBER, SIGNED = report.decimals(3), report.decimals(3, "+")


@cache
def environment(board: str, annotator: str, data: str | None) -> Any:
    """Return the environment in which one asks."""
    setting: dict[str, Any] = {"board": board, "annotator": annotator, "evaluation_points": POINTS}
    return gym.make("valuegym/RewardInferenceActive-v0", **setting, **({"data": data} if board == "published" else {}))


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the scores at the evaluation points of one episode for each key."""
    found = []
    for board, annotator, strategy, _, unit in keys:
        env = environment(board, annotator, options.data)
        agent: Any = make(strategy, env, seed=unit)
        observation, _ = env.reset(seed=unit)
        memory, terminated = None, False
        while not terminated:
            action, memory = agent.predict(observation, memory)
            observation, _, terminated, _, _ = env.step(action)
        found.append(harness.rounded(env.unwrapped.state.scores[0]))
    return found


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield the episodes of all strategies in one setting, unit by unit."""
    for unit in range(max(options.units, options.shuffles)):
        settings = SETTINGS if unit < options.units else ()
        for setting in (*settings, *(HUMAN if options.data and unit < options.shuffles else ())):
            yield [(*setting, strategy, 0, unit) for strategy in STRATEGIES]


def area(curve: Array) -> Array:
    """Return the mean of a curve (units, points) over numbers of answers from the first point to the last."""
    return np.asarray(trapezoid(curve, POINTS, axis=1) / (POINTS[-1] - POINTS[0]))


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    settings = sorted({key[:2] for key in records})
    rows, curves = [], []
    for setting in settings:
        units = sorted(key[-1] for key in records if key[:3] == (*setting, STRATEGIES[0]))
        units = [unit for unit in units if (*setting, STRATEGIES[1], 0, unit) in records]
        raw = [np.array([records[(*setting, name, 0, unit)] for unit in units]) for name in STRATEGIES]
        for title, turn in (("share", report.near_optimal), ("score", np.asarray)):
            value, random = (area(turn(x)) for x in raw)
            each = [report.show(report.estimate(x), NUMBER) for x in (value, random)]
            rows.append([*setting, len(units), title, *each, report.show(report.estimate(value - random), SIGNED)])
        for i, n in enumerate(POINTS):
            value, random = (report.near_optimal(x[:, i]) for x in raw)
            each = [report.show(report.estimate(x), NUMBER) for x in (value, random)]
            curves.append([*setting, n, *each, report.show(report.estimate(value - random), SIGNED)])
    head = ["by value", "at random", "difference"]
    return {
        ".md": report.page(
            "# Less to ask",
            "Written by `python -m studies.preference.less_to_ask --data FOLDER`; do not edit. The learner is "
            "`bayes_mixture`, which is not told how people answer; *by value* it asks the pair with the largest "
            "expected rise of the expected score of its policy, over weights and ways of answering alike "
            "(`value_bayes_mixture`), and at random any of the same ten (`random_bayes_mixture`). Units are random "
            'tasks of the split "test", or, with people, the order of their answers on one board: those intervals '
            "are not over people. Differences are paired; brackets: 95% bootstrap intervals over units. No answer at "
            "all scores 0, as uniform play. [Records](data/less-to-ask.jsonl).",
            f"## Area under the curve, from {POINTS[0]} to {POINTS[-1]} answers",
            report.table(["boards", "annotator", "units", "of the", *head], rows),
            f"## Share of scores of at least {report.NEAR_OPTIMAL}",
            report.table(["boards", "annotator", "answers", *head], curves),
        )
    }


STUDY = harness.Study("less-to-ask", jobs, run, pages)
PARSER = harness.parser(__doc__, units=16)
PARSER.add_argument("--data", default=os.environ.get(datasets.VARIABLE), help="folder with people's answers")
PARSER.add_argument("--shuffles", type=int, default=10, help="of people's answers")

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
