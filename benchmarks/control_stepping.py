"""Steps per second of the control tasks against Gymnasium's own environments, in one run on one core.

    OMP_NUM_THREADS=1 python benchmarks/control_stepping.py

1,024 rows each: valuegym/Pendulum-v0 (continuous torque, a seed for each row) against Gymnasium's native CartPole-v1
(two actions, one generator for all rows), and against Pendulum-v1 in a SyncVectorEnv, Gymnasium's way to vectorise it.
Actions are uniform and drawn beforehand. Rounds alternate between the environments, so that a busy machine slows all;
what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import gymnasium as gym
import numpy as np

import valuegym

OURS, PEERS = "valuegym/Pendulum-v0", ("CartPole-v1", "Pendulum-v1")
AIMS = {"CartPole-v1": 0.8, "Pendulum-v1": 50.0}
STEPS = {OURS: 1000, "CartPole-v1": 1000, "Pendulum-v1": 10}


def rate(envs: Any, steps: int, rng: np.random.Generator) -> float:
    """Environment steps per second of a vector environment, resets included."""
    space, n = envs.single_action_space, envs.num_envs
    if isinstance(space, gym.spaces.Discrete):
        actions = rng.integers(space.n, size=(steps, n))
    else:
        actions = rng.uniform(space.low, space.high, (steps, n, *space.shape)).astype(space.dtype)
    began = time.perf_counter()
    for action in actions:
        envs.step(action)
    return steps * n / (time.perf_counter() - began)


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="alternating rounds (default 9)")
    parser.add_argument("--envs", type=int, default=1024, help="rows of the vector environments (default 1024)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"valuegym {valuegym.__version__}, gymnasium {gym.__version__}, numpy {np.__version__}, {args.rounds} rounds")
    made = {
        OURS: gym.make_vec(OURS, num_envs=args.envs),
        "CartPole-v1": gym.make_vec("CartPole-v1", num_envs=args.envs),
        "Pendulum-v1": gym.make_vec("Pendulum-v1", num_envs=args.envs, vectorization_mode="sync"),
    }
    for envs in made.values():
        envs.reset(seed=0)
    rates = {name: np.zeros(args.rounds) for name in made}
    for i in range(args.rounds):
        for name, envs in made.items():
            rates[name][i] = rate(envs, STEPS[name], rng)
    print(f"{'peer':<22}{'steps/s':>13}{OURS:>24}   ratio (min to max), aim")
    for peer in PEERS:
        ratio = rates[OURS] / rates[peer]
        label = f"{peer} ({'sync' if peer == 'Pendulum-v1' else 'native'})"
        print(
            f"{label:<22}{np.median(rates[peer]):>13,.0f}{np.median(rates[OURS]):>24,.0f}"
            f"   {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}), at least {AIMS[peer]:g}"
        )


if __name__ == "__main__":
    main()
