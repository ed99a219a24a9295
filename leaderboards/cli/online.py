"""The commands `valuegym online`, which shows what a wandb project holds, and `valuegym sync`, which uploads to one."""

from __future__ import annotations

import argparse
from typing import Any

from valuegym.leaderboards.cli.arguments import add_board, add_command, add_results, read_board

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    sub = add_command(
        commands,
        "online",
        _online,
        "show what a wandb project holds: an open inbox, or a public board",
        "valuegym online lab/board --fresh",
    )
    sub.add_argument("project", metavar="ENTITY/PROJECT", help="the project")
    sub.add_argument("--tag", action="append", metavar="TAG", help="only runs with this tag; repeatable")
    sub.add_argument("--results", default="results", metavar="FOLDER", help="where copies are kept (default: results)")
    sub.add_argument(
        "--fresh", action="store_true", help="ask the server even if there is a copy from the last five minutes"
    )
    add_board(sub, "whose verdicts give the tiers; without it every score is as claimed")

    sub = add_command(
        commands,
        "sync",
        _sync,
        "upload offline wandb runs, from wherever they were moved to; exits with 1 if one could not be",
        "valuegym sync results",
    )
    add_results(sub, "results folder, or the folder of one offline run")


def _sync(args: argparse.Namespace) -> int:
    from valuegym.leaderboards.tracking.log import sync_offline

    status = 0
    for run, reason in sync_offline(args.results):
        print(f"not uploaded  {run}: {reason}" if reason else f"uploaded  {run}")
        status |= bool(reason)
    return status


def _online(args: argparse.Namespace) -> None:
    from valuegym.leaderboards.tracking.online import MAX_AGE, read_project, render

    age = 0.0 if args.fresh else MAX_AGE
    ledger = read_board(args.board, args.board_key)
    print(render(read_project(args.project, args.results, age, args.tag or ()), ledger))
