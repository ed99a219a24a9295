"""Value-gradient weights under a reward that was learnt from preferences: in the LQR, where regret is exact.

    python benchmarks/lqr_preferences.py [--seeds 32] [--table]

For every seed: a mass with 4 distractors, pairs of segments with random forces, answers by regret or by partial return,
and rewards learnt from the first 10 to 300 of them by either statistic. A linear model of rank 2 is then fitted under
each loss, with the gradients of the learnt value, and the Riccati equation plans with the model and the learnt reward.
What comes out is paid at the true costs. Every seed is one line of docs/results/raw/lqr-preferences.jsonl; the page is
docs/results/lqr-preferences.md, and `--table` makes it from the lines.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lqr_sweep
import numpy as np
import torch

from valuegym.agents.control import lqr_preferences as preferences
from valuegym.agents.control.lqr_preferences import Pairs, Segments
from valuegym.envs.control import lqr, riccati

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
DISTRACTORS, SCALE, LENGTH = 4, 1.0, 5  # LENGTH is steps in a segment
NUMBERS = (10, 30, 100, 300)  # preferences
STATISTICS = ("regret", "partial_return")
LOSSES = ("mse", "vagram", "vagram_matrix")
CLEAR = 2.0  # median difference between two segments, in temperatures
TURNS = (False, True)
KNOWN = "known"  # instead of a loss: the true dynamics
OPEN = "regret, other prior"  # distractors are expected to cost as much as the position
NEAR = 1.05


def world(seed: int) -> riccati.LinearSystem:
    """The system of a seed in its own coordinates."""
    return lqr.system(lqr.Parameters(distractors=DISTRACTORS, distractor_scale=SCALE, map_seed=seed))


def play(system: riccati.LinearSystem, start: Any, n: int, rng: np.random.Generator) -> Segments:
    """Segments (n, 2, LENGTH, ...) from states spread as starts are, with random forces."""
    s = rng.standard_normal((n, 2, len(system.A))) * np.sqrt(np.diag(start))
    states, actions = [], []
    for _ in range(LENGTH):
        states.append(s)
        actions.append(lqr_sweep.FORCE * rng.standard_normal((n, 2, 1)))
        s = s @ system.A.T + actions[-1] @ system.B.T + rng.standard_normal(s.shape) * np.sqrt(np.diag(system.W))
    return Segments(np.stack(states, -2), np.stack(actions, -2))


def learnt(seed: int) -> dict[str, Any]:
    """Weights by what answered (regret or partial return), statistic of the learner, and number of preferences."""
    system, rng = world(seed), np.random.default_rng([31, seed])
    start = lqr.start_covariance(lqr.Parameters(distractors=DISTRACTORS, distractor_scale=SCALE, map_seed=seed))
    segments = play(system, start, max(NUMBERS), rng)
    n = len(system.A)
    basis = preferences.axes(n, 1)
    costs = preferences.partial_costs(segments, basis, system.discount)
    weights = np.concatenate([np.diag(system.Q), np.diag(system.R)])
    units = (costs[:, 0] - costs[:, 1]).std(0)
    prior = np.where((np.arange(n + 1) >= lqr.PHYSICAL) & (np.arange(n + 1) < n), 1.0, 0.0)
    found: dict[str, Any] = {}
    for answered, true in (
        ("regret", preferences.regret(segments, system)),
        ("partial_return", costs @ weights),
    ):
        temperature = float(np.median(np.abs(np.diff(true)))) / CLEAR
        preferred = preferences.sample_answers(true, temperature, rng)
        for number in NUMBERS:
            first = Pairs(Segments(*(part[:number] for part in segments)), preferred[:number])
            for statistic in STATISTICS:
                w = preferences.learn(first, basis, system, statistic, units)
                found[f"{answered}/{statistic}/{number}"] = (w * temperature).tolist()
            if answered == "regret":  # in units of temperatures, a distractor costs as much as the position truly does
                centre = prior * units * weights[0] / temperature
                w = preferences.learn(first, basis, system, "regret", units, centre)
                found[f"{answered}/{OPEN}/{number}"] = (w * temperature).tolist()
    return found


def recorded(path: Path) -> dict[int, dict[str, Any]]:
    """Learnt weights by seed; a line that an interruption cut short is dropped."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {row["seed"]: row["weights"] for row in rows}


def fill(path: Path, seeds: int) -> dict[int, dict[str, Any]]:
    """Learn from what is not recorded yet."""
    done = recorded(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        if seed not in done:
            done[seed] = learnt(seed)
            lines = [json.dumps({"seed": s, "weights": done[s]}) + "\n" for s in sorted(done)]
            path.write_text("".join(lines), encoding="utf-8")
    return done


def costs_of(weights: Any, loss: str, turned: bool) -> Any:
    """True costs (seeds,) of what is planned with learnt weights (seeds, d), None for the true ones, over optimal."""
    seeds = len(weights)
    cell = lqr_sweep.Cell(DISTRACTORS, SCALE, turned, 0.0)
    data = lqr_sweep.data_of(cell, seeds)
    system = data.system
    believed = []
    for i in range(seeds):
        turn = lqr.rotation(lqr.Parameters(distractors=DISTRACTORS, rotated=turned, map_seed=i))
        one = riccati.LinearSystem(*(part[i] for part in system[:5]), system.discount)
        basis = preferences.axes(len(turn), 1, turn)
        believed.append(one if weights[i] is None else preferences.priced(one, basis, weights[i]))
    joint = riccati.LinearSystem(*(np.stack([b[k] for b in believed]) for k in range(5)), system.discount)
    if loss == KNOWN:
        K = riccati.gain(joint, riccati.optimal(joint).P)
        return lqr_sweep.true_cost(system, K, data.start)[1] / data.best
    return lqr_sweep.run(cell, loss, seeds, joint)


# --- the page ---

Costs = dict[tuple[bool, str, str, int, str], Any]  # turned, answered, learner, number, loss -> costs (seeds,)


def all_costs(weights: dict[int, dict[str, Any]]) -> Costs:
    """Costs of everything; the true reward has the number 0."""
    found: Costs = {}
    seeds = sorted(weights)
    for turned in TURNS:
        for loss in (KNOWN, *LOSSES):
            found[turned, "", "true", 0, loss] = costs_of([None] * len(seeds), loss, turned)
            for key in weights[seeds[0]]:
                answered, learner, number = key.split("/")
                each = [np.array(weights[seed][key]) for seed in seeds]
                found[turned, answered, learner, int(number), loss] = costs_of(each, loss, turned)
    return found


def interval(values: Any) -> tuple[float, float, float]:
    """The median and its 95% interval over 4,000 resamples; each is one of the values, infinite ones included."""
    values = np.asarray(values)
    draws = values[np.random.default_rng(0).integers(len(values), size=(4000, len(values)))]
    medians = np.quantile(draws, 0.5, axis=1, method="higher")
    low, high = np.quantile(medians, [0.025, 0.975], method="higher")
    return float(np.quantile(values, 0.5, method="higher")), float(low), float(high)


def _number(value: float) -> str:
    return (
        "∞" if value == np.inf else f"{value:.3f}" if value < 2 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"
    )


def _cell(values: Any) -> str:
    point, low, high = (_number(v) for v in interval(values))
    return f"{point} [{low}, {high}]"


def _table(costs: Costs, turned: bool, answered: str, learners: tuple[str, ...]) -> list[str]:
    losses = (KNOWN, *LOSSES)
    lines = [
        "| reward learnt by | preferences | "
        + " | ".join(f"{x} dynamics" if x == KNOWN else f"`{x}`" for x in losses)
        + " |",
        "|" + "---|" * (len(losses) + 2),
        "| the true one | | " + " | ".join(_cell(costs[turned, "", "true", 0, loss]) for loss in losses) + " |",
    ]
    for learner in learners:
        for number in NUMBERS:
            cells = [_cell(costs[turned, answered, learner, number, loss]) for loss in losses]
            lines.append(f"| {learner.replace('_', ' ')} | {number} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _paired(costs: Costs) -> list[str]:
    """Regret against partial return, seed by seed, where the model is no obstacle and where it is."""
    lines = [
        "| answers by | preferences | known dynamics | regret cheaper | `vagram_matrix`, rotated | regret cheaper |",
        "|---|---|---|---|---|---|",
    ]
    for answered in STATISTICS:
        for number in NUMBERS:
            cells = []
            for turned, loss in ((False, KNOWN), (True, "vagram_matrix")):
                own, other = (costs[turned, answered, learner, number, loss] for learner in STATISTICS)
                ratio = np.divide(other, own, out=np.ones_like(own), where=np.isfinite(own) | np.isfinite(other))
                cells += [_cell(ratio), f"{(own < other).sum()} of {len(own)}"]
            lines.append(f"| {answered.replace('_', ' ')} | {number} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def report(costs: Costs, seeds: int) -> str:
    """The page."""
    text = [
        "# Value-gradient weights under a reward learnt from preferences",
        "",
        f"A mass on a line with {DISTRACTORS} distractors of scale {SCALE:g}, {seeds} seeds. Rewards are learnt from "
        f"answers about pairs of segments of {LENGTH} steps with random forces; a linear model of rank 2 is fitted "
        "under each loss with the gradients of the learnt value, and the Riccati equation plans with model and learnt "
        "reward. The figures are the true cost of the planned controller over that of the optimal one, medians with "
        "95% bootstrap intervals; 1 is optimal, unstable controllers count as infinite. `known dynamics` plans with "
        "the learnt reward and without a model, so that only the reward can be wrong.",
        "",
        "Written by `python benchmarks/lqr_preferences.py`, from `raw/lqr-preferences.jsonl`.",
        "",
        "![True cost over the number of preferences](lqr-preferences.svg)",
        "",
        f"The median difference between two segments is {CLEAR:g} temperatures. The features of the reward are known, "
        "the squares of position, velocity, every distractor and the force; their weights, at least 0, are learnt "
        f"under a normal prior about 0. `{OPEN}` is regret with a prior by which every distractor costs as much as the "
        "position truly does.",
        "",
        "Regret is exact here. By its definition it says nothing of what no action influences, so that the weights of "
        "the distractors are those of the prior (a test holds this to the last digits). The controller does not "
        "depend on them, and known dynamics give the same cost; but the value function does, and with it what a model "
        "with value-gradient weights looks at.",
        "",
    ]
    for turned in TURNS:
        axes = "rotated observation" if turned else "aligned axes"
        text += [f"## Answers by regret, {axes}", "", *_table(costs, turned, "regret", (*STATISTICS, OPEN))]
    for turned in TURNS:
        axes = "rotated observation" if turned else "aligned axes"
        text += [f"## Answers by partial return, {axes}", "", *_table(costs, turned, "partial_return", STATISTICS)]
    text += [
        "## The two learners, seed by seed",
        "",
        "Cost with the reward learnt by partial return over that with the reward learnt by regret.",
        "",
        *_paired(costs),
    ]
    return "\n".join(text)


def draw(costs: Costs, path: Path) -> None:
    """Medians of what is paid beyond the optimal cost, over the number of preferences; the top is infinite cost."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "valuegym"
    bottom, top = 5e-4, 1e4
    colours = {"regret": "#009e73", "partial_return": "#d55e00", OPEN: "#0072b2", "true": "0.4"}
    dashes = {KNOWN: (":", "x"), "vagram": ("--", "s"), "vagram_matrix": ("-", "v"), "mse": ("-.", "o")}
    figure, panels = plt.subplots(1, 3, figsize=(11.5, 4.1), sharey=True)
    shown = [(False, "regret"), (True, "regret"), (True, "partial_return")]
    for panel, (turned, answered) in zip(panels, shown, strict=True):
        for learner in (*STATISTICS, OPEN):
            if (turned, answered, learner, NUMBERS[0], KNOWN) not in costs:  # no such learner
                continue
            for loss in (KNOWN, *LOSSES):
                dash, marker = dashes[loss]
                bands = [interval(costs[turned, answered, learner, number, loss]) for number in NUMBERS]
                columns = zip(*bands, strict=True)
                middle, low, high = (np.clip(np.array(column) - 1, bottom, top) for column in columns)
                panel.plot(NUMBERS, middle, dash, marker=marker, color=colours[learner], ms=4.5, lw=1.5)
                if loss == KNOWN:
                    panel.fill_between(NUMBERS, low, high, color=colours[learner], alpha=0.12, lw=0)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(NUMBERS, [str(n) for n in NUMBERS])
        panel.minorticks_off()
        panel.set_ylim(bottom, 2 * top)
        ticks = [1e-3, 1e-2, 0.1, 1, 10, 100, 1000, top]
        panel.set_yticks(ticks, ["0.1%", "1%", "10%", "1 times", "10 times", "100 times", "1,000 times", "∞"])
        panel.set_xlabel("preferences")
        axes = "rotated" if turned else "aligned"
        panel.set_title(f"answers by {answered.replace('_', ' ')}, {axes}", fontsize=10)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("cost beyond the optimal one, relative to it")
    handles = [plt.Line2D([], [], color=colours[x], lw=2) for x in (*STATISTICS, OPEN)]
    names = [f"learnt by {x.replace('_', ' ')}" for x in (*STATISTICS, OPEN)]
    handles += [plt.Line2D([], [], color="0.2", ls=dash, marker=marker, ms=4.5) for dash, marker in dashes.values()]
    names += ["known dynamics" if x == KNOWN else x for x in dashes]
    figure.legend(handles, names, loc="upper center", ncols=len(names), frameon=False, fontsize=8.5)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Learn, plan, and write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.output / "raw" / "lqr-preferences.jsonl"
    weights = recorded(path) if options.table else fill(path, options.seeds)
    costs = all_costs(weights)
    (options.output / "lqr-preferences.md").write_text(report(costs, len(weights)), encoding="utf-8")
    draw(costs, options.output / "lqr-preferences.svg")


if __name__ == "__main__":
    main()
