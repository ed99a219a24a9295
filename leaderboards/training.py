"""Training on a track: the same environment, agent and steps for a run, for a model that is saved, and for a film.

Whoever wants to watch gives observers: functions that are called after every step of training with the number of steps
so far and, where an episode has just ended, its return. They see numbers alone, so that nothing depends on them.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym

from valuegym.agents import checkpoints, make
from valuegym.agents.checkpoints import EnvLog
from valuegym.envs import checks
from valuegym.envs.feedback.data import write_atomically
from valuegym.leaderboards.experiments import Experiment

__all__ = ["Interruption", "KeptTraining", "ObservedEnv", "Observer", "learn", "prepare", "progress"]

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
    logged: bool = False,
) -> tuple[Any, gym.Env[Any, Any]]:
    """Return an agent that has learnt nothing yet, and the environment that it trains in.

    Args:
        agent: a text that names it (`valuegym.agents.references`).
        what: the experiment.
        seed: of the run.
        data: folder of human data, where the experiment needs it.
        settings: of the agent's constructor.
        observers: of the training.
        logged: whether the environment keeps its actions (`EnvLog`), for a training that is to resume.

    Raises:
        ValueError: the agent is unknown or does not take these settings, or the seed is out of range.
        ImportError: the agent needs an extra that is not installed.
    """
    checks.integer("seed", seed, 0, MAX_SEED)
    env: gym.Env[Any, Any] = gym.make(what.env_id, **what.make_kwargs(data))
    if logged:
        env = EnvLog(env)
    if observers:
        env = ObservedEnv(env, observers)
    try:
        return make(agent, env, seed=seed, **(settings or {})), env
    except TypeError as error:
        if not settings:
            raise
        words = f"{agent} does not take these settings: {error}"
        raise ValueError(words if words.endswith("?") else f"{words}.") from error


def learn(player: Any, timesteps: int) -> None:
    """Let an agent learn for this many steps, if there are any and it learns at all.

    Raises:
        DivergenceError: what it learns is no longer finite.
    """
    if timesteps and hasattr(player, "learn"):
        player.learn(timesteps)


class Interruption:
    """Ctrl-C and SIGTERM between two steps of a training, so that its state can be kept; a second one ends it at once.

    Attributes:
        requested: whether one has come.
    """

    def __init__(self) -> None:
        self.requested = False

    def _note(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take the signals while a block runs; outside of the main thread, where there are none, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class KeptTraining:
    """The state of a training in a file, from which the same training goes on after it was killed.

    As a context, it keeps the state every so often while the agent learns, and at an interruption.

    Args:
        path: of the file.
        player: the agent; one that cannot resume (`agents.checkpoints`) keeps nothing.
        env: that it trains in, made by `prepare` with `logged`.
        about: whose training it is, as JSON; a state of another one is refused.
        seconds: between two states.
    """

    def __init__(self, path: Path, player: Any, env: Any, about: Mapping[str, Any], seconds: float) -> None:
        self.path, self.player, self.env, self.seconds = path, player, env, seconds
        self.about = json.loads(json.dumps(about))
        self.log: EnvLog = env.env
        self.steps = 0  # of the state that is kept
        self.reason = "" if checkpoints.can_resume(player) else f"{type(player).__name__} keeps no state"
        self._interruption, self._written = Interruption(), time.monotonic()

    def resume(self) -> None:
        """Let the agent go on from the file, if it is there.

        Raises:
            ValueError: it is of another training, or damaged.
        """
        if self.reason or not self.path.is_file():
            return
        again = f"remove {self.path} to begin again"
        state, about = checkpoints.decode(self.path)
        here = [{key: value for key, value in one.items() if key != "versions"} for one in (about, self.about)]
        if here[0] != here[1]:
            other = sorted(key for key in here[1] if here[0].get(key) != here[1][key])
            raise ValueError(f"{self.path} is of a training with another {' and '.join(other)}; {again}.")
        if about.get("versions") != self.about.get("versions"):
            print(f"valuegym: {self.path} was written by other versions; last bits may differ.", file=sys.stderr)
        try:
            checkpoints.replay(self.env, self.log, state["environment"])
            self.player.resume(state["agent"])
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
            raise ValueError(f"The training in {self.path} cannot go on: {error}; {again}.") from None
        self.steps = self.env.steps
        print(f"valuegym: goes on from step {self.steps}, kept in {self.path}", file=sys.stderr)

    def keep(self) -> None:
        """Write the state, between two steps of the training."""
        if self.log.unknown:
            self.reason = f"the environment cannot be played again, for {self.log.unknown}"
            return
        state = {"agent": self.player.training_state(), "environment": self.log.state()}
        write_atomically(self.path, checkpoints.encode(state, self.about))
        self.steps, self._written = self.env.steps, time.monotonic()

    def _after_step(self, player: Any) -> None:
        requested = self._interruption.requested
        if not self.reason and (requested or time.monotonic() >= self._written + self.seconds):
            try:
                self.keep()
            except ValueError as error:
                self.reason = str(error)
        if requested:
            raise KeyboardInterrupt

    def __enter__(self) -> KeptTraining:
        """Begin to keep states."""
        self._stack = ExitStack()
        if not self.reason:
            self.player.after_step = self._after_step
            self._stack.enter_context(self._interruption.watch())
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Stop keeping states; an interruption says what is kept.

        Raises:
            KeyboardInterrupt: there was one.
        """
        self._stack.close()
        if not self.reason:
            self.player.after_step = None
        if kind is KeyboardInterrupt:
            if self.steps:
                raise KeyboardInterrupt(f"the training up to step {self.steps} is kept in {self.path}") from None
            why = f", because {self.reason}" if self.reason else ""
            raise KeyboardInterrupt(f"nothing of the training is kept{why}; the same command begins again.") from None


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
