"""What the keeper of a board does: open and close periods, register commitments, judge submissions, write it down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from valuegym.leaderboards import ledger as book
from valuegym.leaderboards.aggregate import estimates
from valuegym.leaderboards.board import from_verdicts
from valuegym.leaderboards.commitment import binding, new_nonce
from valuegym.leaderboards.ledger import Entry, Ledger
from valuegym.leaderboards.trust import Judgement, judge, played


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


def write_down(
    board: str | Path, judgement: Judgement, key: str | Path | None = None, commitment: int | None = None
) -> Entry:
    """Add a judgement to the book, with the scores that it found true: per experiment and report, point, low, high."""
    good = not judgement.reason
    scores = {
        score.experiment: {
            str(report): [None if x != x else float(x) for x in row]  # no interval where there is one value
            for report, row in zip(score.reports, estimates(score.values), strict=True)
        }
        for score in (from_verdicts(judgement.verdicts) if good else ())
    }
    body: dict[str, Any] = {
        "submission": judgement.digest,
        "agent": judgement.agent,
        "tier": judgement.tier,
        "reason": " ".join(judgement.reason.split())[:1000],
        "commitment": (judgement.commitment if commitment is None else commitment) if good else -1,
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
