"""The leaderboards as one static page: HTML, CSS and drawings in a single file that asks the network for nothing."""

from __future__ import annotations

import html
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from valuegym.leaderboards.plots import HIGHEST, LOWEST, assign, clipped, drawn, plot, symbol
from valuegym.leaderboards.scores import Score
from valuegym.leaderboards.table import OPEN_BOOK, Board, Row, boards, footnotes, heading, interval_text, point_text
from valuegym.leaderboards.table import starred as open_book

TIERS = {
    "claimed": "as sent in, not yet replayed",
    "replayed": "every recorded transition was recomputed, and the score from them",
    "rejected": "did not survive the replay; neither ranked nor drawn",
}

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fdfdfb; --card: #ffffff; --ink: #1f2328; --muted: #6a7079; --faint: #e3e4e0; --link: #1f4fb8;
  --good: #0b6b47; --good-back: #dff3e8; --bad: #a3261b; --bad-back: #fbe4e1; --plain-back: #eeeeea;
  --agent-0: #2f5fd0; --agent-1: #bd4d0c; --agent-2: #0c7a54; --agent-3: #9333b8;
  --agent-4: #8a6206; --agent-5: #0b7592; --agent-6: #c81e68; --agent-7: #6b6259;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --card: #1c1f23; --ink: #e6e7e9; --muted: #9aa1ab; --faint: #33373d; --link: #8fb4ff;
    --good: #7fdcb0; --good-back: #14382a; --bad: #ff9d92; --bad-back: #47201c; --plain-back: #2b2f35;
    --agent-0: #84a9ff; --agent-1: #ff9b57; --agent-2: #4fd6a0; --agent-3: #d494f2;
    --agent-4: #e6bd4f; --agent-5: #56cbe9; --agent-6: #ff86b4; --agent-7: #c6bdb3;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 56rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .25rem; overflow-wrap: anywhere; }
p { margin: 0 0 .75rem; max-width: 44rem; }
a { color: var(--link); }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { margin: 0 0 .75rem; padding: .75rem 1rem; background: var(--plain-back); border-radius: 6px; overflow-x: auto; }
section { margin-top: 1.5rem; padding: 1.25rem; background: var(--card); border: 1px solid var(--faint);
  border-radius: 10px; }
.plain { background: none; border: 0; padding: 1.25rem 0 0; }
.muted, .open-book { color: var(--muted); }
.plot { display: block; width: 100%; height: auto; margin: .5rem 0; }
.plot text { font-family: inherit !important; }
.wide { max-width: 800px; }
.narrow, .key { display: none; }
.swatch { width: 26px; height: 12px; margin-right: .45rem; vertical-align: -1px; }
.note { margin: .75rem 0 0; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; }
th, td { padding: .4rem .6rem; text-align: right; vertical-align: top; border-top: 1px solid var(--faint);
  white-space: nowrap; }
thead th { border-top: 0; color: var(--muted); font-size: .85rem; font-weight: 600; vertical-align: bottom; }
th.name, td.name { text-align: left; font-weight: 600; }
tbody th { font-weight: 600; }
th:first-child, td:first-child { padding-left: 0; }
td small { display: block; color: var(--muted); font-size: .78rem; line-height: 1.3; }
tbody.references { color: var(--muted); }
tbody.references th { font-weight: 400; }
tr.rejected { color: var(--muted); }
.badge { padding: .1rem .5rem; border-radius: 1rem; font-size: .8rem; font-weight: 500; background: var(--plain-back); }
.badge.replayed { color: var(--good); background: var(--good-back); }
.badge.rejected { color: var(--bad); background: var(--bad-back); }
.plain h2 { margin-bottom: .6rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1rem; margin: 0 0 1rem; }
dd { margin: 0; }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (max-width: 40rem) {
  main { padding: 1.5rem .75rem 3rem; }
  h1 { font-size: 1.6rem; }
  section { padding: .9rem .75rem; }
  .wide { display: none; }
  .narrow { display: block; }
  .key { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: 0 0 .75rem; padding: 0; list-style: none;
    font-size: .85rem; }
  .spare, .scroll .swatch { display: none; }
  table { font-size: .88rem; }
  th, td { padding: .35rem .3rem; }
  td small { font-size: .72rem; }
  tbody .name { white-space: normal; }
  .many .name { position: sticky; left: 0; background: var(--card); }
}
"""


def write_page(
    scores: Sequence[Score],
    path: str | os.PathLike[str],
    title: str = "valuegym leaderboards",
    notes: Sequence[str] = (),
) -> Path:
    """Write the leaderboards as one static page; the same scores give the same bytes.

    Args:
        scores: any number, of any agents on any experiments.
        path: of the page; its folder is made, and the file is replaced in one step.
        title: heading of the page.
        notes: paragraphs of plain text at its end.

    Returns:
        The path.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: for scores that do not fit their reports, or are not finite.
    """
    try:
        page = _page(boards(scores), title, notes)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise ImportError('The page needs matplotlib: pip install "valuegym[site]".') from error
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(page)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return target


def _page(all_boards: Sequence[Board], title: str, notes: Sequence[str]) -> str:
    series = assign(all_boards)
    anchors = _anchors([board.experiment for board in all_boards])
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true">',
        *(symbol(index) for index in sorted(set(series.values()))),
        "</svg>",
        f"<h1>{html.escape(title)}</h1>",
        "<p>Scores are 0 at the naive reference and 1 at the oracle, both computed by the suite. Each number is an "
        "interquartile mean over seeds and episodes with its 95% bootstrap interval.</p>",
        _overview(all_boards, anchors) if all_boards else "<p>No scores yet.</p>",
        *(_section(board, series, anchors[board.experiment]) for board in all_boards),
        _trust(),
        _notes(notes),
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _anchors(experiments: Sequence[str]) -> dict[str, str]:
    """Experiment -> an id for it, readable where its name allows it and unique either way."""
    anchors: dict[str, str] = {}
    for experiment in experiments:
        plain = re.sub(r"[^a-z0-9]+", "-", experiment.lower()).strip("-")
        anchors[experiment] = plain if plain not in anchors.values() else f"{plain}--{len(anchors)}"
    return anchors


def _overview(all_boards: Sequence[Board], anchors: dict[str, str]) -> str:
    rows = []
    for board in all_boards:
        first = next((row for row in board.agents if row.rank == 1), None)
        leader = html.escape(first.score.agent) if first else '<span class="muted">not ranked</span>'
        rows.append(
            f'<tr><th scope="row" class="name"><a href="#x{anchors[board.experiment]}">'
            f'{_breakable(board.experiment)}</a></th><td class="name">{leader}</td>'
            f'<td>{_cell(first.estimates[-1]) if first else ""}</td><td class="spare">{len(board.agents)}</td></tr>'
        )
    return (
        '<section aria-label="Overview"><div class="scroll"><table><thead><tr>'
        '<th scope="col" class="name">experiment</th><th scope="col" class="name">first</th>'
        '<th scope="col">score</th><th scope="col" class="spare">agents</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _section(board: Board, series: dict[str, int], anchor: str) -> str:
    key = "".join(f"<li>{_swatch(row, series)}{html.escape(row.score.agent)}</li>" for row in drawn(board))
    notes = footnotes(board)
    if clipped(board):
        notes.append(f"The plot shows scores from {LOWEST:g} to {HIGHEST:g}.".replace("-", "−"))
    parts = [
        f'<section id="x{anchor}" aria-labelledby="h{anchor}">',
        f'<h2 id="h{anchor}">{html.escape(board.experiment)}</h2>',
        "" if board.ranked else f'<p class="open-book">{OPEN_BOOK}</p>',
        plot(board, series, f"w{anchor}"),
        plot(board, series, f"n{anchor}", narrow=True),
        f'<ul class="key" aria-hidden="true">{key}</ul>' if len(board.reports) > 1 else "",
        _table(board, series),
        *(f'<p class="muted note">{html.escape(note)}</p>' for note in notes),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _table(board: Board, series: dict[str, int]) -> str:
    single = board.reports == (0,)
    heads = ["score"] if single else [heading(report, i == 0) for i, report in enumerate(board.reports)]
    columns = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads)
    bodies = f"<tbody>{''.join(_row(board, row, series) for row in board.agents)}</tbody>"
    if board.references:
        bodies += f'<tbody class="references">{"".join(_row(board, row, series) for row in board.references)}</tbody>'
    kind = "scroll" if single else "scroll many"
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="Table of {html.escape(board.experiment)}"><table>'
        f'<caption class="visually-hidden">Scores on {html.escape(board.experiment)}</caption>'
        '<thead><tr><th scope="col"><span class="visually-hidden">rank</span></th>'
        f'<th scope="col" class="name">agent</th>{columns}<th scope="col">seeds</th><th scope="col">trust</th>'
        f"</tr></thead>{bodies}</table></div>"
    )


def _row(board: Board, row: Row, series: dict[str, int]) -> str:
    reference = row.score.role == "reference"
    star = "*" if row in open_book(board) else ""
    cells = "".join(f"<td>{_cell(row.at(report))}</td>" for report in board.reports)
    trust = "reference" if reference else _badge(row.tier)
    mark = _swatch(row, series) if row in drawn(board) else ""
    return (
        f"<tr{' class=rejected' if row.tier == 'rejected' else ''}><td>{row.rank or ''}</td>"
        f'<th scope="row" class="name">{mark}{_breakable(row.score.agent)}{star}</th>'
        f"{cells}<td>{len(row.score.seeds)}</td><td>{trust}</td></tr>"
    )


def _cell(estimate: NDArray[np.float64] | None) -> str:
    interval = interval_text(estimate)
    return (point_text(estimate) + (f" <small>{interval}</small>" if interval else "")).replace("-", "−")


def _breakable(name: str) -> str:
    """A name that a narrow column may break after a slash or hyphen."""
    return re.sub(r"([/-])", r"\1<wbr>", html.escape(name))


def _badge(tier: str) -> str:
    known = f" {tier}" if tier in TIERS else ""
    return f'<span class="badge{known}">{html.escape(tier)}</span>'


def _swatch(row: Row, series: dict[str, int]) -> str:
    return f'<svg class="swatch" aria-hidden="true"><use href="#agent-{series[row.score.agent]}"/></svg>'


def _trust() -> str:
    tiers = "".join(f"<dt>{_badge(tier)}</dt><dd>{html.escape(words)}</dd>" for tier, words in TIERS.items())
    return (
        '<section class="plain" id="trust"><h2>How far to trust a score</h2>'
        f"<dl>{tiers}</dl><p>Records hold the actions and the states, so anyone can replay a submission:</p>"
        "<pre><code>valuegym verify path/to/submission</code></pre>"
        "<p>A replay shows that these actions earn this score. It does not show how the actions were found.</p>"
        "</section>"
    )


def _notes(notes: Sequence[str]) -> str:
    paragraphs = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f'<section class="plain" id="notes"><h2>Notes</h2>{paragraphs}</section>' if paragraphs else ""
