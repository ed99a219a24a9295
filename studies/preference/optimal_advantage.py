"""Optimal advantages learnt from regret answers: how to use them, and what loops do.

    python -m studies.preference.optimal_advantage [--units 30] [--loop-units 90] [--table]

The two experiments are of Knox et al. (2024), "Learning optimal advantage from preferences and mistaking it for reward"
(arXiv:2310.02456).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product

import numpy as np

from studies import figures, harness, report
from studies.harness import Array, Key, Options, Records
from studies.preference import tasks
from valuegym.agents.preference.optimal_advantage import as_reward, fit_table
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, models
from valuegym.envs.preference.segments import Segment

CHOICES: dict[str, models.Choice] = {"noiseless": models.Noiseless(), "Boltzmann": models.BradleyTerry()}
NUMBERS = (300, 1000, 3000, 10_000, 30_000)
ABSORBING = {True: "with absorbing transitions", False: "without"}

LOOP_NUMBERS, LOOP_LENGTHS = (10, 100), (1, 2)
GROUPS = ("ending is best", "ending is best too", "looping is best")
SHAPES = ((3, 1), (3, 2), (5, 1), (5, 2))
CLEAR = 0.1  # smaller differences between the two uses say nothing, as published


def answers(task: tasks.Task, pairs: Segment, choice: str, rng: np.random.Generator) -> Array:
    """Return labels (n,) by regret."""
    difference = tasks.utility_difference(task, pairs, models.Regret())
    label: Array = CHOICES[choice].label(difference, rng.random(len(difference)))
    return label


def learn(task: tasks.Task, pairs: Segment, label: Array) -> Array:
    """Return A-hat (S * A,)."""
    return fit_table(pairs, label, *task.mdp.features.shape[1:3], task.mdp.discount)


# --- how many preferences, and which use ---


@lru_cache(maxsize=1)
def drawn(unit: int, seed: int, choice: str, absorbing: bool) -> tuple[Segment, Array]:
    """Return all pairs and answers of one curve."""
    task, rng = tasks.random_task(unit), np.random.default_rng([unit, seed, absorbing])
    pairs = tasks.draw_pairs(task, max(NUMBERS), 3, rng, whole=not absorbing)
    return pairs, answers(task, pairs, choice, rng)


def amount(choice: str, absorbing: bool, n: int, seed: int, unit: int) -> list[float]:
    """Return the score used greedily, the score used as a reward, and the mean over states of max_a A-hat."""
    task = tasks.random_task(unit)
    pairs, label = drawn(unit, seed, choice, absorbing)
    table = learn(task, Segment(*(field[:n] for field in pairs)), label[:n])
    level = table.reshape(-1, 4).max(-1)[~task.mdp.terminal[0]].mean()
    return [tasks.score_table(task, table), tasks.score_table(task, as_reward(task.mdp, table)), float(level)]


# --- loops ---


def loop_task(unit: int) -> tasks.Task:
    """Return a tiny board with a goal and, half the time, a sheep.

    A step costs 1, so that it is best to end, or in every third task pays 1, so that it is best never to.
    """
    rng = np.random.default_rng([unit])
    board = np.zeros(SHAPES[rng.integers(len(SHAPES))], np.int64)
    goal, sheep = rng.choice(board.size, 2, replace=False)
    board.flat[goal] = delivery.GOAL
    if rng.random() < 0.5:
        board.flat[sheep] = delivery.SHEEP
    step = 1.0 if unit % len(GROUPS) == 2 else -1.0
    weights = np.array([step, rng.choice((0.0, 1.5, 10.0)), rng.choice((-5.0, -10.0)), 0.0, 0.0, 0.0])
    return tasks.make_task(delivery.board_mdp(board[None]), weights)


def largest_loop(mdp: tabular.TabularMDP, table: Array) -> float:
    """Return the highest sum of a table (S * A,) along one or two steps from an open state back to itself."""
    assert mdp.next_state is not None
    S, A = mdp.features.shape[1:3]
    best = np.full((S, S), -np.inf)
    for a in range(A):
        np.maximum.at(best, (np.arange(S), mdp.next_state[0, :, a]), table.reshape(S, A)[:, a])
    best[mdp.terminal[0]] = -np.inf
    stay = best.diagonal().copy()
    np.fill_diagonal(best, -np.inf)
    return float(max(stay.max(), (best + best.T).max()))


def loop(group: str, length: int, choice: str, n: int, seed: int, unit: int) -> list[float]:
    """Return the largest loop of A-hat, the score used greedily, and the score used as a reward."""
    task, rng = loop_task(unit), np.random.default_rng([unit, seed, length])
    pairs = tasks.draw_pairs(task, n, length, rng)
    table = learn(task, pairs, answers(task, pairs, choice, rng))
    scores = tasks.score_table(task, table), tasks.score_table(task, as_reward(task.mdp, table))
    return [largest_loop(task.mdp, table), *scores]


# --- the study ---


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield loops about tiny tasks, then growing numbers of answers about random ones."""
    seeds = range(options.seeds)
    for seed, unit, length, choice, n in product(seeds, range(options.loop_units), LOOP_LENGTHS, CHOICES, LOOP_NUMBERS):
        yield [("loops", GROUPS[unit % len(GROUPS)], length, choice, n, seed, unit)]
    for seed, unit, choice, absorbing, n in product(seeds, range(options.units), CHOICES, ABSORBING, NUMBERS):
        yield [("amounts", choice, absorbing, n, seed, unit)]


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the value of one key."""
    [(kind, *key)] = keys
    return [harness.rounded(loop(*key) if kind == "loops" else amount(*key))]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and a figure of each experiment."""
    raw = harness.arrays(records, jobs(options))
    amount_text, amount_figure = amount_page(raw)
    loop_text, loop_figure = loop_page(raw)
    parts = [
        "# Optimal advantages from preferences",
        "Where people answer by regret, fitting partial return with one free number per state and action gives the "
        "optimal advantage A*, not a reward (Knox et al. 2024, arXiv:2310.02456). All intervals are 95% bootstrap "
        "intervals over whole tasks. The estimate, A-hat, has the prior N(0, 10**2) for every number.",
        "Written by `python -m studies.preference.optimal_advantage`.",
        *amount_text,
        *loop_text,
    ]
    return {".md": report.page(*parts), ".svg": amount_figure, "-loops.svg": loop_figure}


def amount_page(raw: harness.Arrays) -> tuple[list[str], str]:
    """Return the part about near-optimal shares of the two uses, and its figure."""
    rows, panels = [], []
    for choice in CHOICES:
        for absorbing, name in ABSORBING.items():
            curves: dict[str, list[report.Estimate]] = {"A-hat, greedily": [], "A-hat as a reward": []}
            for n in NUMBERS:
                values = raw["amounts", choice, absorbing, n]
                near = report.near_optimal(values[..., :2]).mean(1)
                found = [report.estimate(column) for column in near.T]
                for curve, value in zip(curves.values(), found, strict=True):
                    curve.append(value)
                gain, level = report.estimate(near[:, 0] - near[:, 1]), report.estimate(values[..., 2].mean(1))
                rows.append([choice, name, n, *found, gain, level])
            lines, ticks = figures.curves(curves), [f"{n:,}" for n in NUMBERS]
            panels.append(figures.Panel(f"{choice}, {name}", "preferences", "near-optimal share", lines, ticks))
    units, seeds = values.shape[:2]
    head = ["answers", "segments", "preferences", "greedily", "as a reward", "difference", "mean of max A-hat"]
    text = [
        "## Two uses of A-hat",
        f"Share near-optimal (score at least {report.NEAR_OPTIMAL}) on {units} random tasks; draws of pairs and "
        f"answers for each task: {seeds}; 3 steps a segment. With absorbing transitions: segments may end early, and "
        "the steps after the end count 0. Without: only whole segments are shown. The last column is the mean over "
        "open states of max_a A-hat, which is 0 for A* itself.",
        "![Near-optimal shares of both uses over preferences](optimal-advantage.svg)",
        report.table(head, rows),
    ]
    return text, figures.draw(panels, columns=2)


def loop_page(raw: harness.Arrays) -> tuple[list[str], str]:
    """Return the part about the largest loop and the difference between the uses, and its figure."""
    rows, panels = [], []
    for length in LOOP_LENGTHS:
        for n in LOOP_NUMBERS:
            lines = {}
            for group, members in {"ending is best": GROUPS[:2], GROUPS[2]: GROUPS[2:]}.items():
                cells = [np.concatenate([raw["loops", g, length, c, n] for g in members]) for c in CHOICES]
                values = np.concatenate(cells, 1)
                positive = values[..., 0] > 0
                gain = values[..., 2] - values[..., 1]
                by_sign = [report.estimate_where(gain, positive == sign) for sign in (False, True)]
                expected = np.where(positive, 1, -1) * (1 if group == GROUPS[2] else -1)
                agree = report.estimate_where(gain * expected > 0, np.abs(gain) >= CLEAR)
                clear = int((np.abs(gain) >= CLEAR).sum())
                found = [value or "no such fit" for value in by_sign]
                rows.append([group, length, n, f"{positive.mean():.2f}", *found, clear, agree or ""])
                lines[group] = by_sign
            title, ticks = f"{length} step{'s' * (length > 1)}, {n} preferences", ("none positive", "positive")
            curves = figures.curves(lines)
            panels.append(figures.Panel(title, "largest loop", "reward - greedy", curves, ticks, (-1.5, 1.2), line=0))
    head = [
        "tasks",
        "steps",
        "preferences",
        "share of fits with a positive loop",
        "reward - greedy, no positive loop",
        "reward - greedy, positive loop",
        "clear fits",
        "of them as predicted",
    ]
    text = [
        "## Loops",
        f"{values.shape[0]} tiny tasks where looping for ever is best (a step pays 1) and "
        f"{sum(len(raw['loops', g, 1, 'noiseless', 10]) for g in GROUPS[:2])} where ending is (a step costs 1), both "
        "kinds of answers together. Prediction: used as a reward, A-hat with a loop of one or two steps that sums "
        "above 0 never ends an episode, and is the better use exactly where that is right. Differences of scores; "
        f"a fit is clear where they differ by at least {CLEAR}.",
        "![Difference between the uses by the sign of the largest loop](optimal-advantage-loops.svg)",
        report.table(head, rows),
    ]
    return text, figures.draw(panels, columns=2)


STUDY = harness.Study("optimal-advantage", jobs, run, pages)
PARSER = harness.parser(__doc__, units=30, seeds=1)
PARSER.add_argument("--loop-units", type=int, default=90)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
