"""Every registered id by the checks of `valuegym.testing`, and what the registry promises besides."""

from __future__ import annotations

import ast
import copy
import inspect
import json
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import valuegym
from valuegym.envs import ENVS, THIRD_PARTY, register_all, testing
from valuegym.envs.functional import load

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
    ("valuegym/TokenProcess-v0", {"vocabulary": 3, "length": 2, "prompts": 1, "reward": "hidden"}),
    ("valuegym/FollowLanguage-v0", {"steps": 3, "budget": 2, "respondents": 1, "horizon": 7}),
    ("valuegym/CoevolveLanguage-v0", {"steps": 3, "budget": 2, "respondents": 1, "influence": 0.6, "retention": 0.9}),
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


def maker(id: str, kwargs: dict[str, Any]) -> testing.MakeEnv:
    return partial(gym.make, id, **kwargs)


def allowed(id: str, checker: str) -> list[str]:
    return [said for said, _ in ALLOWED.get((id, checker), [])]


@CASES
def test_gymnasiums_checker(id: str, kwargs: dict[str, Any]) -> None:
    testing.check_gymnasium(maker(id, kwargs), allowed(id, "gymnasium"))


@CASES
def test_stable_baselines3s_checker(id: str, kwargs: dict[str, Any]) -> None:
    pytest.importorskip("stable_baselines3.common.env_checker")
    testing.check_stable_baselines3(maker(id, kwargs), allowed(id, "stable-baselines3"))


@CASES
@pytest.mark.parametrize(
    "check",
    [
        testing.check_determinism,
        testing.check_spec,
        testing.check_vector,
        testing.check_secret_seeds,
        testing.check_rendering,
    ],
)
def test_checks(check: Callable[[testing.MakeEnv], None], id: str, kwargs: dict[str, Any]) -> None:
    check(maker(id, kwargs))


@pytest.mark.parametrize("id", ENVS)
@pytest.mark.parametrize("check", [testing.check_arguments, testing.check_documentation])
def test_checks_by_id(check: Callable[[testing.MakeEnv], None], id: str) -> None:
    check(maker(id, {}))


DOCUMENTED = [
    id
    for id, env in ENVS.items()
    if {"coevolution", "language"} & set(env.tags) or ("control" in env.tags and "LQRF" not in id)
]


@pytest.mark.parametrize("id", DOCUMENTED)
def test_the_table_of_arguments_holds_every_argument_with_its_default(id: str) -> None:
    core = load(ENVS[id].core)
    parameters = dict(inspect.signature(core).parameters)
    if list(parameters) == ["parameters"]:  # the fields of a dataclass
        parameters = dict(inspect.signature(sys.modules[core.__module__].Parameters).parameters)
    elif list(parameters) == ["reference", "parameters"]:  # after them, one of the core's own
        own = inspect.signature(sys.modules[core.__module__].Parameters).parameters
        parameters = {**own, "reference": parameters["reference"]}
    table = re.search(r"## Arguments\n(.*?)\n\s*\n", core.__doc__, re.DOTALL)
    assert table, id
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table[1].splitlines()][2:]
    assert all(len(row) == 5 for row in rows)
    found = {name.strip("`"): default for name, _, default, _, _ in rows if name != "others"}
    fixed = {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    assert list(found) == list(fixed) and (len(rows) > len(found)) == (len(fixed) < len(parameters))
    for name, parameter in fixed.items():
        text = found[name]
        assert (text == "") == (parameter.default is parameter.empty), name
        if text:
            default = (4 * np.pi, 9 * np.pi) if "pi" in text else ast.literal_eval(text)
            assert (type(default), default) == (type(parameter.default), parameter.default), name


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
    assert {id for id in gym.registry if id.startswith("valuegym/")} == {*ENVS, *THIRD_PARTY}
    assert valuegym.envs.ENVS is ENVS


def test_namespaced_ids_import_the_package() -> None:
    for id in ENVS:
        assert gym.make(f"valuegym:{id}").spec.id == id  # type: ignore[union-attr]


@pytest.mark.parametrize("id", [*ENVS, *THIRD_PARTY])
def test_specs_are_json(id: str) -> None:
    if id in THIRD_PARTY:
        pytest.importorskip("mujoco")
    env = gym.make(id)
    assert env.spec is not None and json.loads(env.spec.to_json())["id"] == id
    odd = {"data": Path("there"), "some": np.float32(0.1), "many": (np.int64(3), np.arange(2)), "deep": {"a": np.True_}}
    odd |= {"last": np.longdouble(0.5), "mode": gym.vector.AutoresetMode.DISABLED}
    env.unwrapped.spec = replace(env.spec, kwargs=env.spec.kwargs | odd)
    if id in ENVS:  # MuJoCo's own do not pass through our class, but the outermost spec does
        spec = env.unwrapped.spec
        assert spec is not None and json.loads(spec.to_json())["kwargs"] == {
            **ENVS[id].kwargs,
            "core": ENVS[id].core,
            "data": "there",
            "some": float(np.float32(0.1)),
            "many": [3, [0, 1]],
            "deep": {"a": True},
            "last": 0.5,
            "mode": "Disabled",
        }
        env.unwrapped.spec = None
        assert env.unwrapped.spec is None


@pytest.mark.parametrize("id", [id for id in ENVS if "control" in ENVS[id].tags])
def test_arguments_of_numpys_types(id: str) -> None:
    if id == "valuegym/LQRFromPreferences-v0":
        kwargs: dict[str, Any] = {"length": np.int64(2), "transitions": np.uint8(3), "rotated": np.True_}
    else:
        kwargs = {"discount": np.float32(0.5)}
    env, envs = gym.make(id, **kwargs), gym.make_vec(id, num_envs=2, **kwargs)
    for spec in (env.spec, envs.spec):
        assert spec is not None
        spec.to_json()
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))  # type: ignore[union-attr]
    assert again.observation_space == env.observation_space
    if "discount" in kwargs:
        assert type(env.unwrapped.core.discount) is float and env.unwrapped.core.discount == 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize("id", ENVS)
def test_copies_and_pickles_continue_the_episode(id: str) -> None:
    env = gym.make(id)
    env.reset(seed=2)
    env.action_space.seed(0)
    action = env.action_space.sample()
    others = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    expected = env.step(action)
    for other in others:
        np.testing.assert_equal(other.step(action), expected)
