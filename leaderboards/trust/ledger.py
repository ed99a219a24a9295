"""The board's ledger: JSON lines, each bound to the one before and signed if the board has a key, to reveal any change.

Every line holds the SHA-256 of the line before it and, if the board has a key, an ssh signature (`ssh-keygen -Y sign`)
by that key over all the rest of the line. The first line names the key. Whoever knows the board's key, or the digest of
any line, can tell a rewritten ledger from the true one: because each line hashes the whole line before it, the chain of
digests and the signature of the newest line authenticate all lines.

The rules below are checked whenever a ledger is read, so that a signed ledger that breaks them is refused, too:

    board     first and only first: its name and public key
    open      a period begins, bound to a nonce; one at a time
    commit    an agent and the tracks it is for are fixed while a period is open; one for each submitter and each agent
    attempt   the board begins to run a committed agent, before its period's nonce is revealed
    reveal    the nonce of the open period, which ends it
    verdict   what became of a submission; one accepted submission for each commitment, of the tracks it names, no file
              accepted twice; what the board ran itself follows its attempt and comes before the reveal, and ends the
              attempts: an agent that failed or did badly is not tried again
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.records.strict_json import decode_json, nested, printable, readable
from valuegym.leaderboards.trust.commitment import binding
from valuegym.leaderboards.trust.tiers import TIERS

__all__ = [
    "Ledger",
    "LedgerEntry",
    "LedgerError",
    "append",
    "public_key",
    "read_ledger",
    "sign",
    "verify_signature",
]

NAMESPACE = "valuegym-board"
MAX_BYTES = 2**28
MAX_LINE = 2**20
HEAD = re.compile(r"([0-9]{1,7}):([0-9a-f]{64})")
DIGEST = re.compile(r"[0-9a-f]{64}")
PUBLIC = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)[a-z0-9@.-]* [A-Za-z0-9+/=]{16,2000}")
# As ssh-keygen writes it; it would also accept other line breaks and words after the end, and so another digest.
SIGNATURE = re.compile(
    r"-----BEGIN SSH SIGNATURE-----\n(?:[A-Za-z0-9+/]{70}\n)*[A-Za-z0-9+/=]{1,70}\n-----END SSH SIGNATURE-----\n"
)
SECONDS = 20  # for one call of ssh-keygen
TRACK = re.compile(r"[a-z0-9-]{1,40}/[a-z0-9-]{1,60}")
MAX_TRACKS = 200  # of a commitment
MAX_ATTEMPTS = 3  # at running one commitment's agent, of which all but the last were interrupted
BODIES: dict[str, dict[str, type]] = {
    "board": {"name": str, "key": str},
    "open": {"period": int, "binding": str},
    "commit": {"period": int, "agent": str, "submitter": str, "digest": str, "tracks": list},
    "attempt": {"commitment": int},
    "reveal": {"period": int, "nonce": str},
    "verdict": {
        "submission": str, "agent": str, "tier": str, "reason": str, "commitment": int, "attempt": int, "plays": dict,
        "scores": dict,
    },
}  # fmt: skip


class LedgerError(ValueError):
    """Raised for a ledger that is damaged, or an entry that its rules forbid."""


@dataclass(frozen=True)
class LedgerEntry:
    """One line of a ledger.

    Attributes:
        index: its number, from 0.
        previous: SHA-256 of the line before, zeros for the first.
        kind: a key of BODIES.
        body: what it states.
        signature: of all the rest, "" if unsigned.
        digest: SHA-256 of the line.
    """

    index: int
    previous: str
    kind: str
    body: dict[str, Any]
    signature: str
    digest: str


@dataclass
class Ledger:
    """A whole ledger, in order; `admit` adds what the rules allow."""

    entries: list[LedgerEntry] = field(default_factory=list)
    open: LedgerEntry | None = None  # the open period
    nonces: dict[int, str] = field(default_factory=dict)  # period -> its nonce, once revealed
    _accepted: dict[str, int] = field(default_factory=dict)  # submission -> the verdict that accepted it
    _sealed: dict[int, int] = field(default_factory=dict)  # commitment -> the same
    _attempts: dict[int, list[LedgerEntry]] = field(default_factory=dict)  # commitment -> attempts at running it
    _ran: dict[int, int] = field(default_factory=dict)  # commitment -> the verdict on running it

    @property
    def id(self) -> str:
        """The digest of the first line: which board this is."""
        return self.entries[0].digest

    @property
    def tip(self) -> str:
        """The digest of the last line."""
        return self.entries[-1].digest if self.entries else "0" * 64

    @property
    def key(self) -> str:
        """The board's public key, "" where the board does not sign."""
        return str(self.entries[0].body["key"]) if self.entries else ""

    @property
    def signer(self) -> str:
        """The board's name and key, as the ledger itself has them, in words."""
        name = printable(self.entries[0].body["name"], 80)
        return f"board {name}, {f'signed by {self.key}' if self.key else 'which does not sign'}"

    @property
    def head(self) -> str:
        """The newest line, to compare with what others saw: a ledger that lost its end is whole by itself."""
        return f"{len(self.entries) - 1}:{self.tip}"

    def check_head(self, head: str) -> None:
        """Check that this ledger holds a line that was once its newest.

        Args:
            head: as the property gives it, "<number>:<SHA-256>".

        Raises:
            LedgerError: it does not, so the ledger was cut short or replaced; or this is no head.
        """
        found = HEAD.fullmatch(head)
        _require(found is not None, f"{printable(head)} is no head of a ledger; expected '<number>:<SHA-256>'.")
        assert found is not None
        index = int(found[1])
        _require(
            index < len(self.entries) and self.entries[index].digest == found[2],
            f"The ledger does not hold entry {index} as it was published: it was cut short or replaced.",
        )

    def of(self, kind: str) -> Iterator[LedgerEntry]:
        """Return the entries of one kind."""
        return (entry for entry in self.entries if entry.kind == kind)

    def commitment(self, index: int) -> LedgerEntry:
        """Return the commitment with this number.

        Raises:
            LedgerError: where there is none.
        """
        if not 0 <= index < len(self.entries) or self.entries[index].kind != "commit":
            raise LedgerError(f"entry {index} of the board is not a commitment.")
        return self.entries[index]

    def attempts(self, commitment: int) -> list[LedgerEntry]:
        """Return the attempts at running a commitment's agent."""
        return list(self._attempts.get(commitment, ()))

    def check_attempt(self, commitment: int) -> None:
        """Check that the board may begin to run a commitment's agent.

        Raises:
            LedgerError: the nonce is revealed, a verdict stands already, or too many attempts were interrupted.
        """
        period = self.commitment(commitment).body["period"]
        _require(
            period not in self.nonces,
            f"the nonce of period {period} is revealed, so nothing can be executed on its seeds any more.",
        )
        tries, ran, sealed = self.attempts(commitment), self._ran.get(commitment), self._sealed.get(commitment)
        _require(ran is None, f"entry {ran} is the one verdict on running commitment {commitment}.")
        _require(sealed is None, f"entry {sealed} is the one submission of commitment {commitment}.")
        _require(
            len(tries) < MAX_ATTEMPTS,
            f"commitment {commitment} was tried {len(tries)} times, and every attempt was interrupted.",
        )

    def accepted(self) -> Iterator[LedgerEntry]:
        """Return the verdicts that accepted something."""
        return (entry for entry in self.of("verdict") if not entry.body["reason"])

    def admit(self, entry: LedgerEntry) -> None:
        """Add an entry if it follows the last one and the rules allow it.

        Raises:
            LedgerError: otherwise.
        """
        where = f"entry {entry.index}"
        _require(entry.index == len(self.entries), f"{where} stands at place {len(self.entries)}.")
        _require(entry.previous == self.tip, f"{where} does not follow from the one before: the ledger was changed.")
        _require(
            (entry.kind == "board") == (entry.index == 0), f"{where}: a ledger begins with its board, and has one only."
        )
        _check_body(where, entry.kind, entry.body)
        getattr(self, f"_{entry.kind}")(where, entry)
        self.entries.append(entry)

    def _board(self, where: str, entry: LedgerEntry) -> None:
        key = entry.body["key"]
        _require(not key or bool(PUBLIC.fullmatch(key)), f"{where}: the key is not a public ssh key.")

    def _open(self, where: str, entry: LedgerEntry) -> None:
        _require(self.open is None, f"{where}: a period is open already.")
        expected = sum(1 for _ in self.of("open"))
        _require(entry.body["period"] == expected, f"{where}: the next period is {expected}.")
        _require(_is_digest(entry.body["binding"]), f"{where}: the binding is not a SHA-256.")
        self.open = entry

    def _commit(self, where: str, entry: LedgerEntry) -> None:
        body = entry.body
        _require(
            self.open is not None and body["period"] == self.open.body["period"], f"{where}: that period is not open."
        )
        _require(_is_digest(body["digest"]), f"{where}: the agent's digest is not a SHA-256.")
        tracks = body["tracks"]
        named = all(type(track) is str and bool(TRACK.fullmatch(track)) for track in tracks)
        _require(
            named and 1 <= len(tracks) <= MAX_TRACKS and tracks == sorted(set(tracks)),
            f"{where}: a commitment names its tracks, 1 to {MAX_TRACKS} different ones in alphabetical order.",
        )
        for other in self.of("commit"):
            if other.body["period"] == body["period"]:
                for name in ("submitter", "digest"):
                    _require(
                        other.body[name] != body[name],
                        f"{where}: this {name} has committed in that period before, in entry {other.index}.",
                    )

    def _attempt(self, where: str, entry: LedgerEntry) -> None:
        try:
            self.check_attempt(entry.body["commitment"])
        except LedgerError as error:
            raise LedgerError(f"{where}: {error}") from None
        self._attempts.setdefault(entry.body["commitment"], []).append(entry)

    def _reveal(self, where: str, entry: LedgerEntry) -> None:
        body = entry.body
        _require(
            self.open is not None and body["period"] == self.open.body["period"], f"{where}: that period is not open."
        )
        assert self.open is not None
        try:
            bound = binding(body["nonce"])
        except ValueError as error:
            raise LedgerError(f"{where}: {error}") from None
        _require(bound == self.open.body["binding"], f"{where}: the nonce is not the one that the board was bound to.")
        self.nonces[body["period"]], self.open = body["nonce"], None

    def _verdict(self, where: str, entry: LedgerEntry) -> None:
        body = entry.body
        _require(_is_digest(body["submission"]), f"{where}: the submission's digest is not a SHA-256.")
        ran = self._attempted(where, body["attempt"])
        if not body["reason"]:
            self._accept(where, entry, ran)
        if ran >= 0:
            self._ran[ran] = entry.index

    def _accept(self, where: str, entry: LedgerEntry, ran: int) -> None:
        """Check a verdict that accepts something, of running the commitment number `ran`, -1 for none."""
        body = entry.body
        _require(body["tier"] in TIERS, f"{where}: there is no tier {printable(body['tier'])}.")
        sealed = body["tier"] in ("committed", "executed")
        _require((body["commitment"] >= 0) == sealed, f"{where}: tier {body['tier']} and its commitment do not fit.")
        _require((ran >= 0) == (body["tier"] == "executed"), f"{where}: only an attempt makes a score executed.")
        if sealed:
            fixed = self.commitment(body["commitment"]).body
            _require(fixed["agent"] == body["agent"], f"{where}: the commitment is that of {fixed['agent']!r}.")
            _require(
                sorted(body["plays"]) == fixed["tracks"],
                f"{where}: the commitment is for {', '.join(fixed['tracks'])}, no more and no less.",
            )
            _require(ran in (-1, body["commitment"]), f"{where}: the attempt is that of another commitment.")
        before = self._accepted.get(body["submission"])
        _require(before is None, f"{where}: this submission was accepted before, in entry {before}.")
        before = self._sealed.get(body["commitment"])
        _require(before is None, f"{where}: entry {before} is the one submission of this commitment.")
        self._accepted[body["submission"]] = entry.index
        if sealed:
            self._sealed[body["commitment"]] = entry.index

    def _attempted(self, where: str, attempt: int) -> int:
        """Return the commitment of an attempt that has no verdict and whose nonce is secret, -1 without an attempt."""
        if attempt == -1:
            return -1
        known = 0 <= attempt < len(self.entries) and self.entries[attempt].kind == "attempt"
        _require(known, f"{where}: entry {attempt} is no attempt.")
        commitment = int(self.entries[attempt].body["commitment"])
        _require(
            self.commitment(commitment).body["period"] not in self.nonces,
            f"{where}: the nonce was revealed before the verdict on what the board ran.",
        )
        _require(
            commitment not in self._ran, f"{where}: there is a verdict on running commitment {commitment} already."
        )
        return commitment


def read_ledger(path: str | Path, key: str | None = None, every_signature: bool = False) -> Ledger:
    """Read a ledger and check every link, every rule and the newest signature, which authenticates all lines.

    Args:
        path: the ledger.
        key: the public key that the board is known to have ("ssh-ed25519 AAAA..."); None to take the ledger's own,
            which shows that the ledger is of one hand, not whose.
        every_signature: also check the signature of every earlier line, one ssh-keygen each: it finds a line that the
            board did not sign but built upon.

    Raises:
        LedgerError: with the first thing that is wrong.
        OSError: where the ledger cannot be read, or ssh-keygen is missing.
    """
    path = Path(path)
    _require(not path.exists() or path.is_file(), f"{path} is not a regular file.")
    _require(path.stat().st_size <= MAX_BYTES, f"{path} has more than {MAX_BYTES} bytes.")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise LedgerError(f"{path} is not text.") from None
    _require(text.endswith("\n"), f"{path} does not end with a whole line.")
    ledger = Ledger()
    for number, line in enumerate(text.split("\n")[:-1]):
        ledger.admit(_entry(line, number))
    if key is not None:
        _require(_bare(key) == ledger.key, "The ledger is signed with another key than the board's.")
    for entry in ledger.entries:
        if not ledger.key:
            _require(not entry.signature, f"entry {entry.index} is signed, but the board names no key.")
        elif every_signature or entry is ledger.entries[-1]:
            verify_signature(_payload(entry), entry.signature, ledger.key, f"entry {entry.index}")
    return ledger


def append(path: str | Path, kind: str, body: dict[str, Any], key: str | Path | None = None) -> LedgerEntry:
    """Add an entry to a ledger, which an entry of kind `board` begins, signed with the private key in a file.

    Raises:
        LedgerError: where the rules forbid it, the key is not the board's, or `read_ledger` refuses what there is.
        OSError: where the ledger cannot be written, or ssh-keygen is missing.
    """
    path = Path(os.path.realpath(path))  # a link to a ledger stays one, and all of them share a lock
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        exists = path.exists()
        _require(exists or kind == "board", f"There is no board {path}; begin one first.")
        ledger = read_ledger(path) if exists else Ledger()
        if kind == "board":
            body = body | {"key": public_key(key) if key else ""}
        _check_body(f"entry {len(ledger.entries)}", kind, body)
        draft = LedgerEntry(len(ledger.entries), ledger.tip, kind, body, "", "")
        public = body["key"] if kind == "board" else ledger.key
        _require(bool(public) == bool(key), "A signed board needs its key, and an unsigned one takes none.")
        entry = _entry(_line(draft, sign(_payload(draft), key) if key else ""), draft.index)
        if key:
            verify_signature(_payload(entry), entry.signature, public, f"entry {entry.index}")
        ledger.admit(entry)
        before = path.read_text(encoding="utf-8") if exists else ""
        write_atomically(path, before + _line(entry, entry.signature) + "\n")
        return entry


# --- ssh signatures ---


def sign(payload: bytes, key: str | Path) -> str:
    """Sign some bytes with a private key file without passphrase, or with an ssh agent; return the armoured signature.

    Raises:
        FileNotFoundError: where there is no such file, or ssh-keygen is missing.
        LedgerError: where it does not sign.
    """
    if not Path(key).is_file():
        raise FileNotFoundError(f"There is no private key {key}; make one with: ssh-keygen -t ed25519 -f {key}")
    done = _ssh("-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, "-", payload=payload)
    if done.returncode:
        raise LedgerError(
            f"ssh-keygen did not sign with {key}: {printable(done.stderr.decode(errors='replace').strip())}."
        )
    return done.stdout.decode("ascii")


def verify_signature(payload: bytes, signature: str, key: str, where: str) -> None:
    """Check an ssh signature against a public key.

    Raises:
        LedgerError: where it does not hold; the message begins with `where`.
        OSError: where ssh-keygen is missing.
    """
    _require(bool(SIGNATURE.fullmatch(signature)), f"{where} is not signed by the board's key.")
    with tempfile.TemporaryDirectory() as folder:
        allowed, signed = Path(folder) / "allowed", Path(folder) / "signature"
        allowed.write_text(f'board namespaces="{NAMESPACE}" {key}\n', encoding="ascii")
        signed.write_text(signature, encoding="utf-8")
        arguments = ("-f", str(allowed), "-I", "board", "-n", NAMESPACE, "-s", str(signed))
        done = _ssh("-Y", "verify", *arguments, payload=payload)
    _require(not done.returncode, f"{where} is not signed by the board's key.")


def public_key(key: str | Path) -> str:
    """Return type and base64 of the public key that belongs to a private key file.

    Raises:
        FileNotFoundError: where there is no such file, or ssh-keygen is missing.
        LedgerError: where it cannot be read.
    """
    if not Path(key).is_file():
        raise FileNotFoundError(f"There is no private key {key}; make one with: ssh-keygen -t ed25519 -f {key}")
    done = _ssh("-y", "-f", str(key))
    if done.returncode:
        raise LedgerError(f"{key} is not a private ssh key that can be read without a passphrase.")
    return _bare(done.stdout.decode("utf-8"))


def _ssh(*arguments: str, payload: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise FileNotFoundError(
            "Signatures need the program ssh-keygen of OpenSSH 8.2 or later, which is not installed."
        )
    try:
        return subprocess.run(
            [program, *arguments],
            input=payload,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            start_new_session=True,  # without a terminal, and so without a question for a passphrase
            env={**os.environ, "SSH_ASKPASS_REQUIRE": "never", "DISPLAY": ""},
        )
    except subprocess.TimeoutExpired:
        raise LedgerError(
            f"ssh-keygen did not answer within {SECONDS} s; sign with a key that has no passphrase."
        ) from None


def _bare(key: str) -> str:
    return " ".join(key.split()[:2])


# --- lines ---


def _payload(entry: LedgerEntry) -> bytes:
    """Return the bytes that are signed: everything but the signature."""
    value = {"index": entry.index, "previous": entry.previous, "kind": entry.kind, "body": entry.body}
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _line(entry: LedgerEntry, signature: str) -> str:
    return json.dumps(
        {"signature": signature, **json.loads(_payload(entry))}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def _entry(line: str, number: int) -> LedgerEntry:
    where = f"line {number + 1}"
    _require(len(line) <= MAX_LINE, f"{where} is longer than {MAX_LINE} characters.")
    value = decode_json(line, where, LedgerError)
    kinds = {"index": int, "previous": str, "kind": str, "body": dict, "signature": str}
    good = isinstance(value, dict) and set(value) == set(kinds)
    good = good and all(type(value[name]) is kind for name, kind in kinds.items())
    _require(good and not nested(value, 8), f"{where} is not an entry of a board's ledger.")
    digest = hashlib.sha256(line.encode()).hexdigest()
    entry = LedgerEntry(value["index"], value["previous"], value["kind"], value["body"], value["signature"], digest)
    _require(_line(entry, entry.signature) == line, f"{where} is not written as this suite writes it.")
    return entry


def _check_body(where: str, kind: str, body: dict[str, Any]) -> None:
    _require(kind in BODIES, f"{where}: there is no kind of entry {printable(kind)}; expected one of {list(BODIES)}.")
    expected = BODIES[kind]
    good = set(body) == set(expected) and all(type(body[name]) is form for name, form in expected.items())
    _require(good, f"{where}: a {kind} has the fields {list(expected)} and no others.")
    for name, value in body.items():
        if type(value) is str:
            good = len(value) <= 4000 and readable(value) and "\n" not in value
            _require(good, f"{where}: {name} is {printable(value)}, which is too long or cannot be read.")
    if kind == "commit":
        for name in ("submitter", "agent"):
            _require(bool(body[name].strip()), f"{where}: the {name} has no name.")


def _is_digest(text: str) -> bool:
    return bool(DIGEST.fullmatch(text))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise LedgerError(message)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Let one process at a time write a ledger; on systems without such locks, the operator must see to it."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
