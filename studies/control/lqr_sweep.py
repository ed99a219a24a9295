"""Linear models of rank 2 in the LQR with distractors: what each loss costs the controller that is planned with them.

    python -m studies.control.lqr_sweep [--seeds 32] [--processes 2] [--table]

Everything is exact but the data: a linear model of rank 2, as much as the mass on its line needs, is fitted to 1,000
transitions, the Riccati equation gives the controller that is best under the model, and the Lyapunov equation its true
cost. Value gradients are those of the controller's own cost, exact, or with errors; there are 4 rounds of value and
model, beginning with the controller that does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

from studies import figures, harness, report
from studies.harness import Array, Key, Options, Records
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
    """Return the true systems (seeds, ...) in the coordinates of the observation, and covariances of their starts."""
    shared: dict[str, Any] = {"distractors": cell.distractors, "distractor_scale": cell.scale, "noise": cell.kick}
    parameters = [lqr.Parameters(rotated=cell.rotated, map_seed=seed, **shared) for seed in range(seeds)]
    each = [lqr.system(p) for p in parameters]
    fields = [np.stack([system[i] for system in each]) for i in range(5)]
    return riccati.LinearSystem(*fields, each[0].discount), np.stack([lqr.start_covariance(p) for p in parameters])


def transitions(system: riccati.LinearSystem, start: Any, seeds: int) -> tuple[Any, Any]:
    """Draw inputs (seeds, N, n + 1) and next observations (seeds, N, n): states like starts, and random forces."""
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
    """Draw quadratic forms (K, n, n) of critics with independent errors, `noise` times as large in norm."""
    if not noise:
        return np.stack([P, P])
    E = rng.standard_normal((CRITICS, *P.shape))
    E = (E + E.swapaxes(-1, -2)) / 2
    E *= np.linalg.norm(P) / np.linalg.norm(E, axis=(-1, -2), keepdims=True)
    return P + noise * E


def form_of(arm: str, moments: linear_model.Moments, variances: Any, P: Any) -> linear_model.Form:
    """Return the loss of one arm as a quadratic form, for variances of the next observations and critics' forms P."""
    if arm not in SQUARED:
        return linear_model.value_form(arm, moments, torch.from_numpy(P))
    W = torch.ones_like(variances) if arm == "mse" else 1 / variances
    return linear_model.constant_form(torch.diag_embed(W), moments)


def plan(system: riccati.LinearSystem, B: Any) -> Any:
    """Return gains (seeds, 1, n) of the controllers that are best under the models B (seeds, n, n + 1)."""
    n = system.A.shape[-1]
    model = system._replace(A=B[..., :n], B=B[..., n:])
    with np.errstate(all="ignore"):
        return riccati.gain(model, riccati.optimal(model).P)


def true_cost(system: riccati.LinearSystem, K: Any, start: Any) -> tuple[Any, Any]:
    """Return the cost of gains as quadratic forms and its mean over starts, infinite where K is not finite."""
    bad = ~np.isfinite(K).all((-1, -2))
    form = riccati.cost_of(system, np.where(bad[:, None, None], 0.0, K))
    return form.P, np.where(bad, np.inf, riccati.mean_cost(form, start))


class Data(NamedTuple):
    """The data that all arms of a setting share."""

    system: riccati.LinearSystem
    start: Any
    best: Any  # (seeds,) cost of the optimal controllers
    moments: linear_model.Moments
    variances: Any  # (seeds, n) variances of the next observations


@lru_cache(maxsize=1)
def data_of(cell: Cell, seeds: int) -> Data:
    """Return systems and data of a setting."""
    system, start = systems(cell, seeds)
    x, y = transitions(system, start, seeds)
    best = riccati.mean_cost(riccati.optimal(system), start)
    return Data(system, start, best, linear_model.moments(x, y), y.var(1))


def relative_costs(cell: Cell, arm: str, seeds: int, assumed: riccati.LinearSystem | None = None) -> Any:
    """Return the cost of the planned controllers (seeds,), relative to the optimum.

    Values and plans are those of the costs of `assumed`, by default the true ones.
    """
    system, start, best, moments, variances = data_of(cell._replace(noise=0.0), seeds)
    assumed = assumed or system
    K = np.zeros((seeds, 1, system.A.shape[-1]))
    P, _ = true_cost(assumed, K, start)
    rngs = [np.random.default_rng([23, i]) for i in range(seeds)]
    for _ in range(1 if arm in SQUARED else ROUNDS):
        forms = np.stack([critics(p, cell.noise, rng) for p, rng in zip(P, rngs, strict=True)])
        fit = linear_model.low_rank if arm in linear_model.PER_SAMPLE else linear_model.reduced_rank
        K = plan(assumed, fit(form_of(arm, moments, variances, forms), RANK).numpy())
        after, _ = true_cost(assumed, K, start)
        P = np.where(np.isfinite(after), after, P)  # an unstable controller has no value; the last one is kept
    return true_cost(system, K, start)[1] / best


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield all settings, those with the same data together, the longest first."""
    plain = [
        [(Cell(*c, 0.0), arm) for arm in (*SQUARED, *VALUE)] + [(Cell(*c, NOISE), arm) for arm in VALUE]
        for c in product(DISTRACTORS, SCALES, TURNS)
    ]
    kicked = [[(Cell(D, 1.0, turn, 0.0, KICK), arm) for arm in VALUE] for D in (0, 4) for turn in TURNS]
    for settings in sorted(plain + kicked, key=lambda settings: -settings[0][0].distractors):
        yield [(*cell, arm, seed) for cell, arm in settings for seed in range(options.seeds)]


def run(keys: Sequence[Key], options: Options) -> list[float | None]:
    """Return the relative cost of each key, None for an unstable controller."""
    torch.set_num_threads(1)
    costs = {key[:-1]: None for key in keys}
    costs = {key: relative_costs(Cell(*key[:-1]), key[-1], options.seeds) for key in costs}
    found = [float(f"{costs[key[:-1]][key[-1]]:.6g}") for key in keys]
    return [value if np.isfinite(value) else None for value in found]


# --- the page ---


def quantile(costs: Array, q: float) -> float:
    """Return a quantile that is one of the costs or infinite, the higher one between two."""
    return float(np.quantile(costs, q, method="higher"))


def _number(value: float) -> str:
    return "∞" if value == np.inf else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


Costs = Mapping[Key, Array]  # (*cell, arm) -> (seeds,)


def _table(costs: Costs, cells: list[Cell], arms: tuple[str, ...]) -> str:
    body = []
    for cell in cells:
        found = [[_number(quantile(costs[(*cell, arm)], q)) for q in (0.5, 0.9)] for arm in arms]
        body.append([cell.distractors, f"{cell.scale:g}", *map("; ".join, found)])
    return report.table(["distractors", "scale", *(f"`{arm}`" for arm in arms)], body)


def page(costs: Costs) -> str:
    """Return the page."""
    parts = [
        "# What a model of rank 2 costs in the LQR with distractors",
        "Cost of the planned controller divided by the cost of the optimal one: median over seeds; "
        f"90th percentile, {len(next(iter(costs.values())))} seeds, unstable controllers counted as infinite. 1.00 is "
        "optimal. Written by `python -m studies.control.lqr_sweep`, from [data/lqr-sweep.jsonl](data/lqr-sweep.jsonl).",
        "The observation holds position and velocity of the mass, and distractors that turn and shiver by themselves; "
        "`scale` is their standard deviation. A linear model of rank 2 is enough for the mass and too little for "
        f"everything. It is fitted to {TRANSITIONS:,} transitions under each loss; the true cost function is known, "
        f"the value is that of the controller of the round before, and there are {ROUNDS} rounds. `mse` is squared "
        "error in the units of the observation, `mse_standardised` in standard deviations of each dimension.",
    ]
    for noise, what in ((0.0, "exact values"), (NOISE, f"values with errors of {NOISE:.0%}")):
        for turned, axes in ((False, "aligned axes"), (True, "rotated observation")):
            parts.append(f"## {axes.capitalize()}, {what}")
            if noise and not turned:
                parts.append(
                    f"Each of {CRITICS} critics has the true quadratic form plus a random symmetric one, independent, "
                    f"with {NOISE:.0%} of its Frobenius norm; drawn again in every round."
                )
            cells = [Cell(D, scale, turned, noise) for scale in SCALES for D in DISTRACTORS]
            parts.append(_table(costs, cells, VALUE if noise else (*SQUARED, *VALUE)))
    parts += [
        "## A mass that is kicked",
        f"The same at scale 1 with exact values, but the mass itself receives random kicks of {KICK} m/s in each step. "
        "Weights that depend on the sample are then correlated with the noise of its target, and the fit is biased, "
        "most of all where each sample has weight along one direction only; weights that are averaged over samples "
        "do not bias it. An unstable controller has no value to go on with, so that a first round that fails is final.",
    ]
    for turned, axes in ((False, "Aligned axes"), (True, "Rotated observation")):
        parts += [f"{axes}:", _table(costs, [Cell(D, 1.0, turned, 0.0, KICK) for D in (0, 4)], VALUE)]
    return report.page(*parts)


def figure(costs: Costs) -> str:
    """Return medians over the number of distractors; the top of each panel is infinite cost."""
    top, panels = 1e5, []
    arms = ("mse", "vagram", "vagram_mean", "vagram_taylor", "vagram_matrix", "vagram_agreed")
    levels = {1.0: "1", 10.0: "10", 100.0: "100", 1e3: "1,000", 1e4: "10,000", top: "∞"}
    for noise, turned, scale in product((0.0, NOISE), TURNS, SCALES):
        lines = {}
        for arm in arms:
            cells = [Cell(D, scale, turned, 0.0 if arm == "mse" else noise) for D in DISTRACTORS]
            lines[arm] = [report.Estimate(*[min(quantile(costs[(*cell, arm)], 0.5), top)] * 3) for cell in cells]
        errors = f"values off by {NOISE:.0%}" if noise else "exact values"
        title = f"{'rotated' if turned else 'aligned'}, {errors}, scale {scale:g}"
        labels, limits = (title, "distractors", "cost / optimal cost"), (0.7, 2 * top)
        panels.append(figures.Panel(*labels, figures.curves(lines), DISTRACTORS, limits, levels))
    return figures.draw(panels)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the figure."""
    cells = harness.columns(records)
    costs = {cell: np.array([np.inf if x is None else x for x in values]) for cell, values in cells.items()}
    return {".md": page(costs), ".svg": figure(costs)}


STUDY = harness.Study("lqr-sweep", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=32)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
