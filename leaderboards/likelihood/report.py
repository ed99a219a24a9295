"""The human-likelihood track as a page: `valuegym likelihood` writes human-likelihood.md and human-likelihood.svg."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from valuegym.envs.preference import datasets, subjective_utility
from valuegym.leaderboards.likelihood import model
from valuegym.leaderboards.likelihood.model import Floats, HeldOut, Pairs

__all__ = [
    "Result",
    "evaluate",
    "plot",
    "render",
    "run",
]

REFERENCE, OURS = "three free weights", "subjective utility"
ALIKE = model.THREE_ALIKE.name
NESTED = f"{OURS}, chosen terms"
DEVELOPED_ON = "Privileged-Control"
NAME = "human-likelihood"
# What follows from the weights (columns as in subjective_utility.TERMS): name, numerator, denominator, the reading.
READINGS = (
    (
        "small money",
        (1, 0, 0, 1, 0, 0, 0),
        (1, 0, 0, 0, 0, 0, 0),
        "dollars of expected final return that a dollar on the way is worth",
    ),
    (
        "brick",
        (2, 0, 0, 2, 0, 0, 0),
        (1, 0, 0, 1, 1, 0, 0),
        "price of brick in steps on road; the rules say 2",
    ),
    ("start", (0, 1, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0, 0), "share of a head start taken off; regret says 1"),
)


class Result(NamedTuple):
    """Results of one condition: everything that the page says about it.

    rows, ablations: name -> predictions on folds grouped by unique pair; by_row: name -> mean loss on folds of single
    rows; weights: as `model.parameters` returns them.
    """

    data: Pairs
    rows: dict[str, HeldOut]
    by_row: dict[str, float]
    ablations: dict[str, HeldOut]
    weights: Floats

    def gain(self, held: HeldOut) -> tuple[float, float, float]:
        """Return the paired gain over the three free weights: point, low, high in nats."""
        return model.paired_gain(self.rows[REFERENCE], held, self.data.group)


def evaluate(data: Pairs) -> Result:
    """Cross-validate every model on one condition."""
    grouped = {name: model.cross_validate(models, data) for name, (models, _) in model.ROWS.items()}
    by_row = {
        name: model.cross_validate(models, data, grouped=False).mean
        for name, (models, _) in model.ROWS.items()
        if name != NESTED
    }
    ablations = {one.name: model.cross_validate([one], data) for one in model.ABLATIONS}
    return Result(data, grouped, by_row, ablations, model.parameters(data))


def run(data: str | None, conditions: Sequence[str] | None, output: str, unverified: bool = False) -> str:
    """Evaluate conditions (default: all that the folder holds) and write the page and its figure; returns the page.

    unverified: also conditions of which nothing but the names of their files is known (`datasets.load`).

    Raises:
        FileNotFoundError: where the folder holds none of the conditions.
        ImportError: if matplotlib is not installed.
        ValueError: for files that are not the published ones, or a condition with fewer pairs than folds.
    """
    names = list(conditions or datasets.present(data, unverified))
    if not names:
        raise FileNotFoundError(f"{datasets.find(data)} holds none of the conditions {sorted(datasets.CONDITIONS)}.")
    loaded = [model.pairs(datasets.load(name, data, unverified)) for name in names]
    for one in loaded:
        if (unique := len(np.unique(one.group))) < model.FOLDS:
            raise ValueError(f"Condition {one.condition} has {unique} unique pairs; expected at least {model.FOLDS}.")
    results = [evaluate(one) for one in loaded]
    page, folder = render(results), Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in ((folder / f"{NAME}.md", page), (folder / f"{NAME}.svg", plot(results))):
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    return page


# --- the page ---


def render(results: Sequence[Result]) -> str:
    """Render the page as Markdown."""
    conditions = [result.data.condition for result in results]
    head = ["model", "parameters", *conditions]
    losses = [
        [name, str(count), *(f"{result.rows[name].mean:.4f}" for result in results)]
        for name, (_, count) in model.ROWS.items()
    ]
    ends = [
        ["uninformed (ln 2)", "0", *[f"{model.UNINFORMED:.4f}"] * len(results)],
        ["floor (0.5 on ties, certain elsewhere)", "", *(f"{model.floor(r.data.labels):.4f}" for r in results)],
    ]
    gains = [
        [
            r.data.condition,
            str(len(r.data.labels)),
            f"{r.rows[REFERENCE].mean:.4f}",
            f"{r.rows[ALIKE].mean:.4f}",
            f"{r.rows[OURS].mean:.4f}",
            _interval(*r.gain(r.rows[OURS])),
            _interval(*model.paired_gain(r.rows[ALIKE], r.rows[OURS], r.data.group)),
            _rounded(model.without_best(r.rows[ALIKE], r.rows[OURS]), 4, "+"),
        ]
        for r in results
    ]
    titles = [
        "condition",
        "answers",
        REFERENCE,
        ALIKE,
        OURS,
        "gain",
        "gain, prior and lapse alike",
        "without one answer",
    ]
    parts = [
        "# How well preference models predict people",
        "Written by `valuegym likelihood --data FOLDER`; do not edit. Negative log-likelihood in nats per answer on "
        f"answers held out ({model.FOLDS}-fold, mean of {model.PARTITIONS} partitions, a tie is the label "
        "0.5, no fold shares a pair of segments with another). Everything fitted or chosen is so inside the training "
        "folds. Lower is better.",
        f"![Held-out loss of every model in every condition]({NAME}.svg)",
        "Bars: 95% intervals over unique pairs. Orange line: three free weights. Dashed: the floor and ln 2.",
        _table(head, [ends[0], *losses, ends[1]]),
        f"## {OURS.capitalize()} against {REFERENCE}",
        "Paired gain in nats and its 95% interval (bootstrap over unique pairs of segments). The model was developed "
        f"on {DEVELOPED_ON} and fixed before any other condition was scored. Three free weights have neither a prior "
        f'nor a lapse; "{ALIKE}" have those of the {OURS}, so that the gain over them is that of its terms. Last '
        "column: that gain without the single answer at which it is largest.",
        _table(titles, gains),
        *(_frozen(results) if len(results) > 1 else ()),
        *(part for result in results for part in _condition(result)),
    ]
    return "\n\n".join(parts) + "\n"


def _frozen(results: Sequence[Result]) -> list[str]:
    """Render gains on one condition of models that were fitted to another."""
    data = [result.data for result in results]
    rows = [
        [source.condition, *("" if target is source else _between(source, target) for target in data)]
        for source in data
    ]
    return [
        "### Fitted to one condition, frozen, and scored on another",
        f"Paired gain of the {OURS} over {ALIKE} in nats, with 95% intervals over the unique pairs of the condition "
        "that is scored. Rows: the condition that both were fitted to, all of its answers. Columns: the one scored.",
        _table(["fitted to", *(one.condition for one in data)], rows),
    ]


def _between(source: Pairs, target: Pairs) -> str:
    point, low, high = model.frozen_gain(model.THREE_ALIKE, model.SUBJECTIVE_UTILITY, source, target)
    return _interval(point, low, high)


def _condition(result: Result) -> list[str]:
    data = result.data
    rows = [
        [
            name,
            "" if name == NESTED else f"{result.by_row[name]:.4f}",
            f"{held.mean:.4f}",
            "" if name == REFERENCE else _interval(*result.gain(held)),
            f"{held.accuracy:.3f}",
            f"{np.mean([model.calibration_error(p, data.labels) for p in held.probability]):.3f}",
        ]
        for name, held in result.rows.items()
    ]
    ours = result.rows[OURS]
    ablations = [
        [name, f"{held.mean:.4f}", _interval(*model.paired_gain(held, ours, data.group))]
        for name, held in result.ablations.items()
    ]
    ties = float((data.labels == 0.5).mean())
    return [
        f"## {data.condition}",
        f"{len(data.labels)} answers about {data.group.max() + 1} unique pairs; {100 * ties:.1f}% ties."
        + ("" if data.condition in datasets.CONDITIONS else " None of the published conditions known by their hash."),
        _table(["model", "by row", "by pair", "gain over three weights", "accuracy", "ECE"], rows),
        "By row: folds of single answers, as the literature has it. Accuracy: ties are a class, predicted within a "
        "band of log-odds fitted on training folds. ECE: expected calibration error, ten bins."
        + (f" Forms chosen inside the folds: {_tally(result.rows[NESTED].chosen)}." if NESTED in result.rows else ""),
        _table(["subjective utility", "loss", "what the term is worth"], ablations),
        _table(["parameter", "fitted to all answers", "unit"], _parameters(result)),
        _table(["reading", "value", "meaning"], _readings(result)),
    ]


def _tally(names: Sequence[str]) -> str:
    """Count how often each name occurs, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common())


def _parameters(result: Result) -> list[list[str]]:
    units = [f"log-odds {unit}" for unit in subjective_utility.UNITS]
    names = [*(term.replace("_", " ") for term in subjective_utility.TERMS), "lapse"]
    used = np.append(np.abs(model.SUBJECTIVE_UTILITY.differences(result.data)).max(0) > 0, True)
    return [
        [name, _with_interval(column) if there else "not in these pairs", unit]
        for name, column, there, unit in zip(names, result.weights.T, used, [*units, "share of answers"], strict=True)
    ]


def _readings(result: Result) -> list[list[str]]:
    weights = result.weights[:, :-1]
    there = np.abs(model.SUBJECTIVE_UTILITY.differences(result.data)).max(0) > 0
    lines = []
    for name, above, below, meaning in READINGS:
        ratio = (weights @ np.array(above)) / (weights @ np.array(below))
        present = there[np.array(above) > 0].all()
        lines.append([name, _with_interval(ratio) if present else "not in these pairs", meaning])
    return lines


def _with_interval(values: Floats) -> str:
    """Render the first value and the 95% interval of the others."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{_rounded(values[0], 2)} [{_rounded(low, 2)}, {_rounded(high, 2)}]"


def _interval(point: float, low: float, high: float) -> str:
    return f"{_rounded(point, 4, '+')} [{_rounded(low, 4, '+')}, {_rounded(high, 4, '+')}]"


def _rounded(value: float, digits: int, sign: str = "") -> str:
    """Round a number, without a minus before zero."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- the figure ---


def plot(results: Sequence[Result]) -> str:
    """Draw held-out losses as an SVG, a panel for each condition: the same results give the same bytes."""
    import io

    import matplotlib
    from matplotlib.figure import Figure

    ink, muted, faint, accent = "#1f2430", "#7a8190", "#e3e6eb", "#c2410c"
    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "valuegym",
        "text.color": ink,
        "text.parse_math": False,
        "xtick.color": muted,
        "ytick.color": ink,
        "axes.edgecolor": faint,
    }
    names = list(model.ROWS)
    columns = min(3, len(results))
    lines = -(-len(results) // columns)
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(2.4 + 2.5 * columns, 0.5 + 2.9 * lines), facecolor="white")
        panels: Any = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for i, axes in enumerate(panels.flat):
            if i >= len(results):
                axes.axis("off")
                continue
            result = results[i]
            bottom = model.floor(result.data.labels)
            axes.axvspan(0, bottom, color=faint, linewidth=0, alpha=0.6)
            for x in (bottom, model.UNINFORMED):
                axes.axvline(x, color=muted, linewidth=1, dashes=(4, 3))
            axes.axvline(result.rows[REFERENCE].mean, color=accent, linewidth=0.8, alpha=0.5)
            for y, name in enumerate(names):
                held = result.rows[name]
                means = model.group_means(held.loss.mean(0), result.data.group, 1000, 0)
                colour = accent if name.startswith(OURS) else ink
                axes.plot(np.quantile(means, [0.025, 0.975]), [y, y], color=colour, alpha=0.3, linewidth=5)
                axes.plot([held.mean], [y], "o", color=colour, markersize=4.5)
            axes.set_title(result.data.condition, loc="left", fontsize=10, color=ink)
            axes.set(xlim=(0, 0.72), ylim=(len(names) - 0.4, -0.6))
            axes.set_xticks([0, 0.2, 0.4, 0.6])
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(length=0)
            for side in ("top", "right", "left"):
                axes.spines[side].set_visible(False)
        first = panels[0, 0]
        bottom = model.floor(results[0].data.labels)
        first.text(bottom + 0.012, 0.05, "floor", color=muted, fontsize=8)
        first.text(model.UNINFORMED - 0.012, len(names) - 1, "ln 2", color=muted, fontsize=8, ha="right", va="center")
        figure.supxlabel("negative log-likelihood of held-out answers, nats", fontsize=9, color=ink)
        figure.tight_layout()
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Creator": None, "Date": None})
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines()) + "\n"
