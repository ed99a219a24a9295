"""The stopwatch of all benchmarks; it is imported first, for numpy takes its number of threads as it is imported."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")


def seconds(
    work: Callable[[], object], repeats: int = 1, clock: Callable[[], float] = time.process_time
) -> list[float]:
    """Return the seconds of each of several calls, by default of the processor's time."""
    found = []
    for _ in range(repeats):
        began = clock()
        work()
        found.append(clock() - began)
    return found


def rate(work: Callable[[], object], least: float) -> float:
    """Return calls per second of the processor's time, from calls that last at least so many seconds together."""
    calls, began = 0, time.process_time()
    while time.process_time() - began < least:
        work()
        calls += 1
    return calls / (time.process_time() - began)
