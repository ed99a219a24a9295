"""Steps per second under Stable-Baselines3: the native vector environment against DummyVecEnv, in one run on one core.

    python benchmarks/sb3_vec_env.py

Both sides monitor episodes (VecMonitor around DummyVecEnv) and play the same uniform actions; the last column is a
whole call of PPO.learn with its default settings on 64 one-hot rows. Rounds alternate between the two, so that a busy
machine slows both; what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import _timing
import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from valuegym.agents import sb3_vec_env

IDS = ("valuegym/DeliveryOneHot-v0", "valuegym/Pendulum-v0")


def dummy(id: str, rows: int) -> Any:
    """Return a monitored DummyVecEnv."""
    return VecMonitor(DummyVecEnv([lambda: gym.make(id)] * rows))


def play(envs: Any, actions: Any) -> None:
    """Step through given actions."""
    for action in actions:
        envs.step(action)


def train(envs: Any, steps: int) -> None:
    """Train PPO for so many steps."""
    PPO("MlpPolicy", envs, n_steps=64, seed=0, device="cpu").learn(steps)


def rounds(work: Callable[[Any], None], pair: Sequence[Any], number: int) -> Any:
    """Return seconds (number, 2) of the processor's time of both sides in alternating rounds."""
    return np.array([[_timing.seconds(partial(work, envs))[0] for envs in pair] for _ in range(number)])


def main() -> None:
    """Print one line for each environment and number of rows, and one for PPO."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--steps", type=int, default=20, help="of every row in a round (default 20)")
    args = parser.parse_args()
    for id in IDS:
        for rows in (8, 64, 1024):
            pair = sb3_vec_env.make(id, rows, seed=0), dummy(id, rows)
            for envs in pair:
                envs.reset()
            pair[0].action_space.seed(0)
            actions = np.array([[pair[0].action_space.sample() for _ in range(rows)] for _ in range(args.steps)])
            times = rounds(lambda envs, actions=actions: play(envs, actions), pair, args.rounds)
            rate = args.steps * rows / np.median(times[:, 0])
            print(f"{id:<28} {rows:>5} rows  {rate:>12,.0f} steps/s  {np.median(times[:, 1] / times[:, 0]):6.1f} times")
    pair = sb3_vec_env.make(IDS[0], 64, seed=0), dummy(IDS[0], 64)
    times = rounds(lambda envs: train(envs, 16_384), pair, args.rounds)
    print(f"PPO.learn(16,384) on {IDS[0]}, 64 rows: {np.median(times[:, 1] / times[:, 0]):.2f} times as fast")


if __name__ == "__main__":
    main()
