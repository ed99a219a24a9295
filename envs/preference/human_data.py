"""Human answers about the delivery task and their format on disk: plain arrays, and a card that describes them.

A condition NAME consists of a card NAME.json and the files that the card lists with their SHA-256: either NAME.npz,
which `write` makes, or three arrays in the format of the published delivery preferences, for which `accept` writes a
card. Nothing is ever unpickled. docs/data.md describes every field.

The sign convention: label 1 prefers the second segment, and every statistic is a difference, second minus first.
Reading recomputes the statistics, and rejects reversed statistics and reversed labels.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, models
from valuegym.envs.preference.segments import Segment, follow

__all__ = [
    "ARRAYS",
    "FORMAT",
    "PARTS",
    "SIGN",
    "Agreement",
    "HumanPreferences",
    "accept",
    "agreement",
    "as_published",
    "check",
    "check_name",
    "delivery_segments",
    "file_names",
    "in_folder",
    "mismatches",
    "read",
    "read_as_published",
    "read_card",
    "segments",
    "statistics",
    "write",
]

Array = npt.NDArray[Any]

FORMAT = "valuegym human preferences 1"
SIGN = "label 1: the second segment is preferred; statistics: second minus first"
PARTS = ("segment_pairs", "Y", "X")
ARRAYS = ("starts", "actions", "labels", "statistics")
_BY_CARD = "the file that its card lists"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class HumanPreferences(NamedTuple):
    """Answers (n,) of one condition.

    segments: pairs as a Segment with leading axes (n, 2); labels (n,) 0 first, 1 second, 0.5 same, NaN can't tell;
    published (n, 3): the stored differences, second minus first, of partial return, V*(start) and V*(end), all at
    discount 1; sha256 of the files, in the order segment_pairs, Y, X where there are three.
    """

    condition: str
    segments: Segment
    labels: Array
    published: Array
    sha256: tuple[str, ...]


# --- what the arrays mean ---


def delivery_segments(pairs: Array) -> Segment:
    """Return published pairs (n, 2, L + 1, 2) as segments on the published board.

    Each is a start cell (row, column) and L moves, (0, 0) after the end.

    Raises:
        ValueError: another shape or type, or any other move.
    """
    whole = pairs.dtype.kind in "iu" or (pairs.dtype.kind == "f" and bool((pairs == np.rint(pairs)).all()))
    if pairs.ndim != 4 or pairs.shape[1] != 2 or pairs.shape[2] < 2 or pairs.shape[3] != 2 or not whole:
        raise ValueError(
            f"segment_pairs has shape {pairs.shape} and type {pairs.dtype}; expected whole numbers (n, 2, L + 1, 2)."
        )
    pairs = pairs.astype(np.int64)
    moves = (pairs[:, :, 1:, None] == delivery.MOVES).all(-1)
    padding = (pairs[:, :, 1:] == 0).all(-1)
    if not (moves.any(-1) | padding).all():
        raise ValueError("A segment holds a move that is not up, down, left or right, or (0, 0) before its end.")
    return segments(pairs[:, :, 0], np.where(padding, -1, moves.argmax(-1)))


def segments(starts: Array, actions: Array) -> Segment:
    """Return pairs on the published board: start cells (n, 2, 2) as (row, column), and actions (n, 2, L).

    Actions after the end of the episode are ignored; -1 is expected there.

    Raises:
        ValueError: a shape or type is not as stated, or a start or an action is impossible.
    """
    for name, array, shape in (("starts", starts, "(n, 2, 2)"), ("actions", actions, "(n, 2, L)")):
        if array.ndim != 3 or array.shape[1] != 2 or array.dtype.kind not in "iu":
            raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}; expected integers {shape}.")
    if starts.shape[2] != 2 or len(starts) != len(actions) or not len(starts) or not actions.shape[2]:
        raise ValueError(
            f"starts {starts.shape} and actions {actions.shape} do not fit; expected (n, 2, 2) and (n, 2, L), n, L > 0."
        )
    board = np.array(delivery.BOARD)
    inside = (starts >= 0).all(-1) & (starts < board.shape).all(-1)
    cells = np.where(inside, starts[..., 0] * board.shape[1] + starts[..., 1], 0)
    wrong = np.argwhere(~inside | (board.reshape(-1)[cells] % delivery.BRICK == delivery.HOUSE))
    if len(wrong):
        row, column = starts[tuple(wrong[0])]
        raise ValueError(f"Pair {wrong[0][0]} starts at ({row}, {column}), where no vehicle can be.")
    known = (actions >= -1) & (actions < len(delivery.ACTIONS))
    process = delivery.board_mdp(board[None])
    pairs = Segment(*(field[0] for field in follow(process, cells[None], np.where(known, actions, 0).clip(0)[None])))
    wrong = np.argwhere(~known | ((actions < 0) & pairs.mask))
    if len(wrong):
        raise ValueError(f"Pair {wrong[0][0]} holds a move that is not up, down, left or right before its end.")
    return pairs


def statistics(pairs: Segment) -> Array:
    """Return the differences (n, 3), second minus first, of partial return, V*(start) and V*(end), at discount 1."""
    mdp = delivery.board_mdp(np.array([delivery.BOARD]), discount=1.0)
    values = tabular.optimal_values(mdp, tabular.reward(mdp, np.array(delivery.WEIGHTS)))[0][0]
    earned = (pairs.features @ np.array(delivery.WEIGHTS)).sum(-1)
    each = np.stack([earned, values[pairs.states[..., 0]], values[pairs.states[..., -1]]], -1)
    difference: Array = each[:, 1] - each[:, 0]
    return difference


def mismatches(human: HumanPreferences) -> int:
    """Count rows whose stored statistics the delivery task does not reproduce exactly."""
    return int((~(np.abs(statistics(human.segments) - human.published) <= 1e-9)).any(-1).sum())


class Agreement(NamedTuple):
    """Number of answers that prefer one of two unequal segments, and the share of them that prefer the better one."""

    answers: int
    share: float


def agreement(pairs: Segment, labels: Array) -> Agreement:
    """Return the agreement with partial return or with regret, whichever is higher.

    Raises:
        ValueError: a label is none (`models.check_labels`).
    """
    labels = models.check_labels("labels", labels)
    earned, start, end = statistics(pairs).T
    found = []
    for better in (earned, earned + end - start):
        decided = np.isin(labels, (0, 1)) & (np.abs(better) > 1e-9)
        right = (better > 0) == (labels == 1)
        found.append(Agreement(int(decided.sum()), float(right[decided].mean()) if decided.any() else 0.5))
    return max(found, key=lambda one: one.share)


def check(pairs: Segment, labels: Array, stored: Array) -> None:
    """Check that labels and statistics fit the segments, and that the labels are not reversed.

    Raises:
        ValueError: shapes or values are wrong, the statistics are first minus second, or the share of answers that
            prefer the better segment is below one half by more than two standard errors, both by partial return and by
            regret.
    """
    n = len(pairs.mask)
    if labels.shape != (n,) or stored.shape != (n, 3) or labels.dtype.kind != "f" or stored.dtype.kind not in "fiu":
        raise ValueError(
            f"labels {labels.shape} and statistics {stored.shape} do not fit {n} pairs; expected floating-point labels "
            f"({n},) and statistics ({n}, 3)."
        )
    models.check_labels("labels", labels)
    true = statistics(pairs)
    if np.abs(true).max() > 0 and (np.abs(true + stored) <= 1e-9).all():
        raise ValueError(f"The statistics are first minus second; the convention is {SIGN!r}.")
    answers, share = agreement(pairs, labels)
    if share < 0.5 - 1 / max(answers, 1) ** 0.5:
        raise ValueError(
            f"Only {100 * share:.0f}% of {answers} answers go to the better segment, by partial return or by regret: "
            f"the labels seem to be reversed; the convention is {SIGN!r}."
        )


# --- on disk ---


def file_names(condition: str) -> list[str]:
    """Return the names of the three files of a condition as published, in the order of PARTS."""
    return [f"{condition}_full_filtered_{part}.npy" for part in PARTS]


def check_name(condition: str) -> None:
    """Refuse a name that is not a plain file name.

    Raises:
        ValueError: it holds something else than letters, digits, hyphens and underscores.
    """
    if not _NAME.fullmatch(condition):
        raise ValueError(f"condition = {condition!r}; expected letters, digits, hyphens and underscores.")


def in_folder(folder: Path) -> list[str]:
    """Return the names of the conditions that have a card and its files, sorted."""
    cards = sorted(path.stem for path in folder.glob("*.json") if _NAME.fullmatch(path.stem))
    return [name for name in cards if any((folder / file).is_file() for file in (f"{name}.npz", file_names(name)[1]))]


def as_published(folder: Path) -> list[str]:
    """Return the names of the conditions whose three published files are all in the folder, sorted."""
    end = file_names("")[1]
    found = sorted(path.name.removesuffix(end) for path in folder.glob(f"*{end}"))
    return [name for name in found if _NAME.fullmatch(name) and all((folder / f).is_file() for f in file_names(name))]


def read_as_published(
    folder: Path, condition: str, hashes: tuple[str, ...] | None = None, meant: str = "the published file"
) -> HumanPreferences:
    """Read a condition in the published format, and check its files against `hashes`, if given.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the SHA-256 of a file differs, or its arrays are invalid (`check`).
    """
    contents = _contents(folder, file_names(condition), hashes, meant)
    with _naming(folder / file_names(condition)[0]):
        pairs, labels, stored = (np.load(io.BytesIO(content), allow_pickle=False) for content in contents)
        found = delivery_segments(pairs)
        labels = labels.astype(np.float64)
        check(found, labels, stored)
    return HumanPreferences(condition, found, labels, stored, tuple(map(_sha256, contents)))


def read(folder: Path, condition: str) -> HumanPreferences:
    """Read a condition that has a card.

    Raises:
        FileNotFoundError: the card or a file is missing.
        ValueError: the card is invalid, the SHA-256 of a file differs, or the arrays are invalid (`check`).
    """
    card = read_card(folder, condition)
    names, hashes = list(card["files"]), tuple(card["files"].values())
    if names == file_names(condition):
        human = read_as_published(folder, condition, hashes, _BY_CARD)
    else:
        [content] = _contents(folder, names, hashes, _BY_CARD)
        with _naming(folder / names[0]):
            starts, actions, labels, stored = _arrays(content)
            found = segments(starts, actions)
            check(found, labels, stored)
        human = HumanPreferences(condition, found, labels, stored, hashes)
        if wrong := mismatches(human):
            raise ValueError(
                f"{folder / names[0]}: the statistics of {wrong} pairs do not follow from the delivery task."
            )
    if len(human.labels) != card.get("answers"):
        raise ValueError(
            f"{folder / condition}.json says {card.get('answers')} answers, but there are {len(human.labels)}."
        )
    return human


def read_card(folder: Path, condition: str) -> dict[str, Any]:
    """Return the card of a condition.

    Raises:
        ValueError: the card is not JSON, or a field is not as docs/data.md describes it.
    """
    check_name(condition)
    path = folder / f"{condition}.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    wanted = {"format": FORMAT, "task": "delivery", "condition": condition, "sign": SIGN}
    for field, value in wanted.items():
        found = card.get(field) if isinstance(card, dict) else None
        if found != value:
            raise ValueError(f"{path}: {field} = {found!r}; expected {value!r}.")
    for field in ("source", "licence"):
        if not isinstance(card.get(field), str) or not card[field].strip():
            raise ValueError(f"{path}: {field} = {card.get(field)!r}; expected a sentence, such as 'not stated'.")
    files = card.get("files")
    if not isinstance(files, dict) or list(files) not in ([f"{condition}.npz"], file_names(condition)):
        raise ValueError(f"{path}: files = {files!r}; expected {condition}.npz or {file_names(condition)}, in order.")
    return dict(card)


def write(
    folder: str | Path,
    condition: str,
    starts: npt.ArrayLike,
    actions: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    source: str,
    licence: str,
    about: str = "",
) -> Path:
    """Write a condition as NAME.npz with its card, and return the path of the card.

    Args:
        folder: created if it does not exist.
        condition: its name.
        starts: (n, 2, 2) start cells of both segments, (row, column) from the top left.
        actions: (n, 2, L) of 0 up, 1 down, 2 left, 3 right, and -1 after the end of the episode.
        labels: (n,) 0 first, 1 second, 0.5 same, NaN can't tell.
        source: where the answers come from.
        licence: "not stated" where there is none.
        about: how people were asked.

    Raises:
        ValueError: an argument is invalid (`check`); then nothing is written.
    """
    check_name(condition)
    starts, actions, labels = np.asarray(starts), np.asarray(actions), models.check_labels("labels", labels)
    pairs = segments(starts, actions)
    stored = statistics(pairs)
    check(pairs, labels, stored)
    content = io.BytesIO()
    np.savez(content, starts=starts, actions=actions, labels=labels, statistics=stored)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / f"{condition}.npz", content.getvalue())
    files = {f"{condition}.npz": _sha256(content.getvalue())}
    return _write_card(folder, condition, len(labels), files, source, licence, about)


def accept(folder: Path, condition: str, source: str, licence: str, about: str = "") -> Path:
    """Write a card for three files in the published format, so that `read` finds them as NAME; return its path.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the name or the arrays are invalid (`check`), or the delivery task does not reproduce the stored
            statistics.
    """
    check_name(condition)
    human = read_as_published(folder, condition)
    if wrong := mismatches(human):
        raise ValueError(
            f"The statistics of {wrong} of {len(human.labels)} pairs do not follow from the delivery task."
        )
    files = dict(zip(file_names(condition), human.sha256, strict=True))
    return _write_card(folder, condition, len(human.labels), files, source, licence, about)


def _write_card(
    folder: Path, condition: str, answers: int, files: dict[str, str], source: str, licence: str, about: str
) -> Path:
    for field, value in (("source", source), ("licence", licence)):
        if not value.strip():
            raise ValueError(f"{field} is empty; expected a sentence, such as 'not stated'.")
    card = {
        "format": FORMAT,
        "task": "delivery",
        "condition": condition,
        "about": about,
        "source": source,
        "licence": licence,
        "answers": answers,
        "sign": SIGN,
        "files": files,
    }
    path = folder / f"{condition}.json"
    _replace(path, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def _arrays(content: bytes) -> list[Array]:
    """Return the ARRAYS of an archive."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            missing = sorted(set(ARRAYS) - set(archive.files))
            if missing:
                raise ValueError(f"the array {missing[0]!r} is missing; expected {', '.join(ARRAYS)}.")
            return [archive[name] for name in ARRAYS]
    except zipfile.BadZipFile:
        raise ValueError("this is not an archive of arrays.") from None


def _contents(folder: Path, names: list[str], hashes: tuple[str, ...] | None, meant: str) -> list[bytes]:
    """Return the contents of files, checked against their SHA-256 hashes, if given."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing from {folder}.")
    contents = [(folder / name).read_bytes() for name in names]
    found = map(_sha256, contents)
    wrong = [name for name, sha256, due in zip(names, found, hashes or (), strict=False) if sha256 != due]
    if wrong:
        raise ValueError(
            " ".join(f"{folder / name} is not {meant}: its SHA-256 differs. Get it again." for name in wrong)
        )
    return contents


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Prefix errors with the name of the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
