"""Conversion of records and submissions from format 1 to the present one: names change, what was played does not.

A format's names (experiments, arguments of environments, fields of states) are frozen in a table beside this module,
`format_1.json`, with the environment digest of every experiment before and after. Actions, values of states, seeds,
flags and scores are carried over unread; a record whose digest is not the table's was made with another environment
and is refused. What comes out is for `verify` to judge, as any record is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from valuegym.leaderboards.records import submission
from valuegym.leaderboards.records.record import FORMAT, RecordError, json_line, write_atomically
from valuegym.leaderboards.records.strict_json import decode_json

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
        RecordError: the text is damaged, not of format 1, or of an environment that format 1 did not have.
    """
    table = names() if table is None else table
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise RecordError("the file does not end with a whole line: it is truncated.")
    header = _object(lines[0], 1)
    if header.get("format") != OLD:
        raise RecordError(f"format {str(header.get('format'))[:20]} is not converted; expected format {OLD}.")
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
    return content + json_line(end | {"sha256": hashlib.sha256(content.encode()).hexdigest()})


def convert_submission(content: bytes) -> bytes:
    """Return a submission whose records are of format 1 with records of the present format.

    Card and evidence stay as they are.

    Raises:
        SubmissionError: the file is not a submission, or its seeds depend on a board's commitment, and so on names.
        RecordError: one of its records cannot be converted.
    """
    members = submission.unpack(content)
    manifest = json.loads(members["manifest.json"])
    if manifest.get("seal"):
        raise submission.SubmissionError(
            "The submission's seeds were drawn for a board's commitment under the names of format 1; "
            "commit the agent again and submit new records."
        )
    card = submission.Card.of(json.loads(members["card.json"]))
    records = [convert_record(part.decode()).encode() for name, part in members.items() if name.startswith("records/")]
    evidence = {name.partition("/")[2]: part for name, part in members.items() if name.startswith("evidence/")}
    return submission.pack(card, records, evidence)


class Conversion(NamedTuple):
    """The outcome of converting one file: where it was written, or why it was not; `target` or `reason` is empty."""

    path: Path
    target: Path | None
    reason: str


def convert_file(path: Path, target: Path) -> None:
    """Convert a record or a submission, told apart by the suffix .zip, and write it to another file.

    Raises:
        RecordError, SubmissionError: as `convert_record` and `convert_submission`.
        OSError: the file cannot be read or written.
    """
    if path.suffix == ".zip":
        write_atomically(target, convert_submission(path.read_bytes()))
        return
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise RecordError("the file is not text; a record is JSON lines in UTF-8.") from None
    write_atomically(target, convert_record(text))


def convert_folder(source: Path, folder: Path) -> Iterator[Conversion]:
    """Convert every record (seed-*.jsonl) and submission (*.zip) of a results folder, or one file, into another folder.

    Sources stay as they are, and so does what is there already, so that a call that was cut short can be repeated.
    The folder of an experiment takes its new name. A file that cannot be converted is reported, and the rest goes on.

    Raises:
        ValueError: both folders are the same, or there is nothing to convert.
        OSError: a file cannot be read or written.
    """
    root = source.parent if source.is_file() else source
    if root.resolve() == folder.resolve():
        raise ValueError(f"{folder} is the folder that is converted; choose another one to write to.")
    found = [source] if source.is_file() else sorted({*source.rglob("seed-*.jsonl"), *source.rglob("*.zip")})
    if not found:
        raise ValueError(f"{source} holds no records and no submissions.")
    for path in found:
        target = folder / _renamed_path(path.relative_to(root))
        try:
            if not target.is_file():
                convert_file(path, target)
            yield Conversion(path, target, "")
        except (RecordError, submission.SubmissionError) as error:
            yield Conversion(path, None, str(error))


def _renamed_path(place: Path) -> Path:
    """Return .../<experiment>/<agent>/seed-<n>.jsonl with the experiment's new name."""
    parts = place.parts
    experiment = "/".join(parts[-4:-2])
    return Path(*parts[:-4], names().experiments.get(experiment, experiment), *parts[-2:])


def _object(line: str, number: int) -> dict[str, Any]:
    value = decode_json(line, f"line {number}", RecordError)
    if not isinstance(value, dict):
        raise RecordError(f"line {number} is not a JSON object.")
    return value


def _renamed(values: Any, names: Mapping[str, str | None], number: int) -> dict[str, Any]:
    """Return the values of an object under their new names, without those that have none."""
    if not isinstance(values, dict):
        raise RecordError(f"line {number} is not that of a record.")
    return {new: value for old, value in values.items() if (new := names.get(old, old)) is not None}
