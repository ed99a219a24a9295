"""Studies of the preference learners: one command fills in what is missing of a study and writes its table.

    python benchmarks/studies.py near-optimal [--units 100] [--reports 3 10 30 100 300]
    python benchmarks/studies.py people --data FOLDER [--units 20] [--reports 35 89]

Every fit is one line in results/studies/NAME.jsonl, written when it is done, so that an interrupted study goes on where
it stopped; the table goes to docs/results/NAME.md. `--table` only writes the table.

near-optimal: units are random tasks of the split "test"; `reports` are preferences shown. people: units are shuffles of
the answers of one condition, cut into partitions of `reports` answers each; every partition is learnt from on its own.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

from valuegym.agents import make
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.functional import take_rows
from valuegym.envs.preference import annotators, datasets
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.segments import Segment
from valuegym.leaderboards.aggregate import mean, stratified_bootstrap

LEARNERS = ("partial_return", "regret", "bayes_partial_return", "bayes_regret")
ANNOTATORS = ("regret", "regret-noiseless", "partial-return", "partial-return-noiseless")
NEAR_OPTIMAL = 0.9
ENV = "valuegym/RewardInference-v0"

Key = tuple[str, str, int, int, int]  # annotator, learner, preferences, unit, part of the unit


class Problem(NamedTuple):
    """One thing to learn: its key without the learner, its process and answered pairs, and how estimates score."""

    annotator: str
    reports: int
    unit: int
    part: int
    mdp: tabular.TabularMDP
    pairs: Segment
    label: Any
    score: Callable[[Any], float]

    def key(self, learner: str) -> Key:
        """The key of a fit."""
        return self.annotator, learner, self.reports, self.unit, self.part


def _process(task: Any, discount: float) -> tabular.TabularMDP:
    return tabular.TabularMDP(task.features, task.terminal, task.start, discount, next_state=task.next_state)


def _score(core: RewardInference, task: Any, weights: Any) -> float:
    return float(core.score(task, (weights / max(np.abs(weights).max(), 1e-12)).astype(np.float32)[None])[0])


def random_tasks(options: argparse.Namespace) -> Iterator[Problem]:
    """Growing numbers of answers about random tasks."""
    for unit in range(options.units):
        for annotator in options.annotators:
            core = RewardInference(annotator=annotator, reports=(max(options.reports),))
            task, _ = core.initial(keys.mix(0, np.array([unit])))
            asked = [core.query(task, np.array([i])) for i in range(1, max(options.reports) + 1)]
            pairs = Segment(*(np.concatenate(field) for field in zip(*(pair for pair, _ in asked), strict=True)))
            label = annotators.labels(np.concatenate([answer for _, answer in asked]))
            for n in options.reports:
                shown = Segment(*(field[:n] for field in pairs))
                score = partial(_score, core, task)
                yield Problem(annotator, n, unit, 0, _process(task, core.discount), shown, label[:n], score)


def people(options: argparse.Namespace) -> Iterator[Problem]:
    """Disjoint partitions of people's answers, each on its own."""
    for condition in options.conditions:
        human = datasets.load(condition, options.data)
        core = RewardInference(annotator=f"human:{condition}", data=options.data)
        task, _ = core.initial(np.zeros(1, np.uint64))
        task = take_rows(task, np.zeros(1, np.int64))
        for unit in range(options.units):
            order = np.random.default_rng(unit).permutation(len(human.labels))
            for n in options.reports:
                for part in range(len(order) // n):
                    rows = order[part * n : (part + 1) * n]
                    pairs = Segment(*(field[rows] for field in human.segments))
                    score = partial(_score, core, task)
                    yield Problem(
                        condition, n, unit, part, _process(task, core.discount), pairs, human.labels[rows], score
                    )


STUDIES: dict[str, Callable[[argparse.Namespace], Iterator[Problem]]] = {
    "near-optimal": random_tasks,
    "people": people,
}


def recorded(path: Path) -> dict[Key, float]:
    """The scores so far; a line that an interruption cut short is left out."""
    scores: dict[Key, float] = {}
    if path.is_file():
        text = path.read_text()
        for line in text[: text.rfind("\n") + 1].splitlines():
            annotator, learner, reports, unit, part, score = json.loads(line)
            scores[annotator, learner, reports, unit, part] = score
        if text and not text.endswith("\n"):
            path.write_text(text[: text.rfind("\n") + 1])
    return scores


def fill(path: Path, problems: Iterator[Problem], learners: dict[str, Any]) -> None:
    """Fit what is not recorded yet."""
    done = recorded(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for problem in problems:
            for name, learner in learners.items():
                if problem.key(name) in done:
                    continue
                rng = np.random.default_rng([0, problem.reports])
                score = problem.score(learner.estimate(problem.mdp, problem.pairs, problem.label, rng))
                file.write(json.dumps([*problem.key(name), score]) + "\n")
                file.flush()


def _cell(by_unit: list[Any]) -> str:
    """Mean of what the units hold, with the 95% bootstrap interval over whole units."""
    low, high = stratified_bootstrap(np.array(by_unit)[:, None], mean, np.random.default_rng(0))
    return f"{np.mean(by_unit):.2f} ({low:.2f} to {high:.2f})"


def table(name: str, scores: dict[Key, float]) -> str:
    """Near-optimal shares and paired differences, of the units that every learner has finished."""
    lines = [
        f"# {name}",
        "",
        f"Share of fits near-optimal (score at least {NEAR_OPTIMAL}), with 95% bootstrap intervals over whole units.",
        f"The last columns are paired differences. Written by `python benchmarks/studies.py {name}`.",
        "",
        "| annotator | preferences | units | " + " | ".join(LEARNERS) + " | bayes_regret - regret | "
        "bayes_regret - bayes_partial_return |",
        "| --- " * (len(LEARNERS) + 5) + "|",
    ]
    for annotator, n in dict.fromkeys((key[0], key[2]) for key in sorted(scores, key=lambda key: (key[0], key[2]))):
        hits = {
            learner: {
                key[3:]: score >= NEAR_OPTIMAL for key, score in scores.items() if key[:3] == (annotator, learner, n)
            }
            for learner in LEARNERS
        }
        shared = sorted(set.intersection(*(set(found) for found in hits.values())))
        parts = max((part for _, part in shared), default=0) + 1
        units = [unit for unit in dict.fromkeys(unit for unit, _ in shared) if (unit, parts - 1) in shared]
        if not units:
            continue
        near = {
            name: np.array([[found[u, p] for p in range(parts)] for u in units], float) for name, found in hits.items()
        }
        gains = [near["bayes_regret"] - near[other] for other in ("regret", "bayes_partial_return")]
        cells = [_cell(list(values)) for values in (*near.values(), *gains)]
        lines.append(f"| {annotator} | {n} | {len(units)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--units", type=int)
    parser.add_argument("--reports", type=int, nargs="+")
    parser.add_argument("--learners", nargs="+", default=LEARNERS, choices=LEARNERS)
    parser.add_argument("--annotators", nargs="+", default=ANNOTATORS, choices=ANNOTATORS)
    parser.add_argument("--conditions", nargs="+", default=["Privileged-Control"], choices=sorted(datasets.CONDITIONS))
    parser.add_argument("--data", metavar="FOLDER", help="folder with the human data")
    parser.add_argument("--results", type=Path, default=Path("results/studies"))
    parser.add_argument("--docs", type=Path, default=Path("docs/results"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    humans = options.study == "people"
    options.units = options.units or (20 if humans else 100)
    options.reports = options.reports or ([35, 89] if humans else [3, 10, 30, 100, 300])
    path = options.results / f"{options.study}.jsonl"
    if not options.table:
        env = gym.make(ENV, reports=(1,))
        fill(path, STUDIES[options.study](options), {name: make(name, env) for name in options.learners})
    options.docs.mkdir(parents=True, exist_ok=True)
    target = options.docs / f"{options.study}.md"
    temporary = target.with_suffix(".part")
    temporary.write_text(table(options.study, recorded(path)))
    os.replace(temporary, target)
    print(target.read_text())


if __name__ == "__main__":
    main()
