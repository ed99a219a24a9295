"""The example of docs/reward-models.md, and its list of modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reward-models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHARED = {"__init__", "pairs", "fitting", "metrics"}


def test_the_example_learns(capsys: pytest.CaptureFixture[str]) -> None:
    exec(BLOCKS[0], {})
    found = [float(number) for number in re.findall(r"\d\.\d+", capsys.readouterr().out)]
    assert len(found) == 3 and min(found) > 0.95


def test_the_other_example_states_the_distance(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("stable_baselines3")
    assert len(BLOCKS) == 2
    exec(BLOCKS[1], {})
    assert re.search(
        r"KL \S+ nats per episode \(standard error \S+, 5 episodes\), mean return", capsys.readouterr().out
    )


def test_every_module_is_in_the_table() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert listed == {path.stem for path in (ROOT / "agents" / "reward_models").glob("*.py")} - SHARED
