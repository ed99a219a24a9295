"""Trust tiers, and the judgement of a submission: what was shown about it, and what was not."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from valuegym.leaderboards import experiments
from valuegym.leaderboards.records import Record
from valuegym.leaderboards.run import spread
from valuegym.leaderboards.submission import Submission, open_submission, read_record
from valuegym.leaderboards.verify import Verdict, check, found_true

LIMITS = {  # weakest first: what each tier leaves open
    "claimed": "nothing was checked but the form",
    "replayed": "these actions on these public seeds earn this score; which policy chose them, what it was told, and "
    "how often it tried before, replaying cannot see",
    "committed": "the seeds were drawn after the agent was fixed, so none was searched before; that this agent chose "
    "the actions, and did not search once the seeds were known, replaying cannot see",
    "executed": "the board ran the agent itself on secret seeds, apart from the simulator; what it learnt from is what "
    "its card says, which nobody checked",
}


class Judgement(NamedTuple):
    """What became of a submission: reason is "" if it is accepted, in which case tier says how far to trust it."""

    path: str
    agent: str
    digest: str  # SHA-256 of the file, "" where it is no submission
    reason: str
    tier: str
    notes: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def limit(self) -> str:
        """What the tier leaves open, in one sentence."""
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


class Item(NamedTuple):
    """One record of a submission to be replayed: where it is, whose it must be, and on which seeds."""

    path: str
    member: str
    agent: str
    seeds: tuple[int, ...] | None
    data: str | None


def judge(path: str | Path, data: str | None = None, workers: int = 2) -> Judgement:
    """Read a submission, replay every record in fresh processes, and say what tier it reaches.

    Damaged and hostile files give a judgement with the reason, not an exception.
    """
    try:
        submission = open_submission(path)
        if submission.seal is not None:
            raise ValueError("it was made for a board's committed seeds; give that board to check it against.")
        items = [Item(str(path), name, submission.card.name, None, data) for name in sorted(submission.records)]
    except (ValueError, OSError) as error:
        return Judgement(str(path), "", "", str(error) or type(error).__name__, "", (), ())
    return conclude(path, submission, spread(replay_member, items, workers, "verifying"), "replayed")


def conclude(path: str | Path, submission: Submission, verdicts: Sequence[Verdict], tier: str) -> Judgement:
    """The judgement that follows from the verdicts on all records of a submission."""
    agent, digest = submission.card.name, submission.digest
    for verdict in verdicts:
        if verdict.reason:
            reason = f"{verdict.path}: {verdict.reason}"
            return Judgement(str(path), agent, digest, reason, "", (), tuple(verdicts))
        assert verdict.record is not None
        claimed = submission.manifest["experiments"][verdict.record.experiment]["digest"]
        if claimed != verdict.record.digest:
            reason = f"{verdict.path}: the manifest states another environment digest."
            return Judgement(str(path), agent, digest, reason, "", (), tuple(verdicts))
    notes = []
    warned = sum(bool(verdict.warnings) for verdict in verdicts)
    if warned:
        notes.append(f"{warned} records were made with other sources; they replay all the same")
    tracks = {verdict.record.experiment for verdict in verdicts if verdict.record}
    opened = sorted(name for name in tracks if not experiments.find(name).ranked)
    if opened:
        notes.append(f"open book, not ranked: {', '.join(opened)}")
    return Judgement(str(path), agent, digest, "", tier, tuple(notes), tuple(verdicts))


def replay_member(item: Item) -> Verdict:
    """Replay one record of a submission whose form was checked."""
    try:
        with zipfile.ZipFile(item.path) as file:
            record = read_record(item.member, file.read(item.member), item.agent)
        check(record, item.data, item.seeds)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        return Verdict(item.member, str(error) or type(error).__name__)
    return found_true(item.member, record)


def plays(record: Record) -> str:
    """SHA-256 of what was played, seeds and actions, whoever is said to have played it."""
    digest = hashlib.sha256(record.experiment.encode())
    for episode in record.episodes:
        digest.update(repr((episode.seed, episode.actions)).encode())
    return digest.hexdigest()
