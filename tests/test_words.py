"""The check of avoided words: what it finds in names, strings, comments and documents, and what it leaves alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_words", ROOT / "tools" / "check_words.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("path", "text", "line", "word"),
    [
        ("a.py", "x = 1\nfelt_score = 2", 2, "felt_score"),
        ("a.py", "class FeltScore: ...", 1, "FeltScore"),
        ("a.py", "x = y['twins']", 1, "twins"),
        ("a.py", "x = 1  # the twin of y", 1, "twin"),
        ("a.py", '"""One line.\n\nShared luck.\n"""', 3, "luck"),
        ("a.py", 'f"the luck of {y}"', 1, "luck"),
        ("a.py", "def f(shown: int): ...", 1, "shown"),
        ("a.py", "f(shown=1)", 1, "shown"),
        ("a.py", "x = y.asked", 1, "asked"),
        ("a.py", "class A:\n    said: int", 2, "said"),
        ("a.py", "from valuegym.envs.asked import f", 1, "asked"),
        ("a.py", "x = {'waiting': 1}", 1, "waiting"),
        ("a.md", "One.\nValues are cut\nat 1.", 2, "cut at"),
        ("a.md", "The behavior of agents.", 1, "behavior"),
        ("a.py", "x = 1  # centered", 1, "centered"),
    ],
)
def test_an_avoided_word_is_found(tool: ModuleType, path: str, text: str, line: int, word: str) -> None:
    assert [found.partition("; ")[0] for found in tool.complaints(path, text)] == [f"{path}:{line}: {word!r}"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "def f(x):\n    shown = [x]\n    return shown"),  # a variable within a function
        ("a.py", "cluster_spread = 1  # what is shown and known"),
        ("a.py", "ax.text(x, y, 'in the center', color='red')"),  # names of libraries
        ("a.md", "Pass `torch.optim.Optimizer` or `color`: the optimiser and the colour."),
        ("tests/a.py", "def f(shown): ..."),
    ],
)
def test_what_is_right_is_left_alone(tool: ModuleType, path: str, text: str) -> None:
    assert tool.complaints(path, text) == []


def test_every_better_word_is_not_avoided_itself(tool: ModuleType) -> None:
    for word, better in (tool.EVERYWHERE | tool.NAMES).items():
        assert not tool._EVERYWHERE.search(better), f"{word!r} is to become {better!r}"
