"""Many people at once, while the server is killed again and again."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs.feedback.wrapper import PreferenceFeedback
from valuegym.labelling import store
from valuegym.labelling.annotator import LabelAnnotator

from .conftest import ENVIRONMENT, PLAIN, Make, dots, invite
from .test_browser import Server

pytestmark = pytest.mark.slow
pytest.importorskip("uvicorn")


class Person(threading.Thread):
    """A person who answers pairs by HTTP, and tries again where no reply comes."""

    def __init__(self, port: int, token: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.port, self.token, self.rng = port, token, np.random.default_rng(seed)
        self.acknowledged: dict[int, str] = {}
        self.faults: list[str] = []

    def request(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Cookie": f"valuegym_label={self.token}", "Content-Type": "application/x-www-form-urlencoded"}
        with contextlib.closing(connection):
            connection.request(method, path, urlencode(fields or {}), headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()

    def run(self) -> None:
        pending: dict[int, str] = {}
        while True:
            try:
                status, page = self.request("GET", "/label")
                found = re.search(r'name="mark" value="(\w+)"><input type="hidden" name="item" value="(\d+)"', page)
                if found is None:
                    return
                number = int(found[2])
                if number in self.acknowledged:
                    self.faults.append(f"pair {number} was answered, and shown again")
                choice = pending.setdefault(number, str(self.rng.choice(("left", "right", "same"))))
                status, _ = self.request("POST", "/answer", {"mark": found[1], "item": found[2], "choice": choice})
                if status != 303:
                    self.faults.append(f"pair {number}: {status}")
                self.acknowledged[number] = choice
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)  # the server has been killed


def test_ten_people_and_eight_kills_lose_nothing_and_double_nothing(make: Make) -> None:
    database = make(answers_per_pair=10, pairs_per_person=40)
    people = [invite(database) for _ in range(10)]
    with database.change() as connection:
        connection.execute("UPDATE people SET stage = 'label'")
    server = Server(database)
    server.start()
    threads = [Person(server.port, token, seed) for seed, (_, token) in enumerate(people)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        time.sleep(0.4)
        server.kill()
        server.start()
    for thread in threads:
        thread.join(120)
    server.kill()
    assert not any(thread.is_alive() for thread in threads)
    assert [fault for thread in threads for fault in thread.faults] == []
    with database.look() as connection:
        for (person, _), thread in zip(people, threads, strict=True):
            rows = connection.execute("SELECT n, pair, choice FROM items WHERE person = ?", (person,)).fetchall()
            stored = {n: choice for n, _, choice in rows}
            assert {n: stored.get(n) for n in thread.acknowledged} == thread.acknowledged
            assert len(rows) == 40 and max(Counter(pair for _, pair, _ in rows).values()) == 1
        assert store.count_answers(connection) == 400
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_run_that_serves_its_pairs_gets_answers_while_it_goes_on(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    study = replace(PLAIN, play_steps=0, quiz=(), pairs_per_person=10**6)
    annotator = LabelAnnotator(tmp_path / "study", study, draw=dots, port=port)
    asking = PreferenceFeedback(
        gym.make(ENVIRONMENT), annotator, 9, segment_length=3, every=20, rounds=3, horizon=20, seed=0
    )
    person, token = invite(annotator.database)
    with annotator.database.change() as connection:
        connection.execute("UPDATE people SET stage = 'label'")
    collected, until = 0, time.monotonic() + 120
    for episode in range(100):
        asking.reset(seed=episode)
        for _ in range(20):
            info = asking.step(asking.action_space.sample())[-1]
            collected += len(info.get("preferences", ()))
        someone = Person(port, token, episode)
        while not someone.acknowledged and episode < 3:
            with contextlib.suppress(OSError):
                someone.request("GET", "/")
                someone.run()
            assert time.monotonic() < until
            time.sleep(0.05)
        if episode > 3:
            break
    feedback = asking.feedback()
    assert feedback is not None and len(feedback) == 9 and set(feedback.answers.user.tolist()) == {person}
    process = annotator.process
    annotator.close()
    assert process is not None and process.poll() is not None and collected >= 3


def test_load_of_many_people_loses_nothing(tmp_path: Path) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    path = Path(__file__).resolve().parents[2] / "benchmarks" / "labelling.py"
    spec = spec_from_file_location("labelling_load", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    load = module.measure(tmp_path / "study", people=20, seconds=5.0, think=0.1)
    assert (load.lost, load.doubled, load.refused) == (0, 0, 0) and len(load.answers) > 20
