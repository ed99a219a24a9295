"""Texts that name agents: which are understood, what records call them, and what is refused in one sentence."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import AGENTS, references
from valuegym.agents.uniform import Uniform

SOURCE = '''"""Agents of a user."""
import numpy as np
import beside

class Fixed:
    """Always the same action."""
    def __init__(self, env, seed=0, value=0.0):
        self.space, self.value = env.action_space, value

    def learn(self, total_timesteps):
        return self

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.full((len(episode_start), *self.space.shape), self.value, np.float32), state

READY = Fixed(type("Env", (), {"action_space": None}), value=1.0)
NUMBER = 3

def make(env, seed):
    return Fixed(env, seed, beside.VALUE)

def seedless(env):
    return Fixed(env)

def broken(env, seed):
    return object()
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_agent.py").write_text(SOURCE)
    (tmp_path / "beside.py").write_text("VALUE = 0.25\n")
    (tmp_path / "faulty.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def env() -> Any:
    return gym.make("valuegym/Pendulum-v0")


def test_files_modules_functions_classes_and_objects_are_agents(folder: Path, env: Any) -> None:
    for text, value in (
        ("my_agent.py:Fixed", 0.0),
        (f"{folder}/my_agent.py:make", 0.25),
        ("my_agent:make", 0.25),
        ("my_agent.py:READY", 1.0),
    ):
        assert references.make(text, env, seed=1).value == value  # type: ignore[attr-defined]
    assert references.make("my_agent.py:Fixed", env, value=0.5).value == 0.5  # type: ignore[attr-defined]
    assert isinstance(references.make("valuegym.agents.uniform:Uniform", env), Uniform)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("my_agent.py", {}, "no agent 'my_agent.py'; expected a name of .* as in my_agent.py:MyAgent"),
        ("missing.py:Fixed", {}, "no file missing.py"),
        ("no_such_module:Fixed", {}, "no module no_such_module .* as in no_such_module.py:NAME"),
        ("no_such_package.module:Fixed", {}, "no_such_package"),
        ("my_agent.py:Missing", {}, "my_agent.py has no Missing; it has .*Fixed"),
        ("faulty.py:make", {}, "faulty.py cannot be imported: ModuleNotFoundError"),
        ("my_agent.py:NUMBER", {}, "is a int; expected a class or a function"),
        ("my_agent.py:seedless", {}, "got an unexpected keyword argument 'seed'"),
        ("my_agent.py:broken", {}, "made a object, which has no method predict"),
        ("my_agent.py:Fixed", {"wide": 1}, r"unexpected keyword argument 'wide'; its settings are \['value'\]"),
        ("my_agent.py:READY", {"value": 1}, "is an object and takes no settings"),
        ("regrets", {}, "Did you mean regret"),
        ("", {}, "no agent ''"),
        ("sac:missing.zip", {}, "no file missing.zip"),
        ("uniform", {"width": 1}, r"cannot be made by Uniform\(env, seed=\.\.\., width=\.\.\.\)"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    folder: Path, env: Any, text: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        references.make(text, env, **settings)


def test_names_in_records_are_valid_differ_between_agents_and_are_never_those_of_valuegym(folder: Path) -> None:
    (folder / ("long" * 30 + ".py")).write_text("make = 1")
    (folder / "été.py").write_text("make = 1")
    (folder / "m.zip").write_bytes(b"x")
    texts = ["my_agent.py:Fixed", "my_agent.py:make", "my_agent:make", "sac:m.zip", "ppo:m.zip", "été.py:make"]
    texts += ["long" * 30 + ".py:make", "valuegym.agents.uniform:Uniform"]
    cases: list[tuple[str, dict[str, Any]]] = [(text, {}) for text in texts] + [(name, {}) for name in AGENTS]
    cases += [(text, {"width": width}) for text in (texts[0], texts[6], "regret") for width in (1, 2, "2")]
    names = {case[0] + json.dumps(case[1]): references.record_name(*case) for case in cases}
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) for name in names.values())
    outside = [references.record_name(text) for text in texts]
    assert not set(outside) & set(AGENTS) and references.record_name("regret") == "regret"
    same = names.pop("my_agent:make{}")
    assert same == "my_agent.make" and len(set(names.values())) == len(names)
    assert references.record_name("regret", {"a": 1, "b": 2}) == references.record_name("regret", {"b": 2, "a": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), np.zeros(2), {1, 2}])
def test_settings_are_json(value: Any) -> None:
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        references.record_name("regret", {"width": value})


def test_what_a_header_says_of_an_agent(folder: Path) -> None:
    first = references.origin(f"{folder}/my_agent.py:Fixed", {"value": 1})
    assert first["reference"] == "my_agent.py:Fixed" and first["settings"] == {"value": 1}
    assert str(folder) not in json.dumps(first)
    with (folder / "my_agent.py").open("a") as file:
        file.write("# edited\n")
    assert references.origin("my_agent.py:Fixed")["source"] != first["source"]
    assert references.origin("regret") == {}


def test_a_header_holds_the_digest_of_a_models_weights(tmp_path: Path) -> None:
    """Of the content of all its files: size and time of a change say nothing."""
    model, weights = tmp_path / "model", tmp_path / "model" / "model.safetensors"
    model.mkdir()
    (model / "config.json").write_text("{}")
    found = []
    for content in (b"12345678", b"12345679", b"12345678"):
        weights.write_bytes(content)
        os.utime(weights, ns=(0, 0))
        found.append(references.origin("language", {"model": str(model)}))
    assert found[0] == found[2] != found[1] and len(found[0]["weights"]) == 64
    assert references.origin("lifelong_sft", {"model": str(model)})["weights"] == found[0]["weights"]
    (tmp_path / "mine.py").write_text("model = 1\n")
    one = references.origin("language", {"model": f"{tmp_path}/mine.py:model"})["weights"]
    (tmp_path / "mine.py").write_text("model = 2\n")
    assert references.origin("language", {"model": f"{tmp_path}/mine.py:model"})["weights"] != one
    for settings in ({"model": str(tmp_path / "none")}, {"model": 3}, {"lr": 0.1}):
        assert "weights" not in references.origin("language", settings)
