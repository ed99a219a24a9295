"""Docstrings begin with a verb or a noun phrase, and those of public functions and classes name what they raise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ("src/valuegym", "envs", "agents", "labelling", "leaderboards")
STUDIES = ("studies", "benchmarks", "tools")

# First words that leave a reader waiting for the subject: "Return ..." and "Bootstrap interval of ..." do not.
FIRST_WORDS = ("What", "Of", "As", "Whether", "The same", "How", "Where", "Which", "Less", "Who", "Why", "When", "That")
OBSCURE = re.compile(rf"(?:{'|'.join(FIRST_WORDS)})\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the path of each module in these folders, and what it holds."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def obscure_first_lines(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module that begin with one of FIRST_WORDS: the line and the docstring's first line."""
    for node in ast.walk(tree):
        if isinstance(node, Documented):
            docstring = ast.get_docstring(node) or ""
            if OBSCURE.match(docstring):
                yield getattr(node, "lineno", 1), docstring.partition("\n")[0]


def raised(function: Function) -> set[str]:
    """Return the exceptions of the raise statements in a function's own body, "" for one that is not named there.

    A bare raise passes on what another function raised, and NotImplementedError marks what a subclass has to write.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Raise) and node.exc is not None:
            exception = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = exception.id if isinstance(exception, ast.Name) else getattr(exception, "attr", "")
            found.add(name if re.match(r"[A-Z]\w*", name) else "")
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, Function | ast.Lambda | ast.ClassDef):
                visit(child)

    visit(function)
    return found - {"NotImplementedError"}


def documented(docstring: str) -> set[str] | None:
    """Return the exceptions of the section Raises, None without that section."""
    section = re.search(r"^Raises:\n((?:[ ]+.*\n?|\n(?=[ ]))*)", docstring, re.MULTILINE)
    if section is None:
        return None
    return set(re.findall(r"\w+", " ".join(re.findall(r"^ +([\w., ]+):", section[1], re.MULTILINE))))


def public_functions(tree: ast.Module) -> Iterator[tuple[str, Function, str]]:
    """Yield the public functions, methods and constructors of a module: name, node and docstring.

    That of a constructor is its class's.
    """
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node) or ""
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and inner.name in ("__init__", "__new__", "__post_init__"):
                    yield node.name, inner, f"{ast.get_docstring(node) or ''}\n\n{ast.get_docstring(inner) or ''}"
                elif isinstance(inner, Function) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner, ast.get_docstring(inner) or ""


def undocumented_raises(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield a line number and a sentence for each public function that raises what its docstring does not name."""
    for name, node, docstring in public_functions(tree):
        exceptions, section = raised(node), documented(docstring)
        missing = exceptions - (section or set())
        if exceptions and section is None:
            yield node.lineno, f"{name} raises {', '.join(sorted(missing))}; its docstring has no section Raises."
        elif missing - {""}:
            yield node.lineno, f"{name} raises {', '.join(sorted(missing - {''}))}; its section Raises does not say so."


def test_first_lines_begin_with_a_verb_or_a_noun() -> None:
    found = [
        f"{path}:{line}: {first!r} begins with a word that says nothing yet; begin with a verb or a noun phrase."
        for path, tree in sources(*PACKAGE, *STUDIES)
        for line, first in obscure_first_lines(tree)
    ]
    assert not found, f"{len(found)} first lines:\n" + "\n".join(found)


def test_public_functions_name_what_they_raise() -> None:
    found = [
        f"{path}:{line}: {sentence}" for path, tree in sources(*PACKAGE) for line, sentence in undocumented_raises(tree)
    ]
    assert not found, f"{len(found)} docstrings:\n" + "\n".join(found)


SECTION = "\n\n    Raises:\n        ValueError: never.\n"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        (f'def f():\n    """Return 1.{SECTION}    """\n    raise ValueError', 0),
        ('def f():\n    """Return 1."""\n    raise ValueError("no")', 1),
        (f'def f():\n    """Return 1.{SECTION}    """\n    raise TypeError', 1),
        ('def f():\n    """Return 1."""\n    try:\n        g()\n    except KeyError:\n        raise', 0),
        ('def f():\n    """Return a function."""\n    def g():\n        raise ValueError\n    return g', 0),
        ('class A:\n    """Numbers."""\n    def __init__(self):\n        raise TypeError("no")', 1),
        (f'class A:\n    """Numbers.{SECTION}    """\n    def __init__(self):\n        raise ValueError', 0),
        ('class _A:\n    """Numbers."""\n    def f(self):\n        raise TypeError("no")', 0),
        ('class A:\n    """Numbers."""\n    def f(self):\n        """Return 1."""\n        raise self.failure()', 1),
    ],
)
def test_a_planted_raise_is_found(source: str, count: int) -> None:
    assert len(list(undocumented_raises(ast.parse(source)))) == count


def test_a_planted_first_line_is_found() -> None:
    bad = '"""What this is."""\ndef f():\n    """Whether it is."""\n'
    good = '"""Whatever."""\ndef f():\n    """Return as many."""\n'
    assert [first for _, first in obscure_first_lines(ast.parse(bad))] == ["What this is.", "Whether it is."]
    assert not list(obscure_first_lines(ast.parse(good)))
