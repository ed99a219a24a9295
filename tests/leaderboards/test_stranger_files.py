"""One submission never stops another, and none makes a verifying process take more than its ceilings."""

from __future__ import annotations

import ctypes
import hashlib
import json
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.leaderboards.board import operations
from valuegym.leaderboards.board.agent_host import decode
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.records.record import RecordError, from_text
from valuegym.leaderboards.records.submission import EXAMPLE, Card, pack, write_submission
from valuegym.leaderboards.run import run
from valuegym.leaderboards.standings.entries import _is_curve
from valuegym.leaderboards.tracking import online
from valuegym.leaderboards.trust import judgement
from valuegym.leaderboards.trust.ledger import LedgerError, public_key, read_ledger
from valuegym.leaderboards.verification import verify as verification
from valuegym.leaderboards.verification.ceilings import CeilingReached, ceilings
from valuegym.leaderboards.verification.replay import _flat

from .test_red_team import WALK, sealed

CARD = Card.of(EXAMPLE | {"name": "uniform"})


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, enrol: Any) -> list[bytes]:
    enrol(WALK)
    folder = tmp_path_factory.mktemp("honest")
    return [run("uniform", WALK.id, seed, folder).read_bytes() for seed in WALK.seeds]


def edited(content: bytes, edit: Any) -> bytes:
    lines = [json.loads(line) for line in content.decode().splitlines()]
    edit(lines)
    return sealed(lines)


def test_run_lengths_are_not_unpacked_beyond_the_tracks_limit(honest: list[bytes]) -> None:
    """A few bytes say a million steps; nothing of them is made before the experiment's own limit was asked."""

    def edit(lines: list[Any]) -> None:
        lines[1]["actions"] = [[600_000, 0]]

    text = edited(honest[0], edit).decode()
    tracemalloc.start()
    with pytest.raises(RecordError, match=r"the episode has 600000 steps; the limit is \d+"):
        from_text(text, verification.episode_limit)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    assert len(from_text(text).episodes[0].actions) == 600_000  # for whoever asks for no limit


def test_an_unknown_experiment_is_named_before_anything_is_unpacked(honest: list[bytes], tmp_path: Path) -> None:
    def edit(lines: list[Any]) -> None:
        lines[0]["experiment"] = "no/such\u0301"
        lines[1]["actions"] = [[600_000, 0]]

    path = tmp_path / "seed-0.jsonl"
    path.write_bytes(edited(honest[0], edit))
    reason = verification.verify(path).reason
    assert "there is no experiment 'no/such\\u0301' here" in reason and reason.isascii()


@pytest.mark.parametrize("value", ["x" * 10_000, ["x"] * 3, [[1]], None, {"a": 1}, [1, [2]], "1.0", [1, "2"]])
def test_states_of_other_types_make_no_array(honest: list[bytes], value: Any) -> None:
    """Of a long text beside numbers numpy makes as many long texts: gigabytes from megabytes."""

    def edit(lines: list[Any]) -> None:
        for name in lines[1]["states"]:
            lines[1]["states"][name][-1] = value

    record = from_text(edited(honest[0], edit).decode())
    tracemalloc.start()
    with pytest.raises(RecordError, match=r"does not hold numbers of shape"):
        verification.check(record)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_flat_lists() -> None:
    assert _flat([1, 2.0, True], ()) == [1, 2.0, True]
    assert _flat([[1, 2], [3, 4]], (2,)) == [1, 2, 3, 4]
    assert _flat([[[1], [2]]], (2, 1)) == [1, 2]
    for rows, shape in (([1, "2"], ()), ([[1, 2], [3]], (2,)), ([[1, 2], 3], (2,)), ([[1, 2]], (2, 1)), ([None], ())):
        assert _flat(rows, shape) is None
    assert _flat([], (3,)) == []


def test_a_decomposed_letter_in_a_field_stops_no_board(honest: list[bytes], tmp_path: Path) -> None:
    """What a stranger wrote is part of a reason; the ledger takes the reason all the same, escaped."""

    def edit(lines: list[Any]) -> None:
        lines[1]["states"] = {"e\u0301\u202e\x1b[2J": [0], **lines[1]["states"]}

    board, path = tmp_path / "board.jsonl", tmp_path / "a.zip"
    operations.begin(board, "test")
    write_submission(path, pack(CARD, [edited(honest[0], edit), *honest[1:]]))
    found, entry = operations.judge_and_record(board, path)
    assert found.reason and entry is not None
    assert entry.body["reason"].isascii() and "\\u0301" in entry.body["reason"]
    assert [kind.kind for kind in read_ledger(board).entries] == ["board", "verdict"]


@pytest.mark.parametrize(
    "dtype", [",", "(", "f8,f8", "{'a': 1}", "O", "V8", "M8[s]", "5000000000f8", "", "f8" * 999, "('f8', -1)", "\x00"]
)
def test_types_in_a_message_are_refused_in_words(dtype: str) -> None:
    head = json.dumps({"op": "action", "arrays": [["action", dtype, [1]]]}).encode()
    with pytest.raises(ValueError, match="an invalid message"):
        decode(head, b"\x00" * 8)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), KeyError("e\u0301"), ZeroDivisionError("x")])
def test_whatever_a_submission_raises_is_its_verdict(
    honest: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    path = tmp_path / "a.zip"
    write_submission(path, pack(CARD, honest))
    monkeypatch.setattr(judgement, "open_submission", fail)
    found = judgement.judge(path)
    assert found.reason.isascii() and found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert ("memory" if isinstance(error, MemoryError) else "cannot be judged") in found.reason
    monkeypatch.setattr(judgement, "verify_candidates", fail)
    part = judgement.Member(str(path), "x", "", "uniform", None, None)
    assert judgement.replay_members([part])[0].reason.isascii()


def test_an_inbox_goes_on_after_a_submission_that_breaks_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise AttributeError("nobody thought of this\u202e")

    monkeypatch.setattr(operations, "judge_and_record", fail)
    line = operations._attended("board", tmp_path / "a.zip", None, 1, None)
    assert line == "'a.zip' could not be judged: nobody thought of this\\u202e"

    def damaged(*_: Any) -> Any:
        raise LedgerError("the ledger was changed.")

    monkeypatch.setattr(operations, "judge_and_record", damaged)
    with pytest.raises(LedgerError):  # the board's own trouble is not the submission's
        operations._attended("board", tmp_path / "a.zip", None, 1, None)


def test_memory_has_a_ceiling() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(CeilingReached, match=r"more than 0\.5 GiB of memory"), ceilings(memory=2**29):
        np.zeros(2**28)  # 2 GiB
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with ceilings(memory=2**29):
        np.zeros(2**20)


def test_time_has_a_ceiling() -> None:
    with pytest.raises(CeilingReached, match=r"more than 0\.2 s of the processor's time"), ceilings(seconds=0.2):
        while True:
            pass
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGPROF) in (signal.SIG_DFL, None)


def test_no_record_goes_on_after_the_ceiling(honest: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of one batch are replayed one by one where one is untrue; that must not begin without a limit."""

    def endless(*_: Any) -> Any:
        while True:
            pass

    records = [from_text(content.decode()) for content in honest]
    monkeypatch.setattr(verification, "_replayed", endless)
    candidates = [verification.Candidate(str(place), record) for place, record in enumerate(records)]
    with pytest.raises(CeilingReached, match=r"more than 0\.2 s"), ceilings(seconds=0.2):
        verification.verify_candidates(candidates)


def test_nobody_is_asked_for_a_passphrase(tmp_path: Path) -> None:
    """A key with a passphrase is refused at once, with a terminal at hand or without."""
    key = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret words", "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with pytest.raises(LedgerError, match="without a passphrase"):
        public_key(key)
    with pytest.raises(LedgerError):
        operations.begin(tmp_path / "board.jsonl", "test", key)
    assert not (tmp_path / "board.jsonl").exists()


@pytest.mark.parametrize(
    ("points", "seeds", "good"), [(2, 3, True), (200, 5, True), (201, 5, False), (3, 6, False), (1, 3, False)]
)
def test_learning_curves_are_short(points: int, seeds: int, good: bool) -> None:
    assert _is_curve(np.arange(points), np.zeros((seeds, points)), 1000, 5) is good


@pytest.mark.sandbox
@pytest.mark.parametrize("kind", ["shared memory", "messages", "queues"])
def test_no_memory_outlives_an_agents_process(kind: str, tmp_path: Path) -> None:
    """System V's segments and POSIX queues count against no process's limit."""
    from valuegym.leaderboards.board import sandbox

    if sandbox.missing():
        pytest.skip(sandbox.missing())
    call = {
        "shared memory": "libc.shmget(0, ctypes.c_size_t(2**20), 0o1666)",
        "messages": "libc.msgget(0, 0o1666)",
        "queues": "libc.mq_open(b'/mine', 0o102, 0o666, None)",
    }[kind]
    code = f"import ctypes; libc = ctypes.CDLL(None, use_errno=True); print({call}, flush=True)"
    with open(tmp_path / "log", "wb") as log:
        process, root = sandbox._start(tmp_path, sandbox.Limits(), [sys.executable, "-I", "-c", code], log)
        output, _ = process.communicate(timeout=60)
        Path(root).rmdir()
    assert output.strip() == b"-1", (tmp_path / "log").read_text()
    assert ctypes.CDLL(None)  # the calls exist


def test_a_ledger_that_lost_its_end_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left is whole by itself; the head that was published tells."""
    board = tmp_path / "board.jsonl"
    operations.begin(board, "test")
    operations.open_period(board, tmp_path / "nonce")
    heads = [f"{entry.index}:{entry.digest}" for entry in read_ledger(board).entries]
    assert read_ledger(board).head == heads[1]
    command = ["board", "show", str(board), "--head", heads[0], "--head"]
    assert main([*command, heads[1]]) == 0 and f"head {heads[1]}" in capsys.readouterr().out
    board.write_text(board.read_text(encoding="utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    assert main([*command, heads[1]]) == 2
    assert "does not hold entry 1 as it was published: it was cut short or replaced" in capsys.readouterr().err
    for head in ("1", "x:y", f"-1:{'a' * 64}", f"1:{'a' * 64}"):
        with pytest.raises(LedgerError, match=r"no head of a ledger|as it was published"):
            read_ledger(board).check_head(head)


def test_a_run_without_submissions_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(inbox: str, run: str, folder: Path) -> list[Path]:
        asked.append(run)
        return []

    monkeypatch.setattr(operations, "fetch_submissions", fetch)
    for _ in range(3):
        assert operations._fetched("lab/inbox", "r1", tmp_path) == []
    assert asked == ["r1"]
    (tmp_path / "r1" / "a.zip").write_bytes(b"PK")  # it came by another way
    assert operations._fetched("lab/inbox", "r1", tmp_path) == [tmp_path / "r1" / "a.zip"]


def test_a_copy_from_the_future_is_not_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a clock was put back, a copy would else count as new for years."""
    copy = tmp_path / "wandb" / "read" / "lab--inbox.json"
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps({"time": time.time() + 1e6, "runs": []}), encoding="utf-8")
    monkeypatch.setattr(online, "in_child", lambda *_: {"runs": []})
    assert online.read_project("lab/inbox", tmp_path).message == "lab/inbox: 0 runs read."


def test_what_is_not_verified_says_so(honest: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "test" / "walk" / "uniform"
    folder.mkdir(parents=True)
    (folder / "seed-1.jsonl").write_bytes(honest[0])
    for command in ("score", "measures"):
        assert main([command, str(tmp_path)]) == 0
        assert capsys.readouterr().out.startswith("Not verified: as the records have it.")
