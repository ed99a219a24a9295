"""Commands that install what is missing: they work from a clone and from a wheel.

No index has a release yet, so that `pip install "valuegym[site]"` fails. From a clone the hint names the clone; from an
installed wheel it names what the extra asks for.
"""

from __future__ import annotations

import configparser
import re
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = ["clone", "hint", "names", "requirements"]

PROJECT = "valuegym"
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_PYTHON = re.compile(r"""python_version\s*>=\s*["'](\d+)\.(\d+)["']""")


def clone() -> Path | None:
    """Return the folder of the clone that the package runs from, None where it is installed."""
    root = Path(__file__).resolve().parent.parent
    setup = root / "setup.cfg"
    return root if setup.is_file() and f"name = {PROJECT}" in setup.read_text(encoding="utf-8") else None


def _stated() -> list[str]:
    """Return all requirements with their markers: of a clone as it is now, else of what is installed."""
    root = clone()
    if root is None:
        try:
            return metadata.requires(PROJECT) or []
        except metadata.PackageNotFoundError:
            return []
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg", encoding="utf-8")
    found = []
    for extra, lines in setup["options.extras_require"].items():
        for line in lines.split("\n"):
            requirement, semicolon, marker = line.partition(";")
            if requirement.strip():
                found.append(f"{requirement};{marker}{' and ' * bool(semicolon)} extra == '{extra}'")
    return found


@cache
def _required() -> dict[str, list[str]]:
    """Return what each extra asks for, by name, as the installed package states it."""
    found: dict[str, list[str]] = {}
    for text in _stated():
        requirement, _, marker = text.partition(";")
        extra, python = _EXTRA.search(marker), _PYTHON.search(marker)
        if python and sys.version_info[:2] < (int(python[1]), int(python[2])):
            continue
        if extra:
            found.setdefault(extra[1], []).append(requirement.strip())
    return found


def names() -> list[str]:
    """Return the names of all extras but those of developers, in alphabetical order."""
    return sorted(set(_required()) - {"dev"})


def requirements(extra: str) -> list[str]:
    """Return what an extra asks for, such as "torch<3,>=2.8"; extras that it names are resolved."""
    found: list[str] = []
    for requirement in _required().get(extra, []):
        inner = re.fullmatch(rf"{PROJECT}\[([\w,-]+)\]", requirement.replace(" ", ""))
        found += [part for name in inner[1].split(",") for part in requirements(name)] if inner else [requirement]
    return list(dict.fromkeys(found))


@cache
def hint(extra: str) -> str:
    """Return the command that installs an extra, such as 'pip install -e "/home/me/valuegym[site]"'."""
    root = clone()
    if root is not None:
        return f'pip install -e "{root}[{extra}]"'
    needed = requirements(extra)
    if not needed:
        return f'pip install "{PROJECT}[{extra}]"'
    return "pip install " + " ".join(f'"{requirement}"' for requirement in needed)
