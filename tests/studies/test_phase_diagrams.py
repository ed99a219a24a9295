"""Phase diagrams: the small parts, and a tiny page from start to end."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("phase_diagrams")


def test_effective_clusters(script: Any) -> None:
    assert script.effective(np.full(6, 0.3)) == 1
    assert script.effective(np.array([0.9, 0.1, 0.1, 0.9])) == 2
    assert np.isclose(script.effective(np.array([0.1, 0.1, 0.1, 0.9])), 1.6)


def test_the_boundary_is_interpolated(script: Any) -> None:
    slopes = np.where(script.GAINS < 1.0, -0.5, 0.0)
    assert script.boundary(slopes) == pytest.approx(0.975)


def test_a_page(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(script, "POPULATIONS", (10,))
    monkeypatch.setattr(script, "TIMES", (20, 40, 80))
    monkeypatch.setattr(script, "BOUNDS", (0.5, 1.5))
    monkeypatch.setattr(script, "CONFIDENCE", (0.2, 0.5))
    monkeypatch.setattr(sys, "argv", ["phase_diagrams.py", "--runs", "2", "--docs", str(tmp_path)])
    script.main()
    page = (tmp_path / "phase_diagrams.md").read_text(encoding="utf-8")
    assert page in capsys.readouterr().out and "| 0.5 | 1.00" in page and "nan" not in page
    for name in ("lock_in", "influence", "clusters"):
        assert f"phase_diagrams_{name}.svg" in page
        assert (tmp_path / f"phase_diagrams_{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
