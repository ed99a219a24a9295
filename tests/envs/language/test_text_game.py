"""Environments as games of texts: the same episodes as by numbers, by each of the protocols."""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium as gym
import pytest

from valuegym.envs.language.text_game import OVER, TextGame, games

DELIVERY = "valuegym/Delivery-v0"


def test_the_same_episode_as_by_numbers() -> None:
    env, game = gym.make(DELIVERY), TextGame(gym.make(DELIVERY))
    env.reset(seed=3)
    game.reset(seed=3)
    total = 0.0
    for step in range(30):
        action = step * 5 % 4
        _, reward, terminated, truncated, _ = env.step(action)
        text = game.step(f" {('up', 'down', 'left', 'RIGHT')[action]}.\n")
        total += float(reward)
        assert (game.reward, game.total, game.get_reward()) == (reward, total, total)
        assert game.done == (terminated or truncated) and (text == OVER) == game.done
        if game.done:
            break
    assert game.state["step_count"] == step + 1 and game.state["total"] == total


def test_equal_seeds_give_equal_starts_and_columns_are_ignored() -> None:
    one, two = TextGame(gym.make(DELIVERY)), TextGame(gym.make(DELIVERY), first_seed=8)
    assert one.reset(seed=5, prompt=[{"role": "user"}], answer=3) == two.reset(5)
    assert one.reset(seed=5).endswith("Move\nOptions: up, down, left, right.")
    make = games(DELIVERY)
    starts = [make().reset() for _ in range(8)]
    assert len(set(starts)) > 4
    make = games(DELIVERY)
    assert [make().reset() for _ in range(8)] == starts


def test_other_answers_use_a_turn_and_make_no_step() -> None:
    game = TextGame(gym.make(DELIVERY), turns=3, invalid=-0.5)
    text = game.reset(seed=0)
    assert game.step("jump") == text and game.reward == -0.5 and not game.done
    assert game.get_reward() == -0.5 + 2 * -0.5  # turns that are left count like answers that are none
    game.step("up")
    assert game.step("") == OVER and game.truncated and not game.terminated
    total = game.total
    assert game.get_reward() == total and game.step("up") == OVER and game.total == total  # nothing happens any more


def test_a_game_has_to_be_reset_first() -> None:
    game = TextGame(gym.make(DELIVERY))
    assert game.done and game.step("up") == OVER and game.total == 0


def test_by_the_signatures_of_gymnasium() -> None:
    view = TextGame(gym.make("valuegym/TokenProcess-v0", length=2)).gym
    text, info = view.reset(seed=1)
    assert text.startswith("Prompt p") and info == {}
    text, reward, terminated, truncated, _ = view.step("t3")
    assert "Written: t3." in text and not (terminated or truncated) and isinstance(reward, float)
    assert view.step("t0")[2:4] == (True, False)
    with pytest.raises(ValueError, match="is over; call reset first"):
        view.step("t0")


def test_actions_that_are_arrays() -> None:
    game = TextGame(gym.make("valuegym/LockIn-v0", steps=3))
    assert "trust little" in game.reset(seed=0)
    for _ in range(3):
        game.step("Trust little")
    assert game.terminated and game.total < 0


def test_a_model_is_offered_one_tool() -> None:
    public = [name for name, _ in inspect.getmembers(TextGame, inspect.isfunction) if not name.startswith("_")]
    assert sorted(public) == ["get_reward", "reset", "step"]
    hints: dict[str, Any] = inspect.get_annotations(TextGame.step, eval_str=True)
    assert hints == {"action": str, "return": str} and "action:" in str(TextGame.step.__doc__)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match=r"no words for NoneType|There are no words"):
        TextGame(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="expected a scalar environment"):
        TextGame(gym.make_vec(DELIVERY, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="turns is 0"):
        TextGame(gym.make(DELIVERY), turns=0)
    own = TextGame(gym.make("CartPole-v1"), words=lambda seen: ("The pole leans. Push", [" left", " right"]))
    assert own.reset(seed=0) == "The pole leans. Push\nOptions: left, right."
