"""The command `valuegym board`: a board operator's work, from the first line of a ledger to its verdicts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from valuegym.leaderboards.board import operations
from valuegym.leaderboards.cli.arguments import Function, add_command, add_data, add_plugin, add_workers, read_key
from valuegym.leaderboards.records.submission import read_card
from valuegym.leaderboards.trust.judgement import Judgement
from valuegym.leaderboards.trust.ledger import LedgerEntry

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the command of this file and its actions to the parser."""
    help = "operate a board: periods, commitments and signed verdicts in one ledger"
    sub = add_command(commands, "board", None, help, "valuegym board judge board.jsonl regret.zip --key board-key")
    actions = sub.add_subparsers(dest="action", required=True, metavar="action")
    _add_periods(actions)
    _add_verdicts(actions)
    sub = _add_action(actions, "show", _show, "check a ledger and print it", "--board-key board-key.pub", writes=False)
    sub.add_argument("--board-key", metavar="FILE", help="the board's public key, as it is published")
    help = "a head that was published, <number>:<SHA-256>, which the ledger must still hold; repeatable"
    sub.add_argument("--head", action="append", metavar="HEAD", help=help)


def _add_action(
    actions: Any, name: str, function: Function, help: str, example: str, writes: bool = True
) -> argparse.ArgumentParser:
    sub = add_command(actions, name, function, help, f"valuegym board {name} board.jsonl {example}")
    sub.add_argument("board", help="the board's ledger")
    if writes:
        sub.add_argument("--key", metavar="FILE", help="private ssh key of the board, for boards that sign")
    return sub


def _add_nonce(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--nonce", required=True, metavar="FILE", help="file of the secret nonce")


def _add_periods(actions: Any) -> None:
    sub = _add_action(actions, "begin", _begin, "begin a ledger", '--name "My board" --key board-key')
    sub.add_argument("--name", required=True, help="what the board is called")
    example = "--nonce nonce.txt --key board-key"
    _add_nonce(_add_action(actions, "open", _open, "open a period", example))
    _add_nonce(_add_action(actions, "reveal", _reveal, "close the period and reveal its nonce", example))
    example = '--agent my-agent --submitter "A. Person" --digest DIGEST --experiment preference/boards-regret'
    sub = _add_action(actions, "commit", _commit, "fix an agent by its digest while a period is open", example)
    sub.add_argument("--agent", required=True, metavar="NAME", help="the agent's name")
    sub.add_argument("--submitter", required=True, help="who submits; one commitment each in a period")
    sub.add_argument("--digest", required=True, help="SHA-256 of the agent: `valuegym digest FOLDER`")
    help = "a track the agent is for, which cannot be changed afterwards; repeatable"
    sub.add_argument("--experiment", action="append", required=True, metavar="ID", help=help)


def _add_verdicts(actions: Any) -> None:
    help = "replay a submission and record the verdict"
    sub = _add_action(actions, "judge", _judge, help, "regret.zip --key board-key")
    sub.add_argument("submission", help="the submission file")
    add_data(sub)
    add_workers(sub)
    add_plugin(sub)
    help = "run a committed agent in a sandbox on secret seeds and record the verdict"
    example = "my-agent/ --commitment 2 --nonce nonce.txt"
    sub = _add_action(actions, "execute", _execute, help, example)
    sub.add_argument("folder", help="the agent's folder, with agent.py and make(env, seed)")
    sub.add_argument("--card", default="card.json", metavar="FILE", help="the agent's card (default: card.json)")
    sub.add_argument(
        "--commitment", type=int, required=True, metavar="N", help="number of the commitment in the ledger"
    )
    _add_nonce(sub)
    sub.add_argument("--output", metavar="FILE", help="where the submission goes (default: FOLDER.zip)")
    add_data(sub)
    add_plugin(sub)
    help = "judge what is new in an open wandb project, and publish what was accepted in another"
    sub = _add_action(actions, "collect", _collect, help, "--inbox lab/inbox --publish lab/board --key board-key")
    sub.add_argument("--inbox", required=True, metavar="ENTITY/PROJECT", help="where anybody may log submissions")
    sub.add_argument("--publish", metavar="ENTITY/PROJECT", help="the public project (default: publish nothing)")
    sub.add_argument("--folder", default="inbox", metavar="FOLDER", help="where submissions go (default: inbox)")
    add_data(sub)
    add_workers(sub)
    add_plugin(sub)


# --- actions ---


def _begin(args: argparse.Namespace) -> None:
    _print_entry(args.board, operations.begin(args.board, args.name, args.key))


def _open(args: argparse.Namespace) -> None:
    _print_entry(args.board, operations.open_period(args.board, args.nonce, args.key))


def _commit(args: argparse.Namespace) -> None:
    entry = operations.commit(args.board, args.agent, args.submitter, args.digest, args.experiment, args.key)
    _print_entry(args.board, entry)


def _reveal(args: argparse.Namespace) -> None:
    _print_entry(args.board, operations.reveal(args.board, args.nonce, args.key))


def _judge(args: argparse.Namespace) -> int:
    return _print_verdict(
        args.board, *operations.judge_and_record(args.board, args.submission, args.data, args.workers, args.key)
    )


def _execute(args: argparse.Namespace) -> int:
    card, output = read_card(args.card), args.output or f"{Path(args.folder).name}.zip"
    verdict = operations.execute(
        args.board, args.commitment, args.folder, card, args.nonce, output, args.data, args.key
    )
    return _print_verdict(args.board, *verdict)


def _collect(args: argparse.Namespace) -> None:
    for line in operations.collect(
        args.board, args.inbox, args.folder, args.publish, args.data, args.workers, args.key
    ):
        print(line, flush=True)


def _show(args: argparse.Namespace) -> None:
    print(operations.show(args.board, read_key(args.board_key), args.head or ()))


def _print_entry(board: str, entry: LedgerEntry) -> None:
    print(f"entry {entry.index} of {board}: {operations.describe_entry(entry)}")


def _print_verdict(board: str, judgement: Judgement, entry: LedgerEntry | None) -> int:
    """Print a judgement and the number of its entry, if it has one; returns 1 for a rejected submission."""
    written = [f"entry     {entry.index} of {board}, head {entry.index}:{entry.digest}"] if entry else []
    print("\n".join([judgement.text, *written]))
    return int(bool(judgement.reason))
