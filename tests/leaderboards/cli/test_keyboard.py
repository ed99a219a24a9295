"""Playing with the keyboard: keys become actions, and the player leaves when he likes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs.rendering.window import Key
from valuegym.leaderboards.cli import keyboard
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.cli.naming import environment_id, experiment_of


class Script:
    """A screen whose player presses these keys, one a frame ("" for none), and then leaves."""

    def __init__(self, keys: Iterable[str], held: Iterable[str] = ()) -> None:
        self.keys_left, self.down, self.shown, self.closed = list(keys), set(held), 0, False

    def show(self, picture: np.ndarray, fps: float = 0.0) -> None:
        assert picture.dtype == np.uint8 and fps >= 10
        self.shown += 1

    def keys(self) -> list[Key]:
        name = self.keys_left.pop(0) if self.keys_left else "q"
        return [Key(name.removeprefix("+"), name.startswith("+"))] if name else []

    def held(self) -> set[str]:
        return self.down


class Kept(gym.Wrapper):
    """Keep the actions."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.actions: list[Any] = []

    def step(self, action: Any) -> Any:
        self.actions.append(np.asarray(action).tolist())
        return self.env.step(action)


def played(id: str, keys: Iterable[str], held: Iterable[str] = (), **kwargs: Any) -> tuple[list[float], list[Any], int]:
    env = Kept(gym.make(f"valuegym/{id}-v0", render_mode="rgb_array", **kwargs))
    screen = Script(keys, held)
    returns = keyboard.play(env, screen, seed=0)
    return returns, env.actions, screen.shown


def test_arrow_keys_move_and_the_episode_ends() -> None:
    kwargs = {"board": ".G"}
    returns, actions, shown = played("RandomDelivery", ["up", "", "x", "right", "", "r", "left"], **kwargs)
    assert actions == [0, 3, 2] and returns == [49.0] and shown == 8


def test_letters_choose_among_many_actions() -> None:
    returns, actions, _ = played("TokenProcess", ["a", "7", "c", "b", "h", "a", "r"])
    assert actions == [0, 7, 2, 1, 7] and len(returns) == 1


def test_held_arrows_push_and_shift_halves() -> None:
    assert played("Pendulum", [""] * 3, ["left"])[1] == [[-1.0]] * 3
    assert played("Pendulum", [""], ["right", "left shift"])[1] == [[0.5]]
    assert played("Pendulum", [""])[1] == [[0.0]]


def test_dials_choose_a_number_and_change_it() -> None:
    keys = ["right", "right", "down", "+left", "return", "up", "0", "return"]
    _, actions, _ = played("LockIn", keys, people=3, steps=3)
    assert np.allclose(actions, [[0.2, -0.01], [0.0, -0.01]])
    _, actions, _ = played("LockIn", [*["left"] * 15, "return"], people=3, steps=3)
    assert actions == [[-1.0, 0.0]], "a number stays within its range"


def test_every_environment_can_be_played_but_those_without_keys() -> None:
    assert played("Coevolve", ["return"] * 9)[0] != []
    space = gym.spaces.MultiBinary(3)
    with pytest.raises(ValueError, match="cannot be played by keys"):
        keyboard.controls(space)


def test_names_of_environments_are_completed_or_proposed() -> None:
    for name in ("Delivery", "delivery", "Delivery-v0", "valuegym/Delivery-v0"):
        assert environment_id(name) == "valuegym/Delivery-v0"
    with pytest.raises(ValueError, match=r"no environment 'Pendulm'\. Did you mean Pendulum"):
        environment_id("Pendulm")
    assert experiment_of("Pendulum").id == "control/pendulum"
    assert experiment_of("RewardInference").timesteps == 0


def test_play_says_what_is_wrong_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (("Delivry",), "Did you mean Delivery"),
        (("Delivery", "--scale", "0"), "expected a finite number above 0"),
        (("Delivery", "--set", "observaton=onehot"), "Did you mean observation"),
        (("RewardInferenceActive", "--set", "annotater=regret"), "Did you mean annotator"),
        (("Predict", "--set", "familyy=mixed"), "Did you mean family"),
        (("RewardInference", "--set", "annotator=regrets"), "Did you mean regret"),
        (("RewardInference", "--set", "split=tests"), "Did you mean test"),
    ):
        assert main(["play", *words]) == 2 and said in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_person_plays_in_a_window(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    pygame = pytest.importorskip("pygame", reason="pygame is not installed: extra play")
    pressed = iter([pygame.K_LEFT, pygame.K_q])
    pump = pygame.event.pump

    def press() -> None:
        pump()
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=next(pressed), mod=0))

    monkeypatch.setattr(pygame.event, "pump", press)
    assert main(["play", "Delivery", "--seed", "1"]) == 0
    assert capsys.readouterr().out == "0 episodes finished\n"
