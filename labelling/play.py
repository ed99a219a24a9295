"""The environment in the hands of a person, who tries a few moves before they judge those of others.

A game lives in the memory of the server; how many moves a person has made is in the store, so that after a restart they
go on with a new game.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from valuegym.envs import checks
from valuegym.envs.preference.delivery import ACTIONS
from valuegym.labelling.films import DELIVERY, png
from valuegym.labelling.pool import make_env
from valuegym.labelling.study import Study

__all__ = ["Control", "Game", "Games", "controls"]

ARROWS = ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight")
GAMES = 64  # kept in memory at once
MOST = 9  # controls of a person


class Control(NamedTuple):
    """A button: its name, the keys that press it, and the action of the environment."""

    name: str
    keys: str
    action: Any


def controls(environment: str, space: gym.Space[Any]) -> list[Control]:
    """Return the buttons for an action space.

    A discrete space has one for each action. A box has two for each of its first four numbers, lowest and highest, and
    one in the middle.

    Raises:
        ValueError: the space is another one, or has too many actions.
    """
    if isinstance(space, gym.spaces.Discrete) and space.n <= MOST:
        numbers = range(int(space.start), int(space.start + space.n))
        if environment == DELIVERY:
            return [Control(name, key, i) for i, name, key in zip(numbers, ACTIONS, ARROWS, strict=True)]
        sides = {2: ("ArrowLeft", "ArrowRight"), 3: ("ArrowLeft", "ArrowDown", "ArrowRight")}.get(int(space.n), ())
        extra = [f" {key}" for key in sides] or [""] * int(space.n)
        return [Control(f"action {i}", f"{k + 1}{extra[k]}", i) for k, i in enumerate(numbers)]
    if isinstance(space, gym.spaces.Box) and space.is_bounded() and 1 <= math.prod(space.shape) <= MOST // 2:
        middle = (0.5 * (space.low.astype(np.float64) + space.high)).astype(space.dtype)
        found = [Control("nothing", "ArrowDown 0", middle)]
        for i in range(middle.size):
            for word, bound, keys in (
                ("low", space.low, ("ArrowLeft 1", "3", "5", "7")[i]),
                ("high", space.high, ("ArrowRight 2", "4", "6", "8")[i]),
            ):
                action = middle.copy()
                action.flat[i] = bound.flat[i]
                found.append(Control(word if middle.size == 1 else f"{word} {i + 1}", keys, action))
        return found
    raise checks.refusal(
        "action_space", space, f"at most {MOST} discrete actions or 4 bounded numbers; play_steps=0 skips the game"
    )


class Game:
    """An environment that one person plays; a new episode begins where one has ended.

    Raises:
        ValueError: the study has no environment that people can play.
    """

    def __init__(self, study: Study, seed: int) -> None:
        if study.environment is None:
            raise ValueError("environment is None; expected the id of one to play.")
        self.env = make_env(study.environment, study.arguments)
        self.controls = controls(study.environment, self.env.action_space)
        self._repeat, self._lock = study.play_repeat, threading.Lock()
        self.env.reset(seed=seed)
        self.total, self.ended = 0.0, ""
        self._picture = png(self._frame())

    def _frame(self) -> Any:
        return np.array(self.env.render())

    def move(self, control: int) -> None:
        """Make a move.

        Raises:
            ValueError: there is no such control.
        """
        checks.integer("control", control, 0, len(self.controls) - 1)
        with self._lock:
            if self.ended:
                self.env.reset()
                self.total, self.ended = 0.0, ""
            for _ in range(self._repeat):
                _, reward, terminated, truncated, _ = self.env.step(self.controls[control].action)
                self.total += float(reward)
                if terminated or truncated:
                    self.ended = "The trip has ended; the next move starts another one."
                    break
            self._picture = png(self._frame())

    @property
    def picture(self) -> bytes:
        """The present picture as a PNG."""
        return self._picture


class Games:
    """The games of all people who play; of those beyond a number, the one that was played the longest time ago is left.

    Args:
        study: whose environment is played.
    """

    def __init__(self, study: Study) -> None:
        self._study, self._games, self._lock = study, OrderedDict[int, Game](), threading.Lock()

    def of(self, person: int) -> Game:
        """Return the game of a person, a new one where there is none."""
        with self._lock:
            if person not in self._games:
                self._games[person] = Game(self._study, seed=(self._study.seed + person) % 2**31)
            self._games.move_to_end(person)
            while len(self._games) > GAMES:
                self._games.popitem(last=False)
            return self._games[person]

    def leave(self, person: int) -> None:
        """Forget the game of a person."""
        with self._lock:
            self._games.pop(person, None)
