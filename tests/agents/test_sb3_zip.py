"""Trained models of Stable-Baselines3 from their zip: the same actions as SB3's own loader, and nothing unpickled."""

from __future__ import annotations

import base64
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import make, sb3_zip

sb3 = pytest.importorskip("stable_baselines3")
torch = pytest.importorskip("torch")

BOX, DISCRETE, IMAGE = (
    {"id": "valuegym/Pendulum-v0"},
    {"id": "valuegym/Delivery-v0", "observation": "onehot"},
    {"id": "valuegym/Delivery-v0", "observation": "image"},
)
MODELS = [
    ("A2C", BOX, {}),
    ("DDPG", BOX, {}),
    ("DQN", DISCRETE, {"policy_kwargs": {"net_arch": [16]}}),
    ("PPO", BOX, {"policy_kwargs": {"net_arch": {"pi": [8], "vf": [16]}, "activation_fn": torch.nn.ReLU}}),
    ("PPO", DISCRETE, {"use_sde": False}),
    ("SAC", BOX, {"use_sde": True, "policy_kwargs": {"net_arch": [8, 8]}}),
    ("TD3", BOX, {"policy_kwargs": {"n_critics": 1}}),
]


def saved(folder: Path, name: str, kwargs: dict[str, Any], settings: dict[str, Any]) -> tuple[str, Any, Any]:
    env = gym.make(**kwargs)
    if name in ("DDPG", "DQN", "SAC", "TD3"):
        settings = settings | {"buffer_size": 10}
    model = getattr(sb3, name)("MlpPolicy", env, seed=3, device="cpu", **settings)
    model.save(folder / "model.zip")
    return f"{name.lower()}:{folder / 'model.zip'}", model, env


@pytest.mark.parametrize(("name", "kwargs", "settings"), MODELS)
def test_actions_are_those_of_the_model(
    tmp_path: Path, name: str, kwargs: dict[str, Any], settings: dict[str, Any]
) -> None:
    text, model, env = saved(tmp_path, name, kwargs, settings)
    agent = make(text, env)
    assert agent.learn(10) is agent
    env.observation_space.seed(0)
    observations = np.stack([env.observation_space.sample() for _ in range(8)])
    np.testing.assert_array_equal(agent.predict(observations)[0], model.predict(observations, deterministic=True)[0])
    single = agent.predict(observations[0])[0]
    np.testing.assert_array_equal(single, model.predict(observations[0], deterministic=True)[0])


class Pictures(gym.Env[Any, Any]):
    """Two pictures beside a number."""

    observation_space = gym.spaces.Dict(
        last=gym.spaces.Box(0, 255, (36, 40, 3), np.uint8),
        other=gym.spaces.Box(0, 255, (40, 36, 1), np.uint8),
        number=gym.spaces.Discrete(4),
    )
    action_space = gym.spaces.MultiDiscrete([3, 2])


def test_pictures_in_dictionaries_are_those_of_the_model(tmp_path: Path) -> None:
    env = Pictures()
    model = sb3.PPO("MultiInputPolicy", env, seed=0, device="cpu", policy_kwargs={"net_arch": [4]})
    model.save(tmp_path / "model.zip")
    agent = make(f"ppo:{tmp_path / 'model.zip'}", env)
    env.observation_space.seed(0)
    rows = [env.observation_space.sample() for _ in range(5)]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    np.testing.assert_array_equal(agent.predict(batch)[0], model.predict(batch, deterministic=True)[0])
    space = env.observation_space
    for name, other in (
        ("observation_space", gym.spaces.Dict({name: space[name] for name in ("number", "last", "other")})),
        ("observation_space", gym.spaces.Dict(last=space["last"], other=space["other"], number=gym.spaces.Discrete(5))),
        ("action_space", gym.spaces.MultiDiscrete([2, 3])),
        ("action_space", gym.spaces.MultiDiscrete([3, 2], start=[1, 1])),
    ):
        wrong = Pictures()
        setattr(wrong, name, other)
        with pytest.raises(ValueError, match=r"was trained with another (observation|action) space"):
            make(f"ppo:{tmp_path / 'model.zip'}", wrong)


def replaced(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {other: archive.read(other) for other in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for other, value in (members | {name: content}).items():
            archive.writestr(other, value)


class Planted:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_planted_pickles_are_never_loaded(tmp_path: Path) -> None:
    text, model, env = saved(tmp_path, "SAC", BOX, {})
    path, mark = tmp_path / "model.zip", tmp_path / "mark"
    planted = base64.b64encode(pickle.dumps(Planted(mark))).decode()
    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("data"))
    for value in data.values():
        if isinstance(value, dict):
            value[":serialized:"] = planted
    replaced(path, "data", json.dumps(data).encode())
    observation = np.zeros(3, np.float32)
    np.testing.assert_array_equal(
        make(text, env).predict(observation)[0], model.predict(observation, deterministic=True)[0]
    )
    replaced(path, "policy.pth", pickle.dumps(Planted(mark)))
    with pytest.raises(ValueError, match="does not fit"):
        make(text, env)
    torch.save({"actor": Planted(mark)}, tmp_path / "tensors")
    replaced(path, "policy.pth", (tmp_path / "tensors").read_bytes())
    with pytest.raises(ValueError, match="does not fit"):
        make(text, env)
    assert not mark.exists()


def test_mismatches_and_damage_are_refused_in_one_sentence(tmp_path: Path) -> None:
    text, _, env = saved(tmp_path, "SAC", BOX, {})
    path = tmp_path / "model.zip"
    good = path.read_bytes()
    for wrong, other, message in (
        (text.replace("sac:", "ppo:"), env, "none of PPO's own"),
        (text.replace("sac:", "sax:"), env, "no algorithm 'sax'; expected one of a2c"),
        (text, gym.make("valuegym/Pendulum-D8-v0"), "another observation space .* its shape is"),
        (text, gym.make("valuegym/Delivery-v0", observation="onehot"), "another observation space"),
        (text, gym.make("valuegym/LQR-v0"), "another (observation|action) space"),
    ):
        with pytest.raises(ValueError, match=message):
            make(wrong, other)
    with pytest.raises(ValueError, match="takes no settings"):
        make(text, env, width=3)
    for content in (b"", b"<html>", good[: len(good) // 2], good[:-40]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.zip (is no model saved by|holds no 'data'; expected)"):
            make(text, env)
    for member, content, message in (
        ("data", b"{", "is no model saved"),
        ("data", b"[]", "is no model saved"),
        ("data", b"{}", "holds a policy of an unknown module"),
        ("policy.pth", b"", "does not fit"),
    ):
        path.write_bytes(good)
        replaced(path, member, content)
        with pytest.raises(ValueError, match=message):
            make(text, env)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other", "x")
    with pytest.raises(ValueError, match="holds no 'data'"):
        make(text, env)


def test_a_diverged_model_is_refused(tmp_path: Path) -> None:
    text, model, env = saved(tmp_path, "PPO", BOX, {})
    with torch.no_grad():
        model.policy.log_std.fill_(float("nan"))
    model.save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match="weights that are not finite"):
        make(text, env)


def test_a_policy_of_ones_own_is_sent_to_another_door(tmp_path: Path) -> None:
    from stable_baselines3.common.policies import ActorCriticPolicy

    class Own(ActorCriticPolicy):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    env = gym.make("valuegym/Pendulum-v0")
    sb3.PPO(Own, env, device="cpu").save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match=r"name it by FILE\.py:make"):
        make(f"ppo:{tmp_path / 'model.zip'}", env)
    assert sb3_zip.is_zip("ppo:a/b.zip") and not sb3_zip.is_zip("a.py:make") and not sb3_zip.is_zip("a b:c.zip")


def test_images_of_any_layout(tmp_path: Path) -> None:
    env = gym.make(**IMAGE)
    if not isinstance(env.observation_space, gym.spaces.Box) or len(env.observation_space.shape) != 3:
        pytest.skip("no image observation")
    model = sb3.PPO("CnnPolicy", env, device="cpu", n_steps=8, batch_size=4)
    model.save(tmp_path / "model.zip")
    observation, _ = env.reset(seed=0)
    expected = model.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(make(f"ppo:{tmp_path / 'model.zip'}", env).predict(observation)[0], expected)
