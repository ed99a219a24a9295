"""What `studies.py` writes: all scores in a compact form, and from them alone the tables and plots of docs/results.

A compact file has one JSON line for each annotator, learner and number of preferences: "scores" holds [unit, scores of
its parts] with null where a part is missing. Scores are cut, not rounded, to three decimals, so that none becomes
near-optimal by rounding.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from valuegym.leaderboards.stats.bootstrap import mean, stratified_bootstrap

NEAR_OPTIMAL = 0.9
Scores = dict[tuple[str, str, int], dict[tuple[int, int], float]]  # (annotator, learner, n) -> (unit, part) -> score

NAMES = {
    "partial_return": "partial return",
    "regret": "regret",
    "partial_return:likelihood": "partial return, maximum likelihood",
    "regret:likelihood": "regret, maximum likelihood",
    "bayes_partial_return": "Bayesian partial return",
    "bayes_regret": "Bayesian regret",
    "regret_library:nine-values": "regret, library of nine values",
    "regret_library:true-values": "regret, library of the true values",
}
COLOURS = dict(
    zip(NAMES, ("#d98c00", "#3b75af", "#f0c987", "#9cc3e6", "#a05195", "#0b7a4b", "#999999", "#222222"), strict=True)
)
TITLES = {
    "regret-noiseless": "answers by regret, noiseless",
    "regret": "answers by regret, Boltzmann",
    "partial-return-noiseless": "answers by partial return, noiseless",
    "partial-return": "answers by partial return, Boltzmann",
}

NEAR_OPTIMAL_PAGE = f"""# Near-optimal shares on random tasks

Written by `python benchmarks/studies.py near-optimal`; do not edit. Share of fits whose optimal policy scores at least
{NEAR_OPTIMAL} under the true reward (0 is uniformly random play, 1 is optimal), against the number of preferences.
Tasks are of the split "test" of `RewardInference-v0`; seeds draw other pairs and other answers for the same task.
Seeds are fewer where fits are costly; a column says how many each figure rests on, in the order of the learners where
they differ. Brackets: 95% bootstrap intervals over tasks. All scores: [near-optimal.jsonl](near-optimal.jsonl).

![Near-optimal shares against preferences](near-optimal.svg)

Prior, particles and answer of the Bayesian learners were fixed on tasks of the split "dev" before the tasks here were
drawn.
"""
PUBLISHED_SETTING = """## Beside the published setting

Knox et al. (2024) test on 100 random tasks of their generator; 50 of them are public. An earlier reimplementation of
their learners on those 50 boards, one seed, gave for regret with exact values .96 to .98 near-optimal from 100
preferences on, and for partial return .84 to .92 at 1000, each on answers of its own kind. What differs here:

- Tasks: boards and weights come from the same generator, but which terminal item and which road item is the good one
  is drawn anew, and features are permuted and flipped, so that no prior of a learner can know them.
- Pairs: start cells and actions are drawn uniformly for every pair. The published sets hold each distinct pair of
  segments once and are subsampled, so that frequent segments, such as bumps into the edge, are shown less often there.
- Sums are discounted in every statistic (the published code mixes undiscounted partial returns with values at discount
  .999), and transitions into terminal cells count in full.
- Learners: maximum likelihood there (Adam, one start), here a Gaussian prior of standard deviation 10 and several
  starts. With few preferences the prior is most of what a learner has, so the figures are hardly comparable there.
"""
STORED = """## The stored boards of the publication

The same learners on the 50 public boards with their published weights, features in their published order and with
their published signs, one seed. Pairs are drawn as above, not taken from the published sets.
"""
PEOPLE_PAGE = f"""# Rewards from people's answers

Written by `python benchmarks/studies.py people --data FOLDER`; do not edit. The answers of one condition are shuffled
and cut into disjoint partitions; every partition is learnt from on its own. Share of partitions whose optimal policy
scores at least {NEAR_OPTIMAL} on the delivery task; brackets: 95% bootstrap intervals over whole shuffles, where
there is more than one. Shuffles share the same answers, so intervals tell how far the figures depend on how the
answers were divided, not on which people were asked. All scores: [people.jsonl](people.jsonl).

![Near-optimal shares against answers in a partition](people.svg)

The Bayesian learners have the prior that they have everywhere: independent weights, fair signs, magnitudes log-uniform
from 0.1 to 100, the same for every feature. It is exchangeable over features and signs, and was fixed on simulated
tasks before any person's answer was seen. Of the libraries, that of the true values holds the delivery task's own
weights and with them the answer; it stands here to show what that is worth. "Maximum likelihood" and the libraries have
a prior so wide that it says nothing, as published; partial return and regret without these words have independent
normal weights of standard deviation 10 in units of the answers' noise. That is too narrow for people: no answer is in
favour of a sheep, so its weight should be far below all others, and the prior keeps it near.

**What the data guarantees.** The publishers' attention filter removed everyone who ever preferred a segment that hits
a sheep to one that does not, or called them equal: all 163 answers about such pairs in Privileged-Control avoid it,
none is a tie. So the answers are guaranteed to avoid the sheep, the costliest mistake on this board, and no learner
here has to find that out from people who disagree.
"""


def compact(scores: dict[tuple[str, str, int, int, int], float]) -> str:
    """All scores as JSON lines."""
    groups: dict[tuple[str, str, int], dict[int, dict[int, float]]] = {}
    for (annotator, learner, n, unit, part), score in scores.items():
        groups.setdefault((annotator, learner, n), {}).setdefault(unit, {})[part] = score
    lines = []
    for (annotator, learner, n), units in sorted(groups.items()):
        cut = [
            [unit, [math.floor(parts[p] * 1000 + 1e-9) / 1000 if p in parts else None for p in range(max(parts) + 1)]]
            for unit, parts in sorted(units.items())
        ]
        row = {"annotator": annotator, "learner": learner, "preferences": n, "scores": cut}
        lines.append(json.dumps(row, separators=(",", ":")) + "\n")
    return "".join(lines)


def read(text: str) -> Scores:
    """The inverse of `compact`."""
    found: Scores = {}
    for row in map(json.loads, text.splitlines()):
        found[row["annotator"], row["learner"], row["preferences"]] = {
            (unit, part): score
            for unit, parts in row["scores"]
            for part, score in enumerate(parts)
            if score is not None
        }
    return found


def shares(scores: dict[tuple[int, int], float], only: Iterable[tuple[int, int]] | None = None) -> Any:
    """Share near-optimal of each unit's parts, of all or of `only` some: (units,)."""
    parts: dict[int, list[bool]] = {}
    for key in sorted(scores if only is None else only):
        parts.setdefault(key[0], []).append(scores[key] >= NEAR_OPTIMAL)
    return np.array([np.mean(near) for near in parts.values()])


def interval(by_unit: Any) -> tuple[float, float, float]:
    """Mean over units with its 95% bootstrap interval over whole units."""
    low, high = stratified_bootstrap(np.asarray(by_unit)[:, None], mean, np.random.default_rng(0))
    return float(np.mean(by_unit)), low, high


def cell(by_unit: Any) -> str:
    """An interval in a table; a single unit has none."""
    point, low, high = interval(by_unit)
    return f"{point:.3f} ({low:.3f} to {high:.3f})" if len(by_unit) > 1 else f"{point:.3f}"


def paired(scores: Scores, first: tuple[str, str, int], second: tuple[str, str, int]) -> tuple[Any, Any] | None:
    """Shares (units,) of two groups on the units and parts that both have."""
    if first not in scores or second not in scores:
        return None
    both = scores[first].keys() & scores[second].keys()
    return (shares(scores[first], both), shares(scores[second], both)) if both else None


def difference(scores: Scores, first: tuple[str, str, int], second: tuple[str, str, int]) -> str:
    """The paired difference of two groups in a table."""
    found = paired(scores, first, second)
    if found is None:
        return ""
    point, low, high = interval(found[0] - found[1])
    return f"{point:+.3f} ({low:+.3f} to {high:+.3f})" if len(found[0]) > 1 else f"{point:+.3f}"


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Markdown lines."""
    return [f"| {' | '.join(head)} |", "| --- " * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def numbers(scores: Scores, annotator: str) -> list[int]:
    """Of preferences that were asked of an annotator."""
    return sorted({n for name, _, n in scores if name == annotator})


def count(scores: Scores, annotator: str, learner: str, n: int) -> str:
    """Units and their parts, as "100 x 10"."""
    keys = scores.get((annotator, learner, n), {})
    units = {unit for unit, _ in keys}
    return f"{len(units)} x {len(keys) / len(units):.3g}" if units else ""


def share_table(scores: Scores, annotator: str, learners: list[str], pairs: list[tuple[str, str]]) -> list[str]:
    """Near-optimal shares of learners against preferences, and paired differences."""
    learners = [name for name in learners if any(key[:2] == (annotator, name) for key in scores)]
    head = ["preferences", "tasks x seeds", *(NAMES[name] for name in learners)]
    head += [f"{NAMES[a]} - {NAMES[b]}" for a, b in pairs]
    rows = []
    for n in numbers(scores, annotator):
        found = [scores.get((annotator, name, n)) for name in learners]
        if any(found):
            rows.append(
                [
                    str(n),
                    " / ".join(dict.fromkeys(filter(None, (count(scores, annotator, name, n) for name in learners)))),
                ]
                + [cell(shares(group)) if group else "" for group in found]
                + [difference(scores, (annotator, a, n), (annotator, b, n)) for a, b in pairs]
            )
    return table(head, rows) if rows else []


def own(annotator: str) -> list[str]:
    """The learners that believe what the annotator does."""
    what = "partial_return" if annotator.startswith("partial-return") else "regret"
    return [what, f"{what}:likelihood", f"bayes_{what}"]


def near_optimal_page(scores: Scores, stored: Scores) -> str:
    """docs/results/near-optimal.md."""
    lines = [NEAR_OPTIMAL_PAGE, "## Learners that believe what the annotator does", ""]
    for annotator, title in TITLES.items():
        point, _, bayes = own(annotator)
        rows = share_table(scores, annotator, own(annotator), [(bayes, point)])
        lines += [f"### {title[0].upper()}{title[1:]}", "", *rows] if rows else []
    lines += ["## Regret against partial return, each on answers of its own kind", ""]
    lines += [
        "Paired differences on the same tasks and pairs of segments; only what the annotator compares differs.",
        "",
    ]
    head, rows = ["preferences"], []
    kinds = [
        (f"{a}{noise}", f"{b}{noise}", left, right)
        for noise in ("-noiseless", "")
        for a, b, left, right in (
            ("regret", "partial-return", "regret", "partial_return"),
            ("regret", "partial-return", "regret", "partial_return:likelihood"),
            ("regret", "partial-return", "bayes_regret", "bayes_partial_return"),
        )
    ]
    for a, _, left, right in kinds:
        head.append(f"{NAMES[left]} - {NAMES[right]}, {'noiseless' if a.endswith('noiseless') else 'Boltzmann'}")
    for n in sorted({n for _, _, n in scores}):
        rows.append([str(n), *(difference(scores, (a, left, n), (b, right, n)) for a, b, left, right in kinds)])
    lines += table(head, rows)
    other: list[str] = []
    for annotator, title in TITLES.items():
        others = [name for name in NAMES if name not in own(annotator) and "library" not in name]
        rows = share_table(scores, annotator, others, [])
        other += [f"### {title[0].upper()}{title[1:]}", "", *rows] if rows else []
    if other:
        lines += ["## Learners that believe something else", ""]
        lines += ["The seeds are fewer: they show the cost of the wrong model, not the size of small differences.", ""]
    lines += other
    lines += verdicts(scores)
    lines += [PUBLISHED_SETTING]
    if stored:
        lines += [STORED]
        for annotator, title in TITLES.items():
            rows = share_table(stored, annotator, own(annotator), [(own(annotator)[2], own(annotator)[0])])
            lines += [f"### {title[0].upper()}{title[1:]}", "", *rows] if rows else []
    return "\n".join(lines).rstrip() + "\n"


def verdicts(scores: Scores) -> list[str]:
    """The claims, decided by the figures above."""
    lines = ["## Claims", ""]
    for annotator in ("regret-noiseless", "regret"):
        group = scores.get((annotator, "bayes_regret", 30))
        if group:
            point, low, high = interval(shares(group))
            verdict = "holds" if point >= 0.95 else "fails"
            lines.append(
                f"- Bayesian regret is at least .95 near-optimal at 30 preferences, {TITLES[annotator]}: {verdict}, "
                f"{point:.3f} ({low:.3f} to {high:.3f})."
            )
    worse, compared = [], 0
    for annotator in TITLES:
        for n in numbers(scores, annotator):
            found = paired(scores, (annotator, "bayes_regret", n), (annotator, "regret", n))
            if found is not None and annotator in ("regret", "regret-noiseless"):
                compared += 1
                if interval(found[0] - found[1])[2] < 0:
                    worse.append(f"{TITLES[annotator]}, {n} preferences")
    lines.append(
        f"- Bayesian regret is significantly worse than regret (interval below 0) in {len(worse)} of {compared} "
        f"comparisons on answers by regret{': ' + '; '.join(worse) if worse else ''}."
    )
    return [*lines, ""]


def people_page(scores: Scores) -> str:
    """docs/results/people.md."""
    learners = [name for name in NAMES if any(key[1] == name for key in scores)]
    lines = [PEOPLE_PAGE]
    for annotator in sorted({key[0] for key in scores}):
        lines += [f"## {annotator}", ""]
        rows = []
        for n in numbers(scores, annotator):
            for name in learners:
                group = scores.get((annotator, name, n))
                if group:
                    rows.append(
                        [
                            str(n),
                            NAMES[name],
                            count(scores, annotator, name, n),
                            cell(shares(group)),
                            f"{np.mean(list(group.values())):.3f}",
                        ]
                    )
        lines += table(["answers", "learner", "shuffles x partitions", "near-optimal", "mean score"], rows)
        lines += ["### Paired differences", "", "p: Wilcoxon's signed-rank test over shuffles, two-sided.", ""]
        rows = []
        for n in numbers(scores, annotator):
            for other in learners:
                found = paired(scores, (annotator, "bayes_regret", n), (annotator, other, n))
                if other != "bayes_regret" and found is not None:
                    rows.append(
                        [
                            str(n),
                            f"Bayesian regret - {NAMES[other]}",
                            difference(scores, (annotator, "bayes_regret", n), (annotator, other, n)),
                            f"{len(found[0])}",
                            wilcoxon(found[0] - found[1]),
                        ]
                    )
        lines += table(["answers", "difference", "near-optimal", "shuffles", "p"], rows)
    return "\n".join(lines).rstrip() + "\n"


def wilcoxon(differences: Any) -> str:
    """The p-value, if any differ and there are enough."""
    from scipy import stats

    if len(differences) < 5 or not np.any(differences):
        return ""
    return f"{stats.wilcoxon(differences, method='approx').pvalue:.2g}"


def plot(scores: Scores, panels: dict[str, str], labels: tuple[str, str], target: Path) -> None:
    """Shares with their intervals against preferences, one panel for each annotator."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels = {name: title for name, title in panels.items() if numbers(scores, name)}
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    with matplotlib.rc_context({"svg.hashsalt": "valuegym", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(max(4.8 * columns, 6.6) + 0.4, 3.3 * lines + 0.7), layout="constrained")
        every = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for axes, (annotator, title) in zip(every.flat, panels.items(), strict=False):
            for name, colour in COLOURS.items():
                curve = [
                    (n, *interval(shares(scores[annotator, name, n])))
                    for n in numbers(scores, annotator)
                    if (annotator, name, n) in scores
                ]
                if curve:
                    n, point, low, high = np.array(curve).T
                    believed = annotator not in TITLES or name in own(annotator)
                    axes.plot(
                        n, point, "-" if believed else ":", color=colour, marker="o", markersize=3.5, label=NAMES[name]
                    )
                    axes.fill_between(n, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.set_xscale("log")
            axes.set_xticks(numbers(scores, annotator), [f"{n:g}" for n in numbers(scores, annotator)])
            axes.minorticks_off()
            axes.set_ylim(0, 1.02)
            axes.set_title(title, fontsize=10)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlabel(labels[0])
        for axes in every[:, 0]:
            axes.set_ylabel(labels[1])
        handles = {
            label: Line2D([], [], color=line.get_color(), marker="o", markersize=3.5)
            for axes in every.flat
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if any(line.get_linestyle() == ":" for axes in every.flat for line in axes.get_lines()):
            handles["dotted: believes something else"] = Line2D([], [], color="grey", linestyle=":")
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        temporary = target.with_suffix(".part")
        figure.savefig(temporary, format="svg", metadata={"Date": None})
        os.replace(temporary, target)


def put(text: str, target: Path) -> None:
    """Write a file whole."""
    temporary = target.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, target)


def stored_scores(docs: Path, study: str) -> Scores:
    """What the compact file of a study holds; nothing if there is none."""
    path = docs / f"{study}.jsonl"
    return read(path.read_text()) if path.is_file() else {}


PAGES: dict[str, Callable[[Path], str]] = {
    "near-optimal": lambda docs: near_optimal_page(stored_scores(docs, "near-optimal"), stored_scores(docs, "stored")),
    "people": lambda docs: people_page(stored_scores(docs, "people")),
}


def write(study: str, scores: dict[tuple[str, str, int, int, int], float], docs: Path) -> None:
    """The compact file of a study, and its page and plot."""
    if scores:
        put(compact(scores), docs / f"{study}.jsonl")
    page = "near-optimal" if study == "stored" else study
    put(PAGES[page](docs), docs / f"{page}.md")
    shown = stored_scores(docs, page)
    panels = TITLES if page == "near-optimal" else {name: name for name in sorted({key[0] for key in shown})}
    if shown:
        labels = ("preferences" if page == "near-optimal" else "answers in a partition", "share near-optimal")
        plot(shown, panels, labels, docs / f"{page}.svg")
    print(docs / f"{page}.md")
