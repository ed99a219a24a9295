"""Doors for code from outside: a file, a module, or an installed package, named by a text and imported only when used.

Three kinds of text name an object:

    my_agent.py:MyAgent          a name in a file
    package.module:MyAgent       a name in a module that can be imported
    my_package.shy               the plug-in `shy` of the installed distribution my-package

A package declares plug-ins as entry points of a group: `shy = my_package.agents:Shy` under `valuegym.agents`, and so
for `valuegym.environments`, `valuegym.experiments` and `valuegym.annotators`. Only names are read until one is used.
"""

from __future__ import annotations

import hashlib
import re
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

__all__ = ["installed", "is_reference", "load_plugin", "load_reference", "short_name", "source_digest"]

FILE = "_valuegym_file_"  # begins the names of modules that are imported from a file
_SOURCE = "__valuegym_source__"  # SHA-256 of the file as it was imported


def is_reference(text: str) -> bool:
    """Return whether a text names an object in a file or module: "file.py:NAME" or "package.module:NAME"."""
    where, colon, name = text.rpartition(":")
    dotted = all(part.isidentifier() for part in where.split("."))
    return bool(colon) and all(part.isidentifier() for part in name.split(".")) and (where.endswith(".py") or dotted)


def _points(group: str) -> dict[str, list[EntryPoint]]:
    """Return the different entry points of a group by the plug-in's name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        package = point.dist.name if point.dist is not None else re.split("[.:]", point.value)[0]
        same = found.setdefault(f"{re.sub(r'[-_.]+', '_', package).lower()}.{point.name}", [])
        if all(other.value != point.value for other in same):  # one that is found twice on the path is one
            same.append(point)
    return dict(sorted(found.items()))


def installed(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group, "package.name" to entry point; nothing is imported.

    The package is the name of the distribution, with underscores.
    """
    return {name: points[0] for name, points in _points(group).items()}


def _file(where: str) -> Path:
    path = Path(where).expanduser()
    if not path.is_file():
        raise ValueError(f"There is no file {where}; expected FILE.py:NAME.")
    return path.resolve()


def _import_file(path: Path) -> Any:
    """Import a file under a name of its own, and again once it has been edited.

    Modules beside it can be imported by it, after all others.
    """
    name = f"{FILE}{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    content = path.read_bytes()
    source = hashlib.sha256(content).hexdigest()
    there = sys.modules.get(name)
    if there is not None and getattr(there, _SOURCE) == source:
        return there
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # a regular file that ends with .py
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = module_from_spec(spec)
    setattr(module, _SOURCE, source)
    sys.modules[name] = module  # before it runs, for dataclasses look their module up
    try:
        exec(compile(content, str(path), "exec", dont_inherit=True), vars(module))  # never an older bytecode
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_reference(text: str) -> Any:
    """Return the object that "file.py:NAME" or "package.module:NAME" names, importing it.

    Raises:
        ValueError: the text has another form, there is no such file, module or name, or importing it fails; the message
            says what went wrong where.
    """
    if not is_reference(text):
        raise ValueError(f"{text!r} names no object; expected FILE.py:NAME or PACKAGE.MODULE:NAME.")
    where, _, name = text.rpartition(":")
    path = _file(where) if where.endswith(".py") else None
    try:
        found = _import_file(path) if path else import_module(where)
    except Exception as error:
        raise ValueError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            public = [other for other in vars(found) if not other.startswith("_")][:20]
            raise ValueError(f"{where} has no {name}; it has {', '.join(public) or 'no public names'}.")
        found = getattr(found, part)
    return found


def load_plugin(group: str, name: str) -> Any:
    """Return the object of an installed plug-in, importing it.

    Raises:
        ValueError: no plug-in of the group has this name, several have, or it cannot be imported; the message names it.
    """
    found = _points(group)
    if name not in found:
        raise ValueError(f"No plug-in of {group} is called {name!r}; installed are {list(found) or 'none'}.")
    point, *others = found[name]
    if others:
        raise ValueError(
            f"Two plug-ins of {group} are called {name}: {point.value} and {others[0].value}; uninstall one of the "
            "packages, or rename an entry point."
        )
    try:
        return point.load()
    except Exception as error:
        raise ValueError(
            f"The plug-in {name} ({point.value}) cannot be imported: {type(error).__name__}: {error}"
        ) from error


def short_name(text: str) -> str:
    """Return the name of a reference without its folder: "my_agent.MyAgent" for "path/my_agent.py:MyAgent"."""
    where, _, name = text.rpartition(":")
    return f"{Path(where).stem if where.endswith('.py') else where}.{name}"


def source_digest(text: str) -> str:
    """Return the SHA-256 of the file that a reference, or a plug-in's value, names; nothing is executed but packages.

    Raises:
        ValueError: there is no such file or module, or a module without a source file.
    """
    where = text.rpartition(":")[0]
    if where.endswith(".py"):
        return hashlib.sha256(_file(where).read_bytes()).hexdigest()
    try:
        spec = find_spec(where)
    except ImportError as error:
        raise ValueError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise ValueError(
            f"There is no module {where} with a source file; a file in a folder is named with its ending, "
            f"as in {where.replace('.', '/')}.py:NAME."
        )
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
