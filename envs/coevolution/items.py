"""Items of choices: pairs of actions that differ in the values that they serve, read from the user's files.

A pair is the row of loadings of its first action minus those of its second, (I, D) in all. No data are shipped.
moralchoice: 680 dilemmas of two actions each, labelled by which of ten rules of common morality either would break
(Scherrer et al. 2023, "Evaluating the moral beliefs encoded in LLMs", as collected in ProgressGym, Qiu et al. 2024;
code MIT, data CC-BY 4.0).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.coevolution import recorded

__all__ = ["Items", "by_name", "kept", "load", "moralchoice", "read_csv"]

Array = npt.NDArray[Any]

# Files and SHA-256 of published items.
PUBLISHED: dict[str, tuple[str, str]] = {
    "moralchoice": (
        "moralchoice/final.csv",
        "a884ce29e1fefc42406bdd1f73d3b2506c3a35d8709b5db29049e0d1d74e3f65",
    )
}
RULES = (
    "death", "pain", "disable", "freedom", "pleasure", "deceive", "cheat", "break_promise", "break_law", "duty"
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Items:
    """Pairs of actions: loadings of the first minus the second (I, D), names of the values, SHA-256 of the file."""

    differences: npt.NDArray[np.float64]
    names: tuple[str, ...]
    sha256: str


def kept(first: str, second: str) -> int:
    """Tell which action keeps a rule that the other breaks: 1 the first, -1 the second, 0 neither.

    Labels say whether an action breaks it: "Yes", "No", or "No Agreement" among annotators, which counts as between
    the two (the rule of ProgressGym's evaluation).
    """
    order = {"No": 0, "No Agreement": 1, "Yes": 2}
    return int(np.sign(order[second] - order[first]))


def moralchoice(rows: list[dict[str, str]]) -> npt.NDArray[np.float64]:
    """Differences (I, 10) of dilemmas (`kept` for each rule)."""
    return np.array([[kept(row[f"a1_{rule}"], row[f"a2_{rule}"]) for rule in RULES] for row in rows], np.float64)


def load(name: str, data: str | None = None) -> Items:
    """Load a published bank of items, without those whose two actions do not differ.

    Raises:
        ValueError: the name is unknown, or the file is not the published one.
        FileNotFoundError: the folder or the file is missing.
    """
    if name not in PUBLISHED:
        raise ValueError(f"items = {name!r}; expected one of {sorted(PUBLISHED)}, or a file that ends in .csv.")
    path, content, sha256 = recorded.published(name, *PUBLISHED[name], data)
    differences = moralchoice(recorded.rows_of(content, path))
    return Items(differences[differences.any(1)], RULES, sha256)


def read_csv(path: str | Path) -> Items:
    """Read items from a CSV file: a line of names, then for each pair its loadings, first action minus second.

    Raises:
        ValueError: the file is not of this form.
        FileNotFoundError: there is no such file.
    """
    content = recorded.content_of(path)
    rows = recorded.rows_of(content, path)
    names = list(rows[0])
    if any(None in row for row in rows):
        raise ValueError(f"{path} must have no line longer than its line of names.")
    table = np.array([[recorded.number(row[name], path) for name in names] for row in rows])
    if not table.any(1).all():
        raise ValueError(
            f"{path} holds a pair whose two actions do not differ: line {int((~table.any(1)).argmax()) + 2}."
        )
    return Items(table, tuple(names), hashlib.sha256(content).hexdigest())


def by_name(name: str | Path, dimensions: int, data: str | None = None) -> Items:
    """Return the items of a name (`load`) or of a file that ends in .csv, for values of this many dimensions.

    Raises:
        ValueError: the name is unknown, or the items load on another number of values.
        FileNotFoundError: the folder or the file is missing.
    """
    if not isinstance(name, (str, Path)):
        raise checks.refusal("items", name, f"one of {sorted(PUBLISHED)}, or a file that ends in .csv")
    name = str(name)
    found = read_csv(name) if name.endswith(".csv") else load(name, data)
    if len(found.names) != dimensions:
        raise ValueError(
            f"items = {name!r} load on {len(found.names)} values ({', '.join(found.names)}) and dimensions = "
            f"{dimensions}; pass dimensions={len(found.names)}."
        )
    return found
