"""Speed of the coevolution environments, and of the dynamics of a million people, on one core.

    python benchmarks/coevolution.py [--rounds 30]

Environments: steps per second of native vector environments with 100 people and five values, episodes of nine steps,
NEXT_STEP; actions are uniform and drawn beforehand. Resets are counted in. Given are processor time and time on the
clock, each in the median and in the fastest of rounds of 50 steps: where others compute on the same cores and in the
same caches, the fastest is what the environment costs.

People: one step of `dynamics.coevolve` in which everybody meets one of ten neighbours, and one of
`dynamics.hegselmann_krause` in which everybody hears all ten, in D = 5. Peak memory is what numpy allocated, arguments
included.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from typing import Any

import _timing
import gymnasium as gym
import numpy as np

import valuegym
from valuegym.envs import keys
from valuegym.envs.coevolution import dynamics, networks

IDS = ("Follow-v0", "Predict-v0", "Coevolve-v0")
ROWS, STEPS = 64, 50
PEOPLE, D = (100_000, 1_000_000), 5
PARAMETERS = {"bound": 1.5, "social": 0.05, "influence": 0.15, "attachment": 0.1, "idiosyncratic_noise": 0.02}


def rates(envs: Any) -> Any:
    """Return environment steps per second (2,) of processor time and of the clock, resets included."""
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(10)]
    envs.reset(seed=0)

    def work() -> None:
        for t in range(STEPS):
            envs.step(actions[t % len(actions)])

    used: list[float] = []
    clock = _timing.seconds(lambda: used.extend(_timing.seconds(work)), clock=time.perf_counter)
    return STEPS * ROWS / np.array(used + clock)


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

    tracemalloc.reset_peak()
    held = tracemalloc.get_traced_memory()[0]
    meet()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one = min(_timing.seconds(meet, 5))
    draws = min(_timing.seconds(lambda: keys.uniform(keys.mix(0, np.arange(people)), 1), 3))
    every = min(_timing.seconds(lambda: dynamics.hegselmann_krause(x, 1.5, network), 2))
    print(f"{people:>9} people: one of ten neighbours {one:.3f} s (draws {draws:.3f} s more), all ten {every:.3f} s; "
          f"{held / people:.0f} bytes a person held, {(peak - held) / people:.0f} more at the peak")  # fmt: skip


def main() -> None:
    """Print one line for each environment and each number of people."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="rounds (default 30)")
    rounds = parser.parse_args().rounds
    print(f"valuegym {valuegym.__version__}, numpy {np.__version__}, {ROWS} rows, 100 people, 5 values")
    print(f"{'':<16}{'processor time: median':>24}{'fastest':>10}{'clock: median':>20}{'fastest':>10}")
    for id in IDS:
        envs = gym.make_vec(f"valuegym/{id}", num_envs=ROWS)
        found = np.array([rates(envs) for _ in range(rounds)])
        (used, clock), (best, soonest) = np.median(found, axis=0), found.max(0)
        print(f"{id:<16}{used:>24,.0f}{best:>10,.0f}{clock:>20,.0f}{soonest:>10,.0f}")
    for people in PEOPLE:
        population(people)


if __name__ == "__main__":
    main()
