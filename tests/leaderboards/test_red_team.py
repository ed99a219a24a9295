"""Forged submissions: each is rejected for the right reason, or accepted with the limit of its tier in the verdict.

While a forgery is judged, an audit hook watches this process: nothing is executed, imported, unpickled, sent, or
written anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.leaderboards import experiments
from valuegym.leaderboards.board import operations
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import Record, from_text, to_text
from valuegym.leaderboards.records.submission import (
    EXAMPLE,
    MAX_FILE,
    Card,
    SubmissionError,
    archive,
    from_bytes,
    pack,
    write_submission,
)
from valuegym.leaderboards.run import run
from valuegym.leaderboards.trust import judgement
from valuegym.leaderboards.trust.ledger import read_ledger
from valuegym.leaderboards.trust.tiers import LIMITS
from valuegym.leaderboards.verification.verify import verify

WALK = Experiment("test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 2, (0, 1), "return")
OTHER = Experiment(
    "test/other", "", "valuegym/Delivery-v0", '{"observation": "onehot"}', ("uniform",), 0, 2, (0, 1), "return"
)
WEIGHTS = Experiment(
    "test/weights",
    "",
    "valuegym/RewardInference-v0",
    '{"annotator": "regret", "evaluation_points": [0, 3], "split": "dev"}',
    ("uniform",),
    0,
    2,
    (0, 1),
    "evaluation_points",
)
CARD = Card.of(EXAMPLE | {"name": "uniform"})
FIRST, SECOND = "records/test/walk/seed-0.jsonl", "records/test/walk/seed-1.jsonl"
Members = dict[str, bytes]
Forgery = Callable[[Members], Any]  # edits the members, which are summed again, or returns the file's bytes


@pytest.fixture(autouse=True, scope="module")
def small_experiments(enrol: Callable[..., None]) -> None:
    enrol(WALK, OTHER, WEIGHTS)


@pytest.fixture(scope="module")
def records(small_experiments: None, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], bytes]:
    folder = tmp_path_factory.mktemp("results")
    wanted = [("uniform", row.id) for row in (WALK, WEIGHTS)] + [("oracle", WALK.id)]
    return {(agent, id, seed): run(agent, id, seed, folder).read_bytes() for agent, id in wanted for seed in (0, 1)}


@pytest.fixture(scope="module")
def honest(records: dict[tuple[str, str, int], bytes]) -> bytes:
    return pack(CARD, [content for (agent, id, _), content in records.items() if (agent, id) == ("uniform", WALK.id)])


# --- the audit ---

WATCHED = {"exec", "compile", "import", "pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.fork"}
WATCHED |= {"socket.connect", "socket.bind", "ctypes.dlopen", "os.remove", "os.rename", "os.mkdir", "shutil.rmtree"}
_seen: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event in WATCHED or writes:
        _seen.append(f"{event} {arguments!r}"[:200])


sys.addaudithook(_audit)


@contextlib.contextmanager
def nothing_happens() -> Iterator[None]:
    """Fails where anything is executed, imported, sent or written."""
    global _seen
    _seen = []
    try:
        yield
        seen = _seen
    finally:
        _seen = None
    assert not seen, seen


def judged(path: Path) -> judgement.Judgement:
    """The judgement of a file, under audit; warmed up by an honest one, for modules are loaded when first needed."""
    with nothing_happens():
        return judgement.judge(path)


# --- how to forge ---


def sealed(lines: list[Any]) -> bytes:
    body = "".join(json.dumps(line) + "\n" for line in lines[:-1])
    last = json.dumps(lines[-1] | {"sha256": hashlib.sha256(body.encode()).hexdigest()})
    return (body + last + "\n").encode()


def unpacked(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def summed(members: Members) -> bytes:
    """An archive whose manifest lists the sums of what is there."""
    if "manifest.json" in members:
        with contextlib.suppress(ValueError, TypeError):
            manifest = json.loads(members["manifest.json"])
            manifest["files"] = {
                name: hashlib.sha256(part).hexdigest() for name, part in members.items() if name != "manifest.json"
            }
            members["manifest.json"] = json.dumps(manifest, sort_keys=True).encode()
    return archive(members)


def record(edit: Callable[[list[Any]], Any], name: str = FIRST) -> Forgery:
    """Edit the parsed lines of a record; all sums are mended."""

    def forge(members: Members) -> None:
        lines = [json.loads(line) for line in members[name].decode().splitlines()]
        edit(lines)
        members[name] = sealed(lines)

    return forge


def at(*path: Any, value: Any) -> Callable[[list[Any]], None]:
    def edit(lines: list[Any]) -> None:
        place: Any = lines
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value

    return edit


def raw(edit: Callable[[bytes], bytes], name: str = FIRST) -> Forgery:
    """Edit the bytes of a record, as they are."""

    def forge(members: Members) -> None:
        members[name] = edit(members[name])

    return forge


def resummed(edit: Callable[[str], str]) -> Forgery:
    """Edit the text of a record's body and mend its sum."""

    def forge(members: Members) -> None:
        *body, last = members[FIRST].decode().splitlines(keepends=True)
        text = edit("".join(body))
        end = json.loads(last) | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
        members[FIRST] = (text + json.dumps(end) + "\n").encode()

    return forge


def document(name: str, edit: Callable[[dict[str, Any]], Any]) -> Forgery:
    def forge(members: Members) -> None:
        value = json.loads(members[name])
        edit(value)
        members[name] = json.dumps(value).encode()

    return forge


def manifest_only(edit: Callable[[dict[str, Any]], Any]) -> Forgery:
    """Edit the manifest and mend nothing."""

    def forge(members: Members) -> bytes:
        document("manifest.json", edit)(members)
        return archive(members)

    return forge


def extra(name: str, content: bytes) -> Forgery:
    return lambda members: members.update({name: content})


def zipped(edit: Callable[[zipfile.ZipFile, Members], Any], mode: int = zipfile.ZIP_STORED) -> Forgery:
    """The honest members in an archive that is made in another way."""

    def forge(members: Members) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", mode) as file:
            for name, content in sorted(members.items()):
                file.writestr(name, content)
            edit(file, members)
        return buffer.getvalue()

    return forge


def named(name: str) -> Forgery:
    """One more member, whose name is written into the archive as it is."""

    def add(file: zipfile.ZipFile, _: Members) -> None:
        info = zipfile.ZipInfo("x")
        info.filename = name
        file.writestr(info, b"boo")

    return zipped(add)


def link(file: zipfile.ZipFile, _: Members) -> None:
    info = zipfile.ZipInfo("evidence/link.json")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    file.writestr(info, b"/etc/passwd")


def bomb(members: Members) -> bytes:
    """A hundred members that share one megabyte of data."""
    buffer, kernel, central = io.BytesIO(archive(members)), b"0" * 2**20, b""
    start = buffer.seek(0, 2)
    for i in range(100):
        name = f"evidence/x{i}.json".encode()
        local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 2**20, 2**20, len(name), 0) + name
        offset = buffer.seek(0, 2)
        buffer.write(local)
        central += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 2**20, 2**20, len(name), 0, 0, 0, 0, 0, offset
        ) + name  # fmt: skip
    buffer.write(kernel)
    end = buffer.seek(0, 2)
    buffer.write(central + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 100, 100, len(central), end, 0))
    assert start
    return buffer.getvalue()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/evil",)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def tar(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def encrypted(members: Members) -> bytes:
    content = bytearray(archive(members))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.find(mark) + place] |= 1
    return bytes(content)


def best_seed_everywhere(members: Members) -> None:
    lines = [json.loads(line) for line in members[FIRST].decode().splitlines()]
    lines[0]["seed"] = 1
    members[SECOND] = sealed(lines)


def longest(lines: list[Any]) -> None:
    lines[1] = lines[2] | {"seed": lines[1]["seed"]}
    lines[-1]["scores"][0] = lines[-1]["scores"][1]


def repeated(lines: list[Any]) -> None:
    lines[2], lines[-1]["scores"][1] = lines[1], lines[-1]["scores"][0]


def one_seed(members: Members) -> None:
    del members[SECOND]
    document("manifest.json", lambda manifest: manifest["experiments"]["test/walk"].update(seeds=[0]))(members)


def one_seed_unsaid(members: Members) -> None:
    del members[SECOND]


def dearer(lines: list[Any]) -> None:
    lines[-1]["scores"] = [[1.0]] * 2


def other_track(members: Members) -> None:
    """The same plays, said to be of another experiment with another observation."""
    for name in (FIRST, SECOND):
        record(at(0, "experiment", value="test/other"), name)(members)
        members[name.replace("walk", "other")] = members.pop(name)
    rename = {"test/other": json.loads(members["manifest.json"])["experiments"]["test/walk"]}
    document("manifest.json", lambda manifest: manifest.update(experiments=rename))(members)


COUNT = at(1, "actions", value=[[10**9, 0]])
FORGED: dict[str, tuple[Forgery, str]] = {
    # what is claimed
    "edited score": (record(at(-1, "scores", 0, 0, value=lambda x: x + 1e-6)), "not those that the actions earn"),
    "perfect scores": (record(dearer), "not those that the actions earn"),
    "score NaN": (raw(lambda x: x.replace(b'{"scores":[[', b'{"scores":[[NaN,')), "NaN is not a finite number"),
    "score infinite": (raw(lambda x: x.replace(b'{"scores":[[', b'{"scores":[[1e999,')), "not a finite number"),
    "score as text": (record(at(-1, "scores", 0, 0, value="1")), "scores must be 2 lists of numbers"),
    "huge score": (record(at(-1, "scores", 0, 0, value=10**400)), "scores must be 2 lists of numbers"),
    # which seeds
    "missing seed": (one_seed, "lacks the seeds [1]; a submission has all 2"),
    "missing seed, unsaid": (one_seed_unsaid, "manifest's experiments and seeds are not those there are"),
    "best seed twice": (best_seed_everywhere, "seeds are not the expected ones"),
    "missing episode": (record(lambda x: (x.pop(1), x[-1]["scores"].pop(0))), "has 1 episodes; expected 2"),
    "better episode twice": (record(repeated), "seeds are not the expected ones"),
    "episode of another seed": (record(longest), "does not"),
    "seed of nobody": (record(at(0, "seed", value=7)), "under another name"),
    "seed true": (record(at(0, "seed", value=True)), "seed is a bool"),
    # which environment
    "other version": (record(at(0, "spec", "id", value="valuegym/Delivery-v1")), "spec is not the one registered"),
    "other arguments": (record(at(0, "spec", "kwargs", "slip", value=0)), "spec is not the one registered"),
    "longer episodes": (record(at(0, "spec", "max_episode_steps", value=10**6)), "spec is not the one registered"),
    "hostile core": (record(at(0, "spec", "kwargs", "core", value="os:system")), "spec is not the one registered"),
    "hostile entry point": (record(at(0, "spec", "entry_point", value="os:system")), "spec is not the one registered"),
    "hostile module in the id": (record(at(0, "spec", "id", value="antigravity:valuegym/Delivery-v0")), "spec"),
    "other digest": (record(at(0, "digest", value="0" * 64)), "environment digest differs"),
    "other digest in the manifest": (
        document("manifest.json", lambda x: x["experiments"]["test/walk"].update(digest="0" * 64)),
        "manifest states another environment digest",
    ),
    "other track": (other_track, "spec is not the one registered"),
    "unknown track": (record(at(0, "experiment", value="test/none")), "there is no experiment 'test/none' here"),
    # what was played
    "edited action": (record(at(1, "actions", 0, 1, value=lambda a: (a + 2) % 4)), "is not what the environment does"),
    "edited state": (record(at(1, "states", "cell", 1, value=lambda c: (c + 50) % 100)), "the episode of seed"),
    "edited start": (record(at(1, "states", "cell", 0, value=lambda c: (c + 1) % 100)), "does not start in the state"),
    "state outside": (record(at(1, "states", "cell", 1, value=10**6)), "not one of the environment's"),
    "flag flipped": (record(at(1, "truncated", value=lambda x: not x)), "not how the replay ends"),
    "action outside": (record(at(1, "actions", 0, 1, value=4)), "not in the action space"),
    "action as text": (record(at(1, "actions", 0, 1, value="0")), "not in the action space"),
    "action NaN": (resummed(lambda x: x.replace('"actions":[[1,', '"actions":[[1,NaN],[1,', 1)), "not valid JSON"),
    "a billion steps": (record(COUNT), "at most 2000000"),
    "states missing": (record(at(1, "states", value={})), "states have the fields"),
    "stops early": (record(lambda x: x[1].update(actions=x[1]["actions"][:1])), "states for"),
    # by whom
    "another's record": (record(at(0, "agent", value="somebody")), "a record by 'somebody'"),
    "another's name on the card": (document("card.json", lambda x: x.update(name="famous")), "name different agents"),
    "letters that look alike": (document("card.json", lambda x: x.update(name="unifоrm")), "must be 1 to 64 ASCII"),
    "text that turns around": (document("card.json", lambda x: x.update(about="\u202etpircs")), "cannot be seen"),
    "no authors": (document("card.json", lambda x: x.update(authors=[])), "authors must be a list"),
    "card of other fields": (document("card.json", lambda x: x.update(score=1)), "is not a field of a card"),
    "link to a script": (document("card.json", lambda x: x.update(code="javascript:alert(1)")), "https link"),
    # files that are none
    "cut record": (raw(lambda x: x[:-40]), "truncated"),
    "edited, sum left": (raw(lambda x: x.replace(b'"seed":1000000', b'"seed":1000002', 1)), "match its SHA-256"),
    "pickled record": (raw(lambda x: pickle.dumps(Evil())), "line|truncated|not text"),
    "record in Latin-1": (raw(lambda x: b"\xe4" + x), "not text"),
    "name twice in an object": (resummed(lambda x: x.replace("{", '{"agent":"me",', 1)), "appears twice"),
    "deep record": (raw(lambda x: b"[" * 10**5 + b"\n" + x), "not valid JSON"),
    "endless digits": (resummed(lambda x: x.replace('"seed":0', '"seed":' + "9" * 5000, 1)), "not valid JSON"),
    # archives that are none
    "sum of the manifest": (manifest_only(lambda x: x["files"].update({FIRST: "0" * 64})), "match its SHA-256"),
    "member not listed": (manifest_only(lambda x: x["files"].pop(FIRST)), "lists other members than there are"),
    "member not there": (manifest_only(lambda x: x["files"].update({"x": "0" * 64})), "lists other members"),
    "no card": (lambda members: members.pop("card.json") and None, "card.json is missing"),
    "no manifest": (lambda members: members.pop("manifest.json") and None, "manifest.json is missing"),
    "old format": (document("manifest.json", lambda x: x.update(format=0)), "format 0 is not supported"),
    "manifest of other fields": (document("manifest.json", lambda x: x.update(tier="executed")), "expected the fields"),
    "a malformed seal": (document("manifest.json", lambda x: x.update(seal={"board": 1})), "seal must hold"),
    "a seal without its board": (
        document("manifest.json", lambda x: x.update(seal={"board": "0" * 64, "commitment": 1, "agent": "0" * 64})),
        "give that board",
    ),
    "program": (extra("agent.py", b"import os\n"), "not a valid name for a member"),
    "pickle": (extra("evidence/weights.pkl", pickle.dumps(Evil())), "not a valid name for a member"),
    "pickle in an npz": (extra("evidence/a.npz", npz(x=np.array([Evil()], object))), "plain numbers and text"),
    "npz that inflates": (
        extra("evidence/a.npz", zipped(lambda f, _: f.writestr("x.npy", b"\0" * 10**7), zipfile.ZIP_DEFLATED)({})),
        "is compressed",
    ),
    "path upwards": (named("../../evil"), "not a valid name for a member"),
    "path from the root": (named("/etc/cron.d/evil"), "not a valid name for a member"),
    "path of another system": (named("..\\..\\evil"), "not a valid name for a member"),
    "name with a zero": (named("card.json\0.exe"), "not a valid name|not a whole zip"),
    "name in other letters": (named("records/test/wаlk/seed-0.jsonl"), "not a valid name for a member"),
    "name in capitals": (named("CARD.JSON"), "not a valid name for a member"),
    "link": (zipped(link), "holds more than its members"),
    "member twice": (zipped(lambda file, members: twice(file, members)), "or holds one twice"),
    "compressed": (zipped(lambda file, members: None, zipfile.ZIP_DEFLATED), "compressed or encrypted"),
    "zip bomb": (zipped(lambda f, _: f.writestr("evidence/x.json", b"0" * 10**7), zipfile.ZIP_DEFLATED), "compressed"),
    "overlapping members": (bomb, "larger than the file|not a whole zip"),
    "encrypted": (encrypted, "compressed or encrypted"),
    "comment": (zipped(lambda file, _: setattr(file, "comment", b"hello")), "holds more than its members"),
    "program before the archive": (lambda members: b"#!/bin/sh\ntrue\n" + archive(members), "more than its members"),
    "data after the archive": (lambda members: archive(members) + b"\0" * 100, "more than its members|not a whole zip"),
    "thousands of members": (
        zipped(lambda file, _: [file.writestr(f"evidence/x{i}.json", b"1") for i in range(2000)]),
        "at most 2000",
    ),
    "cut": (lambda members: archive(members)[:-30], "not a whole zip"),
    "empty": (lambda members: b"", "not a whole zip"),
    "empty archive": (lambda members: archive({}), "card.json is missing"),
    "pickled file": (lambda members: pickle.dumps(Evil()), "not a whole zip"),
    "another kind of archive": (tar, "not a whole zip"),
}  # fmt: skip


def twice(file: zipfile.ZipFile, members: Members) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("card.json", members["card.json"])


def forged(honest: bytes, forgery: Forgery) -> bytes:
    members = unpacked(honest)
    content = forgery(members)
    return content if isinstance(content, bytes) else summed(members)


def test_the_suite_is_large() -> None:
    assert len(FORGED) >= 60


@pytest.mark.parametrize("name", FORGED)
def test_a_forgery_is_rejected_for_the_right_reason(honest: bytes, tmp_path: Path, name: str) -> None:
    forgery, reason = FORGED[name]
    content = forged(honest, forgery)
    assert content != honest
    folder = tmp_path / "inbox"
    folder.mkdir()
    (tmp_path / "honest.zip").write_bytes(honest)
    assert judgement.judge(tmp_path / "honest.zip").reason == ""
    (folder / "x.zip").write_bytes(content)
    found = judged(folder / "x.zip")
    assert any(part in found.reason for part in reason.split("|")), found.reason
    assert found.reason.isprintable() and len(found.reason) < 600 and "rejected" in found.text
    assert found.tier == found.limit == ""
    assert os.listdir(folder) == ["x.zip"] and (folder / "x.zip").read_bytes() == content


# --- what replay cannot see, and says so ---


def relabelled(records: dict[tuple[str, str, int], bytes], name: str) -> bytes:
    """The records of an agent that asks the solver, under a contestant's name."""
    parts = [from_text(content.decode()) for (agent, *_), content in records.items() if agent == "oracle"]
    contents = [to_text(Record(**{**vars(part), "agent": name})).encode() for part in parts]
    return pack(Card.of(EXAMPLE | {"name": name}), contents)


def test_a_privileged_record_relabelled_is_accepted_with_the_limit(records: Any, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(relabelled(records, "prodigy"))
    found = judgement.judge(tmp_path / "x.zip")
    assert (found.reason, found.tier) == ("", "replayed")
    assert "which policy chose them, what prior knowledge it had, and how often it tried before" in found.text


def test_search_on_public_seeds_is_accepted_with_the_limit(records: Any, tmp_path: Path) -> None:
    """The best of many tries, seed by seed: every record is true."""
    contents = []
    for seed in WALK.seeds:
        oracle, mine = (from_text(records[agent, WALK.id, seed].decode()) for agent in ("oracle", "uniform"))
        episodes = [
            a if x > y else b
            for a, b, x, y in zip(oracle.episodes, mine.episodes, oracle.scores, mine.scores, strict=True)
        ]
        scores = [max(x, y) for x, y in zip(oracle.scores, mine.scores, strict=True)]
        contents.append(to_text(Record(**{**vars(mine), "episodes": episodes, "scores": scores})).encode())
    (tmp_path / "x.zip").write_bytes(pack(CARD, contents))
    found = judgement.judge(tmp_path / "x.zip")
    assert (found.reason, found.tier) == ("", "replayed") and LIMITS["replayed"] in found.text


def test_edited_but_valid_actions_are_accepted_with_the_limit(records: Any, tmp_path: Path) -> None:
    """An action between two evaluation points changes nothing in a query environment."""
    contents = []
    for seed in WEIGHTS.seeds:
        lines = [json.loads(line) for line in records["uniform", WEIGHTS.id, seed].decode().splitlines()]
        lines[1]["actions"][1][1] = [-x for x in lines[1]["actions"][1][1]]
        contents.append(sealed(lines))
    (tmp_path / "x.zip").write_bytes(pack(CARD, contents))
    found = judgement.judge(tmp_path / "x.zip")
    assert (found.reason, found.tier) == ("", "replayed") and LIMITS["replayed"] in found.text


def test_anothers_records_do_not_fit_a_commitment(records: Any, tmp_path: Path) -> None:
    """On committed seeds copying is of no use: every agent has its own."""
    board, nonce = tmp_path / "board", tmp_path / "nonce"
    operations.begin(board, "test")
    operations.open_period(board, nonce)
    for number, name in enumerate(("uniform", "copycat")):
        operations.commit(board, name, f"person {number}", f"{number + 1:x}" * 64, [WALK.id])
    operations.reveal(board, nonce)
    ledger = read_ledger(board)
    played = [
        run("uniform", WALK.id, seed, tmp_path, evaluation=judgement.commitment_seeds(ledger, 2, WALK.id, seed))
        for seed in WALK.seeds
    ]
    contents = [path.read_bytes() for path in played]
    seal = {"board": ledger.id, "commitment": 2, "agent": "1" * 64}
    write_submission(tmp_path / "true.zip", pack(CARD, contents, seal=seal))
    assert judgement.judge(tmp_path / "true.zip", ledger=ledger).tier == "committed"
    copied = [to_text(Record(**{**vars(from_text(part.decode())), "agent": "copycat"})).encode() for part in contents]
    seal = {"board": ledger.id, "commitment": 3, "agent": "2" * 64}
    write_submission(tmp_path / "copy.zip", pack(Card.of(EXAMPLE | {"name": "copycat"}), copied, seal=seal))
    assert "seeds are not the expected ones" in judgement.judge(tmp_path / "copy.zip", ledger=ledger).reason


def test_files_that_are_none(tmp_path: Path) -> None:
    huge = tmp_path / "huge.zip"
    with huge.open("wb") as file:
        file.truncate(MAX_FILE + 1)
    assert "at most" in judged(huge).reason
    assert "not a regular file" in judged(tmp_path).reason
    assert judged(tmp_path / "none.zip").reason
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.zip")
        assert "not a regular file" in judged(tmp_path / "pipe.zip").reason


# --- fuzz ---

ODD: list[Any] = [
    None, True, 0, -1, 2**31, 2**63, 10**400, 0.5, 1e308, "", "x", "\ud800", "\u202e", "../x", [], {}, [[]], {"a": 1},
    "0" * 64, [0], [0, 0], ["a"], [[1, 2]], "test/weights", "os:system", 1e-300, -0.0,
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def mutate(rng: random.Random, value: Any) -> None:
    """Change, remove or repeat something within a JSON value."""
    every = [place for place in places(value) if place]
    depth = rng.choice(sorted({len(place) for place in every}))
    *outer, last = rng.choice([place for place in every if len(place) == depth])
    spot: Any = value
    for key in outer:
        spot = spot[key]
    kind = rng.randrange(4)
    if kind == 0:
        del spot[last]
    elif kind == 1 and isinstance(spot, list):
        spot.insert(last, spot[rng.randrange(len(spot))])
    elif kind == 2 and type(spot[last]) in (int, float):
        spot[last] += rng.choice((-1, 1, 1e-7, 10**6))
    else:
        spot[last] = rng.choice(ODD)


def fuzzed(rng: random.Random, honest: bytes) -> bytes:
    """A submission with something wrong in it, somewhere between its bytes and its meaning."""
    kind = rng.randrange(6)
    if kind == 0:  # bytes of the file
        content = bytearray(honest)
        for _ in range(rng.choice((1, 3, 50))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        return bytes(content)
    if kind == 1:  # parts of the file
        a, b = sorted(rng.randrange(len(honest)) for _ in range(2))
        return rng.choice((honest[:a], honest[a:], honest[:a] + honest[b:], honest[:b] + honest[a:]))
    members = unpacked(honest)
    name = rng.choice(sorted(members))
    if kind == 2:  # bytes of a member
        content = bytearray(members[name])
        content[rng.randrange(len(content))] = rng.randrange(256)
        members[name] = bytes(content)
        return summed(members) if rng.random() < 0.7 else archive(members)
    if kind == 3:  # which members there are
        other = rng.choice(sorted(members))
        members[rng.choice((name, "evidence/x.json", "evidence/x.npz"))] = members[other]
        if rng.random() < 0.5:
            members.pop(name, None)
        return summed(members)
    if name.endswith(".jsonl"):  # what a member says
        lines = [json.loads(line) for line in members[name].decode().splitlines()]
        mutate(rng, lines)
        try:
            members[name] = sealed(lines)
        except (TypeError, IndexError):
            members[name] = "".join(json.dumps(line) + "\n" for line in lines).encode()
    else:
        value = json.loads(members[name])
        mutate(rng, value)
        members[name] = json.dumps(value).encode()
    return summed(members) if kind == 4 else archive(members)


def hunt(honest: bytes, folder: Path, seed: int, n: int) -> int:
    """Judge n fuzzed submissions; returns how many were accepted, all of which claim what the honest one does."""
    rng, path, accepted = random.Random(seed), folder / "x.zip", 0
    path.write_bytes(honest)
    true = [verdict.record.scores for verdict in judgement.judge(path).verdicts if verdict.record]
    for _ in range(n):
        path.write_bytes(fuzzed(rng, honest))
        found = judged(path)
        assert os.listdir(folder) == ["x.zip"]
        if found.reason:
            assert found.reason.isprintable() and len(found.reason) < 600, found.reason
            continue
        accepted += 1
        scores = [verdict.record.scores for verdict in found.verdicts if verdict.record]
        np.testing.assert_allclose(scores, true, rtol=0, atol=1e-9)
        assert LIMITS["replayed"] in found.text
    return accepted


def test_fuzzed_submissions_do_not_surprise(honest: bytes, tmp_path: Path) -> None:
    assert hunt(honest, tmp_path, 0, 150) < 75


@pytest.mark.slow
def test_a_thousand_fuzzed_submissions_do_not_surprise(honest: bytes, tmp_path: Path) -> None:
    assert hunt(honest, tmp_path, 1, 1000) < 500


def test_the_audit_sees() -> None:
    """Its silence means something."""
    for act in (lambda: exec("1"), lambda: open(os.devnull, "w").close(), lambda: pickle.loads(pickle.dumps(Evil))):
        with pytest.raises(AssertionError), nothing_happens():
            act()


@pytest.mark.parametrize("agent", ["uniform", "oracle", "constant", "partial_return", "regret"])
def test_honest_baselines_are_accepted(agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from valuegym.agents.preference import constant

    monkeypatch.setattr(constant, "TASKS", 2)
    constant._search.cache_clear()
    contents = [run(agent, WEIGHTS.id, seed, tmp_path / "results").read_bytes() for seed in WEIGHTS.seeds]
    constant._search.cache_clear()
    (tmp_path / "x.zip").write_bytes(pack(Card.of(EXAMPLE | {"name": agent}), contents))
    found = judgement.judge(tmp_path / "x.zip")
    assert (found.reason, found.tier, len(found.verdicts)) == ("", "replayed", 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", [what.id for what in experiments.EXPERIMENTS.values() if not what.data])
def test_an_honest_record_of_every_experiment_is_true(name: str, tmp_path: Path) -> None:
    what = experiments.find(name)
    agent = "uniform" if "uniform" in what.agents else what.agents[-1]
    assert verify(run(agent, name, what.seeds[0], tmp_path)).reason == ""


def test_a_submission_is_no_submission_twice(honest: bytes) -> None:
    with pytest.raises(SubmissionError):
        from_bytes(honest + honest)
