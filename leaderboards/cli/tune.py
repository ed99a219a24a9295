"""The command `valuegym tune`: settings of an agent, searched on seeds that no evaluation uses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli.arguments import add_command, add_data, add_plugin, add_workers, positive
from valuegym.leaderboards.cli.search import Search, Trial, best, search
from valuegym.leaderboards.records.costs import duration

__all__ = ["add_commands", "flags"]


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    sub = add_command(
        commands,
        "tune",
        _tune,
        "search for settings of an agent by Optuna, on seeds of their own, and print the best ones",
        "valuegym tune --agent sac --experiment control/pendulum --trials 20 --output sac-pendulum.jsonl",
        "valuegym tune --agent my_agent.py:MyAgent --experiment control/lqr --trials 50 --output mine.jsonl",
    )
    sub.description = """Search for settings of an agent on an experiment by Optuna, and print the best ones.

Trial 0 has the agent's own settings; the others lie within the bounds that the agent declares
(search_space). Runs and episodes of the search have seeds that neither training nor evaluation
of the experiment uses. Every trial is kept in the output: the same command goes on after an
interruption, and more --trials add to those that are there."""
    sub.add_argument("--agent", required=True, metavar="NAME", help="a name of `valuegym list`, or one of your own")
    sub.add_argument("--experiment", required=True, metavar="ID", help="see `valuegym list`, or FILE.py:NAME")
    sub.add_argument("--trials", type=positive, default=20, metavar="N", help="in all (default: 20)")
    sub.add_argument("--runs", type=positive, default=2, metavar="N", help="runs of each trial (default: 2)")
    sub.add_argument("--timesteps", type=positive, metavar="N", help="steps of training (default: the experiment's)")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="of the search (default: 0)")
    sub.add_argument("--output", required=True, metavar="FILE", help="JSON lines, one for each trial")
    sub.add_argument(
        "--executor",
        choices=sorted(executors.EXECUTORS),
        default="pool",
        help="where the runs of a trial are carried out (default: pool)",
    )
    add_data(sub)
    add_workers(sub)
    add_plugin(sub)


def flags(settings: dict[str, Any]) -> str:
    """Return settings as options of `valuegym run`."""
    return " ".join(
        f"--set {name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings.items()
    )


def _line(number: int, trial: Trial) -> str:
    result = f"failed: {trial.reason}" if trial.score is None else f"{trial.score:.3f}"
    return f"trial {number}  {result}  {duration(trial.seconds)}  {flags(trial.settings) or '(its own settings)'}"


def _tune(args: argparse.Namespace) -> int:
    [name] = experiments.resolve([args.experiment])
    plan = Search(args.agent, name, args.runs, args.timesteps, args.seed)

    def report(number: int, trial: Trial) -> None:
        print(_line(number, trial), file=sys.stderr, flush=True)

    trials = search(plan, Path(args.output), args.trials, args.data, args.workers, args.executor, report)
    number = best(trials)
    if number is None:
        print(f"All {len(trials)} trials failed, the last one: {trials[-1].reason}", file=sys.stderr)
        return 1
    found = trials[number]
    own = "failed" if trials[0].score is None else f"{trials[0].score:.3f}"
    print(f"best    trial {number} of {len(trials)}: {found.score:.3f}; the agent's own settings: {own}")
    print("        (the highest of several scores on the seeds of the search, so expect less on others)")
    print(f"next    valuegym run --agent {args.agent} --experiment {args.experiment} {flags(found.settings)}".rstrip())
    return 0
