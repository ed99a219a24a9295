"""The published baselines: every submission replays, and the committed page says what the replay found."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records.record import read_record, write_record
from valuegym.leaderboards.records.submission import open_submission
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verification.verify import verify

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "results" / "baselines"


@pytest.fixture
def baselines() -> Any:
    return importlib.import_module("studies.baselines")


def test_the_page_is_what_replaying_the_submissions_finds(baselines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        executors, "parallel_map", lambda function, items, workers, label: [function(item) for item in items]
    )
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


CELLS = [("coevolution/follow-linear", "kalman"), ("coevolution/predict-population", "theta")]


def test_records_that_rest_on_linear_algebra_earn_the_published_scores(baselines, tmp_path: Path) -> None:
    """LAPACK and torch round differently on other processors, so that bits differ there, and scores do not."""
    record = read_record(run("oracle", "control/lqr", 3, tmp_path))
    scores = baselines.published(FOLDER)["oracle", "control/lqr", 3]["scores"]
    np.testing.assert_allclose(record.scores, scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("track", "agent"), CELLS)
def test_records_made_again_are_the_published_ones(baselines, tmp_path: Path, track: str, agent: str) -> None:
    """To the bit, the line that names the machine apart; and an edited one is named."""
    path = run(agent, track, 3, tmp_path)
    assert baselines.check(str(tmp_path), FOLDER).startswith("1 of ")
    assert baselines.published(FOLDER)[agent, track, 3] == baselines.line(read_record(path))
    record = read_record(path)
    record.episodes[0].actions[0] = record.episodes[0].actions[1]
    write_record(path, record)
    with pytest.raises(ValueError, match="1 records are not the published ones"):
        baselines.check(str(tmp_path), FOLDER)


def test_lines_of_tracks_and_seeds_that_are_no_more_are_left_out(baselines, tmp_path: Path) -> None:
    [line, *_] = map(json.loads, (FOLDER / baselines.RECORDS).read_text(encoding="utf-8").splitlines())
    changes: list[dict[str, object]] = [{}, {"seed": 10_000}, {"experiment": "gone/track"}]
    content = "".join(f"{json.dumps(line | change)}\n" for change in changes)
    (tmp_path / baselines.RECORDS).write_text(content, encoding="utf-8")
    assert list(baselines.published(tmp_path).values()) == [line]


def test_an_archive_holds_the_published_records_and_is_the_same_bytes_wherever_it_is_made(
    baselines, tmp_path: Path
) -> None:
    """Records come from two folders, in another order of making and with other provenance."""
    folder = tmp_path / "published"
    cells = [("persistence", "coevolution/follow-linear", 1), ("kalman", "coevolution/follow-linear", 0)]
    for name, order in (("a", cells), ("b", cells[::-1])):
        for agent, track, seed in order:
            path = run(agent, track, seed, tmp_path / name)
            write_record(path, replace(read_record(path), provenance={"machine": name}))
    lines = [baselines.line(read_record(run(*cell, tmp_path / "a"))) for cell in cells]
    folder.mkdir()
    text = "".join(
        json.dumps(value) + "\n" for value in [*lines, lines[0] | {"seed": 7}, lines[0] | {"experiment": "x"}]
    )
    (folder / baselines.RECORDS).write_text(text, encoding="utf-8")
    said, about = [], []
    for name in "ab":
        said.append(baselines.archive(str(tmp_path / name), folder, str(tmp_path / f"{name}.tar.gz")))
        about.append(json.loads((folder / baselines.ARCHIVE).read_text(encoding="utf-8")))
    first, second = ((tmp_path / f"{name}.tar.gz").read_bytes() for name in "ab")
    assert first == second and about[0] == about[1] | {"file": "a.tar.gz"}
    assert "2 of 3 published records" in said[0] and said[0].endswith(hashlib.sha256(first).hexdigest())
    assert about[0]["bytes"] == len(first) and about[0]["sha256"] == hashlib.sha256(first).hexdigest()
    assert about[0]["tar_sha256"] == hashlib.sha256(gzip.decompress(first)).hexdigest()
    with tarfile.open(tmp_path / "a.tar.gz") as file:
        members = {member.name: member for member in file.getmembers()}
        assert set(members) == {f"{track}/{agent}/seed-{seed}.jsonl" for agent, track, seed in cells}
        for value in lines:
            member = members["{experiment}/{agent}/seed-{seed}.jsonl".format(**value)]
            content = file.extractfile(member).read()
            assert hashlib.sha256(content).hexdigest() == value["sha256"] and len(content) == value["bytes"]
            assert (member.mtime, member.uid, member.uname) == (0, 0, "")
            (tmp_path / "seed-0.jsonl").write_bytes(content)
            assert not verify(tmp_path / "seed-0.jsonl").reason
    page = baselines._about_archive(folder, 3)
    assert about[1]["sha256"] in page and about[1]["tar_sha256"] in page and "2 of the 3 records" in page
    record = read_record(tmp_path / "a" / "coevolution/follow-linear/kalman/seed-0.jsonl")
    record.episodes[0].actions[0] = record.episodes[0].actions[1]
    write_record(tmp_path / "a" / "coevolution/follow-linear/kalman/seed-0.jsonl", record)
    with pytest.raises(ValueError, match=r"kalman/seed-0.jsonl is not the published record"):
        baselines.archive(str(tmp_path / "a"), folder, str(tmp_path / "c.tar.gz"))


@pytest.fixture
def small(baselines, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A programme of two tracks, one of them of people's answers, and none among the submissions."""
    follow = replace(
        experiments.find("coevolution/follow-linear"), agents=("persistence", "kalman"), seeds=(0, 1), episodes=2
    )
    human = replace(experiments.find("preference/human-privileged-control"), agents=("oracle",), seeds=(0, 1))
    monkeypatch.setattr(experiments, "EXPERIMENTS", {follow.id: follow, human.id: human})
    monkeypatch.setattr(baselines, "BASELINES", {})
    return [follow.id, human.id]


def test_the_cheapest_cells_come_first_and_what_is_there_is_not_run_again(
    baselines, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow, human = small
    results, folder, played = str(tmp_path / "results"), tmp_path / "published", []

    def timed(job) -> float:
        played.append((job.agent, job.seed))
        run(*job)
        return {"persistence": 20.0, "kalman": 10.0}[job.agent]

    monkeypatch.setattr(baselines, "_timed", timed)
    baselines.make(results, folder, 0.0, None, False, 1)
    assert not played and not folder.exists()  # no time for anything
    assert "3 whose cost is not measured" in baselines._missing(folder)
    baselines.make(results, folder, 1.0, None, False, 1)
    assert played == [("persistence", 0), ("kalman", 0), ("kalman", 1), ("persistence", 1)]
    assert baselines.costs(folder) == {(follow, "persistence"): 20.0, (follow, "kalman"): 10.0}
    assert len(baselines.published(folder)) == 4 and baselines.check(results, folder).startswith("4 of 4")
    text = baselines._missing(folder)
    assert f"| {human} | 2 | `oracle` not measured |" in text and follow not in text
    written = (folder / baselines.RECORDS).read_bytes()
    baselines.make(results, folder, 1.0, None, True, 1)
    (tmp_path / "results" / follow / "kalman" / "seed-1.jsonl").unlink()
    baselines.make(results, folder, 1.0, None, False, 1)
    assert len(played) == 4
    baselines.make(results, folder, 1.0, None, True, 1)  # published, but not here
    assert played[4:] == [("kalman", 1)] and (folder / baselines.RECORDS).read_bytes() == written
    lines = written.decode().splitlines(keepends=True)
    (folder / baselines.RECORDS).write_text("".join(lines[1:]))  # one seed of kalman is not published
    assert baselines.hours(follow, "kalman", baselines.costs(folder)) == 20 / 3600
    assert f"| {follow} | 2 | `kalman` 0.33 |" in baselines._missing(folder)


def test_a_record_that_does_not_replay_is_not_published(baselines, small: list[str], tmp_path: Path) -> None:
    path = run("kalman", small[0], 0, tmp_path / "results")
    record = read_record(path)
    record.scores[0] = [9.0]
    write_record(path, record)
    with pytest.raises(ValueError, match="not those that the actions earn"):
        baselines.make(str(tmp_path / "results"), tmp_path / "published", 1.0, None, False, 1)
    assert not baselines.published(tmp_path / "published")


def test_costs_are_measured_or_those_of_an_episode_elsewhere(baselines) -> None:
    known = {("preference/boards-regret", "regret"): 10.0, ("control/lqr", "ppo"): 3.0}
    assert baselines.expected("preference/boards-regret", "regret", known) == 10.0
    assert baselines.expected("preference/human-pr-question", "regret", known) == pytest.approx(
        1.0
    )  # one episode, not ten
    assert baselines.expected("preference/published-regret", "cpl", known) is None
    assert baselines.expected("control/pendulum", "ppo", known) is None
    assert baselines.hours("control/lqr", "ppo", known) == pytest.approx(30 / 3600)


def test_nothing_of_peoples_answers_is_in_a_record(baselines, data_folder: Path, tmp_path: Path) -> None:
    """A record of a track of people's answers holds estimates, how many answers were shown, and scores."""
    record = read_record(run("oracle", "preference/human-privileged-control", 0, tmp_path, str(data_folder)))
    [episode] = record.episodes
    assert set(episode.states) == {"num_queries", "scores"} and set(episode.states["num_queries"]) == {
        0,
        250,
        500,
        750,
        1000,
        1001,
    }
    assert len(episode.actions) == 1001 and {len(action) for action in episode.actions} == {6}
    assert str(data_folder) not in baselines.bare(record)
    assert set(baselines.line(record)) == {"experiment", "agent", "seed", "bytes", "sha256", "scores"}


def test_the_published_cells_and_what_the_others_cost_are_the_programme(baselines) -> None:
    lines, known = baselines.published(FOLDER), baselines.costs(FOLDER)
    programme = baselines.programme()
    assert {(track, agent) for agent, track, _ in lines} <= set(programme) and set(known) <= set(programme)
    assert all(seconds > 0 for seconds in known.values())
    text = baselines._missing(FOLDER)
    for what in experiments.EXPERIMENTS.values():
        missing = [
            agent for track, agent in programme if track == what.id and not baselines.complete(track, agent, lines)
        ]
        row = next((line for line in text.splitlines() if line.startswith(f"| {what.id} |")), "")
        assert all(f"`{agent}`" in row for agent in missing) and row.count("`") == 2 * len(missing)


def test_the_site_of_the_baselines_shows_every_board(baselines, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple] = []
    monkeypatch.setattr(baselines, "write_site", lambda *about: shown.append(about))
    monkeypatch.setattr(baselines, "judge_all", lambda files, data, workers: [])
    baselines.site(FOLDER, "folder")
    [(scores, target, title, notes, known)] = shown
    assert (target, title, notes, known) == ("folder", "valuegym baselines", [baselines.NOTE], {})
    cells = {(agent, track) for agent, track, _ in baselines.published(FOLDER)}
    assert {(score.agent, score.experiment) for score in scores} == cells
