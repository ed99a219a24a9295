"""The command `valuegym leaderboard`: tables, site and wandb runs of what was verified."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from valuegym.envs import extras
from valuegym.leaderboards.cli.arguments import (
    add_board,
    add_command,
    add_data,
    add_format,
    add_plugin,
    add_results,
    add_track,
    add_workers,
    read_board,
    tracking_mode,
)
from valuegym.leaderboards.cli.parsing import columns
from valuegym.leaderboards.cli.records import render_verdicts
from valuegym.leaderboards.standings import export, text
from valuegym.leaderboards.standings.entries import merge_submissions
from valuegym.leaderboards.standings.gather import Score, from_verdicts
from valuegym.leaderboards.trust.judgement import Judgement, judge_all
from valuegym.leaderboards.verification.verify import Verdict, verify_all

__all__ = ["add_commands", "leaderboard", "log_records", "write_report"]


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    sub = add_command(
        commands,
        "leaderboard",
        _leaderboard,
        "verify records and submissions, print the tables, write the site and the wandb runs",
        "valuegym leaderboard results --track off",
        "valuegym leaderboard results --board board.jsonl --board-key board-key.pub",
        "valuegym leaderboard results --track off --format csv",
    )
    add_results(sub)
    add_board(sub, "for submissions on its seeds or executed by it")
    add_data(sub)
    add_workers(sub)
    add_plugin(sub)
    add_track(sub)
    add_format(sub)
    sub.add_argument(
        "--report", metavar="ENTITY/PROJECT", help="also as a wandb report, where wandb-workspaces is installed"
    )


def leaderboard(
    verdicts: Sequence[Verdict], results: str, track: str = "offline", judgements: Sequence[Judgement] = ()
) -> str:
    """Write the site of verified records and accepted submissions, and the wandb runs of the records.

    Returns:
        The tables, and where everything lies.

    Raises:
        ValueError: where no record and no submission was accepted.
        OSError: where the site cannot be written.
    """
    loose = from_verdicts(verdicts)
    scores, entries = merge_submissions(loose, judgements)
    if not scores:
        raise ValueError(f"No record in {results} was found true, so there is nothing to put on a board.")
    lines = [text.render_text(scores, columns())]
    try:
        from valuegym.leaderboards.site.pages import write_site

        lines.append(f"site   {write_site(scores, Path(results) / 'site', submissions=entries).resolve()}")
    except ImportError:
        lines.append(f"site   not written: {extras.hint('site')} for the plots")
    if track != "off":  # submissions are logged one by one, by `valuegym verify --track`
        lines += log_records(verdicts, loose, results, track)
    return "\n".join(lines)


def log_records(verdicts: Sequence[Verdict], scores: Sequence[Score], results: str, mode: str) -> list[str]:
    """Log one wandb run for each agent that is not a reference, with its records; returns a line for each."""
    from valuegym.leaderboards.tracking.log import log_agents

    records = [(Path(verdict.path), verdict.record) for verdict in verdicts if verdict.record is not None]
    lines = []
    try:
        for agent, tracked in log_agents(records, scores, Path(results), mode):
            lines.append(f"wandb  {agent}: {tracked.message}")
    except (ImportError, RuntimeError) as error:
        return [f"wandb  not logged: {error}"]
    return lines


def write_report(scores: Sequence[Score], results: str, project: str) -> str:
    """Write the tables to results/report.md, and as a report in a wandb project if possible; returns where they are."""
    from valuegym.leaderboards.records.record import write_atomically
    from valuegym.leaderboards.tracking.online import publish_report

    path, content = Path(results) / "report.md", text.render_markdown(scores)
    write_atomically(path, f"{content}\n")
    where = f"report {path}"
    try:
        return f"{where} and {publish_report(project, 'valuegym leaderboards', content, results)}"
    except (ImportError, OSError) as error:
        return f"{where}; {error}"


def _leaderboard(args: argparse.Namespace) -> None:
    output = sys.stderr if args.format else sys.stdout  # where a table is for a program, all else goes
    ledger = read_board(args.board, args.board_key)
    judgements = judge_all(sorted(Path(args.results).glob("*.zip")), args.data, args.workers, ledger)
    lines = [judgement.text for judgement in judgements]
    verdicts: Sequence[Verdict] = ()
    if not judgements or any(Path(args.results).rglob("seed-*.jsonl")):
        verdicts = verify_all(args.results, args.data, args.workers)
        lines.append(render_verdicts(verdicts))
    print("\n".join(lines), file=output)  # first, for the board may come to nothing because of what they say
    print(f"\n{leaderboard(verdicts, args.results, tracking_mode(args), judgements)}", file=output)
    scores = merge_submissions(from_verdicts(verdicts), judgements)[0] if args.report or args.format else []
    if args.report:
        print(write_report(scores, args.results, args.report), file=output)
    if args.format:
        print(export.FORMATS[args.format](scores), end="")
