"""Boards as people write them: maps in plain text, and the random boards stored with the publication.

Boards hold the cell codes of `delivery`; smaller boards among larger ones are padded with OUTSIDE, right and below.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.preference.datasets import VARIABLE
from valuegym.envs.preference.delivery import FEATURES, OUTSIDE

__all__ = [
    "DIGEST",
    "FILE",
    "FOLDER",
    "LARGEST",
    "MAIN",
    "SYMBOLS",
    "check_folder",
    "content_digest",
    "crop",
    "pad",
    "parse",
    "stored",
    "text",
]

Array = npt.NDArray[Any]

# One symbol for each cell code: road, Goal, House, Sheep, coin, roadblock, and the same on brick.
SYMBOLS = ".GHS$X#ghs%x"
LARGEST = 128  # cells along a side

MAIN = "random_MDPs/"  # how the names of the boards of the publication's main experiment begin
FOLDER, FILE = "random_mdps", "boards_and_rewards.json"
DIGEST = "1ecc1e5b52c0fe19851e621454f1f2374485330614d899b24b56480c8948ca94"


def parse(text: str) -> npt.NDArray[np.int64]:
    """Return the board (H, W) of a map with one line for each row.

    `.` road, `#` brick, `G` goal, `H` house, `S` sheep, `$` coin, `X` roadblock; on brick `g`, `h`, `s`, `%`, `x`.
    Indentation and empty lines around the map are ignored.

    Raises:
        ValueError: no text, any other symbol, rows of different lengths, or a map that is empty or larger than LARGEST.
    """
    rows = [line.strip() for line in checks.text("board", text, "a map in plain text").strip().splitlines()]
    for i, row in enumerate(rows):
        unknown = sorted(set(row) - set(SYMBOLS))
        if unknown:
            raise ValueError(f"Row {i} of the board, {row!r}, holds {unknown[0]!r}; expected the symbols {SYMBOLS!r}.")
        if len(row) != len(rows[0]):
            raise ValueError(
                f"Row {i} of the board, {row!r}, has {len(row)} cells; expected {len(rows[0])} as in row 0."
            )
    if not rows or not 1 <= len(rows) <= LARGEST or not 1 <= len(rows[0]) <= LARGEST:
        raise checks.refusal("board", text, f"a map of at least one and at most {LARGEST}x{LARGEST} cells")
    return np.array([[SYMBOLS.index(symbol) for symbol in row] for row in rows])


def text(board: Array) -> str:
    """Return the map of a board (H, W) of cell codes, the inverse of `parse`; padding is left out."""
    return "\n".join("".join(SYMBOLS[code] for code in row) for row in crop(board).tolist())


def crop(board: Array) -> Array:
    """Return the board without the padding around it."""
    inside = board != OUTSIDE
    return board[inside.any(1)][:, inside.any(0)]


def pad(boards: Sequence[Array]) -> npt.NDArray[np.int64]:
    """Put boards of any sizes into one array (B, H, W), padded with OUTSIDE."""
    H, W = (max(board.shape[axis] for board in boards) for axis in (0, 1))
    padded = np.full((len(boards), H, W), OUTSIDE)
    for to, board in zip(padded, boards, strict=True):
        to[: board.shape[0], : board.shape[1]] = board
    return padded


def check_folder(data: Any) -> None:
    """Refuse what is neither None nor the name of a folder, whether the folder exists or not.

    Raises:
        ValueError: it is something else.
    """
    if data is not None and not isinstance(data, str | os.PathLike):
        raise checks.refusal("data", data, "the name of a folder or None")


def stored(data: str | None = None) -> dict[str, tuple[Array, tuple[float, ...]]]:
    """Read the stored random tasks of the publication by name: board (H, W) and weights in the order of FEATURES.

    They are read from FILE in the folder `data`, or in the one that the variable VALUEGYM_DATA names, itself or its
    subfolder: JSON, {name: {"board": rows of cell codes, "reward_weights": six numbers}}. The content is checked by
    SHA-256 over its canonical form, so that any conversion of the publisher's files will do.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: the content is not the published one, or `data` is no name of a folder.
    """
    check_folder(data)
    root = data or os.environ.get(VARIABLE)
    if not root:
        raise FileNotFoundError(f"Stored boards need the folder they lie in: pass data=FOLDER or set {VARIABLE}.")
    path = next((p for p in (Path(root) / FOLDER / FILE, Path(root) / FILE) if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{FILE} is missing from {root}.")
    content = json.loads(path.read_bytes())
    if content_digest(content) != DIGEST:
        raise ValueError(f"{path} does not hold the published boards: the SHA-256 of its content differs.")
    return {
        name: (np.array(task["board"]), tuple(float(weight) for weight in task["reward_weights"][: len(FEATURES)]))
        for name, task in content.items()
    }


def content_digest(content: Any) -> str:
    """Return the SHA-256 of JSON content, whatever its spacing and the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
