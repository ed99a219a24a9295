"""Elements that all pages of the site share: the templates, and text from outside made safe and readable.

Templates escape every text (`autoescape`), and characters that cannot be seen are replaced on the way into a page.
Only `Markup` passes as it is: what templates and plots themselves made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
from markupsafe import Markup

from valuegym._version import __version__

__all__ = ["NAVIGATION", "POLICY", "addresses", "breakable", "make_templates", "plain", "stored"]

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
_FOLDER = Path(__file__).parent


def make_templates(**shared: Any) -> Environment:
    """Make the templates of all pages; shared are the names that every template may use besides its own."""
    templates = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"breakable": breakable, "lines": _lines, "minus": _minus, "repr": repr, "sort_key": _sort_key}
    templates.globals |= {"policy": POLICY, "navigation": NAVIGATION, "version": __version__, **shared}
    return templates


def stored(name: str) -> str:
    """Read a file that the site holds as it is, such as its style."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def plain(text: str) -> str:
    """Replace every character that cannot be seen, or that turns the text around, by a mark."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def breakable(name: str) -> Markup:
    """Let a narrow column break a name after a slash, hyphen or underscore, kept apart from the text around it."""
    return Markup("<bdi>{}</bdi>").format(Markup("<wbr>").join(re.split(r"(?<=[/_-])", plain(name))))


def addresses(names: Iterable[str]) -> dict[str, str]:
    """Give each name a file name or id, readable where the name allows it and unique either way."""
    found: dict[str, str] = {}
    for name in names:
        readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
        taken = not readable or readable in found.values()
        found.setdefault(name, f"{readable or 'x'}--{len(found)}" if taken else readable)
    return found


def _finalize(value: Any) -> Any:
    """Make every character of a text visible; it is escaped afterwards. Only text and numbers may be shown."""
    if isinstance(value, Markup | Undefined | int | float):
        return value
    if not isinstance(value, str):
        raise TypeError(f"A template shows {value!r}; expected text or a number.")
    return plain(value)


def _lines(lines: Iterable[str]) -> Markup:
    return Markup("\n").join(map(plain, lines))


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _sort_key(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
