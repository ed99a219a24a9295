"""What the studies share: tasks and answers, records that an interrupted run resumes, intervals, tables, pictures.

A study is a list of jobs. Every job has keys, (*cell, unit, seed) each, and gives one value per key, a number or a
list of numbers. What is done is one JSON line per key in results/studies/NAME.jsonl, so that a study goes on where it
stopped; all of it, one line per cell, is docs/results/raw/NAME.jsonl, from which the page and the pictures are made,
and from which a study in another checkout goes on: to begin anew, give another folder with `--docs`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

from valuegym.agents.preference.values import condense
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, models, segments
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.segments import Segment
from valuegym.leaderboards.stats.bootstrap import stratified_bootstrap

Array = npt.NDArray[Any]
Key = tuple[Any, ...]
Raw = dict[Key, Array]  # cell -> (units, seeds, ...)
ROOT = Path(__file__).resolve().parents[1]
NEAR_OPTIMAL = 0.9


# --- tasks and answers ---


class Task(NamedTuple):
    """One process (its terminal states merged into one) with its true weights (d,) and two mean returns."""

    mdp: tabular.TabularMDP
    weights: Array
    naive: float
    best: float


def make_task(mdp: tabular.TabularMDP, weights: Array) -> Task:
    """A task from one process (B = 1) and its true weights (d,)."""
    small = condense(mdp).mdp
    reward = tabular.reward(small, weights[None])
    naive = tabular.mean_return(small, tabular.evaluate(small, tabular.uniform_policy(small), reward))
    best = tabular.mean_return(small, tabular.optimal_values(small, reward)[0])
    return Task(small, weights, float(naive[0]), float(best[0]))


@lru_cache(maxsize=128)
def random_task(unit: int) -> Task:
    """Random task number `unit` of the split "test", the one that `RewardInference-v0` draws for that key."""
    core = RewardInference(evaluation_points=(1,))
    task, _ = core.initial(keys.mix(0, np.array([unit])))
    process = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    return make_task(process, task.weights[0])


def published_mdp() -> tabular.TabularMDP:
    """The published board, all of its cells."""
    return delivery.board_mdp(np.array([delivery.BOARD]))


def published_task() -> Task:
    """The published board with its published weights."""
    return make_task(published_mdp(), np.array(delivery.WEIGHTS))


def condensed_states(mdp: tabular.TabularMDP) -> Array:
    """The state of a task (S,) that each state of the process has become."""
    return condense(mdp).state


def draw_pairs(task: Task, n: int, length: int, rng: np.random.Generator, whole: bool = False) -> Segment:
    """Pairs (n, 2, ...) of segments from uniformly random open states by uniformly random actions.

    With `whole`, those in which an episode ends before the last step are drawn again.
    """
    opens, found, missing = np.flatnonzero(task.mdp.start[0]), [], n
    while missing > 0:
        batch = max(missing, 100)
        cells = rng.choice(opens, (1, batch, 2))
        drawn = segments.follow(task.mdp, cells, rng.integers(0, 4, (1, batch, 2, length)))
        pairs = Segment(*(field[0] for field in drawn))
        if whole:
            pairs = Segment(*(field[pairs.mask.all((1, 2))] for field in pairs))
        found.append(pairs)
        missing -= len(pairs.actions)
    return Segment(*(np.concatenate(field)[:n] for field in zip(*found, strict=True)))


def utility_difference(task: Task, pairs: Segment, statistic: models.Statistic) -> Array:
    """Second minus first (n,), under the true reward and the discount of the task."""
    solved = models.solve(task.mdp, task.weights[None])
    utility = statistic.utility(solved, Segment(*(field[None] for field in pairs)), task.mdp.discount)[0]
    difference: Array = utility[:, 1] - utility[:, 0]
    return difference


def score_policy(task: Task, policy: Array) -> float:
    """Normalised mean return of a policy (1, S, A) under the true reward, cut at -1 as everywhere in the suite."""
    reward = tabular.reward(task.mdp, task.weights[None])
    returns = tabular.mean_return(task.mdp, tabular.evaluate(task.mdp, policy, reward))
    return max(float(tabular.between(returns, np.array([task.naive]), np.array([task.best]))[0]), -1.0)


def score_weights(task: Task, weights: Array) -> float:
    """The score of the policy that is optimal for these weights (d,)."""
    return score_policy(task, tabular.optimal_policy(task.mdp, tabular.reward(task.mdp, weights[None])))


def score_table(task: Task, table: Array) -> float:
    """The score of the greedy policy of a table (S * A,)."""
    table = table.reshape(task.mdp.features.shape[:3])
    return score_policy(task, tabular.greedy_policy(table, tabular.reward_scale(table)))


# --- records ---


class Job(NamedTuple):
    """Keys, and what computes one value for each."""

    keys: Sequence[Key]
    run: Callable[[], Sequence[Any]]


def recorded(path: Path) -> dict[Key, Any]:
    """The values so far; a line that an interruption cut short is taken away."""
    values: dict[Key, Any] = {}
    if path.is_file():
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]
        for line in whole.splitlines():
            *key, value = json.loads(line)
            values[tuple(key)] = value
        if whole != text:
            path.write_text(whole)
    return values


def fill(path: Path, jobs: Iterable[Job], done: Iterable[Key], minutes: float = float("inf")) -> None:
    """Run the jobs that are not done yet, as long as there is time."""
    known, end = set(done), time.monotonic() + 60 * minutes
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for job in jobs:
            if known.issuperset(job.keys) or time.monotonic() > end:
                continue
            values = [np.round(value, 5).tolist() for value in job.run()]
            lines = (json.dumps([*key, value]) + "\n" for key, value in zip(job.keys, values, strict=True))
            file.write("".join(lines))
            file.flush()


def gather(values: Mapping[Key, Any], order: Iterable[Key]) -> Raw:
    """Values by cell, in the order of the keys; cells that are not complete yet are left out."""
    cells: dict[Key, dict[Any, list[Any]]] = {}
    incomplete = set()
    for key in order:
        if key in values:
            cells.setdefault(key[:-2], {}).setdefault(key[-2], []).append(values[key])
        else:
            incomplete.add(key[:-2])
    return {cell: np.array(list(units.values())) for cell, units in cells.items() if cell not in incomplete}


def spread(raw: Raw, order: Iterable[Key]) -> dict[Key, Any]:
    """The inverse of `gather` for keys in this order; the first units and seeds of a cell are its rows."""
    cells: dict[Key, dict[Any, list[Key]]] = {}
    for key in order:
        cells.setdefault(key[:-2], {}).setdefault(key[-2], []).append(key)
    return {
        key: value
        for cell, units in cells.items()
        if cell in raw
        for keys_, row in zip(units.values(), raw[cell].tolist(), strict=False)
        for key, value in zip(keys_, row, strict=False)
    }


def dump(raw: Raw) -> str:
    """One JSON line per cell."""
    return "".join(json.dumps([*cell, values.tolist()], separators=(",", ":")) + "\n" for cell, values in raw.items())


def load(text: str) -> Raw:
    """The inverse of `dump`."""
    return {tuple(cell): np.array(values) for *cell, values in map(json.loads, text.splitlines())}


# --- intervals and tables ---


class Estimate(NamedTuple):
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """As tables show it."""
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})".replace("-0.00", "0.00")


def _ratio(values: Array, axis: tuple[int, ...]) -> Array:
    total = values.sum(axis[:-1])
    return total[..., 0] / total[..., 1]


def estimate(values: Array, counted: Array | None = None) -> Estimate:
    """Mean of values (units, ...) where `counted` is True, with a bootstrap interval over the units that have any."""
    values = values.reshape(len(values), -1).astype(float)
    weight = np.ones_like(values) if counted is None else counted.reshape(values.shape).astype(float)
    sums = np.stack([(values * weight).sum(1), weight.sum(1)], -1)
    sums = sums[sums[:, 1] > 0]
    if not len(sums):
        return Estimate(np.nan, np.nan, np.nan)
    low, high = stratified_bootstrap(sums[:, None], _ratio, np.random.default_rng(0))
    return Estimate(float(sums[:, 0].sum() / sums[:, 1].sum()), low, high)


def near_optimal(scores: Array) -> Array:
    """Which scores are at least NEAR_OPTIMAL."""
    return scores >= NEAR_OPTIMAL


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


# --- pictures ---

INK, MUTED, FAINT = "#1f2430", "#7a8190", "#e3e6eb"
COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207", "#0f766e", "#be185d")
MARKERS = "os^DvpX"


class Curve(NamedTuple):
    """A named line of estimates over x."""

    name: str
    x: Sequence[float]
    y: Sequence[Estimate]
    style: int  # of colour and marker
    dashed: bool = False


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    ticks: Sequence[str]  # at x = 0, 1, 2, ...; none for numbers as they are
    limits: tuple[float, float] | None = (-0.03, 1.03)


def picture(panels: Sequence[Panel], columns: int = 3, line: float | None = None) -> str:
    """Panels as an SVG that is the same bytes whenever the estimates are; intervals are bars."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "valuegym",
        "text.color": INK,
        "axes.labelcolor": INK,
        "text.parse_math": False,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "axes.edgecolor": FAINT,
    }
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.4 * columns, 0.5 + 2.7 * rows), facecolor="white")
        grid: Any = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw(axes, panel, line)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        handles = {curve.name: curve for panel in panels for curve in panel.curves}
        figure.legend(
            handles=[_handle(curve) for curve in handles.values()],
            loc="lower center",
            ncols=min(len(handles), 2 * columns if columns > 1 else 2),
            frameon=False,
        )
        figure.tight_layout(rect=(0, 0.3 * (1 + len(handles) // (2 * columns + 1)) / (0.5 + 2.7 * rows), 1, 1))
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Creator": None, "Date": None})
    return "\n".join(text.rstrip() for text in drawn.getvalue().splitlines()) + "\n"


def _handle(curve: Curve) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=curve.name, **_look(curve))


def _look(curve: Curve) -> dict[str, Any]:
    colour = COLOURS[curve.style % len(COLOURS)]
    look = {"color": colour, "marker": MARKERS[curve.style % len(MARKERS)], "markersize": 4.5, "linewidth": 1.6}
    return look | {"linestyle": "--" if curve.dashed else "-"}


def _draw(axes: Any, panel: Panel, line: float | None) -> None:
    if line is not None:
        axes.axhline(line, color=MUTED, linewidth=1, dashes=(4, 3))
    for i, curve in enumerate(panel.curves):
        x = np.array(curve.x, float)
        if panel.ticks:  # a little aside, so that intervals do not hide each other
            x = x + 0.06 * (i - (len(panel.curves) - 1) / 2)
        points = np.array(curve.y)
        axes.vlines(x, points[:, 1], points[:, 2], color=COLOURS[curve.style % len(COLOURS)], alpha=0.4, linewidth=3)
        axes.plot(x, points[:, 0], **_look(curve))
    if panel.ticks:
        axes.set_xticks(range(len(panel.ticks)), panel.ticks)
        axes.set_xlim(-0.4, len(panel.ticks) - 0.6)
    if panel.limits:
        axes.set_ylim(*panel.limits)
    axes.set_title(panel.title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


# --- the command ---


@dataclass(frozen=True)
class Study:
    """A name, the jobs that options ask for, and the files (by suffix, such as ".md") that their values make."""

    name: str
    jobs: Callable[[argparse.Namespace], Iterator[Job]]
    pages: Callable[[Raw], Mapping[str, str]]


def parser(about: str, units: int, seeds: int) -> argparse.ArgumentParser:
    """Arguments that every study has."""
    result = argparse.ArgumentParser(description=about.splitlines()[0])
    result.add_argument("--units", type=int, default=units, help="tasks, or whatever intervals resample")
    result.add_argument("--seeds", type=int, default=seeds, help="repetitions within a unit")
    result.add_argument("--results", type=Path, default=ROOT / "results/studies", help="folder of the records")
    result.add_argument("--docs", type=Path, default=ROOT / "docs/results", help="folder of the pages")
    result.add_argument("--minutes", type=float, default=float("inf"), help="start nothing new after this long")
    result.add_argument("--table", action="store_true", help="only write the pages, from docs/results/raw")
    return result


def write(path: Path, text: str) -> None:
    """Atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text)
    os.replace(temporary, path)


def run(study: Study, options: argparse.Namespace) -> None:
    """Fill in what is missing, and write the compact values, the page and its pictures."""
    raw_path = options.docs / "raw" / f"{study.name}.jsonl"
    if not options.table:
        records, jobs = options.results / f"{study.name}.jsonl", list(study.jobs(options))
        order = [key for job in jobs for key in job.keys]
        published = spread(load(raw_path.read_text()), order) if raw_path.is_file() else {}
        fill(records, jobs, published | recorded(records), options.minutes)
        write(raw_path, dump(gather(published | recorded(records), order)))
    for suffix, text in study.pages(load(raw_path.read_text())).items():
        write(options.docs / f"{study.name}{suffix}", text)
    page = (options.docs / f"{study.name}.md").read_text()
    print(re.sub(r"!\[.*?\]\(.*?\)\n*", "", page))
