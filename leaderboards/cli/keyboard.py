"""The command `valuegym play`: an environment in a window, played with the keyboard."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.rendering import raster
from valuegym.envs.rendering.palette import Chart, Population
from valuegym.envs.rendering.window import Key, Window
from valuegym.leaderboards.cli.arguments import add_command, add_settings
from valuegym.leaderboards.cli.naming import environment_id

__all__ = ["Controls", "Screen", "add_commands", "controls", "play"]

ARROWS = ("up", "down", "left", "right")
STRIP, LINE = 64, 18  # pixels of the lines below a picture
SHOWN = 8  # numbers of an action


class Screen(Protocol):
    """Place where pictures go and keys come from: `Window`, or a script in tests."""

    closed: bool

    def show(self, picture: npt.NDArray[np.uint8], fps: float = 0.0) -> None:
        """Show a picture, and wait for the pace."""

    def keys(self) -> list[Key]:
        """Return the keys pressed since the last call."""

    def held(self) -> set[str]:
        """Return the arrow and shift keys that are down."""


class Controls:
    """Actions from keys; `live` where time goes on by itself, False where every step waits for a key.

    Attributes:
        live: whether the environment steps at its own pace.
        help: a line that says which keys do what.
    """

    live = False
    help = ""

    def press(self, key: Key) -> Any:
        """Return the action of a key, None for one that plays no step."""

    def hold(self, down: set[str]) -> Any:
        """Return the action of the keys that are down, where time goes on by itself."""

    def describe(self) -> str:
        """Return the action that is being prepared, "" for none."""
        return ""


class _Choices(Controls):
    """A key for each of n actions: arrows for four, else letters, or digits."""

    def __init__(self, n: int) -> None:
        letters = [chr(ord("a") + i) for i in range(min(n, 26))]
        digits = [str(i) for i in range(min(n, 10))]
        self._keys = dict(zip(digits, range(n), strict=False))
        if n == len(ARROWS):
            self._keys |= {name: i for i, name in enumerate(ARROWS)}
            self.help = "arrow keys move"
        else:
            taken = [letter for letter in letters if letter not in ("q", "r")]  # which quit and restart
            self._keys |= {letter: ord(letter) - ord("a") for letter in taken}
            self.help = f"keys {letters[0]} to {letters[-1]}, or digits from 0, act"

    def press(self, key: Key) -> Any:
        return self._keys.get(key.name)


class _Push(Controls):
    """One number that the left and right arrows push to the ends of its range, half way with shift."""

    live, help = True, "hold left or right to push, with shift half as much"

    def __init__(self, space: gym.spaces.Box, scale: float) -> None:
        self._low, self._high, self._scale, self._space = float(space.low[0]), float(space.high[0]), scale, space

    def hold(self, down: set[str]) -> Any:
        share = (("right" in down) - ("left" in down)) * self._scale * (0.5 if any("shift" in k for k in down) else 1)
        value = share * (self._high if share > 0 else -self._low)
        return np.array([min(max(value, self._low), self._high)], self._space.dtype)


class _Dials(Controls):
    """Several numbers: up and down choose one, left and right change it, enter plays the step."""

    help = "up, down: choose a number  left, right: change it (shift: finer)  0: to the middle  enter: act"

    def __init__(self, space: gym.spaces.Box, scale: float) -> None:
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._middle = np.clip(0.0, self._low, self._high)
        self._value, self._at, self._scale, self._space = self._middle.copy(), 0, scale, space

    def press(self, key: Key) -> Any:
        n = len(self._value)
        if key.name in ("up", "down"):
            self._at = (self._at + (1 if key.name == "down" else -1)) % n
        elif key.name in ("left", "right"):
            step = (0.01 if key.shift else 0.1) * self._scale * (1 if key.name == "right" else -1)
            width = (self._high - self._low)[self._at] / 2
            moved = self._value[self._at] + step * (width if np.isfinite(width) else 1.0)
            self._value[self._at] = np.clip(round(moved, 6), self._low[self._at], self._high[self._at])
        elif key.name == "0":
            self._value[self._at] = self._middle[self._at]
        elif key.name in ("return", "space", "enter"):
            return self._value.astype(self._space.dtype)
        return None

    def describe(self) -> str:
        first = min(max(self._at - SHOWN // 2, 0), max(len(self._value) - SHOWN, 0))
        numbers = [
            f"[{value:+.2f}]" if i == self._at else f"{value:+.2f}"
            for i, value in enumerate(self._value.tolist())
            if first <= i < first + SHOWN
        ]
        return f"number {self._at + 1} of {len(self._value)}:  {'  '.join(numbers)}"


def controls(space: gym.Space[Any], scale: float = 1.0) -> Controls:
    """Return how keys become actions of a space.

    Raises:
        ValueError: the space is neither Discrete from 0 nor a Box of one dimension.
    """
    if isinstance(space, gym.spaces.Discrete) and space.start == 0:
        return _Choices(int(space.n))
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and space.dtype.kind == "f":
        return _Push(space, scale) if space.shape == (1,) else _Dials(space, scale)
    raise ValueError(f"Action space {space} cannot be played by keys; expected Discrete from 0 or a Box (n,).")


def _with_lines(picture: npt.NDArray[np.uint8], lines: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return a picture with lines of text below it."""
    pixels = raster.blank(picture.shape[0] + STRIP, picture.shape[1], Population.PAGE)
    pixels[: picture.shape[0]] = picture
    for i, line in enumerate(lines):
        raster.Canvas(pixels).text((12, picture.shape[0] + LINE * i + 10), line, 8, Chart.INK)
    return pixels


def _picture(env: gym.Env[Any, Any]) -> npt.NDArray[np.uint8]:
    """Return what a player sees: nothing that is hidden from agents."""
    draw = getattr(env.unwrapped, "picture", None)
    found: npt.NDArray[np.uint8] = env.render() if draw is None else draw("human")  # type: ignore[assignment]
    return found


def _verdict(env: gym.Env[Any, Any], total: float) -> str:
    """Return the score of a discounted return between the naive reference and the oracle, "" where there is none."""
    core: Any = getattr(env.unwrapped, "core", None)
    if core is None or getattr(core, "hidden", False) or not hasattr(core, "references"):
        return ""
    naive, best = (float(np.ravel(one)[0]) for one in core.references(env.unwrapped.task))  # type: ignore[attr-defined]
    return f", score {(total - naive) / (best - naive):.2f} (0 naive, 1 oracle)" if best > naive else ""


def play(env: gym.Env[Any, Any], screen: Screen, seed: int = 0, scale: float = 1.0) -> list[float]:
    """Play episodes until the player leaves, and return those finished, as undiscounted returns.

    Args:
        env: with render mode "rgb_array".
        screen: where pictures go and keys come from.
        seed: of the first reset.
        scale: factor of what an arrow changes in a Box.

    Raises:
        ValueError: keys cannot play the action space, or the scale is no number above 0.
    """
    keys, fps = controls(env.action_space, checks.real("scale", scale, above=0)), env.metadata.get("render_fps", 4)
    discount = getattr(getattr(env.unwrapped, "core", None), "discount", 1.0)
    finished: list[float] = []
    new_seed: int | None = seed
    while not screen.closed:
        env.reset(seed=new_seed)
        new_seed, over, total, discounted, steps, last = None, False, 0.0, 0.0, 0, 0.0
        verdict = ""
        while not screen.closed:
            state = f"step {steps}  reward {last:+.3g}  return {total:+.4g}{verdict}"
            prepared = "episode over: r starts another one" if over else keys.describe()
            screen.show(
                _with_lines(_picture(env), (f"{keys.help}  r: restart  q: quit", prepared, state)), max(fps, 10)
            )
            pressed, action = screen.keys(), None
            if any(key.name in ("q", "escape") for key in pressed):
                return finished
            if any(key.name == "r" for key in pressed):
                break
            for key in pressed:
                action = keys.press(key) if action is None else action
            if over:
                continue
            if keys.live:
                action = keys.hold(screen.held())
            if action is None:
                continue
            _, reward, terminated, truncated, _ = env.step(action)
            last = float(reward)
            total, discounted, steps = total + last, discounted + discount**steps * last, steps + 1
            if terminated or truncated:
                over, verdict = True, _verdict(env, discounted)
                finished.append(total)
    return finished


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    sub = add_command(
        commands,
        "play",
        _play,
        "play an environment in a window with the keyboard (extra: play)",
        "valuegym play Delivery",
        "valuegym play Pendulum --scale 0.5",
        "valuegym play valuegym/RandomDelivery-v0 --seed 3 --set reward=hidden",
    )
    sub.add_argument("environment", metavar="ENV", help="id of an environment, such as Delivery (`valuegym list`)")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="of the first episode (default: 0)")
    sub.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="factor of what an arrow key changes (default: 1)"
    )
    add_settings(sub, "an argument of the environment, as JSON or text; repeatable")


def _play(args: argparse.Namespace) -> None:
    try:
        env = gym.make(environment_id(args.environment), render_mode="rgb_array", **dict(args.set))
    except TypeError as error:  # an argument that the environment does not have
        raise ValueError(str(error)) from error
    controls(env.action_space, checks.real("scale", args.scale, above=0))
    window = Window(args.environment)
    try:
        returns = play(env, window, checks.integer("seed", args.seed, 0), args.scale)
    finally:
        window.close()
        env.close()
    print(f"{len(returns)} episodes finished" + (f", returns {', '.join(f'{x:.4g}' for x in returns)}" * bool(returns)))
