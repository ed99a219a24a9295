"""Answered pairs in files: one documented format without pickle, for sharing and for learning offline.

A data set is a folder with two files:

    card.json             what the data are, as JSON
    arrays-HASH.npz       the arrays, in numpy's format, read with allow_pickle=False

The arrays, for N pairs of segments of at most L steps: for each SIDE, `first` and `second`, `SIDE.observations`
(N, L+1, ...), or `SIDE.observations.KEY` for each entry of a dictionary, `SIDE.actions` (N, L, ...), `SIDE.rewards`
(N, L), NaN where unknown, `SIDE.lengths` (N,), `SIDE.terminated` (N,), and `SIDE.info.COLUMN` (N, ...) for further
columns; then `labels`, `probability`, `strength` and `user`, (N,) each, as in `Answers`.

The card holds `kind`, `format` (the version), `environment` (an id, or null), `pairs` N, `steps` L, `labels` (what the
codes mean), `source`, `licence`, `about`, and the name and the SHA-256 of the file of arrays. The file of arrays is
written first and the card replaced last, so that a folder is never half written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.feedback.answers import Answers, Feedback
from valuegym.envs.feedback.segments import Segments

__all__ = [
    "FORMAT",
    "KIND",
    "LABELS",
    "Stored",
    "arrays_of",
    "from_arrays",
    "pack",
    "parse_json",
    "read",
    "unpack",
    "write",
    "write_atomically",
]

Array = npt.NDArray[Any]

KIND, FORMAT = "valuegym preferences", 1
CARD = "card.json"
LABELS = {"0": "first preferred", "1": "second preferred", "0.5": "the same", "NaN": "can't tell, or skipped"}
_ANSWERS = ("labels", "probability", "strength", "user")
_FIELDS = ("actions", "rewards", "lengths", "terminated")


class Stored(NamedTuple):
    """A data set: the pairs and the card."""

    feedback: Feedback
    card: dict[str, Any]


def write_atomically(path: Path, content: bytes, keep: bool = False) -> bool:
    """Write a file so that at any moment there is the old one, or all of the new one.

    With `keep` a file that is there stays as it is, also if another process makes it at the same moment; returns
    whether the content was written.
    """
    handle, temporary = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep:
            os.link(temporary, path)
        else:
            os.replace(temporary, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    if os.name == "posix":  # the name of the file, too, is on the disk before anybody relies on it
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return True


def _lay(side: str, segments: Segments) -> dict[str, Array]:
    """Return the arrays of a side by their names in the file."""
    found = {f"{side}.{name}": getattr(segments, name) for name in _FIELDS}
    seen = segments.observations
    if isinstance(seen, dict):
        found |= {f"{side}.observations.{name}": value for name, value in seen.items()}
    else:
        found[f"{side}.observations"] = seen
    return found | {f"{side}.info.{name}": value for name, value in segments.info.items()}


def arrays_of(first: Segments, second: Segments, answers: Answers | None = None) -> dict[str, Array]:
    """Return pairs, with their answers if there are any, as arrays by their names in the format."""
    arrays = {**_lay("first", first), **_lay("second", second)}
    if answers is not None:
        arrays |= {name: getattr(answers, name) for name in _ANSWERS}
    return arrays


def pack(first: Segments, second: Segments, answers: Answers | None = None) -> bytes:
    """Return pairs, with their answers if there are any, as the content of a file of arrays.

    Raises:
        ValueError: an array holds objects, which could only be pickled.
    """
    arrays = arrays_of(first, second, answers)
    for name, value in arrays.items():
        if value.dtype.hasobject:
            raise ValueError(f"{name} holds Python objects; expected numbers, texts or bytes.")
    content = io.BytesIO()
    np.savez_compressed(content, **{name: np.ascontiguousarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    return content.getvalue()


def unpack(content: bytes) -> tuple[Segments, Segments, Answers | None]:
    """Return the pairs in the content of a file of arrays, and their answers, None where there are none.

    Raises:
        ValueError: it is no archive of arrays, an array is missing or unknown, or arrays do not fit.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a broken archive may raise anything, from zlib.error to MemoryError
        raise ValueError(f"it is no archive of arrays without pickle ({type(error).__name__}).") from None
    return from_arrays(arrays)


def from_arrays(arrays: Mapping[str, Array]) -> tuple[Segments, Segments, Answers | None]:
    """Return the pairs that arrays by their names in the format hold, and their answers, None where there are none.

    Raises:
        ValueError: an array is missing or unknown, or arrays do not fit.
    """
    arrays = dict(arrays)
    sides = [_side(side, arrays) for side in ("first", "second")]
    answers = None
    if "labels" in arrays:
        answers = Answers(*(_pop(arrays, name) for name in _ANSWERS))
    if arrays:
        raise ValueError(f"the array {min(arrays)!r} is unknown; expected those of the format only.")
    return sides[0], sides[1], answers


def _pop(arrays: dict[str, Array], name: str) -> Array:
    if name not in arrays:
        raise ValueError(f"the array {name!r} is missing.")
    return arrays.pop(name)


def _side(side: str, arrays: dict[str, Array]) -> Segments:
    """Take the arrays of a side."""
    entries, columns = f"{side}.observations.", f"{side}.info."
    observations: Any = {
        name.removeprefix(entries): arrays.pop(name) for name in list(arrays) if name.startswith(entries)
    }
    if not observations:
        observations = _pop(arrays, f"{side}.observations")
    info = {name.removeprefix(columns): arrays.pop(name) for name in list(arrays) if name.startswith(columns)}
    fields = {name: _pop(arrays, f"{side}.{name}") for name in _FIELDS}
    try:
        return Segments(observations, info=info, **fields)
    except ValueError as error:
        raise ValueError(f"of the {side} segments, {error}") from None


def write(
    folder: str | Path,
    feedback: Feedback,
    *,
    source: str,
    licence: str,
    environment: str | None = None,
    about: str = "",
) -> Path:
    """Write a data set into a folder, and return the path of its card.

    Args:
        folder: made where there is none; a data set in it is replaced.
        feedback: the pairs; what should stay unknown, such as true rewards, has to be hidden before.
        source: where they come from, a sentence.
        licence: under which they may be shared, such as "CC BY 4.0" or "not stated".
        environment: the id of the environment.
        about: anything else.

    Raises:
        ValueError: there is no pair, a text is empty or no text, or an array holds objects.
    """
    if not len(feedback):
        raise ValueError("feedback holds no pair; expected at least one.")
    texts: dict[str, Any] = {"source": source, "licence": licence, "about": about, "environment": environment}
    for name, value in texts.items():
        if name in ("source", "licence") and not (isinstance(value, str) and value.strip()):
            raise ValueError(f"{name} is {value!r}; expected a text, such as 'not stated'.")
        if not isinstance(value, str) and not (name == "environment" and value is None):
            raise ValueError(f"{name} is {value!r}; expected a text.")
    content = pack(feedback.first, feedback.second, feedback.answers)
    sha256 = hashlib.sha256(content).hexdigest()
    card = {
        "kind": KIND,
        "format": FORMAT,
        "environment": environment,
        "pairs": len(feedback),
        "steps": feedback.first.steps,
        "labels": LABELS,
        "source": source,
        "licence": licence,
        "about": about,
        "arrays": {"file": f"arrays-{sha256[:16]}.npz", "sha256": sha256},
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CARD
    former = _arrays_of(path)
    write_atomically(folder / card["arrays"]["file"], content)  # type: ignore[index]
    write_atomically(path, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    if former is not None and former != card["arrays"]["file"]:  # type: ignore[index]
        (folder / former).unlink(missing_ok=True)
    return path


def _arrays_of(path: Path) -> str | None:
    """Return the name of the file of arrays of a card that is about to be replaced."""
    try:
        name = parse_json(path.read_bytes())["arrays"]["file"]
        return name if isinstance(name, str) and Path(name).name == name and name.startswith("arrays-") else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """Let errors begin with the path of the file at fault."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_json(content: bytes) -> dict[str, Any]:
    """Return a JSON object, strictly: UTF-8, no name twice, no NaN.

    Raises:
        ValueError: it is none.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands twice in it.")
        return found

    def constant(text: str) -> Any:
        raise ValueError(f"{text} is no JSON.")

    try:
        card = json.loads(content.decode(), object_pairs_hook=once, parse_constant=constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({type(error).__name__}).") from None
    if not isinstance(card, dict):
        raise ValueError(f"it holds {type(card).__name__}; expected a JSON object.")
    return card


def _check_card(card: dict[str, Any]) -> dict[str, Any]:
    """Return a card whose fields are all as the format says."""
    if card.get("kind") != KIND:
        raise ValueError(f"kind is {card.get('kind')!r}; expected {KIND!r}.")
    if card.get("format") != FORMAT or isinstance(card["format"], bool):
        raise ValueError(f"format is {card.get('format')!r}; this version of valuegym reads {FORMAT}.")
    if card.get("labels") != LABELS:
        raise ValueError(f"labels is {card.get('labels')!r}; expected {LABELS!r}.")
    for name in ("source", "licence", "about"):
        if not isinstance(card.get(name), str):
            raise ValueError(f"{name} is {card.get(name)!r}; expected a text.")
    if "environment" not in card or not isinstance(card["environment"], (str, type(None))):
        raise ValueError(f"environment is {card.get('environment')!r}; expected an id, or null.")
    for name in ("pairs", "steps"):
        checks.integer(name, card.get(name), 1)
    arrays = card.get("arrays")
    if not isinstance(arrays, dict) or not all(isinstance(arrays.get(n), str) for n in ("file", "sha256")):
        raise ValueError(f"arrays is {arrays!r}; expected the name and the SHA-256 of a file.")
    if Path(arrays["file"]).name != arrays["file"] or not arrays["file"].startswith("arrays-"):
        raise ValueError(f"the file of arrays is {arrays['file']!r}; expected arrays-HASH.npz in the same folder.")
    return card


def read(folder: str | Path) -> Stored:
    """Read a data set from a folder.

    Raises:
        FileNotFoundError: the folder, its card or its file of arrays is missing.
        ValueError: a file is not as the format says; the message begins with its path.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        raise FileNotFoundError(f"There is no {CARD} in {folder}; expected a folder that `write` made.")
    with _about(path):
        card = _check_card(parse_json(path.read_bytes()))
    name = card["arrays"]["file"]
    file = Path(folder) / name
    if not file.is_file():
        raise FileNotFoundError(f"There is no {name} in {folder}, which {CARD} names.")
    with _about(file):
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != card["arrays"]["sha256"]:
            raise ValueError(f"its SHA-256 is not that of {CARD}; get the data set again.")
        first, second, answers = unpack(content)
        if answers is None:
            raise ValueError("the array 'labels' is missing.")
        feedback = Feedback(first, second, answers)
        if (len(feedback), first.steps) != (stated := (card["pairs"], card["steps"])):
            raise ValueError(
                f"it holds {len(feedback)} pairs of {first.steps} steps; {CARD} says {stated[0]} of {stated[1]}."
            )
    return Stored(feedback, card)
