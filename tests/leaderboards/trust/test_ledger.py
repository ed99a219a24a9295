"""The board's ledger: what is written stays, and every change, gap and broken rule is found."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from valuegym.envs.functional import is_secret
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.trust import ledger
from valuegym.leaderboards.trust.commitment import agent_digest, binding, committed_seeds, new_nonce, take_agent
from valuegym.leaderboards.trust.ledger import LedgerError, append, read_ledger

MakeKey = Callable[..., Path]
NONCE = "07" * 32
A, B = "a" * 64, "b" * 64


TRACKS = ["test/walk"]
PLAYS = {"test/walk": A}


def commitment(**changes: Any) -> dict[str, Any]:
    return {"period": 0, "agent": "x", "submitter": "me", "digest": A, "tracks": TRACKS} | changes


def verdict(**changes: Any) -> dict[str, Any]:
    body = {
        "submission": A,
        "agent": "x",
        "tier": "replayed",
        "reason": "",
        "commitment": -1,
        "attempt": -1,
        "plays": {},
        "scores": {},
    }
    return body | changes


def filled(path: Path, key: Path | None = None) -> Path:
    """A ledger with an entry of every kind."""
    append(path, "board", {"name": "test"}, key)
    append(path, "open", {"period": 0, "binding": binding(NONCE)}, key)
    append(path, "commit", commitment(), key)
    append(path, "commit", commitment(submitter="you", digest=B), key)
    append(path, "reveal", {"period": 0, "nonce": NONCE}, key)
    append(path, "verdict", verdict(), key)
    append(path, "verdict", verdict(submission=B, tier="committed", commitment=2, plays=PLAYS), key)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rewrite(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write entries with their chain recomputed, as a forger would."""
    text, previous = "", "0" * 64
    for entry in entries:
        line = json.dumps(entry | {"previous": previous}, sort_keys=True, separators=(",", ":"))
        previous = hashlib.sha256(line.encode()).hexdigest()
        text += line + "\n"
    path.write_text(text, encoding="utf-8")


# --- seeds ---


def test_seeds_are_the_hmac_of_the_nonce() -> None:
    """By hand, and pinned: a stranger's program must find the same."""
    expected = hmac.new(bytes.fromhex(NONCE), f"{A}/preference/delivery/3/1".encode(), hashlib.sha256).digest()
    seeds = committed_seeds(NONCE, A, "preference/delivery", 3, 4)
    assert seeds[1] == 2**128 + int.from_bytes(expected[:16], "big")
    assert committed_seeds(NONCE, A, "preference/delivery", 3, 2) == seeds[:2]
    assert len({*seeds, *committed_seeds(NONCE, A, "preference/delivery", 2, 4)}) == 8
    assert not set(seeds) & set(committed_seeds(NONCE, B, "preference/delivery", 3, 4))
    assert all(is_secret(seed) and seed < 2**129 for seed in seeds)
    assert binding(NONCE) == hashlib.sha256(b"\x07" * 32).hexdigest()
    assert len(new_nonce()) == 64 and new_nonce() != new_nonce()
    for bad in ("", "x" * 64, "07" * 31, "07" * 33):
        with pytest.raises(ValueError, match="64 hexadecimal"):
            binding(bad)


def test_an_agents_digest_is_that_of_its_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "deep").mkdir(parents=True)
        (folder / "agent.py").write_text("x = 1\n", encoding="utf-8")
        (folder / "deep" / "weights.npz").write_bytes(b"\x00\x01")
    (tmp_path / "two" / "__pycache__").mkdir()
    (tmp_path / "two" / "__pycache__" / "agent.pyc").write_bytes(b"")
    (tmp_path / "two" / ".hidden").write_bytes(b"")
    one, two = tmp_path / "one", tmp_path / "two"
    assert agent_digest(one) == agent_digest(two) != agent_digest(one / "agent.py")
    (two / "deep" / "weights.npz").rename(two / "weights.npz")
    assert agent_digest(one) != agent_digest(two)
    (two / "link").symlink_to(one / "agent.py")
    with pytest.raises(ValueError, match="is a link"):
        agent_digest(two)
    with pytest.raises(FileNotFoundError, match="no agent at"):
        agent_digest(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no files"):
        agent_digest(tmp_path / "empty")


def test_what_runs_is_what_was_digested(tmp_path: Path) -> None:
    """The copy that a sandbox shows holds every digested byte and nothing else."""
    folder = tmp_path / "agent"
    for name in ("agent.py", "deep/weights.npz", ".hidden/more.py", "deep/__pycache__/agent.cpython-311.pyc", ".env"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    (tmp_path / "copy").mkdir()
    assert take_agent(folder, tmp_path / "copy") == agent_digest(folder)
    copied = {path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*")}
    assert copied == {"agent.py", "deep", "deep/weights.npz"}
    assert all(path.stat().st_mode & 0o222 == 0 for path in (tmp_path / "copy").rglob("*") if path.is_file())
    digest = agent_digest(folder)
    (folder / ".hidden/more.py").write_text("something else", encoding="utf-8")
    assert agent_digest(folder) == digest  # it is not shown to the agent either


def _odd(folder: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(folder / "pipe")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "s"))
    elif kind == "device":
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    elif kind == "folder link":
        (folder / "deep").symlink_to("/etc")
    elif kind == "dangling link":
        (folder / "gone").symlink_to("nowhere")
    else:
        (folder / kind).write_text("x", encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pipe", "is no file and no folder"),
        ("socket", "is no file and no folder"),
        ("device", "is no file and no folder"),
        ("folder link", "is a link"),
        ("dangling link", "is a link"),
        ("helper.pyc", "is bytecode"),
        ("HELPER.PYC", "is bytecode"),
        ("Agent.py", "upper and lower case"),
        ("a\nb.py", "is an odd name"),
        ("a\u0301.py", "is an odd name"),
        ("-rf", "is an odd name"),
        ("a\\b.py", "is an odd name"),
        ("x" * 201, "is an odd name"),
        ("\u202e.py", "is an odd name"),
    ],
)
def test_an_agent_of_odd_things_is_refused(tmp_path: Path, kind: str, reason: str) -> None:
    if kind == "device" and os.geteuid():
        pytest.skip("only root makes devices")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/agent.py").write_text("x", encoding="utf-8")
    _odd(tmp_path / "a", kind)
    (tmp_path / "copy").mkdir()
    for take in (agent_digest, lambda path: take_agent(path, tmp_path / "copy")):
        with pytest.raises(ValueError, match=reason):
            take(tmp_path / "a")


# --- the ledger ---


def test_a_ledger_is_read_back(tmp_path: Path) -> None:
    found = read_ledger(filled(tmp_path / "ledger"))
    kinds = ["board", "open", "commit", "commit", "reveal", "verdict", "verdict"]
    assert [entry.kind for entry in found.entries] == kinds
    assert found.nonces == {0: NONCE} and found.open is None and found.key == ""
    assert found.tip == hashlib.sha256((tmp_path / "ledger").read_bytes().splitlines()[-1]).hexdigest()
    assert found.commitment(2).body["submitter"] == "me"
    with pytest.raises(LedgerError, match="entry 1 of the board is not a commitment"):
        found.commitment(1)


def test_every_entry_is_signed(tmp_path: Path, make_key: MakeKey) -> None:
    key = make_key()
    path = filled(tmp_path / "ledger", key)
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    assert read_ledger(path, public).key == " ".join(public.split()[:2])
    other = make_key("other")
    with pytest.raises(LedgerError, match="another key than the board's"):
        read_ledger(path, other.with_suffix(".pub").read_text(encoding="utf-8"))
    before = path.read_bytes()
    for wrong in (other, None):
        with pytest.raises(LedgerError, match=r"not signed by the board's key|needs its key"):
            append(path, "verdict", verdict(submission="c" * 64), wrong)
    with pytest.raises(FileNotFoundError, match="ssh-keygen -t ed25519"):
        append(path, "verdict", verdict(submission="c" * 64), tmp_path / "none")
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", [1, 3, 6])
def test_a_forged_entry_is_found_by_its_signature(tmp_path: Path, make_key: MakeKey, place: int) -> None:
    """The forger mends the whole chain, but cannot sign."""
    path = filled(tmp_path / "ledger", make_key())
    entries = lines(path)
    body = entries[place]["body"]
    body |= (
        {"binding": B} if place == 1 else {"submitter": "thief"} if place == 3 else {"agent": "x", "scores": {"e": {}}}
    )
    if place == 1:
        del entries[2:]
    rewrite(path, entries)
    newest = len(entries) - 1
    with pytest.raises(LedgerError, match=f"entry {newest} is not signed by the board's key"):
        read_ledger(path)
    with pytest.raises(LedgerError, match=f"entry {place} is not signed by the board's key"):
        read_ledger(path, every_signature=True)
    entries[place]["signature"] = entries[0]["signature"]
    rewrite(path, entries)
    for every in (False, True):
        with pytest.raises(LedgerError, match=r"not signed by the board's key"):
            read_ledger(path, every_signature=every)


def long(path: Path, key: Path) -> Path:
    """A signed ledger of 41 entries."""
    append(path, "board", {"name": "test"}, key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "verify_signature", lambda *arguments: None)
        for i in range(40):
            append(path, "verdict", verdict(submission=f"{i:064x}"), key)
    return path


def test_an_append_checks_one_earlier_signature(tmp_path: Path, make_key: MakeKey, monkeypatch) -> None:
    """That of the newest line: it authenticates all before it, however many there are."""
    key = make_key()
    path = long(tmp_path / "ledger", key)
    started: list[tuple[str, bytes]] = []
    ssh = ledger._ssh

    def counted(*arguments: str, payload: bytes = b"") -> Any:
        started.append((arguments[1], payload))
        return ssh(*arguments, payload=payload)

    monkeypatch.setattr(ledger, "_ssh", counted)
    entry = append(path, "verdict", verdict(submission="c" * 64), key)
    assert [action for action, _ in started] == ["verify", "sign", "verify"]  # the newest; then its own, twice
    found = [json.loads(payload) for _, payload in started]
    assert [value["index"] for value in found] == [40, 41, 41] and entry.index == 41
    started.clear()
    assert len(read_ledger(path).entries) == 42 and len(started) == 1
    started.clear()
    read_ledger(path, every_signature=True)
    assert len(started) == 42


def test_an_append_refuses_a_broken_chain_and_a_forged_newest_line(tmp_path: Path, make_key: MakeKey) -> None:
    key = make_key()
    path = long(tmp_path / "ledger", key)
    whole = path.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = json.loads(whole[20])
    changed["body"]["agent"] = "thief"
    line = json.dumps(changed, sort_keys=True, separators=(",", ":")) + "\n"
    forged = json.loads(whole[-1])
    forged["body"]["agent"] = "thief"
    for edited, reason in (
        ([*whole[:20], line, *whole[21:]], "entry 21 does not follow from the one before"),
        ([*whole[:20], *whole[21:]], "entry 21 stands at place 20"),
        ([*whole[:-1], json.dumps(forged, sort_keys=True, separators=(",", ":")) + "\n"], "entry 40 is not signed"),
    ):
        path.write_text("".join(edited), encoding="utf-8")
        with pytest.raises(LedgerError, match=reason):
            append(path, "verdict", verdict(submission="c" * 64), key)
        assert path.read_text(encoding="utf-8") == "".join(edited)


def test_board_show_checks_every_signature(
    tmp_path: Path, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that the board did not sign but built upon is found there, though the newest signature holds."""
    key = make_key()
    path = filled(tmp_path / "ledger", key)
    assert main(["board", "show", str(path)]) == 0
    entries = lines(path)
    entries[5]["signature"] = entries[4]["signature"]
    rewrite(path, entries[:6])
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "verify_signature", lambda *arguments: None)
        append(path, "verdict", verdict(submission="c" * 64), key)
    append(path, "verdict", verdict(submission="d" * 64), key)
    assert len(read_ledger(path).entries) == 8
    with pytest.raises(LedgerError, match="entry 5 is not signed by the board's key"):
        read_ledger(path, every_signature=True)
    capsys.readouterr()
    assert main(["board", "show", str(path)]) == 2
    assert "entry 5 is not signed by the board's key" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["{}more", " {}", "{}\n"])
def test_a_signature_is_written_in_one_way(tmp_path: Path, make_key: MakeKey, change: str) -> None:
    """Else anyone could give the newest line another digest, for ssh-keygen overlooks such changes."""
    path = filled(tmp_path / "board.jsonl", make_key())
    entries = lines(path)
    entries[-1]["signature"] = change.format(entries[-1]["signature"])
    rewrite(path, entries)
    with pytest.raises(LedgerError, match="entry 6 is not signed by the board's key"):
        read_ledger(path)


def test_a_program_that_does_not_answer_is_an_error(tmp_path: Path, make_key: MakeKey, monkeypatch: Any) -> None:
    """As ssh-keygen does that asks for a passphrase."""
    slow, key = tmp_path / "slow", make_key()
    slow.write_text("#!/bin/sh\nexec sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setattr(ledger.shutil, "which", lambda name: str(slow))
    monkeypatch.setattr(ledger, "SECONDS", 0.1)
    with pytest.raises(LedgerError, match=r"did not answer within 0\.1 s"):
        append(tmp_path / "board.jsonl", "board", {"name": "test"}, key)


def test_a_link_to_a_ledger_stays_one(tmp_path: Path) -> None:
    """Else the ledger would go on in two files."""
    link, path = tmp_path / "link.jsonl", tmp_path / "else/board.jsonl"
    link.symlink_to(path)
    append(link, "board", {"name": "test"})
    append(link, "open", {"period": 0, "binding": binding(NONCE)})
    append(path, "commit", commitment())
    assert link.is_symlink() and len(read_ledger(link).entries) == len(read_ledger(path).entries) == 3


def test_the_first_digest_names_the_board(tmp_path: Path, make_key: MakeKey) -> None:
    """Somebody else's ledger, however well signed, has another digest and another key."""
    ledgers = [filled(tmp_path / name, make_key(f"key-{name}")) for name in ("mine", "theirs")]
    assert read_ledger(ledgers[0]).id != read_ledger(ledgers[1]).id


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    """In an unsigned ledger everything before the last line; the last needs a signature, or its digest to be known."""
    path = filled(tmp_path / "ledger")
    content = path.read_bytes()
    end = content.rstrip(b"\n").rfind(b"\n")
    for at in range(0, end, 37):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(LedgerError):
            read_ledger(path)


def test_missing_swapped_and_repeated_entries_are_found(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger")
    whole = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for edit in (whole[1:], whole[:2] + whole[3:], [whole[0], whole[2], whole[1], *whole[3:]], [*whole, whole[-1]]):
        path.write_text("".join(edit), encoding="utf-8")
        with pytest.raises(LedgerError, match=r"stands at place|does not follow"):
            read_ledger(path)
    path.write_text("".join(whole)[:-1], encoding="utf-8")
    with pytest.raises(LedgerError, match="whole line"):
        read_ledger(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(LedgerError, match="not text"):
        read_ledger(path)
    for line in ("[]", "{}", "NaN", "{" * 5000, '{"index":true}', "x" * (ledger.MAX_LINE + 1)):
        path.write_text(line + "\n", encoding="utf-8")
        with pytest.raises(LedgerError, match="line 1"):
            read_ledger(path)
    path.write_text(" " + "".join(whole), encoding="utf-8")
    with pytest.raises(LedgerError, match="as this suite writes it"):
        read_ledger(path)


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("board", {"name": "again", "key": ""}, "begins with its board"),
        ("open", {"period": 2, "binding": A}, "the next period is 1"),
        ("open", {"period": 1, "binding": "xyz"}, "is not a SHA-256"),
        ("open", {"period": True, "binding": A}, "has the fields"),
        ("commit", commitment(submitter="she", digest="c" * 64), "that period is not open"),
        ("reveal", {"period": 0, "nonce": NONCE}, "that period is not open"),
        ("verdict", verdict(), "accepted before, in entry 5"),
        ("verdict", verdict(submission="c" * 64, tier="divine"), "no tier 'divine'"),
        ("verdict", verdict(submission="c" * 64, tier="committed"), "do not fit"),
        ("verdict", verdict(submission="c" * 64, commitment=2), "do not fit"),
        (
            "verdict",
            verdict(submission="c" * 64, tier="committed", commitment=2, plays=PLAYS),
            "the one submission of this",
        ),
        ("verdict", verdict(submission="c" * 64, tier="committed", commitment=5), "is not a commitment"),
        ("verdict", verdict(submission="c" * 64, tier="committed", commitment=3, agent="y"), "is that of 'x'"),
        ("verdict", verdict(submission="c" * 64, tier="committed", commitment=3), "no more and no less"),
        ("verdict", verdict(submission="c" * 64, tier="executed", commitment=3, plays=PLAYS), "only an attempt"),
        ("verdict", verdict(submission="c" * 64, tier="executed", commitment=3, attempt=3), "is no attempt"),
        ("attempt", {"commitment": 3}, "the nonce of period 0 is revealed"),
        ("attempt", {"commitment": 1}, "is not a commitment"),
        ("verdict", verdict(submission="c"), "is not a SHA-256"),
        ("verdict", verdict(submission="c" * 64, reason="\u202e"), "cannot be read"),
        ("verdict", {**verdict(), "more": 1}, "has the fields"),
        ("party", {}, "no kind of entry"),
    ],
)
def test_the_rules_hold(tmp_path: Path, kind: str, body: dict[str, Any], reason: str) -> None:
    path = filled(tmp_path / "ledger")
    before = path.read_bytes()
    with pytest.raises(LedgerError) as error:
        append(path, kind, body)
    assert reason in str(error.value) and path.read_bytes() == before


def test_the_rules_of_an_open_period(tmp_path: Path) -> None:
    path = filled(tmp_path / "ledger")
    append(path, "open", {"period": 1, "binding": binding("08" * 32)})
    append(path, "commit", commitment(period=1))  # a new period, a new chance
    for body, reason in (
        ({"submitter": "me", "digest": "c" * 64}, "this submitter has committed"),
        ({"submitter": "he", "digest": A}, "this digest has committed"),
        ({"submitter": "  ", "digest": "c" * 64}, "no name"),
        ({"submitter": "he", "digest": "C" * 64}, "is not a SHA-256"),
        ({"submitter": "he", "digest": "c" * 64, "tracks": []}, "names its tracks"),
        ({"submitter": "he", "digest": "c" * 64, "tracks": ["b/b", "a/a"]}, "in alphabetical order"),
        ({"submitter": "he", "digest": "c" * 64, "tracks": ["a/a", "a/a"]}, "different ones"),
        ({"submitter": "he", "digest": "c" * 64, "tracks": [1]}, "names its tracks"),
        ({"submitter": "he", "digest": "c" * 64, "tracks": ["no track"]}, "names its tracks"),
    ):
        with pytest.raises(LedgerError, match=reason):
            append(path, "commit", {"period": 1, "agent": "x", "tracks": TRACKS} | body)
    with pytest.raises(LedgerError, match="a period is open already"):
        append(path, "open", {"period": 2, "binding": A})
    with pytest.raises(LedgerError, match="not the one that the board was bound to"):
        append(path, "reveal", {"period": 1, "nonce": NONCE})
    append(path, "reveal", {"period": 1, "nonce": "08" * 32})


def test_the_rules_of_attempts(tmp_path: Path) -> None:
    """What the board runs, it runs before the nonce is known to anybody, and what comes out of it is final."""
    path = tmp_path / "ledger"
    append(path, "board", {"name": "test"})
    append(path, "open", {"period": 0, "binding": binding(NONCE)})
    for number, name in enumerate("xyz"):
        append(path, "commit", commitment(agent=name, submitter=name, digest=f"{number}" * 64))
    ran = {"tier": "executed", "plays": PLAYS}
    for index in (5, 6):  # the first was interrupted
        assert append(path, "attempt", {"commitment": 2}).index == index
    with pytest.raises(LedgerError, match="that of another commitment"):
        append(path, "verdict", verdict(**ran, agent="y", commitment=3, attempt=6))
    with pytest.raises(LedgerError, match="only an attempt makes"):
        append(path, "verdict", verdict(commitment=2, attempt=6, tier="committed", plays=PLAYS))
    append(path, "verdict", verdict(**ran, commitment=2, attempt=6))
    for number in (5, 6):  # a lucky run is not waited for
        with pytest.raises(LedgerError, match="there is a verdict on running commitment 2"):
            append(path, "verdict", verdict(**ran, submission=B, commitment=2, attempt=number))
    with pytest.raises(LedgerError, match="the one verdict on running commitment 2"):
        append(path, "attempt", {"commitment": 2})
    append(path, "attempt", {"commitment": 3})
    append(path, "verdict", verdict(submission=B, agent="y", reason="the agent failed.", tier="", attempt=8))
    with pytest.raises(LedgerError, match="the one verdict on running commitment 3"):
        append(path, "attempt", {"commitment": 3})
    for _ in range(3):
        append(path, "attempt", {"commitment": 4})
    with pytest.raises(LedgerError, match="was tried 3 times"):
        append(path, "attempt", {"commitment": 4})
    append(path, "reveal", {"period": 0, "nonce": NONCE})
    with pytest.raises(LedgerError, match="revealed before the verdict"):
        append(path, "verdict", verdict(**ran, submission="c" * 64, agent="z", commitment=4, attempt=12))


def test_a_signed_ledger_that_breaks_the_rules_is_refused(tmp_path: Path) -> None:
    """Rules are read from the ledger, not remembered by whoever wrote it."""
    path = filled(tmp_path / "ledger")
    entries = lines(path)
    entries[4]["body"]["nonce"] = "09" * 32
    rewrite(path, entries)
    with pytest.raises(LedgerError, match="entry 4: the nonce is not the one"):
        read_ledger(path)


def test_a_ledger_begins_with_its_board(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="begin one first"):
        append(tmp_path / "ledger", "open", {"period": 0, "binding": A})
    with pytest.raises(FileNotFoundError):
        read_ledger(tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    append(path, "board", {"name": "test"})
    digests = [hashlib.sha256(bytes([i])).hexdigest() for i in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda digest: append(path, "verdict", verdict(submission=digest)), digests))
    assert {entry.body["submission"] for entry in read_ledger(path).accepted()} == set(digests)
