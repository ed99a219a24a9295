"""Diagnostics in closed form, and the studies of the pendulum at tiny scale."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.control import diagnostics, mpc

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gradient_ratio() -> None:
    gradient = torch.tensor([2.0, 2.0, 1.0, 1.0, 1.0]).expand(10, 3, 5)
    assert diagnostics.gradient_ratio(gradient, [0, 1], [2, 3, 4]) == pytest.approx(0.5)
    assert np.isnan(diagnostics.gradient_ratio(gradient, [0, 1], np.arange(0)))


def test_normalised_errors() -> None:
    actual = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1])
    mean = actual.mean(0).expand(2, 500, 3)
    assert diagnostics.normalised_error(mean, actual, [0, 1, 2]) == pytest.approx(1, rel=1e-5)
    assert diagnostics.normalised_error(
        actual + actual.std(0, correction=0) * torch.tensor([2.0, 0, 0]), actual, [0]
    ) == (pytest.approx(4, rel=1e-5))
    assert np.isnan(diagnostics.normalised_error(mean, actual, np.arange(0)))
    assert diagnostics.value_error(lambda s: s[..., 1] ** 2, actual, actual) == 0
    assert diagnostics.value_error(lambda s: s[..., 1], mean, actual) == pytest.approx(1, rel=1e-5)


def test_out_of_distribution_counts_rows_beyond_the_box() -> None:
    seen = torch.tensor([[0.0, 0.0], [1.0, 10.0]])
    predicted = torch.tensor([[0.5, 5.0], [1.05, 5.0], [1.2, 5.0], [0.5, -2.0]])
    assert diagnostics.out_of_distribution(predicted, seen) == 0.5
    assert diagnostics.out_of_distribution(predicted, seen, margin=0.0) == 0.75


def test_effective_samples_and_cosines() -> None:
    assert diagnostics.effective_sample_size(torch.ones(10, 3)) == pytest.approx(1)
    assert diagnostics.effective_sample_size(torch.eye(10)[:, :1] * 5) == pytest.approx(0.1)
    gradient = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).expand(4, 2, 2)
    assert diagnostics.error_alignment(gradient, torch.tensor([-3.0, 0.0]).expand(4, 2)) == pytest.approx(0.5)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert diagnostics.gradient_cosine(x[0] * 3, x.sum(), [x]) == pytest.approx(2**-0.5)
    assert diagnostics.gradient_cosine(x.sum(), -x.sum(), [x]) == pytest.approx(-1)


def test_the_offline_study_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("pendulum_offline")
    small = {"STEPS": 264, "FIT_STEPS": 2, "LENGTH": 6, "BLOCK": 2}
    parts = [module.Part("rotation", "mse", (4,), ("mse", "itervaml"))]
    parts += [module.Part("chaotic", critic, (4,), ("mse", "vagram")) for critic in ("mse", "hl_gauss")]
    for name, value in (small | {"PARTS": tuple(parts)}).items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("sys.argv", ["x", "--seeds", "2", "--output", str(tmp_path)])
    module.main()
    path = tmp_path / "pendulum-offline.jsonl"
    whole = path.read_text()
    assert len(whole.splitlines()) == 12
    row = json.loads(whole.splitlines()[2])
    assert row["loss"] == "itervaml" and all(np.isfinite(row[name]) for name in module.COLUMNS)
    page = (tmp_path / "pendulum-offline.md").read_text()
    assert "2 seeds" in page and "The critic: chaotic distractors" in page
    assert (tmp_path / "pendulum-offline.svg").is_file()
    path.write_text(whole[: len(whole) - 20])  # interrupted
    module.main()

    def settled(text: str) -> list[dict[str, Any]]:
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()]

    assert settled(path.read_text()) == settled(whole)


def test_a_block_of_one_seed_plans_as_the_library_does(monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("pendulum_offline")
    for name, value in {"STEPS": 264, "FIT_STEPS": 2, "LENGTH": 6}.items():
        monkeypatch.setattr(module, name, value)
    (one,) = module.trained(module.World(), "mse", [0])
    (found,) = module.fitted([(one, "vagram")], 4)
    at = one.data.observation[:5]
    one.learner.generator = torch.Generator().manual_seed(1)  # actor and planner draw from one generator
    alone = mpc.plan(found.model, one.learner, at, one.learner.generator)
    training, together = module.Trainer([one.learner]), module.join_models([found.model])
    torch.testing.assert_close(module.plan(together, training, at[None], torch.Generator().manual_seed(1))[0], alone)
