"""Phase diagrams: the small parts, and a tiny page from start to end."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script() -> Any:
    return importlib.import_module("studies.coevolution.phase_diagrams")


def test_effective_clusters(script: Any) -> None:
    assert script.effective(np.full(6, 0.3)) == 1
    assert script.effective(np.array([0.9, 0.1, 0.1, 0.9])) == 2
    assert np.isclose(script.effective(np.array([0.1, 0.1, 0.1, 0.9])), 1.6)


def test_the_boundary_is_interpolated(script: Any) -> None:
    slopes = np.where(script.GAINS < 1.0, -0.5, 0.0)
    assert script.boundary(slopes) == pytest.approx(0.975)


def test_a_page(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "POPULATIONS", (10,))
    monkeypatch.setattr(script, "TIMES", (20, 40, 80))
    monkeypatch.setattr(script, "BOUNDS", (0.5, 1.5))
    monkeypatch.setattr(script, "CONFIDENCE", (0.2, 0.5))
    options = script.PARSER.parse_args(["--seeds", "2", "--docs", str(tmp_path)])
    script.harness.run(script.STUDY, options)
    page = (tmp_path / "phase-diagrams.md").read_text(encoding="utf-8")
    assert "| 0.5 | 1.00" in page and "nan" not in page
    for name in ("lock-in", "influence", "clusters"):
        assert f"phase-diagrams-{name}.svg" in page
        assert (tmp_path / f"phase-diagrams-{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
    path = tmp_path / "data/phase-diagrams.jsonl"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-5], encoding="utf-8")  # interrupted
    script.harness.run(script.STUDY, options)
    assert path.read_text(encoding="utf-8") == whole and (tmp_path / "phase-diagrams.md").read_text("utf-8") == page


def test_the_committed_page_follows_from_the_committed_records(script: Any) -> None:
    records = script.harness.load(ROOT / "docs/results/data/phase-diagrams.jsonl")
    found = script.pages(records, script.PARSER.parse_args([]))
    assert found[".md"] == (ROOT / "docs/results/phase-diagrams.md").read_text(encoding="utf-8")
