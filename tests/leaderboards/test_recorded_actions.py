"""Records of agents whose actions an environment clips: they hold, and verify with, what the core got."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import ENVS
from valuegym.envs.functional import load
from valuegym.leaderboards.records.record import RecordError
from valuegym.leaderboards.run import play
from valuegym.leaderboards.verification.replay import replay

CLIPPED = [id for id, row in ENVS.items() if getattr(load(row.core)(**row.kwargs), "clips_actions", False)]


class Constant:
    """An agent that always takes one action."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def predict(self, observation: Any, **_: Any) -> tuple[Any, None]:
        return np.array([self.action] * len(observation)), None


@pytest.mark.parametrize("id", CLIPPED)
def test_records_hold_the_clipped_action_and_nothing_else_verifies(id: str) -> None:
    envs = gym.make_vec(id, num_envs=2, max_episode_steps=5)
    wild, tame = (play(Constant([a]), envs, [0, 1], {}) for a in (-2.5, -1.0))
    assert wild == tame and set(map(str, wild[0].actions)) == {"[-1.0]"}
    core = load(ENVS[id].core)(**ENVS[id].kwargs)
    replay(core, wild, 5, {})
    for outside in (-2.5, float(np.nextafter(-1.0, -2.0)), -1 - 1e-9):
        episode = replace(wild[0], actions=[[-1.0], [outside], *wild[0].actions[2:]])
        with pytest.raises(RecordError, match=r"not in the action space: Action\[1, 0\] is -"):
            replay(core, [episode, wild[1]], 5, {})


def test_records_hold_actions_of_other_types_as_they_are() -> None:
    envs = gym.make_vec("valuegym/Pendulum-v0", num_envs=1, max_episode_steps=3)
    assert play(Constant([0.1]), envs, [0], {})[0].actions == [[0.1]] * 3  # and not 0.1 in 32 bits
