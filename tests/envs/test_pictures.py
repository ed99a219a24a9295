"""Pictures of every environment: one size, nothing hidden where it may not be known, and windows."""

from __future__ import annotations

import sys
import types
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym import envs
from valuegym.envs import extras
from valuegym.envs.rendering import delivery, window
from valuegym.envs.rendering.palette import Delivery
from valuegym.envs.rendering.window import Window

IDS = sorted(envs.ENVS)
SHORT = {  # arguments that keep pictures and episodes small
    "valuegym/LockIn-v0": {"people": 5, "steps": 3},
    "valuegym/RewardInference-v0": {"evaluation_points": (0, 2)},
    "valuegym/RewardInferenceActive-v0": {"evaluation_points": (0, 2), "candidates": 3},
    "valuegym/RewardInferencePolicy-v0": {"evaluation_points": (0, 2)},
}


def made(id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    return gym.make(id, **{"render_mode": "rgb_array", **SHORT.get(id, {}), **kwargs})


def frames(env: gym.Env[Any, Any], seeds: int = 3, steps: int = 3) -> list[np.ndarray]:
    found = []
    for seed in range(seeds):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        found.append(np.asarray(env.render()))
        for _ in range(steps):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            found.append(np.asarray(env.render()))
            if terminated or truncated:
                break
    return found


def has(picture: np.ndarray, color: str) -> bool:
    return bool((picture == np.array(tuple(bytes.fromhex(color[1:])))).all(-1).any())


# --- one size ---


class Clip:
    """What Gymnasium's RecordVideo asks of moviepy: frames of one size."""

    written: list[tuple[int, tuple[int, ...]]] = []

    def __init__(self, sequence: list[np.ndarray], fps: float) -> None:
        [shape] = {frame.shape for frame in sequence}
        self.written.append((len(sequence), shape))

    def write_videofile(self, path: str, **_: Any) -> None:
        pass


@pytest.fixture
def moviepy(monkeypatch: pytest.MonkeyPatch) -> type[Clip]:
    """Stand in for moviepy where it is not installed."""
    module = types.ModuleType("moviepy")
    module.ImageSequenceClip = Clip  # type: ignore[attr-defined]
    inner = types.ModuleType("moviepy.video.io.ImageSequenceClip")
    inner.ImageSequenceClip = Clip  # type: ignore[attr-defined]
    for name in ("moviepy", "moviepy.video", "moviepy.video.io", inner.__name__):
        monkeypatch.setitem(sys.modules, name, inner if name == inner.__name__ else module)
    monkeypatch.setattr(Clip, "written", [])
    return Clip


@pytest.mark.parametrize("id", IDS)
@pytest.mark.filterwarnings("ignore:.*Overwriting existing videos.*")
def test_gymnasium_films_three_seeds(id: str, moviepy: type[Clip], tmp_path: Any) -> None:
    env = gym.wrappers.RecordVideo(made(id), str(tmp_path), step_trigger=lambda step: step == 1, video_length=9)
    frames(env, steps=2)  # one film over all episodes
    env.close()
    [(number, shape)] = moviepy.written
    assert number > 5 and shape[0] % 2 == shape[1] % 2 == 0, "encoders of films want even sides"


@pytest.mark.filterwarnings("ignore")
def test_a_film_is_written(tmp_path: Any) -> None:
    pytest.importorskip("moviepy", reason="moviepy is not installed: extra video")
    env = gym.wrappers.RecordVideo(made("valuegym/RandomDelivery-v0"), str(tmp_path), episode_trigger=lambda _: True)
    frames(env, seeds=2)
    env.close()
    assert all(file.stat().st_size > 1000 for file in tmp_path.glob("*.mp4")) and any(tmp_path.iterdir())


def test_a_board_must_fit_its_frame() -> None:
    with pytest.raises(ValueError, match=r"frame is \(1, 2\); expected at least the board's"):
        delivery.rgb([[0, 0, 0]], (0, 0), frame=(1, 2))


# --- what may be known ---


@pytest.mark.parametrize("reward", ["true", "hidden"])
def test_hidden_rewards_are_in_no_picture(reward: str) -> None:
    def shown(weights: tuple[float, ...]) -> list[Any]:
        board = ".$X\n.#S\n..G"
        kwargs = {"board": board, "weights": weights, "reward": reward}
        found: list[Any] = []
        for mode in ("rgb_array", "ansi"):
            env = made("valuegym/RandomDelivery-v0", render_mode=mode, **kwargs)
            env.reset(seed=0, options={"cell": 0})
            env.step(3)
            found.append(env.render())
        return found

    first, second = shown((-1.0, 50.0, -50.0, 1.0, -1.0, -2.0)), shown((-2.0, 40.0, -30.0, 5.0, -3.0, -4.0))
    same = [np.array_equal(a, b) for a, b in zip(first, second, strict=True)]
    assert same == [reward == "hidden"] * 2


def test_a_token_process_hides_its_rewards_from_pictures_too() -> None:
    for kind in ("true", "hidden"):
        env = made("valuegym/TokenProcess-v0", render_mode="ansi", reward=kind)
        env.reset(seed=0)
        env.step(0)
        assert ("return" in str(env.render())) is (kind == "true")


HIDDEN = {  # of the task and of the state: what a player may not see, and what changes it
    "valuegym/Follow-v0": ("path", ()),
    "valuegym/Predict-v0": ("path", ()),
    "valuegym/Coevolve-v0": ("", ("people", "counterfactual")),
    "valuegym/LockIn-v0": ("truth", ("private",)),
}


@pytest.mark.parametrize("id", sorted(HIDDEN))
def test_a_player_sees_nothing_that_is_hidden(id: str) -> None:
    env: Any = made(id).unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    of_task, of_state = HIDDEN[id]
    before = env.picture("human"), env.picture("rgb_array")
    if of_task:
        env.task = env.task._replace(**{of_task: getattr(env.task, of_task) + 0.4})
    env.state = env.state._replace(**{name: getattr(env.state, name) + 0.4 for name in of_state})
    after = env.picture("human"), env.picture("rgb_array")
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1]), "pictures that explain show it"


def test_the_legend_names_what_is_there_and_nothing_else() -> None:
    road, brick = [[0, 0, 1]], [[0, 6, 1]]
    for board in (road, brick):
        picture = delivery.rgb(board, (0, 0))
        assert has(picture, Delivery.BRICKS[0]) is (board is brick)
        assert ("brick" in delivery.ansi(board, (0, 0))) is (board is brick)
        assert not any(word in delivery.ansi(board, (0, 0)) for word in ("house", "sheep", "coin", "roadblock"))


def test_arrows_lie_beside_the_items() -> None:
    board, path = np.array([[4, 3, 5], [2, 0, 4]]), [(1, 1), (0, 1), (0, 0)]
    size, corner = 48, delivery.MARGIN
    plain, drawn = (delivery.rgb(board, (1, 2), [*path[:n], (1, 2)] if n else [], [0] * n) for n in (0, 2))
    for row, column in ((0, 1), (0, 0)):
        inside = (
            slice(corner + row * size + 14, corner + (row + 1) * size - 14),
            slice(corner + column * size + 12, corner + (column + 1) * size - 12),
        )
        top = (plain.shape[0] - delivery.CAPTION - corner - 2 * size) // 2  # boards lower than their legend
        moved = (slice(inside[0].start + top, inside[0].stop + top), inside[1])
        assert np.array_equal(plain[moved], drawn[moved])


@pytest.mark.parametrize("answer", [0, 1, 2, 3])
def test_the_preferred_side_is_marked(answer: int) -> None:
    segment = ([[0, 0], [0, 1]], [3])
    picture = delivery.pair([[0, 0, 0]] * 3, segment, segment, "", answer=answer)
    half = picture.shape[1] // 2
    assert [has(side, Delivery.GREEN) for side in (picture[:, :half], picture[:, half:])] == [
        answer == 0,
        answer == 1,
    ]


def test_candidates_stand_beside_the_answered_pair() -> None:
    env = made("valuegym/RewardInferenceActive-v0")
    plain = made("valuegym/RewardInference-v0")
    shapes = [frame.shape for frame in frames(env, seeds=1, steps=9)]
    assert len(set(shapes)) == 1 and shapes[0][1] > frames(plain, 1, 1)[0].shape[1]
    text = made("valuegym/RewardInferenceActive-v0", render_mode="ansi")
    text.reset(seed=0)
    assert "choose one of 3 candidates" in str(text.render()) and "   2  state" in str(text.render())


# --- windows ---


class FakeWindow:
    """Keep what a window would show."""

    def __init__(self, title: str) -> None:
        self.shown: list[np.ndarray] = []
        self.closed = False

    def show(self, picture: np.ndarray, fps: float = 0.0) -> None:
        self.shown.append(picture)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("id", IDS)
def test_every_environment_shows_each_step_in_a_window(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuegym.envs.functional.Window", FakeWindow)
    env = made(id, render_mode="human")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    shown: Any = env.unwrapped._window  # type: ignore[attr-defined]
    assert len(shown.shown) == 2 and shown.shown[0].shape == shown.shown[1].shape
    assert env.render() is None and len(shown.shown) == 3
    env.close()
    assert shown.closed


def test_a_window_without_pygame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ImportError, match="A window needs pygame: pip install"):
        made("valuegym/Delivery-v0", render_mode="human")
    with pytest.raises(ImportError) as refused:
        Window("title")
    assert extras.hint("play") in str(refused.value)


@pytest.mark.filterwarnings("ignore")
def test_a_real_window_shows_and_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    pygame = pytest.importorskip("pygame", reason="pygame is not installed: extra play")
    env = made("valuegym/Delivery-v0", render_mode="human")
    env.unwrapped.metadata["render_fps"] = 0  # without waiting
    env.reset(seed=0)
    for action in (0, 1, 2):
        env.step(action)
    shown = env.unwrapped._window  # type: ignore[attr-defined]
    picture = env.unwrapped.picture("human")  # type: ignore[attr-defined]
    assert pygame.display.get_surface().get_size() == picture.shape[1::-1]
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_LEFT, mod=pygame.KMOD_LSHIFT))
    assert shown.keys() == [window.Key("left", True)] and shown.held() == set() and not shown.closed
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert shown.keys() == [] and shown.closed
    shown.show(np.zeros((10, 20, 3), np.uint8))  # another size is scaled
    env.close()
