"""Reading projects from a wandb server: inbox, board, copies, and servers that are busy, silent or gone."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.leaderboards.board import operations
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records import submission
from valuegym.leaderboards.run import run
from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.tracking import log, online
from valuegym.leaderboards.tracking.online import OnlineRun, Reading, fetch_submissions, read_project, render
from valuegym.leaderboards.trust.judgement import Judgement, judge
from valuegym.leaderboards.trust.ledger import Ledger, LedgerEntry, read_ledger
from valuegym.leaderboards.trust.tiers import LIMITS, Standing

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb: valuegym[tracking]")
pytestmark = pytest.mark.usefixtures("nobody_logged_in")
WALK = Experiment("test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 3, (0, 1), "return")
INBOX, BOARD = "lab/inbox", "lab/board"


@pytest.fixture(autouse=True, scope="module")
def small_experiments(enrol: Callable[..., None]) -> None:
    enrol(WALK)


def sent(folder: Path, name: str = "uniform", spoil: bool = False) -> Judgement:
    """A submission that its maker found to be true; spoilt afterwards, it says what its records do not."""
    contents = []
    for seed in WALK.seeds:
        path = run("uniform", WALK.id, seed, folder / "results")
        contents.append(path.read_bytes().replace(b'"agent":"uniform"', f'"agent":"{name}"'.encode()))
    contents = [_sealed(content, spoil) for content in contents]
    path = folder / f"{name}.zip"
    submission.write_submission(
        path, submission.pack(submission.Card.of(submission.EXAMPLE | {"name": name}), contents)
    )
    return judge(path)


def _sealed(content: bytes, spoil: bool) -> bytes:
    """A record with its sum put right, and with other scores if wanted."""
    import hashlib

    *lines, last = content.decode().splitlines()
    body, end = "".join(f"{line}\n" for line in lines), json.loads(last)
    end["sha256"] = hashlib.sha256(body.encode()).hexdigest()
    if spoil:
        end["scores"][0][0] = 0.9
    return f"{body}{json.dumps(end, sort_keys=True, separators=(',', ':'))}\n".encode()


def log_to(judgement: Judgement, folder: Path, project: str = INBOX) -> None:
    """Log a submission to a project, whether it is true or not, as its maker would."""
    entity, _, name = project.partition("/")
    if not judgement.reason:
        tracked = log.log_submission(judgement, folder / "made", "online", name, entity)
    else:
        claim = Score(judgement.agent, WALK.id, (0,), np.full((2, 3, 1), 0.9), (0, 1), Standing("executed"))
        config = {"submission": judgement.digest}
        tracked = log.log_scores(
            [claim], [judgement.path], folder / "made", "online", name, entity, config, "submission"
        )
    assert tracked.mode == "online"


@needs_wandb
@pytest.mark.slow
def test_what_was_logged_is_read_back(tmp_path: Path, server: Any) -> None:
    """Row for row what offline and online runs hold; then from a copy, until that is too old."""
    judgement = sent(tmp_path)
    log_to(judgement, tmp_path)
    offline = log.log_submission(judgement, tmp_path / "later", "offline", "inbox", "lab")
    command = [sys.executable, "-m", "wandb", "sync", "--entity", "lab", "--project", "inbox", str(offline.directory)]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    server.runs["lab", "inbox", "going"] = {"config": {}, "summary": {}, "job_type": "leaderboard", "state": "running"}
    server.runs["lab", "inbox", "other"] = {"config": {}, "summary": {}, "job_type": "train", "state": "finished"}
    server.runs["lab", "else", "x"] = {"config": {}, "summary": {}, "job_type": "leaderboard", "state": "finished"}
    first = read_project(INBOX, tmp_path)
    assert first.message == "lab/inbox: 2 runs read." and not server.unknown
    one, two = first.runs
    held = log.read_offline(offline.directory)
    for read in (one, two):
        assert (read.name, read.state, set(read.tags)) == ("uniform", "finished", set(held["tags"]))
        assert {k: v for k, v in read.config.items() if k != "wandb"} == held["config"]
        assert {k: v for k, v in read.summary.items() if k.startswith("score/")} == held["summary"]
    asked = len(server.operations)
    again = read_project(INBOX, tmp_path, tags=["replayed"])
    assert again.runs == first.runs and "as read at" in again.message and len(server.operations) == asked
    assert read_project(INBOX, tmp_path, tags=["executed"]).runs == ()
    assert read_project(INBOX, tmp_path, max_age=0).message == first.message and len(server.operations) > asked


@needs_wandb
@pytest.mark.slow
def test_a_busy_server_is_asked_again(tmp_path: Path, server: Any) -> None:
    server.busy = 2
    server.runs["lab", "inbox", "x"] = {"config": {}, "summary": {}, "job_type": "leaderboard", "state": "finished"}
    assert [run.id for run in read_project(INBOX, tmp_path).runs] == ["x"] and server.busy == 0


@needs_wandb
def test_without_a_server_the_copy_is_what_there_is(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.runs["lab", "inbox", "x"] = {"config": {}, "summary": {}, "job_type": "leaderboard", "state": "finished"}
    before = read_project(INBOX, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    after = read_project(INBOX, tmp_path, max_age=0, patience=2.0)
    assert after.runs == before.runs and "the server did not answer within 2 s" in after.message
    with pytest.raises(OSError, match="lab/other could not be read, and there is no earlier copy"):
        read_project("lab/other", tmp_path, patience=1.0)
    [copy] = (tmp_path / "wandb" / "read").iterdir()
    for damage in ("", "{}", '{"time": 1.0, "runs": [3]}', '{"time": "x", "runs": []}', "[]"):
        copy.write_text(damage, encoding="utf-8")
        with pytest.raises(OSError, match="no earlier copy"):
            read_project(INBOX, tmp_path, patience=0.5)
    monkeypatch.setattr(online, "PATIENCE", 0.5)
    monkeypatch.delenv("WANDB_API_KEY")
    assert main(["online", "lab/other", "--results", str(tmp_path)]) == 2
    assert "lab/other could not be read" in capsys.readouterr().err


def test_what_is_no_project_is_not_asked_for(tmp_path: Path) -> None:
    for bad in ("", "lab", "a/b/c", "../x", "lab/in box", "lab/x\n"):
        with pytest.raises(ValueError, match="expected ENTITY/PROJECT"):
            read_project(bad, tmp_path)
    for bad in ("", "..", "a/b", "x" * 65):
        with pytest.raises(ValueError, match="not the id of a run"):
            fetch_submissions(INBOX, bad, tmp_path)


@needs_wandb
def test_only_plain_submissions_are_fetched(tmp_path: Path, server: Any) -> None:
    """No references to elsewhere, no other kinds of artifacts, no names that lead out of the folder."""
    log_to(sent(tmp_path), tmp_path)
    [key] = server.runs
    [held] = (artifact for artifact in server.artifacts.values() if artifact["type"] == "submission")
    manifest = json.loads(held["manifest"])
    good = manifest["contents"]["uniform.zip"]
    elsewhere = {"digest": "x", "ref": f"file://{tmp_path / 'secret'}", "size": 1}
    manifest["contents"] |= {"../out.zip": good, "a/b.zip": good, "x.txt": good, ".zip": good, "ref.zip": elsewhere}
    manifest["contents"]["huge.zip"] = good | {"size": submission.MAX_FILE + 1}
    held["manifest"] = json.dumps(manifest).encode()
    paths = fetch_submissions(INBOX, key[2], tmp_path / "in")
    assert paths == [tmp_path / "in" / key[2] / "uniform.zip"]
    assert paths[0].read_bytes() == (tmp_path / "uniform.zip").read_bytes()
    assert {path.name for path in (tmp_path / "in").rglob("*.zip")} == {"uniform.zip"}


@needs_wandb
@pytest.mark.slow
def test_a_board_collects_its_inbox(tmp_path: Path, server: Any, make_key: Any, capsys: Any) -> None:
    """What is true is accepted and published once, the rest is refused once; a second call changes nothing."""
    honest, forged = sent(tmp_path), sent(tmp_path, "forger", spoil=True)
    assert not honest.reason and "the scores are not those" in forged.reason
    for person, judgement in enumerate((honest, forged, honest)):  # somebody logs the same file again
        log_to(judgement, tmp_path / str(person))
    server.runs["lab", "inbox", "empty"] = {"config": {}, "summary": {}, "job_type": "leaderboard", "state": "finished"}
    key, path = make_key(), tmp_path / "board.jsonl"
    operations.begin(path, "A board", key)
    command = ["board", "collect", str(path), "--inbox", INBOX, "--publish", BOARD, "--key", str(key), "--workers", "1"]
    command += ["--folder", str(tmp_path / "inbox")]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "lab/inbox: 4 runs read." in output and output.count("accepted  ") == output.count("rejected  ") == 1
    assert "uniform: Logged online" in output
    verdicts = [entry.body for entry in read_ledger(path).of("verdict")]
    assert [(body["agent"], bool(body["reason"])) for body in verdicts] == [("uniform", False), ("forger", True)]
    public = [run for where, run in server.runs.items() if where[:2] == ("lab", "board")]
    assert [run["config"]["submission"] for run in public] == [honest.digest]
    assert public[0]["config"]["tier"] == "replayed" and "replayed" in public[0]["tags"]
    size = path.stat().st_size
    assert main(command) == 0
    again = capsys.readouterr().out
    assert "accepted" not in again and "rejected" not in again and "Logged" not in again
    assert path.stat().st_size == size and len([1 for where in server.runs if where[1] == "board"]) == 1
    assert public[0]["config"]["ledger"] == read_ledger(path).head
    assert main(["online", BOARD, "--results", str(tmp_path), "--board", str(path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "test/walk" and shown[1].split()[:2] == ["replayed", "uniform"]


def test_runs_are_shown_strongest_tier_first() -> None:
    def logged(id: str, tier: object, **scores: object) -> OnlineRun:
        summary = {f"score/a/b/{name[1:].replace('_', '/')}": value for name, value in scores.items()}
        return OnlineRun(id, f"agent {id}\n\u202e", "finished", "", (), {"tier": tier, "submission": id}, summary)

    runs = (
        logged("1", "replayed", r0=0.1, r10=0.9, r10_low=0.8, r10_high=0.95, r9=5.0),
        logged("2", "executed", r10=0.2),
        logged("3", ["divine"], r0=7, r3="NaN"),
        logged("4", None, rx=1.0),
    )
    ledger = Ledger()
    ledger.entries.append(LedgerEntry(0, "", "board", {"name": "A\u202eboard", "key": "ssh-ed25519 AAAA"}, "", "d"))
    for digest, tier, reason in (("1", "replayed", ""), ("2", "executed", ""), ("3", "executed", "it is wrong.")):
        body = {"submission": digest, "tier": tier, "reason": reason}
        ledger.entries.append(LedgerEntry(1, "", "verdict", body, "", ""))
    lines = render(Reading(runs, "so."), ledger).splitlines()
    assert lines[0] == "a/b" and lines[-1] == "so." and len(lines) == 6
    assert [line.split()[0] for line in lines[1:4]] == ["executed", "replayed", "claimed"]
    assert "0.90 [0.80, 0.95] at 10 preferences  run 1" in lines[2] and lines[3].endswith("7.00  run 3")
    assert all(line.isprintable() for line in lines)
    assert lines[4] == "Tiers are those of board 'A\\u202eboard', signed by ssh-ed25519 AAAA."


def test_a_strangers_word_for_a_tier_is_not_repeated() -> None:
    config = {"tier": "executed", "submission": "1"}
    run = OnlineRun("1", "agent", "finished", "", ("executed",), config, {"score/a/b/0": 1.0})
    shown = render(Reading((run,), "so."))
    assert "executed" not in shown and "claimed" in shown and online.NOBODY in shown


def test_a_report_is_markdown_where_wandb_cannot_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sent(tmp_path, "walker")
    assert main(["leaderboard", str(tmp_path), "--track", "off", "--report", BOARD, "--workers", "1"]) == 0
    assert "report.md; Reports on wandb need its package wandb-workspaces" in capsys.readouterr().out
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("### test/walk\n") and LIMITS["replayed"] in text


@needs_wandb
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb_workspaces") is None, reason="needs wandb-workspaces")
def test_a_report_arrives(tmp_path: Path, server: Any) -> None:
    server.runs["lab", "board", "x"] = {"config": {}, "summary": {}}
    url = online.publish_report(BOARD, "Title", "### test/walk", tmp_path)
    assert url.startswith(f"{server.url}/lab/board/reports/Title--") and not server.unknown
    [report] = server.reports
    assert (report["entityName"], report["projectName"], report["displayName"]) == ("lab", "board", "Title")
    assert "### test/walk" in report["spec"]
