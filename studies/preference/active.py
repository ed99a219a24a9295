"""Compare ways to choose queries: one Bayesian learner queries for information, for value, or at random.

    python -m studies.preference.active [--data FOLDER] [--units 60] [--shuffles 20] [--table]

Units are tasks of the split "test"; every strategy plays the same ones, with the same candidates before every answer.
People's own answers are asked for where --data (or the variable VALUEGYM_DATA) says where they lie: units are then
shuffles of them, of which every candidate takes one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import gymnasium as gym

from studies import figures, harness, report
from studies.harness import Key, Options, Records
from valuegym.agents.preference.active_bayes_regret import ActiveBayesRegret
from valuegym.envs.preference import datasets

CHOICES = ("random", "information", "value")
EVALUATION_POINTS = (1, 2, 3, 5, 10, 30)
SETTINGS = (("random", "regret"), ("random", "regret-noiseless"), ("random", "partial-return"), ("risky", "regret"))
HUMAN = ("published", "human:Privileged-Control")


@cache
def environment(board: str, annotator: str, candidates: int, data: str | None) -> Any:
    """Return the environment in which one asks."""
    setting: dict[str, Any] = {"data": data} if (board, annotator) == HUMAN else {}
    setting |= {"board": board, "annotator": annotator, "candidates": candidates}
    return gym.make("valuegym/RewardInferenceActive-v0", evaluation_points=EVALUATION_POINTS, **setting)


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the scores at the evaluation points of one episode."""
    [(*setting, choice, _, unit)] = keys
    env = environment(*setting, options.data)
    agent = ActiveBayesRegret(env, seed=unit, choice=choice)
    observation, _ = env.reset(seed=unit)
    memory, terminated = None, False
    while not terminated:
        action, memory = agent.predict(observation, memory)
        observation, _, terminated, _, _ = env.step(action)
    return [harness.rounded(env.unwrapped.state.scores[0])]


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one episode each, unit by unit."""
    for unit in range(max(options.units, options.shuffles)):
        settings = SETTINGS if unit < options.units else ()
        for setting in (*settings, *([HUMAN] if options.data and unit < options.shuffles else [])):
            for choice in CHOICES:
                yield [(*setting, options.candidates, choice, 0, unit)]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the figure."""
    raw = harness.arrays(records, jobs(options))
    settings = [s for s in dict.fromkeys(cell[:3] for cell in raw) if all((*s, choice) in raw for choice in CHOICES)]
    scores = {s: {choice: raw[(*s, choice)][:, 0] for choice in CHOICES} for s in settings}
    head = ["boards", "annotator", "candidates", "units", "answers", *CHOICES]
    head += [f"{choice} - random" for choice in CHOICES[1:]]
    parts = [
        "# Does it pay to choose the question?",
        "Written by `python -m studies.preference.active --data FOLDER`. In `RewardInferenceActive-v0` the learner "
        "sees candidates before every answer, and chooses one. It is `bayes_regret` throughout, which assumes noisy "
        "regret: *information* asks the question whose answer is expected to say most about the weights, *value* the "
        "one with the largest expected rise of the return of the policy that it will answer (`active_bayes_regret`, "
        "`value_bayes_regret`, and `random_bayes_regret`, which asks at random). Units are random tasks; where people "
        "answer, on one board, shuffles of their answers, so that intervals there are over the order of the answers, "
        "not over people or boards. Differences are paired by unit. In brackets: 95% bootstrap intervals over units.",
        "![Near-optimal share by number of answers](active.svg)",
    ]
    for title, turn in (
        (f"Share of scores at least {report.NEAR_OPTIMAL}", report.near_optimal),
        ("Mean score, clipped to -1", lambda score: score),
    ):
        rows = []
        for setting, found in scores.items():
            for i, number in enumerate(EVALUATION_POINTS):
                values = [turn(found[choice][:, i]) for choice in CHOICES]
                gains = [value - values[0] for value in values[1:]]
                cells = [report.estimate(value) for value in (*values, *gains)]
                rows.append([*setting, len(values[0]), number, *cells])
        parts += [f"## {title}", report.table(head, rows)]
    panels = [
        figures.Panel(
            f"{board}: {annotator}",
            "answers",
            "near-optimal share",
            figures.curves({c: [report.estimate(report.near_optimal(x)) for x in found[c].T] for c in CHOICES}),
            EVALUATION_POINTS,
        )
        for (board, annotator, _), found in scores.items()
    ]
    return {".md": report.page(*parts), ".svg": figures.draw(panels)}


STUDY = harness.Study("active", jobs, run, pages)
PARSER = harness.parser(__doc__, units=60)
PARSER.add_argument("--candidates", type=int, default=10, help="pairs to choose from before every answer")
PARSER.add_argument("--data", default=os.environ.get(datasets.VARIABLE), help="folder with people's answers")
PARSER.add_argument("--shuffles", type=int, default=20, help="of people's answers")

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
