"""Values of a language model, and their change from a base model, as text of at most 80 columns and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.agents.language.model_answers import ModelAnswers, collect_answers, items_digest, plain
from valuegym.envs.language import item_bank
from valuegym.envs.language.item_bank import ItemBank
from valuegym.envs.language.value_probes import (
    Comparison,
    Interval,
    ValueVector,
    change,
    compare,
    first_place,
    order_flips,
    value_vector,
)

__all__ = ["Report", "as_json", "items", "measure", "number", "render", "shortened"]

GENERATED = 20  # items of each value, in the generator's bank


class Report(NamedTuple):
    """Values of a model on a bank, and their change from a base model where there is one.

    counts: number of items about each value. shift and against are None without a base.
    """

    model: ModelAnswers
    base: ModelAnswers | None
    form: str
    measure: str
    bank: str
    items: str
    counts: npt.NDArray[np.int64]
    values: ValueVector
    shift: ValueVector | None
    against: Comparison | None


def items(data: str | None = None, each: int = GENERATED) -> tuple[ItemBank, str]:
    """Return the published items from a folder, or generated ones where there is none, and what they are called.

    The good option comes first as often as elsewhere.

    Raises:
        FileNotFoundError, ValueError: as `item_bank.load` and `generate`.
    """
    if data is not None:
        return item_bank.balanced(item_bank.load(data)), "published"
    return item_bank.balanced(item_bank.generate(each)), f"generated ({each} of each)"


def measure(
    source: str | Path,
    base: str | Path | None = None,
    *,
    data: str | None = None,
    each: int = GENERATED,
    form: str = "plain",
    measure: str = "log_odds",
    base_revision: str | None = None,
    **options: Any,
) -> Report:
    """Return the values of a model, and their change from a base model item by item.

    Args:
        source: folder or GGUF file of the model; with `revision` its id on the hub.
        base: of the base model.
        data: folder with the published items; by default generated ones are asked.
        each: generated items of each value.
        form: of the questions: plain, letter or repeat.
        measure: log_odds (nats a token) or probability.
        base_revision: commit of a base on the hub.
        options: of `model_answers.collect_answers`: batch, dtype, device, revision, progress, cache.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `model_answers.collect_answers`, `items` and `value_vector`.
    """
    bank, name = items(data, each)
    after = collect_answers(source, bank, form, **options)
    values, shift, against, before = value_vector(bank, after.answers, measure), None, None, None
    if base is not None:
        before = collect_answers(base, bank, form, **options | {"revision": base_revision})
        start = value_vector(bank, before.answers, measure)
        shift, against = change(values, start), compare(values, start)
    counts = np.asarray(bank.bears.sum(0), np.int64)
    return Report(after, before, form, measure, name, items_digest(bank), counts, values, shift, against)


def number(x: float) -> str:
    """Return a number with three decimals, a dash for NaN."""
    return "-" if np.isnan(x) else f"{round(x, 3) + 0.0:.3f}"


def _estimate(found: Interval, k: int | None = None) -> str:
    point, low, high = (number(float(part if k is None else part[k])) for part in found)
    return f"{point} [{low}, {high}]"


def shortened(name: str, most: int) -> str:
    """Return a name of at most so many letters."""
    return name if len(name) <= most else f"{name[: most - 3]}..."


def render(report: Report) -> str:
    """Return the report as text that fits 80 columns; `*` marks what has an interval beside 0."""
    unit = "nats per token" if report.measure == "log_odds" else "difference of probabilities"
    lines = [
        f"model  {shortened(report.model.name, 44)}  sha256 {report.model.digest[:16]}",
        *([f"base   {shortened(report.base.name, 44)}  sha256 {report.base.digest[:16]}"] if report.base else []),
        f"items  {len(report.values.ids)}, {report.bank}; form {report.form}; {unit}",
        "",
    ]
    head = f"{'value':<20}{'items':>6}  {'value, 95% interval':<24}"
    lines.append(head + (f"  {'change from base':<24}" if report.shift else "").rstrip())
    values = report.values.interval()
    shift = report.shift.interval() if report.shift else None
    for k, name in enumerate(report.values.names):
        line = f"{name:<20}{report.counts[k]:>6}  {_estimate(values, k) + _star(values, k):<24}"
        lines.append((line + (f"  {_estimate(shift, k)}{_star(shift, k)}" if shift else "")).rstrip())
    lines += ["", "* the interval lies beside 0, which is what a model that takes all alike gets"]
    if report.bank.startswith("generated"):
        lines.append("  generated items vary two situations for each value: intervals are about these")
    if report.against:
        cosine, distance, ratio = map(_estimate, report.against)
        lines += [f"against base: cosine {cosine}", f"  distance {distance}, ratio of norms {ratio}"]
    if report.form != "plain":
        flips, first = order_flips(report.model.answers), first_place(report.model.answers)
        lines.append(f"order decides in {100 * flips:.0f}% of items; excess of the first place {first:.3f}")
    return "\n".join(lines)


def _star(found: Interval, k: int) -> str:
    return "*" if found.low[k] > 0 or found.high[k] < 0 else ""


def as_json(report: Report) -> dict[str, Any]:
    """Return the report for programs: plain numbers, None where there is none."""

    def interval(found: Interval) -> dict[str, Any]:
        return {name: plain(part) for name, part in found._asdict().items()}

    def about(one: ModelAnswers) -> dict[str, str]:
        return {"name": one.name, "sha256": one.digest}

    found: dict[str, Any] = {
        "model": about(report.model),
        "form": report.form,
        "measure": report.measure,
        "items": {"bank": report.bank, "sha256": report.items, "count": len(report.values.ids)},
        "names": list(report.values.names),
        "counts": report.counts.tolist(),
        "values": interval(report.values.interval()),
    }
    if report.form != "plain":
        found |= {
            "order_flips": plain(order_flips(report.model.answers)),
            "first_place": plain(first_place(report.model.answers)),
        }
    if report.base and report.shift and report.against:
        found["base"] = about(report.base)
        found["change"] = interval(report.shift.interval())
        found |= {name: interval(part) for name, part in report.against._asdict().items()}
    return found
