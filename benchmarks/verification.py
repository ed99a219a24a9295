"""Speed of verification, and the cost of a job besides its work.

    python benchmarks/verification.py              # verification, one core
    python benchmarks/verification.py --jobs 200   # and 200 empty and 200 small jobs by every executor there is

Verification: records of the uniform agent, all of a track's runs or as many as make `--steps` steps, checked together
as `valuegym verify` does with a submission: reading, decoding, building the environment, every transition, both
references, the scores. It is done in a fresh process, which has seen one other run of the track: imports and the
environment's digest are not counted, and nothing of what was computed while the records were made helps. "First" is the
first submission to a track, for which the verifier computes the references of all episodes; "next" is one after it,
whose episodes are the same. Steps are environment steps, seconds are seconds of the processor, so that a busy machine
does not count for much.

Jobs: an empty job returns its number; a small one plays two episodes of the delivery task and writes its record. The
start of workers is measured apart: it lasts until each has done WARM jobs on average, for modules are imported with the
first.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import _timing
import numpy as np

import valuegym
from valuegym.leaderboards import experiments
from valuegym.leaderboards.executors import EXECUTORS
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import read_record
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verification import reference_cache
from valuegym.leaderboards.verification.verify import verify_together

WARM = 10  # jobs for each worker that belong to its start
WALK = Experiment("bench/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 2, tuple(range(100_000)), "return")
TRACKS = (  # and two environments that no track has
    "preference/delivery", "preference/boards-regret", "control/lqr", "control/pendulum", "control/pendulum-d8",
    "control/mountain-car", "control/cartpole-swingup", "control/acrobot", "coevolution/lock-in",
    "coevolution/follow-linear", "coevolution/predict-linear", "coevolution/coevolve-mixed",
)  # fmt: skip
OTHERS = ("valuegym/RandomDelivery-v0", "valuegym/RiskyDelivery-v0")


def register() -> None:
    """Add tracks of twenty episodes for the environments that have none."""
    for env_id in OTHERS:
        row = Experiment(f"bench/{env_id[9:]}", "", env_id, "{}", ("uniform",), 0, 20, tuple(range(200)), "return")
        experiments.EXPERIMENTS[row.id] = row


def measure_verification(steps: int, only: str) -> None:
    """Print a line for each track: steps per second of verifying some of its runs."""
    print(f"{'verified on one core, steps/s':<32}{'runs':>6}{'steps':>10}{'bytes/step':>12}{'first':>10}{'next':>10}")
    for track in (*TRACKS, *(f"bench/{env_id[9:]}" for env_id in OTHERS)):
        if only in track:
            with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                paths, played, size = _records(track, steps, folder)
                first, following = (played / seconds for seconds in fresh.submit(_seconds, paths, folder).result())
            row = f"{track:<32}{len(paths) - 1:>6}{played:>10}{size / played:>12.1f}{first:>10,.0f}{following:>10,.0f}"
            print(row, flush=True)


def _records(track: str, steps: int, folder: str) -> tuple[list[str], int, int]:
    """Runs of a track, the first one for warming up; steps and bytes of the others."""
    register()
    paths, played, size = [str(run("uniform", track, 0, folder))], 0, 0
    for seed in experiments.find(track).seeds[1:]:
        if played >= steps:
            break
        paths.append(str(run("uniform", track, seed, folder)))
        size += Path(paths[-1]).stat().st_size
        played += sum(len(episode.actions) for episode in read_record(Path(paths[-1])).episodes)
    return paths, played, size


def _seconds(paths: Sequence[str], folder: str) -> list[float]:
    """Seconds of the processor for verifying all but the first, twice, in a process that has verified that one."""
    os.environ[reference_cache.VARIABLE] = folder  # where nothing is cached yet
    register()
    verify_together(paths[:1])
    verdicts: list[Any] = []
    used = _timing.seconds(lambda: verdicts.extend(verify_together(paths[1:])), 2)
    assert not any(verdict.reason for verdict in verdicts), verdicts[0].reason
    return used


def empty(item: int) -> int:
    """A job without work."""
    return item


def small(item: tuple[str, int]) -> str:
    """A job of two short episodes."""
    folder, seed = item
    experiments.EXPERIMENTS[WALK.id] = WALK
    return str(run("uniform", WALK.id, seed, folder))


def timed(name: str, function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> tuple[float, float]:
    """Seconds until the first WARM * workers results, and from then to the last."""
    began, first, done = time.perf_counter(), 0.0, 0
    for _ in EXECUTORS[name](function, items, workers):
        done += 1
        if done == WARM * workers:
            first = time.perf_counter() - began
    return first, time.perf_counter() - began - first


def measure_jobs(jobs: int, workers: int) -> None:
    """Print start and cost per job of every executor."""
    print(f"\n{jobs} jobs, {workers} workers{'start (s)':>20}{'empty (ms each)':>18}{'small (ms each)':>18}")
    for name in EXECUTORS:
        if name == "ray" and importlib.util.find_spec("ray") is None:
            print(f"{name:<24}{'not installed':>20}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            start, rest = timed(name, empty, range(jobs + WARM * workers), workers)
            _, work = timed(name, small, [(folder, seed) for seed in range(jobs + WARM * workers)], workers)
        print(f"{name:<24}{start:>20.2f}{1000 * rest / jobs:>18.2f}{1000 * work / jobs:>18.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50_000, help="steps that are enough (default 50,000)")
    parser.add_argument("--only", default="", help="tracks whose names hold this (default: all)")
    parser.add_argument("--jobs", type=int, default=0, help="measure executors with that many jobs (default: none)")
    parser.add_argument("--workers", type=int, default=2, help="workers of the executors (default 2)")
    args = parser.parse_args()
    print(f"valuegym {valuegym.__version__}, numpy {np.__version__}")
    measure_verification(args.steps, args.only)
    if args.jobs:
        measure_jobs(args.jobs, args.workers)


if __name__ == "__main__":
    main()
