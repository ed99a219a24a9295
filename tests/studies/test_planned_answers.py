"""The study of a planner on learned rewards of Delivery: its page follows from its records, its planner is exact."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from valuegym.envs.preference.delivery import Delivery

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"


@pytest.fixture
def study() -> Any:
    return importlib.import_module("studies.preference.planned_answers")


def test_the_committed_page_follows_from_the_committed_records(study: Any) -> None:
    records = importlib.import_module("studies.harness").load(RESULTS / "data/planned-answers.jsonl")
    found = study.pages(records, study.PARSER.parse_args([]))
    assert (RESULTS / "planned-answers.md").read_text(encoding="utf-8") == found[".md"]
    assert all(value["labels"] <= study.BUDGET for value in records.values())


def test_the_plan_for_the_true_reward_is_optimal(study: Any) -> None:
    core = Delivery(observation="onehot")
    best = study.planned(core, core.true_rewards[0])[1]
    assert 0.99 < study.true_score(core, best) < 1.01
    assert study.true_score(core, best * 0) < 0, "always up"


def test_arms_change_one_thing_more_each(study: Any) -> None:
    arms = [study.settings(arm) for arm in study.CHANGES]
    assert arms[0] == study.FIRST and arms[-1]["inputs"] == "action_next" and arms[-1]["rounds"] == 50
    for before, after, change in zip(arms, arms[1:], list(study.CHANGES.values())[1:], strict=False):
        assert before | change == after
