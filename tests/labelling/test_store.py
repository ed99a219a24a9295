"""Answers: durable, once each, on the side that was clicked, and deleted for good."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.labelling import store
from valuegym.labelling.store import DatabaseFile, Writer
from valuegym.labelling.study import Condition, Study

from .conftest import Make, invite


def study_of(database: DatabaseFile) -> Study:
    return Study.read(database.folder)


def answer_all(database: DatabaseFile, person: int, choose: Callable[[Any], str]) -> list[store.Item]:
    """Let a person answer all pairs that they get; return them."""
    study, items = study_of(database), []
    with database.look() as connection:
        while True:
            with store.transaction(connection):
                item = store.assign(connection, study, person)
            if item is None:
                return items
            items.append(item)
            with store.transaction(connection):
                assert store.answer(connection, study, person, item.n, choose(item)) == "stored"


@pytest.mark.parametrize(
    ("choice", "flipped", "label"),
    [
        ("left", False, 0.0),
        ("left", True, 1.0),
        ("right", False, 1.0),
        ("right", True, 0.0),
        ("same", False, 0.5),
        ("same", True, 0.5),
        ("unsure", False, math.nan),
        ("unsure", True, math.nan),
    ],
)
def test_labels_follow_the_side_that_was_clicked(choice: str, flipped: bool, label: float) -> None:
    np.testing.assert_equal(store.label_of(choice, flipped), label)


def test_nobody_sees_a_pair_twice_and_no_pair_is_seen_by_two(make: Make) -> None:
    database = make(pairs_per_person=15)
    people = [invite(database)[0] for _ in range(3)]
    items = [item for person in people for item in answer_all(database, person, lambda item: "left")]
    pairs = [item.pair for item in items]
    assert len(pairs) == len(set(pairs)) == 40  # 15, 15 and the 10 that are left
    assert 5 < sum(item.flipped for item in items) < 35


def test_each_pair_goes_to_as_many_people_as_the_study_says(make: Make) -> None:
    database = make(pairs=5, answers_per_pair=2, pairs_per_person=5)
    seen = [{item.pair for item in answer_all(database, invite(database)[0], lambda item: "same")} for _ in range(3)]
    assert [len(one) for one in seen] == [5, 5, 0] and seen[0] == seen[1]


def test_a_pair_is_the_same_until_it_is_answered(make: Make) -> None:
    database, (person, _) = make(), invite(make())
    with database.change() as connection:
        first = store.assign(connection, study_of(database), person)
    with database.change() as connection:
        assert store.assign(connection, study_of(database), person) == first == store.open_item(connection, person)


def test_an_answer_that_is_sent_again_is_acknowledged_and_another_one_refused(make: Make) -> None:
    database = make()
    person, _ = invite(database)
    study = study_of(database)
    with database.change() as connection:
        item = store.assign(connection, study, person)
        assert item is not None
        said = [store.answer(connection, study, person, item.n, choice) for choice in ("left", "left", "right")]
        assert said == ["stored", "again", "other"]
        assert store.answer(connection, study, person, 99, "left") == "unknown"
        assert store.count_answers(connection) == 1
        with pytest.raises(ValueError, match="choice is 'middle'"):
            store.answer(connection, study, person, item.n, "middle")


def test_attention_checks_come_once_in_each_block_and_are_no_answers(make: Make) -> None:
    database = make(check_every=5, pairs_per_person=20)
    person, _ = invite(database)
    items = answer_all(database, person, lambda item: item.expected or "unsure")
    blocks = [sum(one.expected is not None for one in items[i : i + 5]) for i in range(0, 20, 5)]
    number = len(items) - 20
    assert blocks == [1] * 4 and number in (4, 5)
    with database.look() as connection:
        assert store.progress(connection, person) == (20, number, number)
        assert len(store.answered_pairs(connection)) == 20
    other, _ = invite(database)
    answer_all(database, other, lambda item: "same")
    with database.look() as connection:
        assert store.progress(connection, other).passed == 0 < store.progress(connection, other).checks
        assert {one.person for one in store.answered_pairs(connection, least_passed=0.5)} == {person}


def test_people_are_divided_among_conditions_evenly(make: Make) -> None:
    database = make(conditions={name: Condition() for name in ("a", "b", "c")})
    for _ in range(9):
        invite(database)
    with database.look() as connection:
        names = [person.condition for person in store.people(connection)]
    assert sorted(names) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


def test_pairs_of_high_priority_come_first(make: Make) -> None:
    database = make()
    person, _ = invite(database)
    with database.change() as connection:
        names = [name for name, _ in store.candidates(connection, 40)]
        store.save_fit(connection, 1, {"score": 0.5}, b"film", {names[30]: 2.0, names[20]: 3.0})
    first, second, third = (item.pair for item in answer_all(database, person, lambda item: "left")[:3])
    assert [first, second] == [names[20], names[30]] and third == names[0]
    with database.look() as connection:
        assert store.fits(connection) == [(1, {"score": 0.5})] and store.last_film(connection) == b"film"


def test_collect_returns_each_answer_once(make: Make) -> None:
    database, known = make(), set[int]()
    person, _ = invite(database)
    answer_all(database, person, lambda item: "left")
    with database.look() as connection:
        found = store.collect(connection, known)
        assert found is not None and len(found) == 6
        assert set(found.answers.labels.tolist()) <= {0.0, 1.0} and set(found.answers.user.tolist()) == {person}
        assert store.collect(connection, known) is None


def test_deleted_people_leave_nothing_on_the_disk(make: Make) -> None:
    database = make()
    person, token = invite(database)
    answer_all(database, person, lambda item: "left")
    note = "a very unusual note"
    with database.change() as connection:
        store.update_person(connection, person, note=note)
    files = sorted(database.folder.iterdir())
    assert any(note.encode() in path.read_bytes() for path in files)
    assert not any(token.encode() in path.read_bytes() for path in files), "the token itself is not stored"
    with database.change() as connection:
        assert store.delete_person(connection, person) and not store.delete_person(connection, person)
    store.erase(database)
    assert not any(note.encode() in path.read_bytes() for path in sorted(database.folder.iterdir()))
    with database.look() as connection:
        assert store.count_answers(connection) == 0 and store.count_pairs(connection) == (40, 40)
        assert store.person_of(connection, token) is None
    assert invite(database)[0] == person + 1, "no number is used twice"


def test_changes_of_many_threads_are_carried_out_once_and_one_that_fails_is_undone_alone(make: Make) -> None:
    database = make()
    writer = Writer(database)
    futures: list[Any] = []

    def change(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO settings VALUES (?, '')", (f"n{len(futures)}-{threading.get_ident()}",))
        raise ValueError("undone")

    study = study_of(database)
    good = [writer.submit(lambda connection: store.invite(connection, study)[0]) for _ in range(30)]
    bad = writer.submit(change)
    more = [writer.submit(lambda connection: store.invite(connection, study)[0]) for _ in range(30)]
    assert len({future.result(10) for future in (*good, *more)}) == 60
    with pytest.raises(ValueError, match="undone"):
        bad.result(10)
    writer.close()
    with database.look() as connection:
        assert len(store.people(connection)) == 60
        assert connection.execute("SELECT count(*) FROM settings WHERE name LIKE 'n%'").fetchone() == (0,)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def _count_moves(connection: store.Connection) -> int:
    connection.execute("UPDATE people SET moves = moves + 1")
    return 1


def test_a_file_that_another_process_holds_fails_a_change_and_not_the_next(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TIMEOUT", 0.05)
    database = make()
    with contextlib.closing(store.Writer(database)) as writer:
        with database.change():
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                writer.submit(_count_moves).result(10)
        assert writer.submit(_count_moves).result(10) == 1


def test_a_full_disk_fails_changes_and_not_those_after_it(make: Make) -> None:
    database = make()

    def fill(connection: store.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1").close()
        connection.execute("INSERT INTO settings VALUES ('long', ?)", ("x" * 10**6,))

    def free(connection: store.Connection) -> int:
        connection.execute("PRAGMA max_page_count = 1000000").close()
        return _count_moves(connection)

    with contextlib.closing(store.Writer(database)) as writer:
        with pytest.raises(sqlite3.OperationalError, match="full"):
            writer.submit(fill).result(10)
        assert writer.submit(free).result(10) == 1


def test_a_commit_that_fails_is_undone(make: Make) -> None:
    database = make()

    def orphan(connection: store.Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys = ON").close()  # so that the commit finds it
        connection.execute("INSERT INTO items (person, n, pair, flipped, opened) VALUES (9, 1, 'none', 0, 0)")

    with contextlib.closing(store.Writer(database)) as writer:
        with pytest.raises(sqlite3.IntegrityError):
            writer.submit(orphan).result(10)
        assert writer.submit(_count_moves).result(10) == 1


def test_a_change_that_is_cancelled_leaves_the_writer_at_work(make: Make) -> None:
    database = make()
    with contextlib.closing(store.Writer(database)) as writer:
        with database.change():
            first = writer.submit(_count_moves)
            second = writer.submit(_count_moves)
            first.cancel()
            second.cancel()
        assert writer.submit(_count_moves).result(10) == 1


def test_a_folder_without_a_study_and_a_file_of_something_else_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="valuegym label new"):
        DatabaseFile(tmp_path)
    (tmp_path / store.FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match="no database of a study"):
        DatabaseFile(tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"seed": -1}', "seed is -1"),
        ('{"colour": 1}', "'colour' is no field"),
        ('{"conditions": {}}', "conditions is {}"),
        ('{"conditions": {"a": {"shows": "all"}}}', "shows is 'all'"),
        ('{"quiz": [{"question": "?", "choices": ["a"], "right": 0}]}', "choices is"),
        ('{"title": " "}', "title is ' '"),
        ('{"title": "\\ud800"}', "halves of surrogate pairs"),
        ('{"arguments": null}', "arguments is None"),
        ("[]", "expected a JSON object"),
        ('{"seed": NaN}', "NaN is no JSON"),
    ],
)
def test_a_wrong_study_is_named(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(ValueError, match=r"study\.json: ") as refused:
        Study.read(tmp_path)
    assert fault in str(refused.value)


def test_a_study_is_read_as_it_was_written(make: Make) -> None:
    database = make(conditions={"a": Condition("Which?", "regret", "Words.")}, seed=7)
    study = study_of(database)
    study.write(database.folder)
    assert Study.read(database.folder) == study
    assert "{" not in study.filled(study.consent) and len(study.consent_hash()) == 64
