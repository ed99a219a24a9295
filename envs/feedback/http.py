"""Pairs that wait for answers, served as JSON on the loopback address of this machine.

`HTTPAnnotator` is a `FileAnnotator` with a server beside it: a run asks, trains on, and fetches what was answered
meanwhile. Pairs and answers are the same files, so that consoles, programs and browsers may answer one folder together:

    env = PreferenceFeedback(env, HTTPAnnotator("queries", port=8000), budget=100)     # asks, serves and learns
    python -m valuegym.envs.feedback.human queries --http 8000                         # serves alone, also afterwards

Requests carry the header `Authorization: Bearer TOKEN`; the token is in the file `token` of the folder.

    GET  /next      {"id": ID, "pending": N, "first": SEGMENT, "second": SEGMENT}, or {"id": null, "pending": 0}
    GET  /status    {"pending": N, "answered": M}
    POST /answer    {"id": ID, "label": 0}, as `Content-Type: application/json`; answered by {"id": ID, "stored": true}

Labels are 0 (first), 1 (second), 0.5 (the same) and null (can't tell); `strength` (0 to 3) and `user` (an integer) may
stand beside them. A SEGMENT holds `steps` T, `observations` (T + 1 of them, or an object of such lists), `actions` (T),
`text`, and `picture` where the server draws; no reward is shown. What is wrong with a request is said in one sentence,
{"error": SENTENCE}.

An answer is on the disk before the reply is sent. A program that gets no reply sends its answer again: the same label
is acknowledged once more, another one is refused. Among pairs that wait, the one is served that was served the longest
time ago, so that two people rarely see the same.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from valuegym.envs import checks
from valuegym.envs.feedback import data
from valuegym.envs.feedback.human import FileAnnotator, describe, parse_answer
from valuegym.envs.feedback.segments import Segments, each

__all__ = ["ADDRESS", "MAX_BODY", "AnswerServer", "HTTPAnnotator"]

ADDRESS = "127.0.0.1"
MAX_BODY = 4096  # bytes of an answer
SECONDS = 10.0  # that a request may take to arrive
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")

Draw = Callable[[Segments], bytes]
_Reply = tuple[HTTPStatus, dict[str, Any]]


class _Refused(Exception):
    """A request that gets an error: its status and the sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def _segment(segment: Segments, draw: Draw | None) -> dict[str, Any]:
    """Return a segment (N = 1) as a reply shows it."""
    steps = int(segment.lengths[0])
    found = {
        "steps": steps,
        "observations": each(lambda value: value[0, : steps + 1].tolist(), segment.observations),
        "actions": segment.actions[0, :steps].tolist(),
        "text": describe(segment),
    }
    if draw is not None:
        found["picture"] = f"data:image/png;base64,{base64.b64encode(draw(segment)).decode()}"
    return found


def _token(folder: Path) -> str:
    """Return the token of a folder, which is made at first and then stays, so that a server may start again."""
    path = folder / "token"
    data.write_atomically(path, secrets.token_urlsafe(24).encode(), keep=True)
    return path.read_text(encoding="utf-8").strip()


class AnswerServer:
    """A server of the pairs of a folder that wait for answers, on 127.0.0.1 alone.

    Args:
        files: the folder.
        port: from 0 to 65535; 0 takes one that is free.
        token: that requests have to carry, 16 to 128 letters, digits, dashes and underscores; None is that of the file
            `token` in the folder, which is made where there is none.
        user: number of the person who answers, where an answer does not say; None leaves it unknown.
        draw: returns a picture of a segment (N = 1, without rewards) as the bytes of a PNG; None for none.

    Attributes:
        url: where it listens, "http://127.0.0.1:PORT".
        token: that requests have to carry.

    Raises:
        ValueError: an argument is not as stated.
        OSError: the port is taken.
    """

    def __init__(
        self,
        files: FileAnnotator,
        port: int = 0,
        token: str | None = None,
        user: int | None = None,
        draw: Draw | None = None,
    ) -> None:
        self.files, self.draw = files, draw
        self.user = None if user is None else checks.integer("user", user, 0)
        self.token = _token(files.folder) if token is None else token
        if not TOKEN.fullmatch(checks.text("token", self.token)):
            where = f" in {files.folder / 'token'}" if token is None else ""
            raise ValueError(
                f"The token{where} is no 16 to 128 letters, digits, dashes and underscores; None makes one that is."
            )
        checks.integer("port", port, 0, 65535)
        try:
            self._server = _Server((ADDRESS, port), self)
        except OSError as error:
            raise OSError(f"Cannot listen at port {port} ({error.strerror}); choose another, or 0 for any.") from error
        self.port = int(self._server.server_address[1])
        self.url = f"http://{ADDRESS}:{self.port}"
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._served: dict[str, float] = {}

    def start(self) -> None:
        """Serve in a thread of this process, which ends with it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.serve, name="valuegym-answers", daemon=True)
            self._thread.start()

    def serve(self) -> None:
        """Serve until `close`, or until an interruption."""
        self._server.serve_forever(poll_interval=0.02)

    def close(self) -> None:
        """Stop serving; what is in the folder stays."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def next_pair(self) -> dict[str, Any]:
        """Return a pair that waits, as GET /next shows it: that which was served the longest time ago, if ever."""
        with self._lock:
            waiting = self.files.pending()
            if not waiting:
                return {"id": None, "pending": 0}
            name = min(waiting, key=lambda one: self._served.get(one, 0.0))
            self._served[name] = time.monotonic()
        first, second = (_segment(part, self.draw) for part in self.files.pair(name))
        return {"id": name, "pending": len(waiting), "first": first, "second": second}

    def store(self, content: bytes) -> dict[str, Any]:
        """Store the answer in the body of POST /answer, on the disk, and return the reply.

        Raises:
            _Refused: it is not as stated, there is no such pair, or the pair has another answer.
            ValueError: a file of the folder is invalid; the message names it.
            OSError: it cannot be written.
        """
        try:
            record = data.parse_json(content)
            name = record.pop("id", None)
            if self.user is not None:
                record.setdefault("user", self.user)
            given = parse_answer(record)
        except ValueError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"The answer cannot be stored: {error}") from None
        if not isinstance(name, str) or not self.files.holds(name):
            raise _Refused(HTTPStatus.NOT_FOUND, f"There is no pair {checks.printed(name)}; expected the id of /next.")
        label = float(given.labels[0])
        if self.files.put(name, given):
            return {"id": name, "stored": True}
        before = float(self.files.answered(name).labels[0])
        if before == label or (np.isnan(before) and np.isnan(label)):
            return {"id": name, "stored": True}  # the first reply may not have arrived
        words = "null" if np.isnan(before) else f"{before:g}"
        raise _Refused(HTTPStatus.CONFLICT, f"The pair {name} has an answer already, {words}; it stays as it is.")


class HTTPAnnotator(FileAnnotator):
    """People who answer later, by HTTP on this machine or through the files of the folder.

    Args:
        folder: made where there is none.
        port, token, user, draw: as in `AnswerServer`.

    Attributes:
        server: which serves from the start; `server.url` and `server.token` say where and to whom.

    Raises:
        ValueError: an argument is not as stated.
        OSError: the port is taken.
    """

    def __init__(
        self,
        folder: str | Path,
        port: int = 0,
        token: str | None = None,
        user: int | None = None,
        draw: Draw | None = None,
    ) -> None:
        super().__init__(folder)
        self.server = AnswerServer(self, port, token, user, draw)
        self.server.start()

    def close(self) -> None:
        """Stop serving; pairs and answers stay in the folder."""
        self.server.close()


class _Server(ThreadingHTTPServer):
    """Threads that end with the process; each request is its own connection."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], answers: AnswerServer) -> None:
        self.answers = answers
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    timeout = SECONDS

    def do_GET(self) -> None:
        self._reply({"/next": self._next, "/status": self._status})

    def do_POST(self) -> None:
        self._reply({"/answer": self._answer})

    def _next(self) -> dict[str, Any]:
        return self.server.answers.next_pair()

    def _status(self) -> dict[str, Any]:
        files = self.server.answers.files
        return {"pending": len(files.pending()), "answered": files.count_answered()}

    def _answer(self) -> dict[str, Any]:
        return self.server.answers.store(self._body())

    def _reply(self, routes: dict[str, Callable[[], dict[str, Any]]]) -> None:
        try:
            self._check_sender()
            path = self.path.partition("?")[0]
            if path not in routes:
                known = "GET /next, GET /status and POST /answer"
                raise _Refused(HTTPStatus.NOT_FOUND, f"There is no {self.command} {path[:80]!r}; expected {known}.")
            self._send(HTTPStatus.OK, routes[path]())
        except _Refused as refused:
            self._send(refused.status, {"error": str(refused)})
        except (ValueError, OSError) as error:
            if isinstance(error, ConnectionError | TimeoutError):
                raise
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"The folder cannot be used: {error}"})

    def _check_sender(self) -> None:
        """Refuse requests for another host, which a page of another site makes a browser send, or without the token."""
        answers = self.server.answers
        names = [f"{host}:{answers.port}" for host in (ADDRESS, "localhost")]
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in names:
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, f"The header Host is not {' or '.join(names)}.")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{name}" for name in names]:
            raise _Refused(HTTPStatus.FORBIDDEN, "The header Origin names another site; answers come from this one.")
        sent = self.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(sent, f"Bearer {answers.token}".encode()):
            raise _Refused(
                HTTPStatus.UNAUTHORIZED,
                "The token is missing or wrong; expected the header Authorization: Bearer TOKEN.",
            )

    def _body(self) -> bytes:
        """Return the body of a request, which has to say how long it is."""
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The header Content-Type is not application/json.")
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,9}", lengths[0]) or "Transfer-Encoding" in self.headers:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "The header Content-Length does not say how many bytes come.")
        length = int(lengths[0])
        if length > MAX_BODY:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The answer has {length} bytes; expected at most {MAX_BODY}."
            )
        content = self.rfile.read(length)
        if len(content) < length:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"The answer ends after {len(content)} of {length} bytes.")
        return content

    def _send(self, status: HTTPStatus, reply: dict[str, Any]) -> None:
        content = json.dumps(reply, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Reply to what is no request that is known here, in the same form."""
        status = HTTPStatus(code)
        self._send(status, {"error": f"The request cannot be read: {message or status.phrase}."})

    def version_string(self) -> str:
        """Return the name of the server, which says nothing of versions."""
        return "valuegym"

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: requests hold the token."""
