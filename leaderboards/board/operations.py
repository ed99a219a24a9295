"""What the keeper of a board does: open and close periods, register commitments, judge submissions, write it down."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from valuegym.leaderboards import experiments
from valuegym.leaderboards.board.sandbox import Limits, Remote, missing
from valuegym.leaderboards.records.record import Record, to_text
from valuegym.leaderboards.records.submission import Card, member, open_submission, pack, write
from valuegym.leaderboards.run import evaluate
from valuegym.leaderboards.standings.entries import judge_all
from valuegym.leaderboards.standings.gather import from_verdicts
from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.tracking import log as tracking
from valuegym.leaderboards.tracking.online import fetch_submissions, read_project
from valuegym.leaderboards.trust import ledger as book
from valuegym.leaderboards.trust.commitment import agent_digest, binding, committed_seeds, new_nonce
from valuegym.leaderboards.trust.judgement import Item, Judgement, conclude, judge, played, replay_members
from valuegym.leaderboards.trust.ledger import Entry, Ledger


def begin(board: str | Path, name: str, key: str | Path | None = None) -> Entry:
    """Begin a board's book; with a private ssh key, every entry is signed."""
    if Path(board).exists():
        raise FileExistsError(f"There is a board {board} already.")
    return book.append(board, "board", {"name": name}, key)


def open_period(board: str | Path, nonce: str | Path, key: str | Path | None = None) -> Entry:
    """Open the next period, bound to a fresh nonce that is kept in a file for nobody else to read."""
    ledger, secret = book.read(board), new_nonce()
    handle = os.open(nonce, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
    try:
        period = sum(1 for _ in ledger.of("open"))
        return book.append(board, "open", {"period": period, "binding": binding(secret)}, key)
    except BaseException:
        os.unlink(nonce)
        raise


def commit(board: str | Path, agent: str, submitter: str, digest: str, key: str | Path | None = None) -> Entry:
    """Fix an agent in the open period."""
    period = book.read(board).open
    if period is None:
        raise ValueError("No period of this board is open, so nothing can be committed.")
    body = {"period": period.body["period"], "agent": agent, "submitter": submitter, "digest": digest}
    return book.append(board, "commit", body, key)


def reveal(board: str | Path, nonce: str | Path, key: str | Path | None = None) -> Entry:
    """Close the open period by its nonce: the seeds of all its commitments are known from now on."""
    period = book.read(board).open
    if period is None:
        raise ValueError("No period of this board is open, so there is no nonce to reveal.")
    secret = read_nonce(nonce)
    return book.append(board, "reveal", {"period": period.body["period"], "nonce": secret}, key)


def read_nonce(path: str | Path) -> str:
    """The nonce in a file."""
    return Path(path).read_text(encoding="ascii").strip()


def decide(
    board: str | Path,
    submission: str | Path,
    data: str | None = None,
    workers: int = 2,
    key: str | Path | None = None,
) -> tuple[Judgement, Entry | None]:
    """Judge a submission and write the verdict down.

    What is no submission at all has no digest by which it could be named, and no entry.
    """
    judgement = judge(submission, data, workers, book.read(board))
    return judgement, write_down(board, judgement, key) if judgement.digest else None


def execute(
    board: str | Path,
    commitment: int,
    folder: str | Path,
    card: Card,
    names: Sequence[str],
    nonce: str | Path,
    output: str | Path,
    data: str | None = None,
    key: str | Path | None = None,
    limits: Limits | None = None,
) -> tuple[Judgement, Entry]:
    """Run a committed agent in a sandbox on secret seeds, write its submission, and write the verdict down.

    Every run has a sandbox of its own, so that nothing is carried from one to the next. Whoever knows the nonce, once
    it is revealed, can replay the submission.

    Args:
        board: the book.
        commitment: number of the agent's commitment.
        folder: the agent's files; their digest must be the committed one.
        card: the agent's card.
        names: experiments; where they have a training budget, the agent learns within it before it plays.
        nonce: file of the nonce of the commitment's period.
        output: where the submission goes.
        data: folder of human data, where an experiment needs it.
        key: private key of the board, if it signs.
        limits: of each run.

    Raises:
        OSError: where there is no sandbox.
        ValueError: for an agent or nonce that is not the committed one, or unknown experiments.
    """
    reason = missing()
    if reason:
        raise OSError(f"{reason} Agents of strangers are not run without one.")
    ledger, secret = book.read(board), read_nonce(nonce)
    entry = ledger.commitment(commitment)
    for other in ledger.accepted():
        if other.body["commitment"] == commitment:
            raise ValueError(f"entry {other.index} is the one submission of commitment {commitment}.")
    period = next(opened for opened in ledger.of("open") if opened.body["period"] == entry.body["period"])
    if binding(secret) != period.body["binding"]:
        raise ValueError(f"{nonce} does not hold the nonce of period {period.body['period']}.")
    if (agent_digest(folder), card.name) != (entry.body["digest"], entry.body["agent"]):
        raise ValueError(f"{folder} and its card are not the agent that commitment {commitment} fixed.")
    digest = entry.body["digest"]
    seeds = {
        (name, run): committed_seeds(secret, digest, name, run, experiments.find(name).episodes)
        for name in names
        for run in experiments.find(name).seeds
    }
    try:
        records = [_played(folder, card.name, *job, evaluation, data, limits) for job, evaluation in seeds.items()]
        seal = {"board": ledger.id, "commitment": commitment, "agent": digest}
        content = pack(card, [to_text(record).encode() for record in records], seal=seal)
    except ValueError as error:  # the agent failed, or played what is no action
        named = hashlib.sha256(f"{digest}/{commitment}".encode()).hexdigest()
        failed = Judgement(str(folder), card.name, named, str(error), "", (), ())
        return failed, write_down(board, failed, key)
    write(output, content)
    due = {member(*job): tuple(evaluation) for job, evaluation in seeds.items()}
    written = open_submission(output)
    sums = written.manifest["files"]
    items = [Item(str(output), name, sums[name], card.name, due[name], data) for name in sorted(due)]
    judgement = conclude(output, written, replay_members(items), "executed")
    return judgement, write_down(board, judgement, key)


def _played(
    folder: str | Path,
    agent: str,
    name: str,
    run: int,
    evaluation: Sequence[int],
    data: str | None,
    limits: Limits | None,
) -> Record:
    """One run of an agent in a sandbox of its own: training, if there is any, and evaluation."""
    what = experiments.find(name)
    env = gym.make(what.env_id, **what.make_kwargs(data))
    with Remote(folder, env, (what.env_id, what.kwargs), run, limits) as player:
        if what.timesteps:
            player.learn(what.timesteps)
        return evaluate(player, agent, name, run, data, evaluation)


def collect(
    board: str | Path,
    inbox: str,
    folder: str | Path,
    publish: str | None = None,
    data: str | None = None,
    workers: int = 2,
    key: str | Path | None = None,
) -> Iterator[str]:
    """Judge what is new in an open wandb project, write it down, and publish what was accepted; a line for each step.

    A submission is known by the SHA-256 of its file: what the book has a verdict on is not judged again, whoever logs
    it once more, and what the public project holds is not published again. So a call that was cut short is repeated.

    Args:
        board: the book.
        inbox: "entity/project" where anybody may log submissions.
        folder: where they are downloaded to, one folder for each run.
        publish: "entity/project" that only the board writes to; None to publish nothing.
        data: folder of human data, where an experiment needs it.
        workers: parallel processes.
        key: private key of the board, if it signs.

    Raises:
        OSError: where the inbox cannot be read. A single submission that cannot be fetched is told in its line.
    """
    reading = read_project(inbox, folder, max_age=0)
    yield reading.message
    files: dict[str, Path] = {}
    for run in reading.runs:
        try:
            found = sorted((Path(folder) / run.id).glob("*.zip")) or fetch_submissions(inbox, run.id, folder)
        except (OSError, ValueError) as error:
            yield str(error)
            continue
        for path in found:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            judged = {entry.body["submission"] for entry in book.read(board).of("verdict")}
            if files.setdefault(digest, path) == path and digest not in judged:
                yield decide(board, path, data, workers, key)[0].text
    if publish is None:
        return
    ledger, there = book.read(board), read_project(publish, folder, max_age=0)
    yield there.message
    known = {run.config.get("submission") for run in there.runs}
    accepted = [entry.body["submission"] for entry in ledger.accepted()]
    todo = [files[digest] for digest in accepted if digest in files and digest not in known]
    entity, _, project = publish.partition("/")
    for judgement in judge_all(todo, data, workers, ledger):
        tracked = tracking.log_submission(judgement, Path(folder) / "published", "online", project, entity)
        yield f"{judgement.agent}: {tracked.message}"


def write_down(board: str | Path, judgement: Judgement, key: str | Path | None = None) -> Entry:
    """Add a judgement and its verified scores (estimate, low, high per experiment and point) to the ledger."""
    good = not judgement.reason
    scores = {
        score.experiment: {
            str(point): [None if x != x else float(x) for x in row]  # no interval where there is one value
            for point, row in zip(score.evaluation_points, estimates(score.values), strict=True)
        }
        for score in (from_verdicts(judgement.verdicts) if good else ())
    }
    body: dict[str, Any] = {
        "submission": judgement.digest,
        "agent": judgement.agent,
        "tier": judgement.tier,
        "reason": " ".join(judgement.reason.split())[:1000],
        "commitment": judgement.commitment if good else -1,
        "plays": played(judgement.verdicts) if good else {},
        "scores": scores,
    }
    return book.append(board, "verdict", body, key)


def line(entry: Entry) -> str:
    """An entry for people."""
    body = entry.body
    if entry.kind == "board":
        return f"board {body['name']}, {'signed by ' + body['key'] if body['key'] else 'unsigned'}"
    if entry.kind == "open":
        return f"period {body['period']} opens, bound to {body['binding']}"
    if entry.kind == "commit":
        return f"{body['agent']} by {body['submitter']} is fixed as {body['digest']} in period {body['period']}"
    if entry.kind == "reveal":
        return f"period {body['period']} closes, nonce {body['nonce']}"
    if body["reason"]:
        return f"rejected {body['agent']}, {body['submission'][:12]}: {body['reason']}"
    return (
        f"accepted {body['agent']}, {body['submission'][:12]}, {body['tier']}, on {', '.join(sorted(body['scores']))}"
    )


def show(ledger: Ledger) -> str:
    """A book for people, a line for each entry, and the digest to compare."""
    lines = [f"{entry.index:>5}  {line(entry)}" for entry in ledger.entries]
    return "\n".join((*lines, f"book of {len(lines)} entries, digest {ledger.tip}"))
