"""Pairs by HTTP: what is refused and how, one store with the files, and nothing lost when processes are killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs.feedback import human
from valuegym.envs.feedback.http import MAX_BODY, AnswerServer, HTTPAnnotator
from valuegym.envs.feedback.human import FileAnnotator
from valuegym.envs.feedback.segments import Segments

JSON = "application/json"


def segments(n: int, seed: int) -> Segments:
    rng = np.random.default_rng(seed)
    return Segments(rng.normal(size=(n, 4, 2)), rng.integers(3, size=(n, 3)), 7000.0 + rng.random((n, 3)))


FIRST, SECOND = segments(6, 1), segments(6, 2)


@pytest.fixture
def annotator(tmp_path: Path) -> Iterator[HTTPAnnotator]:
    found = HTTPAnnotator(tmp_path / "queries")
    yield found
    found.close()


def exchange(
    server: AnswerServer, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Return status and reply of a request; a header of None leaves it out."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    sent: dict[str, Any] = {"Authorization": f"Bearer {server.token}", "Content-Type": JSON} | (headers or {})
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    with contextlib.closing(connection):
        connection.request(method, path, content, {name: value for name, value in sent.items() if value is not None})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())


def test_pairs_are_served_and_answers_are_those_of_the_folder(annotator: HTTPAnnotator) -> None:
    server, files = annotator.server, FileAnnotator(annotator.folder)
    assert exchange(server, "GET", "/next") == (200, {"id": None, "pending": 0})
    ids = annotator.submit(FIRST, SECOND)
    seen = []
    for _ in ids:  # a pair that nobody has answered comes again only after all others
        status, pair = exchange(server, "GET", "/next")
        assert status == 200 and pair["pending"] == 6 and "7000" not in json.dumps(pair)
        one, two = files.pair(pair["id"])
        for side, part in (("first", one), ("second", two)):
            np.testing.assert_array_equal(pair[side]["observations"], part.observations[0])
            np.testing.assert_array_equal(pair[side]["actions"], part.actions[0])
            assert pair[side]["steps"] == 3 and "end:" in pair[side]["text"] and set(pair[side]) == {
                "steps", "observations", "actions", "text"
            }  # fmt: skip
        seen.append(pair["id"])
    assert sorted(seen) == sorted(ids)
    answer = {"id": ids[0], "label": 0.5, "strength": 1, "user": 4}
    assert exchange(server, "POST", "/answer", answer) == (200, {"id": ids[0], "stored": True})
    assert exchange(server, "POST", "/answer", {"id": ids[1], "label": None})[0] == 200
    files.answer(ids[2], 1)  # by a file
    assert exchange(server, "POST", "/answer", {"id": ids[2], "label": 1})[0] == 200  # the reply had been lost
    status, reply = exchange(server, "POST", "/answer", {"id": ids[2], "label": 0})
    assert status == 409 and reply["error"] == f"The pair {ids[2]} has an answer already, 1; it stays as it is."
    assert exchange(server, "POST", "/answer", {"id": ids[1], "label": 0})[1]["error"].endswith(
        "null; it stays as it is."
    )
    assert exchange(server, "GET", "/status") == (200, {"pending": 3, "answered": 3})
    found = annotator.collect()
    assert found is not None and sorted(found.answers.labels[~found.answers.skipped]) == [0.5, 1]
    assert sorted(found.answers.user) == [-1, -1, 4] and annotator.collect() is None


def test_dictionaries_are_objects_and_pictures_are_drawn(tmp_path: Path) -> None:
    files = FileAnnotator(tmp_path)
    part = Segments({"x": np.arange(6.0).reshape(1, 3, 2), "n": np.array([[1, 2, 3]])}, np.array([[1, 0]]), lengths=[1])
    files.submit(part, part)
    with contextlib.closing(AnswerServer(files, draw=lambda segment: b"\x89PNG")) as server:
        server.start()
        pair = exchange(server, "GET", "/next")[1]
    assert pair["first"]["observations"] == {"x": [[0, 1], [2, 3]], "n": [1, 2]} and pair["second"]["actions"] == [1]
    assert pair["first"]["picture"] == "data:image/png;base64,iVBORw=="


HOSTILE: list[tuple[str, dict[str, Any], int, str]] = [
    ("no token", {"headers": {"Authorization": None}}, 401, "The token is missing or wrong"),
    ("another token", {"headers": {"Authorization": "Bearer " + "x" * 32}}, 401, "The token is missing or wrong"),
    ("a token beyond ASCII", {"headers": {"Authorization": "Bearer \xe9"}}, 401, "The token is missing or wrong"),
    ("another host", {"headers": {"Host": "evil.example"}}, 421, "The header Host is not 127.0.0.1:"),
    ("no port", {"headers": {"Host": "127.0.0.1"}}, 421, "The header Host is not 127.0.0.1:"),
    ("another site", {"headers": {"Origin": "http://evil.example"}}, 403, "Origin names another site"),
    ("a form", {"headers": {"Content-Type": "text/plain"}}, 415, "Content-Type is not application/json"),
    ("too long", {"body": b" " * (MAX_BODY + 1)}, 413, "has 4097 bytes; expected at most 4096"),
    ("a huge length", {"headers": {"Content-Length": "9" * 30}}, 411, "Content-Length does not say"),
    ("a negative length", {"headers": {"Content-Length": "-1"}}, 411, "Content-Length does not say"),
    ("chunks", {"headers": {"Transfer-Encoding": "chunked"}}, 411, "Content-Length does not say"),
    ("no JSON", {"body": b"{"}, 400, "it is no JSON"),
    ("no UTF-8", {"body": b"\xff{}"}, 400, "it is no JSON"),
    ("a list", {"body": b"[1]"}, 400, "it holds list"),
    ("deep", {"body": b"[" * 4000}, 400, "it is no JSON"),
    ("NaN", {"body": b'{"id": "ID", "label": NaN}'}, 400, "NaN is no JSON"),
    ("infinity", {"body": b'{"id": "ID", "label": 1e999}'}, 400, "label"),
    ("a huge number", {"body": b'{"id": "ID", "label": ' + b"9" * 400 + b"}"}, 400, "label"),
    ("0.3", {"body": b'{"id": "ID", "label": 0.3}'}, 400, "label is 0.3; expected 0"),
    ("true", {"body": b'{"id": "ID", "label": true}'}, 400, "label is True"),
    ("a text", {"body": b'{"id": "ID", "label": "1"}'}, 400, "label is '1'"),
    ("a name twice", {"body": b'{"id": "ID", "label": 1, "label": 0}'}, 400, "a name stands twice"),
    ("another name", {"body": b'{"id": "ID", "label": 1, "labels": 0}'}, 400, "it has the names"),
    ("no label", {"body": b'{"id": "ID"}'}, 400, "it has the names []; expected label"),
    ("a strength", {"body": b'{"id": "ID", "label": 1, "strength": 9}'}, 400, "strength is 9"),
    ("a user", {"body": b'{"id": "ID", "label": 1, "user": 1.5}'}, 400, "user is 1.5"),
    ("a large user", {"body": b'{"id": "ID", "label": 1, "user": 99999999999999999999}'}, 400, "user"),
    ("no id", {"body": b'{"label": 1}'}, 404, "There is no pair None"),
    ("an unknown id", {"body": b'{"id": "%s", "label": 1}' % (b"0" * 32)}, 404, "There is no pair"),
    ("a path", {"body": b'{"id": "../answers/ID", "label": 1}'}, 404, "There is no pair"),
    ("an absolute path", {"body": b'{"id": "/etc/passwd", "label": 1}'}, 404, "There is no pair"),
    ("a null byte", {"body": b'{"id": "ID\\u0000", "label": 1}'}, 404, "There is no pair"),
    ("a long id", {"body": b'{"id": "%s", "label": 1}' % (b"a" * 3000)}, 404, "There is no pair"),
    ("a list as id", {"body": b'{"id": ["ID"], "label": 1}'}, 404, "There is no pair"),
    ("another way", {"path": "/../../etc/passwd"}, 404, "expected GET /next, GET /status and POST /answer"),
    ("another method", {"method": "DELETE"}, 501, "Unsupported method ('DELETE')"),
    ("a method elsewhere", {"method": "GET"}, 404, "There is no GET '/answer'"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "sentence"), [row[1:] for row in HOSTILE], ids=[r[0] for r in HOSTILE])
def test_hostile_requests_are_refused_in_one_sentence(
    annotator: HTTPAnnotator, request_: dict[str, Any], status: int, sentence: str
) -> None:
    [name] = annotator.submit(FIRST[:1], SECOND[:1])
    parts: dict[str, Any] = {"method": "POST", "path": "/answer", "body": b'{"id": "ID", "label": 1}'} | request_
    parts["body"] = parts["body"].replace(b"ID", name.encode())
    before = sorted(path.name for path in annotator.folder.rglob("*"))
    found, reply = exchange(annotator.server, **parts)
    assert (found, list(reply)) == (status, ["error"]) and sentence in reply["error"], reply
    assert "\n" not in reply["error"] and len(reply["error"]) < 500 and annotator.server.token not in reply["error"]
    assert sorted(path.name for path in annotator.folder.rglob("*")) == before and annotator.pending() == [name]
    assert exchange(annotator.server, "POST", "/answer", {"id": name, "label": 1})[0] == 200  # it still serves


@pytest.mark.parametrize(
    "content", [b"\x00\xff nonsense\r\n\r\n", b"GET /next HTTP/9.9\r\n\r\n", b"POST /answer HTTP/1.1\r\n"]
)
def test_what_is_no_request_harms_nobody(annotator: HTTPAnnotator, content: bytes) -> None:
    with socket.create_connection(("127.0.0.1", annotator.server.port), timeout=10) as stream:
        stream.sendall(content)
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(4096):
            pass
    assert exchange(annotator.server, "GET", "/status")[0] == 200


def test_two_hosts_in_one_request_are_refused(annotator: HTTPAnnotator) -> None:
    server = annotator.server
    head = f"GET /next HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nHost: evil.example\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stream:
        stream.sendall(f"{head}Authorization: Bearer {server.token}\r\n\r\n".encode())
        assert b"421" in stream.recv(4096)


def test_a_spoilt_file_is_named_and_nothing_is_acknowledged(annotator: HTTPAnnotator) -> None:
    [name] = annotator.submit(FIRST[:1], SECOND[:1])
    (annotator.folder / "answers" / f"{name}.json").write_text("{")
    status, reply = exchange(annotator.server, "POST", "/answer", {"id": name, "label": 1})
    assert status == 500 and f"{name}.json: it is no JSON" in reply["error"]


def test_the_token_of_a_folder_stays_and_is_private(tmp_path: Path) -> None:
    files = FileAnnotator(tmp_path)
    tokens = []
    for _ in range(2):
        with contextlib.closing(AnswerServer(files)) as server:
            tokens.append(server.token)
    assert tokens[0] == tokens[1] and len(tokens[0]) >= 32
    if os.name == "posix":
        assert (tmp_path / "token").stat().st_mode & 0o077 == 0
    for token in ("short", "with space " * 3, 3):
        with pytest.raises(ValueError, match=r"[Tt]oken"):
            AnswerServer(files, token=token)  # type: ignore[arg-type]
    (tmp_path / "token").write_text("")
    with pytest.raises(ValueError, match="The token in "):
        AnswerServer(files)
    with pytest.raises(ValueError, match="port is 70000"):
        AnswerServer(files, 70000, "x" * 16)
    with contextlib.closing(AnswerServer(files, 0, "x" * 16)) as server, pytest.raises(OSError, match="choose another"):
        AnswerServer(files, server.port, "x" * 16)


def test_it_listens_on_the_loopback_address_alone(annotator: HTTPAnnotator) -> None:
    assert annotator.server._server.server_address[0] == "127.0.0.1"


# --- processes that are killed ---

LEARNER = """
import sys
import gymnasium as gym
from valuegym.envs.feedback.http import HTTPAnnotator
from valuegym.envs.feedback.wrapper import PreferenceFeedback

folder, port, budget = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
annotator = HTTPAnnotator(folder, port)
env = PreferenceFeedback(gym.make("CartPole-v1"), annotator, budget, segment_length=4, every=50, rounds=budget // 2)
env.reset(seed=0)
print("ready", flush=True)
steps = 0
while True:  # it trains on, whether or not answers are there
    steps += 1
    if env.step(steps % 2)[3]:
        env.reset()
    if steps % 50 == 0:
        found = env.feedback()
        if found is not None and len(found) == budget:
            break
print("done", steps, flush=True)
"""

LABELLER = """
import hashlib, http.client, json, os, sys
port, token, ledger = int(sys.argv[1]), sys.argv[2], os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def call(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    content = json.loads(reply.read())
    connection.close()
    return reply.status, content

def note(*words):
    os.write(ledger, (" ".join(map(str, words)) + "\\n").encode())
    os.fsync(ledger)

while True:
    try:
        status, pair = call("GET", "/next")
        if status != 200 or pair["id"] is None:
            continue
        name = pair["id"]
        note("shown", name)
        label = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2  # a function of the pair, for the check
        status, reply = call("POST", "/answer", json.dumps({"id": name, "label": label, "user": int(sys.argv[4])}))
        note("stored" if status == 200 else "refused", name, label)
    except (OSError, http.client.HTTPException, ValueError):
        pass
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Run:
    """A learner that serves its pairs, and a person who answers them, in processes of their own."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder, self.ledger, self.budget, self.port = folder / "queries", folder / "ledger", budget, free_port()
        with contextlib.closing(AnswerServer(FileAnnotator(self.folder))) as server:
            self.token = server.token
        self.learner, self.labeller = self.start_learner(), self.start_labeller(1)

    def start_learner(self) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", LEARNER, str(self.folder), str(self.port), str(self.budget)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def start_labeller(self, user: int) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", LABELLER, str(self.port), self.token, str(self.ledger), str(user)]
        return subprocess.Popen(words, text=True)

    def answered(self) -> int:
        return len(list((self.folder / "answers").glob("*.json")))

    def kill_learner(self, draws: random.Random) -> None:
        """Kill it at another moment each time, while it writes, serves or learns, and start it again."""
        assert self.learner.stdout is not None and self.learner.stdout.readline() == "ready\n"
        wanted, deadline = self.answered() + draws.randrange(8), time.monotonic() + 0.3
        while self.answered() < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(draws.random() * 0.01)
        os.kill(self.learner.pid, signal.SIGKILL)
        self.learner.communicate()
        self.learner = self.start_learner()

    def kill_labeller(self, user: int) -> None:
        os.kill(self.labeller.pid, signal.SIGKILL)
        self.labeller.wait()
        self.labeller = self.start_labeller(user)

    def end(self) -> None:
        for process in (self.learner, self.labeller):
            process.kill()
            process.wait()

    def acknowledged(self) -> dict[str, float]:
        """Return the labels that were acknowledged, after none of whose pairs was shown again."""
        found: dict[str, float] = {}
        for line in self.ledger.read_text().splitlines():
            word, name, *label = line.split()
            assert word in ("shown", "stored") and (word == "stored" or name not in found), line
            if word == "stored":
                found[name] = float(label[0])
        return found


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_processes_lose_no_answer_and_ask_about_none_twice(tmp_path: Path, kills: int) -> None:
    run, draws = Run(tmp_path, budget=20 * kills), random.Random(kills)
    try:
        for number in range(kills):
            run.kill_learner(draws)
            if number % 3 == 0:
                run.kill_labeller(number)
        assert run.learner.communicate(timeout=120)[0].split()[:2] == ["ready", "done"]
    finally:
        run.end()
    files, acknowledged = FileAnnotator(run.folder), run.acknowledged()
    found = files.collect()
    assert found is not None and len(found) == run.budget and not files.pending()  # all runs asked about the same pairs
    assert len(acknowledged) >= run.budget - 2 * kills  # but for those whose reply was killed
    for name, label in acknowledged.items():
        assert files.answered(name).labels[0] == label


def test_the_command_serves_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FileAnnotator(tmp_path / "queries").submit(FIRST[:2], SECOND[:2])
    words = [
        sys.executable,
        "-m",
        "valuegym.envs.feedback.human",
        str(tmp_path / "queries"),
        "--http",
        "0",
        "--user",
        "3",
    ]
    # A shell lets what it starts in the background ignore SIGINT, and processes inherit that.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=listen)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[0].startswith("2 pairs wait at http://127.0.0.1:") and "/answer" in lines[2]
        port = int(lines[0].split(";")[0].rpartition(":")[2])
        token = (tmp_path / "queries" / "token").read_text()
        assert token in lines[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": JSON}
        connection.request("GET", "/next", headers=headers)
        name = json.loads(connection.getresponse().read())["id"]
        connection.request("POST", "/answer", json.dumps({"id": name, "label": 1}), headers)
        assert connection.getresponse().read()
        connection.close()
        process.send_signal(signal.SIGINT)
        assert "1 answered, 1 to go." in process.communicate(timeout=120)[0] and process.returncode == 0
    finally:
        process.kill()
        process.wait()
    answer = json.loads((tmp_path / "queries" / "answers" / f"{name}.json").read_text())
    assert answer == {"label": 1, "user": 3}
    with pytest.raises(SystemExit):
        human.main([str(tmp_path / "queries"), "--http", "70000"])
    assert "port is 70000" in capsys.readouterr().err


def test_of_answers_at_the_same_moment_one_is_kept(annotator: HTTPAnnotator) -> None:
    for name in annotator.submit(FIRST, SECOND):
        with ThreadPoolExecutor(8) as crew:
            sent = [{"id": name, "label": i % 2, "user": i} for i in range(8)]
            replies = list(crew.map(lambda answer: exchange(annotator.server, "POST", "/answer", answer)[0], sent))
        kept = annotator.answered(name)
        assert (
            replies == [200 if i % 2 == kept.labels[0] else 409 for i in range(8)]
            and kept.user[0] % 2 == kept.labels[0]
        )
