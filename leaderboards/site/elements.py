"""What all pages of the site share: style, script, frame, and the small pieces that tables and lists are made of.

Every text from outside passes through `plain` and `escape`; nothing else may put it into a page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from valuegym._version import __version__
from valuegym.leaderboards.trust.judgement import LIMITS

# `file:` is for pages that are read from a disk, where browsers differ in what 'self' is.
POLICY = (
    "default-src 'none'; img-src 'self' file:; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
NAVIGATION = {
    "index.html": "Boards",
    "agents.html": "Agents",
    "environments.html": "Environments",
    "trust.html": "Trust",
}

STYLE = """\
:root {
  color-scheme: light dark;
  --page: #fdfdfb; --card: #ffffff; --ink: #1f2328; --muted: #5f656e; --faint: #e3e4e0; --link: #1f4fb8;
  --good: #0b6b47; --good-back: #dff3e8; --bad: #a3261b; --bad-back: #fbe4e1; --plain-back: #eeeeea;
  --agent-0: #2f5fd0; --agent-1: #bd4d0c; --agent-2: #0c7a54; --agent-3: #9333b8;
  --agent-4: #8a6206; --agent-5: #0b7592; --agent-6: #c81e68; --agent-7: #6b6259;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --card: #1c1f23; --ink: #e6e7e9; --muted: #a1a8b2; --faint: #33373d; --link: #8fb4ff;
    --good: #7fdcb0; --good-back: #14382a; --bad: #ff9d92; --bad-back: #47201c; --plain-back: #2b2f35;
    --agent-0: #84a9ff; --agent-1: #ff9b57; --agent-2: #4fd6a0; --agent-3: #d494f2;
    --agent-4: #e6bd4f; --agent-5: #56cbe9; --agent-6: #ff86b4; --agent-7: #c6bdb3;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main, footer { max-width: 70rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1rem; padding-bottom: .75rem; }
header nav { display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; align-items: baseline; }
header a { color: var(--ink); text-decoration: none; padding: .3rem 0; }
header a:hover, header a[aria-current] { text-decoration: underline; text-decoration-thickness: 2px;
  text-underline-offset: .35em; }
header .brand { font-weight: 700; letter-spacing: -.01em; margin-right: .5rem; }
main { padding-top: 1.25rem; padding-bottom: 3rem; }
footer { color: var(--muted); font-size: .9rem; padding-bottom: 2rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; line-height: 1.3; margin: 0 0 .25rem; overflow-wrap: anywhere; }
p { margin: 0 0 .75rem; max-width: 44rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: .5rem; padding: .5rem 1rem; background: var(--card); z-index: 2; }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { margin: 0 0 .75rem; padding: .75rem 1rem; background: var(--plain-back); border-radius: 6px; overflow-x: auto; }
pre code { overflow-wrap: normal; }
section { margin-top: 1.5rem; padding: 1.25rem; background: var(--card); border: 1px solid var(--faint);
  border-radius: 10px; }
.bare { background: none; border: 0; padding: .5rem 0 0; }
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
th.name, td.name { text-align: left; }
tbody th { font-weight: 600; }
wbr { display: none; }
td.prose { white-space: normal; text-align: left; min-width: 14rem; }
th:first-child, td:first-child { padding-left: 0; }
td small { display: block; color: var(--muted); font-size: .78rem; line-height: 1.3; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
th button::after { content: "\\2195"; padding-left: .25em; }
th[aria-sort="ascending"] button::after { content: "\\2191"; }
th[aria-sort="descending"] button::after { content: "\\2193"; }
th[aria-sort] button { color: var(--ink); }
tbody th.division { padding-top: .9rem; color: var(--muted); font-size: .85rem; position: static !important; }
.division span { position: sticky; left: 0; display: inline-block; white-space: normal; max-width: min(34rem, 80vw); }
tbody.references { color: var(--muted); }
tbody.references th { font-weight: 400; }
tr.rejected { color: var(--muted); }
.badge { padding: .1rem .5rem; border-radius: 1rem; font-size: .8rem; font-weight: 500; color: var(--ink);
  background: var(--plain-back); text-decoration: none; white-space: nowrap; }
.badge.replayed, .badge.committed, .badge.executed { color: var(--good); background: var(--good-back); }
.badge.committed::before { content: "\\2713 "; }
.badge.executed::before { content: "\\2713\\2713 "; }
.badge.rejected { color: var(--bad); background: var(--bad-back); }
a.badge:hover { text-decoration: underline; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1rem; margin: 0 0 1rem; }
dt { color: var(--muted); }
dd { margin: 0; max-width: 44rem; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1.5rem 1.25rem; }
figure { margin: 0; min-width: 0; }
figure img { display: block; max-width: 100%; width: auto; height: 15rem; object-fit: contain; object-position: left;
  border-radius: 8px; }
figure dl { font-size: .85rem; margin-top: .5rem; gap: .1rem .75rem; }
figcaption h2 { font-size: 1.1rem; margin: .5rem 0 .1rem; }
figcaption p { margin: 0; }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (max-width: 40rem) {
  header, main, footer { padding-left: .75rem; padding-right: .75rem; }
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
  wbr { display: inline; }
  header nav { gap: .1rem .6rem; font-size: .9rem; }
  header .brand { margin-right: 0; }
  .many .name { position: sticky; left: 0; background: var(--card); }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  figure dl { grid-template-columns: max-content 1fr; }
  figure dd { margin: 0; }
  figure img { height: auto; max-height: 18rem; }
}
@media print { header, .skip { display: none; } section { break-inside: avoid; } }
"""

SCRIPT = """\
"use strict";
// Headings of sortable tables become buttons. Without this script tables are as they were written, best first.
// A cell sorts by data-value, a number or empty for "none", which comes last either way; else by its text.
const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const difference = Number(a) - Number(b);
  return sign * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const first = head.dataset.sort;
    if (!first) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      for (const body of table.querySelectorAll("tbody:not(.references)")) {  // each division by itself
        const rows = [...body.rows].filter((row) => row.cells.length === heads.length);
        body.append(...rows.sort((a, b) => compare(value(a, column), value(b, column), sign)));
      }
    });
  });
}
"""


def plain(text: str) -> str:
    """Text in which every character can be seen: what is invisible or turns the text around becomes a mark."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def escape(text: str) -> str:
    """Text for a page, also within quotes."""
    return html.escape(plain(text))


def breakable(name: str) -> str:
    """A name that a narrow column may break after a slash, hyphen or underscore, kept apart from the text around it."""
    pieces = re.sub(r"([/_-])", r"\1<wbr>", escape(name))
    return f"<bdi>{pieces}</bdi>"


def frame(title: str, body: Iterable[str], root: str = "", current: str = "", about: str = "") -> str:
    """A whole page.

    Args:
        title: of the window, plain text.
        body: HTML of the main part; empty pieces are left out.
        root: the way to the site's first page: "" or "../".
        current: the page of NAVIGATION that this is or belongs to.
        about: one plain sentence for those who list pages.
    """
    links = "".join(
        f'<a href="{root}{target}"{_current(target, current, root)}>{words}</a>' for target, words in NAVIGATION.items()
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f'<meta name="description" content="{escape(about)}">' if about else "",
        f"<title>{escape(title)}</title>",
        f'<link rel="stylesheet" href="{root}style.css">',
        f'<script src="{root}sort.js" defer></script>',
        "</head>",
        "<body>",
        '<a class="skip" href="#main">Skip to the content</a>',
        f'<header><nav aria-label="Site"><a class="brand" href="{root}index.html">valuegym</a>{links}</nav></header>',
        '<main id="main" tabindex="-1">',
        *body,
        "</main>",
        f"<footer><p>Made by valuegym {__version__} from records that anyone can replay.</p></footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _current(target: str, current: str, root: str) -> str:
    if target != current:
        return ""
    return ' aria-current="true"' if root else ' aria-current="page"'


def section(title: str, *body: str, anchor: str = "", level: int = 2, kind: str = "") -> str:
    """A section with a heading of its own; title is HTML."""
    inside = "".join(body)
    if not inside:
        return ""
    marks = (f' id="{anchor}"' if anchor else "") + (f' class="{kind}"' if kind else "")
    return f"<section{marks}><h{level}>{title}</h{level}>{inside}</section>"


def head(words: str, sort: str = "", kind: str = "") -> str:
    """A column's heading; words is plain text, sort the order of the first click, "" for a column that has none."""
    marks = (f' class="{kind}"' if kind else "") + (f' data-sort="{sort}"' if sort else "")
    return f'<th scope="col"{marks}>{escape(words)}</th>'


def cell(words: str, value: float | None = None, sortable: bool = True, kind: str = "") -> str:
    """A cell; words is HTML, value what a number sorts by, None for none."""
    marks = f' class="{kind}"' if kind else ""
    if sortable:
        number = "" if value is None else f"{value:.6g}"
        marks += f' data-value="{number}"'
    return f"<td{marks}>{words}</td>"


def table(caption: str, heads: Sequence[str], *bodies: str, many: bool = False, sortable: bool = True) -> str:
    """A table that scrolls by itself where it is too wide; bodies are whole `<tbody>` elements."""
    label = escape(caption)
    return (
        f'<div class="scroll{" many" if many else ""}" tabindex="0" role="region" aria-label="Table: {label}">'
        f'<table{" class=sortable" if sortable else ""}><caption class="visually-hidden">{label}</caption>'
        f"<thead><tr>{''.join(heads)}</tr></thead>{''.join(bodies)}</table></div>"
    )


def facts(pairs: Mapping[str, str]) -> str:
    """A list of terms with what they are; the terms are plain text, the rest HTML, and empty ones are left out."""
    items = "".join(f"<dt>{escape(term)}</dt><dd>{words}</dd>" for term, words in pairs.items() if words)
    return f"<dl>{items}</dl>" if items else ""


def commands(*lines: str) -> str:
    """Commands for a shell, plain text."""
    text = "\n".join(map(escape, lines))
    return f'<pre tabindex="0"><code>{text}</code></pre>'


def badge(tier: str, root: str) -> str:
    """A tier in one word with a link to what it means; what follows a comma goes below."""
    word, _, rest = (part.strip() for part in tier.partition(","))
    kind = f" {word}" if word in LIMITS or word == "rejected" else ""
    below = f" <small>{escape(rest)}</small>" if rest else ""
    return f'<a class="badge{kind}" href="{root}trust.html#tiers">{escape(word)}</a>{below}'


def addresses(names: Iterable[str]) -> dict[str, str]:
    """Name -> a file name or id for it, readable where the name allows it and unique either way."""
    found: dict[str, str] = {}
    for name in names:
        readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
        taken = not readable or readable in found.values()
        found.setdefault(name, f"{readable or 'x'}--{len(found)}" if taken else readable)
    return found
