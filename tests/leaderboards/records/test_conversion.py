"""Records of format 1 become records of the present format: names change, and nothing that was played."""

from __future__ import annotations

import hashlib
import json
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
    manifest = {"format": 1, "agent": card.name, "seal": None, "experiments": {}} | changes
    members = {
        "card.json": json.dumps(vars(card)).encode(),
        "manifest.json": json.dumps(manifest).encode(),
        "records/control/lqr-preferences/seed-0.jsonl": path.read_bytes(),
        "evidence/note.json": b"{}",
    }
    return archive(members)


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
