"""The boards as text and as a page: order, layout, escaping, self-containment, determinism."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from valuegym.leaderboards.scores import Score
from valuegym.leaderboards.table import WIDTH, boards, render, render_markdown

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib: valuegym[site]"
)
REPORTS = (0, 10, 100, 1000)


def make_score(agent: str, last: float, experiment: str = "preference/boards-regret", **changes) -> Score:
    reports = changes.pop("reports", REPORTS)
    noise = np.random.default_rng(len(agent)).uniform(-0.05, 0.05, size=(4, 6, len(reports)))
    values = np.linspace(last / 2, last, len(reports)) + noise
    return Score(agent, experiment, reports, values, (0, 1, 2, 3), **changes)


def make_scores() -> list[Score]:
    return [
        make_score("partial-return", 0.6),
        make_score("regret", 0.9, status="replayed"),
        make_score("cheat", 5.0, status="rejected: transition 17 does not follow"),
        make_score("peeks", 0.95, ranked=False),
        make_score("oracle", 1.0, role="reference"),
        make_score("regret", 0.7, "control/distractors", reports=(0,)),
        make_score("follow", 0.4, "coevolution/history", reports=(0,), ranked=False),
    ]


def test_boards_rank_agents_by_their_last_report() -> None:
    preference, control, coevolution = boards(make_scores())
    assert control.experiment == "control/distractors"
    assert [(row.score.agent, row.rank) for row in preference.agents] == [
        ("regret", 1),
        ("partial-return", 2),
        ("peeks", None),  # open book
        ("cheat", None),  # rejected
    ]
    assert [row.score.agent for row in preference.references] == ["oracle"]
    assert preference.ranked and control.ranked and not coevolution.ranked
    assert preference.agents[0].estimates[-1, 0] == pytest.approx(0.9, abs=0.03)


def test_intervals_of_ranks_stand_below_the_board() -> None:
    """Ten seeds tell the agents apart where they differ by much, and only there."""

    def spread(agent: str, last: float, seeds: int = 10) -> Score:
        values = last + 0.02 * np.random.default_rng(len(agent)).normal(size=(seeds, 5, 1))
        return Score(agent, "control/distractors", (0,), values, tuple(range(seeds)))

    (board,) = boards([spread("a", 0.3), spread("bb", 0.9), spread("ccc", 0.9)])
    assert {row.score.agent: row.ranks for row in board.agents} == {"bb": (1, 2), "ccc": (1, 2), "a": (3, 3)}
    [note] = [line for line in render([spread("a", 0.3), spread("bb", 0.9)]).splitlines() if line.startswith("Ranks")]
    assert note.endswith("for all together: bb 1, a 2.")
    assert "Ranks" not in render([spread("a", 0.3)])
    (board,) = boards([spread("a", 0.3), spread("bb", 0.9, seeds=1)])  # one seed in common says nothing
    assert [row.ranks for row in board.agents] == [(1, 2), (1, 2)]


def test_terminal_table_is_aligned_and_says_what_is_not_ranked() -> None:
    text = render(make_scores())
    preference, _, history = text.split("\n\n")
    assert history.splitlines()[0] == "coevolution/history (open-book reference, not ranked)"
    lines = preference.splitlines()
    assert re.split(r"\s{2,}", lines[2].strip()) == ["#", "agent", "0 prefs", "10", "100", "1000", "seeds", "status"]
    ends = {line.index("seeds") + 5 for line in lines if "seeds" in line}
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
    scores = [make_score("a-name-that-goes-on-and-on-and-on-and-on", -0.9, reports=many), make_score("b", -0.8)]
    text = render(scores)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert re.search(r"\d of 11 reports left out", text)
    assert "0 prefs" in text and " 1000 " in text
    stacked = render([make_score("b", -0.8)])  # four negative columns need a second line
    assert "left out" not in stacked and max(map(len, stacked.splitlines())) <= WIDTH
    assert re.search(r"b +-0\.\d\d +-0\.\d\d +-0\.\d\d +-0\.\d\d", stacked)


def test_missing_reports_and_single_values_have_no_interval() -> None:
    short = make_score("short", 0.5, reports=(0, 10))
    one = Score("one", "preference/boards-regret", REPORTS, np.full((1, 1, 4), -0.001), (0,))
    text = render([make_score("regret", 0.9), short, one])
    cells = re.split(r"\s{2,}", next(line for line in text.splitlines() if " short " in line).strip())
    assert cells[-4:-2] == ["–", "–"]
    assert re.search(r"one +0\.00 +0\.00 +0\.00 +0\.00 +1  claimed", text)  # and no minus zero


def test_markdown_has_the_same_cells() -> None:
    text = render_markdown([*make_scores(), make_score("a|b", 0.1, "control/distractors", reports=(0,))])
    assert "### coevolution/history (open-book reference, not ranked)" in text
    assert r"| a\|b |" in text
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("###")[1:]]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert tables[0][0] == "| # | agent | 0 prefs | 10 | 100 | 1000 | seeds | status |"


def test_no_scores_is_not_an_error() -> None:
    assert render([]) == render_markdown([]) == "No scores yet."


def test_values_must_fit_the_reports() -> None:
    with pytest.raises(ValueError, match=r"regret on e have shape \(2, 3, 1\), expected .* for reports \(0, 10\)"):
        boards([Score("regret", "e", (0, 10), np.zeros((2, 3, 1)), (0, 1))])


def test_same_agent_twice_is_two_rows() -> None:
    (board,) = boards([make_score("regret", 0.9), make_score("regret", 0.9, status="replayed")])
    assert [row.rank for row in board.agents] == [1, 2]


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


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("matplotlib")
    from valuegym.leaderboards.site import write_page

    path = tmp_path_factory.mktemp("site") / "folder" / "index.html"
    assert write_page(make_scores(), path, title="Boards", notes=["First.", "Second."]) == path
    assert os.listdir(path.parent) == ["index.html"]  # nothing temporary is left
    return path.read_text(encoding="utf-8")


@needs_matplotlib
def test_page_asks_the_network_for_nothing_and_runs_nothing(text: str) -> None:
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "base", "form"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action"):
                assert value.startswith("#"), (tag, name, value)
    style = "".join(words for tag, words in page.words if tag == "style")
    assert "@import" not in style and "url(" not in style
    assert "prefers-color-scheme: dark" in style


@needs_matplotlib
def test_page_is_accessible(text: str) -> None:
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    identifiers = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert max(identifiers.values()) == 1
    plots = [svg for svg in page.all("svg") if "plot" in (svg.get("class") or "")]
    assert len(plots) == 2 * 3  # wide and narrow for three boards
    for svg in plots:
        assert svg["role"] == "img"
        assert svg["aria-labelledby"] in identifiers and svg["aria-describedby"] in identifiers
    targets = [a["href"][1:] for a in page.all("a")]
    targets += [(use.get("href") or use["xlink:href"])[1:] for use in page.all("use")]
    assert targets and set(targets) <= set(identifiers)
    clips = re.findall(r"url\(#([^)]+)\)", text)
    assert clips and set(clips) <= set(identifiers)


@needs_matplotlib
def test_plots_take_every_colour_from_the_page(text: str) -> None:
    body = text.split("</style>", 1)[1]
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", body)
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", body))
    defined = set(re.findall(r"(--[a-z0-9-]+):", text))
    assert used and used <= defined


@needs_matplotlib
def test_page_shows_scores_tiers_and_how_to_replay(text: str) -> None:
    words = " ".join(" ".join(words for tag, words in Page(text).words if tag != "style").split())
    for expected in (
        "Boards",
        "First.",
        "Second.",
        "valuegym verify",
        "open-book reference, not ranked",
        "cheat: rejected: transition 17 does not follow",
        "preferences shown",
        "Interquartile mean scores with 95% intervals from 0 to 1000 preferences; at the end regret 0.9",
    ):
        assert expected in words
    assert set(re.findall(r'class="badge (\w+)"', text)) == {"claimed", "replayed", "rejected"}


@needs_matplotlib
def test_everything_is_escaped(tmp_path: Path) -> None:
    from valuegym.leaderboards.site import write_page

    nasty = "</style></svg><script>alert(1)</script>\"'&$x_1$"
    scores = [
        make_score(nasty, 0.9, nasty, status=f"rejected: {nasty}"),
        make_score(f"x{nasty}", 0.5, nasty, status=nasty),
        make_score(f"y{nasty}", 0.3, nasty, role="reference"),
        make_score(f"z{nasty}", 0.3, f"z{nasty}", reports=(0,)),
    ]
    text = write_page(scores, tmp_path / "page.html", title=nasty, notes=[nasty]).read_text(encoding="utf-8")
    assert "<script" not in text
    assert text.count("</style>") == text.count("<style") + text.count("<style/>")
    Page(text)


@needs_matplotlib
def test_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    from valuegym.leaderboards.site import write_page

    first, second = (write_page(make_scores(), tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second
    assert not re.search(rb"20\d\d-\d\d-\d\d", first)
    assert write_page([], tmp_path / "a.html").read_bytes().count(b"No scores yet.") == 1  # replaced


@needs_matplotlib
def test_a_failed_page_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from valuegym.leaderboards.site import write_page

    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_page([], path)
    assert path.read_text(encoding="utf-8") == "old" and os.listdir(tmp_path) == ["page.html"]


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from valuegym.leaderboards.site import write_page

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"valuegym\[site\]"):
        write_page(make_scores(), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


@needs_matplotlib
def test_agents_on_one_board_never_share_colour_and_marker() -> None:
    from valuegym.leaderboards.plots import _marker, assign

    scores = [make_score(f"agent-{i}", 0.5, e) for e in ("a", "b") for i in range(20)] + [make_score("c", 0.1, "c")]
    series = assign(boards(scores))
    looks = {tuple(sorted(_marker(series[f"agent-{i}"]).items())) for i in range(20)}
    assert len(looks) == 20
    assert series["c"] == 0


def test_positions_give_zero_a_place_of_its_own() -> None:
    from valuegym.leaderboards.plots import positions

    np.testing.assert_allclose(positions(REPORTS), [0, 1, 2, 3])
    np.testing.assert_allclose(np.diff(positions((0, 10, 20, 40))), np.log10(2))
    assert positions((0, 5)) == [0.0, 1.0]
    assert positions((1, 10))[0] == pytest.approx(1.0)


def test_labels_are_spread_apart_and_stay_near() -> None:
    from valuegym.leaderboards.plots import spread

    assert spread([0.0, 5.0, 9.0], 1.0) == [0.0, 5.0, 9.0]
    assert spread([1.0, 1.0, 1.0], 2.0) == pytest.approx([-1.0, 1.0, 3.0])
    wanted = sorted(np.random.default_rng(0).uniform(0, 10, 30))
    placed = spread(wanted, 0.5)
    assert np.diff(placed).min() >= 0.5 - 1e-9
    assert np.mean(placed) == pytest.approx(np.mean(wanted))


@needs_matplotlib
def test_scores_far_outside_are_cut_off_and_said_to_be(tmp_path: Path) -> None:
    from valuegym.leaderboards.site import write_page

    far, near = (write_page([make_score("a", x)], tmp_path / "page.html").read_text("utf-8") for x in (-40.0, 0.5))
    assert "The plot shows scores from −1 to 2." in far
    assert "The plot shows" not in near
