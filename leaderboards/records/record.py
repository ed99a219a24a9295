"""Records: the JSON lines that a run writes and anyone can replay. One file per agent, experiment and seed.

Line 1 is the header, then one line per episode, then the score with a SHA-256 of all lines before it. Actions are
run-length encoded, [[count, action], ...]; states are those at every `checkpoint`-th step and the last; a score that is
undefined, NaN, is null. Reading trusts nothing: sizes are limited, types checked, NaN and infinity refused, and nothing
but JSON is ever parsed.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuegym.leaderboards.records.strict_json import decode_json, nested

__all__ = [
    "FORMAT",
    "MAX_BYTES",
    "Episode",
    "Record",
    "RecordError",
    "from_text",
    "json_line",
    "path_of",
    "read_record",
    "remove_stale_temporaries",
    "to_text",
    "write_atomically",
    "write_record",
]

FORMAT = 2
MAX_BYTES = 64 * 2**20
MAX_EPISODES = 10_000
MAX_STEPS = 2_000_000  # of all episodes together
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Limit = Callable[[str], "int | None"]


class RecordError(ValueError):
    """Raised for a file that is not a valid record: the message says where and why."""


@dataclass(frozen=True)
class Episode:
    """One evaluation episode.

    Attributes:
        seed: of the reset.
        actions: one per step, numbers or lists of numbers.
        states: for each field of the environment's state, its values at steps 0, c, 2 c, ... and the last, where c is
            the environment's checkpoint interval.
        terminated: whether the environment ended the episode.
        truncated: whether the step limit did.
    """

    seed: int
    actions: list[Any]
    states: dict[str, list[Any]]
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class Record:
    """One run: who played what, under which conditions, step by step, and the scores claimed, one row per episode.

    A score is NaN where it is undefined, because the oracle is not above the naive reference.
    """

    agent: str
    experiment: str
    seed: int
    spec: dict[str, Any]
    digest: str
    provenance: dict[str, Any]
    episodes: list[Episode]
    scores: list[list[float]]


def path_of(folder: Path, agent: str, experiment: str, seed: int) -> Path:
    """Return where the record of one run lies in a results folder."""
    return folder / experiment / agent / f"seed-{seed}.jsonl"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, creating its folder.

    Raises:
        OSError: where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def remove_stale_temporaries(folder: Path, age: float = 60.0) -> None:
    """Remove what killed writes of records left in a folder: hidden files that were not modified for `age` seconds.

    A write takes no longer, for a record is complete before it begins; younger files may be another process's.
    """
    for left in folder.glob(".seed-*.jsonl.*"):
        with contextlib.suppress(FileNotFoundError):  # it was finished meanwhile
            if time.time() - left.stat().st_mtime > age:
                left.unlink()


def json_line(value: dict[str, Any]) -> str:
    """Return a value as one line of a record: names sorted, no spaces, finite numbers only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def to_text(record: Record) -> str:
    """Return a record as JSON lines."""
    header = {name: getattr(record, name) for name in ("agent", "experiment", "seed", "spec", "digest", "provenance")}
    lines = [json_line({"format": FORMAT, **header})]
    for episode in record.episodes:
        runs = [[len(list(group)), action] for action, group in itertools.groupby(episode.actions)]
        lines.append(json_line({**vars(episode), "actions": runs}))
    body = "".join(lines)
    scores = [[None if score != score else score for score in row] for row in record.scores]
    return body + json_line({"scores": scores, "sha256": hashlib.sha256(body.encode()).hexdigest()})


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically."""
    write_atomically(path, to_text(record))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecordError(message)


def _fields(value: Any, line: int, **types: type | tuple[type, ...]) -> dict[str, Any]:
    """Return the object on a line, if it has exactly these fields of these types; a bool is not an int."""
    _require(isinstance(value, dict), f"line {line} is not a JSON object.")
    if value.keys() != types.keys():  # messages are made where they are needed: there are many lines
        found = [name[:40] for name in sorted(value)[:12]]
        raise RecordError(f"line {line} has the fields {found}; expected {sorted(types)}.")
    for name, kind in types.items():
        if not isinstance(value[name], kind) or (kind is not bool and isinstance(value[name], bool)):
            wrong = type(value[name]).__name__
            raise RecordError(f"line {line}: {name} is a {wrong}, which is not what a record holds there.")
    fields: dict[str, Any] = value
    return fields


def read_record(path: Path, limit: Limit | None = None) -> Record:
    """Read a record and check its form; whether it is *true* is for `verify`. The limit is that of `from_text`.

    Raises:
        RecordError: with one sentence saying what is wrong.
        OSError: where the file cannot be read.
    """
    if not path.is_file() and path.exists():  # a pipe or a device may never end
        raise RecordError(f"{path.name} is not a regular file.")
    if path.stat().st_size > MAX_BYTES:
        raise RecordError(f"{path.name} has {path.stat().st_size} bytes; records have at most {MAX_BYTES}.")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise RecordError(f"{path.name} is not text; a record is JSON lines in UTF-8.") from None
    return from_text(text, limit)


def from_text(text: str, limit: Limit | None = None) -> Record:
    """Parse the JSON lines of a record and check their form.

    Args:
        text: of the file.
        limit: returns how many steps an episode of the experiment with this name may have, None for any number: then
            no longer one is unpacked.

    Raises:
        RecordError: with one sentence saying what is wrong.
    """
    _require(text.endswith("\n"), "the file does not end with a whole line: it is truncated.")
    lines = text.split("\n")[:-1]
    _require(
        3 <= len(lines) <= MAX_EPISODES + 2,
        f"the file has {len(lines)} lines; expected a header, 1 to {MAX_EPISODES} episodes and the score.",
    )
    header = _fields(
        decode_json(lines[0], "line 1", RecordError), 1,
        format=int, agent=str, experiment=str, seed=int, spec=dict, digest=str, provenance=dict,
    )  # fmt: skip
    _require(not nested(header, 8), "line 1 is nested too deeply.")
    _require(
        header["format"] != 1,
        "format 1 names things as they were called before the first release; `valuegym convert` writes the same record "
        f"in format {FORMAT}.",
    )
    _require(header["format"] == FORMAT, f"format {header['format']} is not supported; expected {FORMAT}.")
    _require(
        bool(NAME.fullmatch(header["agent"])),
        "the agent's name must be 1 to 64 letters, digits, dots, dashes or underscores.",
    )
    _require(0 <= header["seed"] < 2**31, f"seed {header['seed']} is out of range.")
    longest = limit(header["experiment"]) if limit else None
    episodes: list[Episode] = []
    steps = 0
    for i, line in enumerate(lines[1:-1], start=2):
        episodes.append(_episode(decode_json(line, f"line {i}", RecordError), i, MAX_STEPS - steps, longest))
        steps += len(episodes[-1].actions)
    last = _fields(decode_json(lines[-1], f"line {len(lines)}", RecordError), len(lines), scores=list, sha256=str)
    body = "".join(line + "\n" for line in lines[:-1])
    _require(
        hashlib.sha256(body.encode()).hexdigest() == last["sha256"],
        "the content does not match its SHA-256: the file was edited or damaged.",
    )
    scores = last["scores"]
    good = all(isinstance(row, list) and row and all(x is None or _is_number(x) for x in row) for row in scores)
    _require(
        good and len(scores) == len(episodes),
        f"scores must be {len(episodes)} lists of numbers, one per episode, or null where a score is undefined.",
    )
    scores = [[math.nan if x is None else x for x in row] for row in scores]  # one object, so that records are equal
    return Record(
        header["agent"], header["experiment"], header["seed"], header["spec"], header["digest"],
        header["provenance"], episodes, scores
    )  # fmt: skip


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _episode(value: Any, line: int, room: int, longest: int | None) -> Episode:
    fields = _fields(value, line, seed=int, actions=list, states=dict, terminated=bool, truncated=bool)
    good = all(type(run) is list and len(run) == 2 and type(run[0]) is int and run[0] > 0 for run in fields["actions"])
    _require(good, f"line {line}: actions must be [count, action] pairs with a positive count.")
    total = sum(count for count, _ in fields["actions"])
    _require(1 <= total <= room, f"line {line}: an episode has at least 1 step, and all together at most {MAX_STEPS}.")
    _require(
        longest is None or total <= longest,
        f"line {line}: the episode has {total} steps; the limit is {longest}.",
    )
    actions = [action for count, action in fields["actions"] for _ in range(count)]
    for name, values in fields["states"].items():
        _require(isinstance(values, list), f"line {line}: the states' field {name[:40]!r} is not a list.")
    return Episode(fields["seed"], actions, fields["states"], fields["terminated"], fields["truncated"])
