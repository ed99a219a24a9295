"""Power of the rule of ranks: how often it tells agents apart, and how often it claims what is not there.

    python benchmarks/rank_power.py                     # the table below, about two minutes of one core
    python benchmarks/rank_power.py --write docs/results/rank-power.md

Simulated boards of 10 seeds with 10 tasks each. A task is solved (score 1 less an exponential with mean 0.01) or not
(uniform from -1 to 0.9, half of them -1: the policy never ends the episode). Agents fail independently, so that pairing
gains nothing. Rules compared: sign flips of paired differences over tasks, the rule of the boards; the same over seeds;
Student's paired t test over tasks; a percentile bootstrap of the mean over tasks, which claims too much near the
ceiling; and the interquartile mean with its bootstrap over seeds, which does not see failures of less than a quarter.
All are corrected by Holm's method over all ordered pairs.

Power is for each true pair: the share of boards on which the agent that fails less is found better. A false claim is a
board on which any agent is found better than one that is as good.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.stats.bootstrap import interquartile_mean
from valuegym.leaderboards.stats.ranks import holm, rank_intervals

SEEDS, TASKS = 10, 10
GOOD, BAD = 0.03, 0.23
ALPHA, REPEATS = 0.05, 1999
CASES = {
    "two agents, 3% and 23%": (GOOD, BAD),
    "five agents, one at 3%, four at 23%": (GOOD, BAD, BAD, BAD, BAD),
    "five agents, two at 3%, three at 23%": (GOOD, GOOD, BAD, BAD, BAD),
    "five agents, four at 3%, one at 23%": (GOOD, GOOD, GOOD, GOOD, BAD),
    "two equal agents, 3%": (GOOD, GOOD),
    "two equal agents, 23%": (BAD, BAD),
    "five equal agents, 1%": (0.01,) * 5,
    "five equal agents, 3%": (GOOD,) * 5,
    "five equal agents, 23%": (BAD,) * 5,
}
Board = NDArray[np.float64]  # (agents, seeds, tasks)
Rule = Callable[[Board, np.random.Generator], NDArray[np.bool_]]


def simulate(rates: Sequence[float], rng: np.random.Generator) -> Board:
    """Return scores (agents, seeds, tasks) of agents that fail at these rates."""
    shape = (len(rates), SEEDS, TASKS)
    solved = 1 - rng.exponential(0.01, shape)
    missed = np.where(rng.random(shape) < 0.5, -1.0, rng.uniform(-1, 0.9, shape))
    return np.where(rng.random(shape) < np.reshape(rates, (-1, 1, 1)), missed, solved)


def flips_over_tasks(scores: Board, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return who is found better than whom (A, A), by the rule of the boards."""
    return rank_intervals(scores.reshape(len(scores), -1), rng).better


def flips_over_seeds(scores: Board, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the same with seeds as units."""
    return rank_intervals(scores.mean(2), rng).better


def t_test(scores: Board, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the same by Student's paired t test."""
    from scipy import stats

    flat = scores.reshape(len(scores), -1)
    d = flat[:, None] - flat[None]
    error = d.std(-1, ddof=1) / math.sqrt(d.shape[-1])
    with np.errstate(invalid="ignore"):
        t = np.nan_to_num(d.mean(-1) / error)
    return _by_holm(stats.t.sf(t, d.shape[-1] - 1))


def bootstrap_of_means(scores: Board, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the same by a percentile bootstrap of the mean difference over tasks."""
    flat = scores.reshape(len(scores), -1)
    means = flat[:, rng.integers(flat.shape[1], size=(REPEATS, flat.shape[1]))].mean(-1).T
    return _from_resamples(means)


def bootstrap_of_interquartile_means(scores: Board, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the same by a percentile bootstrap of interquartile means, whole seeds resampled."""
    chosen = rng.integers(SEEDS, size=(REPEATS // 4, SEEDS))
    return _from_resamples(interquartile_mean(scores[:, chosen], (2, 3)).T)


def _from_resamples(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return who is found better, from a statistic of resamples (repeats, A): p is the share where it is not."""
    p = (1 + (values[:, :, None] <= values[:, None]).sum(0)) / (1 + len(values))
    return _by_holm(p)


def _by_holm(p: NDArray[np.float64]) -> NDArray[np.bool_]:
    pairs, adjusted = ~np.eye(len(p), dtype=bool), np.ones_like(p)
    adjusted[pairs] = holm(p[pairs])
    return adjusted <= ALPHA


RULES: dict[str, tuple[Rule, float]] = {  # and of how many of the boards it is tried on
    "sign flips, tasks": (flips_over_tasks, 1.0),
    "sign flips, seeds": (flips_over_seeds, 1.0),
    "t test, tasks": (t_test, 1.0),
    "bootstrap of the mean, tasks": (bootstrap_of_means, 0.25),
    "bootstrap of the IQM, seeds": (bootstrap_of_interquartile_means, 0.1),
}


def measure(rule: Rule, rates: Sequence[float], boards: int) -> tuple[float, float]:
    """Return the power for each true pair (NaN for none), and the share of boards with a false claim."""
    rng, by_rate = np.random.default_rng(0), np.array(rates)
    true = by_rate[:, None] < by_rate[None]
    power, false = 0.0, 0
    for _ in range(boards):
        better = rule(simulate(rates, rng), rng)
        power += better[true].mean() if true.any() else math.nan
        false += bool(better[~true].any())
    return power / boards, false / boards


def table(boards: int) -> str:
    """Return the table as Markdown; in brackets the simulation's own 95% limits of a share."""
    lines = ["| agents | measure | " + " | ".join(RULES) + " |", "| --- | --- |" + " --- |" * len(RULES)]
    for about, rates in CASES.items():
        found = []
        for rule, share in RULES.values():
            number = max(10, round(share * boards))
            found.append([(value, number) for value in measure(rule, rates, number)])
        for name, values in zip(("power", "false claims"), zip(*found, strict=True), strict=True):
            if not math.isnan(values[0][0]):
                lines.append(f"| {about} | {name} | {' | '.join(_share(*each) for each in values)} |")
    return "\n".join(lines)


def _share(value: float, number: int) -> str:
    """Return a share with Wilson's 95% interval."""
    z = 1.96
    middle, half = value + z * z / (2 * number), z * math.sqrt(value * (1 - value) / number + (z / (2 * number)) ** 2)
    low, high = ((middle + sign * half) / (1 + z * z / number) for sign in (-1, 1))
    return f"{value:.3f} [{max(low, 0.0):.3f}, {high:.3f}]"


def page(boards: int) -> str:
    """Return the page, of its number of simulated boards."""
    about = (__doc__ or "").split("\n\n", 2)[2]
    fewer = "a quarter for the bootstrap of the mean, a tenth for that of the interquartile mean"
    return (
        "# How often ranks tell agents apart\n\nWritten by `python benchmarks/rank_power.py --write "
        f"docs/results/rank-power.md`; do not edit. {boards:,} boards for each row ({fewer}), seed 0; brackets: 95% "
        f"limits of the simulation.\n\n{about.strip()}\n\n{table(boards)}\n"
    )


def main() -> None:
    """Print the table, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=2000, help="simulated for each row (default: 2000)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page instead")
    options = parser.parse_args()
    began: Any = time.process_time()
    if options.write:
        write_atomically(options.write, page(options.boards))
        print(options.write)
    else:
        print(table(options.boards))
    print(f"{time.process_time() - began:.0f} s of the processor")


if __name__ == "__main__":
    main()
