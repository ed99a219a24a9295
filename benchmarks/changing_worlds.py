"""Speed of worlds that change: random boards in batches against the former generators, one attempt at a time.

    python benchmarks/changing_worlds.py

Steps: vector environments of 1,024 rows, NEXT_STEP, as registered, with uniform actions drawn beforehand. A round is a
reset with fresh seeds and so many steps; all resets count. The floor is what no generator of these bits can do without:
to hash and sort the cells of every attempt up to the first that fits, and to hash the content of the board that does.
It is measured alone, in large batches.

Resets: tasks of the query environments, with all that is solved for scoring, in milliseconds for each.

Old and new play the same episodes. Rounds alternate between them in one process with one thread, so that a busy machine
slows both; what counts is the median of the rounds' ratios. Seconds are seconds of the processor.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import _timing
import gymnasium as gym
import numpy as np
from _former_boards import FormerBoards

import valuegym
from valuegym.envs import functional, keys
from valuegym.envs.functional import FunctionalVectorEnv
from valuegym.envs.preference import random_delivery

WORLDS = ("RandomDelivery", "RiskyDelivery")
QUERIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("RewardInference", {}), ("RewardInference", {"board": "risky"}), ("RewardInferencePolicy", {}),
    ("RewardInferenceActive", {}),
)  # fmt: skip


def vector(core: str, rows: int) -> FunctionalVectorEnv:
    """Return a vector environment of a core, with the registered step limit."""
    return FunctionalVectorEnv(core, num_envs=rows, max_episode_steps=200)


def play(envs: FunctionalVectorEnv, seed: int, actions: Any, episodes: list[int]) -> None:
    """Reset with fresh seeds and step; add the number of episodes to a list."""
    envs.reset(seed=seed)
    ended = [np.logical_or(*envs.step(action)[2:4]).sum() for action in actions]
    episodes.append(envs.num_envs + int(sum(ended)))


def floor(core: Any, boards: int) -> float:
    """Return seconds for hash, sort and digest of so many boards of a core."""
    key = keys.mix(0, np.arange(boards))
    attempts, content = needed(core.boards, key)
    drawn = core.boards.source.draw(attempts).boards
    areas = (drawn != random_delivery.OUTSIDE).sum((1, 2))
    groups = [(attempts[areas == area][:, None], np.arange(area)) for area in np.unique(areas)]
    cells = np.concatenate([content.boards.reshape(boards, -1), content.weights.astype(np.int64)], -1)
    position = np.arange(cells.shape[1])

    def work() -> None:
        for own, inside in groups:
            np.sort(keys.mix(own, inside), -1)
        np.bitwise_xor.reduce(keys.mix(position[None].view(np.uint64), cells), -1)

    return min(_timing.seconds(work, 5))


def needed(boards: random_delivery.Boards, key: keys.Key) -> tuple[keys.Key, random_delivery.RandomTask]:
    """Return the keys of all attempts at the tasks of episodes, and the tasks."""
    task, made, todo = boards.draw(key), [], key
    for attempt in itertools.count():
        made.append(keys.mix(todo, keys.RESET, 0, attempt))
        quarter = random_delivery.digest(boards.source.draw(made[-1])) % np.uint64(4)
        todo = todo[~np.isin(quarter, random_delivery.SPLITS[boards.split])]
        if not todo.size:
            return np.concatenate(made), task
    raise AssertionError


def compare(rates: Sequence[Sequence[float]]) -> tuple[Any, str]:
    """Return the medians of pairs of figures (rounds, 2), and the ratio of the second to the first in words."""
    pairs = np.array(rates)
    ratio = pairs[:, 1] / pairs[:, 0]
    return np.median(pairs, 0), f"{np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})"


def measure_steps(name: str, rounds: int, rows: int, steps: int) -> None:
    """Print steps per second of a world, and the floor of its boards."""
    entry = gym.spec(f"valuegym/{name}-v0").kwargs["core"]
    pair = [vector(core, rows) for core in (f"_former_boards:Former{name}", entry)]
    rng, used = np.random.default_rng(0), []
    episodes: list[int] = []
    for seed in range(0, rounds * rows, rows):
        actions = rng.integers(4, size=(steps, rows))
        used.append([_timing.seconds(partial(play, envs, seed, actions, episodes))[0] for envs in pair])
    assert episodes[::2] == episodes[1::2]
    (old, new), ratio = compare(steps * rows / np.array(used))
    least = floor(pair[1].core, 2**12) / 2**12
    share = least * np.median(episodes) / np.median(np.array(used)[:, 1])
    row = f"{name:<16}{np.median(episodes):>9,.0f}{old:>12,.0f}{new:>12,.0f}"
    print(f"{row}   {ratio:<24}{1e6 * least:>8.1f} us{share:>7.0%}")


def measure_resets(name: str, kwargs: dict[str, Any], rounds: int, rows: int) -> None:
    """Print milliseconds for each reset of a query environment."""
    old, new = (gym.make(f"valuegym/{name}-v0", **kwargs).unwrapped.core for _ in range(2))  # type: ignore[attr-defined]
    old.source.tasks.boards = FormerBoards.of(new.source.tasks.boards)
    used = []
    for seed in range(0, rounds * rows, rows):
        key = functional.episode_keys(range(seed, seed + rows))
        used.append([_timing.seconds(partial(core.initial, key))[0] / rows for core in (old, new)])
    (before, after), ratio = compare(1 / np.array(used))
    label = f"{name} {', '.join(kwargs.values())}"
    print(f"{label:<28}{rows:>6}{1e3 / before:>10.2f}{1e3 / after:>10.2f}   {ratio}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--envs", type=int, default=1024, help="rows of the vector environments (default 1024)")
    parser.add_argument("--steps", type=int, default=1000, help="steps of a round (default 1000)")
    args = parser.parse_args()
    print(f"valuegym {valuegym.__version__}, numpy {np.__version__}, {args.envs} rows, {args.rounds} rounds")
    print(f"{'steps/s':<16}{'episodes':>9}{'old':>12}{'new':>12}   {'ratio (min to max)':<24}{'floor':>11}{'share':>7}")
    for name in WORLDS:
        measure_steps(name, args.rounds, args.envs, args.steps)
    print(f"\n{'resets, ms each':<28}{'rows':>6}{'old':>10}{'new':>10}   ratio (min to max)")
    for (name, kwargs), rows in itertools.product(QUERIES, (1, 64)):
        measure_resets(name, kwargs, args.rounds, rows)


if __name__ == "__main__":
    main()
