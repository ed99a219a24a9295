"""The studies of values that move: fronts, tables, and that settings were not chosen on what is reported."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")


ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> Any:
    return importlib.import_module(f"studies.{name}")


@pytest.mark.parametrize("clusters", ["1", pytest.param("1 or 2 or 3", marks=pytest.mark.slow)])
def test_the_pluralists_front_is_ahead_of_the_baselines_together(clusters: str) -> None:
    """On three seeds that settings were chosen on, by diversity over the course and at the end."""
    front = script("coevolution.front")
    found = {
        name: np.array([front.points(clusters, name, setting, 1, 3) for setting in settings])
        for name, settings in front.SWEEPS.items()
    }
    for column in (1, 2):
        volume = front.volumes(found, column)
        assert (volume["pluralist"] - volume["both"]).min() > 0.01, (clusters, column)


@pytest.mark.parametrize("name", ["front", "tracks", "ppo"])
def test_the_committed_page_follows_from_the_committed_records(name: str) -> None:
    module, results = script(f"coevolution.{name}"), ROOT / "docs/results"
    options = getattr(module, "PARSER", module.harness.parser("")).parse_args([])
    records = module.harness.load(results / f"data/coevolution-{name}.jsonl")
    assert {key for keys in module.jobs(options) for key in keys} == set(records)
    page = module.pages(records, options)[".md"]
    assert page == (results / f"coevolution-{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("track", ["coevolution/follow-linear"])
def test_records_of_tracks_are_computed_again(track: str) -> None:
    module = script("coevolution.tracks")
    records = module.harness.load(ROOT / "docs/results/data/coevolution-tracks.jsonl")
    keys = [key for key in records if key[:2] == (track, "kalman")]
    for key, value in zip(keys, module.run(keys, module.harness.parser("").parse_args([])), strict=True):
        if isinstance(value, dict):
            assert value == pytest.approx(records[key], abs=1e-5)
        else:
            np.testing.assert_allclose(value, records[key], atol=1e-5)


def test_a_metric_too_small_for_three_decimals_is_not_nought() -> None:
    number = script("coevolution.tracks").number
    assert [number(x) for x in (0.0, 0.25, -88.0, 1.2e-7)] == ["0.000", "0.250", "-88.000", "1.2e-07"]
