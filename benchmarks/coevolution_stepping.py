"""Speed of populations: a million people in one process. `coevolution.py` measures whole environments.

    python benchmarks/coevolution_stepping.py [--people 1000000]

One step of `dynamics.coevolve` in which everybody meets one of ten neighbours, and one of `dynamics.hegselmann_krause`
in which everybody hears all ten, in D = 5. Peak memory is what numpy allocated, arguments included.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from valuegym.envs import keys
from valuegym.envs.coevolution import dynamics, networks

D = 5
PARAMETERS = {"bound": 1.5, "social": 0.05, "influence": 0.15, "attachment": 0.1, "idiosyncratic_noise": 0.02}


def fastest(work: Callable[[], Any], times: int) -> float:
    """Seconds of the fastest of several calls."""
    spent = []
    for _ in range(times):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def population(people: int) -> None:
    """Print what steps of so many people cost."""
    tracemalloc.start()
    rng = np.random.default_rng(0)
    far = rng.integers(people, size=10 * people)  # ten neighbours anywhere: the worst case for memory
    far = np.where(far == np.repeat(np.arange(people), 10), (far + 1) % people, far)
    network = networks.Network(np.arange(0, 10 * people + 1, 10), far, np.full(10 * people, 0.1))
    x, anchor, noise = (rng.normal(size=(1, people, D)) for _ in range(3))
    u, said = rng.uniform(size=(1, people)), rng.normal(size=(1, D))

    def meet() -> Any:
        return dynamics.coevolve(x, networks.partners(u, network), said, anchor, noise, **PARAMETERS)

    def draw() -> Any:
        return keys.uniform(keys.mix(0, np.arange(people)), 1)

    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    meet()
    held, peak = before, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one, draws = fastest(meet, 5), fastest(draw, 3)
    every = fastest(lambda: dynamics.hegselmann_krause(x, 1.5, network), 2)
    print(f"{people:>9} people: one of ten neighbours {one:.3f} s (draws {draws:.3f} s more), all ten {every:.3f} s; "
          f"{held / people:.0f} bytes a person held, {(peak - held) / people:.0f} more at the peak")  # fmt: skip


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1_000_000)
    arguments = parser.parse_args()
    for people in (arguments.people // 10, arguments.people):
        population(people)


if __name__ == "__main__":
    main()
