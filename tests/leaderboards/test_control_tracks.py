"""Records of control tasks: float states are replayed to the bit, and what was edited is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from valuegym.leaderboards import experiments
from valuegym.leaderboards.records.record import read_record, write_record
from valuegym.leaderboards.run import run
from valuegym.leaderboards.standings.gather import from_verdicts
from valuegym.leaderboards.standings.text import render_text
from valuegym.leaderboards.verification.verify import verify


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
    assert np.allclose(read_record(played["oracle"]).scores, 1.0, rtol=0, atol=1e-12)
    assert np.mean(read_record(played["uniform"]).scores) < 0.3


@pytest.mark.usefixtures("few")
def test_edited_states_and_actions_are_found(tmp_path: Path) -> None:
    path = run("uniform", "control/cartpole-swingup", 1, tmp_path)
    record = read_record(path)
    first = record.episodes[0]
    angles = list(first.states["angle"])
    angles[5] = np.nextafter(angles[5], 10.0)  # by one bit
    edited = dataclasses.replace(first, states={**first.states, "angle": angles})
    write_record(path, dataclasses.replace(record, episodes=[edited, *record.episodes[1:]]))
    assert "does not follow" in verify(path).reason
    actions = [[-a[0]] for a in first.actions]
    write_record(
        path, dataclasses.replace(record, episodes=[dataclasses.replace(first, actions=actions), *record.episodes[1:]])
    )
    assert "does not follow" in verify(path).reason


def test_preferences_over_a_regulator_from_run_to_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    id = "control/lqr-preferences"
    row = experiments.EXPERIMENTS[id]
    short = dataclasses.replace(
        row, episodes=2, seeds=(0,), arguments='{"evaluation_points": [0, 3, 40], "transitions": 300}'
    )
    monkeypatch.setitem(experiments.EXPERIMENTS, id, short)
    paths = {agent: run(agent, id, 0, tmp_path) for agent in row.agents}
    checked = {agent: verify(path) for agent, path in paths.items()}
    assert {agent: verdict.reason for agent, verdict in checked.items()} == dict.fromkeys(row.agents, "")
    scores = {agent: np.array(read_record(path).scores) for agent, path in paths.items()}
    np.testing.assert_allclose(scores["oracle"], 1, atol=1e-12)
    assert not scores["no_force"].any() and (scores["uniform"] < 0).all()
    assert (scores["lqr_regret"][:, 0] == 0).all() and (scores["lqr_regret"][:, 2] > 0.9).all()
    board = {score.agent: score for score in from_verdicts(checked.values())}
    assert set(board) == set(row.agents) and board["lqr_regret"].evaluation_points == (0, 3, 40)
    assert all(score.status == "replayed" and score.ranked for score in board.values())
    assert board["no_force"].role == "reference" and board["lqr_regret"].role == "agent"
    assert "lqr_regret" in render_text(list(board.values()))
    # a gain that was edited at an evaluation point does not give the recorded score
    record = read_record(paths["lqr_regret"])
    first = record.episodes[0]
    actions = [list(action) for action in first.actions]
    actions[40] = [0.0] * len(actions[40])
    edited = dataclasses.replace(first, actions=actions)
    write_record(paths["lqr_regret"], dataclasses.replace(record, episodes=[edited, *record.episodes[1:]]))
    assert "does not follow" in verify(paths["lqr_regret"]).reason
