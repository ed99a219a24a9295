"""Evaluation points at which learners differ, chosen on random tasks of the split "dev".

    python -m studies.preference.evaluation_points

Of each task every learner gets 1, 3, 10, 30, 100 and 300 answers. A number of answers is kept as an evaluation point of
the tracks `preference/early-...` if the best and the worst mean score are at least 0.1 apart there, and not all means
are above 0.95.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from studies import harness, report
from studies.harness import Key, Options, Records
from studies.preference import learners, tasks
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference.reward_inference import RewardInference

GRID = (1, 3, 10, 30, 100, 300)
LEARNERS = ("bayes_regret", "bayes_partial_return", "regret", "partial_return")
ANNOTATORS = ("regret", "partial-return")
APART, CEILING = 0.1, 0.95


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield the jobs: one task, one annotator, all learners."""
    for unit in range(options.units):
        for annotator in ANNOTATORS:
            yield [(annotator, name, unit) for name in LEARNERS]


def fit(wanted: Sequence[Key], options: Options) -> list[Any]:
    """Return the scores at the grid of keys that differ only in the learner."""
    annotator, _, unit = wanted[0]
    core = RewardInference(annotator=annotator, split="dev", evaluation_points=(max(GRID),))
    task, _ = core.initial(keys.mix(0, np.array([unit])))
    pairs, label = learners.questions(core, task, 0, max(GRID))
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    found = []
    for _, name, _ in wanted:
        weights = tasks.learner(name).estimates(mdp, pairs, label, GRID)
        weights = weights / np.maximum(np.abs(weights).max(-1, keepdims=True), 1e-12)
        found.append(harness.rounded(core.score(learners.rows(task, len(GRID)), weights.astype(np.float32))))
    return found


def chosen(means: Mapping[str, Any]) -> list[int]:
    """Return the evaluation points, from the mean scores (points,) of every learner."""
    every = np.array(list(means.values()))
    keep = (np.ptp(every, 0) >= APART) & (every.min(0) <= CEILING)
    return [point for point, good in zip(GRID, keep, strict=True) if good]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    cells = {key: np.array(values) for key, values in harness.columns(records).items()}
    rows, lines = [], []
    for annotator in ANNOTATORS:
        own = {name: cells[annotator, name] for name in LEARNERS if (annotator, name) in cells}
        rows += [
            [annotator, f"`{name}`", len(values), *(report.estimate(column) for column in values.T)]
            for name, values in own.items()
        ]
        points = chosen({name: values.mean(0) for name, values in own.items()}) if own else []
        lines.append(f"- answers by {annotator}: {', '.join(map(str, points))}")
    return {
        ".md": report.page(
            "# Evaluation points at which learners differ",
            "Written by `python -m studies.preference.evaluation_points`; do not edit. Mean scores on random tasks of "
            'the split "dev", which no track plays, with 95% bootstrap intervals over tasks. All: '
            "[evaluation-points.jsonl](data/evaluation-points.jsonl).",
            report.table(["annotator", "learner", "tasks", *GRID], rows),
            f"Kept where the best and the worst mean are at least {APART} apart and not all are above {CEILING}:",
            "\n".join(lines),
        )
    }


STUDY = harness.Study("evaluation-points", jobs, fit, pages)
PARSER = harness.parser(__doc__, units=12)


def main() -> None:
    """Run the study."""
    harness.run(STUDY, PARSER.parse_args())


if __name__ == "__main__":
    main()
