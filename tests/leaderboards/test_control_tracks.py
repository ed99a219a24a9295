"""Records of control tasks: float states are replayed to the bit, and what was edited is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from valuegym.leaderboards import experiments
from valuegym.leaderboards.records import read, write
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verify import verify


@pytest.fixture(scope="module")
def few() -> pytest.MonkeyPatch:
    """Three episodes for each seed."""
    with pytest.MonkeyPatch.context() as patch:
        for id in ("control/lqr-d4", "control/pendulum-d8", "control/cartpole-swingup"):
            row = experiments.EXPERIMENTS[id]
            options = row.options and (row.options[0], row.options[1][:3])
            short = dataclasses.replace(row, episodes=3, options=options)
            patch.setitem(experiments.EXPERIMENTS, id, short)
        yield patch


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("id", ["control/lqr-d4", "control/pendulum-d8", "control/cartpole-swingup"])
def test_float_states_replay_to_the_bit(id: str, tmp_path: Path) -> None:
    played = {agent: run(agent, id, 0, tmp_path) for agent in ("oracle", "uniform")}
    for path in played.values():
        assert verify(path).reason == ""
    assert np.allclose(read(played["oracle"]).scores, 1.0, rtol=0, atol=1e-12)
    assert np.mean(read(played["uniform"]).scores) < 0.3


@pytest.mark.usefixtures("few")
def test_edited_states_and_actions_are_found(tmp_path: Path) -> None:
    path = run("uniform", "control/cartpole-swingup", 1, tmp_path)
    record = read(path)
    first = record.episodes[0]
    angles = list(first.states["angle"])
    angles[5] = np.nextafter(angles[5], 10.0)  # by one bit
    edited = dataclasses.replace(first, states={**first.states, "angle": angles})
    write(path, dataclasses.replace(record, episodes=[edited, *record.episodes[1:]]))
    assert "does not follow" in verify(path).reason
    actions = [[-a[0]] for a in first.actions]
    write(
        path, dataclasses.replace(record, episodes=[dataclasses.replace(first, actions=actions), *record.episodes[1:]])
    )
    assert "does not follow" in verify(path).reason
