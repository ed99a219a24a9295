"""Run the code of a page, compare what it prints with what the page says it prints, and keep the pictures it makes.

Usage: python tools/tutorials.py [PAGE.md ...]            all of docs/tutorials by default
       python tools/tutorials.py --write [PAGE.md ...]    also writes what was printed, and the pictures, into the pages

Blocks are carried out in their order, in one empty folder: ```python is run, all of a page in one namespace;
```python NAME.py is written to a file; each line of ```sh is a command, `valuegym ...` or `python FILE.py`; and ```text
is what the block before it prints. There a word "..." stands for any words, and the last digit of a number may be off
by two, because processors and versions round differently. A picture in the page has to be made by the page.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import runpy
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported, which reads it once
ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "tutorials"
# What readers see differs from these pictures in style alone.
STYLE = {
    "figure.figsize": (7.0, 3.2),
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "svg.hashsalt": "valuegym",
}
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    file: str  # the file that it is, "" for none
    text: str
    span: tuple[int, int]  # of the text in the page


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    fence = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(found[1], found[2], found[3], found.span(3)) for found in fence.finditer(page)]


def pictures(page: str) -> list[str]:
    """Return the names of the pictures in a page that lie beside it."""
    return re.findall(r"!\[[^\]]*\]\(([\w.-]+)\)", page)


def matches(expected: str, printed: str) -> bool:
    """Tell whether a page says what was printed: see the module's text for what may differ."""
    first, *parts = _split(expected.split(), "...")
    words = printed.split()
    if not _begins(first, words):
        return False
    words = words[len(first) :]
    for index, part in enumerate(parts, 1):
        starts = [len(words) - len(part)] if index == len(parts) else range(len(words) - len(part) + 1)
        found = next((at for at in starts if at >= 0 and _begins(part, words[at:])), None)
        if found is None:
            return False
        words = words[found + len(part) :]
    return not words


def _split(words: Sequence[str], mark: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == mark:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _begins(expected: Sequence[str], words: Sequence[str]) -> bool:
    return len(words) >= len(expected) and all(map(_same, expected, words))


def _same(expected: str, word: str) -> bool:
    if expected == word:
        return True
    numbers, others = NUMBER.findall(expected), NUMBER.findall(word)
    if NUMBER.sub("#", expected) != NUMBER.sub("#", word) or len(numbers) != len(others):
        return False
    return all(map(_near, numbers, others))


def _near(expected: str, number: str) -> bool:
    digits = len(expected.partition("e")[0].partition(".")[2])
    if not digits:
        return expected == number
    return abs(float(expected.replace(",", "")) - float(number.replace(",", ""))) < 2.5 * 10.0**-digits


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[None]:
    """Work in a folder, in this process alone; whatever blocks change of the process is restored at the end."""
    import gymnasium as gym

    from valuegym.leaderboards import executors, experiments

    ids = set(gym.registry)
    before = Path.cwd(), sys.argv[:], dict(os.environ), sys.path[:]
    pool = executors.EXECUTORS["pool"]
    with experiments_restored(experiments):
        try:
            os.environ.update(MPLBACKEND="Agg", SOURCE_DATE_EPOCH="0")
            executors.EXECUTORS["pool"] = executors.serial  # processes take seconds to start
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            with _style():
                yield
        finally:
            executors.EXECUTORS["pool"] = pool
            for id in set(gym.registry) - ids:
                del gym.registry[id]
            os.chdir(before[0])
            sys.argv[:], sys.path[:] = before[1], before[3]
            os.environ.clear()
            os.environ.update(before[2])


@contextlib.contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib
    except ImportError:
        yield
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        yield
    pyplot.close("all")


@contextlib.contextmanager
def experiments_restored(experiments: Any) -> Iterator[None]:
    """Forget the tracks that are loaded within the block."""
    table, loaded = dict(experiments.EXPERIMENTS), list(experiments.loaded())
    try:
        yield
    finally:
        experiments.EXPERIMENTS.clear()
        experiments.EXPERIMENTS.update(table)
        experiments._LOADED[:] = loaded


def command(line: str) -> None:
    """Carry out one line of shell in this process.

    Raises:
        ValueError: it is no command that pages may hold.
        RuntimeError: it failed, or it did not although the page says `# refused`.
    """
    from valuegym.leaderboards import experiments
    from valuegym.leaderboards.cli.main import main

    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[0] == "python" and words[1].endswith(".py"):
        sys.argv = words[1:]
        runpy.run_path(words[1], run_name="__main__")
        return
    if words[0] != "valuegym":
        raise ValueError(f"{line!r} is no command of valuegym and no script.")
    said = io.StringIO()
    with experiments_restored(experiments), contextlib.redirect_stderr(said):
        try:
            status = main(words[1:])
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
    if bool(status) != ("# refused" in line):
        raise RuntimeError(f"{line!r} ended with status {status}.\n{said.getvalue()}")
    if status:
        print(said.getvalue())


def run(page: Path, folder: Path) -> tuple[list[str], str]:
    """Run a page in an empty folder; return what is wrong with it, and its text with what was really printed.

    Args:
        page: Markdown.
        folder: where its files and pictures go.
    """
    text, problems, edits = page.read_text(encoding="utf-8"), [], []
    names: dict[str, Any] = {"__name__": "__main__"}
    output = ""
    with _workplace(folder):
        for block in blocks(text):
            where = f"{page.name}, line {text.count(chr(10), 0, block.span[0]) + 1}"
            if block.language == "text":
                if not matches(block.text, output):
                    problems.append(f"{where}: expected\n{block.text}\nbut this was printed:\n{output}")
                    edits.append((block.span, "\n".join(map(str.rstrip, output.rstrip().splitlines())) + "\n"))
            elif block.file:
                Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                Path(block.file).write_text(block.text, encoding="utf-8")
            elif block.language in ("python", "sh"):
                printed = io.StringIO()
                try:
                    with contextlib.redirect_stdout(printed):
                        if block.language == "python":
                            exec(compile(block.text, where, "exec"), names)
                        else:
                            for line in block.text.splitlines():
                                command(line)
                except Exception as error:
                    raise RuntimeError(f"{where}: {error}\n{printed.getvalue()}") from error
                output = printed.getvalue()
            else:
                problems.append(f"{where}: a block in {block.language!r}, which is not run.")
    problems += [f"{page.name}: it does not make {name}." for name in pictures(text) if not (folder / name).is_file()]
    problems += [f"{page.name}: {name} is missing." for name in pictures(text) if not (page.parent / name).is_file()]
    for (start, end), new in reversed(edits):
        text = text[:start] + new + text[end:]
    return problems, text


def main(words: Sequence[str] | None = None) -> int:
    """Run pages; return 0 if all say what they do."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE.md")
    parser.add_argument("--write", action="store_true", help="write what was printed, and the pictures, into the pages")
    args = parser.parse_args(words)
    wrong = []
    for page in args.pages or sorted(PAGES.glob("*.md")):
        with tempfile.TemporaryDirectory() as folder:
            problems, text = run(page.resolve(), Path(folder))
            if args.write:
                page.write_text(text, encoding="utf-8")
                for name in pictures(text):
                    if (Path(folder) / name).is_file():
                        shutil.copy(Path(folder) / name, page.parent / name)
            else:
                wrong += problems
    print("\n".join(wrong) or "All pages say what they do.")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
