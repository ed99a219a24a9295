"""Draw the pictures of the documentation: `python docs/draw.py` (needs the site extra)."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
from matplotlib.image import imsave

import valuegym  # noqa: F401 - registers the ids

FOLDER = Path(__file__).parent / "images"


def main() -> None:
    """A step of the delivery task, and a query as a person would see it."""
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


if __name__ == "__main__":
    main()
