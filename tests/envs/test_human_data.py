"""New conditions of human answers: written, read, checked, refused where they are not what they say."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.preference import annotators, datasets, delivery, human_data
from valuegym.envs.preference.reward_inference import RewardInference

N, LENGTH = 60, 4
UP, DOWN, LEFT, RIGHT, NONE = 0, 1, 2, 3, -1


class Raw:
    """Simulated answers by regret about pairs on the published board, as plain arrays."""

    def __init__(self, n: int = N, length: int = LENGTH, seed: int = 0) -> None:
        core = RewardInference(annotator="regret", board="published", length=length, evaluation_points=(n,))
        task, _ = core.initial(keys.mix(seed, np.arange(1)))
        rows = type(task)(*(np.repeat(field, n, 0) for field in task))
        self.pairs, answer = core.query(rows, np.arange(1, n + 1))
        self.starts = np.stack(np.divmod(self.pairs.states[..., 0], 10), -1)
        self.actions = np.where(self.pairs.mask, self.pairs.actions, -1)
        self.labels = annotators.labels(answer)

    def write(self, folder: Path, name: str = "Lab", **changes: Any) -> Path:
        values = {"starts": self.starts, "actions": self.actions, "labels": self.labels, **changes}
        return human_data.write(folder, name, **values, source="simulated", licence="CC0", about="By regret.")

    def as_published(self, folder: Path, name: str = "Lab", **changes: Any) -> None:
        moves = np.where(self.actions[..., None] < 0, 0, delivery.MOVES[self.actions])
        content = {
            "segment_pairs": np.concatenate([self.starts[:, :, None], moves], 2),
            "Y": self.labels,
            "X": human_data.statistics(self.pairs),
        } | changes
        for file, part in zip(human_data.file_names(name), human_data.PARTS, strict=True):
            np.save(folder / file, content[part], allow_pickle=content[part].dtype == object)


@pytest.fixture(scope="module")
def raw() -> Raw:
    return Raw()


def same(human: human_data.HumanPreferences, raw: Raw) -> bool:
    fields = zip(human.segments, raw.pairs, strict=True)
    return all((a == b).all() for a, b in fields) and np.array_equal(human.labels, raw.labels, equal_nan=True)


# --- what is written is read ---


def test_what_is_written_is_read(raw: Raw, tmp_path: Path) -> None:
    labels = raw.labels.copy()
    labels[:2] = np.nan, 0.5
    card = raw.write(tmp_path / "new", labels=labels)
    human = human_data.read(card.parent, "Lab")
    assert all((a == b).all() for a, b in zip(human.segments, raw.pairs, strict=True))
    assert np.array_equal(human.labels, labels, equal_nan=True) and human_data.mismatches(human) == 0
    assert sorted(path.name for path in card.parent.iterdir()) == ["Lab.json", "Lab.npz"]
    content = json.loads(card.read_text())
    assert content == {
        "format": human_data.FORMAT,
        "task": "delivery",
        "condition": "Lab",
        "about": "By regret.",
        "source": "simulated",
        "licence": "CC0",
        "answers": N,
        "agreement": human_data.agreement_text(human.segments, human.labels),
        "sign": human_data.SIGN,
        "files": {"Lab.npz": hashlib.sha256((card.parent / "Lab.npz").read_bytes()).hexdigest()},
    }
    assert human.sha256 == tuple(content["files"].values())
    again = raw.write(tmp_path / "again", labels=labels)
    assert (again.parent / "Lab.npz").read_bytes() == (card.parent / "Lab.npz").read_bytes()


def test_the_same_answers_in_both_formats(raw: Raw, tmp_path: Path) -> None:
    raw.write(tmp_path, "Ours")
    raw.as_published(tmp_path, "Theirs")
    ours, theirs = human_data.read(tmp_path, "Ours"), human_data.read_as_published(tmp_path, "Theirs")
    assert same(ours, raw) and same(theirs, raw) and (ours.published == theirs.published).all()


def test_published_pairs_may_be_whole_numbers_of_any_type(raw: Raw, tmp_path: Path) -> None:
    raw.as_published(tmp_path)
    pairs = np.load(tmp_path / human_data.file_names("Lab")[0])
    for kind in (np.int8, np.float32, np.int64):
        raw.as_published(tmp_path, "Lab", segment_pairs=pairs.astype(kind), Y=raw.labels.astype(np.float32))
        assert same(human_data.read_as_published(tmp_path, "Lab"), raw)
    for wrong in (pairs + 0.5, pairs * np.nan, pairs[0], pairs.astype(str)):
        raw.as_published(tmp_path, "Lab", segment_pairs=wrong)
        with pytest.raises(ValueError, match=r"segment_pairs has shape .*expected whole numbers"):
            human_data.read_as_published(tmp_path, "Lab")


def test_statistics_are_second_minus_first_at_discount_one() -> None:
    """By hand: from next to the goal onto it, against two moves into the wall in the corner."""
    starts = np.array([[[8, 8], [0, 0]]])
    pairs = human_data.segments(starts, np.array([[[RIGHT, NONE], [UP, UP]]]))
    assert pairs.states.tolist() == [[[88, 89, 89], [0, 0, 0]]] and pairs.mask.tolist() == [[[1, 0], [1, 1]]]
    earned, start, end = human_data.statistics(pairs)[0]
    assert earned == -2 - 50 and start == end - 50  # the first starts next to the goal, worth 50, ends there, worth 0
    swapped = type(pairs)(*(field[:, ::-1] for field in pairs))
    assert (human_data.statistics(swapped) == -human_data.statistics(pairs)).all()


# --- signs ---


def test_agreement_is_the_share_that_chose_the_better_segment(raw: Raw) -> None:
    earned, start, end = human_data.statistics(raw.pairs).T
    for better in (earned, earned + end - start):
        labels = np.where(better > 0, 1.0, 0.0)
        assert human_data.agreement(raw.pairs, labels).share == 1.0
        labels[::2] = 0.5
        found = human_data.agreement(raw.pairs, labels)
        assert found.share == 1.0 and found.answers <= N // 2
    assert human_data.agreement(raw.pairs, np.full(N, 0.5)) == (0, 0.5)
    assert human_data.agreement(raw.pairs, raw.labels).share > 0.8


@pytest.mark.parametrize("format", ["ours", "theirs"])
def test_turned_labels_are_refused(raw: Raw, tmp_path: Path, format: str) -> None:
    with pytest.raises(ValueError, match=r"answers go to the better segment.*labels seem to be reversed"):
        if format == "ours":
            raw.write(tmp_path, labels=1 - raw.labels)
        else:
            raw.as_published(tmp_path, Y=1 - raw.labels)
            human_data.read_as_published(tmp_path, "Lab")
    assert format == "theirs" or not list(tmp_path.iterdir())


def test_turned_statistics_are_refused(raw: Raw, tmp_path: Path) -> None:
    raw.as_published(tmp_path, X=-human_data.statistics(raw.pairs))
    with pytest.raises(ValueError, match="first minus second"):
        human_data.read_as_published(tmp_path, "Lab")


def test_other_statistics_are_counted_and_get_no_card(raw: Raw, tmp_path: Path) -> None:
    wrong = human_data.statistics(raw.pairs)
    wrong[3, 1] += 1
    wrong[9, 2] = np.nan
    raw.as_published(tmp_path, X=wrong)
    assert human_data.mismatches(human_data.read_as_published(tmp_path, "Lab")) == 2
    with pytest.raises(ValueError, match="statistics of 2 of 60 pairs do not follow"):
        human_data.accept(tmp_path, "Lab", "simulated", "CC0")


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"starts": np.zeros((3, 2, 2))}, "starts has shape .*float64; expected integers"),
        ({"starts": np.zeros((3, 2, 2), int)}, "do not fit"),
        ({"actions": np.zeros((N, 2), int)}, r"actions has shape \(60, 2\)"),
        ({"actions": np.full((N, 2, LENGTH), 4)}, "Pair 0 holds a move that is not up, down, left or right"),
        ({"actions": np.full((N, 2, LENGTH), -1)}, "Pair 0 holds a move"),
        ({"starts": np.full((N, 2, 2), 10)}, r"Pair 0 starts at \(10, 10\), where no vehicle can be"),
        ({"starts": np.full((N, 2, 2), -1)}, r"Pair 0 starts at \(-1, -1\)"),
        ({"starts": np.tile((3, 4), (N, 2, 1))}, r"Pair 0 starts at \(3, 4\)"),  # a house
        ({"labels": np.ones(N + 1)}, "do not fit 60 pairs"),
        ({"labels": np.full(N, 2.0)}, r"labels\[0\] is 2.0; expected 0 \(first\).*give labels - 1"),
        ({"source": " "}, "source is empty"),
        ({"licence": ""}, "licence is empty"),
        ({"condition": "../Lab"}, "expected letters, digits"),
        ({"condition": ""}, "expected letters, digits"),
    ],
)
def test_what_cannot_be_is_not_written(raw: Raw, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    values: dict[str, Any] = {"condition": "Lab", "source": "simulated", "licence": "CC0"}
    values |= {"starts": raw.starts, "actions": raw.actions, "labels": raw.labels} | changes
    with pytest.raises(ValueError, match=said):
        human_data.write(tmp_path, **values)
    assert not (tmp_path / "Lab.json").exists()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("format", "valuegym human preferences 9", "format = 'valuegym human preferences 9'; expected"),
        ("task", "gridworld", "task = 'gridworld'"),
        ("condition", "Other", "condition = 'Other'; expected 'Lab'"),
        ("sign", "label 1: the first segment is preferred", "sign = 'label 1: the first"),
        ("source", "", "source = ''"),
        ("licence", None, "licence = None"),
        ("files", {}, r"files = \{\}"),
        ("files", {"../Lab.npz": "0"}, "files = "),
        ("files", {"Lab.npz": "0" * 64}, "is not the file that its card lists: its SHA-256 differs"),
        ("answers", 3, "says 3 answers, but there are 60"),
        ("answers", None, "says None answers"),
    ],
)
def test_a_card_that_is_not_right_names_the_field(raw: Raw, tmp_path: Path, field: str, value: Any, said: str) -> None:
    card = raw.write(tmp_path)
    card.write_text(json.dumps(json.loads(card.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=said):
        human_data.read(tmp_path, "Lab")


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_card_that_is_no_object(raw: Raw, tmp_path: Path, text: str) -> None:
    raw.write(tmp_path).write_text(text)
    with pytest.raises(ValueError, match=r"Lab\.json"):
        human_data.read(tmp_path, "Lab")


class Bomb:
    """Leaves a file behind when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def card_over(folder: Path, content: bytes) -> None:
    """A card that vouches for this content."""
    (folder / "Lab.npz").write_bytes(content)
    card = json.loads((folder / "Lab.json").read_text())
    card["files"] = {"Lab.npz": hashlib.sha256(content).hexdigest()}
    (folder / "Lab.json").write_text(json.dumps(card))


def test_archives_are_never_unpickled(raw: Raw, tmp_path: Path) -> None:
    raw.write(tmp_path)
    fired, other = tmp_path / "fired", tmp_path / "other.npz"
    arrays = {name: np.array([Bomb(fired)], dtype=object) for name in human_data.ARRAYS}
    np.savez(other, **arrays)  # type: ignore[arg-type]
    card_over(tmp_path, other.read_bytes())
    with pytest.raises(ValueError, match=r"Lab\.npz: starts: it holds Python objects, which are never read"):
        human_data.read(tmp_path, "Lab")
    raw.as_published(tmp_path, "Bombs", Y=np.array([Bomb(fired)], dtype=object))
    with pytest.raises(ValueError, match=r"Bombs_full_filtered_Y\.npy: it holds Python objects, which are never read"):
        datasets.load("Bombs", str(tmp_path), unverified=True)
    assert not fired.exists()


def test_archives_without_what_they_need(raw: Raw, tmp_path: Path) -> None:
    raw.write(tmp_path)
    other = tmp_path / "other.npz"
    np.savez(other, starts=raw.starts, actions=raw.actions, labels=raw.labels)
    card_over(tmp_path, other.read_bytes())
    with pytest.raises(ValueError, match=r"Lab\.npz: the array 'statistics' is missing"):
        human_data.read(tmp_path, "Lab")
    card_over(tmp_path, b"no archive")
    with pytest.raises(ValueError, match=r"Lab\.npz: "):
        human_data.read(tmp_path, "Lab")
    np.savez(other, starts=raw.starts, actions=raw.actions, labels=raw.labels, statistics=np.zeros((N, 3)))
    card_over(tmp_path, other.read_bytes())
    with pytest.raises(ValueError, match=r"statistics of .* pairs do not follow"):
        human_data.read(tmp_path, "Lab")


# --- files that are something else ---


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("array.npy", content)
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


OTHERS: dict[str, tuple[Any, str]] = {  # what is made of a good file, and what is said of it
    "empty": (lambda good: b"", "it is empty"),
    "blank": (lambda good: b" \n\n", "it is empty"),
    "page": (lambda good: b"<!DOCTYPE html><html>404</html>", "it is a web page"),
    "page after a blank": (lambda good: b"\r\n <HTML>", "it is a web page"),
    "xml": (lambda good: b"<?xml version='1.0'?><Error/>", "it is a web page"),
    "zip": (zipped, "it is a zip archive"),
    "gzip": (gzip.compress, "it is compressed by gzip"),
    "bzip2": (bz2.compress, "it is compressed by bzip2"),
    "xz": (lzma.compress, "it is compressed by xz"),
    "pointer": (
        lambda good: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "it is a pointer of Git LFS",
    ),
    "text": (lambda good: b"0,1,0.5\n", "it is no array of numpy's"),
    "json": (lambda good: b"[[0, 1], [2, 3]]", "it is no array of numpy's"),
    "pickle": (lambda good: pickle.dumps([1, 2]), "it is no array of numpy's"),
    "last byte gone": (lambda good: good[:-1], "the file is cut off"),
    "half": (lambda good: good[: len(good) // 2], "cut off"),
    "header alone": (lambda good: good[:128], "the file is cut off"),
    "part of the header": (lambda good: good[:40], "its header is damaged, or cut off"),
    "sign alone": (lambda good: good[:6], "its header is damaged, or cut off"),
    "more": (lambda good: good + b"\x00", "something follows the array"),
    "twice": (lambda good: good + good, "something follows the array"),
    "endless": (
        lambda good: header("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,)}"),
        "the file is cut off",
    ),
    "code": (lambda good: header("__import__('os').system('true')"), "its header is damaged"),
    "nested": (lambda good: header("(" * 5000), "its header is damaged"),
    "negative": (lambda good: header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"), ""),
    "version": (lambda good: good[:6] + b"\x09\x00" + good[8:], "its header is damaged"),
    "words": (lambda good: npy(np.array(["a", "b"])), ""),
    "times": (lambda good: npy(np.zeros(N, "datetime64[s]")), ""),
    "complex": (lambda good: npy(np.zeros(N, complex)), ""),
    "records": (lambda good: npy(np.zeros(N, [("a", "f8")])), ""),
    "bools": (lambda good: npy(np.zeros(N, bool)), ""),
    "number": (lambda good: npy(np.float64(1.0)), ""),
    "nothing": (lambda good: npy(np.zeros(0)), ""),
}


@pytest.mark.parametrize("part", range(3), ids=human_data.PARTS)
@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_that_is_something_else_is_named(raw: Raw, tmp_path: Path, part: int, kind: str) -> None:
    """It and no other, in one line, without advice to unpickle; with a hash or a card, the same reason."""
    make, said = OTHERS[kind]
    raw.as_published(tmp_path)
    path = tmp_path / human_data.file_names("Lab")[part]
    path.write_bytes(make(path.read_bytes()))
    with pytest.raises(ValueError) as error:
        human_data.read_as_published(tmp_path, "Lab")
    text = str(error.value)
    assert text.startswith(f"{path}: ") and said in text and len(text.splitlines()) == 1 and "pickle" not in text
    if said and "cut off" not in said and "damaged" not in said and "follows" not in said:
        with pytest.raises(ValueError, match=f"{path.name} is not the published file: its SHA-256 differs, for {said}"):
            human_data.read_as_published(tmp_path, "Lab", ("0" * 64,) * 3)


@pytest.mark.parametrize("kind", ["empty", "page", "gzip", "text", "pickle", "array", "cut off", "flipped", "password"])
def test_an_archive_that_is_something_else_is_named(raw: Raw, tmp_path: Path, kind: str) -> None:
    raw.write(tmp_path)
    good = (tmp_path / "Lab.npz").read_bytes()
    middle = good.index(b"labels.npy") + 200
    content = {
        "array": npy(np.zeros(3)),
        "cut off": good[: len(good) // 2],
        "flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        "password": good.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
    }.get(kind) or OTHERS[kind if kind in OTHERS else "empty"][0](good)
    card_over(tmp_path, content)
    if content == good:
        return
    with pytest.raises(ValueError, match=r"Lab\.npz: ") as error:
        human_data.read(tmp_path, "Lab")
    assert "pickle" not in str(error.value) and len(str(error.value).splitlines()) == 1


def test_each_array_is_blamed_for_itself(raw: Raw, tmp_path: Path) -> None:
    turned = -human_data.statistics(raw.pairs)
    for part, wrong in (
        ("Y", [raw.labels[:-1], np.full(N, 3.0), 1 - raw.labels]),
        ("X", [np.zeros((N, 2)), turned]),
        ("segment_pairs", [np.zeros((N, 2, 5)), np.zeros(3)]),
    ):
        for array in wrong:
            raw.as_published(tmp_path, **{part: array})
            with pytest.raises(ValueError) as error:
                human_data.read_as_published(tmp_path, "Lab")
            assert str(error.value).startswith(str(tmp_path / f"Lab_full_filtered_{part}.npy"))


@pytest.mark.parametrize("kind", np.typecodes["AllInteger"])
def test_integers_of_any_type_mean_what_they_say(raw: Raw, tmp_path: Path, kind: str) -> None:
    """No number wraps around: what is too large for a signed integer is no move up."""
    whole = np.where(raw.actions < 0, 0, raw.actions).astype(kind)
    after_the_end = human_data.segments(raw.starts.astype(kind), whole)
    assert all((a == b).all() for a, b in zip(after_the_end, raw.pairs, strict=True))
    assert after_the_end.states.dtype == raw.pairs.states.dtype
    raw.write(tmp_path, starts=raw.starts.astype(kind), actions=whole)
    assert same(human_data.read(tmp_path, "Lab"), raw)
    wrapped = raw.actions.astype(kind)  # -1 becomes the largest number of an unsigned type
    if kind.isupper():
        with pytest.raises(ValueError, match=r"holds a move|expected an integer"):
            human_data.segments(raw.starts, np.full_like(wrapped, np.iinfo(kind).max))
        pairs = np.zeros((1, 2, 2, 2), kind)
        pairs[:, :, 0], pairs[:, :, 1, 0] = 2, np.iinfo(kind).max
        with pytest.raises(ValueError, match=r"holds a move|expected an integer"):
            human_data.delivery_segments(pairs)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e300, 2.0**63, 0.5])
def test_pairs_that_are_no_whole_numbers_are_refused(value: float) -> None:
    pairs = np.zeros((1, 2, 2, 2))
    pairs[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="expected whole numbers"):
        human_data.delivery_segments(pairs)


# --- the power of the test of signs ---


@pytest.mark.parametrize("answers", [0, 1, 4, 5, 50, 400])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.62, 0.9, 1.0])
def test_the_power_is_that_of_a_binomial_test(answers: int, share: float) -> None:
    draws = np.random.default_rng(0).binomial(answers, 1 - share, 20_000) / max(answers, 1)
    noticed = (draws < 0.5 - 1 / max(answers, 1) ** 0.5).mean()
    assert human_data.reversal_power(answers, share) == pytest.approx(noticed, abs=0.015)


def test_too_few_answers_to_notice_a_reversal_are_said_to_be(raw: Raw, tmp_path: Path) -> None:
    few = 12
    with pytest.warns(UserWarning, match=r"had the labels been reversed, this would be noticed with probability 0\."):
        card = raw.write(tmp_path, starts=raw.starts[:few], actions=raw.actions[:few], labels=raw.labels[:few])
    assert "would be noticed with probability 0." in json.loads(card.read_text())["agreement"]
    with pytest.raises(ValueError, match="answers is -1; expected an integer of at least 0"):
        human_data.reversal_power(-1, 0.5)
    with pytest.raises(ValueError, match=r"share is nan"):
        human_data.reversal_power(1, float("nan"))


# --- in a folder ---


def test_a_folder_with_everything(raw: Raw, tmp_path: Path) -> None:
    raw.write(tmp_path, "Lab")
    raw.as_published(tmp_path, "Some-Trained")
    (tmp_path / "delivery_mdp.json").write_text("{}")
    folder = str(tmp_path)
    assert datasets.present(folder) == ["Lab"]
    assert datasets.present(folder, unverified=True) == ["Lab", "Some-Trained"]
    assert same(datasets.load("Lab", folder), raw)
    with pytest.raises(ValueError, match=r"'Some-Trained'.*none of the published.*data accept.*--unverified"):
        datasets.load("Some-Trained", folder)
    assert same(datasets.load("Some-Trained", folder, unverified=True), raw)
    card = human_data.accept(tmp_path, "Some-Trained", "https://example.org", "not stated")
    assert json.loads(card.read_text())["answers"] == N
    assert datasets.present(folder) == ["Lab", "Some-Trained"] and same(datasets.load("Some-Trained", folder), raw)
    y = tmp_path / human_data.file_names("Some-Trained")[1]
    y.write_bytes(y.read_bytes()[:-1] + b"\x00")
    if hashlib.sha256(y.read_bytes()).hexdigest() != json.loads(card.read_text())["files"][y.name]:
        with pytest.raises(ValueError, match="is not the file that its card lists"):
            datasets.load("Some-Trained", folder)
    os.remove(y)
    with pytest.raises(ValueError, match=r"condition = 'Some-Trained'; expected one of .*'Lab'"):
        datasets.load("Some-Trained", folder)


def test_a_card_does_not_replace_a_published_condition(raw: Raw, tmp_path: Path) -> None:
    raw.as_published(tmp_path, "Regret-Question")
    raw.as_published(tmp_path, "Lab")
    card = human_data.accept(tmp_path, "Lab", "us", "none")
    (tmp_path / "Regret-Question.json").write_text(card.read_text().replace("Lab", "Regret-Question"))
    os.remove(card)
    with pytest.raises(ValueError, match="is not the published file"):
        datasets.load("Regret-Question", str(tmp_path))
    assert datasets.present(str(tmp_path)) == ["Regret-Question"]


@pytest.mark.parametrize("name", [*datasets.CONDITIONS, *map(str.lower, datasets.CONDITIONS)])
def test_names_of_published_conditions_are_reserved(raw: Raw, tmp_path: Path, name: str) -> None:
    assert tuple(datasets.CONDITIONS) == human_data.PUBLISHED
    with pytest.raises(ValueError, match=f"condition = '{name}' is the name of a published condition"):
        raw.write(tmp_path, name)
    assert not list(tmp_path.iterdir())
    raw.as_published(tmp_path, name)
    with pytest.raises(ValueError, match=f"condition = '{name}' is the name of a published condition"):
        human_data.accept(tmp_path, name, "us", "none")
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("name", ["../Lab", "/etc/passwd", ""])
def test_names_are_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected letters, digits"):
        datasets.load(name, str(tmp_path))


def test_a_condition_of_ones_own_in_the_query_environment(raw: Raw, tmp_path: Path) -> None:
    labels = raw.labels.copy()
    labels[0] = np.nan
    raw.write(tmp_path, labels=labels)
    env = gym.make("valuegym/RewardInference-v0", annotator="human:Lab", data=str(tmp_path), evaluation_points=(N,))
    core = env.unwrapped.core  # type: ignore[attr-defined]
    assert core.source.length == LENGTH
    observation, _ = env.reset(seed=0)
    said, terminated = [], False
    while not terminated:
        assert observation in env.observation_space
        observation, reward, terminated, *_ = env.step(core.oracle_action(env.unwrapped.task, env.unwrapped.state)[0])  # type: ignore[attr-defined]
        said.append(int(observation["label"]))
    assert reward == pytest.approx(1, abs=1e-6)
    assert sorted(said[:-1]) == sorted(annotators.answer_codes(labels).tolist())
