"""From which size on the loss of a model does not matter: capacity x number of distractors x critic x loss.

    python benchmarks/pendulum_capacity.py [--seeds 5] [--minutes 60] [--table]

Everything that is trained and measured is that of `pendulum_offline`, among 0 to 15 rotating distractors. All losses of
one size are fitted as one batch for a block of seeds and recorded as lines of docs/results/raw/pendulum-capacity.jsonl,
so that an interrupted study goes on where it stopped; the page is docs/results/pendulum-capacity.md. `--minutes` stops
before the next fit, `--table` only writes the page. The largest model is fitted last, to the first seeds of a block.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pendulum_offline as offline
import torch
from pendulum_offline import interval, shown

NUMBERS = (0, 2, 5, 8, 10, 15)  # of distractors
CRITICS = ("mse", "hl_gauss")
ARMS = ("mse", "vagram", "vagram_mean")
BLOCK, FEW = 5, 3  # seeds in one batch; those of them with the largest model
KEPT = (
    *("actor", "gradient_ratio", "physical", "distracting", "value_error", "value_error_5", "policy_alignment"),
    "planned",
)


class Size(NamedTuple):
    """Hidden layers of a model and units in each."""

    depth: int
    width: int

    def __str__(self) -> str:
        return str(self.width) if self.depth == 2 else f"{self.depth}x{self.width}"


SMALL = tuple(Size(2, width) for width in (4, 8, 16, 32, 64))
LARGE = (Size(4, 200),)
SIZES = SMALL + LARGE
FIRST, REST = (8, 0, 15, 2), (10, 5)  # numbers of distractors, so ordered that an interrupted study spans them
PASSES = (
    *((SMALL, FIRST, (critic,)) for critic in CRITICS),
    *((sizes, numbers, CRITICS) for sizes, numbers in ((SMALL, REST), (LARGE, FIRST), (LARGE, REST))),
)
Key = tuple[str, int, Size, str, int]  # critic, number of distractors, size, loss, seed
Rows = dict[Key, dict[str, float]]


# --- fits ---


def recorded(path: Path) -> Rows:
    """What is there, by its key; NaN where nothing can be measured."""
    found: Rows = {}
    for line in offline.lines_of(path):
        size = Size(line["depth"], line["width"])
        for i, seed in enumerate(line["seeds"]):
            row = {name: math.nan if line[name][i] is None else line[name][i] for name in KEPT}
            found[line["critic"], line["distractors"], size, line["loss"], seed] = row
    return found


def brief(x: float) -> float | None:
    """Five significant digits; None for NaN, which JSON does not have."""
    return None if math.isnan(x) else float(f"{x:.5g}")


def measured(agents: list[offline.Trained], size: Size) -> dict[str, list[dict[str, float]]]:
    """What is measured of models of one size, for every loss and every seed."""
    models = offline.fitted([(one, arm) for arm in ARMS for one in agents], size.width, size.depth)
    found = {}
    for i, arm in enumerate(ARMS):
        own = models[i * len(agents) : (i + 1) * len(agents)]
        returns = offline.planned(agents, [fit.model for fit in own])
        found[arm] = [
            offline.measure(one, fit) | {"planned": float(value)}
            for one, fit, value in zip(agents, own, returns, strict=True)
        ]
    return found


def fill(path: Path, first: int, seeds: int, minutes: float) -> None:
    """Fit what is not recorded yet until time is up, pass after pass."""
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * minutes
    done = recorded(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for begin in range(first, first + seeds, BLOCK):
        block = list(range(begin, min(begin + BLOCK, first + seeds)))
        frozen: dict[tuple[str, int], list[offline.Trained]] = {}
        for sizes, numbers, critics in PASSES:
            few = block[:FEW] if sizes == LARGE else block
            for critic, number, size in itertools.product(critics, numbers, sizes):
                if all((critic, number, size, arm, seed) in done for arm in ARMS for seed in few):
                    continue
                if time.monotonic() > end:
                    return
                if (critic, number) not in frozen:
                    frozen[critic, number] = offline.trained(offline.World(number=number), critic, block)
                found = measured(frozen[critic, number][: len(few)], size)
                with path.open("a", encoding="utf-8") as file:
                    for arm, rows in found.items():
                        key = {"critic": critic, "distractors": number, **size._asdict(), "loss": arm, "seeds": few}
                        columns = {name: [brief(row[name]) for row in rows] for name in KEPT}
                        file.write(json.dumps(key | columns) + "\n")


# --- the page ---


def seeds_of(rows: Rows, critic: str, number: int, size: Size) -> list[int]:
    """Seeds for which a model is there under every loss."""
    found = sorted({key[4] for key in rows if key[:3] == (critic, number, size)})
    return [seed for seed in found if all((critic, number, size, arm, seed) in rows for arm in ARMS)]


def column(rows: Rows, critic: str, number: int, size: Size, arm: str, name: str) -> Any:
    """One figure (S,) of one loss for all seeds of a cell."""
    return np.array([rows[critic, number, size, arm, seed][name] for seed in seeds_of(rows, critic, number, size)])


def compared(rows: Rows, critic: str, number: int, size: Size, arm: str, name: str) -> Any:
    """Ratios (S,) of errors to those of `mse` in the same seed, or differences (S,) of returns."""
    mine, its = (column(rows, critic, number, size, loss, name) for loss in (arm, "mse"))
    return mine - its if name == "planned" else mine / its


def _table(rows: Rows, critic: str, cell: Any) -> list[str]:
    """A table of cell(number, size) (S,), of the sizes and the numbers of distractors that were run."""
    there = {(number, size) for number in NUMBERS for size in SIZES if seeds_of(rows, critic, number, size)}
    numbers = [number for number in NUMBERS if any(number == pair[0] for pair in there)]
    lines = ["| size | " + " | ".join(map(str, numbers)) + " |", "|" + "---|" * (len(numbers) + 1)]
    for size in (size for size in SIZES if any(size == pair[1] for pair in there)):
        cells = [shown(interval(cell(number, size))) if (number, size) in there else "" for number in numbers]
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def verdict(values: Any, none: float, higher: bool) -> str:
    """Whether an interval lies on the better side of no difference, on the worse one, or includes it."""
    _, low, high = interval(values)
    if low > none:
        return "better" if higher else "worse"
    if high < none:
        return "worse" if higher else "better"
    return "open"


def _where(rows: Rows, critic: str) -> list[str]:
    """For every number of distractors, the sizes at which a loss is better and worse than `mse`."""
    lines = ["| distractors | loss | value error lower | higher | planned return higher | lower |", "|" + "---|" * 6]
    for number in NUMBERS:
        there = [size for size in SIZES if seeds_of(rows, critic, number, size)]
        for arm in ARMS[1:] if there else ():
            cells = []
            for name, none, higher in (("value_error", 1.0, False), ("planned", 0.0, True)):
                verdicts = {s: verdict(compared(rows, critic, number, s, arm, name), none, higher) for s in there}
                for kind in ("better", "worse"):
                    cells.append(", ".join(str(size) for size in there if verdicts[size] == kind) or "none")
            lines.append(f"| {number} | `{arm}` | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _section(rows: Rows, critic: str) -> list[str]:
    lines = [f"## {critic} critic", ""]
    actors = []
    for number in NUMBERS:
        if seeds_of(rows, critic, number, SMALL[0]):
            ratio, actor = (column(rows, critic, number, SMALL[0], "mse", name) for name in ("gradient_ratio", "actor"))
            ratio = [] if number == 0 else [shown(interval(ratio))]
            actors.append(f"| {number} | {shown(interval(actor))} | {''.join(ratio)} |")
    lines += ["| distractors | the actor's own return | critic gradients, distracting / physical |", "|---|---|---|"]
    lines += [*actors, "", "Sizes at which the interval excludes that there is no difference from `mse`:", ""]
    lines += _where(rows, critic)
    lines += ["Value error under `mse`, by size and number of distractors:", ""]
    lines += _table(rows, critic, lambda n, s: column(rows, critic, n, s, "mse", "value_error"))
    for arm in ARMS[1:]:
        lines += [f"Value error under `{arm}` over that under `mse`, within seeds:", ""]
        lines += _table(rows, critic, lambda n, s, arm=arm: compared(rows, critic, n, s, arm, "value_error"))
    lines += ["Planned return under `mse`:", ""]
    lines += _table(rows, critic, lambda n, s: column(rows, critic, n, s, "mse", "planned"))
    for arm in ARMS[1:]:
        lines += [f"Planned return under `{arm}`, less that under `mse`, within seeds:", ""]
        lines += _table(rows, critic, lambda n, s, arm=arm: compared(rows, critic, n, s, arm, "planned"))
    return lines


def _run(rows: Rows) -> list[str]:
    """How many seeds every cell has."""
    lines = ["| seeds: critic, size | " + " | ".join(map(str, NUMBERS)) + " |", "|" + "---|" * (len(NUMBERS) + 1)]
    for critic in CRITICS:
        for name, sizes in ((f"{SMALL[0]} to {SMALL[-1]}", SMALL), (str(LARGE[0]), LARGE)):
            least = [min(len(seeds_of(rows, critic, number, size)) for size in sizes) for number in NUMBERS]
            lines.append(f"| {critic}, {name} | " + " | ".join(map(str, least)) + " |")
    return [*lines, ""]


def report(rows: Rows) -> str:
    """The page."""
    text = [
        "# From which size on the loss of a model does not matter",
        "",
        f"The pendulum with {NUMBERS[0]} to {NUMBERS[-1]} rotating distractors, one frozen buffer and its critics for "
        f"every seed, and models with two hidden layers of {SMALL[0]} to {SMALL[-1]} units, or {LARGE[0].depth} of "
        f"{LARGE[0].width}, fitted in {offline.FIT_STEPS:,} steps under each loss; everything is as in "
        "[pendulum-offline](pendulum-offline.md). Value errors are root mean squares over standard deviations, on "
        "held-out rows, under the value function computed on a grid. Planned returns are undiscounted, over "
        f"{offline.EPISODES} episodes a seed from starts that all losses share, and planning ends in the critics of "
        "its own seed. Medians over seeds with 95% bootstrap intervals; with five seeds such an interval reaches from "
        "the least to the greatest, so that it excludes no difference where all seeds agree, which they do by chance "
        "in one cell of sixteen; the largest model has three, which agree in one of four.",
        "",
        "Written by `python benchmarks/pendulum_capacity.py`, from `raw/pendulum-capacity.jsonl`.",
        "",
        *_run(rows),
        "Cells without seeds have not been run.",
        "",
    ]
    there = [critic for critic in CRITICS if any(key[0] == critic for key in rows)]
    if there:
        text += ["![Value errors and planned returns by size and number of distractors](pendulum-capacity.svg)", ""]
    for critic in there:
        text += _section(rows, critic)
    return "\n".join(text)


def draw(rows: Rows, path: Path) -> None:
    """Value errors relative to `mse`, and planned returns, over sizes: one line for each number of distractors."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "valuegym"
    critics = [critic for critic in CRITICS if any(key[0] == critic for key in rows)]
    sizes = [size for size in SIZES if any(key[2] == size for key in rows)]
    figure, panels = plt.subplots(len(critics), 5, figsize=(14, 3.3 * len(critics) + 0.5), sharex=True, squeeze=False)
    colours = dict(zip(NUMBERS, plt.get_cmap("viridis")(np.linspace(0, 0.92, len(NUMBERS))), strict=True))
    for critic, line in zip(critics, panels, strict=True):
        kinds = [(arm, "value_error") for arm in ARMS[1:]] + [(arm, "planned") for arm in ARMS]
        for panel, (arm, name) in zip(line, kinds, strict=True):
            for j, number in enumerate(NUMBERS):
                there = [i for i, size in enumerate(sizes) if seeds_of(rows, critic, number, size)]
                of = compared if name == "value_error" else column
                values = [of(rows, critic, number, sizes[i], arm, name) for i in there]
                if not there:
                    continue
                middle, low, high = np.array([interval(value) for value in values]).T
                at = np.array(there) + 0.09 * (j - (len(NUMBERS) - 1) / 2)
                panel.plot(at, middle, "o-", ms=3, lw=1.3, color=colours[number], label=str(number))
                panel.vlines(at, low, high, color=colours[number], lw=0.9, alpha=0.6)
            ratio = name == "value_error"
            panel.set_title(f"{arm}: " + ("value error / mse's" if ratio else "planned return"), fontsize=9)
            panel.set_xticks(range(len(sizes)), [str(size) for size in sizes], fontsize=8)
            panel.tick_params(axis="y", labelsize=8)
            panel.grid(axis="y", alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
            if ratio:
                panel.set_yscale("log")
                panel.axhline(1, color="0.4", lw=0.8, ls="--")
        line[0].set_ylabel(f"{critic} critic")
    for group in (list(panels[:, :2].flat), list(panels[:, 2:].flat)):
        limits = [panel.get_ylim() for panel in group]
        for panel in group:
            panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    for panel in panels[-1]:
        panel.set_xlabel("units in hidden layers")
    panels[0, -1].legend(title="distractors", fontsize=7, title_fontsize=8, loc="lower right", ncols=2)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Go on with the study and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=BLOCK)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--output", type=Path, default=offline.RESULTS)
    options = parser.parse_args()
    path = options.output / "raw" / "pendulum-capacity.jsonl"
    if not options.table:
        fill(path, options.first, options.seeds, options.minutes)
    rows = recorded(path)
    (options.output / "pendulum-capacity.md").write_text(report(rows), encoding="utf-8")
    if rows:
        draw(rows, options.output / "pendulum-capacity.svg")


if __name__ == "__main__":
    main()
