"""Steps per second of the coevolution environments, on one core.

    python benchmarks/coevolution.py [--envs 64] [--rounds 5]

Native vector environments with 100 people and five values, episodes of nine steps, NEXT_STEP; actions are uniform and
drawn beforehand. Both processor time and time on the clock are given: where others compute on the same cores, the
first is what the environment costs. The median of the rounds counts.
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
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    args = parser.parse_args()
    print(f"valuegym {valuegym.__version__}, numpy {np.__version__}, {args.envs} rows, 100 people, 5 values")
    print(f"{'':<16}{'steps/s of processor time':>28}{'steps/s on the clock':>24}")
    for id in IDS:
        envs = gym.make_vec(f"valuegym/{id}", num_envs=args.envs)
        used, clock = np.median([rates(envs, 100) for _ in range(args.rounds)], axis=0)
        print(f"{id:<16}{used:>28,.0f}{clock:>24,.0f}")


if __name__ == "__main__":
    main()
