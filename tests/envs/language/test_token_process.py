"""The environment against the values of its prefixes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs.language import prefixes
from valuegym.envs.language.token_process import TokenProcess

ID = "valuegym/TokenProcess-v0"


def play(env: Any, prompt: int, tokens: list[int]) -> tuple[float, Any]:
    observation, _ = env.reset(seed=0, options={"prompt": prompt})
    total = 0.0
    for t, token in enumerate(tokens):
        observation, reward, terminated, _, _ = env.step(token)
        assert terminated == (t == len(tokens) - 1)
        total += reward
    return total, observation


def test_returns_and_observations() -> None:
    env = gym.make(ID, vocabulary=3, length=3, prompts=2)
    core: Any = env.unwrapped.core  # type: ignore[attr-defined]
    total, observation = play(env, 1, [2, 0, 1])
    expected = [core.rewards[1, core.tree.number([2, 0, 1][:t]), token] for t, token in enumerate([2, 0, 1])]
    assert total == pytest.approx(sum(expected), abs=1e-12)
    assert observation.tolist() == [0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0]


def test_the_oracle_reaches_the_optimal_value_for_every_prompt() -> None:
    envs: Any = gym.make_vec(ID, num_envs=4)
    core = envs.unwrapped.core
    envs.reset(seed=0, options={"prompt": np.arange(4)})
    total = np.zeros(4)
    for _ in range(core.tree.T):
        total += envs.step(core.oracle_action(envs.unwrapped.task, envs.unwrapped.state))[1]
    naive, best = core.references(envs.unwrapped.task)
    assert np.allclose(total, best, atol=1e-12) and (naive < best).all()
    assert np.allclose(best, prefixes.optimal_values(core.rewards)[0][:, 0])
    assert best.mean() == pytest.approx(8.112, abs=1e-3) and naive.mean() == pytest.approx(-0.134, abs=1e-3)


def test_hidden_rewards_are_still_scored() -> None:
    shown, hidden = TokenProcess(), TokenProcess(reward="hidden")
    key = np.arange(3, dtype=np.uint64)
    task, state = hidden.initial(key)
    action = np.array([1, 2, 3])
    following = hidden.transition(task, state, action, key, np.zeros(3, np.int64))
    assert (hidden.reward(task, state, action, following) == 0).all()
    assert (hidden.true_reward(task, state, action, following) == shown.reward(task, state, action, following)).all()


def test_a_finished_response_stays_and_earns_nothing() -> None:
    core = TokenProcess(vocabulary=2, length=1, prompts=1)
    key, zero = np.zeros(1, np.uint64), np.zeros(1, np.int64)
    task, state = core.initial(key)
    state = core.transition(task, state, zero, key, zero)
    assert core.terminal(task, state).all()
    after = core.transition(task, state, zero, key, zero + 1)
    assert after.prefix == state.prefix and core.reward(task, state, zero, after) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary": 16, "length": 8}, "137 GiB"),
        ({"vocabulary": 2.0}, "vocabulary is 2.0; expected an integer from 2"),
        ({"reward": "none"}, "reward is 'none'; expected one of 'true', 'hidden'"),
        ({"pair": np.nan}, "pair is nan"),
    ],
)
def test_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenProcess(**arguments)


@pytest.mark.parametrize("prompt", [4, -1, 1.0])
def test_prompts_are_refused(prompt: Any) -> None:
    with pytest.raises(ValueError, match="prompt"):
        gym.make(ID).reset(seed=0, options={"prompt": prompt})


def test_pictures_follow_the_response() -> None:
    env = gym.make(ID, render_mode="rgb_array")
    env.reset(seed=0)
    before: Any = env.render()
    env.step(1)
    after: Any = env.render()
    assert before.shape == after.shape and (before != after).any()
    text = gym.make(ID, render_mode="ansi", vocabulary=30, length=3)
    text.reset(seed=0, options={"prompt": 3})
    text.step(27)
    assert str(text.render()).startswith("prompt 3: 27 . .  return ")
