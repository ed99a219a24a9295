"""Draw the pictures of docs/control.md: `python docs/draw_control.py` (needs the site extra)."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

import valuegym  # noqa: F401 - registers the ids
from valuegym.envs.control import pendulum

FOLDER = Path(__file__).parent / "images"
TASKS = (  # id, steps of the oracle before the picture is taken
    ("LQR-v0", 4),
    ("Pendulum-v0", 9),
    ("CartPoleSwingUp-v0", 60),
    ("MountainCarContinuous-v0", 62),
    ("Acrobot-v0", 48),
    ("Pendulum-D8-v0", 12),
)


def tasks() -> None:
    """Six tasks, side by side."""
    pictures = []
    for id, steps in TASKS:
        env = gym.make(f"valuegym/{id}", render_mode="rgb_array")
        env.reset(seed=1)
        core = env.unwrapped.core  # type: ignore[attr-defined]
        for _ in range(steps):
            env.step(core.oracle_action(env.unwrapped.task, env.unwrapped.state)[0])  # type: ignore[attr-defined]
        pictures.append(np.asarray(env.render()))
    height = max(len(picture) for picture in pictures)
    padded = [np.pad(p, ((0, height - len(p)), (0, 0), (0, 0)), mode="edge") for p in pictures]
    first = [p[: min(len(x) for x in pictures)] for p in padded[:3]]
    rows = [np.concatenate(first, 1), np.concatenate(padded[3:], 1)]
    imsave(FOLDER / "control.png", np.concatenate(rows), metadata={"Software": None})


def values() -> None:
    """The pendulum's optimal value and torque on the grid."""
    core = pendulum.Pendulum()
    angle, velocity = np.linspace(-np.pi, np.pi, 301), np.linspace(-8, 8, 241)
    points = [x.reshape(-1) for x in np.meshgrid(angle, velocity)]
    state, key = pendulum.State(*points), np.zeros(1, np.uint64)
    task = core.initial(key)[0]
    maps = (
        ("optimal value", core.oracle_value(task, state), "viridis"),
        ("torque of the greedy policy (N m)", 2 * core.oracle_action(task, state)[:, 0], "RdBu"),
    )
    figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="#f6f4ef")
    for axes, (title, field, colours) in zip(figure.subplots(1, 2), maps, strict=True):
        image = axes.imshow(
            field.reshape(241, 301), origin="lower", extent=(-np.pi, np.pi, -8, 8), aspect="auto", cmap=colours
        )
        axes.set(title=title, xlabel="angle from upright (rad)", ylabel="velocity (rad/s)")
        figure.colorbar(image, ax=axes)
    figure.savefig(FOLDER / "pendulum_value.png", dpi=100, metadata={"Software": None})


def preferences() -> None:
    """An answered pair of segments of a regulator that is known from preferences."""
    env = gym.make("valuegym/LQRFromPreferences-v0", render_mode="rgb_array")
    env.reset(seed=3)
    for _ in range(2):
        env.step(np.zeros(6, np.float32))
    imsave(FOLDER / "lqr_from_preferences.png", np.asarray(env.render()), metadata={"Software": None})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    tasks()
    values()
    preferences()
