"""The studies of values that move: fronts, tables, and that settings were not chosen on what is reported."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from valuegym.envs import keys
from valuegym.leaderboards.stats.pareto import hypervolume

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("coevolution_studies")


@pytest.mark.parametrize("clusters", [(1,), pytest.param((1, 2, 3), marks=pytest.mark.slow)])
def test_the_pluralists_front_is_ahead_of_the_baselines_together(studies: Any, clusters: tuple[int, ...]) -> None:
    """On three seeds that settings were chosen on, by diversity over the course and at the end."""
    env: Any = gym.make("valuegym/Coevolve-v0", clusters=clusters)
    core = env.unwrapped.core
    task, _ = core.initial(keys.mix(1, np.arange(3 * 4)))
    found = {name: studies.points(core, env, task, name, rows, 3) for name, rows in studies.SWEEPS.items()}
    theirs = np.concatenate([found["moving_average"], found["kalman"]])
    for column in (1, 2):
        ahead = [
            hypervolume(found["pluralist"][:, s][:, [0, column]], (0.0, 0.0))
            - hypervolume(theirs[:, s][:, [0, column]], (0.0, 0.0))
            for s in range(3)
        ]
        assert min(ahead) > 0.01, (clusters, column)


def test_the_committed_page_of_fronts_follows_from_the_committed_points(studies: Any, tmp_path: Path) -> None:
    results = ROOT / "docs/results"
    (tmp_path / "raw").mkdir()
    raw = results / "raw/coevolution_front.jsonl"
    shutil.copy(raw, tmp_path / "raw")
    studies.front(tmp_path)
    assert (tmp_path / "raw/coevolution_front.jsonl").read_bytes() == raw.read_bytes()  # nothing was missing
    name = "coevolution_front.md"
    assert (tmp_path / name).read_text(encoding="utf-8") == (results / name).read_text(encoding="utf-8")


def test_an_interval_is_of_whole_runs(studies: Any) -> None:
    runs = np.repeat([[0.0], [1.0]], 50, axis=1)
    assert studies.interval(runs)[:2] == (0.5, 0.0)
    assert studies.cell(np.full((4, 3), -1e-9)) == "0.00 [0.00, 0.00]"


def test_a_metric_too_small_for_three_decimals_is_not_nought(studies: Any) -> None:
    assert [studies.number(x) for x in (0.0, 0.25, -88.0, 1.2e-7)] == ["0.000", "0.250", "-88.000", "1.2e-07"]
