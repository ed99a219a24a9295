"""Pairs go to other libraries and come back bit for bit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs import array_files
from valuegym.envs.feedback import data, exports
from valuegym.envs.feedback.answers import Answers, Feedback
from valuegym.envs.feedback.segments import Segments

N, L = 5, 3


def made(kind: str = "box", actions: str = "discrete") -> Feedback:
    rng = np.random.default_rng(len(kind))

    def side() -> Segments:
        box = rng.normal(size=(N, L + 1, 2, 3)).astype(np.float32)
        image, number = rng.integers(256, size=(N, L + 1, 8, 8, 3)).astype(np.uint8), rng.integers(9, size=(N, L + 1))
        seen: Any = {"box": box, "number": number, "image": image, "dict": {"a.b": box, "n": number, "é": image}}[kind]
        moves = rng.integers(-1, 4, size=(N, L)) if actions == "discrete" else rng.normal(size=(N, L, 2))
        rewards = np.where(rng.random((N, L)) < 0.5, np.nan, rng.normal(size=(N, L)))
        info = {"user": rng.integers(3, size=N), "text": np.array(["a", "bb", "", "d", "é"]), "x": rng.random((N, 2))}
        return Segments(seen, moves, rewards, [3, 2, 1, 3, 3], np.array([True, False, False, True, False]), info)

    answers = Answers(np.array([0, 1, 0.5, np.nan, 1]), np.linspace(0, 1, N), np.array([0, 1, 2, 3, np.nan]))
    return Feedback(side(), side(), answers)


def assert_same(one: Feedback, two: Feedback) -> None:
    arrays, others = (data.arrays_of(each.first, each.second, each.answers) for each in (one, two))
    assert sorted(arrays) == sorted(others)
    for name, array in arrays.items():
        assert array.dtype == others[name].dtype, name
        np.testing.assert_array_equal(array, others[name], err_msg=name)


@pytest.mark.parametrize("kind", ["box", "number", "image", "dict"])
def test_pairs_come_back_from_hugging_face(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    feedback = made(kind)
    found = exports.to_datasets(feedback, {"source": "a test", "licence": "CC0"})
    assert len(found) == N and found.info.license == "CC0" and "second preferred" in found.info.description
    assert_same(exports.from_datasets(found), feedback)
    found.save_to_disk(tmp_path / "set", max_shard_size=2000)
    again = datasets.load_from_disk(str(tmp_path / "set"))
    assert_same(exports.from_datasets(again), feedback)
    rows = [4, 1, 3]
    assert_same(exports.from_datasets(again.select(rows)), feedback[rows])
    assert again[1]["labels"] == 1.0 and len(again[0]["first.rewards"]) == L


def test_columns_that_do_not_fit_are_named() -> None:
    pytest.importorskip("datasets", reason="datasets is not installed")
    found = exports.to_datasets(made())
    with pytest.raises(ValueError, match="column 'labels' is missing"):
        exports.from_datasets(found.remove_columns(["labels", "probability", "strength", "user"]))
    with pytest.raises(ValueError, match=r"the array 'first\.actions' is missing"):
        exports.from_datasets(found.remove_columns(["first.actions"]))
    with pytest.raises(ValueError, match="the array 'more' is unknown"):
        exports.from_datasets(found.add_column("more", [0] * N))
    with pytest.raises(ValueError, match=r"column 'first.lengths': an entry is missing"):
        exports.from_datasets(found.remove_columns(["first.lengths"]).add_column("first.lengths", [1, None, 2, 3, 3]))
    with pytest.raises(ValueError, match="feedback holds no pair"):
        exports.to_datasets(made()[:0])


@pytest.mark.parametrize(("kind", "actions"), [("box", "box"), ("number", "discrete"), ("image", "box")])
def test_pairs_come_back_from_minari(kind: str, actions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari = pytest.importorskip("minari", reason="minari is not installed")
    pytest.importorskip("h5py", reason="h5py is not installed")
    feedback = made(kind, actions)
    found = exports.to_minari(feedback, "valuegym/test-v0", card={"source": "a test"})
    assert found.total_episodes == 2 * N and found.total_steps == 2 * (3 + 2 + 1 + 3 + 3)
    again = minari.load_dataset("valuegym/test-v0")
    assert_same(exports.from_minari(again), feedback)
    side = Path(again.storage.data_path) / exports.SIDE_FILE
    side.write_bytes(side.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"preferences\.npz: its SHA-256 is not that of the metadata"):
        exports.from_minari(again)
    side.unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no preferences\.npz in"):
        exports.from_minari(again)


@pytest.mark.parametrize("name", ["../x-v0", "x", "a b-v0", "", "x/../y-v0", "x-v"])
def test_ids_of_minari_that_are_not_valid_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    pytest.importorskip("minari", reason="minari is not installed")
    with pytest.raises(ValueError, match=r"dataset_id is .*; expected such as 'cartpole/pairs-v0'"):
        exports.to_minari(made(), name)
    assert not list(tmp_path.iterdir())


def test_a_data_set_of_minari_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    pytest.importorskip("minari", reason="minari is not installed")
    pytest.importorskip("h5py", reason="h5py is not installed")
    with monkeypatch.context() as patch:
        patch.setattr(data, "write_atomically", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            exports.to_minari(made(), "valuegym/test-v0")
    exports.to_minari(made(), "valuegym/test-v0")
    with pytest.raises(ValueError, match="There is a data set valuegym/test-v0 already"):
        exports.to_minari(made(), "valuegym/test-v0")


def test_dictionaries_of_observations_go_to_minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    pytest.importorskip("minari", reason="minari is not installed")
    pytest.importorskip("h5py", reason="h5py is not installed")
    feedback = made("dict")
    assert_same(exports.from_minari(exports.to_minari(feedback, "valuegym/test-v0")), feedback)
    slash = Feedback(
        *(Segments({"a/b": s.observations["n"]}, s.actions) for s in (feedback.first,) * 2), feedback.answers
    )
    with pytest.raises(ValueError, match="the entry 'a/b' of the observations has a slash"):
        exports.to_minari(slash, "valuegym/test-v1")
    bools = Feedback(*(Segments(s.observations["n"] > 3, s.actions) for s in (feedback.first,) * 2), feedback.answers)
    with pytest.raises(ValueError, match="observations holds True and False"):
        exports.to_minari(bools, "valuegym/test-v1")
    assert not (tmp_path / "valuegym" / "test-v1").exists()


def test_the_preferred_text_is_chosen() -> None:
    feedback = made()
    rows = exports.to_chosen_rejected(feedback, lambda segment: f"{segment.info['x'][0, 0]:.6f}")
    first, second = (side.info["x"][:, 0] for side in (feedback.first, feedback.second))
    expected = [(first[0], second[0]), (second[1], first[1]), (second[4], first[4])]  # neither the tie nor the skipped
    assert [(float(row["chosen"]), float(row["rejected"])) for row in rows] == [
        pytest.approx(pair, abs=1e-6) for pair in expected
    ]
    assert all("margin" not in row for row in rows)  # one strength is unknown
    assert [row["margin"] for row in exports.to_chosen_rejected(feedback[:3])] == [0.0, 1.0]
    assert {row["prompt"] for row in exports.to_chosen_rejected(feedback, prompt="Go right.")} == {"Go right."}
    text = exports.to_chosen_rejected(feedback)[0]["chosen"]
    assert "action" in text and "end:" in text


def test_rewards_are_not_put_into_words() -> None:
    seen = []
    exports.to_chosen_rejected(made(), lambda segment: seen.append(segment.rewards) or "x")
    assert np.isnan(np.concatenate(seen)[:, :1]).all()


@pytest.mark.parametrize(("name", "call"), [("datasets", exports.to_datasets), ("minari", exports.to_minari)])
def test_what_to_install_is_said(name: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{name} is needed .*: pip install .*{name}"):
        call(made(), *(["valuegym/test-v0"] if name == "minari" else []))


def test_lists_of_arrow_become_arrays() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    column = pyarrow.array([[[1.0, 2.0]], [[3.0, float("nan")]]])
    np.testing.assert_array_equal(array_files.from_arrow(column), [[[1.0, 2.0]], [[3.0, np.nan]]])
    assert array_files.from_arrow(pyarrow.array([True, False])).dtype == bool
    with pytest.raises(ValueError, match="lists in it differ in length"):
        array_files.from_arrow(pyarrow.array([[1, 2], [3], [4, 5, 6]]))
    with pytest.raises(ValueError, match="an entry is missing"):
        array_files.from_arrow(pyarrow.array([[1, None], [3, 4]]))
