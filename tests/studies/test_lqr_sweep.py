"""The sweep of linear models in the regulator: what weights save, failures, and its committed page."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"


@pytest.fixture
def module() -> Any:
    return importlib.import_module("studies.control.lqr_sweep")


def test_weights_save_the_controller_and_a_matrix_survives_rotation(module: Any) -> None:

    def median(arm: str, rotated: bool, noise: float = 0.0) -> float:
        return module.quantile(module.relative_costs(module.Cell(2, 1.0, rotated, noise), arm, 6), 0.5)

    assert median("mse", False) > 100
    for arm in ("vagram", "vagram_mean", "vagram_taylor", "vagram_matrix"):
        assert median(arm, False) < 1.05
    assert median("vagram", True) > 2
    for arm in ("vagram_taylor", "vagram_matrix", "vagram_shrunk", "vagram_agreed"):
        assert median(arm, True) < 1.05


def test_the_sweep_counts_failures_as_infinite(module: Any) -> None:
    assert module.quantile([1.0, np.inf, np.inf], 0.5) == np.inf
    assert module.quantile([1.0, 2.0, np.inf], 0.5) == 2.0
    system, start = module.systems(module.Cell(0, 1.0, False, 0.0), 2)
    _, cost = module.true_cost(system, np.array([[[np.nan, 0.0]], [[-50.0, 0.0]]]), start)
    assert (cost == np.inf).all()


def test_values_do_not_depend_on_what_is_missing_and_infinite_costs_are_none(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [(*module.Cell(2, 1.0, True, 0.0), arm) for arm in ("mse", "vagram_matrix")]
    keys = [(*cell, seed) for cell in cells for seed in range(3)]
    values = module.run(keys, module.PARSER.parse_args(["--seeds", "3"]))
    assert values[3:] == module.run(keys[3:], module.PARSER.parse_args(["--seeds", "3"]))
    monkeypatch.setattr(module, "relative_costs", lambda cell, arm, seeds: np.array([1.0, np.inf, 1.23456789]))
    assert module.run(keys[:3], module.PARSER.parse_args(["--seeds", "3"])) == [1.0, None, 1.23457]


def test_the_committed_page_follows_from_the_committed_records(module: Any) -> None:
    records = importlib.import_module("studies.harness").load(RESULTS / "data/lqr-sweep.jsonl")
    options = module.PARSER.parse_args([])
    assert {key for keys in module.jobs(options) for key in keys} == set(records)
    assert module.pages(records, options)[".md"] == (RESULTS / "lqr-sweep.md").read_text(encoding="utf-8")
