"""A small study about the delivery task, whose films are dots."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import delivery
from valuegym.envs.preference.segments import follow
from valuegym.labelling import store
from valuegym.labelling.pool import drawn_pairs, numbers_of
from valuegym.labelling.store import DatabaseFile
from valuegym.labelling.study import CONDITIONS, DELIVERY, Condition, Study

ENVIRONMENT = "valuegym/Delivery-v0"


def segments(count: int, seed: int = 0, steps: int = 3) -> Segments:
    """Segments of the delivery task from every start, by random actions."""
    process = delivery.board_mdp(np.array(delivery.BOARD)[None])
    rng = np.random.default_rng(seed)
    cells = rng.choice(np.flatnonzero(process.start[0]), count)
    found = follow(process, cells[None], rng.integers(4, size=(1, count, steps)))
    states, actions, features, mask = (field[0] for field in found)
    rewards = features @ np.array(delivery.WEIGHTS)
    return Segments(states, actions, rewards, mask.sum(-1), process.terminal[0, states[:, -1]])


def dots(segment: Segments) -> list[np.ndarray]:
    """Pictures of a segment that are quickly drawn: a pixel for each cell."""
    frames = []
    for cell in np.ravel(segment.observations)[: int(segment.lengths[0]) + 1]:
        frame = np.zeros((10, 10, 3), np.uint8)
        frame[divmod(int(cell), 10)] = 255
        frames.append(frame)
    return frames


PLAIN = Study(
    environment=ENVIRONMENT,
    conditions={"nothing": CONDITIONS["nothing"]},
    play_steps=2,
    pairs_per_person=6,
    check_every=0,
    break_every=0,
    answers_per_second=1000.0,
    **{name: value for name, value in DELIVERY.items()},
)
Make = Callable[..., DatabaseFile]


@pytest.fixture(scope="session")
def _stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes a database with so many pairs, once."""
    pytest.importorskip("PIL")
    import gymnasium as gym

    import valuegym  # noqa: F401 - registers the ids

    every = replace(PLAIN, conditions={"nothing": Condition()})
    found, made = drawn_pairs(segments(40), segments(40, 1), every, dots, numbers_of(gym.make(ENVIRONMENT))), {}

    def database(pairs: int) -> Path:
        if pairs not in made:
            file = DatabaseFile(tmp_path_factory.mktemp("stored"), create=True)
            with file.change() as connection:
                store.add_films(connection, found[0])
                store.add_pairs(connection, found[1][:pairs], np.random.default_rng(0))
            with file.look() as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
            made[pairs] = file.path
        return made[pairs]

    return database


@pytest.fixture
def make(tmp_path: Path, _stored: Callable[[int], Path]) -> Make:
    """Makes a study in a folder of its own, with 40 pairs or fewer."""

    def study(pairs: int = 40, folder: str = "study", **changes: Any) -> DatabaseFile:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        shutil.copy(_stored(pairs), place)
        replace(PLAIN, **changes).write(place)
        return DatabaseFile(place)

    return study


def invite(database: DatabaseFile) -> tuple[int, str]:
    with database.change() as connection:
        return store.invite(connection, Study.read(database.folder))


class Visitor:
    """A person with a browser without scripts: follows redirects, and sends the forms of the last page."""

    def __init__(self, client: Any, token: str = "") -> None:
        self.client, self.page, self.status = client, "", 0
        if token:
            self.send("/enter", code=token)

    def get(self, path: str) -> Any:
        return self._keep(self.client.get(path))

    def send(self, path: str, **fields: Any) -> Any:
        marks = re.findall(r'name="mark" value="([0-9a-f]{64})"', self.page)
        return self._keep(self.client.post(path, data={"mark": marks[0]} | fields if marks else fields))

    def _keep(self, reply: Any) -> Any:
        self.page, self.status = reply.text, reply.status_code
        return reply

    @property
    def item(self) -> str:
        [found] = re.findall(r'name="item" value="(\d+)"', self.page)
        return str(found)

    def choose(self, choice: str) -> Any:
        return self.send("/answer", item=self.item, choice=choice)

    def come_to_pairs(self, database: DatabaseFile) -> None:
        """Come to the pairs without what is before them."""
        with database.change() as connection:
            connection.execute("UPDATE people SET stage = 'label' WHERE stage = 'consent'")
        self.get("/")
        assert 'action="/answer"' in self.page, self.page

    def walk_to_pairs(self) -> None:
        """Agree, read, play two moves, and answer the quiz."""
        self.get("/")
        self.send("/consent", agree="yes")
        self.send("/instructions")
        for control in ("0", "1"):
            self.send("/play", control=control)
        self.send("/play", finish="yes")
        self.send("/quiz", **{f"question-{i}": one.right for i, one in enumerate(PLAIN.quiz)})
        assert 'action="/answer"' in self.page, self.page


@pytest.fixture
def visit() -> Iterator[Callable[..., Visitor]]:
    """Opens the pages of a study for a person, in this process."""
    pytest.importorskip("jinja2")
    pytest.importorskip("httpx2")
    testclient = pytest.importorskip("starlette.testclient")
    from valuegym.labelling.app import Pages

    made: dict[Path, Pages] = {}

    def person(database: DatabaseFile, token: str | None = None) -> Visitor:
        if database.folder not in made:
            made[database.folder] = Pages(database.folder, 80)
        token = invite(database)[1] if token is None else token
        client = testclient.TestClient(made[database.folder].asgi, base_url="http://127.0.0.1", client=("127.0.0.1", 1))
        return Visitor(client, token)

    yield person
    for pages in made.values():
        pages.close()
