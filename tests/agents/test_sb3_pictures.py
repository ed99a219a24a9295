"""Stable-Baselines3 shows and films environments whose boards differ from episode to episode."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym

if importlib.util.find_spec("stable_baselines3") is None:
    pytest.skip("needs valuegym[agents]", allow_module_level=True)

from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecVideoRecorder

ID = "valuegym/RandomDelivery-v0"


class Uniform:
    """Random moves."""

    def predict(self, observation: Any, **_: Any) -> tuple[Any, None]:
        return np.random.default_rng(0).integers(0, 4, len(observation)), None


def rows(kind: str) -> Any:
    if kind == "native":
        return valuegym.sb3_vec_env(ID, num_envs=3, seed=0, observation="planes", render_mode="rgb_array")
    made = [lambda: gym.make(ID, observation="planes", render_mode="rgb_array", max_episode_steps=3)] * 3
    return DummyVecEnv(made)


@pytest.mark.parametrize("kind", ["native", "dummy"])
def test_rows_with_different_boards_are_one_picture(kind: str) -> None:
    envs = rows(kind)
    envs.seed(0)
    envs.reset()
    images = envs.get_images()
    assert len({image.shape for image in images}) == 1 and not np.array_equal(images[0], images[1])
    tiled = envs.render()
    assert tiled.shape[0] >= images[0].shape[0] and tiled.shape[1] >= 2 * images[0].shape[1]


@pytest.mark.filterwarnings("ignore:.*Monitor.*")
def test_evaluations_render(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = rows("dummy")
    shown: list[Any] = []
    monkeypatch.setattr(envs, "render", lambda *_: shown.append(envs.get_images()))
    evaluate_policy(Uniform(), envs, n_eval_episodes=3, render=True)  # type: ignore[arg-type]
    assert len({image.shape for images in shown for image in images}) == 1 and len(shown) > 2


@pytest.mark.parametrize("kind", ["native", "dummy"])
def test_films_of_several_rows(kind: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    class Clip:
        def __init__(self, sequence: list[np.ndarray], fps: float) -> None:
            written.append(({frame.shape for frame in sequence}, fps))

        def write_videofile(self, path: str, **_: Any) -> None:
            pass

    inner = types.ModuleType("moviepy.video.io.ImageSequenceClip")
    inner.ImageSequenceClip = Clip  # type: ignore[attr-defined]
    for name in ("moviepy", "moviepy.video", "moviepy.video.io"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, inner.__name__, inner)
    film = VecVideoRecorder(rows(kind), str(tmp_path), lambda step: step == 0, video_length=5)
    film.reset()
    for _ in range(6):  # boards change on the way
        film.step(np.zeros(3, np.int64))
    film.close()
    [(shapes, fps)] = written
    assert len(shapes) == 1 and fps == 4
