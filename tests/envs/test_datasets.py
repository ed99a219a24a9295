"""Stored human preferences: read exactly, checked by hash, never unpickled."""

from __future__ import annotations

import hashlib
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from valuegym.envs.preference import datasets, delivery
from valuegym.envs.preference.datasets import CONDITIONS, find, load, present
from valuegym.envs.preference.human_data import PARTS, delivery_segments, file_names, mismatches

SMALLEST = "Regret-Question"
COUNTS = {
    "Privileged-Control": 1793,
    "Pr-Privileged": 2532,
    "Regret-Privileged": 2531,
    "Question-Control": 442,
    "Pr-Question": 437,
    "Regret-Question": 434,
}
# Row and column steps as published.
UP, DOWN, LEFT, RIGHT, NONE = (-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)


@pytest.fixture
def copied(data_folder: Path, tmp_path: Path) -> Path:
    """A folder with one condition alone, to be damaged."""
    for name in file_names(SMALLEST):
        shutil.copyfile(find(str(data_folder)) / name, tmp_path / name)
    return tmp_path


# --- the published answers ---


def test_every_published_statistic_is_reproduced(data_folder: Path) -> None:
    every = {condition: load(condition, str(data_folder)) for condition in CONDITIONS}
    assert {condition: len(human.labels) for condition, human in every.items()} == COUNTS
    assert sum(COUNTS.values()) == 8169
    assert sum(mismatches(human) for human in every.values()) == 0


def test_mismatches_are_counted(data_folder: Path) -> None:
    human = load(SMALLEST, str(data_folder))
    n = len(human.labels)
    for change in np.eye(3):
        assert mismatches(human._replace(published=human.published + change)) == n
    wrong = human.published.copy()
    wrong[[0, 5]] -= 1
    assert mismatches(human._replace(published=wrong)) == 2
    turned = human.segments._replace(states=human.segments.states[:, ::-1])
    assert mismatches(human._replace(segments=turned)) > n / 2


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_a_condition_holds(data_folder: Path, condition: str) -> None:
    human = load(condition, str(data_folder))
    n = len(human.labels)
    assert human.condition == condition and human.sha256 == CONDITIONS[condition]
    assert human.published.shape == (n, 3) and human.labels.shape == (n,) and human.labels.dtype == np.float64
    states, actions, features, mask = human.segments
    assert (states.shape, actions.shape, mask.shape, features.shape) == ((n, 2, 4), (n, 2, 3), (n, 2, 3), (n, 2, 3, 6))
    assert set(np.unique(human.labels)) <= {0.0, 0.5, 1.0}
    mdp = delivery.board_mdp(np.array([delivery.BOARD]))
    assert mdp.next_state is not None
    assert (mdp.next_state[0, states[..., :-1], actions] == states[..., 1:]).all()
    assert (mask == ~mdp.terminal[0, states[..., :-1]]).all() and mask[..., 0].all()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_label_one_prefers_the_second_segment(data_folder: Path, condition: str) -> None:
    """People prefer more partial return and a better end; published differences are second minus first."""
    human = load(condition, str(data_folder))
    better = human.published[:, 0] + human.published[:, 2]
    assert better[human.labels == 1].mean() > 1 > -1 > better[human.labels == 0].mean()
    decided = (human.labels != 0.5) & (better != 0)
    assert ((better > 0) == (human.labels == 1))[decided].mean() > 0.7
    earned = human.segments.features @ np.array(delivery.WEIGHTS)
    np.testing.assert_allclose(np.diff(earned.sum(-1))[:, 0], human.published[:, 0], atol=1e-9)


# --- damaged and missing files ---


@pytest.mark.parametrize("part", PARTS)
def test_a_changed_file_is_refused(copied: Path, part: str) -> None:
    load(SMALLEST, str(copied))
    name = dict(zip(PARTS, file_names(SMALLEST), strict=True))[part]
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is not the published file"):
        load(SMALLEST, str(copied))


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_named(copied: Path, part: str) -> None:
    assert present(str(copied)) == [SMALLEST]
    name = dict(zip(PARTS, file_names(SMALLEST), strict=True))[part]
    (copied / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load(SMALLEST, str(copied))
    assert present(str(copied)) == []


class Bomb:
    """Leaves a file behind when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the hash is right."""
    fired, hashes = tmp_path / "fired", []
    for name in file_names("Bombs"):
        np.save(tmp_path / name, np.array([Bomb(fired)], dtype=object), allow_pickle=True)
        hashes.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    monkeypatch.setitem(datasets.CONDITIONS, "Bombs", (hashes[0], hashes[1], hashes[2]))
    with pytest.raises(ValueError, match="holds Python objects, which are never read"):
        load("Bombs", str(tmp_path))
    assert not fired.exists()


def test_an_unknown_condition_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'Nobody'.*Pr-Privileged.*Regret-Question"):
        load("Nobody", str(tmp_path))


# --- where the files lie ---


def test_without_a_folder_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VALUEGYM_DATA", raising=False)
    for data in (None, ""):
        with pytest.raises(FileNotFoundError, match=r"data=FOLDER or set VALUEGYM_DATA"):
            load(SMALLEST, data)
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder; expected .*\.npy"):
        load(SMALLEST, str(tmp_path / "nowhere"))
    monkeypatch.setenv("VALUEGYM_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        present(None)


def test_the_folder_or_its_parent_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "human_delivery"
    assert find(str(tmp_path)) == tmp_path
    inner.mkdir()
    assert find(str(tmp_path)) == find(str(inner)) == inner
    monkeypatch.setenv("VALUEGYM_DATA", str(tmp_path))
    assert find(None) == inner
    other = tmp_path / "other"
    other.mkdir()
    assert find(str(other)) == other  # the argument goes before the variable


def test_all_conditions_are_present(data_folder: Path) -> None:
    assert present(str(data_folder)) == list(CONDITIONS)


# --- the published format ---


def test_published_pairs_become_segments() -> None:
    ended = [(8, 8), RIGHT, NONE, NONE]
    blocked = [(0, 0), UP, LEFT, DOWN]
    segment = delivery_segments(np.array([[ended, blocked], [blocked, ended]]))
    assert segment.states.tolist() == [[[88, 89, 89, 89], [0, 0, 0, 10]], [[0, 0, 0, 10], [88, 89, 89, 89]]]
    assert segment.actions[0].tolist() == [[3, 0, 0], [0, 2, 1]]
    assert segment.mask[0].tolist() == [[True, False, False], [True, True, True]]
    assert (segment.features[0] @ np.array(delivery.WEIGHTS)).tolist() == [[50, 0, 0], [-1, -1, -1]]


@pytest.mark.parametrize("move", [(1, 1), (2, 0), (0, -2), (7, 7)])
def test_impossible_moves_are_refused(move: tuple[int, int]) -> None:
    good = [(0, 0), DOWN, DOWN, DOWN]
    with pytest.raises(ValueError, match="not up, down, left or right"):
        delivery_segments(np.array([[good, [(0, 0), DOWN, move, DOWN]]]))


def test_standing_still_is_refused_before_the_end() -> None:
    good = [(0, 0), DOWN, DOWN, DOWN]
    with pytest.raises(ValueError, match="move"):
        delivery_segments(np.array([[good, [(5, 5), UP, NONE, UP]]]))


# --- from the publisher ---


def test_files_are_fetched_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = tmp_path / "served"
    served.mkdir()
    names = datasets.file_names("Tiny")
    hashes = []
    for i, name in enumerate(names):
        (served / name).write_bytes(bytes([i]) * 100)
        hashes.append(hashlib.sha256((served / name).read_bytes()).hexdigest())
    monkeypatch.setattr(datasets, "CONDITIONS", {"Tiny": tuple(hashes)})
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            source = f"http://127.0.0.1:{server.server_port}"
            fetched = datasets.fetch(str(tmp_path / "data"), source)
            assert [path.name for path in fetched] == names
            assert [path.read_bytes() for path in fetched] == [(served / name).read_bytes() for name in names]
            assert datasets.fetch(str(tmp_path / "data"), source) == []
            fetched[1].unlink()
            (served / names[1]).write_bytes(b"something else")
            with pytest.raises(ValueError, match=r"is not the published file.*SHA-256"):
                datasets.fetch(str(tmp_path / "data"), source)
            assert sorted(path.name for path in fetched[0].parent.iterdir()) == sorted({names[0], names[2]})
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(OSError, match="refused"):
        datasets.fetch(str(tmp_path / "elsewhere"), source)
