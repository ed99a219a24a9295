"""Cache of the references that public episodes are scored against, which are the same for every agent.

They are kept in a folder of the user who verifies, VALUEGYM_CACHE or the user's cache folder, and nowhere if that is
"off". Nothing of a submission goes into them: a reference is a function of the environment, an episode's seed and its
options, all of which are this installation's own; and the file is named by the environment's digest, the versions and
the hash of the sources that computed it, so that others compute their own. What anybody else may write to is neither
read nor written, a file that does not match its checksum is made again, and seeds that are not public are never kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from pathlib import Path

from valuegym.leaderboards.records.fingerprint import provenance
from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.verification.scores import References

__all__ = ["VARIABLE", "checked", "file_of", "folder", "load", "private", "save", "with_checksum"]

VARIABLE = "VALUEGYM_CACHE"


def folder() -> Path | None:
    """Return where references are kept; None for nowhere."""
    named = os.environ.get(VARIABLE, "")
    if named == "off":
        return None
    try:
        return Path(named or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "valuegym" / "references"
    except RuntimeError:  # a user without a home
        return None


def file_of(digest: str) -> Path | None:
    """Return the file of an environment's references, by its digest and this installation's versions; None for none."""
    place = folder()
    name = hashlib.sha256(json.dumps([digest, provenance()], sort_keys=True).encode()).hexdigest()
    return place / f"{name}.json" if place else None


def private(path: Path) -> bool:
    """Return whether a path is this user's own and nobody else may write to it; a link is not."""
    about = path.lstat()
    if not hasattr(os, "getuid"):  # Windows keeps a user's folder from others by itself
        return not stat.S_ISLNK(about.st_mode)
    return not stat.S_ISLNK(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022


def with_checksum(text: str) -> str:
    """Return a text under a line with its SHA-256: one flipped digit would else reject honest records for ever."""
    return f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def checked(content: str) -> str:
    """Return the text of `with_checksum`.

    Raises:
        ValueError: it was damaged.
    """
    checksum, _, text = content.partition("\n")
    if hashlib.sha256(text.encode()).hexdigest() != checksum:
        raise ValueError("The file does not match its checksum.")
    return text


def load(digest: str) -> References:
    """Return the cached references of an environment; none where there is no file that only this user could write."""
    path = file_of(digest)
    try:
        if path is None or not (private(path.parent) and private(path)):
            return {}
        rows = json.loads(checked(path.read_text(encoding="ascii")))
        return {tuple(episode): (float(naive), float(best)) for episode, naive, best in rows}
    except (OSError, ValueError, TypeError, RecursionError):  # none, or damaged: they are computed again
        return {}


def save(digest: str, references: References) -> None:
    """Add references to the cache; where that cannot be done, nothing is kept."""
    path = file_of(digest)
    if path is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if private(path.parent):
            kept = (load(digest) | references).items()
            rows = [[episode, *pair] for episode, pair in kept if all(map(math.isfinite, pair))]
            write_atomically(path, with_checksum(json.dumps(rows)))
    except OSError:
        return
