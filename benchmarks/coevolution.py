"""Steps per second of the coevolution environments, on one core.

    python benchmarks/coevolution.py [--envs 64] [--rounds 30]

Native vector environments with 100 people and five values, episodes of nine steps, NEXT_STEP; actions are uniform and
drawn beforehand. Resets are counted in. Given are processor time and time on the clock, each in the median and in the
fastest of rounds of 50 steps: where others compute on the same cores and in the same caches, the fastest is what the
environment costs.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

import valuegym

IDS = ("Follow-v0", "Predict-v0", "Coevolve-v0")


def rates(envs: Any, steps: int) -> tuple[float, float]:
    """Environment steps per second of processor time and of the clock, resets included."""
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(10)]
    envs.reset(seed=0)
    used, began = time.process_time(), time.perf_counter()
    for t in range(steps):
        envs.step(actions[t % len(actions)])
    return tuple(steps * envs.num_envs / x for x in (time.process_time() - used, time.perf_counter() - began))  # type: ignore[return-value]


def main() -> None:
    """Print one line for each environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", type=int, default=64, help="rows (default 64)")
    parser.add_argument("--rounds", type=int, default=30, help="rounds (default 30)")
    args = parser.parse_args()
    print(f"valuegym {valuegym.__version__}, numpy {np.__version__}, {args.envs} rows, 100 people, 5 values")
    print(f"{'':<16}{'processor time: median':>24}{'fastest':>10}{'clock: median':>20}{'fastest':>10}")
    for id in IDS:
        envs = gym.make_vec(f"valuegym/{id}", num_envs=args.envs)
        found = np.array([rates(envs, 50) for _ in range(args.rounds)])
        (used, clock), (best, soonest) = np.median(found, axis=0), found.max(0)
        print(f"{id:<16}{used:>24,.0f}{best:>10,.0f}{clock:>20,.0f}{soonest:>10,.0f}")


if __name__ == "__main__":
    main()
