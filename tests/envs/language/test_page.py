"""The page about language: its examples run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "language.md"


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(example, names)
    assert names["point"][0] == pytest.approx(1) and (names["low"] <= names["high"]).all()
    assert "\n1.0 1.0\n" in capsys.readouterr().out
    assert names["action"] in (1, 3) and names["push"] == 1
    assert names["answers"].labels.tolist() == [1] and names["answers"].probability[0] == pytest.approx(0.880797)
    assert names["reward"] == names["game"].reward and names["text"] == names["seen"]
