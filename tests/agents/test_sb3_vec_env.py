"""Native vector environments for Stable-Baselines3: the same steps as its own DummyVecEnv makes of scalar ones."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import ENVS

sb3 = pytest.importorskip("stable_baselines3")
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor  # noqa: E402

from valuegym.agents import sb3_vec_env  # noqa: E402

SUITABLE = [id for id, row in ENVS.items() if "query" not in row.tags]


@pytest.mark.parametrize("id", SUITABLE)
def test_steps_are_those_of_scalar_environments(id: str) -> None:
    n, steps = 3, 260 if id == "valuegym/Delivery-v0" else 60
    native = sb3_vec_env.make(id, n, seed=5)
    dummy = VecMonitor(DummyVecEnv([lambda: gym.make(id) for _ in range(n)]))
    dummy.seed(5)
    ours, theirs = native.reset(), dummy.reset()
    space = native.action_space
    space.seed(1)
    ended = 0
    for _ in range(steps):
        compare(ours, theirs)
        actions = np.stack([space.sample() for _ in range(n)])
        (ours, reward, done, infos), (theirs, reward_, done_, infos_) = native.step(actions), dummy.step(actions)
        np.testing.assert_array_equal(done, done_)
        np.testing.assert_array_equal(reward, reward_)
        assert reward.dtype == reward_.dtype
        for info, info_ in zip(infos, infos_, strict=True):
            assert info.get("TimeLimit.truncated", False) == info_.get("TimeLimit.truncated", False)
            assert ("terminal_observation" in info) == ("terminal_observation" in info_) == ("episode" in info)
            if "episode" in info:
                ended += 1
                compare(info["terminal_observation"], info_["terminal_observation"])
                assert info["episode"]["l"] == info_["episode"]["l"]
                assert info["episode"]["r"] == pytest.approx(info_["episode"]["r"], rel=1e-5, abs=1e-4)
    assert ended or id not in ("valuegym/Delivery-v0", "valuegym/RiskyDelivery-v0")


def compare(ours: Any, theirs: Any) -> None:
    for name in theirs if isinstance(theirs, dict) else ():
        np.testing.assert_array_equal(ours[name], theirs[name])
    if not isinstance(theirs, dict):
        np.testing.assert_array_equal(ours, theirs)


def test_ppo_and_dqn_train_on_it() -> None:
    envs = sb3_vec_env.make("valuegym/Delivery-v0", 4, seed=0, observation="onehot")
    model = sb3.PPO("MlpPolicy", envs, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu").learn(512)
    assert model.ep_info_buffer is not None
    sb3.DQN("MlpPolicy", envs, learning_starts=10, buffer_size=100, seed=0, device="cpu").learn(64)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"make it with autoreset_mode=gymnasium\.vector\.AutoresetMode\.SAME_STEP"):
        sb3_vec_env.NativeVecEnv(gym.make_vec("valuegym/Delivery-v0", num_envs=2))
    for num_envs in (0, 1.5, None):
        with pytest.raises(ValueError, match=r"num_envs is .*; expected an integer of at least 1"):
            sb3_vec_env.make("valuegym/Delivery-v0", num_envs)  # type: ignore[arg-type]
    envs = sb3_vec_env.make("valuegym/Delivery-v0", 2)
    with pytest.raises(ValueError, match="belongs to all rows together"):
        envs.set_attr("x", 1, indices=0)
    assert envs.get_attr("num_envs") == [2, 2] and envs.env_method("render", indices=[0]) == [None]
