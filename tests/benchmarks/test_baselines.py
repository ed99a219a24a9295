"""The published baselines: every submission replays, and the committed page says what the replay found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from valuegym.leaderboards import experiments, trust
from valuegym.leaderboards.submission import open_submission

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "results" / "baselines"


@pytest.fixture
def baselines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import baselines

    yield baselines
    del sys.modules["baselines"]


def test_the_page_is_what_replaying_the_submissions_finds(baselines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "spread", lambda function, items, workers, label: [function(item) for item in items])
    assert baselines.page(FOLDER) == baselines.PAGE.read_text(encoding="utf-8")


def test_every_baseline_is_there_with_all_seeds_and_small(baselines) -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(baselines.BASELINES)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000
    for agent, tracks in baselines.BASELINES.items():
        found = open_submission(FOLDER / f"{agent}.zip")
        assert found.card == baselines.card(agent)
        assert set(found.manifest["experiments"]) == set(tracks)
        for name, what in found.manifest["experiments"].items():
            assert tuple(what["seeds"]) == experiments.find(name).seeds
            assert agent in experiments.find(name).agents


def test_a_submission_that_does_not_replay_makes_no_page(baselines, tmp_path: Path) -> None:
    content = (FOLDER / "constant.zip").read_bytes()
    (tmp_path / "constant.zip").write_bytes(content.replace(b'"actions"', b'"ACTIONS"', 1))
    with pytest.raises(ValueError, match="rejected"):
        baselines.page(tmp_path)
