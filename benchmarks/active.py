"""What a question is worth: the same Bayesian learner asks for information, for value, or at random.

    python benchmarks/active.py [--data FOLDER] [--units 60] [--shuffles 20] [--candidates 10] [--table]

Writes docs/results/active.md and active.svg. Units are tasks of the split "test"; every strategy plays the same ones,
with the same candidates before every answer. People's own answers are asked for where --data (or the variable
VALUEGYM_DATA) says where they lie: units are then shuffles of them, of which every candidate takes one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

import _study
import gymnasium as gym

from valuegym.agents.preference.active_bayes_regret import ActiveBayesRegret
from valuegym.envs.preference import datasets

Array = _study.Array
CHOICES = ("random", "information", "value")
REPORTS = (1, 2, 3, 5, 10, 30)
SETTINGS = (("random", "regret"), ("random", "regret-noiseless"), ("random", "partial-return"), ("risky", "regret"))
HUMAN = ("published", "human:Privileged-Control")


@cache
def environment(board: str, annotator: str, candidates: int, data: str | None) -> Any:
    """Where one asks."""
    folder = {"data": data} if (board, annotator) == HUMAN else {}
    arguments: dict[str, Any] = {
        "board": board,
        "annotator": annotator,
        "candidates": candidates,
        "evaluation_points": REPORTS,
    }
    return gym.make("valuegym/RewardInferenceActive-v0", **arguments, **folder)


def play(cell: tuple[str, str, int, str], unit: int, data: str | None) -> list[list[float]]:
    """The scores of the reports of one episode."""
    env = environment(*cell[:3], data)
    agent = ActiveBayesRegret(env, seed=unit, choice=cell[3])
    observation, _ = env.reset(seed=unit)
    memory, terminated = None, False
    while not terminated:
        action, memory = agent.predict(observation, memory)
        observation, _, terminated, _, _ = env.step(action)
    return [env.unwrapped.state.scores[0].tolist()]


def jobs(options: argparse.Namespace) -> Iterator[_study.Job]:
    """An episode each, unit by unit."""
    for unit in range(max(options.units, options.shuffles)):
        settings = SETTINGS if unit < options.units else ()
        for setting in (*settings, *([HUMAN] if options.data and unit < options.shuffles else [])):
            for choice in CHOICES:
                cell = (*setting, options.candidates, choice)
                yield _study.Job([(*cell, unit, 0)], partial(play, cell, unit, options.data))


def pages(raw: _study.Raw) -> Mapping[str, str]:
    """The page and the picture."""
    settings = [s for s in dict.fromkeys(cell[:3] for cell in raw) if all((*s, choice) in raw for choice in CHOICES)]
    scores = {s: {choice: raw[(*s, choice)][:, 0] for choice in CHOICES} for s in settings}
    head = ["boards", "annotator", "candidates", "units", "answers", *CHOICES]
    head += [f"{choice} - random" for choice in CHOICES[1:]]
    parts = [
        "# Does it pay to choose the question?",
        "Written by `python benchmarks/active.py --data FOLDER`. In `RewardInferenceActive-v0` the learner sees "
        "candidates before every answer, and chooses one. It is `bayes_regret` throughout, which believes in noisy "
        "regret: *information* asks what tells most about the weights, *value* what promises the largest rise of the "
        "return of the policy that it will answer (`active_bayes_regret`, `value_bayes_regret`, and "
        "`random_bayes_regret`, which asks at random). Units are random tasks; where people answer, on one board, "
        "shuffles of their answers, so that intervals there are over what is dealt, not over people or boards. "
        "Differences are paired by unit. In brackets: 95% bootstrap intervals over units.",
        "![Near-optimal share by number of answers](active.svg)",
    ]
    for title, turn in (
        (f"Share of scores at least {_study.NEAR_OPTIMAL}", _study.near_optimal),
        ("Mean score, cut at -1", lambda score: score),
    ):
        rows = []
        for setting, found in scores.items():
            for i, report in enumerate(REPORTS):
                values = [turn(found[choice][:, i]) * 1.0 for choice in CHOICES]
                gains = [value - values[0] for value in values[1:]]
                cells = [_study.estimate(value) for value in (*values, *gains)]
                rows.append([*setting, len(values[0]), report, *cells])
        parts += [f"## {title}", _study.table(head, rows)]
    panels = [
        _study.Panel(
            f"{board}: {annotator}",
            "answers",
            "near-optimal share",
            [
                _study.Curve(choice, range(len(REPORTS)), _shares(found[choice]), style)
                for style, choice in enumerate(CHOICES)
            ],
            [str(report) for report in REPORTS],
        )
        for (board, annotator, _), found in scores.items()
    ]
    return {".md": "\n\n".join(parts) + "\n", ".svg": _study.picture(panels)}


def _shares(found: Array) -> list[_study.Estimate]:
    return [_study.estimate(_study.near_optimal(found[:, i])) for i in range(len(REPORTS))]


STUDY = _study.Study("active", jobs, pages)


def main() -> None:
    """Run the study."""
    parser = _study.parser(__doc__, units=60, seeds=1)
    parser.add_argument("--candidates", type=int, default=10, help="pairs to choose from before every answer")
    parser.add_argument("--data", default=os.environ.get(datasets.VARIABLE), help="folder with people's answers")
    parser.add_argument("--shuffles", type=int, default=20, help="of people's answers")
    _study.run(STUDY, parser.parse_args())


if __name__ == "__main__":
    main()
