"""Measured costs of runs, beside their records: how long a job of an agent on a track takes.

A record's bytes depend on nothing but what is played, so that seconds stand in a file of their own, `costs.txt` of the
results folder, a line of JSON for each run that was finished. It is for planning alone: lines that cannot be read are
passed over, and a run whose costs cannot be written is a run like any other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections import defaultdict
from pathlib import Path

__all__ = ["FILE", "add_cost", "duration", "mean_costs"]

FILE = "costs.txt"
MAX_BYTES = 2**26
_NUMBERS = ("seconds", "wall")


def add_cost(folder: Path, agent: str, experiment: str, seed: int, seconds: float, wall: float) -> None:
    """Append what a run took: seconds of the processor, and of the clock on the wall.

    The line is one write, so that processes which finish together do not mix theirs.
    """
    row = {"agent": agent, "experiment": experiment, "seed": seed, "seconds": seconds, "wall": wall}
    line = json.dumps(row | {name: float(f"{row[name]:.3g}") for name in _NUMBERS}) + "\n"
    with contextlib.suppress(OSError):
        handle = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


def mean_costs(folder: Path) -> dict[tuple[str, str], float]:
    """Return the mean seconds of the processor for one run, by the agent's name in records and the experiment."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    try:
        if (folder / FILE).stat().st_size > MAX_BYTES:
            return {}
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            row = json.loads(line)
            seconds = float(row["seconds"])
            if math.isfinite(seconds) and seconds >= 0:
                found[str(row["agent"]), str(row["experiment"])].append(seconds)
    return {key: sum(values) / len(values) for key, values in found.items()}


def duration(seconds: float) -> str:
    """Return a number of seconds in words, with two digits that count."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds)} s"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{float(f'{value:.2g}'):g}"
