"""Operations of a board: open and close periods, register commitments, judge, record."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from valuegym.leaderboards import experiments
from valuegym.leaderboards.board.sandbox import Limits, Remote, missing
from valuegym.leaderboards.records.record import Record, to_text
from valuegym.leaderboards.records.strict_json import printable
from valuegym.leaderboards.records.submission import Card, member, open_submission, pack, write_submission
from valuegym.leaderboards.run import play_record
from valuegym.leaderboards.standings.gather import from_verdicts
from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.tracking.log import log_submission
from valuegym.leaderboards.tracking.online import fetch_submissions, read_project
from valuegym.leaderboards.trust.commitment import binding, committed_seeds, new_nonce, take_agent
from valuegym.leaderboards.trust.judgement import (
    Judgement,
    Member,
    conclude,
    in_words,
    judge,
    judge_all,
    played,
    replay_members,
)
from valuegym.leaderboards.trust.ledger import LedgerEntry, LedgerError, append, read_ledger

__all__ = [
    "begin",
    "collect",
    "commit",
    "describe_entry",
    "execute",
    "judge_and_record",
    "open_period",
    "read_nonce",
    "record_verdict",
    "reveal",
    "show",
]


def begin(board: str | Path, name: str, key: str | Path | None = None) -> LedgerEntry:
    """Begin a board's ledger; with a private ssh key, every entry is signed.

    Raises:
        FileExistsError: the file exists.
        LedgerError, OSError: as `append`.
    """
    if Path(board).exists():
        raise FileExistsError(f"There is a board {board} already.")
    return append(board, "board", {"name": name}, key)


def open_period(board: str | Path, nonce: str | Path, key: str | Path | None = None) -> LedgerEntry:
    """Open the next period, bound to a fresh nonce that is kept in a file only its owner may read.

    Raises:
        FileExistsError: the nonce's file exists.
        LedgerError, OSError: as `append`.
    """
    ledger, secret = read_ledger(board), new_nonce()
    handle = os.open(nonce, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
    try:
        period = sum(1 for _ in ledger.of("open"))
        return append(board, "open", {"period": period, "binding": binding(secret)}, key)
    except BaseException:
        os.unlink(nonce)
        raise


def commit(
    board: str | Path,
    agent: str,
    submitter: str,
    digest: str,
    tracks: Sequence[str],
    key: str | Path | None = None,
) -> LedgerEntry:
    """Record the digest of an agent in the open period, which fixes the agent, and the tracks it will be judged on.

    Raises:
        ValueError: no period is open, or a track is unknown.
        LedgerError, OSError: as `append`.
    """
    period = read_ledger(board).open
    if period is None:
        raise ValueError("No period of this board is open, so nothing can be committed.")
    named = sorted({experiments.find(track).id for track in tracks})
    body = {"period": period.body["period"], "agent": agent, "submitter": submitter, "digest": digest, "tracks": named}
    return append(board, "commit", body, key)


def reveal(board: str | Path, nonce: str | Path, key: str | Path | None = None) -> LedgerEntry:
    """Close the open period by publishing its nonce, from which the seeds of all its commitments follow.

    Raises:
        ValueError: no period is open, or the file holds another nonce.
        LedgerError, OSError: as `append`.
    """
    period = read_ledger(board).open
    if period is None:
        raise ValueError("No period of this board is open, so there is no nonce to reveal.")
    secret = read_nonce(nonce)
    return append(board, "reveal", {"period": period.body["period"], "nonce": secret}, key)


def read_nonce(path: str | Path) -> str:
    """Return the nonce in a file."""
    return Path(path).read_text(encoding="ascii").strip()


def judge_and_record(
    board: str | Path,
    submission: str | Path,
    data: str | None = None,
    workers: int = 2,
    key: str | Path | None = None,
) -> tuple[Judgement, LedgerEntry | None]:
    """Judge a submission and record the verdict in the ledger.

    Returns:
        The judgement and its entry; None as entry if the file is not a submission, which has no digest.

    Raises:
        LedgerError, OSError: as `append`.
    """
    judgement = judge(submission, data, workers, read_ledger(board))
    return judgement, record_verdict(board, judgement, key) if judgement.digest else None


def execute(
    board: str | Path,
    commitment: int,
    folder: str | Path,
    card: Card,
    nonce: str | Path,
    output: str | Path,
    data: str | None = None,
    key: str | Path | None = None,
    limits: Limits | None = None,
) -> tuple[Judgement, LedgerEntry]:
    """Run a committed agent in a sandbox on secret seeds, write its submission, and record the verdict in the ledger.

    The agent runs on the tracks that its commitment names; with a training budget, it learns within it before
    evaluation. What runs is a copy of exactly the files that the digest covers. Every run has its own sandbox, so that
    no state is carried from one run to the next. The ledger holds a line for the attempt before anything runs; after
    the verdict there is no other attempt, and an attempt that was interrupted stays to be seen. Once the nonce is
    revealed, anyone can replay the submission.

    Args:
        board: the ledger.
        commitment: number of the agent's commitment.
        folder: the agent's files; their digest must be the committed one.
        card: the agent's card.
        nonce: file of the nonce of the commitment's period.
        output: where the submission goes.
        data: folder of human data, where an experiment needs it.
        key: private key of the board, if it signs.
        limits: of each run.

    Raises:
        OSError: no sandbox is available.
        ValueError: the agent or the nonce is not the committed one, the nonce is revealed, or there was a verdict.
    """
    reason = missing()
    if reason:
        raise OSError(f"{reason} Untrusted agents are not run without one.")
    ledger, secret = read_ledger(board), read_nonce(nonce)
    entry = ledger.commitment(commitment)
    ledger.check_attempt(commitment)
    period = next(opened for opened in ledger.of("open") if opened.body["period"] == entry.body["period"])
    if binding(secret) != period.body["binding"]:
        raise ValueError(f"{nonce} does not hold the nonce of period {period.body['period']}.")
    digest, names = entry.body["digest"], entry.body["tracks"]
    seeds = {
        (name, run): committed_seeds(secret, digest, name, run, experiments.find(name).episodes)
        for name in names
        for run in experiments.find(name).seeds
    }
    with tempfile.TemporaryDirectory(prefix="agent-") as taken:
        if (take_agent(folder, taken), card.name) != (digest, entry.body["agent"]):
            raise ValueError(f"{folder} and its card are not the agent that commitment {commitment} fixed.")
        attempt = append(board, "attempt", {"commitment": commitment}, key).index
        interrupted = len(ledger.attempts(commitment))
        try:
            records = [_played(taken, card.name, *job, evaluation, data, limits) for job, evaluation in seeds.items()]
            seal = {"board": ledger.id, "commitment": commitment, "agent": digest}
            content = pack(card, [to_text(record).encode() for record in records], seal=seal)
        except ValueError as error:  # the agent failed, or played something that is not an action
            named = hashlib.sha256(f"{digest}/{commitment}".encode()).hexdigest()
            failed = Judgement(str(folder), card.name, named, str(error), "", (), ())
            return failed, record_verdict(board, failed, key, attempt)
    write_submission(output, content)
    expected = {member(*job): tuple(evaluation) for job, evaluation in seeds.items()}
    written = open_submission(output)
    checksums = written.manifest["files"]
    members = [Member(str(output), name, checksums[name], card.name, expected[name], data) for name in sorted(expected)]
    judgement = conclude(output, written, replay_members(members), "executed")
    if interrupted and judgement.tier:
        words = "once" if interrupted == 1 else f"{interrupted} times"
        judgement = judgement._replace(notes=(*judgement.notes, f"its run was interrupted {words} and begun again"))
    return judgement, record_verdict(board, judgement, key, attempt)


def _played(
    folder: str | Path,
    agent: str,
    name: str,
    run: int,
    evaluation: Sequence[int],
    data: str | None,
    limits: Limits | None,
) -> Record:
    """Run an agent in a sandbox of its own: training, if there is any, and evaluation."""
    what = experiments.find(name)
    env = gym.make(what.env_id, **what.make_kwargs(data))
    with Remote(folder, env, (what.env_id, what.kwargs), run, limits) as player:
        if what.timesteps:
            player.learn(what.timesteps)
        return play_record(player, agent, name, run, data, evaluation)


def collect(
    board: str | Path,
    inbox: str,
    folder: str | Path,
    publish: str | None = None,
    data: str | None = None,
    workers: int = 2,
    key: str | Path | None = None,
) -> Iterator[str]:
    """Judge what is new in an open wandb project, record it, and publish what was accepted; yield a line for each step.

    A submission is identified by the SHA-256 of its file: what the ledger has a verdict on is not judged again, whoever
    logs it again, and what the public project holds is not published again, so that an interrupted call can be
    repeated.

    Args:
        board: the ledger.
        inbox: "entity/project" where anybody may log submissions.
        folder: where they are downloaded to, one folder for each run.
        publish: "entity/project" that only the board writes to; None to publish nothing.
        data: folder of human data, where an experiment needs it.
        workers: parallel processes.
        key: private key of the board, if it signs.

    Raises:
        LedgerError: the public project holds a head of the ledger that the ledger has no more.
        OSError: the inbox cannot be read. A single submission that cannot be fetched is reported in its line.
    """
    reading = read_project(inbox, folder, max_age=0)
    yield reading.message
    files: dict[str, Path] = {}
    for run in reading.runs:
        try:
            found = _fetched(inbox, run.id, Path(folder))
        except (OSError, ValueError) as error:
            yield str(error)
            continue
        for path in found:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            judged = {entry.body["submission"] for entry in read_ledger(board).of("verdict")}
            if files.setdefault(digest, path) == path and digest not in judged:
                yield _attended(board, path, data, workers, key)
    if publish is None:
        return
    ledger, public = read_ledger(board), read_project(publish, folder, max_age=0)
    yield public.message
    for run in public.runs:
        if isinstance(head := run.config.get("ledger"), str):
            ledger.check_head(head)
    published = {run.config.get("submission") for run in public.runs}
    accepted = [entry.body["submission"] for entry in ledger.accepted()]
    todo = [files[digest] for digest in accepted if digest in files and digest not in published]
    entity, _, project = publish.partition("/")
    for judgement in judge_all(todo, data, workers, ledger):
        about = {"ledger": ledger.head}
        tracked = log_submission(judgement, Path(folder) / "published", "online", project, entity, about)
        yield f"{judgement.agent}: {tracked.message}"


def _fetched(inbox: str, run: str, folder: Path) -> list[Path]:
    """Return the submissions of a run of an inbox; a run without any is asked for once."""
    empty = folder / run / "no-submission"
    found = sorted((folder / run).glob("*.zip"))
    if not found and not empty.is_file():
        found = fetch_submissions(inbox, run, folder)
        if not found:
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.write_bytes(b"")
    return found


def _attended(board: str | Path, path: Path, data: str | None, workers: int, key: str | Path | None) -> str:
    """Judge a submission of an inbox and return what to print: whatever goes wrong, the next one is judged."""
    try:
        return judge_and_record(board, path, data, workers, key)[0].text
    except (LedgerError, OSError):  # of the ledger or of this machine, not of the submission
        raise
    except Exception as error:
        return f"{printable(path.name)} could not be judged: {in_words(error)}"


def record_verdict(
    board: str | Path, judgement: Judgement, key: str | Path | None = None, attempt: int = -1
) -> LedgerEntry:
    """Record in the ledger a judgement and its verified scores (estimate, low, high by experiment and point).

    `attempt` is the number of the attempt at running the agent that the judgement is about, -1 for none.
    """
    good = not judgement.reason
    scores = {
        score.experiment: {
            str(point): [None if x != x else float(x) for x in row]  # NaN: a single value has no interval
            for point, row in zip(score.evaluation_points, estimates(score.values), strict=True)
        }
        for score in (from_verdicts(judgement.verdicts) if good else ())
        if len(score.values)
    }
    body: dict[str, Any] = {
        "submission": judgement.digest,
        "agent": judgement.agent,
        "tier": judgement.tier,
        "reason": in_words(ValueError(judgement.reason)) if judgement.reason else "",
        "commitment": judgement.commitment if good else -1,
        "attempt": attempt,
        "plays": played(judgement.verdicts) if good else {},
        "scores": scores,
    }
    return append(board, "verdict", body, key)


def describe_entry(entry: LedgerEntry) -> str:
    """Return a one-line description of a ledger entry."""
    body = entry.body
    if entry.kind == "board":
        return f"board {body['name']}, {'signed by ' + body['key'] if body['key'] else 'unsigned'}"
    if entry.kind == "open":
        return f"period {body['period']} opens, bound to {body['binding']}"
    if entry.kind == "commit":
        fixed = f"{body['agent']} by {body['submitter']} is fixed as {body['digest']} in period {body['period']}"
        return f"{fixed} for {', '.join(body['tracks'])}"
    if entry.kind == "attempt":
        return f"the board begins to run the agent of commitment {body['commitment']}"
    if entry.kind == "reveal":
        return f"period {body['period']} closes, nonce {body['nonce']}"
    if body["reason"]:
        return f"rejected {body['agent']}, {body['submission'][:12]}: {body['reason']}"
    return (
        f"accepted {body['agent']}, {body['submission'][:12]}, {body['tier']}, on {', '.join(sorted(body['scores']))}"
    )


def show(board: str | Path, key: str | None = None, heads: Sequence[str] = ()) -> str:
    """Check a whole ledger, every signature of it, and return a line for each entry and the digest to compare.

    Args:
        board: the ledger.
        key: the public key that the board is known to have; None to trust the key in the ledger.
        heads: of the ledger that were published, which it must hold.

    Raises:
        LedgerError, OSError: as `read_ledger` and `Ledger.check_head`.
    """
    ledger = read_ledger(board, key, every_signature=True)
    for head in heads:
        ledger.check_head(head)
    lines = [f"{entry.index:>5}  {describe_entry(entry)}" for entry in ledger.entries]
    return "\n".join((*lines, f"ledger of {len(lines)} entries, head {ledger.head}, digest {ledger.tip}"))
