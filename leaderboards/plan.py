"""Plans: what a call of `valuegym run` will do, checked before anything starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym

from valuegym.agents import make, references
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records.costs import duration, mean_costs
from valuegym.leaderboards.records.record import MAX_BYTES
from valuegym.leaderboards.run import Job

__all__ = ["Plan", "agent_of_record", "make_plan", "misfits", "why_not"]


class Plan(NamedTuple):
    """Jobs by what is there already.

    Attributes:
        todo: jobs without a record.
        done: jobs whose record is there.
        edited: those of `done` whose agent, or the weights of whose model, have been edited since.
    """

    todo: list[Job]
    done: list[Job]
    edited: list[Job]

    def text(self) -> str:
        """Return a line about what is there already, one for every job that is to do, and what all of them cost.

        Costs are means over finished runs of the same agent, settings and experiment in the same results folder.
        """
        total = len(self.todo) + len(self.done)
        lines = [f"{len(self.done)} of {total} runs already there"] if self.done else []
        costs = {folder: mean_costs(Path(folder)) for folder in {job.folder for job in self.todo}}
        known = [costs[job.folder].get((job.name, job.experiment)) for job in self.todo]
        words = ["not measured" if seconds is None else duration(seconds) for seconds in known]
        width = max(map(len, words), default=0)
        lines += [f"to do  {word:<{width}}  {job.path}" for word, job in zip(words, self.todo, strict=True)]
        measured = [seconds for seconds in known if seconds is not None]
        if measured:
            rest = "" if len(measured) == len(known) else f"; {len(known) - len(measured)} not measured"
            lines.append(f"total  {duration(sum(measured))} of one processor{rest}")
        elif known:
            lines.append("total  not measured")
        return "\n".join(lines)


def agent_of_record(path: Path) -> dict[str, Any]:
    """Return what the header of a record says of its agent from outside, {} where it says nothing or is damaged."""
    with path.open("rb") as stream:
        line = stream.readline(MAX_BYTES)
    try:
        about = json.loads(line)["provenance"].get("agent", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def make_plan(jobs: Sequence[Job], overwrite: bool = False) -> Plan:
    """Sort jobs into those to do and those whose record is there; with `overwrite`, all are to do.

    Raises:
        ValueError: a job's agent cannot be found.
    """
    if overwrite:
        return Plan(list(jobs), [], [])
    todo = [job for job in jobs if not job.path.is_file()]
    done = [job for job in jobs if job.path.is_file()]
    whose = {(job.agent, job.settings) for job in done}
    now = {(agent, text): _version(references.origin(agent, references.settings_of(text))) for agent, text in whose}
    edited = [job for job in done if now[job.agent, job.settings] != _version(agent_of_record(job.path))]
    return Plan(todo, done, edited)


def _version(about: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the SHA-256s of an agent's source and of the weights of its model, None where there are none."""
    return about.get("source"), about.get("weights")


def why_not(agent: str, experiment: str, data: str | None = None, settings: Mapping[str, Any] | None = None) -> str:
    """Return why an agent does not play on a track, by making it for the track's environment; "" if it does."""
    what = experiments.find(experiment)
    try:
        make(agent, gym.make(what.env_id, **what.make_kwargs(data)), seed=0, **(settings or {}))
    except (ValueError, TypeError, OSError, ImportError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def misfits(jobs: Sequence[Job], executor: str = "pool") -> list[str]:
    """Return a sentence for every agent and track of these jobs that do not fit; a track of valuegym fits its own list.

    Agents are made by the executor, as the runs make them: what one of them does to its process harms no other.

    Raises:
        ValueError: for an unknown executor.
        JobsFailed: making an agent raises another error than those of one that does not fit, or ends its process.
    """
    pairs = {(job.agent, job.experiment, job.settings): job for job in jobs}
    strange = [
        job
        for job in pairs.values()
        if job.settings
        or job.experiment not in experiments.SUITE
        or job.agent not in experiments.find(job.experiment).agents
    ]
    work = experiments.in_workers(_why_not)
    reasons = executors.parallel_map(work, strange, 1, "checking", executor)
    return [
        f"{job.agent} does not play on {job.experiment}: {reason}"
        for job, reason in zip(strange, reasons, strict=True)
        if reason
    ]


def _why_not(job: Job) -> str:
    return why_not(job.agent, job.experiment, job.data, json.loads(job.settings or "{}"))
