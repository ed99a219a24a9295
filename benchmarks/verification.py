"""How fast records are verified, and what a job costs besides its work.

    python benchmarks/verification.py              # verification, one core
    python benchmarks/verification.py --jobs 200   # and 200 empty and 200 small jobs by every executor there is

Verification: records of the uniform agent with as many episodes as make `--steps` steps, checked as `valuegym verify`
does: reading, decoding, building the environment, every transition, the scores. The environment's digest is computed
once per process and not counted again. Steps are environment steps, seconds are seconds of the processor, so that a
busy machine does not count; the median of `--rounds` is printed.

Jobs: an empty job returns its number; a small one plays two episodes of the delivery task and writes its record. The
start of workers is measured apart: it lasts until each has done WARM jobs on average, for modules are imported with the
first.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import valuegym
from valuegym.leaderboards import experiments
from valuegym.leaderboards.executors import EXECUTORS
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records import read
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verify import verify

WARM = 10  # jobs for each worker that belong to its start
TRACKS = {
    "valuegym/Delivery-v0": ("return", {}),
    "valuegym/RandomDelivery-v0": ("return", {}),
    "valuegym/RewardInference-v0": ("reports", {"annotator": "regret", "reports": [0, 10, 100, 1000]}),
}


def measure_verification(steps: int, rounds: int) -> None:
    """Print a line for each environment: steps per second of `verify` on one record."""
    print(f"{'verified on one core':<32}{'episodes':>10}{'steps':>10}{'bytes/step':>12}{'steps/s':>12}")
    for env_id, (score, kwargs) in TRACKS.items():
        if env_id not in valuegym.envs.ENVS:
            continue
        rate, record, size = _verification_rate(env_id, score, kwargs, steps, rounds)
        played = sum(len(episode.actions) for episode in record.episodes)
        print(f"{env_id:<32}{len(record.episodes):>10}{played:>10}{size / played:>12.1f}{rate:>12,.0f}")


def _verification_rate(
    env_id: str, score: str, kwargs: dict[str, Any], steps: int, rounds: int
) -> tuple[float, Any, int]:
    with tempfile.TemporaryDirectory() as folder:
        episodes = 10
        while True:
            row = Experiment("bench/track", "", env_id, json.dumps(kwargs), ("uniform",), 0, episodes, (0,), score)
            experiments.EXPERIMENTS[row.id] = row
            path = run("uniform", row.id, 0, Path(folder) / str(episodes))
            record = read(path)
            played = sum(len(episode.actions) for episode in record.episodes)
            if played >= steps:
                break
            episodes = int(episodes * 1.1 * steps / played) + 1
        verify(path)
        times = []
        for _ in range(rounds):
            began = time.process_time()
            verdict = verify(path)
            times.append(time.process_time() - began)
            assert not verdict.reason, verdict.reason
        return played / float(np.median(times)), record, path.stat().st_size


def empty(item: int) -> int:
    """A job without work."""
    return item


def small(item: tuple[str, int]) -> str:
    """A job of two short episodes."""
    folder, seed = item
    row = Experiment(
        "bench/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 2, tuple(range(100_000)), "return"
    )
    experiments.EXPERIMENTS[row.id] = row
    return str(run("uniform", row.id, seed, folder))


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
    parser.add_argument("--steps", type=int, default=20_000, help="steps of each verified record (default 20,000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of verification (default 5)")
    parser.add_argument("--jobs", type=int, default=0, help="measure executors with that many jobs (default: none)")
    parser.add_argument("--workers", type=int, default=2, help="workers of the executors (default 2)")
    args = parser.parse_args()
    print(f"valuegym {valuegym.__version__}, numpy {np.__version__}")
    measure_verification(args.steps, args.rounds)
    if args.jobs:
        measure_jobs(args.jobs, args.workers)


if __name__ == "__main__":
    main()
