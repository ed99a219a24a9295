"""The published baselines: every submission replays, and the committed page says what the replay found."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from pathlib import Path

import pytest

from valuegym.leaderboards import experiments, trust
from valuegym.leaderboards.records import read, write
from valuegym.leaderboards.run import run
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
    assert {path.stem for path in FOLDER.glob("*.zip")} == set(baselines.BASELINES)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000
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


def test_the_other_records_are_published_with_all_seeds(baselines) -> None:
    """No track is in both places, and every line belongs to an agent of its track."""
    lines = baselines.published(FOLDER)
    scores = baselines.published_scores(FOLDER)
    assert sum(len(score.seeds) for score in scores) == len(lines) > 2000
    for score in scores:
        what = experiments.find(score.experiment)
        assert score.agent in what.agents and score.values.shape[:2] == (len(what.seeds), what.episodes)
        assert score.experiment not in baselines.BASELINES.get(score.agent, ())
    text = (FOLDER / baselines.RECORDS).read_text(encoding="utf-8")
    for value in map(json.loads, text.splitlines()):
        assert set(value) == {"experiment", "agent", "seed", "bytes", "sha256", "scores"} and len(value["sha256"]) == 64


CELLS = [
    ("coevolution/follow-linear", "kalman"),
    ("coevolution/predict-population", "theta"),
    ("control/lqr", "oracle"),
]


@pytest.mark.parametrize(("track", "agent"), CELLS)
def test_records_made_again_are_the_published_ones(baselines, tmp_path: Path, track: str, agent: str) -> None:
    """To the bit, the line that names the machine apart; and an edited one is told."""
    path = run(agent, track, 3, tmp_path)
    assert baselines.check(str(tmp_path), FOLDER).startswith("1 of ")
    assert baselines.published(FOLDER)[agent, track, 3] == baselines.line(read(path))
    record = read(path)
    record.episodes[0].actions[0] = record.episodes[0].actions[1]
    write(path, record)
    with pytest.raises(ValueError, match="1 records are not the published ones"):
        baselines.check(str(tmp_path), FOLDER)


def test_an_archive_holds_the_published_records(baselines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run("persistence", "coevolution/follow-linear", 0, tmp_path / "results")
    key = ("persistence", "coevolution/follow-linear", 0)
    monkeypatch.setattr(baselines, "published", lambda folder: {key: {}})
    said = [baselines.archive(str(tmp_path / "results"), FOLDER, str(tmp_path / name)) for name in "ab"]
    assert said[0].split()[-1] == said[1].split()[-1] == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    with tarfile.open(tmp_path / "a") as file:
        [member] = file.getmembers()
        assert member.name == "coevolution/follow-linear/persistence/seed-0.jsonl"
        assert file.extractfile(member).read() == path.read_bytes()
