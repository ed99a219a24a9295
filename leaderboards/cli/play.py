"""Commands that play: `valuegym list` and `valuegym run`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from valuegym import envs
from valuegym.agents import AGENTS
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli.arguments import (
    Commitment,
    add_command,
    add_commitment,
    add_data,
    add_workers,
    read_commitment,
)
from valuegym.leaderboards.run import jobs, run_all
from valuegym.leaderboards.trust.judgement import commitment_seeds

__all__ = ["add_commands", "list_all", "run"]


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    add_command(commands, "list", _list, "list environments, agents and experiments", "valuegym list")
    sub = add_command(
        commands,
        "run",
        _run,
        "run agents on experiments and write replayable records; what is done already is skipped",
        "valuegym run --agent regret --experiment preference/boards-regret",
        "valuegym run --all --shard 3/8",
    )
    sub.add_argument("--agent", action="append", metavar="NAME", help="repeatable; default: all agents of each track")
    sub.add_argument(
        "--shard", type=_shard, default=(0, 1), metavar="I/N", help="only every N-th run from the I-th on, from 0"
    )
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("--experiment", action="append", metavar="ID", help="repeatable; see `valuegym list`")
    which.add_argument("--all", action="store_true", help="every experiment; those on human data where there are any")
    sub.add_argument(
        "--executor",
        choices=sorted(executors.EXECUTORS),
        default="pool",
        help="where runs are carried out: processes of this machine (pool), this process, or Ray (default: pool)",
    )
    sub.add_argument(
        "--seed", action="append", type=int, metavar="N", help="repeatable; default: all seeds of the experiment"
    )
    sub.add_argument("--results", default="results", metavar="FOLDER", help="where records go (default: results)")
    add_commitment(sub)
    add_data(sub)
    add_workers(sub)


def list_all() -> str:
    """Return environments, agents and experiments, a line each."""
    lines = ["environments"]
    lines += [f"  {id:<40} {', '.join(entry.tags)}" for id, entry in envs.ENVS.items()]
    lines += [f"  {id:<40} control  [extra: {row.extra}]" for id, row in envs.THIRD_PARTY.items()]
    lines += ["", "agents"]
    lines += [
        f"  {name:<40} {entry.about}{f'  [extra: {entry.extra}]' if entry.extra else ''}"
        for name, entry in AGENTS.items()
    ]
    lines += ["", "experiments"]
    for experiment in experiments.EXPERIMENTS.values():
        notes = [] if experiment.ranked else ["open book, not ranked"]
        notes += [f"needs {experiment.data}"] if experiment.data else []
        lines.append(f"  {experiment.id:<40} {experiment.about}{f'  [{chr(44).join(notes)}]' if notes else ''}")
    return "\n".join(lines)


def run(
    agents: Sequence[str] | None,
    names: Sequence[str],
    results: str,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
    workers: int = 2,
    commitment: Commitment | None = None,
    executor: str = "pool",
    shard: tuple[int, int] = (0, 1),
) -> list[Path]:
    """Run agents on experiments, on the seeds of a commitment where one is given; returns the records' paths.

    Of n shards, shard i is every n-th run from the i-th on.

    Raises:
        ValueError: for unknown agents, experiments or seeds, or other agents than the committed one.
        OSError: where the folder cannot be written.
    """
    draw = None
    if commitment:
        committed = commitment.entry.body["agent"]
        if list(agents or ()) != [committed]:
            raise ValueError(f"Commitment {commitment.entry.index} is that of {committed!r}; run that agent alone.")
        draw = partial(commitment_seeds, commitment.ledger, commitment.entry.index)
    return run_all(jobs(agents, names, results, seeds, data, draw)[shard[0] :: shard[1]], workers, executor)


def _list(args: argparse.Namespace) -> None:
    print(list_all())


def _run(args: argparse.Namespace) -> None:
    names = args.experiment
    if args.all:
        have = bool(args.data or os.environ.get("VALUEGYM_DATA"))
        names = [experiment.id for experiment in experiments.EXPERIMENTS.values() if have or not experiment.data]
    commitment = read_commitment(args)
    paths = run(
        args.agent, names, args.results, args.seed, args.data, args.workers, commitment, args.executor, args.shard
    )
    print("\n".join(map(str, paths)))


def _shard(text: str) -> tuple[int, int]:
    shard, _, shards = text.partition("/")
    if not (shard.isdigit() and shards.isdigit() and int(shard) < int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard; expected I/N with I from 0 to N - 1, as in 3/8")
    return int(shard), int(shards)
