"""Arguments that several commands share, and how a command is added to the parser."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from valuegym.leaderboards import experiments
from valuegym.leaderboards.trust.ledger import Ledger, LedgerEntry, read_ledger

__all__ = [
    "Commitment",
    "Function",
    "add_board",
    "add_command",
    "add_commitment",
    "add_data",
    "add_format",
    "add_plugin",
    "add_quiet",
    "add_results",
    "add_settings",
    "add_track",
    "add_workers",
    "load_plugins",
    "positive",
    "read_board",
    "read_commitment",
    "read_key",
    "tracking_mode",
]

OF_AGENT = (
    "a setting of the agent's constructor, as JSON or text; repeatable; the agent's name in records gets a hash of its "
    "settings"
)
Function = Callable[[argparse.Namespace], int | None]  # carries out a parsed command; None is exit status 0


def add_command(
    commands: Any, name: str, function: Function | None, help: str, *examples: str
) -> argparse.ArgumentParser:
    """Add a command whose help ends with examples; function None for one that has subcommands."""
    sub: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n  ".join((f"example{'s' * (len(examples) > 1)}:", *examples)),
    )
    if function is not None:
        sub.set_defaults(function=function)
        add_quiet(sub)
    return sub


def add_quiet(sub: argparse.ArgumentParser) -> None:
    """Add the option that keeps progress and notes back."""
    sub.add_argument(
        "--quiet",
        action="store_true",
        default=argparse.SUPPRESS,  # so that it may stand before the command or after it
        help="print results and errors only, no progress and no notes",
    )


def add_results(sub: argparse.ArgumentParser, what: str = "results folder") -> None:
    """Add the argument that names what to read."""
    sub.add_argument("results", nargs="?", default="results", help=f"{what} (default: results)")


def add_data(sub: argparse.ArgumentParser) -> None:
    """Add the option that names the folder of human data."""
    sub.add_argument(
        "--data", metavar="FOLDER", help="folder with the human data (default: the variable VALUEGYM_DATA)"
    )


def add_plugin(sub: argparse.ArgumentParser) -> None:
    """Add the option that names experiments from outside, whose code the user trusts."""
    sub.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="load experiments from FILE.py:NAME, PACKAGE.MODULE:NAME or an installed PACKAGE, whose code then runs "
        "here; repeatable",
    )


def add_settings(sub: argparse.ArgumentParser, help: str = OF_AGENT) -> None:
    """Add the option that gives settings, of an agent by default."""
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_setting,
        help=help,
    )


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not a setting; expected NAME=VALUE, as in width=32")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def load_plugins(args: argparse.Namespace) -> None:
    """Load the experiments that --plugin names."""
    for text in args.plugin:
        experiments.load(text)


def add_format(sub: argparse.ArgumentParser) -> None:
    """Add the option that prints tables for programs."""
    sub.add_argument(
        "--format",
        choices=("csv", "json", "latex"),
        help="print the standings in this format, and all else to the errors' stream (default: tables for people)",
    )


def add_workers(sub: argparse.ArgumentParser) -> None:
    """Add the option that says how many processes work in parallel."""
    sub.add_argument(
        "--workers", type=positive, default=os.cpu_count() or 1, help="parallel processes (default: one per core)"
    )


def add_track(sub: argparse.ArgumentParser) -> None:
    """Add the option that says whether runs are logged to wandb."""
    sub.add_argument(
        "--track",
        choices=("offline", "online", "off"),
        default=None,
        help="wandb (default: WANDB_MODE if set, else offline)",
    )


def tracking_mode(args: argparse.Namespace) -> str:
    """Return "offline", "online" or "off": the option, else what WANDB_MODE says, else offline."""
    return args.track or {"online": "online", "disabled": "off"}.get(os.environ.get("WANDB_MODE", ""), "offline")


def add_board(sub: argparse.ArgumentParser, purpose: str) -> None:
    """Add the options that name a board's ledger and its public key."""
    sub.add_argument("--board", metavar="BOARD", help=f"a board's ledger, {purpose}")
    sub.add_argument("--board-key", metavar="FILE", help="the board's public key, as it is published")


def read_key(path: str | None) -> str | None:
    """Read the public key in a file; None for no file."""
    return None if path is None else Path(path).read_text(encoding="utf-8")


def read_board(path: str | None, key_file: str | None) -> Ledger | None:
    """Read and check a board's ledger against a file with its public key; None for no ledger."""
    return read_ledger(path, read_key(key_file)) if path else None


class Commitment(NamedTuple):
    """A commitment and the ledger that holds it."""

    ledger: Ledger
    entry: LedgerEntry

    @property
    def seal(self) -> dict[str, object]:
        """Statement of a submission about the commitment whose seeds it played."""
        return {"board": self.ledger.id, "commitment": self.entry.index, "agent": self.entry.body["digest"]}


def add_commitment(sub: argparse.ArgumentParser) -> None:
    """Add the options that name a commitment."""
    sub.add_argument("--board", metavar="BOARD", help="a board's ledger, to play on the seeds of a commitment")
    sub.add_argument("--commitment", type=int, metavar="N", help="number of the commitment in the ledger")


def read_commitment(args: argparse.Namespace) -> Commitment | None:
    """Read the commitment that a command was given, None for none.

    Raises:
        ValueError: for a board without a commitment or the reverse, or a ledger that does not hold it.
    """
    if args.board is None and args.commitment is None:
        return None
    if args.board is None or args.commitment is None:
        raise ValueError("Committed seeds need both: --board BOARD --commitment N.")
    found = read_ledger(args.board)
    return Commitment(found, found.commitment(args.commitment))


def positive(text: str) -> int:
    """Parse a positive number.

    Raises:
        argparse.ArgumentTypeError: for any other text.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)
