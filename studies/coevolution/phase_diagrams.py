"""Phase diagrams: where people lock in, where an AI takes their diversity, where opinions fall into clusters.

    python -m studies.coevolution.phase_diagrams [--seeds 24] [--processes 2] [--table]

Every figure comes from `valuegym.envs.coevolution.dynamics`; seeds are the runs of every cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from studies import figures, harness, report
from studies.harness import Array, Key, Options, Records
from valuegym.envs import keys as random_keys
from valuegym.envs.coevolution import dynamics, networks

POPULATIONS = (10, 20, 50, 100, 200, 500)
GAINS = np.array([0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5, 2.0])
TIMES = (200, 400, 800)
STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8)
BOUNDS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
CONFIDENCE = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
AIS = ("frozen", "following")
MODELS = ("Deffuant", "Hegselmann-Krause")


# --- runs ---


def lock_in(people: int, runs: int) -> dict[Key, Any]:
    """Return mean square errors (TIMES) by gain and run.

    One AI and `people` people with sigma = 1, trusts lambda1 = lambda2; the gains share random numbers.
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
            squares.append((beliefs.mean[:, 1:] ** 2).mean(1))
    found = np.array(squares).reshape(len(TIMES), len(GAINS), runs)
    return {(g, i): found[:, j, i] for j, g in enumerate(GAINS.tolist()) for i in range(runs)}


def influence(bound: float, runs: int) -> dict[Key, Any]:
    """Return diversity ratio and influence of an AI that stays and of one that follows, by AI, strength and run.

    After 40 steps of 100 people in R^5 with anchors of standard deviation 0.5 that drift by 0.05 a step; friends pull
    0.05, anchors 0.1.
    """
    N, D, T = 100, 5, 40
    key = random_keys.mix(3, np.arange(runs))
    anchor = 0.5 * random_keys.normal(key[:, None], random_keys.RESET, np.arange(N * D)).reshape(runs, N, D)
    drift = random_keys.normal(key[:, None], random_keys.RESET, 9999 + np.arange(D))
    drift = 0.05 * drift / dynamics.length(drift)[:, None]
    people = {(name, strength): anchor for name in AIS for strength in STRENGTHS}
    for t in range(T):
        partner = networks.partners(random_keys.uniform(key[:, None], t, np.arange(N)))
        noise = random_keys.normal(key[:, None], t, N + np.arange(N * D)).reshape(runs, N, D)
        now = anchor + (t + 1) * drift[:, None]
        for (name, strength), x in people.items():
            message = dynamics.mean(anchor if name == "frozen" else x)
            constants = {"bound": bound, "social": 0.05, "attachment": 0.1, "idiosyncratic_noise": 0.02}
            people[name, strength] = dynamics.coevolve(x, partner, message, now, noise, influence=strength, **constants)
    found = {}
    for (name, strength), x in people.items():
        without = people[name, 0.0]
        ratio = x.var(1).sum(-1) / without.var(1).sum(-1)
        distance = dynamics.length(x.mean(1) - without.mean(1))
        found |= {(name, strength, i): np.array([ratio[i], distance[i]]) for i in range(runs)}
    return found


def clusters(bound: float, runs: int) -> dict[Key, Any]:
    """Return effective numbers of clusters by model and run, of 150 people, uniform on [0, 1] at first."""
    N, key = 150, random_keys.mix(5, np.arange(runs))
    x = y = random_keys.uniform(key[:, None], random_keys.RESET, np.arange(N))[..., None]
    for t in range(100):
        u = random_keys.uniform(key[:, None, None], t, np.arange(2)[:, None], np.arange(N))
        person = (u[:, 0] * N).astype(np.int64)
        x = dynamics.deffuant(x, person, networks.neighbour(person, u[:, 1], N), bound)
    for _ in range(40):
        y = dynamics.hegselmann_krause(y, bound)
    opinions = zip(MODELS, (x, y), strict=True)
    return {(name, i): np.array(effective(row[:, 0])) for name, rows in opinions for i, row in enumerate(rows)}


def effective(x: Array) -> float:
    """Return (sum c)^2 / sum c^2 over clusters of size c, parted by gaps above 0.01."""
    sizes = np.diff(np.concatenate([[-1], np.flatnonzero(np.diff(np.sort(x)) > 0.01), [len(x) - 1]]))
    return float(sizes.sum() ** 2 / (sizes**2).sum())


KINDS = {"lock-in": lock_in, "influence": influence, "clusters": clusters}


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield all runs of a population, of a bound of an AI's people, and of a bound of a model of opinions."""
    seeds = range(options.seeds)
    for people in POPULATIONS:
        yield [("lock-in", people, *rest) for rest in product(GAINS.tolist(), seeds)]
    for bound in BOUNDS:
        yield [("influence", bound, *rest) for rest in product(AIS, STRENGTHS, seeds)]
    for bound in CONFIDENCE:
        yield [("clusters", bound, *rest) for rest in product(MODELS, seeds)]


def run(keys: Sequence[Key], options: Options) -> list[Any]:
    """Return the values of keys of one population or bound."""
    kind, setting = keys[0][:2]
    found = KINDS[kind](setting, options.seeds)
    return [harness.rounded(found[key[2:]], 9) for key in keys]


# --- the page ---


def slopes(squares: Array) -> Array:
    """Return log-log slopes over TIMES of the root mean square error, of bootstrap samples of the runs: (500, gains).

    Args:
        squares: mean square errors (times, gains, runs).
    """
    runs = squares.shape[-1]
    drawn = np.random.default_rng(0).integers(runs, size=(500, runs))
    errors = np.sqrt(squares[:, :, drawn].mean(-1))  # (times, gains, 500)
    found = np.polyfit(np.log(TIMES), np.log(errors).reshape(len(TIMES), -1), 1)[0]
    return found.reshape(len(GAINS), 500).T


def boundary(slopes: Array) -> float:
    """Return the gain at which the slope passes -1/4, halfway between learning and lock-in, by interpolation."""
    above = int(np.argmax(slopes > -0.25))
    share = (-0.25 - slopes[above - 1]) / (slopes[above] - slopes[above - 1])
    return float(GAINS[above - 1] + share * (GAINS[above] - GAINS[above - 1]))


def heat(axes: Any, values: Array, columns: Sequence[float], rows: Sequence[float], colours: str, limits: Any) -> None:
    """Draw a map of numbers with the numbers in it."""
    edges = [np.arange(n + 1) - 0.5 for n in values.shape]
    axes.pcolormesh(edges[1], edges[0], values, cmap=colours, vmin=limits[0], vmax=limits[1])
    for i, j in np.ndindex(values.shape):
        light = (values[i, j] - limits[0]) / (limits[1] - limits[0])
        colour = "white" if (light < 0.45) != colours.endswith("_r") else figures.INK
        axes.text(j, i, report.TWO_DECIMALS(values[i, j]), ha="center", va="center", size=7, color=colour)
    axes.set_xticks(range(len(columns)), [f"{x:g}" for x in columns])
    axes.set_yticks(range(len(rows)), [f"{x:g}" for x in rows])
    axes.spines[:].set_visible(False)


def lock_in_figure(samples: Mapping[int, Array]) -> str:
    """Return the map of slopes over gain and population."""
    with figures.new(1, 1, (7.5, 3.6)) as (drawn, [[axes]]):
        medians = np.array([np.median(sample, axis=0) for sample in samples.values()])
        heat(axes, medians, GAINS.tolist(), list(samples), "viridis", (-0.5, 0.0))
        axes.set(xlabel="n λ₁ λ₂ (n people, trusts λ₁ and λ₂); the threshold is 1", ylabel="people n")
        axes.set_title("Lock-in: slope of log error over log time, 200 to 800 steps (-0.5 learning, 0 locked in)")
        return figures.svg(drawn)


def influence_figure(maps: Mapping[str, Array]) -> str:
    """Return the maps of diversity and influence over strength and bound."""
    with figures.new(2, 2, (10, 7)) as (drawn, grid):
        for axes, (name, values) in zip(grid.flat, maps.items(), strict=True):
            colours = "viridis" if "diversity" in name else "viridis_r"  # light is harmless
            heat(axes, values, BOUNDS, STRENGTHS, colours, (0.0, 1.0))
            axes.set(title=f"AI {name}", xlabel="confidence bound", ylabel="strength of the AI")
        return figures.svg(drawn)


def clusters_figure(found: Mapping[str, Array]) -> str:
    """Return effective clusters over the confidence bound, with bands of four fifths of the runs."""
    lines = {}
    for name, values in found.items():
        low, high = np.quantile(values, [0.1, 0.9], axis=1)
        lines[name] = [report.Estimate(*point) for point in zip(values.mean(1), low, high, strict=True)]
    title, curves = "Clusters of 150 people (bars: four fifths of the runs)", figures.curves(lines)
    levels = {1.0: "1", 2.0: "2", 3.0: "3", 5.0: "5", 10.0: "10"}
    return figures.draw(
        [figures.Panel(title, "confidence bound", "effective clusters", curves, CONFIDENCE, None, levels)]
    )


def page(samples: Mapping[int, Array], maps: Mapping[str, Array], found: Mapping[str, Array]) -> str:
    """Return the page with its tables."""
    rows = []
    for n, sample in samples.items():
        values = [sample[:, int(np.flatnonzero(gain == GAINS)[0])] for gain in (0.9, 1.1)]
        values.append(np.array([boundary(row) for row in sample]))
        rows.append([n, *(report.Estimate(*np.quantile(value, [0.5, 0.025, 0.975])) for value in values)])
    weak, bound = STRENGTHS.index(0.15), BOUNDS.index(1.5)
    body = [
        [f"{c:g}", *(report.resampled(values[i], np.mean, 2000) for values in found.values())]
        for i, c in enumerate(CONFIDENCE)
    ]
    return report.page(
        "# Phase diagrams of values that move",
        "`python -m studies.coevolution.phase_diagrams` wrote this page; intervals are 95%, by bootstrap.",
        "## Trust and population: lock-in",
        "One AI without evidence hears n people with trust λ₁, who hear it with trust λ₂ (Qiu et al. 2025). Below "
        "n λ₁ λ₂ = 1 errors fall like one over the square root of time, above it they stay. The boundary is where the "
        "slope passes -1/4. Slopes are fitted from 200 to 800 steps, so that close below the threshold, where the "
        "beginning is felt longest, they are still flatter than -1/2.",
        "![Slopes of the error over time](phase-diagrams-lock-in.svg)",
        report.table(["people", "slope at 0.9", "slope at 1.1", "boundary"], rows),
        "## Influence and confidence bound: diversity",
        "People with friends, anchors that drift and an AI (`dynamics.coevolve`), after 40 steps, against the same "
        "people without the AI. The frozen AI broadcasts for ever what people valued on average at the start, the "
        "following one what they value now. Diversity is the ratio of variances, influence the distance of the means.",
        "![Diversity and influence over strength and confidence bound](phase-diagrams-influence.svg)",
        f"At strength 0.15 and bound 1.5 the frozen AI moves the mean by {maps['frozen, influence'][weak, bound]:.2f} "
        f"and leaves {maps['frozen, diversity'][weak, bound]:.2f} of the diversity; the following one moves it by "
        f"{maps['following, influence'][weak, bound]:.2f} and leaves {maps['following, diversity'][weak, bound]:.2f}.",
        "## Confidence bound: clusters",
        "![Effective clusters over the confidence bound](phase-diagrams-clusters.svg)",
        report.table(["bound", *found], body),
    )


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and its figures."""
    cells = {cell: np.array(values) for cell, values in harness.columns(records).items()}
    samples = {
        n: slopes(np.moveaxis([cells["lock-in", n, gain] for gain in GAINS.tolist()], -1, 0)) for n in POPULATIONS
    }
    maps = {
        f"{name}, {what}": np.array([[cells["influence", b, name, a][:, i].mean() for b in BOUNDS] for a in STRENGTHS])
        for name in AIS
        for i, what in enumerate(("diversity", "influence"))
    }
    found = {name: np.array([cells["clusters", c, name] for c in CONFIDENCE]) for name in MODELS}
    return {
        ".md": page(samples, maps, found),
        "-lock-in.svg": lock_in_figure(samples),
        "-influence.svg": influence_figure(maps),
        "-clusters.svg": clusters_figure(found),
    }


STUDY = harness.Study("phase-diagrams", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=24)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
