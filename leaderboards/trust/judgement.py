"""Judgements of submissions: whether everything in one is true, and which tier of trust it reaches."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records.strict_json import printable, readable
from valuegym.leaderboards.records.submission import MAX_FILE, Submission, member, open_submission, read_member
from valuegym.leaderboards.trust.commitment import committed_seeds
from valuegym.leaderboards.trust.ledger import Ledger
from valuegym.leaderboards.trust.tiers import LIMITS
from valuegym.leaderboards.verification.ceilings import CeilingReached, ceilings
from valuegym.leaderboards.verification.verify import Candidate, Verdict, batches, episode_limit, verify_candidates

__all__ = [
    "Judgement",
    "Member",
    "commitment_seeds",
    "conclude",
    "in_words",
    "judge",
    "judge_all",
    "played",
    "replay_members",
    "sealed_seeds",
]


class Judgement(NamedTuple):
    """The result of judging a submission.

    Attributes:
        path: of the file.
        agent: name on the card, "" where there is none.
        digest: SHA-256 of the file, "" where it is not a submission.
        reason: why it was rejected, "" if it is accepted.
        tier: one of TIERS, "" if it was rejected.
        notes: what a reader should know besides.
        verdicts: one for each record.
        commitment: number of the ledger's entry that the seeds were drawn for, -1 for public seeds.
    """

    path: str
    agent: str
    digest: str
    reason: str
    tier: str
    notes: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    commitment: int = -1

    @property
    def limit(self) -> str:
        """One sentence on what the tier leaves open, "" if it was rejected."""
        return LIMITS[self.tier] if self.tier else ""

    @property
    def text(self) -> str:
        """The judgement for people, a line or a few."""
        if self.reason:
            return f"rejected  {self.path}: {self.reason}"
        tracks = sorted({verdict.record.experiment for verdict in self.verdicts if verdict.record})
        lines = [f"accepted  {self.path}: {self.agent} on {', '.join(tracks)}, {len(self.verdicts)} records"]
        lines += [f"tier      {self.tier}: {self.limit}"]
        return "\n".join(lines + [f"note      {note}" for note in self.notes])


class Member(NamedTuple):
    """One record of a submission that is to be replayed.

    Attributes:
        path: of the submission.
        name: of the member.
        sha256: of its content.
        agent: whose record it must be.
        seeds: those its episodes must have, None for public ones.
        data: folder of human data, None for the default.
    """

    path: str
    name: str
    sha256: str
    agent: str
    seeds: tuple[int, ...] | None
    data: str | None


class _Together(list[Member]):
    """Members of one submission that are replayed together."""

    def __str__(self) -> str:
        """Name the submission for people."""
        return f"replaying {self[0].path}"


def judge(
    path: str | Path, data: str | None = None, workers: int = 2, ledger: Ledger | None = None, again: bool = False
) -> Judgement:
    """Read a submission, replay every record in fresh processes, and say what tier it reaches.

    Damaged and hostile files give a judgement with the reason, not an exception.

    Args:
        path: the submission.
        data: folder of human data, where an experiment needs it.
        workers: parallel processes.
        ledger: of the board, which gives committed seeds and refuses or notes copies of what it accepted before.
        again: whether a submission that the ledger holds may be judged again.
    """
    try:
        with ceilings():
            return _judged(path, data, workers, ledger, again)
    except Exception as error:  # one submission never stops another, whatever it makes this process do
        reason = str(error) if isinstance(error, CeilingReached) else f"it cannot be judged: {in_words(error)}"
        return Judgement(str(path), "", _file_digest(path), reason, "", (), ())


def _judged(path: str | Path, data: str | None, workers: int, ledger: Ledger | None, again: bool) -> Judgement:
    agent = digest = ""
    if not Path(path).exists():
        missing = "there is no such file; `valuegym submit` writes submissions."
        return Judgement(str(path), agent, digest, missing, "", (), ())
    try:
        submission = open_submission(path)
        agent, digest = submission.card.name, submission.digest
        if not again:
            _refuse_repeated(submission, ledger)
        seeds = sealed_seeds(submission, ledger)
    except (ValueError, OSError) as error:
        return Judgement(str(path), agent, digest, in_words(error), "", (), ())
    checksums = submission.manifest["files"]
    members = [
        Member(str(path), name, checksums[name], agent, seeds.get(name), data) for name in sorted(submission.records)
    ]
    sizes = [len(submission.records[part.name]) for part in members]
    runs = [(track, seed) for track, _, seed in (part.name.rpartition("/") for part in members)]
    work = [_Together(members[place] for place in places) for places in batches(runs, sizes, workers)]
    try:
        parts = executors.parallel_map(experiments.in_workers(replay_members), work, workers, "verifying")
    except executors.JobsFailed as error:
        return Judgement(str(path), agent, digest, f"it cannot be replayed: {error.failures[0].reason}", "", (), ())
    replayed = {verdict.path: verdict for part in parts for verdict in part}
    verdicts = [replayed[part.name] for part in members]
    found = conclude(path, submission, verdicts, "committed" if submission.seal else "replayed")
    if found.reason or ledger is None:
        return found
    return found._replace(notes=(*found.notes, *_copies(found, ledger)))


def judge_all(
    files: Iterable[Path], data: str | None = None, workers: int = 2, ledger: Ledger | None = None
) -> list[Judgement]:
    """Judge submissions, also those that a board's ledger holds; where it holds one as executed, that is its tier.

    Replay cannot find again that a board ran an agent itself, so that tier rests on the ledger and its signatures.
    """
    accepted = ledger.accepted() if ledger else ()
    executed = {entry.body["submission"] for entry in accepted if entry.body["tier"] == "executed"}
    found = [judge(path, data, workers, ledger, again=True) for path in files]
    return [
        judgement._replace(tier="executed") if judgement.tier and judgement.digest in executed else judgement
        for judgement in found
    ]


def in_words(error: BaseException) -> str:
    """Return an error in one short line that can be shown: a stranger's words may be part of it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if readable(text) else printable(text, 1000)[1:-1])[:1000]


def _file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file, "" where it cannot be read or is larger than a submission."""
    try:
        if Path(path).is_file() and Path(path).stat().st_size <= MAX_FILE:
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except (OSError, MemoryError):
        pass
    return ""


def commitment_seeds(ledger: Ledger, index: int, experiment: str, run: int) -> tuple[int, ...]:
    """Return the seeds that a commitment gets for a run of an experiment.

    Raises:
        ValueError: where there is no such commitment or experiment, the commitment is not for it, or the period's nonce
            is not revealed yet.
    """
    body = ledger.commitment(index).body
    if experiment not in body["tracks"]:
        raise ValueError(f"commitment {index} is not for {experiment} but for {', '.join(body['tracks'])}.")
    if body["period"] not in ledger.nonces:
        raise ValueError(f"The nonce of period {body['period']} is not revealed yet, so nobody has seeds.")
    what = experiments.find(experiment)
    nonce = ledger.nonces[body["period"]]
    return tuple(committed_seeds(nonce, body["digest"], experiment, run, what.episodes))


def sealed_seeds(submission: Submission, ledger: Ledger | None) -> dict[str, tuple[int, ...]]:
    """Return the seeds that each record of a submission must have, by member; empty where its seeds are public.

    Raises:
        ValueError: for a seal that is not the board's, or a board that is not given.
    """
    seal = submission.seal
    if seal is None:
        return {}
    if ledger is None:
        raise ValueError("it was made for a board's committed seeds; give that board to check it against.")
    if seal["board"] != ledger.id:
        raise ValueError("it was made for another board.")
    body = ledger.commitment(seal["commitment"]).body
    if (body["agent"], body["digest"]) != (submission.card.name, seal["agent"]):
        raise ValueError(f"commitment {seal['commitment']} is that of another agent.")
    if sorted(submission.manifest["experiments"]) != body["tracks"]:
        raise ValueError(
            f"commitment {seal['commitment']} is for {', '.join(body['tracks'])}, all of them and no others; the "
            f"submission has {', '.join(sorted(submission.manifest['experiments']))}."
        )
    tracks = submission.manifest["experiments"].items()
    return {
        member(name, seed): commitment_seeds(ledger, seal["commitment"], name, seed)
        for name, what in tracks
        for seed in what["seeds"]
    }


def _refuse_repeated(submission: Submission, ledger: Ledger | None) -> None:
    """Raise ValueError for a submission that the board holds already, or a second one of one commitment."""
    for entry in ledger.accepted() if ledger else ():
        if entry.body["submission"] == submission.digest:
            raise ValueError(f"this file was accepted before, in entry {entry.index}.")
        if submission.seal and entry.body["commitment"] == submission.seal["commitment"]:
            raise ValueError(f"entry {entry.index} is the one submission of commitment {entry.body['commitment']}.")


def _copies(judgement: Judgement, ledger: Ledger) -> list[str]:
    """Return a note for every earlier submission with the same actions: a copy, or both agents are deterministic."""
    mine = played(judgement.verdicts)
    return [
        f"the same actions on {experiment} as entry {entry.index} by {entry.body['agent']}"
        for entry in ledger.accepted()
        for experiment, digest in sorted(mine.items())
        if entry.body["plays"].get(experiment) == digest and entry.body["submission"] != judgement.digest
    ]


def played(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return a SHA-256 of the seeds and actions on each experiment, whoever is said to have played them."""
    digests: dict[str, hashlib._Hash] = {}
    records = [verdict.record for verdict in verdicts if verdict.record]
    for record in sorted(records, key=lambda record: (record.experiment, record.seed)):
        digest = digests.setdefault(record.experiment, hashlib.sha256())
        for episode in record.episodes:
            digest.update(repr((episode.seed, episode.actions)).encode())
    return {experiment: digest.hexdigest() for experiment, digest in digests.items()}


def conclude(path: str | Path, submission: Submission, verdicts: Sequence[Verdict], tier: str) -> Judgement:
    """Return the judgement that follows from the verdicts on all records of a submission."""
    bad = Judgement(str(path), submission.card.name, submission.digest, "", "", (), tuple(verdicts))
    for verdict in verdicts:
        if verdict.reason:
            return bad._replace(reason=f"{verdict.path}: {verdict.reason}")
        assert verdict.record is not None
        claimed = submission.manifest["experiments"][verdict.record.experiment]["digest"]
        if claimed != verdict.record.digest:
            return bad._replace(reason=f"{verdict.path}: the manifest states another environment digest.")
    notes = []
    warned = sum(bool(verdict.warnings) for verdict in verdicts)
    if warned:
        notes.append(f"{warned} records were made with other sources; they replay all the same")
    tracks = {verdict.record.experiment for verdict in verdicts if verdict.record}
    opened = sorted(name for name in tracks if not experiments.find(name).ranked)
    if opened:
        notes.append(f"open book, not ranked: {', '.join(opened)}")
    unchecked = sorted(name for name in tracks if not experiments.find(name).replayable)
    if unchecked and tier != "executed":
        notes.append(f"rewards as claimed, for the environment does not repeat itself: {', '.join(unchecked)}")
        tier = "claimed" if len(unchecked) == len(tracks) and not submission.seal else tier
    commitment = submission.seal["commitment"] if submission.seal else -1
    return bad._replace(tier=tier, notes=tuple(notes), commitment=commitment)


def _candidate(part: Member) -> Candidate:
    """Read a member again, in the process that replays it."""
    with zipfile.ZipFile(part.path) as file:
        content = file.read(part.name)
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise ValueError("the file was changed while it was judged.")
    return Candidate(part.name, read_member(part.name, content, part.agent, episode_limit), part.seeds)


def replay_members(members: Sequence[Member]) -> list[Verdict]:
    """Replay records of one submission whose form was checked; verdicts in their order."""
    try:
        with ceilings():
            return _replayed(members)
    except Exception as error:  # whatever a record makes the environments do
        reason = str(error) if isinstance(error, CeilingReached) else f"it cannot be replayed: {in_words(error)}"
        return [Verdict(part.name, reason) for part in members]


def _replayed(members: Sequence[Member]) -> list[Verdict]:
    found: dict[str, Verdict] = {}
    candidates = []
    for part in members:
        try:
            candidates.append(_candidate(part))
        except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
            found[part.name] = Verdict(part.name, in_words(error))
    found |= {verdict.path: verdict for verdict in verify_candidates(candidates, members[0].data)}
    return [found[part.name] for part in members]
