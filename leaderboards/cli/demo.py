"""The command `valuegym demo`: one comparison from start to page."""

from __future__ import annotations

import argparse
from typing import Any

from valuegym.leaderboards.cli.arguments import add_command, add_data, add_track, add_workers, tracking_mode
from valuegym.leaderboards.cli.leaderboard import leaderboard
from valuegym.leaderboards.cli.play import run
from valuegym.leaderboards.cli.records import render_verdicts
from valuegym.leaderboards.verification.verify import verify_all

__all__ = ["add_commands", "demo"]

EXPERIMENTS = ("preference/boards-regret", "preference/boards-partial-return")
AGENTS = ("uniform", "constant", "partial_return", "regret", "oracle")
ON_HUMAN_DATA = "preference/human-privileged-control"


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    help = "run the main comparison from start to page, in minutes"
    sub = add_command(commands, "demo", _demo, help, "valuegym demo --results demo --track off")
    sub.add_argument("--results", default="results", metavar="FOLDER", help="where everything goes (default: results)")
    add_data(sub)
    add_workers(sub)
    add_track(sub)


def demo(results: str, data: str | None = None, workers: int = 2, track: str = "offline") -> str:
    """Run two learners and three references under two annotators on random boards, verify them and write the site.

    With a folder of human data, also on people's answers. Returns verdicts, tables and where everything lies.
    """
    run(AGENTS, [*EXPERIMENTS, *([ON_HUMAN_DATA] if data else [])], results, data=data, workers=workers)
    verdicts = verify_all(results, data, workers)
    return "\n".join((render_verdicts(verdicts), "", leaderboard(verdicts, results, track)))


def _demo(args: argparse.Namespace) -> None:
    print(demo(args.results, args.data, args.workers, tracking_mode(args)))
