"""Submissions: what is packed is read back, twice the same bytes, and what is wrong is said in one sentence."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records import submission
from valuegym.leaderboards.records.record import RecordError
from valuegym.leaderboards.records.submission import (
    EXAMPLE,
    Card,
    SubmissionError,
    archive,
    from_bytes,
    pack,
    read_card,
)
from valuegym.leaderboards.run import run
from valuegym.leaderboards.trust.tiers import LIMITS

ROWS = [
    Experiment("test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 2, (0, 1), "return"),
    Experiment(
        "test/weights",
        "",
        "valuegym/RewardInference-v0",
        '{"annotator": "regret", "evaluation_points": [0, 3], "split": "dev"}',
        ("uniform",),
        0,
        2,
        (0, 1),
        "evaluation_points",
        ranked=False,
    ),
]
CARD = Card.of(EXAMPLE | {"name": "uniform"})


@pytest.fixture(autouse=True, scope="module")
def small_experiments(enrol: Callable[..., None]) -> None:
    enrol(*ROWS)


@pytest.fixture(scope="module")
def results(small_experiments: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for row in ROWS:
        for seed in row.seeds:
            run("uniform", row.id, seed, folder)
    return folder


@pytest.fixture(scope="module")
def records(results: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(results.rglob("seed-*.jsonl"))]


@pytest.fixture(scope="module")
def packed(records: list[bytes]) -> bytes:
    return pack(CARD, records)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_what_is_packed_is_read_back(records: list[bytes], packed: bytes) -> None:
    kinds = {"flag": np.array(True), "name": np.array(["ä", "bc"]), "big": np.zeros((2, 3, 0)), "z": np.array([1j])}
    kinds |= {"column": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)), "byte": np.uint8([7])}
    curves = npz(steps=np.arange(5), score=np.linspace(0, 1, 5), **kinds)
    evidence = {"curve.npz": curves, "prompts.json": b'["hello"]'}
    found = from_bytes(pack(CARD, records, evidence))
    assert found.card == CARD
    assert sorted(found.records.values()) == sorted(records)
    assert set(found.records) == {submission.member(row.id, seed) for row in ROWS for seed in row.seeds}
    assert found.evidence == {f"evidence/{name}": content for name, content in evidence.items()}
    assert found.manifest["experiments"]["test/walk"]["seeds"] == [0, 1]
    assert found.manifest["provenance"]["packages"]["numpy"] == np.__version__
    assert found.seal is None
    assert from_bytes(packed).digest == hashlib.sha256(packed).hexdigest()


def test_the_same_content_is_the_same_bytes(records: list[bytes], packed: bytes) -> None:
    assert pack(CARD, records[::-1]) == packed
    assert pack(CARD, records[:2]) != packed


def test_bytes_of_an_archive_are_pinned() -> None:
    """They depend on no version of zlib, no clock, no operating system and no release of Python."""
    content = archive({"card.json": b"{}\n", "manifest.json": b"[1]\n"})
    assert hashlib.sha256(content).hexdigest() == "d76e8c753703d59cc97352aa8b451d0b393ab79a60f17c8f11511368d4087752"
    with zipfile.ZipFile(io.BytesIO(content)) as file:  # an ordinary archive for every other program
        assert file.testzip() is None and file.namelist() == ["card.json", "manifest.json"]


def test_a_submission_goes_through_the_command_line(
    results: Path, packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["submit", str(results)]) == 2
    assert "There is no agent card card.json; write one like this" in capsys.readouterr().err
    Path("card.json").write_text(json.dumps(EXAMPLE | {"name": "uniform"}), encoding="utf-8")
    assert main(["submit", str(results)]) == 0
    assert hashlib.sha256(packed).hexdigest() in capsys.readouterr().out
    assert Path("uniform.zip").read_bytes() == packed
    assert main(["verify", "uniform.zip"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(
        "accepted  uniform.zip: uniform on test/walk, test/weights, 4 records\ntier      replayed: "
    )
    assert LIMITS["replayed"] in output and "open book, not ranked: test/weights" in output
    assert main(["submit", str(results), "--experiment", "test/walk", "--output", "walk.zip"]) == 0
    assert set(from_bytes(Path("walk.zip").read_bytes()).manifest["experiments"]) == {"test/walk"}
    Path("evil.zip").write_bytes(packed[:-1])
    capsys.readouterr()
    assert main(["verify", "evil.zip"]) == 1
    assert capsys.readouterr().out.startswith("rejected  evil.zip: The file is not a whole zip archive")
    assert main(["submit", str(results), "--experiment", "test/none"]) == 2
    assert main(["submit", str(tmp_path / "empty")]) == 2
    assert "no records by uniform" in capsys.readouterr().err
    Path("card.json").write_text(json.dumps(EXAMPLE | {"name": "my-agent"}), encoding="utf-8")
    assert main(["submit", str(results)]) == 2
    assert "name of the card is that of a row; " in (err := capsys.readouterr().err) and "has uniform" in err


def test_a_whole_entry_or_none(records: list[bytes]) -> None:
    with pytest.raises(SubmissionError, match=r"test/walk lacks the seeds \[1\]; a submission has all 2"):
        pack(CARD, records[:1])
    with pytest.raises(SubmissionError, match=r"two records of test/walk, seed 0"):
        pack(CARD, [*records, records[0]])
    with pytest.raises(SubmissionError, match="A record is by 'uniform' and the card by 'other'"):
        pack(Card.of(EXAMPLE | {"name": "other"}), records)
    with pytest.raises(SubmissionError, match="no record by uniform"):
        pack(CARD, [])
    with pytest.raises(RecordError, match="truncated"):
        pack(CARD, [records[0][:-1]])
    with pytest.raises(SubmissionError, match="not text"):
        pack(CARD, [b"\xff"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": ""}, "name"),
        ({"name": "../x"}, "name must be"),
        ({"name": "реgret"}, "name must be"),  # two of these letters are Cyrillic
        ({"name": 3}, "name is"),
        ({"about": None}, "about is"),
        ({"about": "x" * 501}, "1 to 500 characters"),
        ({"about": "gpj.\u202etxt"}, "cannot be seen or that change how the text reads"),
        ({"about": "zero\u200bwidth"}, "cannot be seen"),
        ({"about": "cafe\u0301"}, "cannot be seen or that change"),
        ({"about": "\x1b[31mred"}, "cannot be seen"),
        ({"authors": []}, "authors must be a list of 1 to 100"),
        ({"authors": "A. Person"}, "authors must be a list"),
        ({"authors": ["ok", ""]}, "authors is"),
        ({"authors": [["nested"]]}, "authors is"),
        ({"code": "javascript:alert(1)"}, "https link"),
        ({"code": "https://example.org/ x"}, "https link"),
        ({"code": "https://example.org\n"}, "https link"),
        ({"priors": "   "}, "priors is"),
        ({"data": []}, "data is"),
        ({"compute": {}}, "compute must be"),
        ({"compute": {"hardware": "x", "hours": -1}}, "compute.hours is '-1'"),
        ({"compute": {"hardware": "x", "hours": True}}, "compute.hours"),
        ({"compute": {"hardware": "x", "hours": 10**400}}, "compute.hours"),
        ({"compute": {"hardware": "x", "hours": 1, "price": 2}}, "compute must be"),
        ({"score": 1.0}, "'score' is not a field of a card"),
    ],
)
def test_cards_are_checked(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(SubmissionError, match="card: ") as error:
        Card.of(EXAMPLE | change)
    assert reason in str(error.value) and str(error.value).isprintable()


def test_cards_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(EXAMPLE | {"authors": ["José", "李华"], "code": ""}), encoding="utf-8")
    assert read_card(path).authors == ("José", "李华")
    path.write_text(json.dumps(EXAMPLE)[:-1], encoding="utf-8")
    with pytest.raises(SubmissionError, match="the card is not valid JSON"):
        read_card(path)
    path.write_text('{"name": "a", "name": "b"}', encoding="utf-8")
    with pytest.raises(SubmissionError, match="appears twice"):
        read_card(path)
    for missing in EXAMPLE:
        with pytest.raises(SubmissionError, match=f"card: {missing} is missing"):
            Card.of({name: value for name, value in EXAMPLE.items() if name != missing})
    with pytest.raises(SubmissionError, match="expected a JSON object"):
        Card.of([])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npz", npz(x=np.array([{"a": 1}], object)), "not of plain numbers and text"),
        ("a.npz", pickle.dumps([1]), "not an npz"),
        ("a.npz", npz(x=np.arange(3))[:-30], "not an npz"),
        ("a.json", b"[NaN]", "not a finite number"),
        ("a.json", b"[" * 100_000, "not valid JSON"),
        ("a.json", b"[" * 80 + b"]" * 80, "nested too deeply"),
        ("a.json", b"\xff", "not text"),
        ("A.json", b"[]", "not a valid name"),
        ("../a.json", b"[]", "not a valid name"),
        ("a.py", b"", "not a valid name"),
        ("a.json\n", b"[]", "not a valid name"),
    ],
)
def test_evidence_is_checked(records: list[bytes], name: str, content: bytes, reason: str) -> None:
    with pytest.raises(SubmissionError) as error:
        pack(CARD, records, {name: content})
    assert reason in str(error.value) and str(error.value).isprintable()


def test_evidence_that_could_inflate_is_refused(records: list[bytes]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros(10_000_000))
    with pytest.raises(SubmissionError, match=r"is compressed; write it with numpy\.savez"):
        pack(CARD, records, {"a.npz": buffer.getvalue()})
    header = np.lib.format.magic(1, 0) + b"\x76\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,), }"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("x.npy", header.replace(b"10**12", b"1" + b"0" * 12).ljust(127) + b"\n")
    with pytest.raises(SubmissionError, match="not as large as it says"):
        pack(CARD, records, {"a.npz": buffer.getvalue()})
