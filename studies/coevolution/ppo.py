"""Stable-Baselines3's PPO on values that revert to a mean, of which few noisy responses tell, against the trackers.

python -m studies.coevolution.ppo [--seeds 5] [--processes 2] [--table]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym

from studies import harness, report
from studies.coevolution.tracks import policy
from studies.harness import Key, Options, Records
from valuegym.agents import make
from valuegym.envs import rollouts
from valuegym.envs.functional import episode_keys
from valuegym.envs.mdp import between
from valuegym.leaderboards import experiments
from valuegym.leaderboards.stats.bootstrap import interquartile_mean

ID = "coevolution/follow-few-responses"
AGENTS = ("persistence", "moving_average", "kalman", "ppo")


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one agent and seed each."""
    for name in AGENTS:
        for seed in experiments.find(ID).seeds[: options.seeds]:
            yield [(name, seed)]


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Train an agent, and return the scores of its evaluation episodes."""
    [(name, seed)], what = keys, experiments.find(ID)
    env: Any = gym.make(what.env_id, **what.kwargs)
    core, agent = env.unwrapped.core, make(name, env, seed=seed)
    agent.learn(what.timesteps)
    task, start = core.initial(episode_keys(what.evaluation_seeds(seed)))
    played = rollouts.play(core, task, policy(agent, core), start)
    return [harness.rounded(between(played.returns, *core.references(task)), 6)]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    what, cells = experiments.find(ID), harness.columns(records)
    rows = [[f"`{name}`", report.estimate(scores, interquartile_mean)] for (name,), scores in cells.items()]
    seeds = max(map(len, cells.values()))
    return {
        ".md": report.page(
            "# Coevolution: PPO against persistence",
            f"Track `{ID}`, {what.timesteps:,} training steps, {seeds} seeds of {what.episodes} evaluation episodes; "
            "score 0 is persistence. PPO sees the last responses and its last action, and keeps no other memory. "
            "`python -m studies.coevolution.ppo`.",
            report.table(["agent", "score"], rows),
        )
    }


STUDY = harness.Study("coevolution-ppo", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=5)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
