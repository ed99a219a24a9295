"""Every registered id, by the same rules: Gymnasium's and Stable-Baselines3's checkers, determinism, documentation."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import valuegym
from valuegym.envs import ENVS, FOREIGN, register_all
from valuegym.envs.functional import FunctionalEnv, FunctionalVectorEnv, load

HEADINGS = [
    "Description",
    "Observation",
    "Action",
    "Reward",
    "Episode end",
    "Oracle and naive scores",
    "Source",
    "Version history",
]

DELIVERY, INFERENCE, POLICY = "valuegym/Delivery-v0", "valuegym/RewardInference-v0", "valuegym/RewardInferencePolicy-v0"
# Each id as registered, and with the arguments that change its spaces.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((id, {}) for id in ENVS),
    *((DELIVERY, {"observation": kind, "reward": "hidden"}) for kind in ("onehot", "features", "image")),
    *(("valuegym/RandomDelivery-v0", {"observation": kind, "reward": "hidden"}) for kind in ("planes", "features")),
    ("valuegym/RandomDelivery-v0", {"board": "..G\n.SX\n#h%", "observation": "planes"}),
    ("valuegym/RiskyDelivery-v0", {"observation": "features", "board": "..G\n.S."}),
    *(
        ("valuegym/ProbeInference-v0", {"probe": name, "evaluation_points": [0, 1]})
        for name in ("variable-horizon", "single-step")
    ),
    ("valuegym/ProbeInference-v0", {"action": "weights", "annotator": "partial-return"}),
    ("valuegym/Coevolve-v0", {"people": 12, "dimensions": 1, "responses": "choices", "delay": 1, "steps": 3}),
    ("valuegym/Predict-v0", {"horizon": 2, "responses": "choices", "budget": 3, "delay": 1, "strategic": 0.2}),
    ("valuegym/Coevolve-v0", {"network": {"name": "watts-strogatz", "neighbours": 4, "seed": 1}, "clusters": [2]}),
    ("valuegym/Follow-v0", {"network": [[0, 1], [1, 2]], "people": 3, "budget": 2}),
    (POLICY, {"board": "risky", "evaluation_points": [0, 2]}),
    (INFERENCE, {"board": "..G\n.S.\n#h%", "evaluation_points": [0, 2]}),
    (
        "valuegym/RewardInferenceActive-v0",
        {"board": "risky", "action": "policy", "candidates": 3, "evaluation_points": [0, 2]},
    ),
    (INFERENCE, {"board": "published", "annotator": "partial-return", "evaluation_points": [0, 1, 2], "length": 1}),
    *(("valuegym/Pendulum-D8-v0", {"kind": kind, "number": 3}) for kind in ("published", "correlated")),
    (
        "valuegym/LQRFromPreferences-v0",
        {"annotator": "partial-return", "rotated": True, "evaluation_points": [0, 2], "length": 2},
    ),
    ("valuegym/LQR-v0", {"distractors": 3, "rotated": True, "noise": 0.1}),
    (POLICY, {"annotator": "regret-noiseless", "split": "train", "evaluation_points": [0, 1, 2], "length": 5}),
]
CASES = pytest.mark.parametrize(("id", "kwargs"), VARIANTS, ids=lambda x: x if isinstance(x, str) else json.dumps(x))

# Warnings that a checker may give for an id: (id, checker) -> [(what it says, why it is right as it is)].
_UNBOUNDED = [
    ("(min|max)imum value is -?infinity", "a linear system's state, and a distractor under noise, has no bound")
]
ALLOWED: dict[tuple[str, str], list[tuple[str, str]]] = {
    (id, "gymnasium"): _UNBOUNDED for id in ENVS if re.search(r"/LQR|/CartPole|-D\d+-", id)
}


def unexpected(id: str, checker: str, caught: list[warnings.WarningMessage]) -> list[str]:
    allowed = [said for said, _ in ALLOWED.get((id, checker), [])]
    return [str(w.message) for w in caught if not any(re.search(said, str(w.message)) for said in allowed)]


def play(env: gym.Env[Any, Any], seed: int, steps: int = 25) -> list[Any]:
    """All that comes out, over a few episodes; actions are the same for the same seed."""
    env.action_space.seed(seed)
    out: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        out.append(env.step(env.action_space.sample()))
        if out[-1][2] or out[-1][3]:
            out.append(env.reset())
    return out


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@CASES
def test_gymnasiums_checker(id: str, kwargs: dict[str, Any]) -> None:
    env = gym.make(id, **kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
    assert unexpected(id, "gymnasium", caught) == []


@CASES
def test_stable_baselines3s_checker(id: str, kwargs: dict[str, Any]) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gym.make(id, **kwargs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checker.check_env(env)
        checker.check_env(env.unwrapped)
    assert unexpected(id, "stable-baselines3", caught) == []


@CASES
def test_twins_do_the_same(id: str, kwargs: dict[str, Any]) -> None:
    a, b = (play(gym.make(id, **kwargs), seed=7) for _ in range(2))
    assert same(a, b)
    c = play(gym.make(id, **kwargs), seed=8)
    assert not same([out[0] for out in a], [out[0] for out in c])
    env = gym.make(id, **kwargs)
    play(env, seed=9)
    assert same(play(env, seed=7), a)  # whatever happened before
    for out in a:
        assert "episode" not in out[-1] and out[0] in env.observation_space
        if len(out) == 5:
            assert type(out[1]) is float and type(out[2]) is bool and type(out[3]) is bool


@CASES
def test_specs_survive_json(id: str, kwargs: dict[str, Any]) -> None:
    env = gym.make(id, **kwargs)
    assert env.spec is not None
    text = env.spec.to_json()
    again = gym.make(EnvSpec.from_json(text))
    assert again.spec is not None and again.spec.to_json() == text
    assert again.observation_space == env.observation_space and again.action_space == env.action_space
    assert same(play(env, 3, 10), play(again, 3, 10))


@CASES
def test_make_vec_is_native(id: str, kwargs: dict[str, Any]) -> None:
    envs = gym.make_vec(id, num_envs=3, **kwargs)
    assert type(envs.unwrapped) is FunctionalVectorEnv and envs.num_envs == 3
    assert envs.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
    env = gym.make(id, **kwargs)
    assert type(env.unwrapped) is FunctionalEnv
    assert envs.single_observation_space == env.observation_space and envs.single_action_space == env.action_space
    observations, info = envs.reset(seed=0)
    assert observations in envs.observation_space and info == {}
    envs.action_space.seed(0)
    for _ in range(5):
        observations, rewards, terminated, truncated, info = envs.step(envs.action_space.sample())
        assert observations in envs.observation_space and info == {}
        assert rewards.shape == terminated.shape == truncated.shape == (3,)


@CASES
def test_pictures(id: str, kwargs: dict[str, Any]) -> None:
    modes = gym.make(id, **kwargs).metadata["render_modes"]
    assert {"ansi", "rgb_array"} <= set(modes)
    for mode in modes:
        env, envs = gym.make(id, render_mode=mode, **kwargs), gym.make_vec(id, num_envs=2, render_mode=mode, **kwargs)
        env.reset(seed=1), envs.reset(seed=1)
        env.action_space.seed(0)
        pictures = [env.render()]
        assert same(envs.render()[0], pictures[0])  # type: ignore[index]
        for _ in range(2):
            action = env.action_space.sample()
            env.step(action), envs.step(np.stack([action, action]))
            pictures.append(env.render())
            drawn = envs.render()
            assert isinstance(drawn, tuple) and len(drawn) == 2 and same(drawn[0], pictures[-1])
        for picture in pictures:
            if mode == "ansi":
                assert isinstance(picture, str) and picture.strip()
            else:
                assert isinstance(picture, np.ndarray) and picture.dtype == np.uint8
                assert picture.ndim == 3 and picture.shape[2] == 3 and picture.shape == pictures[0].shape
                assert picture.std() > 10  # something is drawn
        assert not same(pictures[0], pictures[1])


@pytest.mark.parametrize("id", ENVS)
def test_documentation_has_its_headings(id: str) -> None:
    documentation = load(ENVS[id].core).__doc__
    found = re.findall(r"^\s*## (.+)$", documentation, flags=re.MULTILINE)
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS
    assert set(found) - set(HEADINGS) <= {"Arguments"}
    sections = re.split(r"^\s*## .+$", documentation, flags=re.MULTILINE)
    assert all(len(section.split()) >= 3 for section in sections)
    version = id.rpartition("-")[2]
    assert f"{version}:" in sections[-1]


@pytest.mark.parametrize("id", ENVS)
def test_registry_rows(id: str) -> None:
    entry, spec = ENVS[id], gym.spec(id)
    assert re.fullmatch(r"valuegym/[A-Z][A-Za-z]+(-D\d+)?-v\d+", id)
    assert isinstance(spec.entry_point, str) and isinstance(spec.vector_entry_point, str)
    assert spec.max_episode_steps == entry.max_episode_steps
    assert spec.kwargs == {"core": entry.core, **entry.kwargs} and json.loads(json.dumps(spec.kwargs)) == spec.kwargs
    assert entry.tags and all(isinstance(tag, str) for tag in entry.tags)
    metadata = load(entry.core).metadata
    assert metadata["render_modes"] and metadata["render_fps"] > 0


def test_registration_is_done_once() -> None:
    before = {id: gym.spec(id) for id in ENVS}
    register_all()
    assert all(gym.spec(id) is spec for id, spec in before.items())
    assert {id for id in gym.registry if id.startswith("valuegym/")} == {*ENVS, *FOREIGN}
    assert valuegym.envs.ENVS is ENVS


def test_namespaced_ids_import_the_package() -> None:
    for id in ENVS:
        assert gym.make(f"valuegym:{id}").spec.id == id  # type: ignore[union-attr]


def test_wrong_arguments_name_themselves() -> None:
    for id in ENVS:
        with pytest.raises(TypeError, match="colour"):
            gym.make(id, colour="red")
        with pytest.raises(TypeError, match="colour"):
            gym.make_vec(id, num_envs=2, colour="red")
