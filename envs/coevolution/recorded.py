"""Recorded paths of values, read from the user's folder and checked by content; no data are shipped.

history: five value scores of embeddings of nine centuries of text, digitised from a figure of ProgressGym (Qiu et al.
2024, https://github.com/PKU-Alignment/ProgressGym, MIT; data CC-BY 4.0), to about +-0.005. gss: shares of answers to
five questions of the General Social Survey (NORC), 1972 to 2024, as collected in MaxGhenis/value-forecasting.
"""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import keys

__all__ = ["PUBLISHED", "Recorded", "content_of", "hashes", "load", "number", "published", "read_csv", "rows_of"]

Array = npt.NDArray[Any]
Real = npt.NDArray[np.float64]

LARGEST = 1e6  # of numbers in files: sums of their squares are far from overflow
VARIABLE, FOLDER = "VALUEGYM_DATA", "progress_values"
# Files and SHA-256 of published paths.
PUBLISHED: dict[str, tuple[str, str]] = {
    "history": (
        "value_embeddings_digitized.csv",
        "ff6fc51b879bdccfa8abebb84e00c3e31ee3c1ae06ba8e0a50d218c9855f3f6b",
    ),
    "gss": ("gss_trends.csv", "0b0b15ad10d16319ea99956659aeecdea33602967ad8d4717cbebd8e178bc287"),
}


@dataclass(frozen=True, eq=False)
class Recorded:
    """One path: times (T,), values (T, V), the names of the values, and the SHA-256 of the file."""

    time: Real
    values: Real
    names: tuple[str, ...]
    sha256: str

    def check(self, steps: int, dimensions: int) -> None:
        """Check that a stretch of this length and width can be drawn.

        Raises:
            ValueError: the path is shorter or has other dimensions.
        """
        T, V = self.values.shape
        if steps > T or dimensions != V:
            raise ValueError(
                f"The recorded path has {T} times and {V} values ({', '.join(self.names)}); {steps} steps and "
                f"{dimensions} dimensions do not fit: choose at most {T} steps and {V} dimensions."
            )

    def draw(self, key: keys.Key, steps: int, dimensions: int) -> Real:
        """Draw a stretch of `steps` times for every key, (B, steps, dimensions); the whole path if it has that many.

        Raises:
            ValueError: the path is shorter or has other dimensions.
        """
        self.check(steps, dimensions)
        T = len(self.time)
        start = keys.integers(key, T - steps + 1, keys.RESET, 0)
        return self.values[start[:, None] + np.arange(steps)].copy()


def published(name: str, file: str, sha256: str, data: str | None) -> tuple[Path, bytes, str]:
    """Return path, content and SHA-256 of a published file.

    It lies in `data` or the folder that VALUEGYM_DATA names, or in the subfolder progress_values.

    Raises:
        ValueError: the file is not the published one, or `data` is no path.
        FileNotFoundError: the folder or the file is missing.
    """
    if not isinstance(data, (str, Path, type(None))):
        raise ValueError(f"data is {data!r}; expected the path of a folder, or None.")
    root = data or os.environ.get(VARIABLE)
    if not root:
        raise FileNotFoundError(f"{name!r} needs the folder it lies in: pass data=FOLDER or set {VARIABLE}.")
    for path in (Path(root) / FOLDER / file, Path(root) / file):
        if os.path.isfile(path):
            content = content_of(path)
            if hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError(f"{path} is not the published {name!r}: its SHA-256 differs.")
            return path, content, sha256
    raise FileNotFoundError(f"{file} is missing from {root} and its subfolder {FOLDER}.")


def content_of(path: str | Path) -> bytes:
    """Return the content of a file.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be read.
    """
    try:
        if os.path.isfile(path):
            return Path(path).read_bytes()
        reason = "there is no such file"
    except OSError as error:
        reason = str(error.strerror).lower()
    raise FileNotFoundError(f"{str(path)[:200]!r} cannot be read: {reason}.")


def rows_of(content: bytes, where: str | Path) -> list[dict[str, str]]:
    """Return the lines of a CSV file by the names in its first one.

    Raises:
        ValueError: the content is not CSV in UTF-8, names a column twice, or has no line below the names.
    """
    try:
        reader = csv.DictReader(content.decode("utf-8-sig").splitlines())
        rows, names = list(reader), list(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{where} is not a CSV file: {error}.") from None
    if len(set(names)) < len(names):
        raise ValueError(f"{where} names a column twice: {', '.join(names)}.")
    if not rows:
        raise ValueError(f"{where} holds no rows; expected a line of names and then one line for each time.")
    return rows


def number(text: str | None, where: str | Path) -> float:
    """Return a number from a file.

    Raises:
        ValueError: the text is not a number, or not one from -1,000,000 to 1,000,000.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if not abs(value) <= LARGEST:
        raise ValueError(f"{where} holds {text!r} where a number from {-LARGEST:.0f} to {LARGEST:.0f} is expected.")
    return value


def load(name: str, data: str | None = None) -> Recorded:
    """Load a published path.

    Answers to the survey are shares in [0, 1], interpolated linearly to every year from 1974 to 2018.

    Raises:
        ValueError: the name is unknown, or the file is not the published one.
        FileNotFoundError: the folder or the file is missing.
    """
    if name not in PUBLISHED:
        raise ValueError(f"name = {name!r}; expected one of {sorted(PUBLISHED)}.")
    path, content, sha256 = published(name, *PUBLISHED[name], data)
    rows = rows_of(content, path)
    if name == "history":
        names = [column for column in rows[0] if column not in ("century", "occluded_cells")]
        time = np.array([number(row["century"], path) for row in rows])
        return Recorded(time, np.array([[number(row[n], path) for n in names] for row in rows]), tuple(names), sha256)
    names = list(dict.fromkeys(row["variable"] for row in rows))
    time = np.arange(1974.0, 2019.0)
    columns = []
    for variable in names:
        answers = [row for row in rows if row["variable"] == variable]
        years, percent = ([number(row[column], path) for row in answers] for column in ("year", "percent"))
        columns.append(np.interp(time, years, np.array(percent) / 100.0))
    return Recorded(time, np.stack(columns, axis=1), tuple(names), sha256)


def read_csv(path: str | Path) -> Recorded:
    """Read a path from a CSV file: a line of names, then lines of a time and one number for every name, times rising.

    Raises:
        ValueError: the file is not of this form.
        FileNotFoundError: there is no such file.
    """
    content = content_of(path)
    rows = rows_of(content, path)
    names = list(rows[0])
    if len(names) < 2 or any(None in row for row in rows):
        raise ValueError(f"{path} must have a column of times, at least one of values, and no longer lines.")
    table = np.array([[number(row[name], path) for name in names] for row in rows])
    if (np.diff(table[:, 0]) <= 0).any():
        raise ValueError(f"{path} must have rising times in its first column, {names[0]!r}.")
    return Recorded(table[:, 0], table[:, 1:], tuple(names[1:]), hashlib.sha256(content).hexdigest())


def hashes(*sources: Any) -> tuple[str, ...]:
    """Return the SHA-256 of all sources that have content of their own: files and networks."""
    return tuple(source.sha256 for source in sources if hasattr(source, "sha256"))
