"""The command `valuegym completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
from typing import Any

from valuegym.envs import extras
from valuegym.leaderboards.cli.arguments import add_command

__all__ = ["SHELLS", "add_commands", "script"]

SHELLS = ("bash", "zsh", "tcsh")


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    sub = add_command(
        commands,
        "completion",
        _completion,
        "print the script that lets a shell complete commands and options (extra: completion)",
        "valuegym completion bash",
    )
    sub.description = """Print the script that lets a shell complete commands and options (extra: completion).

bash: valuegym completion bash > ~/.local/share/bash-completion/completions/valuegym
zsh:  valuegym completion zsh > ~/.zfunc/_valuegym    (with fpath+=~/.zfunc before compinit)
tcsh: valuegym completion tcsh > ~/.valuegym.tcsh     (and source it in ~/.tcshrc)"""
    sub.add_argument("shell", choices=SHELLS)


def script(shell: str) -> str:
    """Return the script for a shell.

    Raises:
        ImportError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise ImportError(f"Completion needs shtab: {extras.hint('completion')} ({error}).") from error
    from valuegym.leaderboards.cli.main import parser

    written: str = shtab.complete(parser(), shell=shell)
    return written


def _completion(args: argparse.Namespace) -> None:
    print(script(args.shell))
