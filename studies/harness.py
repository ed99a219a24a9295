"""Common harness of all studies: jobs, resumable records, pages, and the command line.

A study generates jobs. A job is a list of keys that are computed together. A key is a tuple whose last entry is an
integer, the unit that intervals resample (a task, a seed); its value depends on the key alone. Records are stored in
docs/results/data/NAME.jsonl. A line [*key, [value, ...]] holds the value of its key and the values of the keys whose
last entry is larger by 1, 2, and so on. A run appends the missing values, so that an interrupted run resumes where it
stopped, and then writes the pages; `--table` only writes the pages. To compute everything again, give another folder
with `--docs`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.leaderboards.executors import EXECUTORS
from valuegym.leaderboards.records.record import write_atomically

Array = npt.NDArray[Any]
Key = tuple[Any, ...]
Records = dict[Key, Any]
Arrays = dict[Key, Array]
Options = argparse.Namespace
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


@dataclass(frozen=True)
class Study:
    """One study: its jobs, how to compute their values, and how to report them.

    Attributes:
        name: name of its page, records and figures.
        jobs: function of the options that yields the jobs, each a list of keys.
        run: function that computes the values of keys of one job.
        pages: function that returns the texts of the files made from records, by suffix (such as ".md").
    """

    name: str
    jobs: Callable[[Options], Iterable[Sequence[Key]]]
    run: Callable[[Sequence[Key], Options], Sequence[Any]]
    pages: Callable[[Records, Options], Mapping[str, str]]


def load(path: Path) -> Records:
    """Return the records of a file, or none if it is missing; an incomplete last line is ignored."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    records: Records = {}
    for line in text[: text.rfind("\n") + 1].splitlines():
        *key, last, values = json.loads(line)
        records |= {(*key, last + i): value for i, value in enumerate(values)}
    return records


def dump(records: Records) -> str:
    """Return records as lines that `load` reads; values that are dicts get a line each."""
    groups: dict[Key, dict[int, Any]] = {}
    for key, value in records.items():
        groups.setdefault(key[:-1], {})[key[-1]] = value
    lines: list[Any] = []
    for key, values in groups.items():
        for last, value in sorted(values.items()):
            follows = lines and (*lines[-1][:-2], lines[-1][-2] + len(lines[-1][-1])) == (*key, last)
            if follows and not isinstance(value, dict):
                lines[-1][-1].append(value)
            else:
                lines.append([*key, last, [value]])
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def columns(records: Records) -> dict[Key, list[Any]]:
    """Return the values of all units, ordered by unit, for each key without its unit."""
    cells: dict[Key, list[Any]] = {}
    for key in sorted(records, key=lambda key: key[-1]):
        cells.setdefault(key[:-1], []).append(records[key])
    return cells


def arrays(records: Records, jobs: Iterable[Sequence[Key]] = ()) -> Arrays:
    """Return values (units, repetitions, ...) by cell, for keys (*cell, repetition, unit).

    A cell is left out if the records lack one of its keys in these jobs.
    """
    incomplete = {key[:-2] for keys in jobs for key in keys if key not in records}
    cells: dict[Key, list[Any]] = {}
    for key, values in columns(records).items():
        if key[:-1] not in incomplete:
            cells.setdefault(key[:-1], []).append(values)
    return {cell: np.array(repetitions).swapaxes(0, 1) for cell, repetitions in cells.items()}


def rounded(value: Any, digits: int = 5) -> Any:
    """Return a number or an array rounded, as plain Python numbers for JSON."""
    return np.round(value, digits).tolist()


def fill(path: Path, study: Study, options: Options) -> None:
    """Compute the missing values; no job starts after `options.minutes`."""
    records = load(path)
    write_atomically(path, dump(records))
    missing = [[key for key in keys if key not in records] for keys in study.jobs(options)]
    jobs = [keys for keys in missing if keys]
    work = partial(_unless_late, time.monotonic() + 60 * options.minutes, study.run, options)
    executor = EXECUTORS["serial" if options.processes == 1 else "pool"]
    with path.open("a", encoding="utf-8") as file:
        for place, values in executor(work, jobs, options.processes):
            if values is not None:
                file.write(dump(dict(zip(jobs[place], values, strict=True))))
                file.flush()
    write_atomically(path, dump(load(path)))


def _unless_late(end: float, run: Any, options: Options, keys: Sequence[Key]) -> Sequence[Any] | None:
    return None if time.monotonic() > end else run(keys, options)


def run(study: Study, options: Options) -> None:
    """Compute missing values and write the pages; with `--table`, only write the pages."""
    path = options.docs / "data" / f"{study.name}.jsonl"
    if not options.table:
        fill(path, study, options)
    for suffix, text in study.pages(load(path), options).items():
        write_atomically(options.docs / f"{study.name}{suffix}", text)
        print(options.docs / f"{study.name}{suffix}")


def parser(about: str | None, units: int | None = None, seeds: int | None = None) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all studies share, with `--units` and `--seeds` if defaults are given."""
    result = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--docs", type=Path, default=RESULTS, help="folder of the pages; records are in its folder data"
    )
    result.add_argument("--minutes", type=float, default=float("inf"), help="start nothing new after this long")
    result.add_argument("--processes", type=int, default=1, help="that compute at the same time (default: 1)")
    result.add_argument("--table", action="store_true", help="only write the pages, from the records")
    if units is not None:
        result.add_argument("--units", type=int, default=units, help="tasks, or whatever else intervals resample")
    if seeds is not None:
        result.add_argument("--seeds", type=int, default=seeds, help="repetitions within a unit")
    return result
