"""The study of over-optimisation: exact values, what must hold between them, and that its page follows from records."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"


@pytest.fixture
def study() -> Any:
    return importlib.import_module("studies.preference.over_optimisation")


@pytest.fixture
def raw(study: Any) -> Any:
    harness = importlib.import_module("studies.harness")
    return harness.arrays(
        harness.load(RESULTS / "data/over-optimisation.jsonl"), study.jobs(study.PARSER.parse_args([]))
    )


def test_one_continuous_action(study: Any) -> None:
    reached = {name: study.grid_at(utility, 4.0)[0] for name, utility in study.GRID.items() if name != "clip"}
    assert list(reached.values()) == pytest.approx([1.54, 1.94, 1.96, 1.95], abs=0.01)
    gold, proxy, nats = study.grid_optimum(study.ACTIONS, 1.0)
    assert (gold, proxy, nats) == pytest.approx((0.94, 1.0, 0.5), abs=0.01)  # N(1, 1)


def test_no_reward_does_better_than_the_true_one_at_its_kl(study: Any, raw: Any) -> None:
    count = len(study.TARGETS)
    for number in study.NUMBERS:
        gold = raw[study.WAIT, number, study.GOLD]
        for name in study.REWARDS:
            found = raw[study.WAIT, number, name]
            assert (found[:, :, 2, :count] <= np.array(study.TARGETS) + 1e-3).all()
            assert (found[:, :, 0, :count] <= gold[:, :, 0, :count] + 5e-3).all()
            assert found[:, :, :2].max() <= 1 + 1e-6
            # Of all rewards, the learned one itself makes the most of learned return.
            proxy = raw[study.WAIT, number, "raw"]
            assert (found[:, :, 1, :count] <= proxy[:, :, 1, :count] + 5e-3).all()
        steps = np.diff(proxy[:, :, 1, :count]), np.diff(gold[:, :, 0, :count])
        assert min(step.min() for step in steps) > -1e-3


def test_no_shape_of_the_true_reward_is_better_than_itself(study: Any, raw: Any) -> None:
    plain = raw["price", "raw"]
    np.testing.assert_allclose(
        plain[:, :, 0], raw[study.WAIT, 50, study.GOLD][:, :, 0, : len(study.TARGETS)], atol=5e-3
    )
    for name in study.SHAPES:
        assert (raw["price", name][:, :, 0] <= plain[:, :, 0] + 5e-3).all()


def test_values_that_no_fit_is_in_are_computed_again(study: Any, raw: Any) -> None:
    for unit in (8, 11):
        np.testing.assert_allclose(study.constant(unit), raw["constant",][unit, 0], atol=2e-4)
        mdp, weights = study.tasks.random_task(unit)[:2]
        gold = study.tabular.reward(mdp, weights[None])[0]
        again = study.normalised(mdp, gold, study.at_targets(mdp, gold).policy)
        np.testing.assert_allclose(study.price("lsc", unit), raw["price", "lsc"][unit, 0], atol=2e-3)
        np.testing.assert_allclose(again, raw[study.WAIT, 50, study.GOLD][unit, 0, 0, : len(again)], atol=2e-3)


def test_affine_transforms_are_one_curve_until_episodes_end(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (mdp, weights), rng = study.tasks.random_task(11)[:2], np.random.default_rng(0)
    gold = study.tabular.reward(mdp, weights[None])[0]
    case = study.Case(mdp, gold, rng.normal(gold / 5, 2, (5, *gold.shape)), *study.start_steps(mdp, rng))
    monkeypatch.setattr(study, "learnt", lambda *key: case)
    count = len(study.TARGETS)
    values = {
        (after, name): study.curve(after, 50, name, 0, 11) for after in "wait end".split() for name in study.ENDING
    }
    for name in ("centred", "z_score", "min_max"):
        for one, two in zip(study.curve("wait", 50, name, 0, 11), values["wait", "raw"], strict=True):
            np.testing.assert_allclose(one[:count], two[:count], atol=2e-3)
    assert np.abs(values["end", "raw"][0][:count] - values["end", "centred"][0][:count]).max() > 0.01


@pytest.mark.slow
def test_an_ensemble_learns_from_answers(study: Any) -> None:
    case = study.learnt(200, 0, 11)
    visited = case.members.mean(0)[case.states, case.actions], case.gold[case.states, case.actions]
    assert case.members.shape == (study.MEMBERS, *case.gold.shape)
    assert np.corrcoef(visited)[0, 1] > 0.3


def test_the_committed_page_follows_from_the_committed_records(study: Any) -> None:
    records = importlib.import_module("studies.harness").load(RESULTS / "data/over-optimisation.jsonl")
    found = study.pages(records, study.PARSER.parse_args([]))
    assert (RESULTS / "over-optimisation.md").read_text() == found[".md"]
    for suffix in (".svg", "-true.svg"):
        assert "nan" not in (RESULTS / f"over-optimisation{suffix}").read_text()
    records.popitem()
    assert study.pages(records, study.PARSER.parse_args([])) == {}
