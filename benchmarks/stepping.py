"""Steps per second against Gymnasium's own environments, in one run on one core.

    python benchmarks/stepping.py

Scalar: `gym.make` with its default wrappers. Native: vector environments of 1,024 rows, NEXT_STEP, where ours have a
seed for every row and CartPole-v1 one generator for all of them. Sync: SyncVectorEnv, Gymnasium's way to vectorise an
environment without a native form. Actions are uniform and drawn beforehand. Rounds alternate between the two, so that a
busy machine slows both; what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import _timing
import gymnasium as gym
import numpy as np

import valuegym

COMPARISONS = (  # kind, peer and its steps in a round, ours and its steps, the ratio that is asked for
    ("scalar", "FrozenLake-v1", 50_000, "valuegym/Delivery-v0", 50_000, ""),
    ("native", "CartPole-v1", 1_000, "valuegym/Delivery-v0", 1_000, ""),
    ("native", "CartPole-v1", 1_000, "valuegym/Pendulum-v0", 1_000, ", at least 0.8"),
    ("sync", "Pendulum-v1", 10, "valuegym/Pendulum-v0", 1_000, ", at least 50"),
)


def make(name: str, kind: str, rows: int) -> Any:
    """Return a scalar environment or a vector of so many rows, reset."""
    mode = "sync" if kind == "sync" and not name.startswith("valuegym") else None
    env: Any = gym.make(name) if kind == "scalar" else gym.make_vec(name, num_envs=rows, vectorization_mode=mode)
    env.reset(seed=0)
    return env


def rate(env: Any, steps: int, rng: np.random.Generator) -> float:
    """Return environment steps per second, resets included."""
    rows, space = getattr(env, "num_envs", 1), getattr(env, "single_action_space", env.action_space)
    if isinstance(space, gym.spaces.Discrete):
        actions = rng.integers(space.n, size=(steps, rows))
    else:
        actions = rng.uniform(space.low, space.high, (steps, rows, *space.shape)).astype(space.dtype)
    work = _scalar if isinstance(env, gym.Env) else _vector
    [took] = _timing.seconds(lambda: work(env, actions), clock=time.perf_counter)
    return steps * rows / took


def _scalar(env: Any, actions: Any) -> None:
    for action in actions[:, 0].tolist():
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()


def _vector(envs: Any, actions: Any) -> None:
    for action in actions:
        envs.step(action)


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="alternating rounds (default 9)")
    parser.add_argument("--envs", type=int, default=1024, help="rows of the vector environments (default 1024)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"valuegym {valuegym.__version__}, gymnasium {gym.__version__}, numpy {np.__version__}, {args.rounds} rounds")
    print(f"{'':<10}{'peer':>16}{'steps/s':>13}{'ours':>24}{'steps/s':>13}   ratio (min to max), aim")
    for kind, peer, peer_steps, ours, our_steps, aim in COMPARISONS:
        pair = [(make(peer, kind, args.envs), peer_steps), (make(ours, kind, args.envs), our_steps)]
        rates = np.array([[rate(env, steps, rng) for env, steps in pair] for _ in range(args.rounds)])
        ratio, (theirs, own) = rates[:, 1] / rates[:, 0], np.median(rates, 0)
        print(
            f"{kind:<10}{peer:>16}{theirs:>13,.0f}{ours:>24}{own:>13,.0f}"
            f"   {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}){aim}"
        )


if __name__ == "__main__":
    main()
