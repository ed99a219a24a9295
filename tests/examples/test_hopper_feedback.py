"""The track of Hopper in examples/: an agent learns on it from answers, and its record verifies."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs valuegym[control]")
pytest.importorskip("stable_baselines3", reason="needs valuegym[agents]")

import valuegym
from valuegym.leaderboards import experiments, training
from valuegym.leaderboards.verification.verify import verify

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "hopper_feedback.py"
SMALL: dict[str, Any] = {"budget": 6, "every": 60, "rounds": 2, "segment_length": 10, "fit_steps": 3, "width": 8}


def test_an_agent_learns_from_answers_and_its_record_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track = replace(runpy.run_path(str(SCRIPT))["TRACK"], timesteps=300, episodes=1, seeds=(0,))
    monkeypatch.setitem(experiments.EXPERIMENTS, track.id, track)
    agent, _ = training.prepare("preference_sac", track, 0, settings=SMALL | {"learning_starts": 50})
    training.learn(agent, track.timesteps)
    assert agent.asking.answers == 6 and agent.asking.fits == 2
    path = valuegym.record(agent, track.id, "small", seed=0, folder=tmp_path)
    assert verify(path).reason == "" and np.isfinite(agent.asking.model.network.head.detach().numpy()).all()
