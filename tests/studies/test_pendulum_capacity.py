"""The capacity study: it goes on where it stopped, compares within seeds, and the page is what was recorded."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/results"


@pytest.fixture
def study() -> Any:
    found = importlib.import_module("studies.control.pendulum_capacity")
    found.offline.trained.cache_clear()
    yield found
    found.offline.trained.cache_clear()


def test_it_goes_on_where_it_stopped(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 264, "FIT_STEPS": 2, "LENGTH": 6}.items():
        monkeypatch.setattr(study.offline, name, value)
    small, large = (study.Size(2, 4),), (study.Size(3, 5),)
    reduced = {"NUMBERS": (0, 2), "SMALL": small, "LARGE": large, "SIZES": small + large, "FEW": 1}
    reduced["PASSES"] = tuple((sizes, (2, 0), ("mse",)) for sizes in (small, large))
    for name, value in reduced.items():
        monkeypatch.setattr(study, name, value)
    options = study.PARSER.parse_args(["--seeds", "2", "--docs", str(tmp_path)])
    study.harness.run(study.STUDY, options)
    path = tmp_path / "data" / "pendulum-capacity.jsonl"
    whole = path.read_text(encoding="utf-8")
    order = [key[1:4] for key in study.harness.load(path)]
    assert list(dict.fromkeys(order)) == [(2, 2, 4), (0, 2, 4), (2, 3, 5), (0, 3, 5)]  # small models come first
    records = study.harness.load(path)
    assert list(dict.fromkeys(key[4] for key in records)) == list(study.ARMS)
    assert {key[-1] for key in records if key[2] == 3} == {0} and len(records) == 3 * (2 + 2 + 1 + 1)
    for key, row in records.items():
        bare = {name for name in study.KEPT if row[name] is None}
        assert bare == ({"gradient_ratio", "distracting"} if key[1] == 0 else set())
    page = (tmp_path / "pendulum-capacity.md").read_text(encoding="utf-8")
    assert "| mse, 4 to 4 | 2 | 2 |" in page and "| mse, 3x5 | 1 | 1 |" in page and "nan" not in page
    path.write_text("".join(whole.splitlines(keepends=True)[:9]) + whole[:30], encoding="utf-8")  # interrupted
    study.offline.trained.cache_clear()
    study.harness.run(study.STUDY, options)
    assert path.read_text(encoding="utf-8") == whole


def test_losses_are_compared_within_seeds(study: Any) -> None:
    size = study.Size(2, 4)
    figures = {"mse": ([1.0, 2.0, 4.0], [-300.0, -200.0, -100.0]), "vagram": ([0.5, 1.0, 1.0], [-200.0, -150.0, -90.0])}
    figures["vagram_mean"] = ([2.0, 2.0, 8.0], [-310.0, -100.0, -100.0])
    rows = {
        ("mse", 8, *size, arm, seed): {"value_error": errors[seed], "planned": returns[seed]}
        for arm, (errors, returns) in figures.items()
        for seed in range(3)
    }
    rows["mse", 8, 2, 4, "mse", 3] = {"value_error": 1.0, "planned": 0.0}  # the other losses are yet to come
    assert study.seeds_of(rows, "mse", 8, size) == [0, 1, 2]
    np.testing.assert_allclose(study.compared(rows, "mse", 8, size, "vagram", "value_error"), [0.5, 0.5, 0.25])
    np.testing.assert_allclose(study.compared(rows, "mse", 8, size, "vagram_mean", "planned"), [-10, 100, 0])
    table = study._where(rows, "mse")
    assert "| 8 | `vagram` | 4 | none | 4 | none |" in table
    assert "| 8 | `vagram_mean` | none | none | none | none |" in table


@pytest.mark.parametrize(
    ("values", "higher", "found"),
    [
        ([1.1, 1.2, 1.3], False, "worse"),
        ([1.1, 1.2, 1.3], True, "better"),
        ([0.5, 0.6, 0.9], False, "better"),
        ([0.5, 0.6, 0.9], True, "worse"),
        ([0.5, 1.0, 1.1], False, "open"),
    ],
)
def test_a_verdict_needs_an_interval_on_one_side(study: Any, values: list[float], higher: bool, found: str) -> None:
    assert study.verdict(values, 1.0, higher) == found


def test_the_committed_page_follows_from_the_committed_records(study: Any) -> None:
    records = study.harness.load(RESULTS / "data" / "pendulum-capacity.jsonl")
    assert (RESULTS / "pendulum-capacity.md").read_text(encoding="utf-8") == study.page(records)
    assert (RESULTS / "pendulum-capacity.svg").is_file()
