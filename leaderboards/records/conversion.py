"""Conversion of records and submissions from format 1 to the present one: names change, what was played does not.

A format's names (experiments, arguments of environments, fields of states) are frozen in a table beside this module,
`format_1.json`, with the environment digest of every experiment before and after. Actions, values of states, seeds,
flags and scores are carried over unread; a record whose digest is not the table's was made with another environment
and is refused. What comes out is for `verify` to judge, as any record is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from valuegym.leaderboards.records import submission
from valuegym.leaderboards.records.record import (
    FORMAT,
    MAX_BYTES,
    RecordError,
    from_text,
    json_line,
    remove_stale_temporaries,
    write_atomically,
)
from valuegym.leaderboards.records.strict_json import decode_json, printable

__all__ = ["Conversion", "Names", "convert_file", "convert_folder", "convert_record", "convert_submission", "names"]

OLD = 1  # the only format before the present one


@dataclass(frozen=True)
class Names:
    """Old names and what they are called now.

    Attributes:
        experiments: old id -> new id, where it changed.
        arguments: environment id -> old argument -> new argument; None where records no longer hold it.
        states: environment id -> old field of the state -> new field.
        digests: old experiment id -> (environment digest before, environment digest now).
    """

    experiments: Mapping[str, str]
    arguments: Mapping[str, Mapping[str, str | None]]
    states: Mapping[str, Mapping[str, str]]
    digests: Mapping[str, tuple[str, str]]


@lru_cache
def names() -> Names:
    """Return the table of names that changed after format 1."""
    table = json.loads(Path(__file__).with_name("format_1.json").read_text(encoding="utf-8"))
    digests = {name: (before, after) for name, (before, after) in table["digests"].items()}
    return Names(table["experiments"], table["arguments"], table["states"], digests)


def convert_record(text: str, table: Names | None = None) -> str:
    """Return the text of a format-1 record in the present format.

    Args:
        text: the JSON lines of the record.
        table: names that changed; by default those of this installation.

    Raises:
        RecordError: the text is damaged, not a record of format 1, or of an environment that format 1 did not have.
    """
    table = names() if table is None else table
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise RecordError("the file does not end with a whole line: it is truncated.")
    header = _object(lines[0], 1)
    found = header.get("format")
    if type(found) is not int or found != OLD:
        shown = found if type(found) is int else printable(found, 20)
        raise RecordError(f"format {shown} is not converted; expected format {OLD}.")
    end = _object(lines[-2], len(lines) - 1)
    body = "".join(line + "\n" for line in lines[:-2])
    if hashlib.sha256(body.encode()).hexdigest() != end.get("sha256"):
        raise RecordError("the content does not match its SHA-256: the file was edited or damaged.")
    experiment, spec = str(header.get("experiment")), header.get("spec")
    before, after = table.digests.get(experiment, ("", ""))
    if not before or header.get("digest") != before or not isinstance(spec, dict):
        raise RecordError(
            f"the record of {experiment[:80]!r} was not made with the environment that this experiment had in format "
            f"{OLD}; run the experiment again."
        )
    id = str(spec.get("id"))
    arguments, fields = {**table.arguments.get("", {}), **table.arguments.get(id, {})}, table.states.get(id, {})
    header |= {
        "format": FORMAT,
        "experiment": table.experiments.get(experiment, experiment),
        "digest": after,
        "spec": spec | {"kwargs": _renamed(spec.get("kwargs"), arguments, 1)},
    }
    converted = [json_line(header)]
    for i, line in enumerate(lines[1:-2], start=2):
        episode = _object(line, i)
        converted.append(json_line(episode | {"states": _renamed(episode.get("states"), fields, i)}))
    content = "".join(converted)
    content += json_line(end | {"sha256": hashlib.sha256(content.encode()).hexdigest()})
    from_text(content)  # raises where it is no record
    return content


def convert_submission(content: bytes) -> bytes:
    """Return a submission whose records are of format 1 with records of the present format.

    Card and evidence stay as they are.

    Raises:
        SubmissionError: the file is not a submission, or its seeds depend on a board's commitment, and so on names.
        RecordError: one of its records cannot be converted.
    """
    old = submission.read_form(content)
    if old.seal is not None:
        raise submission.SubmissionError(
            "The submission's seeds were drawn for a board's commitment under the names of format 1; "
            "commit the agent again and submit new records."
        )
    records = [_convert_bytes(part, f"{name}: ").encode() for name, part in old.records.items()]
    return submission.pack(old.card, records, {name.partition("/")[2]: part for name, part in old.evidence.items()})


class Conversion(NamedTuple):
    """The outcome of converting one file: where it was written, or why it was not; `target` or `reason` is empty."""

    path: Path
    target: Path | None
    reason: str


def convert_file(path: Path, target: Path) -> None:
    """Convert a record or a submission, told apart by the suffix .zip, and write it to another file.

    Raises:
        RecordError, SubmissionError: as `convert_record` and `convert_submission`; also for what is no regular file.
        OSError: the file cannot be read or written.
    """
    write_atomically(target, _converted(path))


def convert_folder(source: Path, folder: Path) -> Iterator[Conversion]:
    """Convert every record (seed-*.jsonl) and submission (*.zip) of a results folder, or one file, into another folder.

    Sources stay as they are, and so does what is there already, so that a call that was cut short can be repeated.
    The folder of an experiment takes its new name. A file that cannot be converted is reported, and the rest goes on.

    Raises:
        ValueError: both folders are the same, the second is not one, or there is nothing to convert.
        OSError: a file cannot be written.
    """
    root = source.parent if source.is_file() else source
    base, inside = root.resolve(), folder.resolve()
    if base == inside:
        raise ValueError(f"{folder} is the folder that is converted; choose another one to write to.")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; choose another place to write to.")
    found = [source] if source.is_file() else sorted({*source.rglob("seed-*.jsonl"), *source.rglob("*.zip")})
    if inside.is_relative_to(base):  # what an earlier call has written is no source
        found = [path for path in found if not (base / path.relative_to(root)).is_relative_to(inside)]
    if not found:
        raise ValueError(f"{source} holds no records and no submissions, nor weights of a language model.")
    for path in found:
        target = folder / _renamed_path(path, root)
        try:
            content = _converted(path)
        except (RecordError, submission.SubmissionError, OSError) as error:
            yield Conversion(path, None, str(error))
            continue
        if not Path(os.path.realpath(target.parent)).is_relative_to(inside):
            yield Conversion(path, None, f"{target} would lie outside of {folder}, for a folder there is a link.")
        elif target.exists() and not _holds(target, content):
            yield Conversion(path, None, f"{target} is there already and is something else; move it away.")
        else:
            if not target.exists():
                remove_stale_temporaries(target.parent)
                write_atomically(target, content)
            yield Conversion(path, target, "")


def _converted(path: Path) -> bytes:
    """Return the content of a file in the present format."""
    packed = path.suffix == ".zip"
    limit, problem = (submission.MAX_FILE, submission.SubmissionError) if packed else (MAX_BYTES, RecordError)
    if path.exists() and not path.is_file():  # a pipe or a device may never end
        raise problem("this is not a regular file.")
    if path.stat().st_size > limit:
        raise problem(f"the file has {path.stat().st_size} bytes; at most {limit} are allowed.")
    content = path.read_bytes()
    return convert_submission(content) if packed else _convert_bytes(content).encode()


def _convert_bytes(content: bytes, where: str = "") -> str:
    """Return the content of a record in the present format; messages begin with `where`."""
    try:
        return convert_record(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise RecordError(f"{where}the file is not text; a record is JSON lines in UTF-8.") from None
    except RecordError as error:
        raise RecordError(f"{where}{error}") from None


def _holds(path: Path, content: bytes) -> bool:
    """Tell whether a file holds this content; the manifest of a submission may name other versions."""
    if not path.is_file():
        return False
    there = path.read_bytes()
    if path.suffix != ".zip" or there == content:
        return there == content
    try:
        a, b = submission.read_form(there), submission.read_form(content)
    except submission.SubmissionError:
        return False
    return (a.card, a.records, a.evidence) == (b.card, b.records, b.evidence)


def _renamed_path(path: Path, root: Path) -> Path:
    """Return .../<track>/<agent>/seed-<n>.jsonl below the root with the track's new name."""
    parts = list(path.relative_to(root).parts)
    experiment = "/".join(Path(os.path.abspath(path)).parts[-4:-2])  # the root may be the folder of a family
    if len(parts) > 2 and experiment in names().experiments:
        parts[-3] = names().experiments[experiment].partition("/")[2]
    return Path(*parts)


def _object(line: str, number: int) -> dict[str, Any]:
    value = decode_json(line, f"line {number}", RecordError)
    if not isinstance(value, dict):
        raise RecordError(f"line {number} is not a JSON object.")
    return value


def _renamed(values: Any, names: Mapping[str, str | None], number: int) -> dict[str, Any]:
    """Return the values of an object under their new names, without those that have none."""
    if not isinstance(values, dict):
        raise RecordError(f"line {number} is not that of a record.")
    for old, new in names.items():
        if new is not None and old in values and new in values:
            raise RecordError(
                f"line {number} holds both {old!r} and {new!r}, its new name; expected the old one alone."
            )
    return {new: value for old, value in values.items() if (new := names.get(old, old)) is not None}
