"""Fits per second of every learner from preferences, what solving together saves, and how cost grows with the map.

    python benchmarks/fits.py [--sizes 10 20 50 100] [--learners regret ...] [--pairs 30 300]

One core. Tasks are of the split "dev"; larger maps hold the same shares of items. Posteriors are measured on maps up
to --largest cells a side, since they solve thousands of candidate rewards where a fit solves tens to hundreds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

from valuegym.agents import make, posterior
from valuegym.agents.values import OptimalValues, condense
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, delivery, models, segments
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.segments import Segment

LEARNERS = ("partial_return", "regret", "regret_library", "bayes_partial_return", "bayes_regret")
TABLES = ("optimal_advantage", "cpl")
TASKS = 5


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def learner(name: str) -> Any:
    """A learner, in the environment that it plays in."""
    return make(name, gym.make(f"valuegym/RewardInference{'Policy' if name in TABLES else ''}-v0", reports=(1,)))


def random_tasks(n: int) -> list[tuple[tabular.TabularMDP, Segment, Any]]:
    """Processes, n pairs and their answers by regret."""
    core, tasks = RewardInference(split="dev", reports=(n,)), []
    for unit in range(TASKS):
        task, _ = core.initial(keys.mix(0, np.array([unit])))
        asked = [core.query(task, np.array([i])) for i in range(1, n + 1)]
        pairs = Segment(*(np.concatenate(field) for field in zip(*(pair for pair, _ in asked), strict=True)))
        mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
        tasks.append((mdp, pairs, annotators.labels(np.concatenate([answer for _, answer in asked]))))
    return tasks


def large_map(side: int, n: int) -> tuple[tabular.TabularMDP, Segment, Any]:
    """A square map with the published board's shares of items, n pairs, and answers by regret."""
    rng = np.random.default_rng(side)
    cells = rng.choice(np.ravel(delivery.BOARD), side * side)
    cells[cells % delivery.BRICK == delivery.GOAL] = delivery.ROAD
    cells[rng.integers(len(cells))] = delivery.GOAL
    mdp = delivery.board_mdp(cells.reshape(1, side, side))
    starts = rng.choice(np.flatnonzero(mdp.start[0]), (1, n, 2))
    pairs = segments.follow(mdp, starts, rng.integers(0, len(delivery.ACTIONS), (1, n, 2, 3)))
    reward = models.solve(mdp, np.array([delivery.WEIGHTS]))
    utility = models.Regret().utility(reward, pairs, mdp.discount)[0]
    label = models.BradleyTerry().label(utility[:, 1] - utility[:, 0], rng.random(n))
    return mdp, Segment(*(field[0] for field in pairs)), label


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--pairs", type=int, nargs="+", default=[30, 300])
    parser.add_argument("--learners", nargs="+", default=[*LEARNERS, *TABLES], choices=[*LEARNERS, *TABLES])
    parser.add_argument("--largest", type=int, default=20)
    options = parser.parse_args()
    learners = {name: learner(name) for name in options.learners}

    print(f"fits per second on random boards, {TASKS} tasks")
    tasks = {n: random_tasks(n) for n in options.pairs}
    for name, agent in learners.items():
        rates = []
        for n in options.pairs:
            took = sum(seconds(partial(agent.estimate, *task, np.random.default_rng(0))) for task in tasks[n])
            rates.append(f"{n} pairs {TASKS / took:7.2f}")
        print(f"  {name:22s}" + ", ".join(rates))

    optimal = OptimalValues(condense(delivery.board_mdp(np.array([delivery.BOARD]))).mdp)
    weights = posterior.draw(np.random.default_rng(0), 256, 6)
    together = seconds(lambda: optimal(weights))
    alone = seconds(lambda: [optimal(w[None]) for w in weights])
    print(
        f"exact solutions of the published board per second: one by one {256 / alone:.0f}, "
        f"together {256 / together:.0f} ({alone / together:.1f} times)"
    )

    print("seconds, square maps, 30 pairs")
    for side in options.sizes:
        task = large_map(side, 30)
        weights = np.array([delivery.WEIGHTS])
        cells = [f"one exact solution {seconds(partial(OptimalValues(task[0]), weights)):.4f}"]
        for name, agent in learners.items():
            if side <= options.largest or not name.startswith("bayes"):
                took = seconds(partial(agent.estimate, *task, np.random.default_rng(0)))
                cells.append(f"{name} {took:.2f}")
        print(f"  {side}x{side}: " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
