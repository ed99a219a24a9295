"""Weights of sources: the least norm in closed form and by its conditions, and what balanced fits do."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from valuegym.agents.reward_models.bradley_terry import fit_pairs, reward_ensemble
from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.metrics import accuracy, expected_calibration_error
from valuegym.agents.reward_models.more import WEIGHTINGS, fit_sources, min_norm_weights
from valuegym.agents.reward_models.pairs import Pairs, make_pairs


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def norm(weights: Tensor, gradients: Tensor) -> Tensor:
    return (weights[..., None] * gradients).sum(-2).norm(dim=-1)


def test_two_gradients_have_a_closed_form() -> None:
    a, b = torch.randn(2, 200, 3, generator=seeded(0), dtype=torch.float64) * torch.tensor([[[1.0]], [[3.0]]])
    of_a = ((b * (b - a)).sum(-1) / (a - b).square().sum(-1)).clamp(0, 1)
    found = min_norm_weights(torch.stack([a, b], 1))
    assert torch.allclose(found, torch.stack([of_a, 1 - of_a], 1), atol=1e-12)
    assert 0 < float((of_a == 1).double().mean()) < 1  # both ends and the inside are met


@pytest.mark.parametrize("K", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_conditions_of_the_least_norm_hold(K: int, scale: float) -> None:
    gradients = torch.randn(20, K, 6, generator=seeded(K), dtype=torch.float64) + 0.3
    weights = min_norm_weights(scale * gradients)
    assert torch.allclose(weights.sum(-1), torch.ones(20, dtype=torch.float64)) and (weights >= 0).all()
    assert torch.allclose(weights, min_norm_weights(gradients), atol=1e-6)
    # g_k . d >= |d|**2 for all sources k, d the weighted sum: going down along d lowers every loss.
    d = (weights[..., None] * gradients).sum(-2)
    slack = (gradients @ d[..., None]).squeeze(-1) - d.square().sum(-1, keepdim=True)
    assert float(slack.min()) > -1e-6
    for seed in range(5):
        other = torch.rand(20, K, generator=seeded(seed), dtype=torch.float64) ** 3
        other = other / other.sum(-1, keepdim=True)
        assert (norm(weights, gradients) <= norm(other, gradients) + 1e-6).all()


def test_special_gradients() -> None:
    assert min_norm_weights(torch.ones(4, 3)).tolist() == [0.25] * 4
    assert min_norm_weights(torch.zeros(3, 2)).tolist() == pytest.approx([1 / 3] * 3)
    assert min_norm_weights(torch.tensor([[1.0, 0], [0, 0]])).tolist() == [0, 1]
    assert min_norm_weights(torch.tensor([[1.0, 0], [0, 2]])).tolist() == pytest.approx([0.8, 0.2])
    assert min_norm_weights(torch.tensor([[1.0, 0], [0, 2]]), normalise=True).tolist() == pytest.approx([0.5, 0.5])
    for bad in (torch.tensor([[math.nan, 1.0]]), torch.zeros(0, 3), torch.zeros(3)):
        with pytest.raises(ValueError, match="gradients"):
            min_norm_weights(bad)


D, SOURCES = 12, 5


def sources(n: int, seed: int, own: float = 1.0) -> Pairs:
    """Noisy answers of five sources with one direction in common and one each; one source has four times the scale."""
    rng = np.random.default_rng(seed)
    common, *each = np.linalg.qr(np.random.default_rng(99 + seed).standard_normal((D, D)))[0][: SOURCES + 1]
    group = rng.choice(SOURCES, n, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    x = rng.standard_normal((n, 2, D))
    scale = np.where(group == 0, 4.0, 1.0)
    gap = ((x[:, 1] - x[:, 0]) * (common + own * np.array(each)[group])).sum(-1) * scale
    label = rng.random(n) < 1 / (1 + np.exp(-gap))
    return make_pairs(x[:, 0], x[:, 1], label * 1.0, group=group)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_weighting_learns(weighting: str) -> None:
    train, test = sources(600, 0), sources(500, 0)
    model = reward_ensemble(D, seeded(0), members=2, width=8, depth=1)
    losses, weights = fit_sources(model, train, SOURCES, FitSettings(60, 100, 0.02), seeded(0), weighting)
    assert losses.shape == (60, 2) and weights.shape == (2, SOURCES)
    assert torch.allclose(weights.sum(-1), torch.ones(2), atol=1e-6)
    assert float(accuracy(model(test).detach(), test.labels).min()) > 0.6
    if weighting == "uniform":
        assert torch.allclose(weights, torch.full((2, SOURCES), 1 / SOURCES))
    if weighting == "pooled":
        assert train.group is not None
        assert torch.allclose(weights[0], torch.bincount(train.group) / len(train))


@pytest.mark.slow
def test_balanced_sources_are_better_calibrated() -> None:
    found: dict[str, list[float]] = {name: [] for name in ("pooled", "uniform", "min_norm")}
    for seed in range(12):
        train, test = sources(1500, seed), sources(3000, seed)
        keep = test.group != 0
        balanced = test[keep]
        for name, values in found.items():
            model = reward_ensemble(D, seeded(seed), members=1, width=16, depth=1)
            fit_sources(model, train, SOURCES, FitSettings(300, 250, 0.01), seeded(seed), name)
            with torch.no_grad():
                p = model(balanced).sigmoid()
            values.append(float(expected_calibration_error(p, balanced.labels)))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    print(means)
    assert means["min_norm"] < means["pooled"]


def test_one_source_is_plain_bradley_terry_in_its_weight() -> None:
    pairs = sources(100, 0)
    one = Pairs(pairs.inputs, pairs.mask, pairs.labels, group=torch.zeros(100, dtype=torch.int64))
    model = reward_ensemble(D, seeded(0), members=2, width=8)
    _, weights = fit_sources(model, one, 1, FitSettings(5), seeded(0))
    assert weights.tolist() == [[1.0], [1.0]]


def test_bad_input_is_refused() -> None:
    pairs = sources(100, 0)
    model = reward_ensemble(D, seeded(0))
    with pytest.raises(ValueError, match="source 5 has no pair"):
        fit_sources(model, pairs, 6, FitSettings(1), seeded(0))
    with pytest.raises(ValueError, match="group holds 4"):
        fit_sources(model, pairs, 3, FitSettings(1), seeded(0))
    with pytest.raises(ValueError, match="weighting"):
        fit_sources(model, pairs, 5, FitSettings(1), seeded(0), "other")
    with pytest.raises(ValueError, match="momentum"):
        fit_sources(model, pairs, 5, FitSettings(1), seeded(0), momentum=0.0)
    with pytest.raises(ValueError, match="group is None"):
        fit_sources(model, Pairs(pairs.inputs, pairs.mask, pairs.labels), 5, FitSettings(1), seeded(0))
    fit_pairs(model, pairs, FitSettings(1), seeded(0))  # sources are no obstacle to one heap
