"""Submissions: an agent's records, its card and what they were made with, in one file.

A submission is a zip archive of JSON, JSON lines and npz without pickles. Its members are stored, not compressed, in
the order of their names, without times or comments, so that the same content is the same bytes on every machine and
nothing in it can inflate. Reading packs the content again and compares: whatever a zip archive may hold besides is
refused by that. Nothing is ever extracted.

    card.json                                  who made the agent, and what it was given
    manifest.json                              experiments, digests, versions, and the SHA-256 of every other member
    records/<family>/<track>/seed-<n>.jsonl    one record for every seed of each experiment
    evidence/<name>.npz or .json               anything that helps a reader: curves, tables, prompts
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from valuegym._version import __version__
from valuegym.leaderboards import experiments
from valuegym.leaderboards.records.fingerprint import provenance
from valuegym.leaderboards.records.record import MAX_BYTES, Limit, Record, RecordError, from_text, write_atomically
from valuegym.leaderboards.records.strict_json import decode_json, nested, printable, readable

__all__ = [
    "EXAMPLE",
    "FORMAT",
    "MAX_FILE",
    "Card",
    "Submission",
    "SubmissionError",
    "archive",
    "from_bytes",
    "member",
    "open_submission",
    "pack",
    "read_card",
    "read_form",
    "read_member",
    "unpack",
    "write_submission",
]

FORMAT = 1
MAX_FILE = 2**29  # bytes of a submission
MAX_MEMBERS = 2000
MAX_SMALL = 2**20  # bytes of the card and of the manifest
MAX_EVIDENCE = 2**26  # bytes of one piece of evidence
MEMBER = re.compile(
    r"card\.json|manifest\.json|records/[a-z0-9-]{1,40}/[a-z0-9-]{1,60}/seed-(?:0|[1-9][0-9]{0,9})\.jsonl"
    r"|evidence/[a-z0-9][a-z0-9_-]{0,60}\.(?:npz|json)"
)
AGENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LINK = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[!-~]*)?")
HEADER = re.compile(
    r"\{'descr': '[<>|=](?P<kind>[biufcU])(?P<size>[0-9]{1,6})', 'fortran_order': (?:True|False), "
    r"'shape': \((?P<shape>(?:[0-9]{1,15}, ){0,7}(?:[0-9]{1,15},?)?)\), \} *\n"
)
DIGEST = re.compile(r"[0-9a-f]{64}")
EXAMPLE = {
    "name": "my-agent",
    "about": "One sentence that says what it is.",
    "authors": ["A. Person"],
    "code": "https://example.org/my-agent",
    "priors": "What it knows besides its observations: prior knowledge, dynamics, hints; or: nothing.",
    "data": "What it was trained on besides the experiment's own budget; or: nothing.",
    "compute": {"hardware": "one laptop", "hours": 0.5},
}


class SubmissionError(ValueError):
    """Raised for a file that is not a valid submission: the message says what is wrong in one sentence."""


@dataclass(frozen=True)
class Card:
    """The card of an agent: who made it, and what it was given.

    Attributes:
        name: of the agent, as in its records.
        about: one sentence.
        authors: people or teams.
        code: an https link, or "" where the code is not public.
        priors: what it knows besides its observations.
        data: what it was trained on besides the experiment's own budget.
        compute: {"hardware": text, "hours": number}, of training and evaluation together.
    """

    name: str
    about: str
    authors: tuple[str, ...]
    code: str
    priors: str
    data: str
    compute: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            SubmissionError: naming the field that does not hold what it should.
        """
        _text("name", self.name, 64)
        _require(bool(AGENT.fullmatch(self.name)), "card: name must be 1 to 64 ASCII letters, digits, dots, dashes.")
        _text("about", self.about, 500)
        _require(
            type(self.authors) is tuple and 1 <= len(self.authors) <= 100,
            "card: authors must be a list of 1 to 100 names.",
        )
        for author in self.authors:
            _text("authors", author, 200)
        _text("code", self.code, 500, empty=True)
        _require(
            not self.code or bool(LINK.fullmatch(self.code)),
            "card: code must be an https link, or empty if not public.",
        )
        _text("priors", self.priors, 4000)
        _text("data", self.data, 4000)
        compute = self.compute
        _require(
            isinstance(compute, dict) and set(compute) == {"hardware", "hours"},
            'card: compute must be {"hardware": text, "hours": number}.',
        )
        _text("compute.hardware", compute["hardware"], 200)
        hours = compute["hours"]
        _require(
            type(hours) in (int, float) and 0 <= hours <= 1e9 and math.isfinite(hours),
            f"card: compute.hours is {printable(hours)}; expected a number of hours, 0 or more.",
        )

    @classmethod
    def of(cls, value: Any) -> Card:
        """Build a card from a JSON value.

        Raises:
            SubmissionError: where it is not an object with exactly the fields of a card.
        """
        expected = [field.name for field in fields(cls)]
        _require(isinstance(value, dict), f"card: expected a JSON object with the fields {expected}.")
        missing, extra = sorted(set(expected) - set(value)), sorted(set(value) - set(expected))
        _require(not missing, f"card: {missing[0] if missing else ''} is missing; expected the fields {expected}.")
        _require(
            not extra,
            f"card: {printable(extra[0]) if extra else ''} is not a field of a card; expected the fields {expected}.",
        )
        authors = value["authors"]
        return cls(**value | {"authors": tuple(authors) if isinstance(authors, list) else authors})


@dataclass(frozen=True)
class Submission:
    """The content of a submission file.

    Attributes:
        card: the agent's card.
        manifest: as written, checked against the members.
        records: member name -> bytes.
        evidence: member name -> bytes.
        digest: SHA-256 of the file.
    """

    card: Card
    manifest: dict[str, Any]
    records: dict[str, bytes]
    evidence: dict[str, bytes]
    digest: str

    @property
    def seal(self) -> dict[str, Any] | None:
        """The commitment that the evaluation seeds depend on; None where they are public."""
        seal: dict[str, Any] | None = self.manifest["seal"]
        return seal


def member(experiment: str, seed: int) -> str:
    """Return the name of a record in the archive."""
    return f"records/{experiment}/seed-{seed}.jsonl"


def read_card(path: str | Path) -> Card:
    """Read a card from a JSON file.

    Raises:
        FileNotFoundError: with an example, where there is no file.
        SubmissionError: for a field that is missing, unknown or not what it should be.
    """
    path = Path(path)
    if not path.is_file():
        example = json.dumps(EXAMPLE)
        raise FileNotFoundError(f"There is no agent card {path}; write one like this, in your own words: {example}")
    _require(path.stat().st_size <= MAX_SMALL, f"{path} has more than {MAX_SMALL} bytes.")
    return Card.of(decode_json(_utf8(path.read_bytes(), "the card"), "the card", SubmissionError))


def pack(
    card: Card,
    records: Iterable[bytes],
    evidence: Mapping[str, bytes] | None = None,
    seal: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the bytes of a submission, a pure function of its content and of the versions installed here.

    Args:
        card: the agent's card.
        records: whole record files of that agent, in any order.
        evidence: file name -> content.
        seal: the commitment that the records' seeds were drawn from, None for public seeds.

    Raises:
        SubmissionError: for records of another agent, repeated or missing seeds, or anything over a limit.
        RecordError: for a record that is not valid.
    """
    members: dict[str, bytes] = {}
    tracks: dict[str, dict[str, Any]] = {}
    for content in records:
        record = from_text(_utf8(content, "a record"))
        name = member(record.experiment, record.seed)
        _require(name not in members, f"There are two records of {record.experiment}, seed {record.seed}; keep one.")
        _require(record.agent == card.name, f"A record is by {printable(record.agent)} and the card by {card.name!r}.")
        track = tracks.setdefault(record.experiment, {"digest": record.digest, "seeds": []})
        _require(track["digest"] == record.digest, f"Records of {record.experiment} have different digests.")
        track["seeds"] = sorted([*track["seeds"], record.seed])
        members[name] = content
    _require(bool(members), f"There is no record by {card.name}.")
    for experiment, track in tracks.items():
        _complete(experiment, track["seeds"])
    members |= {f"evidence/{name}": content for name, content in (evidence or {}).items()}
    members["card.json"] = _json(asdict(card))
    members["manifest.json"] = _json(
        {
            "format": FORMAT,
            "valuegym": __version__,
            "agent": card.name,
            "experiments": tracks,
            "seal": dict(seal) if seal else None,
            "provenance": provenance(),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
        }
    )
    _limits(members)
    return archive(members)


def archive(members: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of these members and nothing else: sorted, stored, without times, rights or comments."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            file.writestr(info, members[name])
    return buffer.getvalue()


def write_submission(path: str | Path, content: bytes) -> None:
    """Write a submission whole or not at all."""
    write_atomically(Path(path), content)


def open_submission(path: str | Path) -> Submission:
    """Read a submission and check its form: members, limits, card, manifest, and that nothing is missing or repeated.

    Whether its records are true is for `verification`.

    Raises:
        SubmissionError: with one sentence saying what is wrong.
        OSError: where the file cannot be read.
    """
    path = Path(path)
    _require(path.is_file() or not path.exists(), f"{path.name} is not a regular file.")
    size = path.stat().st_size
    _require(size <= MAX_FILE, f"{path.name} has {size} bytes; a submission has at most {MAX_FILE}.")
    with path.open("rb") as file:
        return from_bytes(file.read(MAX_FILE + 1))


def from_bytes(content: bytes) -> Submission:
    """Check the form of a submission from the bytes of its file.

    Raises:
        SubmissionError: with one sentence saying what is wrong.
    """
    found = read_form(content)
    for experiment, what in found.manifest["experiments"].items():
        _complete(experiment, what["seeds"])
    return found


def read_form(content: bytes) -> Submission:
    """Check the form of a submission, but not that its experiments are known here, and all their seeds there.

    Raises:
        SubmissionError: with one sentence saying what is wrong.
    """
    members = unpack(content)
    _limits(members)
    for name in ("card.json", "manifest.json"):
        _require(name in members, f"{name} is missing.")
    card = Card.of(_decode(members, "card.json"))
    manifest = _manifest(_decode(members, "manifest.json"))
    _require(manifest["agent"] == card.name, "The manifest and the card name different agents.")
    checksums = {name: hashlib.sha256(part).hexdigest() for name, part in members.items() if name != "manifest.json"}
    listed = manifest["files"]
    _require(
        set(listed) == set(checksums),
        f"The manifest lists other members than there are: {printable(sorted(set(listed) ^ set(checksums))[:1])}.",
    )
    for name, found in checksums.items():
        _require(listed[name] == found, f"{name} does not match its SHA-256 in the manifest.")
    records = {name: part for name, part in members.items() if name.startswith("records/")}
    expected = {
        member(experiment, seed) for experiment, what in manifest["experiments"].items() for seed in what["seeds"]
    }
    _require(
        bool(records) and expected == set(records), "The manifest's experiments and seeds are not those there are."
    )
    evidence = {name: part for name, part in members.items() if name.startswith("evidence/")}
    return Submission(card, manifest, records, evidence, hashlib.sha256(content).hexdigest())


def read_member(name: str, content: bytes, agent: str, limit: Limit | None = None) -> Record:
    """Read a record of a submission.

    Args:
        name: of the member.
        content: of the member.
        agent: name on the submission's card.
        limit: of an episode's steps, as in `from_text`.

    Raises:
        RecordError: where it is not valid, or not the record that its name and the card say.
    """
    record = from_text(_utf8(content, name, RecordError), limit)
    if member(record.experiment, record.seed) != name:
        raise RecordError(f"it is a record of {printable(record.experiment)}, seed {record.seed}, under another name.")
    if record.agent != agent:
        raise RecordError(f"it is a record by {printable(record.agent)}; the card is of {agent!r}.")
    return record


# --- checks ---


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SubmissionError(message)


def _text(name: str, value: Any, limit: int, empty: bool = False) -> None:
    good = isinstance(value, str) and len(value) <= limit and (empty or bool(value.strip()))
    _require(good, f"card: {name} is {printable(value)}; expected {0 if empty else 1} to {limit} characters of text.")
    _require(readable(value), f"card: {name} holds characters that cannot be seen or that change how the text reads.")


def _utf8(content: bytes, where: str, error: type[ValueError] = SubmissionError) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise error(f"{where} is not text in UTF-8.") from None


def _json(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _decode(members: Mapping[str, bytes], name: str) -> Any:
    value = decode_json(_utf8(members[name], name), name, SubmissionError)
    _require(not nested(value, 8), f"{name} is nested too deeply.")
    return value


def _complete(experiment: str, seeds: list[int]) -> None:
    """Refuse a submission that lacks seeds of an experiment: leaving out an unlucky one is not possible."""
    try:
        what = experiments.find(experiment)
    except ValueError:
        raise SubmissionError(f"There is no experiment {printable(experiment)} here; {experiments.NAME_IT}") from None
    missing, extra = sorted(set(what.seeds) - set(seeds)), sorted(set(seeds) - set(what.seeds))
    _require(not missing, f"{experiment} lacks the seeds {missing[:10]}; a submission has all {len(what.seeds)}.")
    _require(not extra, f"{experiment} has no seeds {extra[:10]}.")


def unpack(content: bytes) -> dict[str, bytes]:
    """Return the members of an archive by name, if it is packed as `archive` packs.

    Raises:
        SubmissionError: otherwise, with one sentence saying what is wrong.
    """
    _require(len(content) <= MAX_FILE, f"The file has more than {MAX_FILE} bytes.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            infos = file.infolist()
            _require(
                len(infos) <= MAX_MEMBERS, f"There are {len(infos)} members; a submission has at most {MAX_MEMBERS}."
            )
            for info in infos:
                good = bool(MEMBER.fullmatch(info.orig_filename))
                _require(good, f"{printable(info.orig_filename)} is not a valid name for a member of a submission.")
                _require(
                    info.compress_type == zipfile.ZIP_STORED and not info.flag_bits,
                    f"{info.filename} is compressed or encrypted; members are stored as they are.",
                )
            total = sum(info.file_size for info in infos)
            _require(total <= len(content), "The members claim to be larger than the file.")
            members = {info.filename: file.read(info) for info in infos}
    except SubmissionError:
        raise
    except Exception as error:  # zipfile raises half a dozen kinds for damaged archives, and some of its own bugs
        raise SubmissionError(f"The file is not a whole zip archive ({printable(error)}).") from None
    _require(archive(members) == content, "The archive holds more than its members, or holds one twice; pack it again.")
    return members


def _limits(members: Mapping[str, bytes]) -> None:
    _require(len(members) <= MAX_MEMBERS, f"There are {len(members)} members; a submission has at most {MAX_MEMBERS}.")
    for name, content in members.items():
        _require(bool(MEMBER.fullmatch(name)), f"{printable(name)} is not a valid name for a member of a submission.")
        kind = name.partition("/")[0]
        limit = {"records": MAX_BYTES, "evidence": MAX_EVIDENCE}.get(kind, MAX_SMALL)
        _require(len(content) <= limit, f"{name} has {len(content)} bytes; at most {limit} are allowed there.")
        if kind == "evidence":
            _evidence(name, content)
    total = sum(map(len, members.values()))
    _require(total <= MAX_FILE - 2**20, f"The members have {total} bytes together; at most {MAX_FILE - 2**20} fit.")


def _manifest(value: Any) -> dict[str, Any]:
    kinds = {
        "format": int, "valuegym": str, "agent": str, "experiments": dict, "seal": (dict, type(None)),
        "provenance": dict, "files": dict,
    }  # fmt: skip
    _require(isinstance(value, dict) and set(value) == set(kinds), f"manifest: expected the fields {sorted(kinds)}.")
    for name, kind in kinds.items():
        good = isinstance(value[name], kind) and not isinstance(value[name], bool)  # type: ignore[arg-type]
        _require(good, f"manifest: {name} is a {type(value[name]).__name__}, which does not belong there.")
    _require(value["format"] == FORMAT, f"manifest: format {value['format']} is not supported; expected {FORMAT}.")
    for experiment, what in value["experiments"].items():
        good = isinstance(what, dict) and set(what) == {"digest", "seeds"} and _is_digest(what["digest"])
        good = good and isinstance(what["seeds"], list) and all(type(seed) is int for seed in what["seeds"])
        _require(
            good and len(set(what["seeds"])) == len(what["seeds"]),
            f"manifest: {printable(experiment)} must hold a digest and a list of different seeds.",
        )
    for name, digest in value["files"].items():
        _require(_is_digest(digest), f"manifest: {printable(name)} has no SHA-256.")
    seal = value["seal"]
    if seal is not None:
        good = set(seal) == {"board", "commitment", "agent"} and _is_digest(seal["board"]) and _is_digest(seal["agent"])
        good = good and type(seal["commitment"]) is int and 0 <= seal["commitment"] < 2**31
        _require(
            good, "manifest: seal must hold the board's digest, the number of the commitment and the agent's digest."
        )
    manifest: dict[str, Any] = value
    return manifest


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and bool(DIGEST.fullmatch(value))


def _evidence(name: str, content: bytes) -> None:
    """Check that evidence is JSON, or npz of plain numbers and text; pickles and what could inflate are refused."""
    if name.endswith(".json"):
        _require(
            not nested(decode_json(_utf8(content, name), name, SubmissionError), 64), f"{name} is nested too deeply."
        )
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            infos = file.infolist()
            _require(len(infos) <= 1000, f"{name} holds {len(infos)} arrays; at most 1000 are allowed.")
            _require(
                all(info.compress_type == zipfile.ZIP_STORED for info in infos),
                f"{name} is compressed; write it with numpy.savez.",
            )
            _require(sum(info.file_size for info in infos) <= len(content), f"{name} claims to be larger than it is.")
            for info in infos:
                with file.open(info) as stream:
                    _array(name, stream, info.file_size)
    except SubmissionError:
        raise
    except Exception as error:
        raise SubmissionError(f"{name} is not an npz of plain arrays ({printable(error)}).") from None


def _array(name: str, stream: IO[bytes], size: int) -> None:
    """Check one array by its header, as numpy writes it: no header is evaluated, and none can ask for memory."""
    start = stream.read(12)
    version = start[6:8]
    _require(
        start[:6] == b"\x93NUMPY" and version in (b"\1\0", b"\2\0"), f"{name} holds something that is not an array."
    )
    room = 10 if version == b"\1\0" else 12
    length = int.from_bytes(start[8:room], "little")
    _require(length <= 4096, f"{name} holds an array with a header of {length} bytes.")
    header = (start[room:] + stream.read(length - (12 - room))).decode("latin-1")
    found = HEADER.fullmatch(header)
    _require(found is not None, f"{name} holds an array that is not of plain numbers and text.")
    assert found is not None
    shape = [int(n) for n in found["shape"].replace(",", " ").split()]
    characters = 4 if found["kind"] == "U" else 1
    expected = math.prod(shape) * int(found["size"]) * characters
    _require(room + length + expected == size, f"{name} holds an array that is not as large as it says.")
