"""The online study: it goes on where it stopped, settings follow from the rule, and the page is what was recorded."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/results"
STUDY = json.loads((ROOT / "benchmarks/pendulum_online.json").read_text(encoding="utf-8"))
SMALL = {"hidden": 4, "batch": 4, "random_steps": 8, "refresh": 8, "model_steps": 1, "members": 2, "width": 4}


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("pendulum_online")


def test_it_goes_on_where_it_stopped(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = STUDY | {"steps": 16, "evaluate_every": 8, "episodes": 1, "test_seeds": [100, 101], "block": 1}
    tiny["settings"] = STUDY["settings"] | SMALL
    monkeypatch.setattr(study, "LENGTH", 5)
    path = tmp_path / "study.json"
    path.write_text(json.dumps(tiny), encoding="utf-8")

    def go(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["x", "--study", str(path), "--output", str(tmp_path), *arguments])
        study.main()
        return (tmp_path / "pendulum-online.jsonl").read_text(encoding="utf-8").splitlines()

    arms = ["--arms", "mse", "no model"]
    first = go(*arms, "--seeds", "1")
    assert [(row["arm"], row["seed"]) for row in map(json.loads, first)] == [("mse", 100), ("no model", 100)]
    assert len(json.loads(first[0])["curve"]) == 1 and len(json.loads(first[0])["final"]) == 1
    assert json.loads(first[0])["trace"][-1]["step"] == 16 and not json.loads(first[1])["trace"]
    with (tmp_path / "pendulum-online.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"arm": "mse", "se')  # cut short
    both = go(*arms)
    assert both[:2] == first and len(both) == 4
    page = (tmp_path / "pendulum-online.md").read_text(encoding="utf-8")
    assert "| `mse` | 2 |" in page and "| `no model` | 2 |" in page and "`vagram`" not in page.split("## Settings")[0]
    path.write_text(json.dumps(tiny | {"steps": 24}), encoding="utf-8")  # other settings: nothing counts any more
    assert go("--table") == both
    assert "| `mse` | 2 |" not in (tmp_path / "pendulum-online.md").read_text(encoding="utf-8")


def test_groups_learn_side_by_side_in_blocks_of_seeds(study: Any) -> None:
    assert sorted(arm for group in STUDY["side_by_side"] for arm in group) == sorted(STUDY["arms"])
    blocks = [block for block in study.wanted(STUDY, False, None, 20) if block]
    runs = [run for block in blocks for run in block]
    assert len(set(runs)) == len(runs) == 20 * (len(STUDY["arms"]) - 1)
    for block in blocks:
        assert len({STUDY["arms"][run.arm].get("critic", "mse") for run in block}) == 1
        assert len({run.seed for run in block}) == STUDY["block"]


def test_settings_were_chosen_on_other_seeds_with_the_same_effort_for_every_arm(study: Any) -> None:
    assert not set(STUDY["tuning_seeds"]) & set(STUDY["test_seeds"])
    rows = study.recorded(RESULTS / "pendulum-online-tuning.jsonl", STUDY)
    for arm, candidates in STUDY["tuned"].items():
        means = {
            candidate: np.mean([study.final(rows[study.Run(arm, candidate, seed)]) for seed in STUDY["tuning_seeds"]])
            for candidate in candidates
        }
        best = max(means, key=lambda candidate: means[candidate])
        alike = [other for other in STUDY["chosen"] if other.split(",")[0] == arm]
        assert [STUDY["chosen"][other] for other in alike] == [best] * len(alike) and arm in alike


def test_the_committed_page_follows_from_the_committed_records(study: Any) -> None:
    found = [study.recorded(RESULTS / f"pendulum-online{suffix}.jsonl", STUDY) for suffix in ("", "-tuning")]
    assert (RESULTS / "pendulum-online.md").read_text(encoding="utf-8") == study.report(STUDY, *found)
    assert "nan" not in (RESULTS / "pendulum-online.md").read_text(encoding="utf-8")
    assert (RESULTS / "pendulum-online.svg").is_file()
