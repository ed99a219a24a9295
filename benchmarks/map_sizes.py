"""Cost of a task by the size of its map: `python benchmarks/map_sizes.py`, one core, milliseconds.

Columns: drawing a board, its exact optimal values (policy iteration along paths), its exact values under uniformly
random actions (block elimination from 400 cells on), and one step of the scalar environment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import valuegym.envs
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, random_delivery

SIDES, REPEATS = (10, 20, 30, 50, 70, 100), 5


def milliseconds(function: Callable[[int], Any], repeats: int = REPEATS) -> float:
    """Median time of function(0), function(1), ..."""
    times = []
    for i in range(repeats):
        begin = time.perf_counter()
        function(i)
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


def main() -> None:
    """Print one line for each size."""
    print(f"{'map':>9} {'draw':>8} {'optimal':>8} {'uniform':>8} {'step':>8}")
    for side in SIDES:
        tasks = [random_delivery.draw(keys.mix(i, 0), (side, side)) for i in range(REPEATS)]
        mdps = [delivery.board_mdp(task.boards) for task in tasks]
        rewards = [tabular.reward(mdp, task.weights) for mdp, task in zip(mdps, tasks, strict=True)]
        env = gym.make("valuegym/RandomDelivery-v0", size=(side, side), observation="planes").unwrapped
        env.reset(seed=0)

        def step(i: int, env: Any = env) -> None:
            if env.step(i % 4)[2]:
                env.reset()

        columns = (
            milliseconds(lambda i, n=side: random_delivery.draw(keys.mix(i, 1), (n, n))),  # type: ignore[misc]
            milliseconds(lambda i, m=mdps, r=rewards: tabular.optimal_values(m[i], r[i])),  # type: ignore[misc]
            milliseconds(lambda i, m=mdps, r=rewards: tabular.evaluate(m[i], tabular.uniform_policy(m[i]), r[i])),  # type: ignore[misc]
            milliseconds(step, 200),
        )
        print(f"{side:>4}x{side:<4} " + " ".join(f"{value:8.2f}" for value in columns))


if __name__ == "__main__":
    assert valuegym.envs.ENVS
    main()
