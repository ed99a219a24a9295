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

import valuegym  # noqa: F401 - registers the ids
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
    """Yield all seeds of an agent on a track."""
    for id in IDS:
        for name in experiments.find(id).agents:
            if name not in ("ppo", "uniform"):
                yield [(id, name, seed) for seed in experiments.find(id).seeds]


def run(keys: Sequence[Key], options: Options) -> list[dict[str, Any]]:
    """Return the scores of the episodes of each key, and the mean of every metric; the agent's own seed is 0."""
    id, name, _ = keys[0]
    env, task, start, references = track(id)
    core, seeds = env.unwrapped.core, experiments.find(id).seeds
    played = rollouts.play(core, task, policy(make(name, env), core), start)
    scores = between(played.returns, *references).reshape(len(seeds), -1)
    metrics = core.episode_metrics(task, played.states, played.actions) if id in DETAILED else {}
    means = {key: value.reshape(len(seeds), -1).mean(1) for key, value in metrics.items()}
    rows = {
        seed: {
            "scores": harness.rounded(row, 6),
            "metrics": {key: float(f"{mean[i]:.6g}") for key, mean in means.items()},
        }
        for i, (seed, row) in enumerate(zip(seeds, scores, strict=True))
    }
    return [rows[key[-1]] for key in keys]


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
    for kind in ("follow", "predict", "coevolve"):
        ids = [id for id in IDS if id.startswith(f"coevolution/{kind}")]
        names = dict.fromkeys(name for id, name in cells if id in ids)
        rows = []
        for name in names:
            scores = [[row["scores"] for row in cells.get((id, name), ())] for id in ids]
            rows.append(
                [f"`{name}`", *(report.estimate(found, interquartile_mean) if found else "" for found in scores)]
            )
        short = [id.removeprefix(f"coevolution/{kind}-") for id in ids]
        parts += [f"## {kind.capitalize()}", report.table(["agent", *short], rows)]
    for id in DETAILED:
        found = {name: [row["metrics"] for row in rows] for (track, name), rows in cells.items() if track == id}
        metrics = list(next(iter(found.values()))[0])
        means: Any = {name: {m: np.mean([row[m] for row in rows]) for m in metrics} for name, rows in found.items()}
        body = [[metric, *(number(means[name][metric]) for name in found)] for metric in metrics]
        parts += [f"## Every metric, `{id}`", report.table(["metric", *(f"`{n}`" for n in found)], body)]
    return {".md": report.page(*parts)}


STUDY = harness.Study("coevolution-tracks", jobs, run, pages)

if __name__ == "__main__":
    harness.run(STUDY, harness.parser(__doc__).parse_args())
