"""The offline study of the pendulum at tiny scale, and its committed page."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import torch

from valuegym.agents.control import mpc

RESULTS = Path(__file__).resolve().parents[2] / "docs/results"


@pytest.fixture
def module() -> Any:
    found = importlib.import_module("studies.control.pendulum_offline")
    found.trained.cache_clear()
    yield found
    found.trained.cache_clear()


def test_the_study_goes_on_where_it_stopped(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"STEPS": 264, "FIT_STEPS": 2, "LENGTH": 6, "BLOCK": 2}
    parts = [module.Part("rotation", "mse", (4,), ("mse", "itervaml"))]
    parts += [module.Part("chaotic", critic, (4,), ("mse", "vagram")) for critic in ("mse", "hl_gauss")]
    for name, value in (small | {"PARTS": tuple(parts)}).items():
        monkeypatch.setattr(module, name, value)
    options = module.PARSER.parse_args(["--seeds", "2", "--docs", str(tmp_path)])
    module.harness.run(module.STUDY, options)
    path = tmp_path / "data" / "pendulum-offline.jsonl"
    whole = path.read_text()
    assert len(whole.splitlines()) == 12
    *key, [row] = json.loads(whole.splitlines()[2])
    assert key == ["rotation", "mse", 4, "itervaml", 0] and all(np.isfinite(row[name]) for name in module.COLUMNS)
    page = (tmp_path / "pendulum-offline.md").read_text()
    assert "2 seeds" in page and "The critic: chaotic distractors" in page
    assert (tmp_path / "pendulum-offline.svg").is_file()
    path.write_text(whole[: len(whole) - 20])  # interrupted
    module.trained.cache_clear()
    module.harness.run(module.STUDY, options)

    def settled(text: str) -> list[tuple[Any, ...]]:
        lines = [json.loads(line) for line in text.splitlines()]
        return [(*key, {k: v for k, v in row.items() if k != "seconds"}) for *key, [row] in lines]

    assert settled(path.read_text()) == settled(whole)


def test_a_block_of_one_seed_plans_as_the_library_does(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 264, "FIT_STEPS": 2, "LENGTH": 6}.items():
        monkeypatch.setattr(module, name, value)
    (one,) = module.trained(module.World(), "mse", (0,))
    (found,) = module.fitted([(one, "vagram")], 4)
    at = one.data.observation[:5]
    one.learner.generator = torch.Generator().manual_seed(1)  # actor and planner draw from one generator
    alone = mpc.plan(found.model, one.learner, at, one.learner.generator)
    training, together = module.Trainer([one.learner]), module.join_models([found.model])
    torch.testing.assert_close(module.plan(together, training, at[None], torch.Generator().manual_seed(1))[0], alone)


def test_the_committed_page_follows_from_the_committed_records(module: Any) -> None:
    records = module.harness.load(RESULTS / "data/pendulum-offline.jsonl")
    assert module.page(records) == (RESULTS / "pendulum-offline.md").read_text(encoding="utf-8")
