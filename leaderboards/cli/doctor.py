"""The command `valuegym doctor`: what of this machine the suite can use, and how to get the rest."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from valuegym import __version__
from valuegym.envs import extras
from valuegym.leaderboards.cli.arguments import add_command, add_data

__all__ = ["add_commands", "report"]


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    sub = add_command(
        commands,
        "doctor",
        _doctor,
        "show versions, extras, sandbox, keys and human data, and how to get what is missing",
        "valuegym doctor",
        "valuegym doctor --data FOLDER",
    )
    add_data(sub)


def _version(name: str) -> str:
    """Return the version of an installed distribution, "" for none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _name(requirement: str) -> str:
    """Return the distribution that a requirement such as "torch<3,>=2.8" names."""
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]


def _versions() -> Iterator[str]:
    where = f"clone {extras.clone()}" if extras.clone() else "installed"
    yield f"valuegym    {__version__}, {where}"
    yield f"python      {platform.python_version()}, {sys.executable}"
    yield f"system      {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    for name in ("gymnasium", "numpy", "scipy"):
        yield f"{name:<11} {_version(name) or 'missing'}"


def _extras() -> Iterator[str]:
    for extra in extras.names():
        if extra == "all":
            continue
        lacking = [name for name in map(_name, extras.requirements(extra)) if not _version(name)]
        if not lacking:
            yield f"{extra:<11} there"
        else:
            yield f"{extra:<11} lacks {', '.join(lacking)}"
            yield f"{'':<11} {extras.hint(extra)}"


def _sandbox() -> Iterator[str]:
    from valuegym.leaderboards.board.sandbox import missing

    reason = missing()
    yield f"sandbox     {f'none: {reason}' if reason else 'there: boards can execute agents'}"
    signs = shutil.which("ssh-keygen")
    yield f"signing     {signs or 'no ssh-keygen: boards cannot sign'}"
    keys = sorted(path.name for path in (Path.home() / ".ssh").glob("*.pub")) if signs else []
    yield f"keys        {', '.join(keys) or 'none in ~/.ssh; ssh-keygen -t ed25519 -f board-key makes one'}"
    logged_in = bool(os.environ.get("WANDB_API_KEY")) or "api.wandb.ai" in _text(Path.home() / ".netrc")
    yield f"wandb       {'logged in' if logged_in else 'not logged in: runs are logged offline'}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _human_data(data: str | None) -> Iterator[str]:
    from valuegym.envs.preference import datasets

    folder = data or os.environ.get(datasets.VARIABLE)
    if not folder:
        yield f"human data  none: set {datasets.VARIABLE} or give --data FOLDER;"
        yield f"{'':<11} valuegym data fetch human-delivery --data FOLDER gets it"
        return
    try:
        found = datasets.present(folder, unverified=True)
    except (ValueError, OSError) as error:
        yield f"human data  {folder}: {error}"
        return
    yield f"human data  {folder}: {len(found)} conditions{f' ({found[0]} ...)' if found else ''}"


def report(data: str | None = None) -> str:
    """Return lines on versions, extras, sandbox, keys and human data; no secret is read but whether there is one.

    Args:
        data: folder of human data; by default the variable's.
    """
    blocks = (_versions(), _extras(), _sandbox(), _human_data(data))
    return "\n\n".join("\n".join(block) for block in blocks)


def _doctor(args: argparse.Namespace) -> None:
    print(report(args.data))
