"""People, pairs and answers of a study, in one SQLite file.

Every change is a transaction in WAL mode with `synchronous=FULL`: when a function of this module returns, or the future
of `Writer.submit` is done, what it wrote is on the disk. A pair belongs to a person from before it is shown until it is
answered, so that whatever is killed at whatever moment, the same person sees it again, and nobody an answered one.

Labels are derived from what was clicked and from which segment stood on the left: 0 first, 1 second, 0.5 the same, NaN
can't tell.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from valuegym.envs import checks
from valuegym.envs.feedback import data
from valuegym.envs.feedback.answers import Answers, Feedback, join
from valuegym.labelling.study import Study

__all__ = [
    "CHOICES",
    "STAGES",
    "Answered",
    "Connection",
    "DatabaseFile",
    "Item",
    "NewPair",
    "PairView",
    "Person",
    "Progress",
    "Writer",
    "add_films",
    "add_pairs",
    "agree",
    "answer",
    "answered_pairs",
    "assign",
    "candidates",
    "collect",
    "count_answers",
    "count_pairs",
    "delete_all",
    "delete_person",
    "erase",
    "fits",
    "invite",
    "label_of",
    "last_film",
    "open_item",
    "pair_of",
    "people",
    "person_of",
    "picture",
    "progress",
    "reopen",
    "save_fit",
    "secret",
    "set_stage",
    "transaction",
    "update_person",
]

FILE = "study.db"
STAGES = ("consent", "instructions", "play", "quiz", "label", "done", "declined")
CHOICES = {"left": 0.0, "right": 1.0, "same": 0.5, "unsure": math.nan}  # labels where the first stands on the left
HOLD = 1800.0  # seconds after which a pair that nobody answers may be given to somebody else
TIMEOUT = 30.0  # seconds to wait for another process that writes
MAX_NOTE = 2000  # characters
BATCH = 64  # changes in one transaction at most

_SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
  id INTEGER PRIMARY KEY AUTOINCREMENT, token BLOB NOT NULL UNIQUE, condition TEXT NOT NULL, stage TEXT NOT NULL,
  invited REAL NOT NULL, agreed REAL, consent TEXT, moves INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, breaks INTEGER NOT NULL DEFAULT 0, note TEXT);
CREATE TABLE IF NOT EXISTS films (
  id TEXT PRIMARY KEY, film BLOB NOT NULL, still BLOB NOT NULL, steps INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pairs (
  id TEXT PRIMARY KEY, content BLOB NOT NULL, first TEXT NOT NULL REFERENCES films,
  second TEXT NOT NULL REFERENCES films, earned TEXT, lost TEXT, given INTEGER NOT NULL DEFAULT 0,
  priority REAL NOT NULL DEFAULT 0, shuffle INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS pairs_order ON pairs (given, priority DESC, shuffle);
CREATE TABLE IF NOT EXISTS items (
  id INTEGER PRIMARY KEY AUTOINCREMENT, person INTEGER NOT NULL REFERENCES people ON DELETE CASCADE, n INTEGER NOT NULL,
  pair TEXT NOT NULL REFERENCES pairs, expected TEXT, flipped INTEGER NOT NULL, opened REAL NOT NULL, choice TEXT,
  answered REAL, UNIQUE (person, n), UNIQUE (person, pair));
CREATE INDEX IF NOT EXISTS items_pair ON items (pair);
CREATE INDEX IF NOT EXISTS items_answered ON items (answered) WHERE choice IS NOT NULL AND expected IS NULL;
CREATE TABLE IF NOT EXISTS fits (
  id INTEGER PRIMARY KEY AUTOINCREMENT, made REAL NOT NULL, answers INTEGER NOT NULL, about TEXT NOT NULL, film BLOB);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

Connection = sqlite3.Connection


class Person(NamedTuple):
    """A person, who is a number; `note` is what they wrote at the end."""

    id: int
    condition: str
    stage: str
    invited: float
    agreed: float | None
    consent: str | None
    moves: int
    attempts: int
    breaks: int
    note: str | None


class Item(NamedTuple):
    """A pair in the hands of a person: their n-th, perhaps with `flipped` sides; `expected` is what a check wants."""

    person: int
    n: int
    pair: str
    expected: str | None
    flipped: bool
    opened: float
    choice: str | None
    answered: float | None


class NewPair(NamedTuple):
    """A pair to query.

    Attributes:
        id: SHA-256 of the content, 32 hexadecimal digits.
        content: `data.pack` of the two segments.
        films: ids of both films.
        earned: partial returns of both, None where unknown.
        lost: regrets of both, None where unknown.
    """

    id: str
    content: bytes
    films: tuple[str, str]
    earned: tuple[float, float] | None = None
    lost: tuple[float, float] | None = None


class Progress(NamedTuple):
    """Numbers of answers that a person has given, and of attention checks: answered, and passed."""

    answers: int
    checks: int
    passed: int


class DatabaseFile:
    """The SQLite file of a study.

    Args:
        folder: of the study.
        create: whether it is made where there is none.

    Raises:
        FileNotFoundError: there is none, and it is not to be made.
        ValueError: the file is no database.
    """

    def __init__(self, folder: str | Path, create: bool = False) -> None:
        self.folder = checks.folder("folder", folder)
        self.path = self.folder / FILE
        if create:
            self.folder.mkdir(parents=True, exist_ok=True)
        elif not self.path.is_file():
            raise FileNotFoundError(
                f"There is no study in {self.folder}; `valuegym label new {self.folder}` makes one."
            )
        with contextlib.closing(self.connect()) as connection:
            try:
                if _one(connection, "SELECT 1 FROM sqlite_master WHERE name = 'settings'") is None:
                    connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
                    os.chmod(self.path, 0o600)
            except sqlite3.DatabaseError as error:
                raise ValueError(f"{self.path} is no database of a study ({error}).") from None

    def connect(self) -> Connection:
        """Return a connection, which one thread at a time may use.

        Raises:
            ValueError: the file is no database.
        """
        connection = sqlite3.connect(self.path, TIMEOUT, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            try:
                connection.execute(f"PRAGMA {pragma}").close()
            except sqlite3.DatabaseError as error:
                connection.close()
                raise ValueError(f"{self.path} is no database of a study ({error}).") from None
        return connection

    @contextlib.contextmanager
    def change(self) -> Iterator[Connection]:
        """Open a connection for one transaction, which is on the disk at the end of the block."""
        with contextlib.closing(self.connect()) as connection, transaction(connection):
            yield connection

    @contextlib.contextmanager
    def look(self) -> Iterator[Connection]:
        """Open a connection to read by."""
        with contextlib.closing(self.connect()) as connection:
            yield connection


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit at the end of the block, or undo everything in it if it fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have undone it itself, as on a full disk
            connection.execute("ROLLBACK")
        raise


_Change = tuple[Callable[[Connection], Any], "Future[Any]"]


class Writer:
    """A thread that carries out changes, many at once in one transaction, so that they wait for the disk together.

    A change that fails is undone alone, and its future has the error.
    """

    def __init__(self, database: DatabaseFile) -> None:
        self._database = database
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="valuegym-writer", daemon=True)
        self._thread.start()

    def submit(self, change: Callable[[Connection], Any]) -> Future[Any]:
        """Return the future of a change; when it is done, the change is on the disk."""
        future: Future[Any] = Future()
        self._changes.put((change, future))
        return future

    def close(self) -> None:
        """Carry out what was submitted, and stop."""
        self._changes.put(None)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._database.connect()) as connection:
            while True:
                batch = [self._changes.get()]
                with contextlib.suppress(queue.Empty):
                    while len(batch) < BATCH and batch[-1] is not None:
                        batch.append(self._changes.get_nowait())
                self._commit(connection, [change for change in batch if change is not None])
                if batch[-1] is None:
                    return

    @staticmethod
    def _commit(connection: Connection, batch: Sequence[_Change]) -> None:
        batch = [(change, future) for change, future in batch if future.set_running_or_notify_cancel()]
        done: list[tuple[Future[Any], Any]] = []
        try:
            with transaction(connection):
                for change, future in batch:
                    connection.execute("SAVEPOINT change")
                    try:
                        result = change(connection)
                    except Exception as error:
                        if not connection.in_transaction:  # SQLite has undone everything, as on a full disk
                            raise
                        connection.execute("ROLLBACK TO change")
                        future.set_exception(error)
                    else:
                        done.append((future, result))
                    connection.execute("RELEASE change")
        except Exception as error:  # of the whole: the disk may be full, or another process may hold the file
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for future, result in done:
            future.set_result(result)


def _rows(connection: Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return connection.execute(query, values).fetchall()


def _one(connection: Connection, query: str, *values: Any) -> tuple[Any, ...] | None:
    found: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
    return found


def _number(connection: Connection, query: str, *values: Any) -> int:
    [[found]] = _rows(connection, query, *values)
    return int(found)


# --- settings ---


def secret(connection: Connection) -> bytes:
    """Return the secret of the study, from which marks of forms are computed; the first call makes it."""
    value = secrets.token_hex(32)
    connection.execute("INSERT OR IGNORE INTO settings VALUES ('secret', ?)", (value,))
    [[found]] = _rows(connection, "SELECT value FROM settings WHERE name = 'secret'")
    return bytes.fromhex(found)


# --- films and pairs ---


def add_films(connection: Connection, films: Sequence[tuple[str, bytes, bytes, int]]) -> None:
    """Store films: id, film, still and number of steps; those that are there stay."""
    connection.executemany("INSERT OR IGNORE INTO films VALUES (?, ?, ?, ?)", films)


def add_pairs(connection: Connection, pairs: Sequence[NewPair], rng: np.random.Generator) -> None:
    """Store pairs, to be given out in random order; those that are there stay."""
    order = rng.integers(2**62, size=len(pairs)).tolist()
    rows = [
        (
            one.id,
            one.content,
            *one.films,
            None if one.earned is None else json.dumps(one.earned),
            None if one.lost is None else json.dumps(one.lost),
            shuffle,
        )
        for one, shuffle in zip(pairs, order, strict=True)
    ]
    connection.executemany(
        "INSERT OR IGNORE INTO pairs (id, content, first, second, earned, lost, shuffle) VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def picture(connection: Connection, film: str, still: bool) -> bytes | None:
    """Return a film, or its still; None where there is none of this id."""
    found = _one(connection, f"SELECT {'still' if still else 'film'} FROM films WHERE id = ?", film)
    return None if found is None else bytes(found[0])


class PairView(NamedTuple):
    """A pair as it is shown: ids and steps of the films, and what both segments earned and lost, where it is known."""

    films: tuple[str, str]
    steps: tuple[int, int]
    earned: tuple[float, float] | None
    lost: tuple[float, float] | None


def pair_of(connection: Connection, pair: str) -> PairView:
    """Return a pair as it is shown.

    Raises:
        ValueError: there is none of this id.
    """
    found = _one(
        connection,
        "SELECT pairs.first, pairs.second, a.steps, b.steps, earned, lost FROM pairs "
        "JOIN films a ON a.id = pairs.first JOIN films b ON b.id = pairs.second WHERE pairs.id = ?",
        pair,
    )
    if found is None:
        raise ValueError(f"There is no pair {checks.printed(pair)} in the study.")
    first, second, one, two, earned, lost = found
    numbers = [None if text is None else tuple(json.loads(text)) for text in (earned, lost)]
    return PairView((first, second), (one, two), *numbers)


def count_pairs(connection: Connection) -> tuple[int, int]:
    """Return how many pairs there are, and how many of them nobody has seen."""
    return (
        _number(connection, "SELECT count(*) FROM pairs"),
        _number(connection, "SELECT count(*) FROM pairs WHERE given = 0"),
    )


def candidates(connection: Connection, limit: int) -> list[tuple[str, bytes]]:
    """Return ids and contents of up to `limit` pairs that nobody has seen, in their random order."""
    return [
        (name, bytes(content))
        for name, content in _rows(
            connection, "SELECT id, content FROM pairs WHERE given = 0 ORDER BY shuffle LIMIT ?", limit
        )
    ]


# --- people ---

_PERSON = "id, condition, stage, invited, agreed, consent, moves, attempts, breaks, note"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def invite(connection: Connection, study: Study) -> tuple[int, str]:
    """Add a person to the condition that has fewest; return their number and their token, which is not stored."""
    counts = dict(_rows(connection, "SELECT condition, count(*) FROM people GROUP BY condition"))
    names = list(study.conditions)
    start = _number(connection, "SELECT count(*) FROM people") + study.seed
    names = names[start % len(names) :] + names[: start % len(names)]
    condition = min(names, key=lambda name: counts.get(name, 0))
    token = secrets.token_urlsafe(18)
    cursor = connection.execute(
        "INSERT INTO people (token, condition, stage, invited) VALUES (?, ?, 'consent', ?)",
        (_hash(token), condition, time.time()),
    )
    return int(cursor.lastrowid or 0), token


def person_of(connection: Connection, token: str) -> Person | None:
    """Return the person of a token, None where there is none."""
    found = _one(connection, f"SELECT {_PERSON} FROM people WHERE token = ?", _hash(token))
    return None if found is None else Person(*found)


def people(connection: Connection) -> list[Person]:
    """Return all people."""
    return [Person(*row) for row in _rows(connection, f"SELECT {_PERSON} FROM people ORDER BY id")]


def agree(connection: Connection, person: int, consent: str) -> None:
    """Store that a person has agreed to the text with this SHA-256."""
    connection.execute(
        "UPDATE people SET stage = 'instructions', agreed = ?, consent = ? WHERE id = ? AND stage = 'consent'",
        (time.time(), consent, person),
    )


def set_stage(connection: Connection, person: int, before: str, after: str) -> None:
    """Move a person from one stage to another, if they are at the first.

    Raises:
        ValueError: there is no such stage.
    """
    checks.choice("after", after, STAGES)
    connection.execute("UPDATE people SET stage = ? WHERE id = ? AND stage = ?", (after, person, before))


def update_person(
    connection: Connection, person: int, moves: int = 0, attempts: int = 0, breaks: int = 0, note: str | None = None
) -> None:
    """Add to the counts of a person, and store their note, shortened to what there is room for."""
    connection.execute(
        "UPDATE people SET moves = moves + ?, attempts = attempts + ?, breaks = breaks + ?, note = coalesce(?, note) "
        "WHERE id = ?",
        (moves, attempts, breaks, None if note is None else note[:MAX_NOTE], person),
    )


def delete_person(connection: Connection, person: int) -> bool:
    """Delete a person with all their answers; return whether there was one."""
    connection.execute(
        "UPDATE pairs SET given = given - 1 WHERE id IN (SELECT pair FROM items WHERE person = ? AND expected IS NULL)",
        (person,),
    )
    return connection.execute("DELETE FROM people WHERE id = ?", (person,)).rowcount > 0


def delete_all(connection: Connection) -> int:
    """Delete all people with all their answers, and what was learnt from them; return how many they were."""
    connection.execute("UPDATE pairs SET given = 0, priority = 0")
    connection.execute("DELETE FROM fits")
    return connection.execute("DELETE FROM people").rowcount


def erase(database: DatabaseFile) -> None:
    """Overwrite what was deleted on the disk, also in the log of the database."""
    with database.look() as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


# --- items: pairs in the hands of people ---

_ITEM = "person, n, pair, expected, flipped, opened, choice, answered"


def _item(row: tuple[Any, ...] | None) -> Item | None:
    if row is None:
        return None
    person, n, pair, expected, flipped, *rest = row
    return Item(person, n, pair, expected, bool(flipped), *rest)


def open_item(connection: Connection, person: int) -> Item | None:
    """Return the pair that a person has not answered yet."""
    return _item(_one(connection, f"SELECT {_ITEM} FROM items WHERE person = ? AND choice IS NULL", person))


def progress(connection: Connection, person: int) -> Progress:
    """Return what a person has done."""
    answers, seen, passed = _rows(
        connection,
        "SELECT count(*) FILTER (WHERE expected IS NULL), count(*) FILTER (WHERE expected IS NOT NULL), "
        "count(*) FILTER (WHERE choice = expected) FROM items WHERE person = ? AND choice IS NOT NULL",
        person,
    )[0]
    return Progress(answers, seen, passed)


def assign(connection: Connection, study: Study, person: int) -> Item | None:
    """Give a person the next pair, or the one that they have; None where they are done, or no pair is left for them.

    Of the pairs that fewest people have seen, that of the highest priority is taken, and of equal ones the first in
    random order. One in each block of `check_every` is an attention check: the text says what to choose.
    """
    current = open_item(connection, person)
    if current is not None:
        return current
    done = progress(connection, person)
    if done.answers >= study.pairs_per_person:
        return None
    n = _number(connection, "SELECT count(*) FROM items WHERE person = ?", person)
    rng = np.random.default_rng([study.seed, person, n])
    flipped = bool(rng.integers(2))
    expected = _check(study, person, n)
    pair = _pair_for_check(connection, person) if expected else _next_pair(connection, study, person)
    if pair is None:
        return None
    if expected is None:
        connection.execute("UPDATE pairs SET given = given + 1 WHERE id = ?", (pair,))
    now = time.time()
    connection.execute(
        "INSERT INTO items (person, n, pair, expected, flipped, opened) VALUES (?, ?, ?, ?, ?, ?)",
        (person, n, pair, expected, flipped, now),
    )
    return Item(person, n, pair, expected, flipped, now, None, None)


def _check(study: Study, person: int, n: int) -> str | None:
    """Return what the n-th item of a person has to be answered by, None if it is no attention check."""
    if not study.check_every:
        return None
    block, place = divmod(n, study.check_every)
    rng = np.random.default_rng([study.seed, person, block, 1])
    at, side = rng.integers(study.check_every), rng.integers(2)
    return ("left", "right")[side] if place == at else None


_UNSEEN = "id NOT IN (SELECT pair FROM items WHERE person = ?)"


def _pair_for_check(connection: Connection, person: int) -> str | None:
    """Return a pair for an attention check, one that many people have seen."""
    found = _one(connection, f"SELECT id FROM pairs WHERE {_UNSEEN} ORDER BY given DESC, shuffle DESC LIMIT 1", person)
    return None if found is None else str(found[0])


def _next_pair(connection: Connection, study: Study, person: int) -> str | None:
    found = _one(
        connection,
        f"SELECT id FROM pairs WHERE given < ? AND {_UNSEEN} ORDER BY given, priority DESC, shuffle LIMIT 1",
        study.answers_per_pair,
        person,
    ) or _one(  # none is left but those that somebody opened long ago and has not answered
        connection,
        "SELECT pair FROM items WHERE choice IS NULL AND expected IS NULL AND opened < ? AND pair NOT IN "
        "(SELECT pair FROM items WHERE person = ? OR opened >= ?) LIMIT 1",
        time.time() - HOLD,
        person,
        time.time() - HOLD,
    )
    return None if found is None else str(found[0])


def answer(connection: Connection, study: Study, person: int, n: int, choice: str) -> str:
    """Store the answer to the n-th item of a person, and give them the next one; return what became of it.

    "stored"; "again" where the same answer was there, whose acknowledgement may have been lost; "other" where another
    one was, which stays; "unknown" where the person has no such item.

    Raises:
        ValueError: there is no such choice.
    """
    checks.choice("choice", choice, CHOICES)
    found = _item(_one(connection, f"SELECT {_ITEM} FROM items WHERE person = ? AND n = ?", person, n))
    if found is None:
        return "unknown"
    if found.choice is not None:
        return "again" if found.choice == choice else "other"
    connection.execute(
        "UPDATE items SET choice = ?, answered = ? WHERE person = ? AND n = ?", (choice, time.time(), person, n)
    )
    assign(connection, study, person)
    return "stored"


def reopen(connection: Connection, person: int) -> None:
    """Let the time of the pair that a person has not answered begin now, after a break."""
    connection.execute("UPDATE items SET opened = ? WHERE person = ? AND choice IS NULL", (time.time(), person))


def label_of(choice: str, flipped: bool) -> float:
    """Return the label of a choice, where `flipped` says that the second segment stood on the left."""
    label = CHOICES[choice]
    return 1.0 - label if flipped else label


class Answered(NamedTuple):
    """An answered pair: its number, its content, and how it was answered."""

    id: int
    person: int
    condition: str
    pair: str
    content: bytes
    flipped: bool
    choice: str
    seconds: float

    @property
    def label(self) -> float:
        """0 first, 1 second, 0.5 the same, NaN can't tell."""
        return label_of(self.choice, self.flipped)

    def feedback(self) -> Feedback:
        """Return the pair and its answer, N = 1."""
        first, second, _ = data.unpack(self.content)
        return Feedback(first, second, Answers(np.array([self.label]), user=np.array([self.person])))


def answered_pairs(connection: Connection, after: int = 0, least_passed: float = 0.0) -> list[Answered]:
    """Return all answers to pairs that are no checks, in the order of items.

    Args:
        connection: to the database.
        after: number of the last item that is left out.
        least_passed: share of attention checks that a person must have passed, from 0 to 1.
    """
    passed = {}
    if least_passed > 0:
        for person in people(connection):
            done = progress(connection, person.id)
            passed[person.id] = done.checks == 0 or done.passed / done.checks >= least_passed
    rows = _rows(
        connection,
        "SELECT items.id, person, condition, pair, content, flipped, choice, answered - opened FROM items "
        "JOIN people ON people.id = person JOIN pairs ON pairs.id = pair "
        "WHERE choice IS NOT NULL AND expected IS NULL AND items.id > ? ORDER BY items.id",
        after,
    )
    return [
        Answered(number, person, condition, pair, bytes(content), bool(flipped), choice, max(0.0, seconds))
        for number, person, condition, pair, content, flipped, choice, seconds in rows
        if passed.get(person, True)
    ]


def count_answers(connection: Connection) -> int:
    """Return how many answers there are, checks aside."""
    return _number(connection, "SELECT count(*) FROM items WHERE choice IS NOT NULL AND expected IS NULL")


def collect(connection: Connection, known: set[int]) -> Feedback | None:
    """Return the answered pairs whose numbers are not in `known`, and add these; None where there are none."""
    new = [one for one in answered_pairs(connection) if one.id not in known]
    known.update(one.id for one in new)
    return join([one.feedback() for one in new]) if new else None


# --- what has been learnt ---


def save_fit(
    connection: Connection, answers: int, about: dict[str, Any], film: bytes | None, priority: dict[str, float]
) -> None:
    """Store what a learner has learnt from so many answers, and the priority of pairs by id."""
    connection.execute(
        "INSERT INTO fits (made, answers, about, film) VALUES (?, ?, ?, ?)",
        (time.time(), answers, json.dumps(about, allow_nan=False), film),
    )
    connection.executemany(
        "UPDATE pairs SET priority = ? WHERE id = ?", [(float(value), name) for name, value in priority.items()]
    )


def fits(connection: Connection) -> list[tuple[int, dict[str, Any]]]:
    """Return all fits: the number of answers, and what was learnt."""
    rows = _rows(connection, "SELECT answers, about FROM fits ORDER BY id")
    return [(answers, json.loads(about)) for answers, about in rows]


def last_film(connection: Connection) -> bytes | None:
    """Return the film of the last fit that has one."""
    found = _one(connection, "SELECT film FROM fits WHERE film IS NOT NULL ORDER BY id DESC LIMIT 1")
    return None if found is None else bytes(found[0])
