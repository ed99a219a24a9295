"""Scores of every agent on every track of moving values, and every metric of some tracks.

    python -m studies.coevolution.tracks [--processes 2] [--table]

Episodes are those that `valuegym run` would play: the experiments' own evaluation seeds. The settings of agents were
chosen on other seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from valuegym.agents import make
from valuegym.envs import rollouts
from valuegym.envs.functional import episode_keys
from valuegym.envs.mdp import between
from valuegym.leaderboards import experiments
from valuegym.leaderboards.stats.bootstrap import interquartile_mean

IDS = tuple(
    row.id
    for row in experiments.EXPERIMENTS.values()
    if row.env_id.rpartition("/")[2] in ("Follow-v0", "Predict-v0", "Coevolve-v0")  # they report metrics
)
DETAILED = tuple(id for id in IDS if id.startswith("coevolution/coevolve") or id == "coevolution/follow-linear")


def policy(agent: Any, core: Any) -> rollouts.Policy:
    """Return an agent as a policy of task and state, which sees the observation only."""
    memory: list[Any] = [None]
    if hasattr(agent, "attach"):
        return lambda task, state: np.asarray(core.oracle_action(task, state))

    def act(task: Any, state: Any) -> Array:
        action, memory[0] = agent.predict(core.observation(task, state), state=memory[0], deterministic=True)
        return np.asarray(action)

    return act


@lru_cache(maxsize=1)
def track(id: str) -> tuple[Any, Any, Any, Any]:
    """Return environment, tasks and first states of all evaluation episodes, and the returns of the references."""
    what = experiments.find(id)
    env: Any = gym.make(what.env_id, **what.kwargs)
    episodes = [seed for run in what.seeds for seed in what.evaluation_seeds(run)]
    task, start = env.unwrapped.core.initial(episode_keys(episodes))
    return env, task, start, env.unwrapped.core.references(task)


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield the scores of all seeds of an agent on a track, and the means of its metrics."""
    for id in IDS:
        for name in experiments.find(id).agents:
            if name not in ("ppo", "uniform"):
                details = [(id, name, "metrics", 0)] if id in DETAILED else []
                yield [*((id, name, seed) for seed in experiments.find(id).seeds), *details]


def run(keys: Sequence[Key], options: Options) -> list[Any]:
    """Return the scores of all episodes of a seed, or the mean of every metric; the agent's own seed is 0."""
    id, name = keys[0][:2]
    env, task, start, references = track(id)
    core, seeds = env.unwrapped.core, experiments.find(id).seeds
    played = rollouts.play(core, task, policy(make(name, env), core), start)
    scores = between(played.returns, *references).reshape(len(seeds), -1)
    values: dict[Key, Any] = {
        (id, name, seed): harness.rounded(row, 6) for seed, row in zip(seeds, scores, strict=True)
    }
    if id in DETAILED:
        metrics = core.episode_metrics(task, played.states, played.actions)
        values[id, name, "metrics", 0] = {key: float(f"{value.mean():.9g}") for key, value in metrics.items()}
    return [values[key] for key in keys]


def number(value: float) -> str:
    """Return three decimals, or two digits of what these would not show, down to rounding errors."""
    return f"{value:.1e}" if 1e-8 < abs(value) < 5e-4 else f"{value:.3f}"


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    cells = harness.columns(records)
    parts = [
        "# Coevolution: tracks and agents",
        "Scores: 0 persistence (in Coevolve in silence), 1 the reference that sees everything. Interquartile mean over "
        "seeds of 20 episodes (those of `valuegym run`), 95% bootstrap interval over seeds. "
        "`python -m studies.coevolution.tracks`; [scores of every episode](data/coevolution-tracks.jsonl).",
    ]
    names = dict.fromkeys(name for id in IDS for name in experiments.find(id).agents)
    for kind in ("follow", "predict", "coevolve"):
        ids = [id for id in IDS if id.startswith(f"coevolution/{kind}")]
        rows = []
        for name in names:
            scores = [cells.get((id, name)) for id in ids]
            if any(scores):
                found = [report.estimate(score, interquartile_mean) if score else "" for score in scores]
                rows.append([f"`{name}`", *found])
        short = [id.removeprefix(f"coevolution/{kind}-") for id in ids]
        parts += [f"## {kind.capitalize()}", report.table(["agent", *short], rows)]
    for id in DETAILED:
        keys = {name: (id, name, "metrics", 0) for name in experiments.find(id).agents}
        means = {name: records[key] for name, key in keys.items() if key in records}
        body = [[metric, *(number(row[metric]) for row in means.values())] for metric in next(iter(means.values()), ())]
        parts += [f"## Every metric, `{id}`", report.table(["metric", *(f"`{name}`" for name in means)], body)]
    return {".md": report.page(*parts)}


STUDY = harness.Study("coevolution-tracks", jobs, run, pages)

if __name__ == "__main__":
    harness.run(STUDY, harness.parser(__doc__).parse_args())
