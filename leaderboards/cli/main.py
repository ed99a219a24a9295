"""The command `valuegym`: its parser, put together from the groups of commands, and its entry point."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from valuegym import __version__
from valuegym.leaderboards.cli import (
    board,
    completion,
    data,
    demo,
    doctor,
    keyboard,
    language,
    leaderboard,
    new,
    online,
    play,
    records,
    train,
    tune,
)
from valuegym.leaderboards.cli.arguments import add_quiet, load_plugins
from valuegym.leaderboards.cli.parsing import Parser, printable_streams, quiet
from valuegym.leaderboards.executors import JobsFailed

__all__ = ["main", "parser"]

GROUPS = (
    play,
    keyboard,
    train,
    tune,
    new,
    records,
    board,
    leaderboard,
    online,
    data,
    language,
    demo,
    doctor,
    completion,
)  # `parsing.HEADINGS` puts the commands in order


def parser() -> Parser:
    """Build the parser of all commands; a parsed command holds its function as `function`."""
    top = Parser(
        prog="valuegym",
        description="Environments about value, agents, and leaderboards that anyone can replay.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  valuegym list\n"
        "  valuegym play Delivery\n"
        "  valuegym run --agent regret --experiment preference/boards-regret\n"
        "  valuegym run --agent my_agent.py:MyAgent --experiment preference/boards-regret\n"
        "  valuegym run --agent sac:model.zip --experiment control/pendulum\n"
        "  valuegym train --agent vagram --experiment control/pendulum --output models\n"
        "  valuegym verify results\n"
        "  valuegym submit results --card card.json\n"
        "  valuegym verify my-agent.zip\n"
        "  valuegym leaderboard results\n"
        "  valuegym data check human-delivery --data FOLDER\n"
        "  valuegym values my-model --base base-model",
    )
    top.add_argument("--version", action="version", version=f"valuegym {__version__}")
    add_quiet(top)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for group in GROUPS:
        group.add_commands(commands)
    return top


def _printable(error: BaseException) -> str:
    """Return the text of an error without what a terminal would obey: names in it may be those of files of others."""
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in str(error))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0 when done, 1 if a record was rejected or a run failed, 2 for bad input, 130 if ended.

    Without a command it lists them.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores by processes, not by threads
    printable_streams()
    if not (sys.argv[1:] if argv is None else argv):
        print(parser().overview())
        return 0
    try:
        args = parser().parse_args(argv)
        with quiet(getattr(args, "quiet", False)) as kept:
            if getattr(args, "plugin", None):
                load_plugins(args)
            status: int | None = args.function(args)
        if status:
            sys.stderr.write(kept.getvalue())
        return status or 0
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError, FloatingPointError) as error:  # the last: an agent has diverged
        print(f"valuegym: {_printable(error)}", file=sys.stderr)
        return 2
    except JobsFailed as error:
        print(f"valuegym: {_printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        kept_back = str(error) or "what is finished is kept"
        words = kept_back if kept_back.endswith(".") else f"{kept_back}, the same command goes on from here."
        print(f"valuegym: interrupted; {words}", file=sys.stderr)
        return 130
