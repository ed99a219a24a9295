"""Phase diagrams: where people lock in, where an AI takes their diversity, where opinions fall into clusters.

    python benchmarks/phase_diagrams.py [--runs 24] [--docs docs/results]

Writes phase_diagrams.md and three pictures. Every figure comes from `valuegym.envs.coevolution.dynamics`.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

from valuegym.envs import keys
from valuegym.envs.coevolution import dynamics, networks

Array = npt.NDArray[Any]
ROOT = Path(__file__).resolve().parents[1]
INK, MUTED, FAINT = "#1f2430", "#7a8190", "#e3e6eb"

POPULATIONS = (10, 20, 50, 100, 200, 500)
GAINS = np.array([0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5, 2.0])
TIMES = (200, 400, 800)
STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8)
BOUNDS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
CONFIDENCE = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)


def lock_in_slopes(people: int, runs: int) -> Array:
    """Log-log slopes over TIMES of the root mean square error, of bootstrap samples of the runs: (500, gains).

    One AI and `people` people with sigma = 1, trusts lambda1 = lambda2; luck is shared by the gains.
    """
    rng = np.random.default_rng(people)
    trust = np.sqrt(np.repeat(GAINS, runs) / people)
    shape, evidence = (len(trust), people + 1), np.ones(people + 1)
    evidence[0] = 0.0
    beliefs, private = dynamics.belief(np.zeros(shape), np.zeros(shape)), np.zeros((runs, people + 1))
    squares = []
    for t in range(max(TIMES)):
        observed = rng.standard_normal((runs, people + 1)) * evidence
        private = dynamics.observe(private, np.full((1, 1), float(t)), observed)
        heard = dynamics.hear_star(beliefs, trust, trust)
        own = np.broadcast_to((t + 1.0) * evidence, shape)
        beliefs = dynamics.exchange(beliefs, np.tile(private, (len(GAINS), 1)), own, heard)
        if t + 1 in TIMES:
            squares.append((beliefs.mean[:, 1:] ** 2).mean(1).reshape(len(GAINS), runs))
    drawn = np.random.default_rng(0).integers(runs, size=(500, runs))
    errors = np.sqrt(np.array(squares)[:, :, drawn].mean(-1))  # (times, gains, 500)
    slopes = np.polyfit(np.log(TIMES), np.log(errors).reshape(len(TIMES), -1), 1)[0]
    return slopes.reshape(len(GAINS), 500).T


def boundary(slopes: Array) -> float:
    """The gain at which the slope passes -1/4, halfway between learning and lock-in, by interpolation."""
    above = int(np.argmax(slopes > -0.25))
    share = (-0.25 - slopes[above - 1]) / (slopes[above] - slopes[above - 1])
    return float(GAINS[above - 1] + share * (GAINS[above] - GAINS[above - 1]))


def influence(runs: int) -> dict[str, Array]:
    """Diversity ratio and influence (strengths, bounds) after 40 steps of an AI that stays, and one that follows.

    100 people in R^5 with anchors of standard deviation 0.5 that drift by 0.05 a step; friends pull 0.05, anchors 0.1.
    """
    N, D, T = 100, 5, 40
    key = keys.mix(3, np.arange(runs))
    anchor = 0.5 * keys.normal(key[:, None], keys.RESET, np.arange(N * D)).reshape(runs, N, D)
    drift = keys.normal(key[:, None], keys.RESET, 9999 + np.arange(D))
    drift = 0.05 * drift / dynamics.length(drift)[:, None]
    found = {f"{name}, {what}": np.zeros((len(STRENGTHS), len(BOUNDS)))
             for name in ("frozen", "following") for what in ("diversity", "influence")}  # fmt: skip
    for j, bound in enumerate(BOUNDS):
        people = {(name, a): anchor for name in ("frozen", "following") for a in STRENGTHS}
        for t in range(T):
            partner = networks.partners(keys.uniform(key[:, None], t, np.arange(N)))
            noise = keys.normal(key[:, None], t, N + np.arange(N * D)).reshape(runs, N, D)
            now = anchor + (t + 1) * drift[:, None]
            for (name, a), x in people.items():
                said = dynamics.mean(anchor if name == "frozen" else x)
                people[name, a] = dynamics.coevolve(
                    x,
                    partner,
                    said,
                    now,
                    noise,
                    bound=bound,
                    social=0.05,
                    influence=a,
                    attachment=0.1,
                    idiosyncratic_noise=0.02,
                )
        for (name, a), x in people.items():
            twin = people[name, 0.0]
            i = STRENGTHS.index(a)
            found[f"{name}, diversity"][i, j] = (x.var(1).sum(-1) / twin.var(1).sum(-1)).mean()
            found[f"{name}, influence"][i, j] = dynamics.length(x.mean(1) - twin.mean(1)).mean()
    return found


def clusters(runs: int) -> dict[str, Array]:
    """Effective numbers of clusters (confidence bounds, runs) of 150 people, uniform on [0, 1] at first."""
    N, key = 150, keys.mix(5, np.arange(runs))
    start = keys.uniform(key[:, None], keys.RESET, np.arange(N))[..., None]
    found: dict[str, list[list[float]]] = {"Deffuant": [], "Hegselmann-Krause": []}
    for bound in CONFIDENCE:
        x = y = start
        for t in range(100):
            u = keys.uniform(key[:, None, None], t, np.arange(2)[:, None], np.arange(N))
            person = (u[:, 0] * N).astype(np.int64)
            x = dynamics.deffuant(x, person, networks.neighbour(person, u[:, 1], N), bound)
        for _ in range(40):
            y = dynamics.hegselmann_krause(y, bound)
        found["Deffuant"].append([effective(row[:, 0]) for row in x])
        found["Hegselmann-Krause"].append([effective(row[:, 0]) for row in y])
    return {name: np.array(values) for name, values in found.items()}


def effective(x: Array) -> float:
    """(sum c)^2 / sum c^2 over clusters of size c, parted by gaps above 0.01."""
    sizes = np.diff(np.concatenate([[-1], np.flatnonzero(np.diff(np.sort(x)) > 0.01), [len(x) - 1]]))
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def interval(values: Array) -> str:
    """Mean over runs with its 95% bootstrap interval."""
    drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def saved(figure: Any) -> str:
    """A figure as SVG, the same bytes for the same figures."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Creator": None, "Date": None})
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines()) + "\n"


def heat(axes: Any, values: Array, columns: Sequence[str], rows: Sequence[str], colours: str, limits: Any) -> None:
    """A map of numbers that says them."""
    edges = [np.arange(n + 1) - 0.5 for n in values.shape]
    axes.pcolormesh(edges[1], edges[0], values, cmap=colours, vmin=limits[0], vmax=limits[1])
    for i, j in np.ndindex(values.shape):
        light = (values[i, j] - limits[0]) / (limits[1] - limits[0])
        colour = "white" if (light < 0.45) != colours.endswith("_r") else INK
        axes.text(j, i, f"{values[i, j]:.2f}".replace("-0.00", "0.00"), ha="center", va="center", size=7, color=colour)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, colors=MUTED)
    for side in axes.spines.values():
        side.set_visible(False)


def pictures(slopes: Array, maps: dict[str, Array], found: dict[str, Array]) -> dict[str, str]:
    """The three pictures, by suffix."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "valuegym",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
    }
    drawn = {}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.5, 3.6), layout="constrained")
        axes = figure.subplots()
        heat(axes, slopes, [f"{g:g}" for g in GAINS], [str(n) for n in POPULATIONS], "viridis", (-0.5, 0.0))
        axes.set(xlabel="n λ₁ λ₂ (n people, trusts λ₁ and λ₂); the threshold is 1", ylabel="people n")
        axes.set_title("Lock-in: slope of log error over log time, 200 to 800 steps (-0.5 learning, 0 locked in)")
        drawn["_lock_in.svg"] = saved(figure)
        figure = Figure(figsize=(10, 7), layout="constrained")
        grid: Any = figure.subplots(2, 2)
        for axes, (name, values) in zip(grid.flat, maps.items(), strict=True):
            colours = "viridis" if "diversity" in name else "viridis_r"  # light is harmless
            heat(axes, values, [f"{b:g}" for b in BOUNDS], [f"{a:g}" for a in STRENGTHS], colours, (0.0, 1.0))
            axes.set(title=f"AI {name}", xlabel="confidence bound", ylabel="strength of the AI")
        drawn["_influence.svg"] = saved(figure)
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        for (name, values), colour, marker in zip(found.items(), ("#c2410c", "#1d4ed8"), "os", strict=True):
            low, high = np.quantile(values, [0.1, 0.9], axis=1)
            axes.fill_between(CONFIDENCE, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(CONFIDENCE, values.mean(1), color=colour, marker=marker, markersize=4.5, label=name)
        axes.set_yscale("log")
        axes.set_yticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"])
        axes.minorticks_off()
        axes.grid(axis="y", color=FAINT)
        axes.set(xlabel="confidence bound", ylabel="effective clusters")
        axes.set_title("Clusters of 150 people (bands: four fifths of the runs)")
        axes.legend(frameon=False)
        axes.tick_params(length=0, colors=MUTED)
        for edge in axes.spines.values():
            edge.set_visible(False)
        drawn["_clusters.svg"] = saved(figure)
    return drawn


def page(samples: Sequence[Array], maps: dict[str, Array], found: dict[str, Array], runs: int) -> str:
    """The page with its tables."""
    lines = [
        "# Phase diagrams of values that move", "",
        f"`python benchmarks/phase_diagrams.py --runs {runs}` wrote this page; intervals are 95%, by bootstrap.", "",
        "## Trust and population: lock-in", "",
        "One AI without evidence hears n people with trust λ₁, who hear it with trust λ₂ (Qiu et al. 2025). Below "
        "n λ₁ λ₂ = 1 errors fall like one over the square root of time, above it they stay. The boundary is where the "
        "slope passes -1/4. Slopes are fitted from 200 to 800 steps, so that close below the threshold, where the "
        "beginning is felt longest, they are still flatter than -1/2.", "",
        "![Slopes of the error over time](phase_diagrams_lock_in.svg)", "",
        "| people | slope at 0.9 | slope at 1.1 | boundary |", "| --- | --- | --- | --- |",
    ]  # fmt: skip

    def cell(values: Array) -> str:
        low, high = np.quantile(values, [0.025, 0.975])
        return f"{np.median(values):.2f} ({low:.2f} to {high:.2f})".replace("-0.00", "0.00")

    for n, slopes in zip(POPULATIONS, samples, strict=True):
        at = [slopes[:, int(np.flatnonzero(gain == GAINS)[0])] for gain in (0.9, 1.1)]
        lines.append(f"| {n} | {cell(at[0])} | {cell(at[1])} | {cell(np.array([boundary(s) for s in slopes]))} |")
    weak, bound = STRENGTHS.index(0.15), BOUNDS.index(1.5)
    lines += [
        "", "## Influence and confidence bound: diversity", "",
        "People with friends, anchors that drift and an AI (`dynamics.coevolve`), after 40 steps, against their twin "
        "without the AI. The frozen AI says for ever what people valued on average at the start, the following one "
        "what they value now. Diversity is the ratio of variances, influence the distance of the means.", "",
        "![Diversity and influence over strength and confidence bound](phase_diagrams_influence.svg)", "",
        f"At strength 0.15 and bound 1.5 the frozen AI moves the mean by {maps['frozen, influence'][weak, bound]:.2f} "
        f"and leaves {maps['frozen, diversity'][weak, bound]:.2f} of the diversity; the following one moves it by "
        f"{maps['following, influence'][weak, bound]:.2f} and leaves {maps['following, diversity'][weak, bound]:.2f}.",
        "", "## Confidence bound: clusters", "",
        "![Effective clusters over the confidence bound](phase_diagrams_clusters.svg)", "",
        "| bound | Deffuant | Hegselmann-Krause |", "| --- | --- | --- |",
    ]  # fmt: skip
    for i, bound_ in enumerate(CONFIDENCE):
        lines.append(f"| {bound_:g} | {' | '.join(interval(values[i]) for values in found.values())} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate, and write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24, help="runs of every cell")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/results", help="folder of the page")
    arguments = parser.parse_args()
    samples = [lock_in_slopes(people, arguments.runs) for people in POPULATIONS]
    maps, found = influence(arguments.runs), clusters(arguments.runs)
    slopes = np.array([np.median(sample, axis=0) for sample in samples])
    arguments.docs.mkdir(parents=True, exist_ok=True)
    text = page(samples, maps, found, arguments.runs)
    files = {".md": text} | pictures(slopes, maps, found)
    for suffix, content in files.items():
        temporary = arguments.docs / f".phase_diagrams{suffix}.part"
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, arguments.docs / f"phase_diagrams{suffix}")
    print(text)


if __name__ == "__main__":
    main()
