"""Public names: every module lists its own in `__all__`, each has a docstring, and the list of all is current."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("public_names", ROOT / "tools" / "public_names.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_public_names_are_listed_and_documented(tool: ModuleType) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {complaint}"
        for _, path in tool.public_modules()
        for complaint in tool.complaints(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


def test_the_list_is_current(tool: ModuleType) -> None:
    changes = tool.stale(tool.LIST.read_text(encoding="utf-8"))
    assert not changes, f"the public names changed; if that is intended, run `{tool.REMAKE}`:\n" + "\n".join(changes)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('__all__ = ["f"]\ndef f():\n    """Return 1."""\ndef _g(): ...', ""),
        ('__all__ = ["LIMIT", "f"]\nfrom a import f\nLIMIT: int = 1\nif LIMIT:\n    OTHER = 2', ""),
        ('def f():\n    """Return 1."""', "no `__all__`"),
        ('__all__ = ["f", "g"]\ndef f():\n    """Return 1."""', "g, which is not in the module"),
        ('__all__ = ["f"]\ndef f(): ...', "f is public and has no docstring"),
        ('__all__ = ["f"]\ndef f():\n    """Return 1."""\nclass A: ...', "A is not in `__all__`"),
    ],
)
def test_a_planted_name_is_found(tool: ModuleType, source: str, found: str) -> None:
    complaints = tool.complaints(ast.parse(source))
    assert len(complaints) == bool(found) and found in "".join(complaints)
