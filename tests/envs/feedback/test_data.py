"""Answered pairs in files: they come back bit for bit, are never half written, and faults are named with the file."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs.feedback import data
from valuegym.envs.feedback.answers import Answers, Feedback
from valuegym.envs.feedback.segments import Segments

N, L = 5, 3


def segments(kind: str, seed: int) -> Segments:
    rng = np.random.default_rng(seed)
    box, number = rng.normal(size=(N, L + 1, 2, 2)).astype(np.float32), rng.integers(9, size=(N, L + 1))
    observations: Any = {"box": box, "discrete": number, "dict": {"a/b": box, "info.x": number}}[kind]
    info = {"user": rng.integers(3, size=N), "text": np.array(["a", "bb", "", "d", "é"])}
    return Segments(observations, rng.integers(4, size=(N, L)), rng.normal(size=(N, L)), [3, 2, 1, 3, 3], info=info)


def made(kind: str = "box", seed: int = 0) -> Feedback:
    answers = Answers(np.array([0, 1, 0.5, np.nan, 1]), np.linspace(0, 1, N), np.array([0, 1, 2, 3, np.nan]))
    return Feedback(segments(kind, seed), segments(kind, seed + 1).without(), answers)


def flat(thing: Any) -> list[np.ndarray]:
    if isinstance(thing, dict):
        return [array for name in sorted(thing) for array in flat(thing[name])]
    if isinstance(thing, np.ndarray):
        return [thing]
    return [array for one in fields(thing) for array in flat(getattr(thing, one.name))]


def assert_same(one: Feedback, two: Feedback) -> None:
    for a, b in zip(flat(one), flat(two), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["box", "discrete", "dict"])
def test_data_come_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    feedback = made(kind)
    path = data.write(tmp_path / "new" / "set", feedback, source="a test", licence="CC0", environment="X-v0", about="é")
    found = data.read(path.parent)
    assert_same(found.feedback, feedback)
    card = found.card
    assert (card["pairs"], card["steps"], card["environment"], card["source"]) == (N, L, "X-v0", "a test")
    assert sorted(file.name for file in path.parent.iterdir()) == sorted(["card.json", card["arrays"]["file"]])
    before = path.read_bytes()
    data.write(path.parent, feedback, source="a test", licence="CC0", environment="X-v0", about="é")
    assert path.read_bytes() == before  # the same data are the same bytes
    other = made(kind, 7)
    data.write(path.parent, other, source="a test", licence="CC0")
    assert_same(data.read(path.parent).feedback, other)
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_crash_leaves_the_old_data_or_the_new(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = made(), made(seed=3)
    data.write(tmp_path, old, source="a", licence="b")
    real, calls = getattr(os, call), []

    def crash(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > number:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(os, call, crash)
    with pytest.raises(KeyboardInterrupt):
        data.write(tmp_path, new, source="a", licence="b")
    monkeypatch.undo()
    assert_same(data.read(tmp_path).feedback, old)
    data.write(tmp_path, new, source="a", licence="b")
    assert_same(data.read(tmp_path).feedback, new)
    assert not list(tmp_path.glob(".part-*"))


def card(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        found = json.loads((folder / "card.json").read_text())
        change(found)
        (folder / "card.json").write_text(json.dumps(found))

    return act


def arrays(change: Callable[[dict[str, Any]], Any], stored: bool = True) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        import hashlib

        found = json.loads((folder / "card.json").read_text())
        file = folder / found["arrays"]["file"]
        with np.load(file) as archive:
            contents = dict(archive)
        change(contents)
        buffer = io.BytesIO()
        np.savez(buffer, **contents)
        file.write_bytes(buffer.getvalue())
        if stored:
            found["arrays"]["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
            (folder / "card.json").write_text(json.dumps(found))

    return act


def whole(content: bytes) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        import hashlib

        found = json.loads((folder / "card.json").read_text())
        (folder / found["arrays"]["file"]).write_bytes(content)
        found["arrays"]["sha256"] = hashlib.sha256(content).hexdigest()
        (folder / "card.json").write_text(json.dumps(found))

    return act


def corrupt(folder: Path) -> None:
    file = next(folder.glob("arrays-*"))
    content = bytearray(file.read_bytes())
    content[150:900] = bytes(750)
    whole(bytes(content))(folder)


CARD, FILE = r"card\.json: ", r"arrays-\w+\.npz: "


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "card.json").write_bytes(b"\xff"), CARD + "it is no JSON"),
        (lambda folder: (folder / "card.json").write_text("{"), CARD + "it is no JSON"),
        (lambda folder: (folder / "card.json").write_text("[" * 100_000), CARD + "it is no JSON"),
        (lambda folder: (folder / "card.json").write_text("[]"), CARD + "it holds list; expected a JSON object"),
        (lambda folder: (folder / "card.json").write_text('{"a": NaN}'), CARD + "NaN is no JSON"),
        (lambda folder: (folder / "card.json").write_text('{"a": 1, "a": 1}'), CARD + "a name stands twice"),
        (card(lambda c: c.pop("kind")), CARD + "kind is None; expected 'valuegym preferences'"),
        (card(lambda c: c.update(format=2)), CARD + "format is 2; this version of valuegym reads 1"),
        (card(lambda c: c.update(format=True)), CARD + "format is True"),
        (card(lambda c: c["labels"].update({"1": "first preferred"})), CARD + "labels is"),
        (card(lambda c: c.update(licence=None)), CARD + "licence is None"),
        (card(lambda c: c.pop("environment")), CARD + "environment is None"),
        (card(lambda c: c.update(pairs=0)), CARD + "pairs is 0"),
        (card(lambda c: c.update(pairs=4)), FILE + "it holds 5 pairs of 3 steps; card.json says 4 of 3"),
        (card(lambda c: c.update(arrays="x")), CARD + "arrays is 'x'"),
        (card(lambda c: c["arrays"].update(file="../arrays-1.npz")), CARD + "the file of arrays is"),
        (card(lambda c: c["arrays"].update(file="/etc/passwd")), CARD + "the file of arrays is"),
        (card(lambda c: c["arrays"].update(sha256="0")), FILE + "its SHA-256 is not that of card.json"),
        (arrays(lambda a: a, stored=False), FILE + "its SHA-256"),
        (arrays(lambda a: a.pop("labels")), FILE + "the array '(labels|probability)' is (missing|unknown)"),
        (arrays(lambda a: a.pop("user")), FILE + "the array 'user' is missing"),
        (arrays(lambda a: a.pop("first.actions")), FILE + "the array 'first.actions' is missing"),
        (arrays(lambda a: a.pop("second.observations")), FILE + "the array 'second.observations' is missing"),
        (arrays(lambda a: a.update(extra=np.zeros(1))), FILE + "the array 'extra' is unknown"),
        (arrays(lambda a: a.update(labels=np.full(N, 2.0))), FILE + r"labels\[0\] is 2.0"),
        (arrays(lambda a: a.update(labels=np.zeros(4))), FILE),
        (arrays(lambda a: a["first.observations"].fill(np.nan)), FILE + "of the first segments, observations.*nan"),
        (arrays(lambda a: a["second.lengths"].fill(9)), FILE + "of the second segments, lengths"),
        (arrays(lambda a: a.update(user=np.array([{}] * N))), FILE + "it is no archive of arrays without pickle"),
        (whole(pickle.dumps([1])), FILE + "it is no archive"),
        (whole(b""), FILE + "it is no archive"),
        (corrupt, FILE + "it is no archive"),
        (whole(b"PK\x03\x04 broken"), FILE + "it is no archive"),
    ],
)
def test_faults_are_named_with_the_file(spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    data.write(tmp_path, made(), source="a", licence="b")
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        data.read(tmp_path)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no card\.json in"):
        data.read(tmp_path / "none")
    path = data.write(tmp_path, made(), source="a", licence="b")
    next(tmp_path.glob("arrays-*")).unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no arrays-.* which card\.json names"):
        data.read(path.parent)


OBJECTS = Feedback(segments("box", 0).with_info(x=np.array([None] * N)), segments("box", 0), made().answers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feedback": made()[:0]}, "feedback holds no pair"),
        ({"source": " "}, "source is ' '"),
        ({"licence": None}, "licence is None"),
        ({"environment": 3}, "environment is 3"),
        ({"feedback": OBJECTS}, r"first\.info\.x holds Python objects"),
    ],
)
def test_what_cannot_be_written_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"feedback": made(), "source": "a", "licence": "b", **change}
    with pytest.raises(ValueError, match=message):
        data.write(tmp_path / "x", **given)
    assert not (tmp_path / "x").exists()
