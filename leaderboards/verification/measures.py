"""Measures beyond the score: an environment's metrics of whole episodes, computed from records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.envs.functional import episode_keys
from valuegym.leaderboards import experiments
from valuegym.leaderboards.records.record import Record

__all__ = ["collect_measures", "has_measures", "measure", "measures_text"]

WIDTH = 12  # of a column


def has_measures(what: experiments.Experiment) -> bool:
    """Return whether the environment of an experiment has measures beyond the score."""
    env: Any = gym.make(what.env_id, **what.make_kwargs()) if not what.data else None
    return env is not None and hasattr(getattr(env.unwrapped, "core", None), "episode_metrics")


def measure(record: Record) -> dict[str, np.ndarray[Any, Any]]:
    """Return the measures (E,) of a record's episodes by name, from its actions alone.

    Raises:
        ValueError: where the environment has none.
    """
    what = experiments.find(record.experiment)
    core: Any = getattr(gym.make(what.env_id, **what.make_kwargs()).unwrapped, "core", None)
    if not hasattr(core, "episode_metrics"):
        raise ValueError(f"{what.env_id} has no measures; environments of the coevolution family do.")
    from valuegym.envs import rollouts

    task, start = core.initial(episode_keys([episode.seed for episode in record.episodes]))
    actions = np.array([episode.actions for episode in record.episodes], np.float64)
    run = rollouts.play(core, task, rollouts.replayed(actions), start)
    found: dict[str, np.ndarray[Any, Any]] = core.episode_metrics(task, run.states, run.actions)
    return found


def collect_measures(records: Iterable[Record]) -> dict[str, dict[str, dict[str, np.ndarray[Any, Any]]]]:
    """Return measures by experiment, agent and name, one row for each seed: (seeds, E).

    Records of environments without measures are left out.
    """
    found: dict[str, dict[str, list[dict[str, np.ndarray[Any, Any]]]]] = {}
    for record in records:
        if has_measures(experiments.find(record.experiment)):
            found.setdefault(record.experiment, {}).setdefault(record.agent, []).append(measure(record))
    return {
        experiment: {
            agent: {name: np.array([run[name] for run in runs]) for name in runs[0]} for agent, runs in agents.items()
        }
        for experiment, agents in found.items()
    }


def measures_text(measures: dict[str, dict[str, dict[str, np.ndarray[Any, Any]]]], width: int = 10**6) -> str:
    """Return one table per experiment: a line for each measure, a column for each agent, means over all episodes.

    Where the agents are too many for so many columns of text, the others follow below.
    """
    blocks = []
    for experiment, agents in measures.items():
        names = list(next(iter(agents.values())))
        first = max(map(len, names)) + 2
        each = max(1, (width - first) // WIDTH)
        for start in range(0, len(agents), each):
            shown = dict(list(agents.items())[start : start + each])
            lines = [experiment, " " * first + "".join(agent[: WIDTH - 1].rjust(WIDTH) for agent in shown)]
            for name in names:
                values = (found[name].mean() for found in shown.values())
                lines.append(name.ljust(first) + "".join(f"{value:{WIDTH}.3g}" for value in values))
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks) if blocks else "No record is of an environment that has measures."
