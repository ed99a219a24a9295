"""Human answers about the delivery task and their format on disk: plain arrays, and a card that describes them.

A condition NAME consists of a card NAME.json and the files that the card lists with their SHA-256: either NAME.npz,
which `write` makes, or three arrays in the format of the published delivery preferences, for which `accept` writes a
card. Nothing is ever unpickled. docs/data.md describes every field.

The sign convention: label 1 prefers the second segment, and every statistic is a difference, second minus first.
Reading recomputes the statistics, and rejects reversed statistics and reversed labels.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs import mdp as tabular
from valuegym.envs.array_files import naming, parse_array, read_contents, sha256, unlike
from valuegym.envs.preference import delivery, models
from valuegym.envs.preference.segments import Segment, follow

__all__ = [
    "ARRAYS",
    "FORMAT",
    "PARTS",
    "PUBLISHED",
    "SIGN",
    "Agreement",
    "HumanPreferences",
    "accept",
    "agreement",
    "agreement_text",
    "as_published",
    "check",
    "check_free",
    "check_name",
    "delivery_segments",
    "file_names",
    "in_folder",
    "mismatches",
    "noticed_reversal",
    "read",
    "read_as_published",
    "read_card",
    "reversal_power",
    "segments",
    "statistics",
    "write",
]

Array = npt.NDArray[Any]

FORMAT = "valuegym human preferences 1"
SIGN = "label 1: the second segment is preferred; statistics: second minus first"
PARTS = ("segment_pairs", "Y", "X")
ARRAYS = ("starts", "actions", "labels", "statistics")
PUBLISHED = (  # the names of the published conditions, which are known by hash and so are nobody else's
    "Privileged-Control",
    "Pr-Privileged",
    "Regret-Privileged",
    "Question-Control",
    "Pr-Question",
    "Regret-Question",
    "Trained-Control",
    "Regret-Trained",
)
LOW_POWER = 0.95  # below this probability of noticing reversed labels `write` warns
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
    whole = pairs.dtype.kind in "iu" or (
        pairs.dtype.kind == "f" and bool(((pairs == np.rint(pairs)) & (np.abs(pairs) < 2**53)).all())
    )
    if pairs.ndim != 4 or pairs.shape[1] != 2 or pairs.shape[2] < 2 or pairs.shape[3] != 2 or not whole:
        raise ValueError(
            f"segment_pairs has shape {pairs.shape} and type {pairs.dtype}; expected whole numbers (n, 2, L + 1, 2)."
        )
    pairs = checks.integers("segment_pairs", pairs.astype(np.int64) if pairs.dtype.kind == "f" else pairs)
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
    starts, actions = checks.integers("starts", starts), checks.integers("actions", actions)
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
    return max(_agreements(pairs, models.check_labels("labels", labels)), key=lambda one: one.share)


def _agreements(pairs: Segment, labels: Array) -> list[Agreement]:
    """Return the agreement with partial return and with regret."""
    earned, start, end = statistics(pairs).T
    found = []
    for better in (earned, earned + end - start):
        decided = np.isin(labels, (0, 1)) & (np.abs(better) > 1e-9)
        right = (better > 0) == (labels == 1)
        found.append(Agreement(int(decided.sum()), float(right[decided].mean()) if decided.any() else 0.5))
    return found


def _is_reversed(answers: int, share: float) -> bool:
    """Return whether a share of answers is below one half by more than two standard errors."""
    return share < 0.5 - 1 / max(answers, 1) ** 0.5


def reversal_power(answers: int, share: float) -> float:
    """Return the probability that `check` notices reversed labels, of people who agree so often with the segments.

    Of n answers, each of which goes to the better segment with probability p, k do so once the labels are reversed,
    k ~ binomial(n, 1 - p); they are noticed if k / n < 1/2 - 1 / sqrt(n).

    Args:
        answers: n, those that prefer one of two unequal segments; 0 or more.
        share: p, in [0, 1].

    Raises:
        ValueError: an argument is out of range.
    """
    n, p = checks.integer("answers", answers, 0), checks.real("share", share, 0.0, 1.0)
    noticed = [k for k in range(n + 1) if _is_reversed(n, k / max(n, 1))]
    if p in (0.0, 1.0):
        return float((0 if p else n) in noticed)
    log = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in noticed]
    chances = (c + k * math.log(1 - p) + (n - k) * math.log(p) for c, k in zip(log, noticed, strict=True))
    return min(math.fsum(map(math.exp, chances)), 1.0)


def noticed_reversal(pairs: Segment, labels: Array) -> float:
    """Return the `reversal_power` for answers about pairs.

    Labels are refused only if both agreements are low, so that the lower one decides how well a reversal is noticed.

    Raises:
        ValueError: a label is none (`models.check_labels`).
    """
    return reversal_power(*min(_agreements(pairs, models.check_labels("labels", labels)), key=lambda one: one.share))


def agreement_text(pairs: Segment, labels: Array) -> str:
    """Return a sentence on how far answers agree with the segments, and whether reversed labels would be noticed.

    Raises:
        ValueError: a label is none (`models.check_labels`).
    """
    best = agreement(pairs, labels)
    return (
        f"{100 * best.share:.0f}% of the {best.answers} answers about unequal segments go to the better one; had the "
        f"labels been reversed, this would be noticed with probability {noticed_reversal(pairs, labels):.2f}."
    )


def check(pairs: Segment, labels: Array, stored: Array) -> None:
    """Check that labels and statistics fit the segments, and that the labels are not reversed.

    Raises:
        ValueError: shapes or values are wrong, the statistics are first minus second, or the share of answers that
            prefer the better segment is below one half by more than two standard errors, both by partial return and by
            regret.
    """
    _check_statistics(pairs, stored)
    _check_labels(pairs, labels)


def _check_statistics(pairs: Segment, stored: Array) -> None:
    n = len(pairs.mask)
    if stored.shape != (n, 3) or stored.dtype.kind not in "fiu":
        raise ValueError(
            f"statistics have shape {stored.shape} and type {stored.dtype}, which do not fit {n} pairs; expected real "
            f"numbers ({n}, 3)."
        )
    true = statistics(pairs)
    if np.abs(true).max() > 0 and (np.abs(true + stored) <= 1e-9).all():
        raise ValueError(f"The statistics are first minus second; the convention is {SIGN!r}.")


def _check_labels(pairs: Segment, labels: Array) -> None:
    n = len(pairs.mask)
    if labels.shape != (n,) or labels.dtype.kind != "f":
        raise ValueError(
            f"labels have shape {labels.shape} and type {labels.dtype}, which do not fit {n} pairs; expected "
            f"floating-point numbers ({n},)."
        )
    models.check_labels("labels", labels)
    answers, share = agreement(pairs, labels)
    if _is_reversed(answers, share):
        raise ValueError(
            f"Only {100 * share:.0f}% of {answers} answers go to the better segment, by partial return or by regret: "
            f"the labels seem to be reversed; the convention is {SIGN!r}."
        )


# --- on disk ---


def file_names(condition: str) -> list[str]:
    """Return the names of the three files of a condition as published, in the order of PARTS."""
    return [f"{condition}_full_filtered_{part}.npy" for part in PARTS]


def check_free(condition: str) -> None:
    """Refuse a name that is not a plain file name, or one of the published conditions, in small letters or large ones.

    Raises:
        ValueError: it is not free.
    """
    check_name(condition)
    if condition.lower() in map(str.lower, PUBLISHED):
        raise ValueError(
            f"condition = {condition!r} is the name of a published condition, whose files are known by their hashes; "
            "choose another one."
        )


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
    contents = read_contents(folder, file_names(condition), hashes, meant)
    arrays = []
    for name, content in zip(file_names(condition), contents, strict=True):
        with naming(folder / name):
            arrays.append(parse_array(content))
    pairs, labels, stored = arrays
    paths = [folder / name for name in file_names(condition)]  # so that each error names its own file
    with naming(paths[0]):
        found = delivery_segments(pairs)
    with naming(paths[2]):
        _check_statistics(found, stored)
    with naming(paths[1]):
        if labels.dtype.kind not in "fiu":
            raise ValueError(f"labels have the type {labels.dtype}; expected numbers.")
        labels = labels.astype(np.float64)
        _check_labels(found, labels)
    return HumanPreferences(condition, found, labels, stored, tuple(map(sha256, contents)))


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
        [content] = read_contents(folder, names, hashes, _BY_CARD)
        with naming(folder / names[0]):
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
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {unlike(path.read_bytes()) or error}") from None
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

    The card says how far the answers agree with the segments (`agreement_text`). A warning is given where there are too
    few answers, or where they agree too little, for reversed labels to be noticed with probability 0.95.

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
        ValueError: an argument is invalid (`check`), or the name that of a published condition; then nothing is
            written.
    """
    check_free(condition)
    starts, actions, labels = np.asarray(starts), np.asarray(actions), models.check_labels("labels", labels)
    pairs = segments(starts, actions)
    stored = statistics(pairs)
    check(pairs, labels, stored)
    if noticed_reversal(pairs, labels) < LOW_POWER:
        warnings.warn(f"{condition}: {agreement_text(pairs, labels)} Make sure that {SIGN}.", stacklevel=2)
    content = io.BytesIO()
    np.savez(content, starts=starts, actions=actions, labels=labels, statistics=stored)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / f"{condition}.npz", content.getvalue())
    files = {f"{condition}.npz": sha256(content.getvalue())}
    return _write_card(folder, condition, pairs, labels, files, source, licence, about)


def accept(folder: Path, condition: str, source: str, licence: str, about: str = "") -> Path:
    """Write a card for three files in the published format, so that `read` finds them as NAME; return its path.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the name or the arrays are invalid (`check`), the name is that of a published condition, or the
            delivery task does not reproduce the stored statistics.
    """
    check_free(condition)
    human = read_as_published(folder, condition)
    if wrong := mismatches(human):
        raise ValueError(
            f"The statistics of {wrong} of {len(human.labels)} pairs do not follow from the delivery task."
        )
    files = dict(zip(file_names(condition), human.sha256, strict=True))
    return _write_card(folder, condition, human.segments, human.labels, files, source, licence, about)


def _write_card(
    folder: Path,
    condition: str,
    pairs: Segment,
    labels: Array,
    files: dict[str, str],
    source: str,
    licence: str,
    about: str,
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
        "answers": len(labels),
        "agreement": agreement_text(pairs, labels),
        "sign": SIGN,
        "files": files,
    }
    path = folder / f"{condition}.json"
    _replace(path, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def _arrays(content: bytes) -> list[Array]:
    """Return the ARRAYS of an archive.

    Raises:
        ValueError: it is not an archive that holds them.
    """
    if said := unlike(content, "archive"):
        raise ValueError(f"{said}.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            missing = sorted({f"{name}.npy" for name in ARRAYS} - set(archive.namelist()))
            if missing:
                raise ValueError(f"the array {missing[0][:-4]!r} is missing; expected {', '.join(ARRAYS)}.")
            contents = {name: archive.read(f"{name}.npy") for name in ARRAYS}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):  # damaged, or with a password
        raise ValueError("it is not a whole archive of arrays.") from None
    found = []
    for name, inside in contents.items():
        with naming(name):
            found.append(parse_array(inside))
    return found


def _replace(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)
