"""What pages lack for readers of screens and of keyboards, put in after the site is written: an extension of Sphinx."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

__all__ = ["accessible", "setup"]

REPLACED = (
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="All pages">'),
    ('<aside class="toc-drawer', '<aside aria-label="This page" class="toc-drawer'),
    ("<pre>", '<pre tabindex="0">'),  # this and tables may be wider than the screen, and are scrolled by keyboard
    ('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'),
    ('<th class="head"><p></p></th>', '<td class="head"></td>'),
    ('<div id="search-results">', '<h1>Search</h1>\n<div id="search-results">'),
)


def accessible(html: str) -> str:
    """Return a page with levels of headings, names of landmarks, and regions that can be scrolled by keyboard."""
    for old, new in REPLACED:
        if new not in html:
            html = html.replace(old, new)
    return re.sub(r"<thead>\s*<tr[^>]*>(\s*<td class=\"head\"></td>)+\s*</tr>\s*</thead>", "", html)


def _finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.name == "html":
        for page in Path(app.outdir).rglob("*.html"):
            page.write_text(accessible(page.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Change all pages at the end."""
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
