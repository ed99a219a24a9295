"""Trust tiers, end to end: public seeds, committed seeds, and what each tier says of itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from valuegym.leaderboards.board import operations
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import read_record
from valuegym.leaderboards.records.submission import EXAMPLE, Card, open_submission, pack, write_submission
from valuegym.leaderboards.run import run
from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.trust import judgement
from valuegym.leaderboards.trust.commitment import agent_digest, committed_seeds
from valuegym.leaderboards.trust.ledger import Ledger, read_ledger
from valuegym.leaderboards.trust.tiers import LIMITS, TIERS

WALK = Experiment("test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 3, (0, 1), "return")


@pytest.fixture(autouse=True, scope="module")
def small_experiments(enrol: Callable[..., None]) -> None:
    enrol(WALK)


def submission(folder: Path, agent: str = "uniform", name: str = "") -> Path:
    """An honest submission on public seeds, under another name where one is given."""
    contents = [run(agent, WALK.id, seed, folder / "results").read_bytes() for seed in WALK.seeds]
    if name:
        from valuegym.leaderboards.records.record import Record, from_text, to_text

        contents = [
            to_text(Record(**{**vars(from_text(content.decode())), "agent": name})).encode() for content in contents
        ]
    path = folder / f"{name or agent}.zip"
    write_submission(path, pack(Card.of(EXAMPLE | {"name": name or agent}), contents))
    return path


def test_every_tier_states_its_limit() -> None:
    assert tuple(LIMITS) == TIERS
    assert len(set(LIMITS.values())) == 4


def test_public_seeds_reach_replayed(tmp_path: Path) -> None:
    found = judgement.judge(submission(tmp_path))
    assert (found.reason, found.tier, found.commitment, found.notes) == ("", "replayed", -1, ())
    assert "which policy chose them" in found.text and len(found.verdicts) == 2


def test_a_relabelled_record_is_accepted_with_a_note(tmp_path: Path) -> None:
    """Replay cannot see whose actions they are; the board can see that it has had them before."""
    board = tmp_path / "board"
    operations.begin(board, "test")
    operations.judge_and_record(board, submission(tmp_path, "oracle"))
    found, entry = operations.judge_and_record(board, submission(tmp_path, "oracle", "brilliant"))
    assert (found.reason, found.tier) == ("", "replayed") and entry is not None
    assert found.notes == ("the same actions on test/walk as entry 1 by oracle",)
    assert "note      the same actions" in found.text and LIMITS["replayed"] in found.text


def test_the_same_file_is_accepted_once(tmp_path: Path) -> None:
    board, path = tmp_path / "board", submission(tmp_path)
    operations.begin(board, "test")
    assert operations.judge_and_record(board, path)[0].reason == ""
    found, entry = operations.judge_and_record(board, path)
    assert found.reason == "this file was accepted before, in entry 1."
    assert entry is not None and entry.body["reason"] == found.reason


def test_verdicts_hold_the_scores(tmp_path: Path) -> None:
    board = tmp_path / "board"
    operations.begin(board, "test")
    found, entry = operations.judge_and_record(board, submission(tmp_path))
    values = np.array([verdict.record.scores for verdict in found.verdicts])
    assert entry.body["scores"] == {"test/walk": {"0": estimates(values)[0].tolist()}}
    path = tmp_path / "bad.zip"
    path.write_bytes(b"PK")
    found, entry = operations.judge_and_record(board, path)
    assert found.reason and entry is None


def test_a_period_from_start_to_end(tmp_path: Path, make_key, monkeypatch, capsys) -> None:
    """The operator opens, two agents commit, the operator reveals, one submits, anyone verifies."""
    monkeypatch.chdir(tmp_path)
    key = make_key()
    Path("agent.py").write_text("the agent\n", encoding="utf-8")
    Path("card.json").write_text(json.dumps(EXAMPLE | {"name": "uniform"}), encoding="utf-8")

    def valuegym(*arguments: str) -> str:
        capsys.readouterr()
        status = main(list(arguments))
        output = capsys.readouterr()
        return output.out if status == 0 else f"{status} {output.out}{output.err}"

    digest = valuegym("digest", "agent.py").strip()
    assert digest == agent_digest("agent.py")
    signed = ("--key", str(key))
    assert "signed by ssh-ed25519" in valuegym("board", "begin", "ledger", "--name", "test", *signed)
    assert "period 0 opens" in valuegym("board", "open", "ledger", "--nonce", "nonce", *signed)
    assert Path("nonce").stat().st_mode & 0o077 == 0
    commit = ("board", "commit", "ledger", "--agent", "uniform", "--digest", digest, "--experiment", WALK.id, *signed)
    assert "uniform by me is fixed" in valuegym(*commit, "--submitter", "me")
    assert "has committed in that period" in valuegym(*commit, "--submitter", "you")
    play = ("run", "--agent", "uniform", "--experiment", WALK.id, "--results", "sealed", "--board", "ledger")
    sealed = ("--commitment", "2")
    assert "not revealed yet, so nobody has seeds" in valuegym(*play, *sealed)
    assert "period 0 closes" in valuegym("board", "reveal", "ledger", "--nonce", "nonce", *signed)
    assert "need both" in valuegym(*play)
    assert "is not a commitment" in valuegym(*play, "--commitment", "1")
    assert "run that agent alone" in valuegym(*play, *sealed, "--agent", "oracle")
    paths = valuegym(*play, *sealed).split()
    nonce = Path("nonce").read_text(encoding="ascii").strip()
    played = [episode.seed for episode in read_record(Path(paths[1])).episodes]
    assert played == committed_seeds(nonce, digest, WALK.id, 1, 3)
    assert "are not the expected ones" in valuegym("verify", "sealed")  # these are not the public seeds
    assert "records of uniform" in valuegym("submit", "sealed", "--board", "ledger", *sealed)
    assert "give that board" in valuegym("verify", "uniform.zip")
    public = ("--board-key", str(key.with_suffix(".pub")))
    output = valuegym("verify", "uniform.zip", "--board", "ledger", *public)
    assert output.startswith("accepted") and f"tier      committed: {LIMITS['committed']}" in output
    assert "entry     4 of ledger" in valuegym("board", "judge", "ledger", "uniform.zip", *signed)
    assert valuegym("board", "judge", "ledger", "uniform.zip", *signed).startswith("1 rejected")
    output = valuegym("board", "show", "ledger", *public)
    assert "accepted uniform" in output and output.endswith(f"digest {read_ledger('ledger').tip}\n")


def committed(folder: Path, digest: str = "a" * 64) -> tuple[Path, Ledger]:
    """A board with one commitment, number 2, whose nonce is revealed."""
    board, nonce = folder / "board", folder / "nonce"
    operations.begin(board, "test")
    operations.open_period(board, nonce)
    operations.commit(board, "uniform", "me", digest, [WALK.id])
    operations.reveal(board, nonce)
    return board, read_ledger(board)


def sealed_submission(folder: Path, ledger: Ledger, **changes) -> Path:
    seal = {"board": ledger.id, "commitment": 2, "agent": "a" * 64} | changes.pop("seal", {})
    contents = [
        run(
            "uniform", WALK.id, seed, folder / "sealed", evaluation=judgement.commitment_seeds(ledger, 2, WALK.id, seed)
        ).read_bytes()
        for seed in WALK.seeds
    ]
    path = folder / "sealed.zip"
    write_submission(path, pack(Card.of(EXAMPLE | {"name": "uniform"}), contents, seal=seal))
    return path


@pytest.mark.parametrize(
    ("seal", "reason"),
    [
        ({"board": "b" * 64}, "made for another board"),
        ({"commitment": 1}, "is not a commitment"),
        ({"commitment": 99}, "is not a commitment"),
        ({"agent": "b" * 64}, "is that of another agent"),
    ],
)
def test_a_seal_must_be_the_boards(tmp_path: Path, seal: dict, reason: str) -> None:
    _, ledger = committed(tmp_path)
    assert reason in judgement.judge(sealed_submission(tmp_path, ledger, seal=seal), ledger=ledger).reason


def test_public_seeds_under_a_seal_are_rejected(tmp_path: Path) -> None:
    _, ledger = committed(tmp_path)
    contents = [run("uniform", WALK.id, seed, tmp_path / "public").read_bytes() for seed in WALK.seeds]
    seal = {"board": ledger.id, "commitment": 2, "agent": "a" * 64}
    write_submission(tmp_path / "x.zip", pack(Card.of(EXAMPLE | {"name": "uniform"}), contents, seal=seal))
    assert "seeds are not the expected ones" in judgement.judge(tmp_path / "x.zip", ledger=ledger).reason


def test_sealed_records_without_their_seal_are_rejected(tmp_path: Path) -> None:
    _, ledger = committed(tmp_path)
    contents = open_submission(sealed_submission(tmp_path, ledger)).records.values()
    write_submission(tmp_path / "x.zip", pack(Card.of(EXAMPLE | {"name": "uniform"}), contents))
    for given in (None, ledger):
        assert "are not the expected ones" in judgement.judge(tmp_path / "x.zip", ledger=given).reason


def test_one_submission_per_commitment(tmp_path: Path) -> None:
    board, ledger = committed(tmp_path)
    first = sealed_submission(tmp_path, ledger)
    assert operations.judge_and_record(board, first)[0].tier == "committed"
    contents = open_submission(first).records.values()
    card = Card.of(EXAMPLE | {"name": "uniform", "about": "another try"})
    write_submission(tmp_path / "x.zip", pack(card, contents, seal=open_submission(first).seal))
    assert "is the one submission of commitment 2" in operations.judge_and_record(board, tmp_path / "x.zip")[0].reason


def test_a_file_that_changes_while_it_is_judged_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = open_submission(submission(tmp_path))
    path = submission(tmp_path, "oracle", "uniform")  # another under the same name
    assert honest.digest != open_submission(path).digest
    monkeypatch.setattr(judgement, "open_submission", lambda _: honest)
    assert "was changed while it was judged" in judgement.judge(path).reason


def test_a_nonce_file_is_not_overwritten_and_not_left_behind(tmp_path: Path) -> None:
    board = tmp_path / "board"
    operations.begin(board, "test")
    (tmp_path / "nonce").write_text("mine", encoding="ascii")
    with pytest.raises(FileExistsError):
        operations.open_period(board, tmp_path / "nonce")
    assert (tmp_path / "nonce").read_text(encoding="ascii") == "mine"
    operations.open_period(board, tmp_path / "one")
    with pytest.raises(ValueError, match="a period is open already"):
        operations.open_period(board, tmp_path / "two")
    assert not (tmp_path / "two").exists()
    with pytest.raises(FileExistsError):
        operations.begin(board, "again")


def test_without_ssh_keygen_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("x", encoding="ascii")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="ssh-keygen of OpenSSH"):
        operations.begin(tmp_path / "board", "test", tmp_path / "key")
    assert not (tmp_path / "board").exists()


def test_a_missing_submission_is_named(tmp_path: Path) -> None:
    found = judgement.judge(tmp_path / "missing.zip")
    assert not found.tier and "there is no such file; `valuegym submit` writes" in found.reason
