"""Steps per second against Gymnasium's own environments, in one run on one core.

    python benchmarks/stepping.py

By hand: `HandWritten`, the least that a vector of `Delivery-v0` with NEXT_STEP can do. Scalar: `gym.make` with its
default wrappers. Native: vector environments of 1,024 rows, NEXT_STEP, where ours have a seed for every row and
CartPole-v1 one generator for all of them. Sync: SyncVectorEnv, Gymnasium's way to vectorise an environment without a
native form. Actions are uniform and drawn beforehand. Rounds alternate between the two, so that a busy machine slows
both; what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
from typing import Any

import _timing
import gymnasium as gym
import numpy as np

import valuegym
from valuegym.envs.preference.delivery import Delivery


class HandWritten:
    """The delivery task as one would write it for itself: checks, three gathers, the step limit, resets, a copy."""

    LIMIT = 200

    def __init__(self, rows: int) -> None:
        core = Delivery()
        self.num_envs, self.action_space = rows, core.action_space
        assert core.mdp.next_state is not None
        self._next, self._reward = core.mdp.next_state.reshape(-1), core.true_rewards.reshape(-1)
        self._terminal, self._starts = core.mdp.terminal[0], np.flatnonzero(core.mdp.start[0])
        self._rng = np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        """Start in random cells."""
        self._rng = np.random.default_rng(seed)
        self._cell = self._rng.choice(self._starts, self.num_envs)
        self._t, self._done = np.zeros(self.num_envs, np.int64), np.zeros(self.num_envs, np.bool_)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Move every row, or start its next episode."""
        if actions.shape != (self.num_envs,) or actions.min() < 0 or actions.max() > 3:
            raise ValueError("actions")
        move = 4 * self._cell + actions
        self._cell, reward = self._next[move], self._reward[move]
        terminated = self._terminal[self._cell]
        self._t += 1
        truncated = self._t >= self.LIMIT
        over = self._done.nonzero()[0]
        if over.size:
            self._cell[over] = self._rng.choice(self._starts, over.size)
            self._t[over], reward[over], terminated[over], truncated[over] = 0, 0.0, False, False
        self._done = terminated | truncated
        return self._cell.copy(), reward, terminated, truncated, {}


COMPARISONS = (  # kind, peer and its steps in a round, ours and its steps, the ratio that is asked for
    ("by hand", "HandWritten", 3_000, "valuegym/Delivery-v0", 3_000, ", at least 0.5"),
    ("scalar", "FrozenLake-v1", 50_000, "valuegym/Delivery-v0", 50_000, ""),
    ("native", "CartPole-v1", 1_000, "valuegym/Delivery-v0", 1_000, ""),
    ("native", "CartPole-v1", 1_000, "valuegym/Pendulum-v0", 1_000, ", at least 0.8"),
    ("sync", "Pendulum-v1", 10, "valuegym/Pendulum-v0", 1_000, ", at least 50"),
)


def make(name: str, kind: str, rows: int) -> Any:
    """Return a scalar environment or a vector of so many rows, reset."""
    if name == "HandWritten":
        written = HandWritten(rows)
        written.reset(seed=0)
        return written
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
    [took] = _timing.seconds(lambda: work(env, actions))
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
