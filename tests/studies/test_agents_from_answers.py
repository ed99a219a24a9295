"""The study of agents that learn from answers: its page follows from its records, and runs say what they were given."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("stable_baselines3")

from valuegym.leaderboards import experiments

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"


@pytest.fixture
def harness() -> Any:
    return importlib.import_module("studies.harness")


@pytest.fixture
def study() -> Any:
    return importlib.import_module("studies.preference.agents")


def test_the_committed_page_follows_from_the_committed_records(harness: Any, study: Any) -> None:
    records = harness.load(RESULTS / "data/preference-agents.jsonl")
    found = study.pages(records, study.PARSER.parse_args([]))
    assert (RESULTS / "preference-agents.md").read_text(encoding="utf-8") == found[".md"]
    assert "nan" not in (RESULTS / "preference-agents.svg").read_text(encoding="utf-8")
    for (_, arm, _), value in records.items():
        assert np.isfinite(value["score"])
        assert value.get("labels", 0) <= (500 if arm in ("answers", "random labels") else 0)


def test_the_best_constant_action_is_computed_again(harness: Any, study: Any) -> None:
    records = harness.load(RESULTS / "data/preference-agents.jsonl")
    for track in ("feedback/cartpole", "feedback/pendulum"):
        key = (track, study.ACTION, 0)
        [value] = study.run([key], study.PARSER.parse_args([]))
        assert value["score"] == pytest.approx(records[key]["score"], abs=1e-4)


def test_constant_actions_cover_the_space(study: Any) -> None:
    assert study.actions(gym.spaces.Discrete(3)) == [0, 1, 2]
    box = study.actions(gym.spaces.Box(np.float32([-1, 0]), np.float32([1, 4])))
    assert len(box) == study.LEVELS and box[0].tolist() == [-1, 0] and box[-1].tolist() == [1, 4]
    assert (np.zeros(1) == study.actions(gym.spaces.Box(-1, 1, (1,)))[study.LEVELS // 2]).all()


@pytest.mark.slow
def test_a_run_says_what_it_was_given(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    track = "feedback/pendulum"
    short = replace(experiments.find(track), timesteps=520, episodes=1)
    monkeypatch.setitem(experiments.EXPERIMENTS, track, short)
    options = study.PARSER.parse_args(["--tracks", track, "--seeds", "1"])
    found: dict[Any, Any] = {}
    for keys in study.jobs(options):
        found[keys[0]] = study.run(keys, options)[0]
    assert [arm for _, arm, _ in found] == [*study.ARMS, study.ACTION]
    labels = [value.get("labels") for value in found.values()]
    assert labels[0] == labels[2] and 0 < labels[0] <= 500 and labels[1] == labels[3] == 0 and labels[4] is None
    assert all(value["steps"] == 520 for value in list(found.values())[:4])
    page = study.pages(found, options)[".md"]
    assert f"| `{track}` | answers | 1 |" in page and "1 of 1" in page


def test_shares_and_verdicts_count_seeds(study: Any) -> None:
    arms = {
        "answers": {0: {"score": 0.9}, 1: {"score": 0.8}, 2: {"score": 1.0}},
        "true reward": {0: {"score": 1.0}, 1: {"score": 1.0}},
        "random labels": {0: {"score": 0.49}, 1: {"score": 0.51}},
    }
    np.testing.assert_allclose(study.shares(arms), [0.9, 0.8])
    assert study.verdict("a/b", arms) == ["`a/b`", "1 of 2", "1 of 2", "0 of 0"]
