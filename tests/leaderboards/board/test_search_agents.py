"""Agents that look for the seeds of their episodes: they find public ones, and not the secret ones of a board.

The searching agent has the suite at hand, begins an episode of its own from every seed that it thinks of, and compares
first observations with what it sees; where one is the same it knows the state and plays the oracle's actions.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from valuegym.leaderboards import experiments
from valuegym.leaderboards.board.sandbox import Remote
from valuegym.leaderboards.run import play_record
from valuegym.leaderboards.trust.commitment import committed_seeds

SEARCH = """
import numpy as np
from valuegym.agents.base import rules
from valuegym.envs.functional import episode_keys, put_rows, take_rows

SEEDS = [*range(1_000_000, 1_000_000 + 400)], [2**128 + n for n in range(400)]


def flat(observation):
    parts = [observation[name] for name in sorted(observation)] if isinstance(observation, dict) else [observation]
    return np.concatenate([np.asarray(part, np.float64).reshape(len(part), -1) for part in parts], -1)


class Searcher:
    def __init__(self, env, seed):
        self.core, self.space, self.rng = rules(env), env.action_space, np.random.default_rng(seed)
        self.begun = []
        for seeds in SEEDS:
            task, state = self.core.initial(episode_keys(seeds))
            self.begun.append((episode_keys(seeds), task, state, flat(self.core.observation(task, state))))

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        rows, n = flat(observation), len(episode_start)
        self.space.seed(int(self.rng.integers(2**31)))
        actions = np.stack([np.asarray(self.space.sample()) for _ in range(n)])
        found = state if state is not None else [None] * n
        for i in range(n):
            if episode_start[i]:
                found[i] = None
                for key, task, start, shown in self.begun:
                    same = (shown == rows[i]).all(-1).nonzero()[0]
                    if len(same):
                        found[i] = [key[same[:1]], take_rows(task, same[:1]), take_rows(start, same[:1]), 0]
            if found[i] is None:
                continue
            key, task, now, t = found[i]
            action = self.core.oracle_action(task, now)
            actions[i] = action[0]
            found[i] = [key, task, self.core.transition(task, now, action, key, np.array([t])), t + 1]
        return actions, found


make = Searcher
"""
TRACKS = (  # with something hidden that pays
    "coevolution/lock-in",
    "coevolution/follow-linear",
    "coevolution/predict-linear",
    "preference/asking-regret",
    "preference/boards-regret",
)


def scores(name: str, folder: Path, seeds: list[int]) -> np.ndarray:
    what = experiments.find(name)
    env = gym.make(what.env_id, **what.make_kwargs(None))
    with Remote(folder, env, (what.env_id, what.kwargs), 0) as player:
        record = play_record(player, "visitor", name, what.seeds[0], None, seeds)
    return np.array(record.scores)[:, -1]


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("name", TRACKS)
def test_a_search_for_seeds_is_of_no_use(name: str, tmp_path: Path) -> None:
    """Where it works, on public seeds, it is nearly the oracle; where seeds are secret, it is the uniform agent."""
    what = experiments.find(name)
    (tmp_path / "agent.py").write_text(SEARCH, encoding="utf-8")
    tmp_path.chmod(0o755)
    public = scores(name, tmp_path, list(what.evaluation_seeds(what.seeds[0])))
    secret = scores(name, tmp_path, committed_seeds("07" * 32, "a" * 64, name, what.seeds[0], what.episodes))
    # The same random actions without the search:
    (tmp_path / "agent.py").write_text(SEARCH.replace("if len(same):", "if False:"), encoding="utf-8")
    without = scores(name, tmp_path, committed_seeds("07" * 32, "a" * 64, name, what.seeds[0], what.episodes))
    assert public.mean() > 0.9 and secret.tolist() == without.tolist()
