"""Linear models of rank 2 in the LQR with distractors: what each loss costs the controller that is planned with them.

    python benchmarks/lqr_sweep.py [--seeds 32] [--processes 2] [--output docs/results]

Writes docs/results/lqr-sweep.md and lqr-sweep.svg. Everything is exact but the data: a linear model of rank 2, as much
as the mass on its line needs, is fitted to 1,000 transitions, the Riccati equation gives the controller that is best
under the model, and the Lyapunov equation its true cost. Value gradients are those of the controller's own cost, exact,
or with errors; there are 4 rounds of value and model, beginning with the controller that does nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from valuegym.agents.control import linear_model
from valuegym.envs.control import lqr, riccati

DISTRACTORS, SCALES, TURNS = (0, 2, 4, 8, 16), (0.3, 1.0, 3.0), (False, True)
NOISE = 0.3  # of each critic, relative to its own quadratic form
RANK, ROUNDS, CRITICS, TRANSITIONS = 2, 4, 4, 1000
KICK, FORCE = 0.05, 2.0  # m / s and N, standard deviations
SQUARED = ("mse", "mse_standardised")
VALUE = ("vagram", "vagram_mean", "vagram_taylor", "vagram_matrix", "vagram_shrunk", "vagram_agreed")


class Cell(NamedTuple):
    """One setting of the sweep."""

    distractors: int
    scale: float
    rotated: bool
    noise: float  # of the critics
    kick: float = 0.0  # of the mass, m / s


def systems(cell: Cell, seeds: int) -> tuple[riccati.LinearSystem, Any]:
    """The true systems (seeds, ...) in the coordinates of the observation, and covariances of their starts."""
    parameters = [
        lqr.Parameters(
            distractors=cell.distractors,
            distractor_scale=cell.scale,
            rotated=cell.rotated,
            noise=cell.kick,
            map_seed=seed,
        )
        for seed in range(seeds)
    ]
    each = [lqr.system(p) for p in parameters]
    fields = [np.stack([system[i] for system in each]) for i in range(5)]
    return riccati.LinearSystem(*fields, each[0].discount), np.stack([lqr.start_covariance(p) for p in parameters])


def transitions(system: riccati.LinearSystem, start: Any, seeds: int) -> tuple[Any, Any]:
    """Inputs (seeds, N, n + 1) and next observations (seeds, N, n): states spread as starts are, and random forces."""
    x, y = [], []
    for i in range(seeds):
        rng = np.random.default_rng([17, i])

        def draw(covariance: Any, rng: Any = rng) -> Any:
            return rng.standard_normal((TRANSITIONS, len(covariance))) @ _root(covariance)

        s, u, w = draw(start[i]), FORCE * rng.standard_normal((TRANSITIONS, 1)), draw(system.W[i])
        x.append(np.concatenate([s, u], 1))
        y.append(s @ system.A[i].T + u @ system.B[i].T + w)
    return torch.from_numpy(np.stack(x)), torch.from_numpy(np.stack(y))


def _root(covariance: Any) -> Any:
    length, axes = np.linalg.eigh(covariance)
    return (axes * np.sqrt(np.maximum(length, 0))) @ axes.T


def critics(P: Any, noise: float, rng: np.random.Generator) -> Any:
    """Quadratic forms (K, n, n) of CRITICS critics with independent errors, `noise` times as large in norm."""
    if not noise:
        return np.stack([P, P])
    E = rng.standard_normal((CRITICS, *P.shape))
    E = (E + E.swapaxes(-1, -2)) / 2
    E *= np.linalg.norm(P) / np.linalg.norm(E, axis=(-1, -2), keepdims=True)
    return P + noise * E


def form_of(arm: str, moments: linear_model.Moments, spread: Any, P: Any) -> linear_model.Form:
    """The loss of one arm as a quadratic form, for variances of the next observations and the critics' forms P."""
    if arm not in SQUARED:
        return linear_model.value_form(arm, moments, torch.from_numpy(P))
    W = torch.ones_like(spread) if arm == "mse" else 1 / spread
    return linear_model.constant_form(torch.diag_embed(W), moments)


def plan(system: riccati.LinearSystem, B: Any) -> Any:
    """Gains (seeds, 1, n) of the controllers that are best under the models B (seeds, n, n + 1)."""
    n = system.A.shape[-1]
    model = system._replace(A=B[..., :n], B=B[..., n:])
    with np.errstate(all="ignore"):
        return riccati.gain(model, riccati.optimal(model).P)


def true_cost(system: riccati.LinearSystem, K: Any, start: Any) -> tuple[Any, Any]:
    """The cost of gains as quadratic forms, and its mean over starts; infinite where it is, or where K is none."""
    bad = ~np.isfinite(K).all((-1, -2))
    form = riccati.cost_of(system, np.where(bad[:, None, None], 0.0, K))
    return form.P, np.where(bad, np.inf, riccati.mean_cost(form, start))


class Data(NamedTuple):
    """What all arms of a setting share."""

    system: riccati.LinearSystem
    start: Any
    best: Any  # (seeds,) cost of the optimal controllers
    moments: linear_model.Moments
    spread: Any  # (seeds, n) variances of the next observations


@lru_cache(maxsize=1)
def data_of(cell: Cell, seeds: int) -> Data:
    """Systems and data of a setting."""
    system, start = systems(cell, seeds)
    x, y = transitions(system, start, seeds)
    best = riccati.mean_cost(riccati.optimal(system), start)
    return Data(system, start, best, linear_model.moments(x, y), y.var(1))


def run(cell: Cell, arm: str, seeds: int, believed: riccati.LinearSystem | None = None) -> Any:
    """Cost of the planned controllers (seeds,), relative to the optimum.

    Values and plans are those of the costs of `believed`, which are the true ones unless told.
    """
    system, start, best, moments, spread = data_of(cell._replace(noise=0.0), seeds)
    believed = believed or system
    K = np.zeros((seeds, 1, system.A.shape[-1]))
    P, _ = true_cost(believed, K, start)
    rngs = [np.random.default_rng([23, i]) for i in range(seeds)]
    for _ in range(1 if arm in SQUARED else ROUNDS):
        asked = np.stack([critics(p, cell.noise, rng) for p, rng in zip(P, rngs, strict=True)])
        fit = linear_model.low_rank if arm in linear_model.PER_SAMPLE else linear_model.reduced_rank
        K = plan(believed, fit(form_of(arm, moments, spread, asked), RANK).numpy())
        after, _ = true_cost(believed, K, start)
        P = np.where(np.isfinite(after), after, P)  # an unstable controller has no value; the last one is kept
    return true_cost(system, K, start)[1] / best


def work(job: tuple[list[tuple[Cell, str]], int]) -> list[tuple[Cell, str, list[float]]]:
    """All arms of one setting, in a process of its own."""
    torch.set_num_threads(1)
    return [(cell, arm, run(cell, arm, job[1]).tolist()) for cell, arm in job[0]]


def jobs(seeds: int) -> list[tuple[list[tuple[Cell, str]], int]]:
    """All settings, those with the same data together, the longest first."""
    plain = [
        [(Cell(*c, 0.0), arm) for arm in (*SQUARED, *VALUE)] + [(Cell(*c, NOISE), arm) for arm in VALUE]
        for c in product(DISTRACTORS, SCALES, TURNS)
    ]
    kicked = [[(Cell(D, 1.0, turn, 0.0, KICK), arm) for arm in VALUE] for D in (0, 4) for turn in TURNS]
    return [(job, seeds) for job in sorted(plain + kicked, key=lambda job: -job[0][0].distractors)]


def quantile(costs: list[float], q: float) -> float:
    """A quantile that is one of the costs or infinite, the higher one between two."""
    return float(np.quantile(costs, q, method="higher"))


def _number(value: float) -> str:
    return "∞" if value == np.inf else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _table(results: dict[tuple[Cell, str], list[float]], cells: list[Cell], arms: tuple[str, ...]) -> list[str]:
    lines = ["| distractors | scale | " + " | ".join(f"`{arm}`" for arm in arms) + " |"]
    lines.append("|" + "---|" * (len(arms) + 2))
    for cell in cells:
        numbers = [results[cell, arm] for arm in arms]
        shown = [f"{_number(quantile(costs, 0.5))} [{_number(quantile(costs, 0.9))}]" for costs in numbers]
        lines.append(f"| {cell.distractors} | {cell.scale:g} | " + " | ".join(shown) + " |")
    return lines


def report(results: dict[tuple[Cell, str], list[float]], seeds: int) -> str:
    """The page."""
    text = [
        "# What a model of rank 2 costs in the LQR with distractors",
        "",
        "Cost of the planned controller divided by the cost of the optimal one: median over seeds "
        f"[90th percentile], {seeds} seeds, unstable controllers counted as infinite. 1.00 is optimal.",
        f"Written by `python benchmarks/lqr_sweep.py --seeds {seeds}`.",
        "",
        "The observation holds position and velocity of the mass, and distractors that turn and shiver by themselves; "
        "`scale` is their standard deviation. A linear model of rank 2 is enough for the mass and too little for "
        f"everything. It is fitted to {TRANSITIONS:,} transitions under each loss; the true cost function is known, "
        f"the value is that of the controller of the round before, and there are {ROUNDS} rounds. `mse` is squared "
        "error in the units of the observation, `mse_standardised` in standard deviations of each dimension.",
        "",
    ]
    for noise, what in ((0.0, "exact values"), (NOISE, f"values with errors of {NOISE:.0%}")):
        for turned, axes in ((False, "aligned axes"), (True, "rotated observation")):
            cells = [Cell(D, scale, turned, noise) for scale in SCALES for D in DISTRACTORS]
            text += [f"## {axes.capitalize()}, {what}", ""]
            if noise and not turned:
                text += [
                    f"Each of {CRITICS} critics has the true quadratic form plus a random symmetric one, independent, "
                    f"with {NOISE:.0%} of its Frobenius norm; drawn anew in every round.",
                    "",
                ]
            text += [*_table(results, cells, VALUE if noise else (*SQUARED, *VALUE)), ""]
    text += [
        "## A mass that is kicked",
        "",
        f"The same at scale 1 with exact values, but the mass itself receives random kicks of {KICK} m/s in each step. "
        "Weights that depend on the sample are then correlated with the noise of its target, and the fit is biased, "
        "most of all where each sample has weight along one direction only; weights that are averaged over samples "
        "do not bias it. An unstable controller has no value to go on with, so that a first round that fails is final.",
        "",
    ]
    for turned, axes in ((False, "Aligned axes"), (True, "Rotated observation")):
        text += [f"{axes}:", "", *_table(results, [Cell(D, 1.0, turned, 0.0, KICK) for D in (0, 4)], VALUE), ""]
    return "\n".join(text)


def draw(results: dict[tuple[Cell, str], list[float]], path: Path) -> None:
    """Medians over the number of distractors; the top of each panel is infinite cost."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "valuegym"
    top = 1e5
    style = {
        "mse": ("0.55", "o", "-"),
        "vagram": ("#d55e00", "s", "-"),
        "vagram_mean": ("#e69f00", "D", "--"),
        "vagram_taylor": ("#0072b2", "^", "-"),
        "vagram_matrix": ("#009e73", "v", "-"),
        "vagram_agreed": ("#cc79a7", "P", "--"),
    }
    rows = [(0.0, False), (0.0, True), (NOISE, False), (NOISE, True)]
    figure, panels = plt.subplots(len(rows), len(SCALES), figsize=(9.5, 10.5), sharex=True, sharey=True)
    for line, (noise, turned) in zip(panels, rows, strict=True):
        for panel, scale in zip(line, SCALES, strict=True):
            for arm, (colour, marker, dash) in style.items():
                cells = [Cell(D, scale, turned, 0.0 if arm == "mse" else noise) for D in DISTRACTORS]
                medians = [min(quantile(results[cell, arm], 0.5), top) for cell in cells]
                panel.plot(range(len(cells)), medians, dash, color=colour, marker=marker, ms=5, lw=1.5, label=arm)
            panel.set_yscale("log")
            panel.set_ylim(0.7, 2 * top)
            panel.set_yticks([1, 10, 100, 1e3, 1e4, top], ["1", "10", "100", "1,000", "10,000", "∞"])
            panel.grid(alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
        errors = f"values off by {NOISE:.0%}" if noise else "exact values"
        line[0].set_ylabel(f"{'rotated' if turned else 'aligned'}, {errors}\ncost / optimal cost", fontsize=9)
    for panel, scale in zip(panels[0], SCALES, strict=True):
        panel.set_title(f"distractor scale {scale:g}", fontsize=11)
    for panel in panels[-1]:
        panel.set_xticks(range(len(DISTRACTORS)), [str(D) for D in DISTRACTORS])
        panel.set_xlabel("distractors")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(style), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.965))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Run the sweep and write its page and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "results")
    options = parser.parse_args()
    start = time.perf_counter()
    with ProcessPoolExecutor(options.processes) as pool:
        done = pool.map(work, jobs(options.seeds))
        results = {(cell, arm): costs for part in done for cell, arm, costs in part}
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "lqr-sweep.md").write_text(report(results, options.seeds), encoding="utf-8")
    draw(results, options.output / "lqr-sweep.svg")
    used = os.times().children_user + os.times().children_system
    print(f"{len(results)} settings of {options.seeds} seeds: {time.perf_counter() - start:.0f} s, {used:.0f} CPU-s")


if __name__ == "__main__":
    main()
