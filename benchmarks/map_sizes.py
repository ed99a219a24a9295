"""Cost of a task by the size of its map: `python benchmarks/map_sizes.py`, one core, milliseconds.

Columns: drawing a board, its exact optimal values (policy iteration along paths), its exact values under uniformly
random actions (block elimination from 400 cells on), and one step of the scalar environment.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import _timing
import gymnasium as gym
import numpy as np

from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, random_delivery

SIDES, REPEATS = (10, 20, 30, 50, 70, 100), 5


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

        calls: tuple[tuple[Iterator[Any], int], ...] = (
            ((random_delivery.draw(keys.mix(i, 1), (side, side)) for i in range(REPEATS)), REPEATS),
            (map(tabular.optimal_values, mdps, rewards), REPEATS),
            (map(tabular.evaluate, mdps, map(tabular.uniform_policy, mdps), rewards), REPEATS),
            (map(step, range(200)), 200),
        )
        times = [_timing.seconds(partial(next, each), n, time.perf_counter) for each, n in calls]
        print(f"{side:>4}x{side:<4} " + " ".join(f"{1e3 * np.median(values):8.2f}" for values in times))


if __name__ == "__main__":
    main()
