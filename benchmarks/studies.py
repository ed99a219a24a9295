"""Studies of the preference learners: one command fits what is missing of a study and writes its table and plot.

    python benchmarks/studies.py near-optimal [--units 100] [--seeds 10] [--jobs 2]
    python benchmarks/studies.py stored --data FOLDER
    python benchmarks/studies.py people --data FOLDER [--units 20]

near-optimal: units are random tasks of the split "test", each answered by every annotator; `seeds` draw other pairs and
other answers for the same task. stored: the same on the boards published with Knox et al. (2024). people: units are
shuffles of the answers of one condition, cut into partitions of so many answers each, and every partition is learnt
from on its own.

Fits of one task advance together and tasks go to `--jobs` processes. Every score is one line in
results/studies/NAME.jsonl, written when it is there, so that an interrupted study goes on where it stopped. All scores
go to docs/results/NAME.jsonl in a compact form, from which docs/results/NAME.md and NAME.svg are made; `--table` only
does that. What the compact file holds is not fitted again: to begin anew, give another folder with `--docs`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
import study_report

from valuegym.agents import make
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, datasets, maps
from valuegym.envs.preference.reward_inference import EVALUATION_POINTS, RewardInference, Task
from valuegym.envs.preference.segments import Segment

ENV = "valuegym/RewardInference-v0"
LEARNERS = ("partial_return", "regret", "bayes_partial_return", "bayes_regret")
LIKELIHOOD = ("partial_return:likelihood", "regret:likelihood")  # as published: the prior is so wide, it says nothing
LIBRARIES = ("regret_library:nine-values", "regret_library:true-values")
OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "likelihood": {"prior_scale": 1000.0},
    "nine-values": {"source": "nine-values", "prior_scale": 1000.0},
    "true-values": {"source": "true-values", "prior_scale": 1000.0},
}
ANNOTATORS = ("regret-noiseless", "regret", "partial-return-noiseless", "partial-return")
SHORT = 300  # preferences that all seeds reach
PARTITIONS = (35, 89, 179, 358, 896, 1793)  # the published numbers of partitions, 50 to 1, of 1,793 answers

Key = tuple[str, str, int, int, int]  # annotator, learner, preferences, unit, part of the unit


@dataclass(frozen=True)
class Job:
    """The fits of one unit and part: these learners after these numbers of preferences.

    board is as in `RewardInference`; for people, annotator is "human:CONDITION", and a part is a partition.
    """

    annotator: str
    unit: int
    part: int
    learners: tuple[str, ...]
    reports: tuple[int, ...]
    split: str = "test"
    board: str = "random"
    data: str | None = None

    def keys(self) -> Iterator[Key]:
        """Of all scores."""
        name = self.annotator.removeprefix("human:")
        return ((name, learner, n, self.unit, self.part) for learner in self.learners for n in self.reports)


def own(learner: str, annotator: str) -> bool:
    """Whether a learner believes what the annotator does."""
    return ("partial_return" in learner) == annotator.startswith("partial-return")


def synthetic(options: argparse.Namespace) -> Iterator[Job]:
    """Growing numbers of answers about one task; the first seeds also go beyond SHORT, and to the other learners."""
    names: tuple[str, ...] = ()
    if options.study == "stored":
        names = tuple(sorted(name for name in maps.stored(options.data) if name.startswith(maps.MAIN)))
    short = tuple(n for n in options.reports if n <= SHORT)
    long = tuple(n for n in options.reports if n > SHORT)
    for seed in range(options.seeds):
        for mine, reports in ((True, short), (True, long), (False, short)):
            if seed >= (options.seeds if mine and reports == short else options.long if mine else options.mismatched):
                continue
            for unit in range(len(names) or options.units):
                for annotator in options.annotators:
                    learners = tuple(name for name in options.learners if own(name, annotator) == mine)
                    board = f"stored:{names[unit]}" if names else "random"
                    yield Job(annotator, unit, seed, learners, reports, options.split, board, options.data)


def people(options: argparse.Namespace) -> Iterator[Job]:
    """Disjoint partitions of people's answers, each on its own."""
    for unit in range(options.units):
        for condition in options.conditions:
            total = len(datasets.load(condition, options.data).labels)
            for n in options.reports:
                for part in range(total // n):
                    learners = tuple(options.learners)
                    yield Job(f"human:{condition}", unit, part, learners, (n,), data=options.data)


@lru_cache(maxsize=2)
def environment(annotator: str, split: str, board: str, data: str | None, longest: int) -> RewardInference:
    """The core that asks and scores."""
    return RewardInference(annotator=annotator, split=split, board=board, data=data, evaluation_points=(longest,))


@lru_cache(maxsize=8)
def learner(name: str) -> Any:
    """By its name and, after a colon, how it differs from the default."""
    agent, _, variant = name.partition(":")
    return make(agent, gym.make(ENV, evaluation_points=(1,)), **OPTIONS[variant])


def rows(task: Task, n: int) -> Task:
    """The one task n times over, without copying it."""
    return Task(*(np.broadcast_to(field, (n, *field.shape[1:])) for field in task))


def asked(core: RewardInference, task: Task, seed: int, n: int) -> tuple[Segment, Any]:
    """The first n pairs (n, 2, ...) and labels (n,); seed 0 has those of the environment's own episode."""
    if seed:
        task = task._replace(key=keys.mix(task.key, seed))
    blocks = [np.arange(first, min(first + 500, n + 1)) for first in range(1, n + 1, 500)]
    found = [core.query(rows(task, len(block)), block) for block in blocks]
    pairs = Segment(*(np.concatenate(fields) for fields in zip(*(pair for pair, _ in found), strict=True)))
    return pairs, annotators.labels(np.concatenate([answer for _, answer in found]))


def scores(job: Job) -> list[tuple[Key, float]]:
    """Fit and score."""
    human = job.annotator.startswith("human:")
    core = environment(job.annotator, job.split, job.board, job.data, 1 if human else max(job.reports))
    task, _ = core.initial(keys.mix(0, np.array([0 if human or job.board != "random" else job.unit])))
    if human:
        assert core.source.human is not None
        order = np.random.default_rng(job.unit).permutation(len(core.source.human.labels))
        chosen = order[job.part * job.reports[0] : (job.part + 1) * job.reports[0]]
        human_data = core.source.human
        pairs, label = Segment(*(field[chosen] for field in human_data.segments)), human_data.labels[chosen]
    else:
        pairs, label = asked(core, task, job.part, max(job.reports))
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    weights = np.concatenate([learner(name).estimates(mdp, pairs, label, job.reports) for name in job.learners])
    weights /= np.maximum(np.abs(weights).max(-1, keepdims=True), 1e-12)
    found = core.score(rows(task, len(weights)), weights.astype(np.float32))
    return list(zip(job.keys(), found.tolist(), strict=True))


def recorded(path: Path) -> dict[Key, float]:
    """The scores so far; a line that an interruption cut short is left out."""
    found: dict[Key, float] = {}
    if path.is_file():
        text = path.read_text()
        for line in text[: text.rfind("\n") + 1].splitlines():
            annotator, name, reports, unit, part, score = json.loads(line)
            found[annotator, name, reports, unit, part] = score
        if text and not text.endswith("\n"):
            path.write_text(text[: text.rfind("\n") + 1])
    return found


def known(path: Path, docs: Path) -> dict[Key, float]:
    """The scores of the compact file and, where they are recorded in full, of the records."""
    stored = study_report.stored_scores(docs, path.stem)
    return {(*k, *at): score for k, found in stored.items() for at, score in found.items()} | recorded(path)


def fill(path: Path, jobs: list[Job], processes: int, done: dict[Key, float]) -> None:
    """Fit what is not done yet, and say how long it took."""
    todo = [job for job in jobs if job.learners and job.reports and not all(key in done for key in job.keys())]
    path.parent.mkdir(parents=True, exist_ok=True)
    began, fits = time.perf_counter(), 0
    pool: Executor = ThreadPoolExecutor(1)
    if processes > 1:
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    with path.open("a") as file, pool:
        for future in as_completed([pool.submit(scores, job) for job in todo]):
            for key, score in future.result():
                file.write(json.dumps([*key, score]) + "\n")
                fits += 1
            file.flush()
    print(f"{fits} fits in {time.perf_counter() - began:.0f} s, {processes} processes")


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=("near-optimal", "stored", "people"))
    parser.add_argument("--units", type=int)
    parser.add_argument("--seeds", type=int, help="of every random task")
    parser.add_argument("--long", type=int, default=1, help=f"seeds that go beyond {SHORT} preferences")
    parser.add_argument("--mismatched", type=int, default=1, help="seeds of learners that believe in another statistic")
    parser.add_argument("--reports", type=int, nargs="+")
    parser.add_argument("--learners", nargs="+", choices=(*LEARNERS, *LIKELIHOOD, *LIBRARIES))
    parser.add_argument("--annotators", nargs="+", default=ANNOTATORS, choices=sorted(annotators.ANNOTATORS))
    parser.add_argument("--split", default="test", choices=("train", "dev", "test"))
    parser.add_argument("--conditions", nargs="+", default=["Privileged-Control"], choices=sorted(datasets.CONDITIONS))
    parser.add_argument("--data", metavar="FOLDER", help="folder with the human data and the stored boards")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--results", type=Path, default=Path("results/studies"))
    parser.add_argument("--docs", type=Path, default=Path("docs/results"))
    parser.add_argument("--table", action="store_true", help="only write table and plot")
    options = parser.parse_args()
    humans = options.study == "people"
    options.units = options.units or (20 if humans else 100)
    options.seeds = options.seeds or (10 if options.study == "near-optimal" else 1)
    options.reports = options.reports or (PARTITIONS if humans else EVALUATION_POINTS)
    options.learners = options.learners or (*LEARNERS, *LIKELIHOOD, *(LIBRARIES if humans else ()))
    path = options.results / f"{options.study}.jsonl"
    if not options.table:
        jobs = list(people(options) if humans else synthetic(options))
        fill(path, jobs, options.jobs, known(path, options.docs))
    options.docs.mkdir(parents=True, exist_ok=True)
    study_report.write(options.study, known(path, options.docs), options.docs)


if __name__ == "__main__":
    main()
