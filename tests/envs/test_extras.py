"""Hints on what to install, from a clone and from a wheel."""

from __future__ import annotations

import shlex
from importlib import metadata
from typing import Any

import pytest

from valuegym.envs import extras

STATED = [
    "numpy<3,>=1.26",
    'torch<3,>=2.8; extra == "agents"',
    'stable-baselines3<3,>=2.7; extra == "agents"',
    'gguf>=0.10; python_version >= "3.11" and extra == "text"',
    'future>=1; python_version >= "9.0" and extra == "text"',
    'valuegym[agents,text]; extra == "all"',
    'ruff; extra == "dev"',
]


@pytest.fixture
def fresh() -> Any:
    for function in (extras._required, extras.hint):
        function.cache_clear()
    yield
    for function in (extras._required, extras.hint):
        function.cache_clear()


def test_an_installed_wheel_names_what_the_extra_asks_for(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "clone", lambda: None)
    monkeypatch.setattr(metadata, "requires", lambda name: STATED)
    assert extras.hint("agents") == 'pip install "torch<3,>=2.8" "stable-baselines3<3,>=2.7"'
    assert extras.names() == ["agents", "all", "text"]
    assert extras.requirements("all")[:2] == ["torch<3,>=2.8", "stable-baselines3<3,>=2.7"]
    assert "future>=1" not in extras.requirements("text"), "not for this Python"


def test_nothing_known_of_the_package_is_no_error(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "clone", lambda: None)
    monkeypatch.setattr(metadata, "requires", unknown)
    assert extras.hint("site") == 'pip install "valuegym[site]"' and extras.names() == []


def test_a_clone_names_itself() -> None:
    root = extras.clone()
    if root is None:
        pytest.skip("runs from an installed package")
    assert shlex.split(extras.hint("site")) == ["pip", "install", "-e", f"{root}[site]"]
    assert {"play", "video", "completion", "site"} <= set(extras.names())
    everything = extras.requirements("all")
    assert {"pygame", "moviepy", "shtab"} <= {name.partition(">")[0] for name in everything}
