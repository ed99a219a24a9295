"""The page about preferences: its examples run, and its table has every annotator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from valuegym.envs.feedback import annotators, utilities

PAGE = Path(__file__).resolve().parents[3] / "docs" / "feedback.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_annotators.py").write_text(
        "def better(first, second):\n    return 1.0 * (second.rewards > 0).any(1)\n"
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(example, names)
    assert "<200 pairs of segments" in capsys.readouterr().out
    x = (names["pairs"].second.observations ** 2).sum(1) - (names["pairs"].first.observations ** 2).sum(1)
    assert ((x @ names["weights"] > 0) == names["pairs"].answers.labels).mean() > 0.7


def test_the_table_has_every_annotator() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f'`bpref("{teacher}")`' in text for teacher in annotators.BPREF)
    helpers = {"Annotates", "Boltzmann", "Choice", "Custom", "Noise", "Rational", "answers_later", "as_annotator"}
    for name in {*annotators.__all__, *utilities.__all__} - helpers - {"BPREF", "RISKY", "RiskyChoice", "IdealPoint"}:
        known = {"Comparison", "Features", "MyopicReturn", "Utility", "Values", "features_of", "info_column"}
        assert name in known or re.search(rf"\b{name}\b", text), f"{name} is not on the page"
