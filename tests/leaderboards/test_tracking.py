"""wandb runs of submissions: what is written, what arrives at a server, and what happens without one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from valuegym._version import __version__
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records import submission
from valuegym.leaderboards.run import run
from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.tracking import log, offline_run
from valuegym.leaderboards.tracking.log import TrackedRun, log_scores, read_offline, relocate
from valuegym.leaderboards.trust.judgement import Judgement, judge
from valuegym.leaderboards.trust.tiers import LIMITS

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb: valuegym[tracking]")
KEY = "0" * 40
pytestmark = pytest.mark.usefixtures("nobody_logged_in")


def make_score(agent: str = "regret", experiment: str = "preference/boards-regret", **changes) -> Score:
    values = np.random.default_rng(0).random((3, 5, 2))
    return Score(agent, experiment, (0, 10), values, (0, 1, 2), **{"status": "replayed"} | changes)


def make_scores() -> list[Score]:
    single = Score("regret", "control/distractors", (0,), np.array([[[0.25]]]), (7,))
    return [make_score(), single]


def make_files(folder: Path) -> list[Path]:
    files = [folder / "preference" / "seed-0.jsonl", folder / "control" / "seed-0.jsonl"]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text(f'{{"of": "{file.parent.name}"}}\n', encoding="utf-8")
    return files


def expected_summary() -> dict[str, float]:
    expected = {"score/control/distractors/0": 0.25}  # one value has no interval
    for point, row in zip((0, 10), estimates(make_score().values), strict=True):
        for suffix, value in zip(("", "/low", "/high"), row, strict=True):
            expected[f"score/preference/boards-regret/{point}{suffix}"] = value
    return expected


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> TrackedRun:
    folder = tmp_path_factory.mktemp("offline")
    return log_scores(make_scores(), make_files(folder / "records"), folder, mode="offline", config={"digest": "1a2b"})


@needs_wandb
def test_offline_run_holds_everything(offline: TrackedRun) -> None:
    run = read_offline(offline.directory)
    assert (offline.mode, offline.url) == ("offline", None)
    assert str(offline.directory) in offline.message
    assert (run["name"], run["project"], run["job_type"], run["exit_code"]) == ("regret", "valuegym", "leaderboard", 0)
    assert set(run["tags"]) == {
        f"valuegym-{__version__}",
        "preference/boards-regret",
        "control/distractors",
        "claimed",
        "replayed",
    }
    assert run["config"] == {
        "agent": "regret",
        "suite_version": __version__,
        "experiments": ["preference/boards-regret", "control/distractors"],
        "status": {"preference/boards-regret": "replayed", "control/distractors": "claimed"},
        "seeds": {"preference/boards-regret": [0, 1, 2], "control/distractors": [7]},
        "digest": "1a2b",
    }
    assert run["summary"] == pytest.approx(expected_summary())


@needs_wandb
def test_offline_table_has_a_row_per_seed_and_report(offline: TrackedRun) -> None:
    table = read_offline(offline.directory)["tables"]["scores"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == 3 * 2 + 1
    values = make_score().values
    row = next(
        r for r in rows if (r["experiment"], r["seed"], r["evaluation_point"]) == ("preference/boards-regret", 1, 10)
    )
    assert row["mean"] == pytest.approx(values[1, :, 1].mean())
    assert row["interquartile_mean"] == pytest.approx(np.sort(values[1, :, 1])[1:-1].mean())
    assert (row["episodes"], row["status"]) == (5, "replayed")


@needs_wandb
def test_offline_artifact_keeps_the_record_files_within_the_run(offline: TrackedRun) -> None:
    artifact = read_offline(offline.directory)["artifacts"]["regret-records"]
    assert artifact["type"] == "records"
    assert set(artifact["files"]) == {"preference/seed-0.jsonl", "control/seed-0.jsonl"}
    for name, copy in artifact["files"].items():
        assert Path(copy).is_relative_to(offline.directory)
        assert json.loads(Path(copy).read_text(encoding="utf-8")) == {"of": name.partition("/")[0]}


@needs_wandb
def test_reader_agrees_with_wandb_itself(offline: TrackedRun, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(offline.directory)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "No such command" in done.stderr:
        pytest.skip("this wandb has no `wandb leet inspect` to compare with")
    theirs, ours = json.loads(done.stdout), read_offline(offline.directory)
    assert ours["config"] == theirs["config"]
    assert ours["tags"] == theirs["tags"]
    assert ours["id"] == theirs["run_id"]
    numbers = {key: value for key, value in theirs["summary"].items() if key.startswith("score/")}
    assert ours["summary"] == numbers


@needs_wandb
def test_the_caller_notices_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "mine")  # of a run the caller has open
    monkeypatch.setenv("WANDB_TAGS", "mine")
    before = dict(os.environ)
    tracked = log_scores([make_score()], [], tmp_path / "out")
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == ["out"]
    run = read_offline(tracked.directory)
    assert run["id"] != "mine" and "mine" not in run["tags"]


@needs_wandb
def test_without_a_key_the_run_goes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    tracked = log_scores([make_score()], [], tmp_path)
    assert (tracked.mode, tracked.url) == ("offline", None)
    assert "no API key" in tracked.message and "written offline" in tracked.message
    assert read_offline(tracked.directory)["name"] == "regret"


@needs_wandb
def test_without_a_server_the_run_goes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    tracked = log_scores(make_scores(), make_files(tmp_path / "records"), tmp_path, mode="online")
    assert (tracked.mode, tracked.url) == ("offline", None)
    assert "server" in tracked.message and "written offline" in tracked.message
    assert read_offline(tracked.directory)["summary"] == pytest.approx(expected_summary())
    assert not list((tmp_path / "wandb").glob("run-*"))  # nothing is left of the attempt


@needs_wandb
def test_online_run_arrives(tmp_path: Path, server) -> None:
    files = make_files(tmp_path / "records")
    tracked = log_scores(make_scores(), files, tmp_path, mode="online", entity="lab", config={"digest": "1a2b"})
    assert tracked.mode == "online"
    assert tracked.url is not None and tracked.url.startswith(server.url) and tracked.url in tracked.message
    ((key, run),) = server.runs.items()
    assert key[:2] == ("lab", "valuegym")
    assert (run["name"], run["job_type"], run["state"]) == ("regret", "leaderboard", "finished")
    assert {k: v for k, v in run["summary"].items() if k.startswith("score/")} == pytest.approx(expected_summary())
    assert run["config"]["agent"] == "regret" and run["config"]["digest"] == "1a2b"
    assert "preference/boards-regret" in run["tags"] and f"valuegym-{__version__}" in run["tags"]
    assert run.get("host", "") == ""  # machines and users are nobody's business
    assert_artifacts_arrived(server)
    assert not server.unknown


@needs_wandb
def test_offline_run_is_moved_mended_and_synced(offline: TrackedRun, tmp_path: Path, server) -> None:
    moved = tmp_path / "elsewhere" / offline.directory.name
    shutil.copytree(offline.directory, moved)
    before = read_offline(moved)
    assert relocate(moved) == 3  # two records and the table
    assert relocate(moved) == 0
    after = read_offline(moved)
    artifact = after["artifacts"]["regret-records"]
    assert all(Path(copy).is_relative_to(moved) for copy in artifact["files"].values())
    assert {**after, "artifacts": 0} == {**before, "artifacts": 0}
    command = [sys.executable, "-m", "wandb", "sync", str(moved)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # it logs where it stands
    assert done.returncode == 0, done.stderr
    ((key, run),) = server.runs.items()
    assert key == ("tester", "valuegym", before["id"])
    assert {k: v for k, v in run["summary"].items() if k.startswith("score/")} == before["summary"]
    assert {k: v for k, v in run["config"].items() if not k.startswith("_")} == before["config"]
    assert sorted(run["tags"]) == sorted(before["tags"])
    assert_artifacts_arrived(server)


def assert_artifacts_arrived(server) -> None:
    assert {artifact["state"] for artifact in server.artifacts.values()} == {"COMMITTED"}
    (records,) = (artifact for artifact in server.artifacts.values() if artifact["type"] == "records")
    assert records["name"] == "regret-records"
    assert records["files"]["control/seed-0.jsonl"] == b'{"of": "control"}\n'
    assert set(records["files"]) >= {"preference/seed-0.jsonl", "control/seed-0.jsonl"}


@needs_wandb
def test_a_moved_run_without_its_copies_is_refused(offline: TrackedRun, tmp_path: Path) -> None:
    shutil.copytree(offline.directory, tmp_path / "run", ignore=shutil.ignore_patterns("data"))
    with pytest.raises(FileNotFoundError, match="copy the whole folder"):
        relocate(tmp_path / "run")


@needs_wandb
def test_damaged_logs_are_refused(offline: TrackedRun, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds 0 files"):
        read_offline(tmp_path)
    (log,) = offline.directory.glob("*.wandb")
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / log.name).write_bytes(damaged)
    with pytest.raises(ValueError, match="checksum"):
        read_offline(tmp_path)


def test_log_format_round_trip() -> None:
    block, header = offline_run.BLOCK, offline_run.FRAGMENT.size
    room = block - len(offline_run.HEADER) - header  # what the first block holds of the first record
    sizes = [0, 1, room, room - 1, room - header, room - header - 1, room + 1, 3 * block]
    rng = np.random.default_rng(0)
    for size in sizes:
        payloads = [rng.bytes(size), b"", rng.bytes(100), rng.bytes(2 * block)]
        assert list(offline_run.fragments(offline_run.framed(payloads))) == payloads


def test_log_format_of_one_record() -> None:
    """The bytes of the smallest log, written out."""
    expected = b":W&B\xe1\xbe\x00" + zlib.crc32(b"\x01hi").to_bytes(4, "little") + b"\x02\x00\x01hi"
    assert offline_run.framed([b"hi"]) == expected
    with pytest.raises(ValueError, match="not a wandb run log"):
        list(offline_run.fragments(b"SQLite format 3"))
    for cut in (3, 8):
        with pytest.raises(ValueError, match=r"breaks off|checksum"):
            list(offline_run.fragments(expected[:-cut]))


def test_bad_requests_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"0 agents"):
        log_scores([], [], tmp_path)
    with pytest.raises(ValueError, match=r"2 agents \['mle', 'regret'\]"):
        log_scores([make_score(), make_score("mle")], [], tmp_path)
    with pytest.raises(ValueError, match="each once"):
        log_scores([make_score(), make_score()], [], tmp_path)
    with pytest.raises(ValueError, match="mode is 'cloud'"):
        log_scores([make_score()], [], tmp_path, mode="cloud")
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl"):
        log_scores([make_score()], [tmp_path / "nothing.jsonl"], tmp_path)
    with pytest.raises(TypeError, match="config cannot be written as JSON"):
        log_scores([make_score()], [], tmp_path, config={"agent": object()})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"valuegym\[tracking\]"):
        log_scores([make_score()], [], tmp_path)


# --- submissions ---

WALK = Experiment("test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 3, (0, 1), "return")


@pytest.fixture
def judgement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judgement:
    """An honest submission, judged."""
    monkeypatch.setitem(experiments.EXPERIMENTS, WALK.id, WALK)
    monkeypatch.setattr(executors, "parallel_map", lambda function, items, *_: [function(item) for item in items])
    contents = [run("uniform", WALK.id, seed, tmp_path / "results").read_bytes() for seed in WALK.seeds]
    path = tmp_path / "uniform.zip"
    submission.write(path, submission.pack(submission.Card.of(submission.EXAMPLE | {"name": "uniform"}), contents))
    return judge(path)


@needs_wandb
def test_a_submission_synced_later_is_the_one_logged_online(judgement: Judgement, tmp_path: Path, server) -> None:
    """Row for row: summary, config, tags, table and artifact are the same; only the run's id is another."""
    tracked = log.log_submission(judgement, tmp_path / "offline", "offline")
    assert tracked.mode == "offline" and not server.runs
    command = [sys.executable, "-m", "wandb", "sync", str(tracked.directory)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert log.log_submission(judgement, tmp_path / "online", "online").mode == "online"
    first, second = server.runs.values()

    def told(run: dict) -> dict:
        own = {key: {k: v for k, v in run[key].items() if not k.startswith("_")} for key in ("summary", "config")}
        for key in ("sha256", "artifact_path", "_latest_artifact_path", "path"):
            own["summary"]["scores"].pop(key, None)  # the table's own file, compared below
        return own | {key: run.get(key) for key in ("name", "job_type", "state")} | {"tags": sorted(run["tags"])}

    assert told(first) == told(second)
    config = told(first)["config"]
    assert config["tier"] == "replayed" and config["limit"] == LIMITS["replayed"]
    assert config["submission"] == judgement.digest and config["card"]["name"] == "uniform"
    assert "replayed" in first["tags"] and "test/walk" in first["tags"]
    zips = [artifact["files"] for artifact in server.artifacts.values() if artifact["type"] == "submission"]
    assert zips == [{"uniform.zip": Path(judgement.path).read_bytes()}] * 2
    tables = [
        json.loads(content)["data"]
        for artifact in server.artifacts.values()
        for name, content in artifact["files"].items()
        if name.endswith(".table.json")
    ]
    assert len(tables) == 2 and tables[0] == tables[1] and len(tables[0]) == 2


@needs_wandb
def test_a_wrong_key_leaves_a_complete_local_run(tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "1" * 40
    tracked = log_scores([make_score()], make_files(tmp_path / "records"), tmp_path, mode="online")
    assert (tracked.mode, tracked.url) == ("offline", None)
    assert "written offline" in tracked.message and not server.runs
    held = read_offline(tracked.directory)
    assert held["name"] == "regret" and set(held["artifacts"]) >= {"regret-records"}


@needs_wandb
def test_a_rejected_submission_is_not_logged(judgement: Judgement, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"was rejected \(no\), so there is nothing to log"):
        log.log_submission(judgement._replace(reason="no"), tmp_path)


@needs_wandb
@pytest.mark.slow
def test_a_server_that_dies_mid_run_leaves_a_complete_local_run(
    tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run began online; a whole one lies in the folder, and syncs to a server that lives."""
    monkeypatch.setattr(log, "FINISH_TIMEOUT", 4.0)
    server.dies_at = "CreateArtifact"
    tracked = log_scores(make_scores(), make_files(tmp_path / "records"), tmp_path, mode="online")
    assert (tracked.mode, tracked.url) == ("offline", None)
    assert "did not take all of the run" in tracked.message and "wandb sync" in tracked.message
    held = read_offline(tracked.directory)
    assert held["summary"] == pytest.approx(expected_summary()) and "regret-records" in held["artifacts"]
    server.dies_at, server.dead = None, False
    server.artifacts.clear()
    command = [sys.executable, "-m", "wandb", "sync", str(tracked.directory)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_artifacts_arrived(server)
