"""Whole sessions in a browser, with the server in a process of its own that is killed now and then."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs.feedback import data
from valuegym.labelling import export, store
from valuegym.labelling.pool import drawn_pairs, numbers_of
from valuegym.labelling.store import DatabaseFile
from valuegym.labelling.study import CONDITIONS, Study

from .browser import Browser, Page, chromium
from .conftest import ENVIRONMENT, PLAIN, Make, dots, invite, segments
from .test_study import regret_score

pytestmark = pytest.mark.slow
pytest.importorskip("uvicorn")
HOSTILE = "</textarea><script>window.hacked = true</script><img src=x onerror='window.hacked = true'>{{ 7 * 7 }}"


class Server:
    """The server of a study, which can be killed and started again at the same port."""

    def __init__(self, database: DatabaseFile) -> None:
        self.folder = database.folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Any = None

    def start(self) -> None:
        words = [sys.executable, "-m", "valuegym.labelling.server", str(self.folder), str(self.port)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE)
        until = time.monotonic() + 60
        while True:
            with socket.socket() as client:
                if not client.connect_ex(("127.0.0.1", self.port)):
                    return
            assert self.process.poll() is None and time.monotonic() < until, "the server does not start"
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


@pytest.fixture
def serve() -> Iterator[Callable[[DatabaseFile], Server]]:
    with contextlib.ExitStack() as stack:

        def start(database: DatabaseFile) -> Server:
            server = Server(database)
            server.start()
            stack.callback(server.kill)
            return server

        yield start


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def come_to_pairs(page: Page, server: Server, token: str) -> None:
    with DatabaseFile(server.folder).change() as connection:
        connection.execute("UPDATE people SET stage = 'label' WHERE stage = 'consent'")
    page.goto(f"{server.url}/#{token}")
    page.arrive("/label")


def item_of(page: Page) -> int:
    return int(page.evaluate("document.querySelector('input[name=item]').value"))


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Page, str], None]:
    """Checks a page with axe, at several sizes; pictures go to the folder that VALUEGYM_SCREENSHOTS names.

    VALUEGYM_AXE names the file axe.min.js of the npm package axe-core; without it only pictures are made.
    """
    axe = os.environ.get("VALUEGYM_AXE")
    folder = Path(os.environ.get("VALUEGYM_SCREENSHOTS", tmp_path))

    def check(page: Page, name: str) -> None:
        for width, height, dark in ((1200, 900, False), (1200, 900, True), (390, 800, False)):
            page.size(width, height, dark)
            page.screenshot(folder / f"{name}-{width}{'-dark' if dark else ''}.png")
            if axe:
                assert page.violations(Path(axe).read_text(encoding="utf-8")) == [], (name, width, dark)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than {width}"
        page.size(1200, 900)

    return check


def test_a_whole_session_by_keyboard_alone(
    make: Make, serve: Any, browser: Browser, look: Callable[[Page, str], None]
) -> None:
    """From the address to the thanks without a mouse, with a refresh at every page."""
    database = make(check_every=4, break_every=4, conditions={"regret": CONDITIONS["regret"]})
    server, (_, token) = serve(database), invite(database)
    page = browser.page()
    page.size(1200, 900)
    page.goto(server.url)
    look(page, "enter")

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.key("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"no Tab leads to {selector}")

    def enter(selector: str) -> None:
        tab_to(selector)
        page.key("Enter", leaves=True)

    tab_to("#code")
    page.type(token)
    page.key("Enter", leaves=True)
    assert page.path() == "/consent"
    look(page, "consent")
    page.goto(server.url)
    enter("button[value=yes]")
    look(page, "instructions")
    enter("form[action='/instructions'] button")
    look(page, "play")
    for key in ("ArrowRight", "ArrowDown"):
        page.key(key, leaves=True)
    page.goto(server.url)
    assert "You may go on" in page.text()
    page.key("Enter", leaves=True)
    look(page, "quiz")
    for number, question in enumerate(PLAIN.quiz):
        tab_to(f"[name=question-{number}]")
        page.key(" ")
        for _ in range(question.right):
            page.key("ArrowDown")
    enter("form[action='/quiz'] button")
    look(page, "label")
    assert "Lost by these moves" in page.text()
    page.wait("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    page.key("p")
    assert page.evaluate("[...document.querySelectorAll('img.film')].every(image => image.src.includes('/stills/'))")
    keys = itertools.cycle((("ArrowLeft", "left"), ("2", "right"), ("ArrowUp", "same"), ("?", "unsure")))
    given, breaks = [], 0
    while page.path() == "/label":
        if "Time for a break" in page.text():
            breaks += 1
            look(page, "break")
            enter("button.main")
            continue
        page.goto(f"{server.url}/label")
        key, choice = next(keys)
        page.wait("!document.querySelector('form[data-after]')")
        given.append((item_of(page), choice))
        page.key(key, leaves=True)
    look(page, "done")
    assert page.path() == "/done" and breaks == 1 and page.log == []
    with database.look() as connection:
        rows = connection.execute("SELECT n, choice FROM items WHERE choice IS NOT NULL ORDER BY n").fetchall()
        assert rows == given and store.count_answers(connection) == 6
        assert store.people(connection)[0].breaks == 1


def test_a_second_press_of_a_key_answers_no_pair_that_nobody_has_seen(make: Make, serve: Any, browser: Browser) -> None:
    database = make()
    server, (_, token) = serve(database), invite(database)
    page = browser.page()
    come_to_pairs(page, server, token)
    page.wait("!document.querySelector('form[data-after]')")
    page.evaluate("window.former = true")
    for _ in range(3):
        page.key("ArrowLeft")
    page.wait("!window.former && document.readyState === 'complete'")
    time.sleep(0.5)
    with database.look() as connection:
        assert store.count_answers(connection) == 1


def test_two_people_at_once_through_refreshes_and_kills(make: Make, serve: Any, browser: Browser) -> None:
    """Nothing that was acknowledged is lost, and no answered pair is shown again, to anybody."""
    database = make(pairs_per_person=15)
    server = serve(database)
    people = []
    for _ in range(2):
        person, token = invite(database)
        page = browser.page()
        come_to_pairs(page, server, token)
        people.append((person, page, dict[int, str]()))
    films: list[tuple[str, ...]] = []
    rng = np.random.default_rng(0)
    for turn in range(15):
        for _, page, acknowledged in people:
            films.append(tuple(page.evaluate("[...document.querySelectorAll('img.film')].map(i => i.src)")))
            item, choice = item_of(page), str(rng.choice(("left", "right", "same", "unsure")))
            if turn % 4 == 1:
                page.goto(f"{server.url}/label")
                assert item_of(page) == item, "a refresh shows the same pair"
            page.click(f"button[value={choice}]")
            acknowledged[item] = choice  # another page is there, so that the answer was acknowledged
        if turn % 4 == 2:
            server.kill()
            server.start()
            for _, page, _ in people:
                page.goto(f"{server.url}/label")
    with database.look() as connection:
        for person, page, acknowledged in people:
            rows = connection.execute("SELECT n, choice FROM items WHERE person = ?", (person,)).fetchall()
            assert dict(rows) == acknowledged and len(rows) == 15
            page.goto(server.url)
            assert page.path() == "/done"
        pairs = [one.pair for one in store.answered_pairs(connection)]
    assert len(set(pairs)) == 30 and len(set(films)) == 30


def test_hostile_input_runs_nowhere(
    make: Make, serve: Any, browser: Browser, look: Callable[[Page, str], None]
) -> None:
    from valuegym.labelling.app import operator_token

    database = make(pairs_per_person=1, title=f"Study {HOSTILE}")
    server, (_, token) = serve(database), invite(database)
    page = browser.page()
    come_to_pairs(page, server, token)
    page.click("button[value=left]")
    page.evaluate("document.getElementById('note').focus()")
    page.type(HOSTILE)
    page.click("form[action='/note'] button")
    assert page.evaluate("document.getElementById('note').value") == HOSTILE
    operator = browser.page()
    operator.goto(f"{server.url}/#{operator_token(database.folder)}")
    operator.arrive("/operator")
    assert HOSTILE in operator.text()
    operator.wait("document.querySelectorAll('svg').length > 0")  # it renews itself as the learner goes on
    look(operator, "operator")
    for one in (page, operator):
        one.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = true\">')")
        time.sleep(0.2)
        assert one.evaluate("window.hacked === undefined"), "and where it got in, the policy stops it"
    page.goto(f"{server.url}/withdraw")
    assert page.evaluate("window.hacked === undefined")


def test_500_clicks_teach_the_task(serve: Any, browser: Browser, tmp_path: Path) -> None:
    """A person who compares regrets clicks 500 times; the learner chooses the pairs meanwhile."""
    every = replace(PLAIN, pairs_per_person=500, answers_per_second=1e4, break_every=250, check_every=20)
    films, pairs = drawn_pairs(segments(900, 5), segments(900, 6), every, dots, numbers_of(gym.make(ENVIRONMENT)))
    database = DatabaseFile(tmp_path / "study", create=True)
    every.write(database.folder)
    with database.change() as connection:
        store.add_films(connection, films)
        store.add_pairs(connection, pairs, np.random.default_rng(0))
    server, (person, token) = serve(database), invite(database)
    page = browser.page()
    come_to_pairs(page, server, token)
    with database.look() as connection:
        while page.path() == "/label":
            if "Time for a break" in page.text():
                page.click("button.main")
                continue
            item = store.open_item(connection, person)
            assert item is not None and item.n == item_of(page)
            page.click(f"button[value={item.expected or better_side(connection, item)}]")
        done = store.progress(connection, person)
        fits = store.fits(connection)
    assert (done.answers, done.passed) == (500, done.checks) and done.checks >= 25
    assert len(fits) > 3 and fits[-1][1]["score"] > 0.9
    assert regret_score(database, tmp_path / "out") >= 0.9
    assert len(data.read(tmp_path / "out").feedback) == 500
    export.write_delivery(database, tmp_path / "human", "a test", "CC0")


def better_side(connection: store.Connection, item: store.Item) -> str:
    """Choose the side of lower regret."""
    lost = store.pair_of(connection, item.pair).lost
    assert lost is not None
    if abs(lost[0] - lost[1]) < 1e-9:
        return "same"
    return "right" if (lost[0] > lost[1]) != item.flipped else "left"


def test_the_default_study_of_another_environment_is_drawn(tmp_path: Path, serve: Any, browser: Browser) -> None:
    """Rollouts of the pendulum, whose films are drawn by the environment, and the game of its box of actions."""
    from valuegym.leaderboards.cli.main import main

    words = ["new", str(tmp_path / "study"), "--environment", "valuegym/Pendulum-v0", "--segments", "6", "--pairs", "9"]
    assert main(["label", *words, "--length", "5", "--start-within", "20"]) == 0
    database = DatabaseFile(tmp_path / "study")
    study = Study.read(database.folder)
    replace(study, play_steps=2, learner="none").write(database.folder)
    server, (_, token) = serve(database), invite(database)
    page = browser.page()
    page.goto(f"{server.url}/#{token}")
    page.arrive("/consent")
    page.click("button[value=yes]")
    page.click("form[action='/instructions'] button")
    for key in ("ArrowLeft", "ArrowRight"):
        page.key(key, leaves=True)
    page.click("button[name=finish]")
    for i, one in enumerate(study.quiz):
        page.press(f"[name=question-{i}][value='{one.right}']")
    page.click("form[action='/quiz'] button")
    page.wait("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    page.click("button[value=left]")
    assert "1 of 50" in page.text() and page.log == []
