"""Draw the pictures of the documentation: `python docs/draw.py` (needs the site extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from matplotlib.image import imsave
from PIL import Image

import valuegym  # noqa: F401 - registers the ids
from valuegym.envs.rendering import raster
from valuegym.envs.rendering.palette import Chart, Population

FOLDER = Path(__file__).parent / "images"
# Poster: family; id, arguments, seed, steps, whether the oracle or a constant action plays, and what the task is.
SUITE: tuple[tuple[str, tuple[tuple[str, dict[str, Any], int, int, Any, str], ...]], ...] = (
    (
        "preference: what do people's answers say about the reward?",
        (
            ("Delivery", {}, 0, 3, None, "find the destination, past sheep and roadblocks"),
            ("RiskyDelivery", {}, 5, 2, None, "take the safe way, or gamble"),
            ("RewardInference", {"board": "published"}, 8, 2, 0.0, "infer the reward from preferences"),
            ("ProbeInference", {}, 3, 4, 0.0, "partial return cannot tell two tasks apart, regret can"),
        ),
    ),
    (
        "control: what must a model know for the value to be right?",
        (
            ("LQRFromPreferences", {}, 3, 2, 0.0, "control a regulator known from preferences"),
            ("Pendulum-D8", {}, 1, 12, None, "swing up among distractors, with exact values"),
            ("CartPoleSwingUp", {}, 1, 60, None, "swing up a pole on a cart"),
            ("MountainCarContinuous", {}, 1, 62, None, "leave a valley with a weak engine"),
        ),
    ),
    (
        "coevolution: what do people value, while an AI moves them?",
        (
            ("Follow", {}, 3, 4, None, "estimate what people value now"),
            ("Predict", {}, 5, 4, None, "estimate what they will value"),
            ("Coevolve", {}, 3, 6, None, "help people without moving their values"),
            ("LockIn", {}, 3, 40, (-0.95, 0.0), "help people to learn a truth, without locking them in"),
        ),
    ),
    (
        "language, and more",
        (
            ("FollowLanguage", {}, 3, 3, None, "say what people that are language models value"),
            ("TokenProcess", {}, 3, 3, None, "write a response, token by token, with exact values"),
            ("RewardInferenceActive", {"board": "published", "candidates": 6}, 8, 2, 0.0, "choose what is asked next"),
            ("Acrobot", {}, 1, 48, None, "raise a two-link robot"),
        ),
    ),
)
TILE, TALL, GAP, TITLE, BAND = 460, 330, 26, 46, 60  # pixels


def main() -> None:
    """A step of the delivery task, a query as a person would see it, and the poster."""
    FOLDER.mkdir(exist_ok=True)
    env = gym.make("valuegym/Delivery-v0", render_mode="rgb_array")
    env.reset(options={"cell": 86})
    for action in (3, 0, 3):
        env.step(action)
    imsave(FOLDER / "delivery.png", env.render(), metadata={"Software": None})
    env = gym.make("valuegym/RewardInference-v0", board="published", render_mode="rgb_array")
    env.reset(seed=8)
    for _ in range(2):
        env.step(env.action_space.low)
    imsave(FOLDER / "query.png", env.render(), metadata={"Software": None})
    Image.fromarray(poster()).quantize(192, dither=Image.Dither.NONE).save(FOLDER / "suite.png", optimize=True)


def scene(id: str, kwargs: dict[str, Any], seed: int, steps: int, plays: Any) -> np.ndarray[Any, Any]:
    """Return the picture of an environment after some steps of the oracle, or of a constant action."""
    env = gym.make(f"valuegym/{id}-v0", render_mode="rgb_array", **kwargs)
    env.reset(seed=seed)
    inner: Any = env.unwrapped
    for _ in range(steps):
        best = inner.core.oracle_action(inner.task, inner.state)[0] if plays is None else None
        constant = np.zeros(env.action_space.shape or (), np.float32) + np.asarray(plays or 0.0, np.float32)
        *_, terminated, truncated, _ = env.step(constant if best is None else best)
        if terminated or truncated:
            break
    return np.asarray(env.render())


def poster() -> np.ndarray[Any, Any]:
    """Return the whole suite in one picture, (height, width, 3)."""
    columns = max(len(tasks) for _, tasks in SUITE)
    width = columns * (TILE + GAP) + GAP
    page = raster.blank(GAP + len(SUITE) * (BAND + TALL + TITLE + GAP), width, Population.PAGE)
    pen, y = raster.Canvas(page), GAP
    for family, tasks in SUITE:
        pen.text((GAP, y + BAND / 2 - 6), family, 18, Chart.INK, weight=1.3)
        y += BAND
        for i, (id, kwargs, seed, steps, plays, about) in enumerate(tasks):
            x = GAP + i * (TILE + GAP)
            picture = Image.fromarray(scene(id, kwargs, seed, steps, plays))
            factor = min(TILE / picture.width, TALL / picture.height, 1.0)
            size = round(picture.width * factor), round(picture.height * factor)
            small = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
            left, top = x + (TILE - size[0]) // 4, y + (TALL - size[1]) // 2
            page[top : top + size[1], left : left + size[0]] = small
            pen.text((x, y + TALL + 14), id, 11, Chart.INK, weight=1.3)
            pen.text((x, y + TALL + 33), about, 9, Chart.INK)
        y += TALL + TITLE + GAP
    return page


if __name__ == "__main__":
    main()
