"""Committed seeds: drawn from a board's nonce, which is revealed after the agents are fixed.

A period of a board goes in three steps. It opens with the SHA-256 of a secret nonce, which binds the board to it. While
it is open, agents commit to the SHA-256 of what they are. It closes with the nonce. Then

    seed of an episode = first 4 bytes of HMAC-SHA256(nonce, "agent digest / experiment / run / episode"),

so that nobody could search these seeds before the agent was fixed, the board cannot choose them after it has seen the
agent, and no two agents share them: another's record is of no use.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

__all__ = ["agent_digest", "binding", "committed_seeds", "new_nonce"]

MAX_FILES = 10_000
MAX_BYTES = 2**31  # of an agent's folder


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
    """Return the evaluation seeds of one run, one for each episode, below 2^32.

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
    return [int.from_bytes(hmac.digest(key, text.encode(), "sha256")[:4], "big") for text in texts]


def agent_digest(path: str | Path) -> str:
    """Return the SHA-256 of what an agent is: a file, or a folder with the names and contents of all its files.

    Hidden files and caches of Python do not count. Links are refused, for what they lead to may change.

    Raises:
        FileNotFoundError: where there is nothing.
        ValueError: for a link, an empty folder, or too much.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no agent at {path}.")
    found = [path] if path.is_file() else sorted(path.rglob("*"), key=lambda file: file.relative_to(path).as_posix())
    digest, files, size = hashlib.sha256(), 0, 0
    for file in found:
        name = file.relative_to(path).as_posix() if file != path else path.name
        if any(part.startswith(".") or part == "__pycache__" for part in name.split("/")):
            continue
        if file.is_symlink():
            raise ValueError(f"{file} is a link; an agent consists of files.")
        if not file.is_file():
            continue
        files, size = files + 1, size + file.stat().st_size
        if files > MAX_FILES or size > MAX_BYTES:
            raise ValueError(f"{path} has more than {MAX_FILES} files or {MAX_BYTES} bytes.")
        digest.update(f"{len(name.encode())} {name} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    if not files:
        raise ValueError(f"{path} holds no files.")
    return digest.hexdigest()


def _bytes(nonce: str) -> bytes:
    try:
        key = bytes.fromhex(nonce)
    except (ValueError, TypeError):
        key = b""
    if len(key) != 32:
        raise ValueError("A nonce is 64 hexadecimal digits.")
    return key
