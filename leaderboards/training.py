"""Training on a track: the same environment, agent and steps for a run, for a model that is saved, and for a film.

Whoever wants to watch gives observers: functions that are called after every step of training with the number of steps
so far and, where an episode has just ended, its return. They see numbers alone, so that nothing depends on them.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym

from valuegym.agents import make
from valuegym.envs import checks
from valuegym.leaderboards.experiments import Experiment

__all__ = ["ObservedEnv", "Observer", "learn", "prepare", "progress"]

MAX_SEED = 2**31 - 1
RECENT = 10  # episodes whose mean return the bar shows
SECONDS = 30.0  # between two lines of progress in a file

Observer = Callable[[int, float | None], None]


class ObservedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that tells observers of every step, and changes nothing."""

    def __init__(self, env: gym.Env[Any, Any], observers: Sequence[Observer]) -> None:
        super().__init__(env)
        self.observers, self.steps, self.total = tuple(observers), 0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the return of one that has not ended is dropped."""
        self.total = 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step, and tell the observers."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        self.total += float(reward)
        for observer in self.observers:
            observer(self.steps, self.total if terminated or truncated else None)
        return observation, reward, terminated, truncated, info


def prepare(
    agent: str,
    what: Experiment,
    seed: int,
    data: str | None = None,
    settings: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
) -> tuple[Any, gym.Env[Any, Any]]:
    """Return an agent that has learnt nothing yet, and the environment that it trains in.

    Args:
        agent: a text that names it (`valuegym.agents.references`).
        what: the experiment.
        seed: of the run.
        data: folder of human data, where the experiment needs it.
        settings: of the agent's constructor.
        observers: of the training.

    Raises:
        ValueError: the agent is unknown or does not take these settings, or the seed is out of range.
        ImportError: the agent needs an extra that is not installed.
    """
    checks.integer("seed", seed, 0, MAX_SEED)
    env: gym.Env[Any, Any] = gym.make(what.env_id, **what.make_kwargs(data))
    if observers:
        env = ObservedEnv(env, observers)
    try:
        return make(agent, env, seed=seed, **(settings or {})), env
    except TypeError as error:
        if not settings:
            raise
        raise ValueError(f"{agent} does not take these settings: {error}.") from error


def learn(player: Any, timesteps: int) -> None:
    """Let an agent learn for this many steps, if there are any and it learns at all.

    Raises:
        DivergenceError: what it learns is no longer finite.
    """
    if timesteps and hasattr(player, "learn"):
        player.learn(timesteps)


@contextmanager
def progress(timesteps: int, label: str, in_files: bool = False) -> Iterator[Observer]:
    """Give an observer that shows steps, the time left, and the mean return of the last episodes.

    Nothing is shown before the first step, nor where standard error is no terminal; with `in_files` there is a line
    now and then.
    """
    from tqdm import tqdm

    bar: Any = None
    returns: deque[float] = deque(maxlen=RECENT)

    def observer(steps: int, episode_return: float | None) -> None:
        nonlocal bar
        if bar is None:
            seconds = 0.1 if sys.stderr.isatty() else SECONDS
            hidden = False if in_files else None  # None hides it where there is no terminal
            bar = tqdm(
                total=timesteps,
                desc=label,
                unit="step",
                dynamic_ncols=True,
                leave=in_files,
                disable=hidden,
                mininterval=seconds,
            )
        if episode_return is not None:
            returns.append(episode_return)
            bar.set_postfix({"return": f"{sum(returns) / len(returns):.4g}"}, refresh=False)
        bar.update()

    try:
        yield observer
    finally:
        if bar is not None:
            bar.refresh()
            bar.close()
