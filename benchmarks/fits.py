"""Fits per second of every learner from preferences, what solving together saves, and how cost grows with the map.

    python benchmarks/fits.py > docs/results/fits.md

Seconds of one core, whatever else the machine does. Tasks are of the split "dev"; larger maps hold the published
board's shares of items. Maps larger than LARGEST cells a side are solved, but only partial return is fitted there.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import _timing
import gymnasium as gym
import numpy as np

from valuegym.agents import make
from valuegym.agents.preference import posterior
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, delivery, models, segments
from valuegym.envs.preference.reward_inference import EVALUATION_POINTS, RewardInference
from valuegym.envs.preference.segments import Segment

LEARNERS = ("partial_return", "regret", "regret_library", "bayes_partial_return", "bayes_regret")
TABLES = ("optimal_advantage", "cpl")
TASKS = 5
PAIRS, SIDES, LARGEST = (30, 300, 3000), (10, 20, 50, 100), 20


def seconds(function: Callable[[], object]) -> float:
    """Return processor seconds of one call."""
    return _timing.seconds(function)[0]


def learner(name: str) -> Any:
    """Return a learner, in the environment that it plays in."""
    return make(
        name, gym.make(f"valuegym/RewardInference{'Policy' if name in TABLES else ''}-v0", evaluation_points=(1,))
    )


def random_tasks(n: int) -> list[tuple[tabular.TabularMDP, Segment, Any]]:
    """Return processes, n pairs and their answers by regret."""
    core, tasks = RewardInference(split="dev", evaluation_points=(n,)), []
    for unit in range(TASKS):
        task, _ = core.initial(keys.mix(0, np.array([unit])))
        queries = [core.query(task, np.array([i])) for i in range(1, n + 1)]
        pairs = Segment(*(np.concatenate(field) for field in zip(*(pair for pair, _ in queries), strict=True)))
        mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
        tasks.append((mdp, pairs, annotators.labels(np.concatenate([answer for _, answer in queries]))))
    return tasks


def large_map(side: int, n: int) -> tuple[tabular.TabularMDP, Segment, Any]:
    """Draw a square map with the published board's shares of items, n pairs, and answers by regret."""
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


def rates(learners: dict[str, Any]) -> list[str]:
    """Return a table of fits per second, each alone."""
    groups, rows = [random_tasks(n) for n in PAIRS], []
    for name, agent in learners.items():
        took = [sum(_fit(agent, task) for task in tasks) for tasks in groups]
        rows.append([name, *(f"{TASKS / t:.3g}" for t in took)])
    return table(["learner", *(f"{n} preferences" for n in PAIRS)], rows)


def _fit(agent: Any, task: tuple[tabular.TabularMDP, Segment, Any]) -> float:
    return seconds(partial(agent.estimate, *task, np.random.default_rng(0)))


def growing(learners: dict[str, Any]) -> list[str]:
    """Return core-seconds of all evaluation points of a task, together and for one."""
    rows, total = [], 0.0
    tasks = random_tasks(max(EVALUATION_POINTS))
    for name in ("partial_return", "regret", "bayes_partial_return", "bayes_regret"):
        estimates = learners[name].estimates
        together = sum(seconds(partial(estimates, *task, EVALUATION_POINTS)) for task in tasks) / TASKS
        total += together
        rows.append([name, f"{together:.2f}", f"{together / len(EVALUATION_POINTS):.3f}"])
    rows.append(["all", f"{total:.2f}", f"{total / len(EVALUATION_POINTS) / max(len(rows), 1):.3f}"])
    minutes, fits = 100 * total / 2 / 60, 100 * len(EVALUATION_POINTS) * (len(rows) - 1)
    return [
        *table(["learner", "seconds for all evaluation points of a task", "seconds for a fit"], rows),
        f"At this rate the table of 50 tasks, {len(EVALUATION_POINTS)} numbers of preferences, 2 kinds of answers and "
        f"{len(rows) - 1} learners ({fits} fits) takes {minutes:.1f} minutes on two cores.",
        "",
    ]


def solutions() -> str:
    """Return a sentence about what solving many rewards together saves."""
    optimal = OptimalValues(condense(delivery.board_mdp(np.array([delivery.BOARD]))).mdp)
    weights = posterior.draw(np.random.default_rng(0), 256, 6)
    together = min(seconds(lambda: OptimalValues(optimal.mdp)(weights)) for _ in range(3))
    alone = seconds(lambda: [optimal(w[None]) for w in weights])
    return (
        f"Exact solutions of the published board per second: {256 / alone:.0f} one by one, {256 / together:.0f} "
        f"together ({alone / together:.0f} times as many)."
    )


def sizes(learners: dict[str, Any]) -> list[str]:
    """Return a table of seconds against the size of square maps."""
    rows = []
    for side in SIDES:
        task = large_map(side, 30)
        cells = [f"{side} x {side}", f"{seconds(partial(OptimalValues(task[0]), np.array([delivery.WEIGHTS]))):.4f}"]
        for name, agent in learners.items():
            fits = side <= LARGEST or name == "partial_return"
            cells.append(f"{_fit(agent, task):.2f}" if fits else "")
        rows.append(cells)
    return table(["map", "one exact solution", *learners], rows)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(head)} |", "| --- " * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def main() -> None:
    """Print the page."""
    learners = {name: learner(name) for name in (*LEARNERS, *TABLES)}
    lines = [
        "# What fits cost",
        "",
        "Printed by `python benchmarks/fits.py`; do not edit. Times are seconds of one core"
        f" ({platform.machine()}, numpy {np.__version__}).",
        "",
        f"## Fits per second, each alone, mean of {TASKS} random tasks",
        "",
        *rates(learners),
        "## Growing numbers of preferences, fitted together",
        "",
        *growing(learners),
        solutions(),
        "",
        "## Seconds against the size of the map, 30 preferences",
        "",
        *sizes({name: learners[name] for name in LEARNERS}),
    ]
    print("\n".join(lines).rstrip())


if __name__ == "__main__":
    main()
