"""Trust tiers, and the judgement of a submission: what was shown about it, and what was not."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records.submission import Submission, member, open_submission, read_record
from valuegym.leaderboards.trust.commitment import committed_seeds
from valuegym.leaderboards.trust.ledger import Ledger
from valuegym.leaderboards.verification.verify import Candidate, Verdict, decide, parcels

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
    commitment: int = -1  # the board's entry that the seeds were drawn for, -1 for public seeds

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
    """One record of a submission to be replayed: where it is, its SHA-256, whose it must be, and on which seeds."""

    path: str
    member: str
    sum: str
    agent: str
    seeds: tuple[int, ...] | None
    data: str | None


def judge(
    path: str | Path, data: str | None = None, workers: int = 2, ledger: Ledger | None = None, again: bool = False
) -> Judgement:
    """Read a submission, replay every record in fresh processes, and say what tier it reaches.

    With a board's ledger, committed seeds are known, and what it holds already is told. What it accepted before is
    refused, unless it is to be judged again.

    Damaged and hostile files give a judgement with the reason, not an exception.
    """
    agent = digest = ""
    try:
        submission = open_submission(path)
        agent, digest = submission.card.name, submission.digest
        if not again:
            _not_yet(submission, ledger)
        seeds = sealed_seeds(submission, ledger)
    except (ValueError, OSError) as error:
        return Judgement(str(path), agent, digest, str(error) or type(error).__name__, "", (), ())
    sums = submission.manifest["files"]
    items = [Item(str(path), name, sums[name], agent, seeds.get(name), data) for name in sorted(submission.records)]
    sizes = [len(submission.records[item.member]) for item in items]
    runs = [(track, seed) for track, _, seed in (item.member.rpartition("/") for item in items)]
    together = parcels(runs, sizes, workers)
    parts = executors.parallel_map(
        replay_members, [[items[place] for place in places] for places in together], workers, "verifying"
    )
    replayed = {verdict.path: verdict for part in parts for verdict in part}
    verdicts = [replayed[item.member] for item in items]
    found = conclude(path, submission, verdicts, "committed" if submission.seal else "replayed")
    if found.reason or ledger is None:
        return found
    return found._replace(notes=(*found.notes, *_copies(found, ledger)))


def commitment_seeds(ledger: Ledger, index: int, experiment: str, run: int) -> tuple[int, ...]:
    """The seeds that a commitment gets for a run of an experiment.

    Raises ValueError where there is no such commitment or its period's nonce is not revealed yet.
    """
    body = ledger.commitment(index).body
    if body["period"] not in ledger.nonces:
        raise ValueError(f"The nonce of period {body['period']} is not revealed yet, so nobody has seeds.")
    what = experiments.find(experiment)
    nonce = ledger.nonces[body["period"]]
    return tuple(committed_seeds(nonce, body["digest"], experiment, run, what.episodes))


def sealed_seeds(submission: Submission, ledger: Ledger | None) -> dict[str, tuple[int, ...]]:
    """The seeds due in each record of a sealed submission; none where its seeds are public. Raises ValueError."""
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
    tracks = submission.manifest["experiments"].items()
    return {
        member(name, seed): commitment_seeds(ledger, seal["commitment"], name, seed)
        for name, what in tracks
        for seed in what["seeds"]
    }


def _not_yet(submission: Submission, ledger: Ledger | None) -> None:
    """Raise ValueError for a submission that the board holds already, or a second one of one commitment."""
    for entry in ledger.accepted() if ledger else ():
        if entry.body["submission"] == submission.digest:
            raise ValueError(f"this file was accepted before, in entry {entry.index}.")
        if submission.seal and entry.body["commitment"] == submission.seal["commitment"]:
            raise ValueError(f"entry {entry.index} is the one submission of commitment {entry.body['commitment']}.")


def _copies(judgement: Judgement, ledger: Ledger) -> list[str]:
    """A note for every earlier entry with the very same actions: a copy, or two agents that are both deterministic."""
    mine = played(judgement.verdicts)
    return [
        f"the same actions on {experiment} as entry {entry.index} by {entry.body['agent']}"
        for entry in ledger.accepted()
        for experiment, digest in sorted(mine.items())
        if entry.body["plays"].get(experiment) == digest and entry.body["submission"] != judgement.digest
    ]


def played(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """SHA-256 of what was played on each experiment, seeds and actions, whoever is said to have played it."""
    digests: dict[str, hashlib._Hash] = {}
    records = [verdict.record for verdict in verdicts if verdict.record]
    for record in sorted(records, key=lambda record: (record.experiment, record.seed)):
        digest = digests.setdefault(record.experiment, hashlib.sha256())
        for episode in record.episodes:
            digest.update(repr((episode.seed, episode.actions)).encode())
    return {experiment: digest.hexdigest() for experiment, digest in digests.items()}


def conclude(path: str | Path, submission: Submission, verdicts: Sequence[Verdict], tier: str) -> Judgement:
    """The judgement that follows from the verdicts on all records of a submission."""
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
    commitment = submission.seal["commitment"] if submission.seal else -1
    return bad._replace(tier=tier, notes=tuple(notes), commitment=commitment)


def replay_members(items: Sequence[Item]) -> list[Verdict]:
    """Replay records of one submission whose form was checked."""
    found: dict[str, Verdict] = {}
    candidates = []
    for item in items:
        try:
            with zipfile.ZipFile(item.path) as file:
                content = file.read(item.member)
            if hashlib.sha256(content).hexdigest() != item.sum:
                raise ValueError("the file was changed while it was judged.")
            candidates.append(Candidate(item.member, read_record(item.member, content, item.agent), item.seeds))
        except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
            found[item.member] = Verdict(item.member, str(error) or type(error).__name__)
    found |= {verdict.path: verdict for verdict in decide(candidates, items[0].data)}
    return [found[item.member] for item in items]
