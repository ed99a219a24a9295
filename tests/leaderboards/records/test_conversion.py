"""Records of format 1 become records of the present format: names change, and nothing that was played."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from valuegym.envs import ENVS
from valuegym.envs.functional import load
from valuegym.leaderboards.experiments import EXPERIMENTS
from valuegym.leaderboards.records import conversion
from valuegym.leaderboards.records.conversion import convert_folder, convert_record, convert_submission, names
from valuegym.leaderboards.records.fingerprint import environment_digest
from valuegym.leaderboards.records.record import RecordError, from_text, json_line
from valuegym.leaderboards.records.submission import Card, SubmissionError, archive, open_submission, unpack
from valuegym.leaderboards.verification.verify import verify

OLD = Path(__file__).with_name("format_1")
FILES = sorted(OLD.rglob("seed-*.jsonl"))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def sealed(values: list[dict[str, Any]]) -> str:
    """The text of a record of these lines, with a checksum that fits."""
    body = "".join(map(json_line, values[:-1]))
    return body + json_line(values[-1] | {"sha256": hashlib.sha256(body.encode()).hexdigest()})


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(OLD).as_posix() for path in FILES])
def test_a_converted_record_is_true_and_plays_what_the_old_one_played(path: Path, tmp_path: Path) -> None:
    old, [new] = path.read_text(), [found.target for found in convert_folder(path, tmp_path)]
    before, after = lines(old), lines(new.read_text())
    assert new.read_text() == convert_record(old)
    for a, b in zip(before[1:-1], after[1:-1], strict=True):
        assert [json.dumps(a[name]) for name in ("seed", "actions", "terminated", "truncated")] == [
            json.dumps(b[name]) for name in ("seed", "actions", "terminated", "truncated")
        ]
        assert sorted(map(json.dumps, a["states"].values())) == sorted(map(json.dumps, b["states"].values()))
    assert before[-1]["scores"] == after[-1]["scores"] and before[0]["provenance"] == after[0]["provenance"]
    verdict = verify(new)
    assert verdict.reason == "" and verdict.record is not None


def test_folders_are_renamed_with_experiments(tmp_path: Path) -> None:
    written = [found.target for found in convert_folder(OLD, tmp_path)]
    assert len(written) == len(FILES) and (tmp_path / "coevolution/follow-few-responses/oracle/seed-4.jsonl") in written
    before = [path.stat().st_mtime_ns for path in written]
    assert [found.target for found in convert_folder(OLD, tmp_path)] == written
    assert [path.stat().st_mtime_ns for path in written] == before  # what is there already is left
    again = list(convert_folder(tmp_path, tmp_path / "again"))
    assert all(found.target is None and "format 2 is not converted" in found.reason for found in again)
    with pytest.raises(ValueError, match="is the folder that is converted"):
        list(convert_folder(tmp_path, tmp_path))
    with pytest.raises(ValueError, match="holds no records"):
        list(convert_folder(tmp_path / "nothing", tmp_path / "else"))


def test_every_experiment_has_its_digests() -> None:
    """The table leads to the environments of this installation; those of people's answers need their data."""
    table = names()
    assert {table.experiments.get(name, name) for name in table.digests} <= set(EXPERIMENTS)
    for name, (_, now) in table.digests.items():
        what = EXPERIMENTS[table.experiments.get(name, name)]
        if not what.data:
            assert now == environment_digest(what.env_id, what.arguments), name


def test_digests_of_peoples_answers(data_folder: Path) -> None:
    for name, (_, now) in names().digests.items():
        what = EXPERIMENTS[name] if name in EXPERIMENTS else None
        if what is not None and what.data:
            assert now == environment_digest(what.env_id, what.arguments, str(data_folder)), name


def test_new_names_are_those_of_the_environments() -> None:
    """Every new field of a state and every new argument exists; no old one does."""
    table = names()
    for id, fields in table.states.items():
        env: Any = gym.make(id).unwrapped
        env.reset(seed=0)
        assert set(fields.values()) <= set(env.state._fields) and not set(fields) & set(env.state._fields), id
    for id, arguments in table.arguments.items():
        if id:
            core = load(ENVS[id].core)
            for new in filter(None, arguments.values()):
                with pytest.raises((ValueError, TypeError)) as error:  # known, for its value is what is wrong
                    core(**ENVS[id].kwargs, **{new: object()})
                assert "unexpected keyword" not in str(error.value), (id, new)


def damaged(change: Any) -> str:
    values = lines(FILES[0].read_text())
    change(values)
    return sealed(values)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "truncated"),
        (FILES[0].read_text()[:-1], "truncated"),
        (FILES[0].read_text().replace('"terminated":true', '"terminated":false', 1), "SHA-256"),
        (damaged(lambda v: v[0].update(format=2)), "format 2 is not converted; expected format 1"),
        (damaged(lambda v: v[0].update(digest="0" * 64)), "run the experiment again"),
        (damaged(lambda v: v[0].update(experiment="made/up")), "'made/up' was not made with"),
        (damaged(lambda v: v[0].update(spec=3)), "was not made with"),
        (damaged(lambda v: v[0].update(spec={})), "line 1 is not that of a record"),
        (damaged(lambda v: v[1].pop("states")), "line 2 is not that of a record"),
        (damaged(lambda v: v[1]["states"].update(last_message=[])), "line 2 holds both 'said' and 'last_message'"),
        (damaged(lambda v: v[0]["spec"]["kwargs"].update(reports=1, responses=1)), "line 1 holds both 'reports' and"),
        (damaged(lambda v: v[0].update(format=True)), "format 'True' is not converted"),
        (damaged(lambda v: v[0].update(format="\x1b[2J")), r"format '\x1b[2J' is not converted"),
        (damaged(lambda v: v[0].update(agent="../../else")), "the agent's name must be"),
        (damaged(lambda v: v[-1].update(scores="many")), "scores is a str"),
    ],
)
def test_what_cannot_be_converted_says_why(text: str, reason: str) -> None:
    with pytest.raises(RecordError, match=re.escape(reason)):
        convert_record(text)


def test_a_record_of_format_1_is_read_with_a_hint() -> None:
    with pytest.raises(RecordError, match="`valuegym convert` writes the same record in format 2"):
        from_text(FILES[0].read_text())


def old_submission(**changes: Any) -> bytes:
    """A submission as format 1 packed it: a single record and its card."""
    path = OLD / "control/lqr-preferences/no_force/seed-0.jsonl"
    card = Card("no_force", "No force.", ("A. Person",), "", "nothing", "nothing", {"hardware": "none", "hours": 0})
    members = {
        "card.json": json.dumps(vars(card)).encode(),
        "records/control/lqr-preferences/seed-0.jsonl": path.read_bytes(),
        "evidence/note.json": b"{}",
    }
    manifest = {
        "format": 1,
        "valuegym": "0.1.0",
        "agent": card.name,
        "experiments": {"control/lqr-preferences": {"digest": "0" * 64, "seeds": [0]}},
        "seal": None,
        "provenance": {},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }
    return archive(members | {"manifest.json": json.dumps(manifest | changes).encode()})


def test_submissions_are_converted_with_their_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuegym.leaderboards.records.submission._complete", lambda *_: None)  # a single seed
    (tmp_path / "old").mkdir()
    (tmp_path / "old/no_force.zip").write_bytes(old_submission())
    [(_, new, _)] = convert_folder(tmp_path / "old", tmp_path / "new")
    found = open_submission(new)
    [record] = found.records.values()
    assert from_text(record.decode()).experiment == "control/lqr-preferences"
    assert found.card.name == "no_force" and found.evidence == {"evidence/note.json": b"{}"}
    assert unpack(new.read_bytes())["evidence/note.json"] == b"{}"


def test_seeds_of_a_commitment_are_not_converted() -> None:
    seal = {"board": "0" * 64, "commitment": 1, "agent": "0" * 64}
    with pytest.raises(SubmissionError, match="commit the agent again"):
        convert_submission(old_submission(seal=seal))


def member_changed(name: str, content: bytes | None) -> bytes:
    """A submission of which one member is missing or was changed after it was packed."""
    members = unpack(old_submission())
    members.pop(name)
    return archive(members if content is None else members | {name: content})


RECORD = "records/control/lqr-preferences/seed-0.jsonl"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK", "not a whole zip archive"),
        (member_changed("card.json", None), "card.json is missing"),
        (member_changed("manifest.json", None), "manifest.json is missing"),
        (member_changed("manifest.json", b"[" * 100_000), "manifest.json is not valid JSON"),
        (member_changed("manifest.json", b"\xff"), "manifest.json is not text"),
        (member_changed("manifest.json", b"[]"), "manifest: expected the fields"),
        (member_changed("evidence/note.json", b"[]"), "does not match its SHA-256"),
        (old_submission(seal={}), "seal must hold"),
    ],
)
def test_what_is_no_submission_of_format_1_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(SubmissionError, match=reason):
        convert_submission(content)


def test_a_record_of_a_submission_that_is_not_one_is_named() -> None:
    for content in (b"\xff", b"{}\n"):
        changed = member_changed(RECORD, content)
        manifest = json.loads(unpack(changed)["manifest.json"])
        manifest["files"][RECORD] = hashlib.sha256(content).hexdigest()
        members = unpack(changed) | {"manifest.json": json.dumps(manifest).encode()}
        with pytest.raises(RecordError, match=f"^{RECORD}: the file "):
            convert_submission(archive(members))


def test_what_is_no_file_of_text_is_left_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Pipes, folders, dangling links, files that are too large or have line ends of another system."""
    source, text = tmp_path / "old", FILES[0].read_bytes()
    source.mkdir()
    (source / "seed-0.jsonl").mkdir()
    os.mkfifo(source / "seed-1.jsonl")
    (source / "seed-2.jsonl").symlink_to("nowhere")
    (source / "seed-3.jsonl").symlink_to("seed-3.jsonl")
    with (source / "seed-4.jsonl").open("wb") as file:
        file.truncate(conversion.MAX_BYTES + 1)
    (source / "seed-5.jsonl").write_bytes(text.replace(b"\n", b"\r\n"))
    (source / "seed-6.jsonl").write_bytes(b"\xff" + text)
    (source / "seed-9.jsonl").write_bytes(text)
    os.mkfifo(source / "a.zip")
    found = {path.name: reason for path, _, reason in convert_folder(source, tmp_path / "new")}
    assert found.pop("seed-9.jsonl") == ""
    for name, said in {
        "seed-0.jsonl": "not a regular file", "seed-1.jsonl": "not a regular file", "a.zip": "not a regular file",
        "seed-2.jsonl": "No such file", "seed-3.jsonl": "symbolic links", "seed-4.jsonl": "at most 67108864",
        "seed-5.jsonl": "SHA-256", "seed-6.jsonl": "not text",
    }.items():  # fmt: skip
        assert said in found.pop(name), name
    assert not found and [path.name for path in (tmp_path / "new").rglob("*")] == ["seed-9.jsonl"]


def test_what_is_there_already_is_not_taken_for_converted(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for path in (old / "seed-4.jsonl", new / "seed-4.jsonl"):
        path.parent.mkdir()
        path.write_bytes(FILES[0].read_bytes())
    [(_, target, reason)] = convert_folder(old, new)
    assert target is None and "is there already and is something else" in reason
    assert (new / "seed-4.jsonl").read_bytes() == FILES[0].read_bytes()
    with pytest.raises(ValueError, match="is not a folder"):
        list(convert_folder(old, new / "seed-4.jsonl"))


def test_a_submission_that_is_there_already_is_compared_without_its_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valuegym.leaderboards.records.submission._complete", lambda *_: None)  # a single seed
    (tmp_path / "a.zip").write_bytes(old_submission())
    [(_, target, _)] = convert_folder(tmp_path, tmp_path / "new")
    assert target is not None
    monkeypatch.setattr("valuegym.leaderboards.records.submission.__version__", "9.9")
    assert [found.target for found in convert_folder(tmp_path, tmp_path / "new")] == [target]
    target.write_bytes(b"else")
    assert [found.target for found in convert_folder(tmp_path, tmp_path / "new")] == [None]


def test_a_target_inside_of_the_source_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "seed-4.jsonl").write_bytes(FILES[0].read_bytes())
    written = [found.target for found in convert_folder(tmp_path, tmp_path / "new")]
    assert [found.target for found in convert_folder(tmp_path, tmp_path / "new")] == written != [None]


def test_nothing_is_written_through_a_link_out_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "old/a").mkdir(parents=True)
    (tmp_path / "old/a/seed-4.jsonl").write_bytes(FILES[0].read_bytes())
    (tmp_path / "else").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a").symlink_to("../else")
    [(_, target, reason)] = convert_folder(tmp_path / "old", tmp_path / "new")
    assert target is None and "outside of" in reason and not list((tmp_path / "else").iterdir())


def test_a_folder_of_one_family_takes_the_new_names(tmp_path: Path) -> None:
    [(_, target, _)] = convert_folder(OLD / "coevolution", tmp_path)
    assert target == tmp_path / "follow-few-responses/oracle/seed-4.jsonl"


def test_what_a_killed_call_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".seed-4.jsonl.abc"
    left.write_text("half")
    os.utime(left, (0, 0))
    [(_, target, _)] = convert_folder(FILES[0], tmp_path)
    assert list(tmp_path.iterdir()) == [target]


def test_the_table_is_read_once_and_holds_no_module() -> None:
    assert conversion.names() is conversion.names()
    assert all("valuegym.envs" not in json.dumps(row) for row in (names().experiments, dict(names().states)))


def test_the_command_converts_and_says_what_it_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from valuegym.leaderboards.cli.main import main

    assert main(["convert", str(OLD), "--output", str(tmp_path / "new")]) == 0
    assert f"converted  {len(FILES)} of {len(FILES)} files" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "new"), "--output", str(tmp_path / "newer")]) == 1
    assert "format 2 is not converted" in "".join(capsys.readouterr())
    assert main(["convert", str(tmp_path / "nothing"), "--output", str(tmp_path / "newer")]) == 2
    assert "holds no records and no submissions" in capsys.readouterr().err
