"""Steps per second against Gymnasium's own environments, in one run on one core.

    python benchmarks/stepping.py

Scalar: `gym.make` with its default wrappers, FrozenLake-v1 against valuegym/Delivery-v0. Vector: native environments of
1,024 rows, NEXT_STEP, CartPole-v1 (one generator for all rows) against valuegym/Delivery-v0 (a seed for every row).
Actions are uniform and drawn beforehand. Rounds alternate between the two, so that a busy machine slows both; what
counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import gymnasium as gym
import numpy as np

import valuegym

SCALAR = ("FrozenLake-v1", "valuegym/Delivery-v0")
VECTOR = ("CartPole-v1", "valuegym/Delivery-v0")


def scalar_rate(env: gym.Env[Any, Any], steps: int, rng: np.random.Generator) -> float:
    """Steps per second of a scalar environment, resets included."""
    actions = rng.integers(env.action_space.n, size=steps).tolist()  # type: ignore[attr-defined]
    env.reset(seed=0)
    began = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return steps / (time.perf_counter() - began)


def vector_rate(envs: Any, steps: int, rng: np.random.Generator) -> float:
    """Environment steps per second of a vector environment, resets included."""
    actions = rng.integers(envs.single_action_space.n, size=(steps, envs.num_envs))
    envs.reset(seed=0)
    began = time.perf_counter()
    for action in actions:
        envs.step(action)
    return steps * envs.num_envs / (time.perf_counter() - began)


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="alternating rounds (default 9)")
    parser.add_argument("--envs", type=int, default=1024, help="rows of the vector environments (default 1024)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"valuegym {valuegym.__version__}, gymnasium {gym.__version__}, numpy {np.__version__}, {args.rounds} rounds")
    print(f"{'':<10}{'peer':>16}{'steps/s':>13}{'ours':>24}{'steps/s':>13}   ratio (min to max)")
    for kind, names, rate, steps in (("scalar", SCALAR, scalar_rate, 50_000), ("vector", VECTOR, vector_rate, 1_000)):
        pair = [gym.make(name) if kind == "scalar" else gym.make_vec(name, num_envs=args.envs) for name in names]
        rates = np.array([[rate(env, steps, rng) for env in pair] for _ in range(args.rounds)])
        ratio = rates[:, 1] / rates[:, 0]
        peer, ours = np.median(rates, 0)
        print(
            f"{kind:<10}{names[0]:>16}{peer:>13,.0f}{names[1]:>24}{ours:>13,.0f}"
            f"   {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
        )


if __name__ == "__main__":
    main()
