"""Submissions on the boards: which one counts, at what tier, and in whose place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from valuegym.leaderboards.board import operations
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.submission import EXAMPLE, Card, Submission, pack, write_submission
from valuegym.leaderboards.run import run
from valuegym.leaderboards.standings.entries import learning_curves, merge_submissions
from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.trust import judgement
from valuegym.leaderboards.trust.judgement import judge_all
from valuegym.leaderboards.trust.ledger import Ledger, append, read_ledger
from valuegym.leaderboards.trust.tiers import LIMITS

WALK = Experiment("test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 3, (0, 1), "return")
STROLL = replace(WALK, id="test/stroll", arguments='{"observation": "onehot"}')
DIGEST = "a" * 64


@pytest.fixture(autouse=True, scope="module")
def small_experiments(enrol: Callable[..., None]) -> None:
    enrol(WALK, STROLL)


def packed(folder: Path, name: str, agent: str = "uniform", ledger: Ledger | None = None) -> Path:
    """A submission; on the seeds of the ledger's only commitment where there is one."""
    contents = []
    for seed in WALK.seeds:
        due = judgement.commitment_seeds(ledger, 2, WALK.id, seed) if ledger else None
        records = folder / ("sealed" if ledger else "open")
        contents.append(run(agent, WALK.id, seed, records, None, due).read_bytes())
    seal = {"board": ledger.id, "commitment": 2, "agent": DIGEST} if ledger else None
    write_submission(folder / name, pack(Card.of(EXAMPLE | {"name": agent}), contents, seal=seal))
    return folder / name


def committed(folder: Path) -> Ledger:
    path, nonce = folder / "board.jsonl", folder / "nonce.txt"
    operations.begin(path, "A board")
    operations.open_period(path, nonce)
    operations.commit(path, "uniform", "A. Person", DIGEST, [WALK.id])
    operations.reveal(path, nonce)
    return read_ledger(path)


def test_a_submission_takes_the_place_of_loose_records(tmp_path: Path) -> None:
    claimed = [
        Score("uniform", WALK.id, (0,), np.zeros((2, 3, 1)), (0, 1)),
        Score("uniform", "test/other", (0,), np.zeros((2, 3, 1)), (0, 1)),
    ]
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    judgements = judge_all([tmp_path / "broken.zip", packed(tmp_path, "sent.zip")])
    assert [bool(judgement.reason) for judgement in judgements] == [True, False]
    scores, listed = merge_submissions(claimed, judgements)
    assert [(score.experiment, score.status) for score in scores] == [
        ("test/other", "claimed"),
        ("test/walk", "replayed"),
    ]
    assert list(listed) == ["uniform"]
    [sent] = listed["uniform"]
    assert (sent.file, sent.card.authors, sent.tracks) == ("sent.zip", ("A. Person",), ("test/walk",))
    assert sent.digest == judgements[1].digest


def test_the_strongest_tier_counts(tmp_path: Path) -> None:
    ledger = committed(tmp_path)
    sealed, public = packed(tmp_path, "a.zip", ledger=ledger), packed(tmp_path, "b.zip")
    judgements = judge_all([sealed, public], ledger=ledger)
    assert [judgement.tier for judgement in judgements] == ["committed", "replayed"]
    scores, listed = merge_submissions([], judgements)
    assert [score.status for score in scores] == ["committed"]
    assert [sent.file for sent in listed["uniform"]] == ["a.zip"]
    assert "give that board" in judge_all([sealed])[0].reason  # its seeds are nobody's without the ledger


def test_the_strongest_tier_counts_on_each_track_by_itself(tmp_path: Path) -> None:
    """A stronger submission on one track leaves weaker ones on others standing; of equals the last counts."""

    def sent(file: str, tier: str, *tracks: str) -> judgement.Judgement:
        write_submission(tmp_path / file, pack(Card.of(EXAMPLE | {"name": "uniform"}), records(*tracks)))
        [judgement] = judge_all([tmp_path / file])
        return judgement._replace(tier=tier)

    def records(*tracks: str) -> list[bytes]:
        return [run("uniform", track, seed, tmp_path / "open").read_bytes() for track in tracks for seed in (0, 1)]

    judgements = [
        sent("early.zip", "replayed", WALK.id, STROLL.id),
        sent("run.zip", "executed", WALK.id),
        sent("late.zip", "replayed", WALK.id, STROLL.id),
    ]
    scores, listed = merge_submissions([], judgements)
    assert {score.experiment: score.status for score in scores} == {WALK.id: "executed", STROLL.id: "replayed"}
    assert [(sent.file, sent.tracks) for sent in listed["uniform"]] == [
        ("run.zip", (WALK.id,)),
        ("late.zip", (STROLL.id,)),
    ]


def test_what_the_ledger_holds_is_judged_again(tmp_path: Path) -> None:
    """Its tier stays, executed is taken from the ledger, and nothing is said to be a copy of itself."""
    ledger = committed(tmp_path)
    path = packed(tmp_path, "a.zip", ledger=ledger)
    judgement, _ = operations.judge_and_record(tmp_path / "board.jsonl", path)
    assert judgement.tier == "committed"
    [again] = judge_all([path], ledger=read_ledger(tmp_path / "board.jsonl"))
    assert (again.reason, again.tier, again.notes) == ("", "committed", judgement.notes)
    (tmp_path / "board.jsonl").unlink()
    (tmp_path / "nonce.txt").unlink()

    (tmp_path / "new").mkdir()
    ledger = committed(tmp_path / "new")
    path = packed(tmp_path / "new", "a.zip", ledger=ledger)
    [judgement] = judge_all([path], ledger=ledger)
    lines = (tmp_path / "new/board.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "board.jsonl").write_text("".join(lines[:3]), encoding="utf-8")  # before the reveal
    attempt = append(tmp_path / "board.jsonl", "attempt", {"commitment": 2}).index
    operations.record_verdict(tmp_path / "board.jsonl", judgement._replace(tier="executed"), attempt=attempt)
    operations.reveal(tmp_path / "board.jsonl", tmp_path / "new/nonce.txt")
    [again] = judge_all([path], ledger=read_ledger(tmp_path / "board.jsonl"))
    assert again.tier == "executed" and again.limit == LIMITS["executed"]


def test_the_command_shows_submissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    packed(tmp_path, "sent.zip").rename(tmp_path / "results" / "sent.zip")
    assert main(["leaderboard", "--track", "off"]) == 0
    output = capsys.readouterr().out
    assert "accepted  results/sent.zip: uniform on test/walk, 2 records" in output and "site   " in output
    page = (tmp_path / "results" / "site" / "agents" / "uniform.html").read_text(encoding="utf-8")
    assert "A. Person" in page and "valuegym verify sent.zip" in page


def test_learning_curves_are_read_from_evidence_and_nothing_else_is(tmp_path: Path) -> None:
    def found(evidence: object, track: str = "control/lqr") -> dict:
        text = json.dumps({track: evidence}).encode() if evidence != "none" else b"[1]"
        manifest = {"experiments": {"control/lqr": {}, "test/walk": {}}}
        return learning_curves(Submission(Card.of(EXAMPLE), manifest, {}, {"evidence/learning.json": text}, "x"))

    good = {"timesteps": [0, 1000, 2000], "scores": [[0, 0.5, 1], [0.2, 0.5, 1], [0.4, 0.5, 1]]}
    curve = found(good)["control/lqr"]
    assert curve.steps == (0, 1000, 2000)
    np.testing.assert_allclose(curve.estimates[:, 0], [0.2, 0.5, 1])
    assert curve.estimates[0, 1] < 0.2 < curve.estimates[0, 2] and curves_of_nothing() == {}
    assert found(good, "control/pendulum") == found(good, "test/walk") == found("none") == {}  # test/walk trains nobody
    bad: list[object] = [3, {}, {"timesteps": [0, 1]}, good | {"timesteps": [0, 1]}, good | {"timesteps": [0, 2000, 1]}]
    bad += [good | {"timesteps": [0, 1, 2001]}, good | {"timesteps": [0.5, 1, 2]}, good | {"timesteps": [-1, 1, 2]}]
    bad += [good | {"scores": x} for x in ([], [[1, 2]], [[1, 2, 3], [1]], [1, 2, 3], [["a", 1, 2]], [[10**400, 1, 2]])]
    for evidence in bad:
        assert found(evidence) == {}, evidence


def curves_of_nothing() -> dict:
    return learning_curves(Submission(Card.of(EXAMPLE), {"experiments": {}}, {}, {}, "x"))
