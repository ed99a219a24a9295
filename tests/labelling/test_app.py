"""The pages: the way through a study, who may do what, and what hostile requests get."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from valuegym.labelling import store
from valuegym.labelling.study import CONDITIONS, Study

from .conftest import PLAIN, Make, Visitor, invite

Visit = Callable[..., Visitor]
HOSTILE = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>{{ 7*7 }}\x00\u202e"


def test_the_way_through_a_study(make: Make, visit: Visit) -> None:
    database = make(break_every=4)
    one = visit(database)
    assert "Before you begin" in one.page and "at most 365 days" in one.page
    one.walk_to_pairs()
    with database.look() as connection:
        [person] = store.people(connection)
    assert (person.stage, person.moves, person.attempts) == ("label", 2, 1)
    assert person.agreed is not None and person.consent == Study.read(database.folder).consent_hash()
    for number in range(6):
        assert f"{number} of 6 pairs" in one.page
        one.choose("left")
        if number == 3:
            assert "Time for a break" in one.page
            one.send("/continue")
    assert "That was all" in one.page
    one.send("/note", note=HOSTILE)
    assert html.escape(HOSTILE.replace("\x00", "\x00"), quote=True)[:30] in one.page and "<script>alert" not in one.page
    with database.look() as connection:
        assert store.count_answers(connection) == 6 and store.people(connection)[0].note == HOSTILE.strip()


def test_every_page_leads_to_where_a_person_is(make: Make, visit: Visit) -> None:
    database = make()
    one = visit(database)
    for page in ("label", "play", "quiz", "done", "instructions", ""):
        assert str(one.get(f"/{page}").url).endswith("/consent")
    one.send("/quiz")
    one.send("/finish")
    assert "Before you begin" in one.get("/").text, "no stage is left out by a form"
    one.come_to_pairs(database)
    assert "Instructions" in one.get("/instructions").text
    assert str(one.get("/consent").url).endswith("/label")


def test_who_does_not_agree_gives_nothing(make: Make, visit: Visit) -> None:
    database = make()
    one = visit(database)
    one.send("/consent", agree="no")
    assert "You do not take part" in one.page
    assert "You do not take part" in one.get("/label").text
    with database.look() as connection:
        [person] = store.people(connection)
    assert (person.stage, person.agreed, person.consent) == ("declined", None, None)


@pytest.mark.parametrize("agree", ["", "no"])
def test_a_note_of_who_has_not_agreed_is_not_stored(make: Make, visit: Visit, agree: str) -> None:
    database = make()
    person = visit(database, invite(database)[1])
    marked = person.get("/consent").text
    if agree:
        person.send("/consent", agree=agree)
        person.page = marked
    person.send("/note", note="I am Ada.")
    with database.look() as connection:
        assert [one.note for one in store.people(connection)] == [None]


def test_wrong_answers_to_the_quiz_are_named(make: Make, visit: Visit) -> None:
    one = visit(make(play_steps=0))
    one.send("/consent", agree="yes")
    one.send("/instructions")
    reply = one.send("/quiz", **{"question-0": 0, "question-1": 0})
    assert reply.status_code == 422 and one.page.count("(not right)") == 2
    assert "2 of the answers are not right" in one.page and one.page.count(" checked") == 2


@pytest.mark.parametrize("shows", ["nothing", "partial_return", "regret"])
def test_each_condition_has_its_words_and_its_number(make: Make, visit: Visit, shows: str) -> None:
    database = make(conditions={shows: CONDITIONS[shows]})
    one = visit(database)
    one.come_to_pairs(database)
    condition = CONDITIONS[shows]
    assert condition.question in one.page
    assert condition.words in html.unescape(one.get("/instructions").text)
    one.get("/")
    numbers = re.findall(r'class="number">([^<]*)<', one.page)
    with database.look() as connection:
        item = store.open_item(connection, 1)
        assert item is not None
        view = store.pair_of(connection, item.pair)
    known = {"nothing": None, "partial_return": view.earned, "regret": view.lost}[shows]
    assert len(numbers) == (0 if known is None else 2)
    if known is not None:
        order = reversed(known) if item.flipped else known
        read = [float(text.rpartition(" ")[2].replace("\u2212", "-")) for text in numbers]
        assert read == pytest.approx(list(order), abs=0.051)
    films = re.findall(r'src="/films/([0-9a-f]+)"', one.page)
    assert films == list(reversed(view.films) if item.flipped else view.films)
    for kind in ("films", "stills"):
        reply = one.client.get(f"/{kind}/{films[0]}")
        assert reply.content.startswith(b"\x89PNG") and "immutable" in reply.headers["cache-control"]


def test_a_check_says_what_to_answer(make: Make, visit: Visit) -> None:
    database = make(check_every=1)
    one = visit(database)
    one.come_to_pairs(database)
    [expected] = re.findall(r"please answer <strong>(left|right)</strong>", one.page)
    one.choose(expected)
    with database.look() as connection:
        assert store.progress(connection, 1) == (0, 1, 1)


def test_refreshing_going_back_and_sending_again_doubles_nothing(make: Make, visit: Visit) -> None:
    database = make()
    one = visit(database)
    one.come_to_pairs(database)
    before = one.page
    assert one.get("/label").text == before
    number = one.item
    one.choose("left")
    assert one.item != number
    one.page = before  # the button Back of a browser shows the former page
    assert one.choose("left").status_code == 200 and "1 of 6" in one.page
    one.page = before
    assert one.choose("right").status_code == 409 and "that answer stays" in one.page
    with database.look() as connection:
        assert store.count_answers(connection) == 1


def test_two_people_at_once_share_no_pair(make: Make, visit: Visit) -> None:
    database = make()
    people = [visit(database), visit(database)]
    for one in people:
        one.come_to_pairs(database)
    for _ in range(6):
        for one in people:
            one.choose("same")
    with database.look() as connection:
        pairs = [one.pair for one in store.answered_pairs(connection)]
    assert len(pairs) == len(set(pairs)) == 12


def test_a_person_who_finds_no_pair_may_wait_or_end(make: Make, visit: Visit) -> None:
    database = make(pairs=1)
    one = visit(database)
    one.come_to_pairs(database)
    one.choose("left")
    assert "No pair is left for you now" in one.page
    one.send("/finish")
    assert "That was all" in one.page


def test_withdrawing_deletes_everything_at_once(make: Make, visit: Visit) -> None:
    database = make()
    _, token = invite(database)
    one = visit(database, token)
    one.come_to_pairs(database)
    one.choose("left")
    assert "Delete your answers?" in one.send("/withdraw").text
    assert "is deleted" in one.send("/withdraw", sure="yes").text
    with database.look() as connection:
        assert store.people(connection) == [] and store.count_answers(connection) == 0
    assert visit(database, token).status == 403, "the code is no longer known"


# --- who may do what ---


def test_nothing_is_shown_without_a_code(make: Make, visit: Visit) -> None:
    database = make()
    with database.look() as connection:
        [name] = [film for film, *_ in connection.execute("SELECT id FROM films LIMIT 1")]
    nobody = visit(database, "wrong")
    assert nobody.status == 403 and "There is no such code" in nobody.page
    for path in ("/label", "/consent", "/play", "/operator", "/done"):
        assert str(nobody.get(path).url).endswith("1/"), path
    for path in (f"/films/{name}", f"/stills/{name}"):
        assert nobody.get(path).status_code == 401
    for path in ("/play/picture.png", "/operator/film.png"):
        assert nobody.get(path).status_code == 404
    for path in ("/answer", "/consent", "/withdraw", "/note", "/play", "/quiz", "/continue", "/finish"):
        assert nobody.send(path).status_code == 401, path


def test_a_form_needs_the_mark_of_its_own_session(make: Make, visit: Visit) -> None:
    database = make()
    one, other = visit(database), visit(database)
    for visitor in (one, other):
        visitor.come_to_pairs(database)
    item = one.item
    for mark in ("", "0" * 64, *re.findall(r'name="mark" value="(\w+)"', other.page)):
        reply = one.client.post("/answer", data={"mark": mark, "item": item, "choice": "left"})
        assert reply.status_code == 403, mark
    assert one.client.post("/answer", data={"item": item, "choice": "left"}).status_code == 403
    with database.look() as connection:
        assert store.count_answers(connection) == 0


SENDERS: list[tuple[dict[str, str], int]] = [
    ({"host": "evil.example"}, 421),
    ({"host": "127.0.0.1:81"}, 421),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "http://127.0.0.1:81"}, 403),
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"sec-fetch-site": "same-site"}, 403),
    ({"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}, 200),
    ({"host": "localhost", "origin": "http://localhost"}, 200),
]


def test_other_hosts_and_sites_are_refused(make: Make, visit: Visit) -> None:
    one = visit(make())
    [mark] = re.findall(r'name="mark" value="(\w+)"', one.page)
    cookie = {"cookie": f"valuegym_label={one.client.cookies['valuegym_label']}"}
    for headers, status in SENDERS:
        reply = one.client.post("/consent", data={"mark": mark, "agree": "yes"}, headers=headers | cookie)
        assert reply.status_code == status, headers


def test_every_reply_has_the_headers_and_no_page_has_code_in_it(make: Make, visit: Visit) -> None:
    from valuegym.labelling.app import HEADERS

    database = make()
    one = visit(database)
    one.come_to_pairs(database)
    for path in ("/label", "/instructions", "/static/keys.js", "/films/no", "/nowhere", "/operator"):
        reply = one.get(path)
        for name, value in HEADERS.items():
            assert name == "Cache-Control" or reply.headers[name] == value, (path, name)
        assert not re.search(r"<script(?! src=)| style=|<style| on\w+=|javascript:|https?://", reply.text), path
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_the_cookie_is_for_this_server_alone(make: Make, visit: Visit) -> None:
    database = make()
    _, token = invite(database)
    reply = visit(database).client.post("/enter", data={"code": token}, follow_redirects=False)
    said = reply.headers["set-cookie"].lower()
    assert all(word in said for word in ("httponly", "samesite=strict", "path=/")) and reply.status_code == 303


def test_pages_behind_a_proxy_have_their_own_name_and_secure_cookies(make: Make) -> None:
    testclient = pytest.importorskip("starlette.testclient")
    from valuegym.labelling.app import Pages

    database = make()
    pages = Pages(database.folder, 8000, ["study.example"], secure=True)
    client = testclient.TestClient(pages.asgi, base_url="https://study.example")
    reply = client.post("/enter", data={"code": invite(database)[1]}, follow_redirects=False)
    assert "; secure" in reply.headers["set-cookie"].lower()
    assert testclient.TestClient(pages.asgi, base_url="http://127.0.0.1").get("/").status_code == 421
    pages.close()


# --- hostile requests ---


PATHS: list[str] = [
    "/films/../study.db",
    "/films/..%2fstudy.db",
    "/films/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/films/" + "0" * 32,
    "/films/" + "A" * 32,
    "/films/0'%20OR%20'1'='1",
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/study.db",
    "/static/%00",
    "/static/keys.js%00",
    "/operator-token",
    "/study.json",
]


def test_no_path_leads_out(make: Make, visit: Visit) -> None:
    one = visit(make())
    for path in PATHS:
        reply = one.client.get(path)
        assert reply.status_code == 404 and "root:" not in reply.text and "import" not in reply.text, path


WRONG_ANSWERS: list[tuple[dict[str, str], int]] = [
    ({"item": "0", "choice": "middle"}, 400),
    ({"item": "-1", "choice": "left"}, 400),
    ({"item": "0 OR 1=1", "choice": "left"}, 400),
    ({"item": "9" * 30, "choice": "left"}, 400),
    ({"item": "9", "choice": "left"}, 404),
    ({"item": "0", "choice": HOSTILE}, 400),
    ({"choice": "left"}, 400),
    ({"item": "0"}, 400),
]


def test_a_wrong_answer_is_refused_and_stores_nothing(make: Make, visit: Visit) -> None:
    database = make()
    one = visit(database)
    one.come_to_pairs(database)
    page = one.page
    for fields, status in WRONG_ANSWERS:
        one.page = page
        assert one.send("/answer", **fields).status_code == status, fields
        assert "<img" not in one.page
    with database.look() as connection:
        assert store.count_answers(connection) == 0


BODIES: list[tuple[bytes, str, int]] = [
    (b"a=" + b"x" * 20_000, "application/x-www-form-urlencoded", 413),
    (b"&".join(b"a%d=1" % i for i in range(100)), "application/x-www-form-urlencoded", 400),
    (b"mark=1&mark=2", "application/x-www-form-urlencoded", 400),
    (b"mark=\xff", "application/x-www-form-urlencoded", 400),
    (b"mark=%ff", "application/x-www-form-urlencoded", 400),
    (b"{}", "application/json", 415),
    (b"", "multipart/form-data; boundary=x", 415),
]


def test_a_form_that_no_browser_sends_is_refused(make: Make, visit: Visit) -> None:
    one = visit(make())
    for content, kind, status in BODIES:
        reply = one.client.post("/consent", content=content, headers={"content-type": kind})
        assert reply.status_code == status, content[:40]


def test_texts_of_the_study_are_escaped(make: Make, visit: Visit) -> None:
    database = make(
        title=HOSTILE,
        consent=HOSTILE,
        instructions=HOSTILE,
        conditions={"nothing": replace(CONDITIONS["nothing"], question=HOSTILE, words=HOSTILE)},
    )
    one = visit(database)
    for page in (one.page, one.send("/consent", agree="yes").text):
        assert "<script>alert" not in page and "<img" not in page and "{{ 7*7 }}" in page
    one.get("/")


def test_who_is_too_fast_has_to_wait(make: Make, visit: Visit) -> None:
    one = visit(make(answers_per_second=0.001))
    replies = [one.send("/note", note="") for _ in range(30)]
    late = [reply for reply in replies if reply.status_code == 429]
    assert len(late) >= 10 and int(late[0].headers["retry-after"]) > 100


def test_rate_limit_gives_back_what_time_brings() -> None:
    from valuegym.labelling.app import RateLimit

    rate = RateLimit(2.0, 3, keys=2)
    assert [rate.seconds("a", 0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert rate.seconds("b", 0.0) == 0
    assert rate.seconds("a", 0.25) == pytest.approx(0.25) and rate.seconds("a", 0.5) == 0
    rate.seconds("c", 0.5)
    assert rate.seconds("b", 0.5) == 0, "of more keys than are kept the oldest is forgotten"


def test_codes_cannot_be_tried_without_end(make: Make, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuegym.labelling.app.ENTRY_BURST", 3)
    one = visit(make())
    assert 429 in {one.send("/enter", code="guess").status_code for _ in range(5)}


def test_a_failure_is_said_without_its_reason(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    testclient = pytest.importorskip("starlette.testclient")
    from valuegym.labelling.app import Pages

    database = make()
    pages = Pages(database.folder, 80)
    client = testclient.TestClient(pages.asgi, base_url="http://127.0.0.1", raise_server_exceptions=False)
    client.cookies.set("valuegym_label", invite(database)[1])

    def fail(*_: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(store, "person_of", fail)
    reply = client.get("/label")
    assert reply.status_code == 500 and "secret" not in reply.text and "nothing is lost" in reply.text
    pages.close()


# --- the operator ---


def test_the_operator_sees_people_curves_and_the_film(make: Make, visit: Visit) -> None:
    from valuegym.labelling.app import operator_token

    database = make()
    one = visit(database)
    one.come_to_pairs(database)
    one.choose("left")
    with database.change() as connection:
        store.update_person(connection, 1, note=HOSTILE)
        for answers, score in ((1, 0.2), (2, 0.8)):
            store.save_fit(connection, answers, {"score": score, "predicted": None}, b"\x89PNG film", {})
    assert one.get("/operator").url.path == "/label", "people are no operators"
    operator = visit(database, operator_token(database.folder))
    assert "Answers: 1. Pairs: 40, 38 of which" in operator.page
    assert 'points="300.0,160.0 600.0,40.0"' in operator.page
    assert "<script>alert" not in operator.page and html.escape("<script>") in operator.page
    assert operator.client.get("/operator/film.png").content == b"\x89PNG film"
    assert operator_token(database.folder) == operator_token(database.folder)
    path = Path(database.folder / "operator-token")
    assert path.stat().st_mode & 0o077 == 0
    operator.send("/leave")
    assert "Enter your code" in operator.page


def test_every_field_of_the_plain_study_is_checked() -> None:
    with pytest.raises(ValueError, match="learner is 'best'"):
        replace(PLAIN, learner="best")
