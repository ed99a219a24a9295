"""From which size on the loss of a model does not matter: capacity x number of distractors x critic x loss.

    python -m studies.control.pendulum_capacity [--seeds 5] [--minutes 60] [--table]

Everything that is trained and measured is that of `pendulum_offline`, among 0 to 15 rotating distractors. All losses of
one size are fitted as one batch for a block of seeds. The largest model is fitted last, to the first seeds of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

from studies import figures, harness, report
from studies.control import pendulum_offline as offline
from studies.control.pendulum_offline import text
from studies.harness import Array, Key, Options, Records

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
Row = dict[str, float | None]


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield all losses and seeds of one size among so many distractors, pass after pass."""
    for first in range(0, options.seeds, BLOCK):
        block = offline.block_of(first, options.seeds, BLOCK)
        for sizes, numbers, critics in PASSES:
            seeds = block[:FEW] if sizes == LARGE else block
            for critic, number, size in product(critics, numbers, sizes):
                yield [(critic, number, *size, arm, seed) for arm in ARMS for seed in seeds]


def run(keys: Sequence[Key], options: Options) -> list[Row]:
    """Return the measurements of keys of one block, which learns as a whole; None where nothing can be measured."""
    torch.set_num_threads(1)
    critic, number, depth, width, _, seed = keys[0]
    agents = offline.trained(offline.World(number=number), critic, offline.block_of(seed, options.seeds, BLOCK))
    few = agents[:FEW] if (Size(depth, width),) == LARGE else agents
    found = offline.measured(few, ARMS, width, depth)
    return [{name: brief(found[key[-2:]][name]) for name in KEPT} for key in keys]


def brief(x: float) -> float | None:
    """Return five significant digits; None for NaN, which JSON does not have."""
    return None if math.isnan(x) else float(f"{x:.5g}")


# --- the page ---


def seeds_of(records: Records, critic: str, number: int, size: Size) -> list[int]:
    """Return the seeds for which a model is there under every loss."""
    found = sorted({key[-1] for key in records if key[:4] == (critic, number, *size)})
    return [seed for seed in found if all((critic, number, *size, arm, seed) in records for arm in ARMS)]


def column(records: Records, critic: str, number: int, size: Size, arm: str, name: str) -> Array:
    """Return one figure (S,) of one loss for all seeds of a cell."""
    seeds = seeds_of(records, critic, number, size)
    return np.array([records[(critic, number, *size, arm, seed)][name] for seed in seeds], float)


def compared(records: Records, critic: str, number: int, size: Size, arm: str, name: str) -> Array:
    """Return ratios (S,) of errors to those of `mse` in the same seed, or differences (S,) of returns."""
    mine, base = (column(records, critic, number, size, loss, name) for loss in (arm, "mse"))
    return mine - base if name == "planned" else mine / base


def _table(records: Records, critic: str, cell: Callable[[int, Size], Array]) -> str:
    """Return a table of cell(number, size) (S,), of the sizes and the numbers of distractors that were run."""
    there = {(number, size) for number in NUMBERS for size in SIZES if seeds_of(records, critic, number, size)}
    numbers = [number for number in NUMBERS if any(number == pair[0] for pair in there)]
    body = [
        [size, *(text(cell(number, size)) if (number, size) in there else "" for number in numbers)]
        for size in SIZES
        if any(size == pair[1] for pair in there)
    ]
    return report.table(["size", *numbers], body)


def verdict(values: Any, none: float, higher: bool) -> str:
    """Return on which side of no difference an interval lies, "better" or "worse", or "open" if it includes it."""
    _, low, high = report.resampled(values)
    if low > none:
        return "better" if higher else "worse"
    if high < none:
        return "worse" if higher else "better"
    return "open"


def _where(records: Records, critic: str) -> str:
    """Return a table of the sizes at which a loss is better and worse than `mse`, by number of distractors."""
    body = []
    for number in NUMBERS:
        there = [size for size in SIZES if seeds_of(records, critic, number, size)]
        for arm in ARMS[1:] if there else ():
            cells = []
            for name, none, higher in (("value_error", 1.0, False), ("planned", 0.0, True)):
                verdicts = {s: verdict(compared(records, critic, number, s, arm, name), none, higher) for s in there}
                for kind in ("better", "worse"):
                    cells.append(", ".join(str(size) for size in there if verdicts[size] == kind) or "none")
            body.append([number, f"`{arm}`", *cells])
    return report.table(["distractors", "loss", "value error lower", "higher", "planned return higher", "lower"], body)


def _section(records: Records, critic: str) -> list[str]:
    def cells(of: Any, arm: str, name: str) -> str:
        return _table(records, critic, lambda number, size: of(records, critic, number, size, arm, name))

    actors = []
    for number in NUMBERS:
        if seeds_of(records, critic, number, SMALL[0]):
            names = ("actor", *(("gradient_ratio",) if number else ()))
            found = [text(column(records, critic, number, SMALL[0], "mse", name)) for name in names]
            actors.append([number, *found, *[""] * (number == 0)])
    parts = [
        f"## {critic} critic",
        report.table(["distractors", "the actor's own return", "critic gradients, distracting / physical"], actors),
        "Sizes at which the interval excludes that there is no difference from `mse`:",
        _where(records, critic),
    ]
    for name, what, table, against in (
        ("value_error", "Value error", ", by size and number of distractors", " over"),
        ("planned", "Planned return", "", ", less"),
    ):
        parts += [f"{what} under `mse`{table}:", cells(column, "mse", name)]
        for arm in ARMS[1:]:
            parts += [f"{what} under `{arm}`{against} that under `mse`, within seeds:", cells(compared, arm, name)]
    return parts


def _counts(records: Records) -> str:
    """Return a table of how many seeds every cell has."""
    body = []
    for critic in CRITICS:
        for name, sizes in ((f"{SMALL[0]} to {SMALL[-1]}", SMALL), (str(LARGE[0]), LARGE)):
            least = [min(len(seeds_of(records, critic, number, size)) for size in sizes) for number in NUMBERS]
            body.append([f"{critic}, {name}", *least])
    return report.table(["seeds: critic, size", *NUMBERS], body)


def page(records: Records) -> str:
    """Return the page."""
    parts = [
        "# From which size on the loss of a model does not matter",
        f"The pendulum with {NUMBERS[0]} to {NUMBERS[-1]} rotating distractors, one frozen buffer and its critics for "
        f"every seed, and models with two hidden layers of {SMALL[0]} to {SMALL[-1]} units, or {LARGE[0].depth} of "
        f"{LARGE[0].width}, fitted in {offline.FIT_STEPS:,} steps under each loss; everything is as in "
        "[pendulum-offline](pendulum-offline.md). Value errors are root mean squares over standard deviations, on "
        "held-out rows, under the value function computed on a grid. Planned returns are undiscounted, over "
        f"{offline.EPISODES} episodes a seed from starts that all losses share, and planning ends in the critics of "
        "its own seed. Medians over seeds with 95% bootstrap intervals; with five seeds such an interval reaches from "
        "the least to the greatest, so that it excludes no difference where all seeds agree, which they do by chance "
        "in one cell of sixteen; the largest model has three, which agree in one of four.",
        "Written by `python -m studies.control.pendulum_capacity`, from "
        "[data/pendulum-capacity.jsonl](data/pendulum-capacity.jsonl).",
        _counts(records),
        "Cells without seeds have not been run.",
    ]
    there = [critic for critic in CRITICS if any(key[0] == critic for key in records)]
    if there:
        parts.append("![Value errors and planned returns by size and number of distractors](pendulum-capacity.svg)")
    for critic in there:
        parts += _section(records, critic)
    return report.page(*parts)


def figure(records: Records) -> str:
    """Return value errors relative to `mse`, and planned returns, over sizes: a line for each number of distractors."""
    sizes = [size for size in SIZES if any(key[2:4] == size for key in records)]
    levels = {0.03: "0.03", 0.1: "0.1", 0.3: "0.3", 1.0: "1", 3.0: "3", 10.0: "10"}
    panels = []
    for critic in (critic for critic in CRITICS if any(key[0] == critic for key in records)):
        for arm, name in [(arm, "value_error") for arm in ARMS[1:]] + [(arm, "planned") for arm in ARMS]:
            ratio, lines = name == "value_error", {}
            for number in NUMBERS:
                cells = [(compared if ratio else column)(records, critic, number, size, arm, name) for size in sizes]
                lines[f"{number} distractors"] = [report.resampled(cell) if len(cell) else None for cell in cells]
            title = f"{arm}, {critic} critic: " + ("value error / mse's" if ratio else "planned return")
            scale = {"levels": levels, "line": 1.0} if ratio else {}
            curves = figures.curves(lines)
            panels.append(figures.Panel(title, "units in hidden layers", "", curves, sizes, None, **scale))  # type: ignore[arg-type]
    return figures.draw(panels, columns=5)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page, and the figure if there is anything to show."""
    return {".md": page(records)} | ({".svg": figure(records)} if records else {})


STUDY = harness.Study("pendulum-capacity", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=BLOCK)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
