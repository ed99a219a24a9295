"""The study of rewards learnt from preferences in the regulator, at tiny scale, and its committed page."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from valuegym.agents.control import lqr_preferences as preferences
from valuegym.envs.control import lqr, riccati

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study() -> Any:
    return importlib.import_module("studies.control.lqr_preferences")


def test_the_true_weights_cost_what_the_true_reward_does(study: Any) -> None:
    """In observations that are turned, too, and twice the weights are the same reward."""
    n = lqr.PHYSICAL + study.DISTRACTORS
    true = np.concatenate([np.diag(study.world(0).Q), np.diag(study.world(0).R)])
    assert true.shape == (n + 1,)
    for turned in (False, True):
        costs = study.costs_of([None, 2 * true], "vagram_matrix", turned)
        other = study.costs_of([true, None], "vagram_matrix", turned)
        np.testing.assert_allclose(costs, other, rtol=1e-6)
        np.testing.assert_allclose(study.costs_of([None, true], study.KNOWN, turned), 1, rtol=1e-9)


def test_what_regret_leaves_open_moves_the_model_and_not_the_controller(study: Any) -> None:
    true = np.concatenate([np.diag(study.world(0).Q), np.diag(study.world(0).R)])
    other = true + np.array([0, 0, 1, 1, 1, 1, 0])
    np.testing.assert_allclose(study.costs_of([other] * 3, study.KNOWN, False), 1, rtol=1e-9)
    assert study.costs_of([true] * 3, "vagram", False).max() < 1.01
    assert study.costs_of([other] * 3, "vagram", False).min() > 2


def test_costs_and_answers_are_those_of_the_world(study: Any) -> None:
    """Segments follow the dynamics, and the study's regret is that of the suite."""
    system = study.world(3)
    segments = study.play(system, np.eye(len(system.A)), 2, np.random.default_rng(0))
    mean = segments.states[..., :-1, :] @ system.A.T + segments.actions[..., :-1, :] @ system.B.T
    off = segments.states[..., 1:, :] - mean
    np.testing.assert_allclose(off[..., :2], 0, atol=1e-12)  # the mass is not kicked
    assert np.abs(off[..., 2:]).max() > 0.1
    K = preferences.controller(system, preferences.axes(6, 1), np.array([1.0, 0.1, 0, 0, 0, 0, 0.1]))
    np.testing.assert_allclose(K, riccati.gain(system, riccati.optimal(system).P), rtol=1e-9)


def test_the_study_goes_on_where_it_stopped(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "NUMBERS", (5,))
    monkeypatch.setattr(study, "LOSSES", ("vagram_matrix",))
    options = study.PARSER.parse_args(["--seeds", "2", "--docs", str(tmp_path)])
    study.harness.run(study.STUDY, options)
    path = tmp_path / "data" / "lqr-preferences.jsonl"
    whole = path.read_text()
    assert len(study.harness.load(path)) == 2 * 5
    page = (tmp_path / "lqr-preferences.md").read_text()
    assert "2 seeds" in page and (tmp_path / "lqr-preferences.svg").is_file()
    path.write_text(whole[: len(whole) - 9])  # interrupted
    study.harness.run(study.STUDY, options)
    assert path.read_text() == whole and (tmp_path / "lqr-preferences.md").read_text() == page


@pytest.mark.slow
def test_the_committed_page_follows_from_the_committed_weights(study: Any) -> None:
    results = ROOT / "docs" / "results"
    cells = study.harness.columns(study.harness.load(results / "data" / "lqr-preferences.jsonl"))
    weights = [np.array(w) for w in cells["regret", "regret", 300]]
    assert len(weights) >= 20
    costs = study.costs_of(weights, study.KNOWN, False)
    assert study.text(costs) in (results / "lqr-preferences.md").read_text()
