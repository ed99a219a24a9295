"""Committed seeds: drawn from a board's nonce, which is revealed after the agents are fixed.

A period of a board goes in three steps. It opens with the SHA-256 of a secret nonce, which binds the board to it. While
it is open, agents commit to the SHA-256 of what they are. It closes with the nonce. Then

    seed of an episode = 2**128 + first 16 bytes of HMAC-SHA256(nonce, "agent digest / experiment / run / episode"),

which is a secret seed of `valuegym.envs.functional`: its draws are a one-way function of it, so that an agent that sees
everything the environment shows has 2**128 seeds to try before it knows the task. Nobody could search these seeds
before the agent was fixed, the board cannot choose them after it has seen the agent, and no two agents share them:
another's record is of no use.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from valuegym.envs.keys import SECRET_SEEDS

__all__ = ["agent_digest", "binding", "committed_seeds", "new_nonce", "take_agent"]

MAX_FILES = 10_000
MAX_BYTES = 2**31  # of an agent's folder
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._+=@,()-]{0,199}")  # of a file or a folder in it
BYTECODE = (".pyc", ".pyo")


def new_nonce() -> str:
    """Return a secret nonce: 64 hexadecimal digits from the operating system."""
    return secrets.token_hex(32)


def binding(nonce: str) -> str:
    """Return what the board publishes before it reveals the nonce: the SHA-256 of its bytes.

    Raises:
        ValueError: for a nonce that is not 64 hexadecimal digits.
    """
    return hashlib.sha256(_bytes(nonce)).hexdigest()


def committed_seeds(nonce: str, agent: str, experiment: str, run: int, episodes: int) -> list[int]:
    """Return the evaluation seeds of one run, one for each episode, from 2**128 to 2**129 - 1.

    Args:
        nonce: the board's, 64 hexadecimal digits.
        agent: SHA-256 of the agent, as it was committed.
        experiment: its id.
        run: the run's own seed, one of the experiment's.
        episodes: how many.

    Raises:
        ValueError: for a nonce that is not 64 hexadecimal digits.
    """
    key = _bytes(nonce)
    texts = (f"{agent}/{experiment}/{run}/{episode}" for episode in range(episodes))
    return [SECRET_SEEDS + int.from_bytes(hmac.digest(key, text.encode(), "sha256")[:16], "big") for text in texts]


def agent_digest(path: str | Path) -> str:
    """Return the SHA-256 of what an agent is: a file, or a folder with the names and contents of all its files.

    Hidden files and caches of Python do not count, and `take_agent` leaves them out.

    Raises:
        FileNotFoundError: where there is nothing.
        ValueError: for a link, a device or another thing that is no file, for bytecode, an odd name, an empty folder,
            or too much.
    """
    digest = hashlib.sha256()
    for name, file in _agent_files(Path(path)):
        with _opened(file) as stream:
            size = os.fstat(stream.fileno()).st_size
            digest.update(f"{len(name.encode())} {name} {size}\n".encode())
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def take_agent(path: str | Path, folder: str | Path) -> str:
    """Copy what an agent is into an empty folder, read-only, and return the digest of the copy: of what will run.

    Raises:
        FileNotFoundError, ValueError: as `agent_digest`.
        OSError: where a file cannot be read or written.
    """
    into = Path(folder)
    for name, file in _agent_files(Path(path)):
        copy = into / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with _opened(file) as stream, copy.open("xb") as out:
            shutil.copyfileobj(stream, out)
        copy.chmod(0o444)
    for one in (into, *(one for one in into.rglob("*") if one.is_dir())):
        one.chmod(0o755)
    return agent_digest(into)


def _agent_files(path: Path) -> list[tuple[str, Path]]:
    """Return name and place of each file that an agent consists of, in the order of the names."""
    if not os.path.lexists(path):
        raise FileNotFoundError(f"There is no agent at {path}.")
    if path.is_symlink():
        raise ValueError(f"{path} is a link; an agent consists of files.")
    found, size, folded = [(path.name, path)] if path.is_file() else list(_walk(path, "")), 0, dict[str, str]()
    for name, file in found:
        size += file.stat().st_size
        if len(folded) == MAX_FILES or size > MAX_BYTES:
            raise ValueError(f"{path} has more than {MAX_FILES} files or {MAX_BYTES} bytes.")
        if not all(map(NAME.fullmatch, name.split("/"))):
            raise ValueError(
                f"{name[:200]!r} is an odd name; an agent's files have names of ASCII letters, digits, spaces and "
                "._+=@,()-, and begin with a letter, a digit or an underscore."
            )
        if name.lower() in folded:
            raise ValueError(f"{name!r} and {folded[name.lower()]!r} differ by upper and lower case only; rename one.")
        if name.lower().endswith(BYTECODE):
            raise ValueError(f"{name!r} is bytecode, which nobody can read; an agent consists of its sources.")
        folded[name.lower()] = name
    if not found:
        raise ValueError(f"{path} holds no files.")
    return sorted(found)


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Yield name and place of each file below a folder, without hidden ones and caches.

    Raises:
        ValueError: where something is no file and no folder.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__pycache__":
                continue
            if entry.is_symlink():
                raise ValueError(f"{entry.path} is a link; an agent consists of files.")
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield f"{prefix}{entry.name}", Path(entry.path)
            else:
                raise ValueError(f"{entry.path} is no file and no folder; an agent consists of files.")


def _opened(file: Path) -> BinaryIO:
    """Open a regular file, which nothing can have put a link or a pipe in the place of.

    Raises:
        ValueError: something did.
        OSError: it cannot be read.
    """
    stream = open(os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)), "rb")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise ValueError(f"{file} is no regular file any more.")
    return stream


def _bytes(nonce: str) -> bytes:
    try:
        key = bytes.fromhex(nonce)
    except (ValueError, TypeError):
        key = b""
    if len(key) != 32:
        raise ValueError("A nonce is 64 hexadecimal digits.")
    return key
