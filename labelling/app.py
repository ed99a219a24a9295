"""The pages that people see, as a Starlette application.

Everything is a form, a POST and a redirect: a page may be loaded again at any moment, and an answer is on the disk
before its reply. Scripts only press buttons by keys and stop films; without them everything works by mouse and Tab.

Who may do what: a person has a token, which becomes the cookie of a session; so has the operator, whose token is in the
file `operator-token` of the study. Forms carry a mark that only their own session has, requests for another host and
from another site are refused, and the pages load nothing but what this server has.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valuegym.envs.feedback import data
from valuegym.labelling import store
from valuegym.labelling.play import Games
from valuegym.labelling.store import DatabaseFile, Item, Person, Writer
from valuegym.labelling.study import Study

__all__ = ["COOKIE", "HEADERS", "Pages", "RateLimit", "operator_token"]

COOKIE = "valuegym_label"
MAX_BODY = 16_384  # bytes of a form
MAX_FIELDS = 60
BURST = 20  # requests that a person may send at once, besides those of each second
ENTRIES, ENTRY_BURST = 5.0, 100  # codes that may be tried from one address in a second, and at once: a class may begin
HOSTS = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_FOLDER = Path(__file__).parent
_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "keys.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_PAGES = {"consent": "consent", "instructions": "instructions", "play": "play", "quiz": "quiz", "label": "label"}


def operator_token(folder: Path) -> str:
    """Return the token of the operator, which is made at first and stays in a file that only its owner reads."""
    path = folder / "operator-token"
    data.write_atomically(path, secrets.token_urlsafe(24).encode(), keep=True)
    path.chmod(0o600)
    return path.read_text(encoding="ascii").strip()


class RateLimit:
    """Requests for each key: `rate` in a second on average, and `burst` at once.

    Args:
        rate: in a second, above 0.
        burst: at once, besides.
        keys: kept in memory; of more, those that were used the longest time ago are forgotten.
    """

    def __init__(self, rate: float, burst: int, keys: int = 10_000) -> None:
        self._rate, self._burst, self._keys = rate, burst, keys
        self._left: OrderedDict[Any, tuple[float, float]] = OrderedDict()

    def seconds(self, key: Any, now: float | None = None) -> float:
        """Count a request, and return 0 where it may pass, else how many seconds to wait before the next."""
        now = time.monotonic() if now is None else now
        left, before = self._left.pop(key, (float(self._burst), now))
        left = min(self._burst, left + (now - before) * self._rate)
        passes = left >= 1.0
        self._left[key] = (left - 1.0 if passes else left, now)
        while len(self._left) > self._keys:
            self._left.popitem(last=False)
        return 0.0 if passes else (1.0 - left) / self._rate


class _Guard:
    """Refuses requests for other hosts or from other sites, and puts the headers on every reply."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.lower().encode() not in given
                    ),
                ]
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await HTMLResponse(f"<!doctype html><title>Refused</title><p>{refused[1]}", refused[0])(
                scope, receive, reply
            )
            return
        await self.app(scope, receive, reply)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value.lower() for name, value in headers if name == "host"]
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return 421, "This server answers for its own address only."
        if scope["method"] not in ("GET", "HEAD"):
            origins = [value for name, value in headers if name == "origin"]
            sites = [value for name, value in headers if name == "sec-fetch-site"]
            own = {f"{scheme}://{hosts[0]}" for scheme in ("http", "https")}
            if any(origin.lower() not in own for origin in origins) or any(
                site not in ("same-origin", "none") for site in sites
            ):
                return 403, "Forms are taken from the pages of this server only."
        return None


class Pages:
    """The application of a study.

    Args:
        folder: of the study.
        port: that it listens at, for the check of the header Host.
        hosts: further names by which it may be reached, each with its port where that is not the usual one.
        secure: whether cookies are sent over HTTPS alone, as behind a proxy.

    Attributes:
        asgi: the application.
        writer: which carries out all changes.

    Raises:
        FileNotFoundError: there is no study in the folder.
        ValueError: a file of the study is not as it should be.
    """

    def __init__(self, folder: str | Path, port: int, hosts: Iterable[str] = (), secure: bool = False) -> None:
        self.database = DatabaseFile(folder)
        self.study = Study.read(self.database.folder)
        self.secure = secure
        self._read = self.database.connect()
        with self.database.change() as connection:
            self._secret = store.secret(connection)
        self._operator = hashlib.sha256(operator_token(self.database.folder).encode()).digest()
        self.writer = Writer(self.database)
        self.games = Games(self.study)
        self._rate = RateLimit(self.study.answers_per_second, BURST)
        self._entries = RateLimit(ENTRIES, ENTRY_BURST)
        self._files = {name: (_FOLDER / name).read_bytes() for name in _STATIC}
        templates = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        templates.filters["paragraphs"] = _paragraphs
        templates.globals["study"] = self.study
        self._templates = templates
        known = [f"{host}:{port}" for host in HOSTS] + ([*HOSTS] if port == 80 else [])
        routes = [
            Route("/", self.start, methods=["GET"]),
            Route("/enter", self.enter, methods=["POST"]),
            Route("/leave", self.leave, methods=["POST"]),
            *(Route(f"/{name}", self._stage_page(name), methods=["GET"]) for name in (*_PAGES, "done", "declined")),
            Route("/consent", self._form(self.agree), methods=["POST"]),
            Route("/instructions", self._form(self.read), methods=["POST"]),
            Route("/play", self._form(self.move), methods=["POST"]),
            Route("/play/picture.png", self.game_picture, methods=["GET"]),
            Route("/quiz", self._form(self.quiz), methods=["POST"]),
            Route("/answer", self._form(self.answer), methods=["POST"]),
            Route("/continue", self._form(self.after_break), methods=["POST"]),
            Route("/finish", self._form(self.finish), methods=["POST"]),
            Route("/note", self._form(self.note), methods=["POST"]),
            Route("/withdraw", self._form(self.withdraw), methods=["POST"]),
            Route("/films/{name}", self.film, methods=["GET"]),
            Route("/stills/{name}", self.film, methods=["GET"]),
            Route("/operator", self.operator, methods=["GET"]),
            Route("/operator/film.png", self.learnt_film, methods=["GET"]),
            Route("/static/{name}", self.static, methods=["GET"]),
        ]
        handlers: Any = {HTTPException: self._failed, Exception: self._failed}
        self.asgi: ASGIApp = _Guard(
            Starlette(routes=routes, exception_handlers=handlers), {*known, *(host.lower() for host in hosts)}
        )

    def close(self) -> None:
        """Carry out what was submitted, and close the store."""
        self.writer.close()
        self._read.close()

    # --- what all pages share ---

    def _page(self, name: str, request: Request | None, status: int = 200, **values: Any) -> HTMLResponse:
        person = None if request is None else getattr(request.state, "person", None)
        mark = "" if request is None else self._mark(request)
        html = self._templates.get_template(f"{name}.html").render(person=person, mark=mark, **values)
        return HTMLResponse(html, status)

    def _message(self, status: int, sentence: str, request: Request | None = None) -> HTMLResponse:
        return self._page("message", request, status, sentence=sentence)

    async def _failed(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return self._message(500, "Something went wrong here; nothing is lost. Please load the page again.")
        sentences = {404: "There is no such page.", 405: "This page takes no such request."}
        detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
        reply = self._message(error.status_code, detail or sentences.get(error.status_code, error.detail), request)
        for name, value in (error.headers or {}).items():
            reply.headers[name] = value
        return reply

    def _token(self, request: Request) -> str:
        return request.cookies.get(COOKIE, "")[:200]

    def _mark(self, request: Request) -> str:
        return hmac.new(self._secret, f"form {self._token(request)}".encode(), "sha256").hexdigest()

    def _is_operator(self, token: str) -> bool:
        return hmac.compare_digest(hashlib.sha256(token.encode()).digest(), self._operator)

    def _person(self, request: Request) -> Person | None:
        person = store.person_of(self._read, self._token(request))
        request.state.person = person
        return person

    async def _fields(self, request: Request) -> dict[str, str]:
        """Return the fields of a form.

        Raises:
            HTTPException: it is too long, not as browsers send it, or has a field twice.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            raise HTTPException(415, "Forms are sent as application/x-www-form-urlencoded.")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise HTTPException(413, f"The form is longer than {MAX_BODY} bytes.")
        try:
            found = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        except ValueError:
            raise HTTPException(400, "The form cannot be read.") from None
        fields = dict(found)
        if len(fields) < len(found):
            raise HTTPException(400, "A field stands twice in the form.")
        return fields

    def _change(self, change: Callable[[store.Connection], Any]) -> Awaitable[Any]:
        """Carry out a change; when it has been awaited, it is on the disk."""
        return asyncio.wrap_future(self.writer.submit(change))

    def _form(
        self, handle: Callable[[Request, Person, dict[str, str]], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a route for a form of a person: known, not too fast, and from a page of their own session."""

        async def route(request: Request) -> Response:
            person = self._person(request)
            if person is None:
                raise HTTPException(401, "Please enter your code first.")
            wait = self._rate.seconds(person.id)
            if wait:
                after = {"Retry-After": str(math.ceil(wait))}
                raise HTTPException(429, "This was very fast. Please wait a moment, and send it again.", after)
            fields = await self._fields(request)
            if not hmac.compare_digest(fields.pop("mark", "").encode(), self._mark(request).encode()):
                raise HTTPException(403, "The form is not from your session. Please load the page again.")
            return await handle(request, person, fields)

        return route

    def _stage_page(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        """Return a route for a page of a person, who is sent to the page that they have come to."""

        async def route(request: Request) -> Response:
            person = self._person(request)
            if person is None:
                return _to("/")
            again = name == "instructions" and person.stage in ("play", "quiz", "label", "done")
            if name != person.stage and not again:
                return _to(f"/{person.stage}")
            show: Callable[..., Awaitable[Response]] = getattr(self, f"show_{name}")
            return await show(request, person)

        return route

    # --- the way in and out ---

    async def start(self, request: Request) -> Response:
        """Show the page where a code is entered, or go on."""
        if self._person(request) is not None:
            return _to(f"/{request.state.person.stage}")
        if self._is_operator(self._token(request)):
            return _to("/operator")
        return self._page("enter", request, wrong=False)

    async def enter(self, request: Request) -> Response:
        """Begin the session of a code.

        Raises:
            HTTPException: too many codes were tried.
        """
        wait = self._entries.seconds(request.client.host if request.client else "")
        if wait:
            raise HTTPException(429, "Too many codes were tried. Please wait a moment.", {"Retry-After": "10"})
        token = (await self._fields(request)).get("code", "").strip()[:200]
        operator = self._is_operator(token)
        if not operator and store.person_of(self._read, token) is None:
            return self._page("enter", request, 403, wrong=True)
        reply = _to("/operator" if operator else "/")
        reply.set_cookie(COOKIE, token, path="/", httponly=True, samesite="strict", secure=self.secure)
        return reply

    async def leave(self, request: Request) -> Response:
        """End the session; what is stored stays."""
        reply = _to("/")
        reply.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=self.secure)
        return reply

    # --- before the pairs ---

    async def show_consent(self, request: Request, person: Person) -> Response:
        """Show what people agree to."""
        return self._page("consent", request, text=self.study.filled(self.study.consent))

    async def agree(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """Store whether a person takes part."""
        if fields.get("agree") == "no":
            await self._change(lambda connection: store.set_stage(connection, person.id, "consent", "declined"))
        elif fields.get("agree") == "yes":
            text = self.study.consent_hash()
            await self._change(lambda connection: store.agree(connection, person.id, text))
        return _to("/")

    async def show_instructions(self, request: Request, person: Person) -> Response:
        """Show the instructions, with the words of the person's condition."""
        words = self._condition(person).words
        text = self.study.filled(self.study.instructions) + (f"\n\n{words}" if words else "")
        return self._page("instructions", request, text=text, again=person.stage != "instructions")

    def _condition(self, person: Person) -> Any:
        conditions = self.study.conditions
        return conditions.get(person.condition, next(iter(conditions.values())))

    async def read(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """Go on from the instructions."""
        plays = self.study.environment is not None and self.study.play_steps > 0
        await self._go(person, "instructions", "play" if plays else "quiz" if self.study.quiz else "label")
        return _to("/")

    async def _go(self, person: Person, before: str, after: str) -> None:
        def change(connection: store.Connection) -> None:
            store.set_stage(connection, person.id, before, after)
            if after == "label":
                store.assign(connection, self.study, person.id)

        await self._change(change)

    async def show_play(self, request: Request, person: Person) -> Response:
        """Show the game."""
        game = await run_in_threadpool(self.games.of, person.id)
        left = max(self.study.play_steps - person.moves, 0)
        return self._page("play", request, game=game, left=left, moves=person.moves)

    async def game_picture(self, request: Request) -> Response:
        """Return the picture of a person's game.

        Raises:
            HTTPException: the person plays none.
        """
        person = self._person(request)
        if person is None or person.stage != "play":
            raise HTTPException(404)
        game = await run_in_threadpool(self.games.of, person.id)
        return Response(game.picture, media_type="image/png")

    async def move(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """Make a move, or go on from the game."""
        if person.stage == "play" and "finish" in fields and person.moves >= self.study.play_steps:
            self.games.leave(person.id)
            await self._go(person, "play", "quiz" if self.study.quiz else "label")
        elif person.stage == "play" and _NUMBER.fullmatch(fields.get("control", "")):
            game = await run_in_threadpool(self.games.of, person.id)
            if int(fields["control"]) < len(game.controls):
                await run_in_threadpool(game.move, int(fields["control"]))
                await self._change(lambda connection: store.update_person(connection, person.id, moves=1))
        return _to("/")

    async def show_quiz(self, request: Request, person: Person) -> Response:
        """Show the quiz."""
        return self._page("quiz", request, wrong=(), given={})

    async def quiz(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """Check the answers to the quiz."""
        if person.stage != "quiz":
            return _to("/")
        questions = self.study.quiz
        wrong = [i for i, one in enumerate(questions) if fields.get(f"question-{i}") != str(one.right)]
        await self._change(lambda connection: store.update_person(connection, person.id, attempts=1))
        if wrong:
            given = {i: fields.get(f"question-{i}", "") for i in range(len(questions))}
            return self._page("quiz", request, 422, wrong=wrong, given=given)
        await self._go(person, "quiz", "label")
        return _to("/")

    # --- pairs ---

    async def show_label(self, request: Request, person: Person) -> Response:
        """Show the pair of a person, a break, or that no pair is there now."""
        done = store.progress(self._read, person.id)
        every = self.study.break_every
        if done.answers >= self.study.pairs_per_person:
            await self._change(lambda connection: store.set_stage(connection, person.id, "label", "done"))
            return _to("/done")
        if every and done.answers // every > person.breaks:
            return self._page("break", request, progress=done)
        item = store.open_item(self._read, person.id)
        if item is None:
            item = await self._change(lambda connection: store.assign(connection, self.study, person.id))
        if item is None:
            return self._page("wait", request, progress=done)
        return self._page("label", request, progress=done, item=item, **self._sides(person, item))

    def _sides(self, person: Person, item: Item) -> dict[str, Any]:
        view, condition = store.pair_of(self._read, item.pair), self._condition(person)
        numbers = {"nothing": None, "partial_return": view.earned, "regret": view.lost}[condition.shows]
        order = (1, 0) if item.flipped else (0, 1)
        words = [""] * 2
        if numbers is not None:
            words = [_words(condition.shows, number) for number in numbers]
        return {
            "question": condition.question,
            "sides": [
                {"name": name, "film": view.films[i], "steps": view.steps[i], "words": words[i]}
                for name, i in zip(("Left", "Right"), order, strict=True)
            ],
        }

    async def answer(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """Store an answer; the reply is sent when it is on the disk.

        Raises:
            HTTPException: it is no answer, there is no such pair, or the pair has another answer.
        """
        n, choice = fields.get("item", ""), fields.get("choice", "")
        if not _NUMBER.fullmatch(n) or choice not in store.CHOICES:
            raise HTTPException(400, "This is no answer to a pair.")
        if person.stage not in ("label", "done"):
            return _to("/")
        outcome = await self._change(lambda connection: store.answer(connection, self.study, person.id, int(n), choice))
        if outcome == "unknown":
            raise HTTPException(404, "You have no such pair.")
        if outcome == "other":
            raise HTTPException(409, "You answered this pair before; that answer stays.")
        return _to("/label")

    async def after_break(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """Go on after a break."""
        done, every = store.progress(self._read, person.id), self.study.break_every

        def change(connection: store.Connection) -> None:
            store.update_person(connection, person.id, breaks=done.answers // every - person.breaks)
            store.reopen(connection, person.id)

        if every and done.answers // every > person.breaks:
            await self._change(change)
        return _to("/label")

    async def finish(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """End where no pair is left."""
        if store.open_item(self._read, person.id) is None:
            await self._change(lambda connection: store.set_stage(connection, person.id, "label", "done"))
        return _to("/")

    # --- the end ---

    async def show_done(self, request: Request, person: Person) -> Response:
        """Thank a person."""
        return self._page("done", request, text=self.study.filled(self.study.thanks))

    async def show_declined(self, request: Request, person: Person) -> Response:
        """Take leave of a person who does not take part."""
        return self._message(200, "You do not take part: no answer of yours is stored. You may close this page.")

    async def note(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """Store a note of a person who has come to the end; of others, who may not have agreed, nothing is stored."""
        if person.stage == "done":
            text = fields.get("note", "").strip()
            await self._change(lambda connection: store.update_person(connection, person.id, note=text))
        return _to("/")

    async def withdraw(self, request: Request, person: Person, fields: dict[str, str]) -> Response:
        """Delete all that is stored about a person, on the disk, too."""
        if fields.get("sure") != "yes":
            return self._page("withdraw", request)
        self.games.leave(person.id)
        await self._change(lambda connection: store.delete_person(connection, person.id))
        await run_in_threadpool(store.erase, self.database)
        request.state.person = None
        reply = self._message(200, "Everything that was stored about you is deleted. You may close this page.", request)
        reply.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=self.secure)
        return reply

    # --- files ---

    async def film(self, request: Request) -> Response:
        """Return a film or a still to whoever has a session.

        Raises:
            HTTPException: there is no session, or no such film.
        """
        if self._person(request) is None and not self._is_operator(self._token(request)):
            raise HTTPException(401, "Please enter your code first.")
        name = request.path_params["name"]
        still = request.url.path.startswith("/stills/")
        content = store.picture(self._read, name, still) if _ID.fullmatch(name) else None
        if content is None:
            raise HTTPException(404)
        kept = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(content, media_type="image/png", headers=kept)

    async def static(self, request: Request) -> Response:
        """Return the style or the script.

        Raises:
            HTTPException: there is no such file.
        """
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        return Response(self._files[name], media_type=_STATIC[name], headers={"Cache-Control": "max-age=60"})

    # --- the operator ---

    async def operator(self, request: Request) -> Response:
        """Show how far people are, and what the learner has learnt."""
        if not self._is_operator(self._token(request)):
            return _to("/")
        rows = [(person, store.progress(self._read, person.id)) for person in store.people(self._read)]
        fits = store.fits(self._read)
        pairs, unseen = store.count_pairs(self._read)
        return self._page(
            "operator",
            request,
            rows=rows,
            pairs=pairs,
            unseen=unseen,
            answers=store.count_answers(self._read),
            curves=[curve for curve in (_curve(fits, "score"), _curve(fits, "predicted")) if curve],
            film=len(fits) if store.last_film(self._read) is not None else 0,
        )

    async def learnt_film(self, request: Request) -> Response:
        """Return the film of what the learner would do now.

        Raises:
            HTTPException: there is none, or the session is not the operator's.
        """
        content = store.last_film(self._read) if self._is_operator(self._token(request)) else None
        if content is None:
            raise HTTPException(404)
        return Response(content, media_type="image/png")


def _to(address: str) -> RedirectResponse:
    return RedirectResponse(address, 303)


def _paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text."""
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _words(shows: str, number: float) -> str:
    value = f"{number:.1f}".replace("-0.0", "0.0").removesuffix(".0").replace("-", "\u2212")
    return f"Score of these moves: {value}" if shows == "partial_return" else f"Lost by these moves: {value}"


_TITLES = {
    "score": "Score of the policy that the learner would follow now",
    "predicted": "Share of the last 50 answers that were predicted",
}


def _curve(fits: list[tuple[int, dict[str, Any]]], name: str) -> dict[str, Any] | None:
    """Return a curve over answers, from 0 to 1, as the points of a line in a box of 600 x 200."""
    points = [(answers, about[name]) for answers, about in fits if about.get(name) is not None]
    if not points:
        return None
    most = max(answers for answers, _ in points)
    places = [(f"{600 * n / most:.1f}", f"{200 * (1 - min(max(y, 0.0), 1.0)):.1f}") for n, y in points]
    line = " ".join(f"{x},{y}" for x, y in places)
    return {"title": _TITLES[name], "line": line, "end": places[-1], "most": most, "last": f"{points[-1][1]:.2f}"}
