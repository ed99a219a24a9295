"""Commands that play: `valuegym list` and `valuegym run`."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

from valuegym import envs
from valuegym.agents import AGENTS, references
from valuegym.envs import plugins, registration
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli.arguments import (
    Commitment,
    add_command,
    add_commitment,
    add_data,
    add_plugin,
    add_settings,
    add_workers,
    read_commitment,
)
from valuegym.leaderboards.cli.parsing import columns
from valuegym.leaderboards.plan import make_plan, misfits, why_not
from valuegym.leaderboards.run import jobs, run_all
from valuegym.leaderboards.trust.judgement import commitment_seeds

__all__ = ["add_commands", "fits", "list_all", "run"]


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    sub = add_command(
        commands,
        "list",
        _list,
        "list environments, agents and experiments, or which agents play on which tracks",
        "valuegym list",
        "valuegym list --agent my_agent.py:MyAgent",
        "valuegym list --track control/pendulum",
    )
    sub.add_argument("--agent", metavar="NAME", help="the tracks on which this agent plays, and why not on others")
    sub.add_argument("--track", metavar="ID", help="the agents that play on this track, and why others do not")
    add_plugin(sub)
    sub = add_command(
        commands,
        "run",
        _run,
        "run agents on experiments and write replayable records; what is done already is skipped",
        "valuegym run --agent regret --experiment preference/boards-regret",
        "valuegym run --agent my_agent.py:MyAgent --set width=32 --experiment preference/boards-regret",
        "valuegym run --agent sac:model.zip --experiment control/pendulum",
        "valuegym run --agent saved:vagram.safetensors --experiment control/pendulum",
        "valuegym run --agent regret --experiment my_track.py:TRACK",
        "valuegym run --all --shard 3/8",
    )
    sub.add_argument(
        "--agent",
        action="append",
        metavar="NAME",
        help=f"{references.KINDS}; repeatable; default: all agents of each track",
    )
    add_settings(sub)
    sub.add_argument(
        "--dry-run",
        action="store_true",
        help="check agents and tracks, print the runs and their measured costs, start none",
    )
    sub.add_argument("--overwrite", action="store_true", help="run again what is there already")
    sub.add_argument(
        "--shard", type=_shard, default=(0, 1), metavar="I/N", help="only every N-th run from the I-th on, from 0"
    )
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--experiment",
        action="append",
        metavar="ID",
        help="see `valuegym list`, or FILE.py:NAME of one's own; repeatable",
    )
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
    add_plugin(sub)


def list_all(width: int = 110) -> str:
    """Return environments, agents and experiments, each with words about it, in lines of at most so many columns."""
    lines = ["environments"]
    lines += [_entry(id, ", ".join(entry.tags), width) for id, entry in envs.ENVS.items()]
    lines += [_entry(id, f"control  [extra: {row.extra}]", width) for id, row in envs.THIRD_PARTY.items()]
    lines += [_entry(id, ", ".join(("own", *entry.tags)), width) for id, entry in registration.OWN.items()]
    for name, point in plugins.installed(registration.GROUP).items():
        id = registration.plugin_id(name, point)
        fault = getattr(gym.registry.get(id), "fault", "the id belongs to another environment")
        lines.append(_entry(id, f"plug-in: {point.value}{f'  [refused: {fault}]' if fault else ''}", width))
    lines += ["", "agents"]
    for name, one in AGENTS.items():
        lines.append(_entry(name, f"{one.about}{f'  [extra: {one.extra}]' if one.extra else ''}", width))
    lines += [
        _entry(name, f"plug-in: {point.value}", width) for name, point in plugins.installed(references.GROUP).items()
    ]
    lines += ["", "experiments"]
    for experiment in experiments.EXPERIMENTS.values():
        notes = [] if experiment.ranked else ["open book, not ranked"]
        notes += [f"needs {experiment.data}"] if experiment.data else []
        notes += [] if experiment.references is None else ["references declared by the author"]
        notes += [] if experiment.replayable else ["rewards are claims"]
        words = f"{experiment.about}{f'  [{chr(44).join(notes)}]' if notes else ''}"
        lines.append(_entry(experiment.id, words, width))
    for name, point in plugins.installed(experiments.GROUP).items():
        lines.append(_entry(name, f"plug-in: {point.value}; --plugin {name} loads it", width))
    return "\n".join(lines)


def _entry(name: str, words: str, width: int) -> str:
    """Return a name with words about it; in a narrow terminal, where they do not fit, they go on below."""
    column = 40 if width >= 100 else 28
    line = f"  {name:<{column}} {words}"
    if len(line) <= width or width >= 110:
        return line
    return "\n".join(
        textwrap.wrap(line, width, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False)
    )


def fits(agents: Sequence[str], tracks: Sequence[str], data: str | None = None) -> str:
    """Return a line for each agent and track: that the agent plays there, or why not. Each agent is made for it."""
    width = max(map(len, (*agents, *tracks)))
    lines = []
    for agent in agents:
        for track in tracks:
            reason = why_not(agent, track, data)
            lines.append(
                f"  {agent if len(agents) > 1 else track:<{width}}  {f'no: {reason[:200]}' if reason else 'plays'}"
            )
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
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> list[Path]:
    """Run agents on experiments, on the seeds of a commitment where one is given; returns the records' paths.

    Of n shards, shard i is every n-th run from the i-th on. Agents from outside are made once before anything starts,
    to see whether they fit. A dry run prints what there is to do, and starts nothing. Each experiment runs those of the
    seeds that are its own.

    Raises:
        ValueError: for unknown agents, experiments or seeds, other agents than the committed one, an agent that does
            not play on a track, or one that was edited after it made the records that are there.
        OSError: where the folder cannot be written.
    """
    draw = None
    if commitment:
        committed = commitment.entry.body["agent"]
        if list(agents or ()) != [committed]:
            raise ValueError(f"Commitment {commitment.entry.index} is that of {committed!r}; run that agent alone.")
        draw = partial(commitment_seeds, commitment.ledger, commitment.entry.index)
    names = experiments.resolve(names)
    known = {name: experiments.find(name).seeds for name in names}
    for seed in seeds or ():
        if not any(seed in own for own in known.values()):
            name, own = next(iter(known.items()))
            raise ValueError(
                f"seed is {seed}; expected one of the experiment's, for {name} {', '.join(map(str, own))}."
            )
    chosen = jobs(agents, names, results, seeds, data, draw, settings)
    chosen = [job for job in chosen if job.seed in known[job.experiment]][shard[0] :: shard[1]]
    plan = make_plan(chosen, overwrite)
    wrong = misfits(plan.todo, executor)  # what is there has fitted
    if wrong:
        raise ValueError("\n".join(wrong))
    if plan.edited:
        first = plan.edited[0]
        raise ValueError(
            f"{len(plan.edited)} records, the first {first.path}, were made by another version of {first.agent}; "
            "--overwrite makes them again, or give the file another name."
        )
    if dry_run:
        print(plan.text())
        return []
    if plan.done:
        print(plan.text().partition("\n")[0], file=sys.stderr)
    return run_all([job._replace(overwrite=overwrite) for job in chosen], workers, executor)


def _list(args: argparse.Namespace) -> None:
    if not args.agent and not args.track:
        print(list_all(columns()))
        return
    tracks = experiments.resolve([args.track]) if args.track else list(experiments.EXPERIMENTS)
    print(fits([args.agent] if args.agent else list(AGENTS), tracks))


def _run(args: argparse.Namespace) -> None:
    names = args.experiment
    if args.all:
        have = bool(args.data or os.environ.get("VALUEGYM_DATA"))
        names = [experiment.id for experiment in experiments.EXPERIMENTS.values() if have or not experiment.data]
    commitment = read_commitment(args)
    paths = run(
        args.agent,
        names,
        args.results,
        args.seed,
        args.data,
        args.workers,
        commitment,
        args.executor,
        args.shard,
        dict(args.set),
        args.overwrite,
        args.dry_run,
    )
    if paths:
        print("\n".join(map(str, paths)))


def _shard(text: str) -> tuple[int, int]:
    shard, _, shards = text.partition("/")
    if not (shard.isdigit() and shards.isdigit() and int(shard) < int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard; expected I/N with I from 0 to N - 1, as in 3/8")
    return int(shard), int(shards)
