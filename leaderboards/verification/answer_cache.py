"""Texts that a user's own calls leave for later ones: answers of language models, which take long and do not change.

They lie in the folder `values` beside the cache of references, and nowhere if VALUEGYM_CACHE is "off". What anybody
else may write to is neither read nor written, and what does not match its checksum is made again.
"""

from __future__ import annotations

import re
from pathlib import Path

from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.verification import reference_cache

__all__ = ["file_of", "read", "write"]


def file_of(name: str) -> Path | None:
    """Return the file of a text by its name, a SHA-256; None for nowhere.

    Raises:
        ValueError: the name is no SHA-256.
    """
    if not re.fullmatch("[0-9a-f]{64}", name):
        raise ValueError(f"name is {name[:80]!r}; expected a SHA-256 of 64 digits.")
    folder = reference_cache.folder()
    return folder.with_name("values") / f"{name}.json" if folder else None


def read(name: str) -> str | None:
    """Return the text of this name; None where there is no whole file that only this user could write."""
    path = file_of(name)
    try:
        if path is None or not (reference_cache.private(path.parent) and reference_cache.private(path)):
            return None
        return reference_cache.checked(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write(name: str, text: str) -> None:
    """Keep a text; where that cannot be done, nothing is kept."""
    path = file_of(name)
    if path is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if reference_cache.private(path.parent):
            write_atomically(path, reference_cache.with_checksum(text))
    except OSError:
        return
