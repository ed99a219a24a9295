"""The parser of the command line: commands in groups, one example each, and "did you mean" for what is mistyped."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from valuegym.envs import checks

__all__ = ["Parser", "columns", "printable_streams", "quiet", "subparsers"]

NARROWEST, WIDEST = 60, 110  # columns that tables fit
HEADINGS = (
    ("see what there is", ("list", "doctor", "demo")),
    ("play and watch", ("play", "render")),
    ("run and train agents", ("run", "train", "tune", "new")),
    ("records and boards", ("score", "measures", "leaderboard", "verify", "submit", "digest", "convert", "board")),
    ("wandb", ("online", "sync")),
    ("people's answers and language models", ("label", "data", "likelihood", "values")),
    ("this shell", ("completion",)),
)
_ASCII = {
    "─": "-", "╌": "-", "—": "-", "–": "-", "·": ".", "…": "~", "×": "x", "±": "+-", "↑": "^", "↓": "v", "←": "<",
    "→": ">", "▒": "%", " ": " ", "▁": "_", "▂": "_", "▃": "-", "▄": "-", "▅": "=", "▆": "=", "▇": "#", "█": "#",
    "σ": "sigma", "λ": "lambda", "≥": ">=", "≤": "<=", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser by name."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the options of a parser and of all its commands."""
    for action in parser._actions:
        yield from action.option_strings
    for sub in subparsers(parser).values():
        yield from _options(sub)


class Parser(argparse.ArgumentParser):
    """A parser that proposes what was meant, and lists its commands in groups if it has many."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong in one line after the usage, with a proposal, and exit with 2."""
        choice = re.search(r"invalid choice: '?([^' ]*)'? \(choose from (.*)\)$", message, re.S)
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if choice:
            options = [option.strip().strip("'") for option in choice[2].split(",")]
            message += checks.similar(choice[1], options)
        elif unknown and unknown[1].startswith("-"):
            message += checks.similar(unknown[1].partition("=")[0], dict.fromkeys(_options(self)))
        super().error(message)

    def format_help(self) -> str:
        """Return the help; commands stand in groups where there are headings for them."""
        commands = subparsers(self)
        if not set(HEADINGS[0][1]) & commands.keys():
            return super().format_help()
        headed = [(heading, [name for name in names if name in commands]) for heading, names in HEADINGS]
        known = {name for _, names in headed for name in names}
        headed.append(("more", [name for name in commands if name not in known]))
        return _grouped(super().format_help(), headed)

    def overview(self) -> str:
        """Return the commands in groups, without options."""
        lines = self.format_help()
        start = lines.index("commands:\n")
        end = lines.find("\noptions:", start)
        return f"{self.description}\n\n{lines[start : end if end > 0 else None]}".rstrip() + (
            f"\n\n{self.prog} COMMAND --help says more of one."
        )


def _grouped(text: str, headed: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Put the commands of a help text below headings, each with the lines that it has."""
    begin = re.search(r"^  command$", text, re.M)
    if begin is None:
        return text
    end = re.search(r"^\S", text[begin.end() :], re.M)
    stop = begin.end() + end.start() if end else len(text)
    entries: dict[str, list[str]] = {}
    for line in text[begin.end() : stop].strip("\n").splitlines():
        found = re.match(r"    (\S+)", line)
        if found:
            entries[found[1]] = []
        if entries:
            entries[next(reversed(entries))].append(line)
    blocks = [
        "\n".join([f"  {heading}", *(line for name in names for line in entries.get(name, ()))])
        for heading, names in headed
        if names
    ]
    lead = text.rfind("\n\n", 0, begin.start())  # before "positional arguments:"
    rest = text[stop:].lstrip("\n")
    return f"{text[:lead]}\n\ncommands:\n" + "\n".join(blocks) + f"\n\n{rest}"


def columns() -> int:
    """Return how many columns tables may take: those of the terminal, or of COLUMNS, within bounds."""
    return min(max(shutil.get_terminal_size((WIDEST, 24)).columns, NARROWEST), WIDEST)


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(char, "?") for char in error.object[error.start : error.end]), error.end


def printable_streams() -> None:
    """Let output and errors print likenesses of characters that a terminal's encoding lacks."""
    codecs.register_error("valuegym-ascii", _to_ascii)
    for stream in (sys.stdout, sys.stderr):
        change: Any = getattr(stream, "reconfigure", None)
        if change is not None:
            with contextlib.suppress(ValueError, OSError, io.UnsupportedOperation):
                change(errors="valuegym-ascii")


@contextlib.contextmanager
def quiet(silent: bool) -> Iterator[io.StringIO]:
    """Keep back what is written to the errors' stream, progress and notes, where `silent`; yields what was kept."""
    kept = io.StringIO()
    if not silent:
        yield kept
        return
    with contextlib.redirect_stderr(kept):
        yield kept
