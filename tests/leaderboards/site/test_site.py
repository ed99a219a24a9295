"""The boards as text and as a site: order, layout, escaping, self-containment, determinism."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import posixpath
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs import ENVS, extras
from valuegym.leaderboards.experiments import EXPERIMENTS
from valuegym.leaderboards.records.submission import Card
from valuegym.leaderboards.standings.entries import Curve, ListedSubmission
from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.standings.standings import as_data, boards
from valuegym.leaderboards.standings.text import WIDTH, render_markdown, render_text
from valuegym.leaderboards.trust.tiers import DIVISIONS, LIMITS, Standing

MISSING = [name for name in ("jinja2", "PIL") if importlib.util.find_spec(name) is None]
needs_site = pytest.mark.skipif(bool(MISSING), reason="needs jinja2 and pillow: valuegym[site]")
EVALUATION_POINTS = (0, 10, 100, 1000)


def make_score(agent: str, last: float, experiment: str = "preference/boards-regret", **changes) -> Score:
    points = changes.pop("evaluation_points", EVALUATION_POINTS)
    noise = np.random.default_rng(len(agent)).uniform(-0.05, 0.05, size=(4, 6, len(points)))
    values = np.linspace(last / 2, last, len(points)) + noise
    return Score(agent, experiment, points, values, (0, 1, 2, 3), **changes)


def make_scores() -> list[Score]:
    return [
        make_score("partial-return", 0.6),
        make_score("regret", 0.9, standing=Standing("replayed")),
        make_score("cheat", 5.0, standing=Standing(reason="transition 17 does not follow")),
        make_score("peeks", 0.95, ranked=False),
        make_score("oracle", 1.0, role="reference"),
        make_score("regret", 0.7, "control/distractors", evaluation_points=(0,)),
        make_score("follow", 0.4, "coevolution/history", evaluation_points=(0,), ranked=False),
    ]


def test_boards_rank_agents_by_their_last_report() -> None:
    preference, control, coevolution = boards(make_scores())
    assert control.experiment == "control/distractors"
    assert [(row.score.agent, row.rank) for row in preference.agents] == [
        ("regret", 1),  # replayed
        ("partial-return", 1),  # claimed, among its own kind
        ("peeks", None),  # open book
        ("cheat", None),  # rejected
    ]
    assert [row.score.agent for row in preference.references] == ["oracle"]
    assert preference.ranked and control.ranked and not coevolution.ranked
    assert preference.agents[0].estimates[-1, 0] == pytest.approx(0.9, abs=0.03)


def test_only_executed_entries_are_ranked_first_class() -> None:
    """The best claim stands below the worst executed entry, with a place among claims only, and each tier says more."""
    scores = [
        make_score("told", 1.4),
        make_score("public", 0.9, standing=Standing("replayed")),
        make_score("short", 0.8, standing=Standing("replayed", missing=1)),
        make_score("sealed", 0.95, standing=Standing("committed")),
        make_score("run", 0.2, standing=Standing("executed")),
        make_score("best", 0.6, standing=Standing("executed")),
        make_score("silent", 0.1),
        make_score("cheat", 5.0, standing=Standing(reason="no")),
    ]
    (board,) = boards(scores)
    assert [(name, [(row.score.agent, row.rank) for row in rows]) for name, rows in board.divisions] == [
        ("executed", [("best", 1), ("run", 2)]),
        ("committed", [("sealed", 1)]),
        ("replayed", [("public", 1)]),
        ("claimed", [("told", 1), ("silent", 2)]),
        ("incomplete", [("short", None)]),
        ("rejected", [("cheat", None)]),
    ]
    assert all(row.ranks[1] <= board.peers(row) for row in board.agents if row.ranks)
    data = json.loads(json.dumps(as_data(board), allow_nan=False))
    assert [part["limit"] for part in data["divisions"]] == [*reversed(LIMITS.values()), "", ""]
    assert [entry["rank"] for part in data["divisions"] for entry in part["agents"]] == [1, 2, 1, 1, 1, 2, None, None]
    for text in (render_text(scores), render_markdown(scores)):
        places = [text.index(DIVISIONS[name]) for name, _ in board.divisions]
        assert places == sorted(places)
        flat = " ".join(text.split())
        assert all(f"{tier}: {limit}." in flat for tier, limit in LIMITS.items())
        assert text.index("best") < text.index("told")


def test_intervals_of_ranks_stand_below_the_board() -> None:
    """Ten seeds tell the agents apart where they differ by much, and only there."""

    def spread(agent: str, last: float, seeds: int = 10) -> Score:
        values = last + 0.02 * np.random.default_rng(len(agent)).normal(size=(seeds, 5, 1))
        return Score(agent, "control/distractors", (0,), values, tuple(range(seeds)))

    (board,) = boards([spread("a", 0.3), spread("bb", 0.9), spread("ccc", 0.9)])
    assert {row.score.agent: row.ranks for row in board.agents} == {"bb": (1, 2), "ccc": (1, 2), "a": (3, 3)}
    [note] = [
        line for line in render_text([spread("a", 0.3), spread("bb", 0.9)]).splitlines() if line.startswith("Ranks")
    ]
    assert note.endswith("for all of it together: bb 1, a 2.")
    assert "Ranks" not in render_text([spread("a", 0.3)])
    (board,) = boards([spread("a", 0.3), spread("bb", 0.9, seeds=1)])  # one seed in common says nothing
    assert [row.ranks for row in board.agents] == [(1, 2), (1, 2)]


def test_terminal_table_is_aligned_and_says_what_is_not_ranked() -> None:
    text = render_text(make_scores())
    preference, _, history, limits = text.split("\n\n")
    assert limits.startswith("replayed: ") and "\nclaimed: " in limits and "executed: " not in limits
    assert history.splitlines()[0] == "coevolution/history (open-book reference, not ranked)"
    lines = preference.splitlines()
    assert re.split(r"\s{2,}", lines[2].strip()) == ["#", "agent", "0 prefs", "10", "100", "1000", "seeds", "status"]
    ends = {line.index("seeds") + 5 for line in lines if "  seeds  " in line}
    regret = next(line for line in lines if " regret " in line)
    assert ends == {re.search(r"  4  replayed$", regret).start() + 3}
    assert re.search(r"1  regret +0\.4\d \[0\.4\d, 0\.4\d\]", regret)
    assert "cheat: rejected: transition 17 does not follow" in lines
    assert "* open-book reference, not ranked" in lines
    assert lines.index(next(line for line in lines if "oracle" in line)) > lines.index(
        next(line for line in lines if "cheat " in line)
    )


def test_terminal_table_fits_its_width() -> None:
    many = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    scores = [
        make_score("a-name-that-goes-on-and-on-and-on-and-on", -0.9, evaluation_points=many),
        make_score("b", -0.8),
    ]
    text = render_text(scores)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert re.search(r"\d of 11 evaluation points left out", text)
    assert "0 prefs" in text and " 1000 " in text
    stacked = render_text([make_score("b", -0.8)])  # four negative columns need a second line
    assert "left out" not in stacked and max(map(len, stacked.splitlines())) <= WIDTH
    assert re.search(r"b +-0\.\d\d +-0\.\d\d +-0\.\d\d +-0\.\d\d", stacked)


def test_missing_reports_and_single_values_have_no_interval() -> None:
    short = make_score("short", 0.5, evaluation_points=(0, 10))
    one = Score("one", "preference/boards-regret", EVALUATION_POINTS, np.full((1, 1, 4), -0.001), (0,))
    text = render_text([make_score("regret", 0.9), short, one])
    cells = re.split(r"\s{2,}", next(line for line in text.splitlines() if " short " in line).strip())
    assert cells[-4:-2] == ["–", "–"]
    assert re.search(r"one +0\.00 +0\.00 +0\.00 +0\.00 +1  claimed", text)  # and no minus zero


def test_markdown_has_the_same_cells() -> None:
    text = render_markdown([*make_scores(), make_score("a|b", 0.1, "control/distractors", evaluation_points=(0,))])
    assert "### coevolution/history (open-book reference, not ranked)" in text
    assert r"| a\|b |" in text
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("###")[1:]]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert tables[0][0] == "| # | agent | 0 prefs | 10 | 100 | 1000 | seeds | status |"


def test_no_scores_is_not_an_error() -> None:
    assert render_text([]) == render_markdown([]) == "No scores yet."


def test_values_must_fit_the_reports() -> None:
    with pytest.raises(
        ValueError, match=r"regret on e have shape \(2, 3, 1\), expected .* for evaluation points \(0, 10\)"
    ):
        boards([Score("regret", "e", (0, 10), np.zeros((2, 3, 1)), (0, 1))])


def test_same_agent_twice_is_two_rows() -> None:
    (board,) = boards([make_score("regret", 0.9), make_score("regret", 0.9, standing=Standing("replayed"))])
    assert [row.rank for row in board.agents] == [1, 1]  # one is replayed, the other claimed


class Page(HTMLParser):
    """Collects what a page is made of, and insists that its tags are balanced."""

    VOID = frozenset({"meta", "br", "wbr", "link", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


SEEN = "</style></svg></title><script>alert(1)</script>\"'&$x_1$../..//"
NASTY = f"{SEEN}\u202e\u200b\x00\n"  # cards with what cannot be seen are refused
CARD = Card(
    name="sent",
    about=f"About {SEEN}",
    authors=("A. Person", SEEN),
    code="https://example.org/?a=\"'<b>&c",
    priors=SEEN,
    data="nothing",
    compute={"hardware": SEEN, "hours": 0.5},
)


def make_site(folder: Path, scores: list[Score] | None = None, **changes: Any) -> dict[str, bytes]:
    """All files of a site by name."""
    from valuegym.leaderboards.site.pages import write_site

    first = write_site(make_scores() if scores is None else scores, folder, **changes)
    assert first == folder / "index.html"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pages_of(files: dict[str, bytes]) -> dict[str, str]:
    return {name: content.decode() for name, content in files.items() if name.endswith(".html")}


def words_of(text: str) -> str:
    return " ".join("".join(words for tag, words in Page(text).words if tag != "style").split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    pytest.importorskip("PIL")
    pytest.importorskip("jinja2")
    sent = [
        make_score("sent", 0.8, f"control/{name}", evaluation_points=(0,), standing=Standing("executed"))
        for name in ("pendulum", "lqr", "mountain-car")
    ]
    curve = Curve((0, 1000, 5000), np.array([[0.0, -0.1, 0.1], [0.5, 0.4, 0.6], [0.8, np.nan, np.nan]]))
    tracks = tuple(score.experiment for score in sent)
    submissions = {
        "sent": [ListedSubmission(CARD, "sent file.zip", "ab" * 32, tracks, ("a note",), {"control/pendulum": curve})]
    }
    folder = tmp_path_factory.mktemp("site") / "folder"
    return make_site(
        folder, [*make_scores(), *sent], title="Boards", notes=["First.", "Second."], submissions=submissions
    )


@pytest.fixture(scope="module")
def pages(site: dict[str, bytes]) -> dict[str, str]:
    return pages_of(site)


@needs_site
def test_there_is_a_page_for_each_board_and_agent_and_a_picture_of_each_environment(site: dict[str, bytes]) -> None:
    agents = ("cheat", "follow", "oracle", "partial-return", "peeks", "regret", "sent")
    boards_of = ("preference-boards-regret", "control-distractors", "coevolution-history")
    boards_of += ("control-pendulum", "control-lqr", "control-mountain-car")
    expected = {"index.html", "agents.html", "environments.html", "trust.html", "style.css", "sort.js"}
    expected |= {f"agents/{name}.html" for name in agents} | {
        f"boards/{name}.{kind}" for name in boards_of for kind in ("html", "json")
    }
    pictures = {name for name in site if name.endswith(".png")}
    assert set(site) - pictures == expected
    assert len(pictures) == len(ENVS)
    for name in pictures:
        assert site[name].startswith(b"\x89PNG\r\n") and len(site[name]) < 200_000


@needs_site
def test_links_lead_somewhere_and_nothing_is_fetched_from_elsewhere(
    site: dict[str, bytes], pages: dict[str, str]
) -> None:
    identifiers = {name: {a["id"] for _, a in Page(text).tags if "id" in a} for name, text in pages.items()}
    for name, text in pages.items():
        page = Page(text)
        assert not {tag for tag, _ in page.tags} & {"iframe", "object", "base", "form", "embed", "audio", "video"}
        assert [tag for tag, _ in page.tags].count("script") == 1
        for tag, attributes in page.tags:
            for attribute, value in attributes.items():
                assert not attribute.startswith("on")
                if attribute not in ("src", "href", "xlink:href", "action"):
                    continue
                if tag == "a" and value == CARD.code:
                    assert name == "agents/sent.html" and attributes["rel"] == "noreferrer nofollow"
                    continue
                target, _, anchor = value.partition("#")
                where = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
                assert where in site, (name, tag, value)
                assert not anchor or anchor in identifiers[where], (name, tag, value)
        policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
        assert policy.startswith("default-src 'none'") and "http:" not in policy and "https:" not in policy
    style = site["style.css"].decode()
    assert "@import" not in style and "url(" not in style and "prefers-color-scheme: dark" in style
    assert "http" not in site["sort.js"].decode() and "eval" not in site["sort.js"].decode()


@needs_site
def test_pages_are_accessible(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        page = Page(text)
        assert page.all("html") == [{"lang": "en"}]
        assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
        assert len(page.all("h1")) == len(page.all("main")) == page.all("title").count({}) == 1
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels)), name
        assert all(th.get("scope") in ("col", "row", "rowgroup") for th in page.all("th"))
        assert len(page.all("caption")) == len(page.all("table"))
        assert all(len(img["alt"]) > 20 and img["width"] and img["height"] for img in page.all("img"))
        identifiers = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
        assert max(identifiers.values()) == 1
        skip = page.all("a")[0]
        assert skip["class"] == "skip" and skip["href"] == "#main" and "main" in identifiers
        for svg in page.all("svg"):
            if "plot" in (svg.get("class") or ""):
                assert svg["role"] == "img"
                assert svg["aria-labelledby"] in identifiers and svg["aria-describedby"] in identifiers
            elif "class" in svg or "style" in svg:
                assert svg["aria-hidden"] == "true"
        assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(identifiers)


@needs_site
def test_plots_take_every_colour_from_the_style(site: dict[str, bytes], pages: dict[str, str]) -> None:
    body = "".join(pages.values())
    assert not re.findall(r"(?<!&)#[0-9a-fA-F]{6}\b", body)
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", body))
    assert used and used <= set(re.findall(r"(--[a-z0-9-]+):", site["style.css"].decode()))


@needs_site
def test_boards_show_scores_tiers_and_what_they_leave_open(pages: dict[str, str]) -> None:
    board = pages["boards/preference-boards-regret.html"]
    for expected in (
        "open-book reference, not ranked",
        "cheat: rejected: transition 17 does not follow",
        "preferences shown",
        "Interquartile mean scores with 95% intervals from 0 to 1000 preferences; at the end regret 0.9",
        LIMITS["replayed"],
        "valuegym run --agent regret --experiment preference/boards-regret",
    ):
        assert expected in words_of(board)
    assert set(re.findall(r'class="badge (\w+)"', board)) == {"claimed", "replayed", "rejected"}
    assert all(words in words_of(pages["trust.html"]) for words in LIMITS.values())
    index = words_of(pages["index.html"])
    assert "Boards" in index and "First." in index and "Second." in index
    assert f"6 boards, 6 agents, {len(ENVS)} environments." in index  # agents without the reference


@needs_site
def test_tables_sort_by_what_cells_hold(pages: dict[str, str]) -> None:
    """Each row of a sortable table has a cell for each heading; numbers stand in data-value at their full length."""
    for text in pages.values():
        for table in re.findall(r'<table class="sortable">.*?</table>', text, re.S):
            heads = len(re.findall(r'<th scope="col"', table))
            rows = [row for row in re.findall(r"<tr.*?</tr>", table, re.S)[1:] if 'scope="rowgroup"' not in row]
            assert rows and all(len(re.findall(r"<t[hd][ >]", row)) == heads for row in rows)
            values = re.findall(r'data-value="([^"]*)"', table)
            assert all(math.isfinite(float(value)) for value in values if value)
    scores = re.findall(r'data-value="([^"]+)">0\.9', pages["boards/preference-boards-regret.html"])
    assert scores and all(len(score) > 4 for score in scores)


@needs_site
def test_an_agents_page_says_how_to_replay_it(pages: dict[str, str]) -> None:
    regret = words_of(pages["agents/regret.html"])
    assert "valuegym verify results/preference/boards-regret/regret" in regret
    assert "valuegym run --agent regret --experiment preference/boards-regret --results again" in regret
    assert "preference/boards-regret" in regret and "control/distractors" in regret  # the profile's lines, too
    sent = words_of(pages["agents/sent.html"])
    assert "valuegym verify 'sent file.zip'" in sent and "ab" * 32 in sent and "0.5 hours" in sent and "a note" in sent
    assert "Learning curve of sent on control/pendulum" in sent and "nobody has replayed these" in sent
    assert "A star with a spoke for each track" in sent and "A star" not in regret
    assert "valuegym run" not in sent


@needs_site
def test_everything_is_escaped(tmp_path: Path, pages: dict[str, str]) -> None:

    scores = [
        make_score(NASTY, 0.9, NASTY, standing=Standing(reason=NASTY)),
        make_score(f"x{NASTY}", 0.5, NASTY),
        make_score(f"y{NASTY}", 0.3, NASTY, role="reference"),
        make_score(f"z{NASTY}", 0.3, f"z{NASTY}", evaluation_points=(0,)),
        make_score("x" * 3000, 0.3, "z" * 3000, evaluation_points=(0,)),
        make_score("\ud800", 0.3, "\ud800", evaluation_points=(0,)),
    ]
    submissions = {f"x{NASTY}": [ListedSubmission(CARD, NASTY, NASTY, (NASTY,), (NASTY,))] * 2}
    files = make_site(tmp_path / "site", scores, title=NASTY, notes=[NASTY], submissions=submissions)
    for text in (*pages_of(files).values(), *pages.values()):
        assert text.count("<script") == text.count("</script>") == 1
        assert text.count("</title>") == text.count("<title")
        assert not re.search("[\u202e\u200b\x00]", text)
        Page(text)
    assert {name.count("/") for name in files} == {0, 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]


@needs_site
def test_templates_escape_text_and_show_nothing_else() -> None:
    from markupsafe import Markup

    from valuegym.leaderboards.site.elements import make_templates

    show = make_templates().from_string("<p>{{ value }}</p>").render
    assert show(value="<b>\u202e'") == "<p>&lt;b&gt;\ufffd&#39;</p>"
    assert show(value=Markup("<b>")) == "<p><b></p>" and show(value=3) == "<p>3</p>"
    for wrong in (None, ["<b>"], {"<b>"}, b"x"):
        with pytest.raises(TypeError, match="expected text or a number"):
            show(value=wrong)
    with pytest.raises(Exception, match="'value' is undefined"):
        show()


@needs_site
def test_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    from valuegym.leaderboards.site.pages import _render

    first, second = (make_site(tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert not any(re.search(rb"20\d\d-\d\d-\d\d", content) for name, content in first.items() if "html" in name)
    assert (_render("valuegym/LQR-v0") == _render("valuegym/LQR-v0")).all()
    assert make_site(tmp_path / "a", [])["index.html"].count(b"No scores yet.") == 1  # replaced


@needs_site
def test_addresses_are_unique_and_stay_in_their_folder() -> None:
    from valuegym.leaderboards.site.elements import addresses

    names = ["a/b", "a-b", "A B", "", "..", "../../x", "\x00", "é", "a--1", "x" * 500, "x" * 501]
    found = addresses(names)
    assert list(found) == names and len(set(found.values())) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,66}", name) for name in found.values())
    assert found["a/b"] == "a-b"


@needs_site
def test_a_failed_page_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from valuegym.leaderboards.site.pages import write_site

    path = tmp_path / "style.css"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_site([], tmp_path)
    assert path.read_text(encoding="utf-8") == "old" and os.listdir(tmp_path) == ["style.css"]


def test_without_jinja2_the_extra_is_named() -> None:
    code = "import sys; sys.modules['jinja2'] = None; import valuegym.leaderboards.site.pages"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1 and found.stderr.splitlines()[-1].endswith(f"{extras.hint('site')}.")


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2")
    from valuegym.leaderboards.site.pages import picture, write_site

    picture.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install .*(site|pillow)"):
        write_site(make_scores(), tmp_path / "site")
    assert not list(tmp_path.iterdir())


@needs_site
def test_agents_on_one_board_never_share_colour_and_marker() -> None:
    from valuegym.leaderboards.site.plots import _look, assign_series

    scores = [make_score(f"agent-{i}", 0.5, e) for e in ("a", "b") for i in range(20)] + [make_score("c", 0.1, "c")]
    series = assign_series(boards(scores))
    looks = {_look(series[f"agent-{i}"]) for i in range(20)}
    assert len(looks) == 20
    assert series["c"] == 0


@needs_site
def test_positions_give_zero_a_place_of_its_own() -> None:
    from valuegym.leaderboards.site.plots import positions

    np.testing.assert_allclose(positions(EVALUATION_POINTS), [0, 1, 2, 3])
    np.testing.assert_allclose(np.diff(positions((0, 10, 20, 40))), np.log10(2))
    assert positions((0, 5)) == [0.0, 1.0]
    assert positions((1, 10))[0] == pytest.approx(1.0)


@needs_site
def test_ticks_are_round_and_few() -> None:
    from valuegym.leaderboards.site.plots import ticks

    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(-1.06, 2.06) == pytest.approx([-1, -0.5, 0, 0.5, 1, 1.5, 2])
    rng = np.random.default_rng(0)
    for _ in range(200):
        low = rng.normal() * 10 ** rng.uniform(-3, 3)
        high = low + 10 ** rng.uniform(-3, 3)
        found = ticks(low, high)
        slack = 1e-6 * (high - low)
        assert 2 <= len(found) <= 8 and found[0] >= low - slack and found[-1] <= high + slack
        assert np.ptp(np.diff(found)) <= slack


@needs_site
def test_stars_hold_what_they_show() -> None:
    """A corner for each track at its score, from the middle to the ring; what is beyond ends there."""
    from valuegym.leaderboards.site.plots import radar

    last = {"a": 0.5, "b": 7.0, "c": -3.0}
    found = [boards([make_score("x", last[track], f"control/{track}", evaluation_points=(0,))])[0] for track in "abc"]
    found = [
        replace(board, agents=(replace(board.agents[0], estimates=np.full((1, 3), last[t])),))
        for t, board in zip("abc", found, strict=True)
    ]
    text = radar("control", "x", [(board, board.agents[0]) for board in found], 0, "r")
    [corners] = re.findall(r'<path d="M([^"]*)Z" fill="var\(--agent-0\)" opacity', text)
    points = np.array([pair.split(",") for pair in corners.split()], float) - (180, 125)
    np.testing.assert_allclose(np.hypot(*points.T), [45, 90, 0], atol=0.1)
    assert points[0] == pytest.approx([0, -45], abs=0.1)
    assert "control/a 0.50, control/b 7.00, control/c -3.00" in text
    Page(text)


@needs_site
def test_labels_dodge_each_other_and_stay_near() -> None:
    from valuegym.leaderboards.site.plots import dodge

    assert dodge([0.0, 5.0, 9.0], 1.0) == [0.0, 5.0, 9.0]
    assert dodge([1.0, 1.0, 1.0], 2.0) == pytest.approx([-1.0, 1.0, 3.0])
    wanted = sorted(np.random.default_rng(0).uniform(0, 10, 30))
    placed = dodge(wanted, 0.5)
    assert np.diff(placed).min() >= 0.5 - 1e-9
    assert np.mean(placed) == pytest.approx(np.mean(wanted))


@needs_site
def test_scores_far_outside_are_cut_off_and_said_to_be(tmp_path: Path) -> None:
    name = "boards/preference-boards-regret.html"
    far, near = (make_site(tmp_path, [make_score("a", x)])[name].decode() for x in (-40.0, 0.5))
    assert "The plot shows scores from −1 to 2." in far
    assert "The plot shows" not in near


@needs_site
def test_a_dot_beyond_the_plot_is_an_arrow_and_a_number() -> None:
    from valuegym.leaderboards.site.plots import assign_series, plot

    scores = [
        make_score(name, last, "control/x", evaluation_points=(0,))
        for name, last in (("a", -400), ("b", 5.0), ("c", 0.5))
    ]
    found = boards(scores)
    text = plot(found[0], assign_series(found), "n")
    assert re.findall(r">(← −[0-9.]+|[0-9.]+ →)<", text) == ["2.50 →", "← −200"]
    assert re.search(r"c *\| 0\.25 ", render_markdown(scores)) and re.search(r"a *\| -200 ", render_markdown(scores))


def test_only_query_environments_have_evaluation_points() -> None:
    """A track whose environment has no evaluation points has a single score."""
    from valuegym.leaderboards.standings.gather import evaluation_points

    assert evaluation_points(EXPERIMENTS["preference/boards-regret"], 4) == EVALUATION_POINTS
    assert evaluation_points(EXPERIMENTS["preference/boards-regret"], 2) == EVALUATION_POINTS[:2]
    assert evaluation_points(EXPERIMENTS["coevolution/coevolve-choices"], 1) == (0,)
