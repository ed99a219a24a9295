"""Monotone rewards of named features: monotone before and after fits, explained by name, and cheap in labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.reward_models.bottleneck import effects, label_efficiency, monotone_reward
from valuegym.agents.reward_models.bradley_terry import RewardEnsemble, fit_pairs, reward_ensemble
from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.metrics import accuracy
from valuegym.agents.reward_models.pairs import Pairs, make_pairs

DIRECTIONS = {"progress": 1, "damage": -1, "speed": 0, "comfort": 1, "noise": -1}
D = len(DIRECTIONS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def judged(n: int, seed: int) -> Pairs:
    """Pairs by a saturating reward: best at medium speed, indifferent to noise."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2, D))
    value = np.tanh(2 * x[..., 0]) + 0.5 * x[..., 3] - np.exp(0.5 * x[..., 1]) - 0.5 * x[..., 2] ** 2
    return make_pairs(x[:, 0], x[:, 1], (value[:, 1] > value[:, 0]) * 1.0)


def assert_monotone(model: RewardEnsemble) -> None:
    x = 3 * torch.randn(1, 200, D, generator=seeded(5))
    for k, direction in enumerate(DIRECTIONS.values()):
        further = x.clone()
        further[..., k] += torch.rand(200, generator=seeded(6)) * 3
        change = (model.rewards(further) - model.rewards(x)).detach()
        if direction:
            assert float((direction * change).min()) > -1e-5


def test_monotone_before_and_after_a_fit_against_the_directions() -> None:
    model = monotone_reward(DIRECTIONS, seeded(0))
    assert_monotone(model)
    pairs = judged(100, 0)
    fit_pairs(model, Pairs(pairs.inputs, pairs.mask, 1 - pairs.labels), FitSettings(100, None, 0.05), seeded(0))
    assert_monotone(model)


def test_a_fit_learns_and_its_effects_have_names() -> None:
    train, test = judged(400, 1), judged(400, 2)
    model = monotone_reward(DIRECTIONS, seeded(0))
    fit_pairs(model, train, FitSettings(150, 64, 0.03), seeded(0))
    assert float(accuracy(model(test).detach(), test.labels).min()) > 0.85
    found = effects(model, [-1.0] * D, [1.0] * D)
    assert list(found) == list(DIRECTIONS)
    assert (found["progress"] > 0).all() and (found["damage"] < 0).all()
    assert (found["noise"].abs() < found["progress"]).all()
    assert not any(value.abs().max() > 1e-5 for value in effects(model, [0.5] * D, [0.5] * D).values())


def test_directions_save_labels() -> None:
    """Twelve saturating features of known direction: with 5 or 10 labels they are worth much accuracy."""
    rng, directions = np.random.default_rng(3), {f"feature {k}": 1 - 2 * (k % 2) for k in range(12)}
    x = rng.standard_normal((1040, 2, 12))
    value = (np.tanh(2 * x) * np.array(list(directions.values())) * np.linspace(0.3, 1, 12)).sum(-1)
    pairs = make_pairs(x[:, 0], x[:, 1], (value[:, 1] > value[:, 0]) * 1.0)
    train, test = pairs[torch.arange(40)], pairs[torch.arange(40, 1040)]
    makers: tuple[Any, ...] = (lambda: monotone_reward(directions, seeded(0)), lambda: reward_ensemble(12, seeded(0)))
    settings = FitSettings(40, None, 0.02)
    monotone, plain = (label_efficiency(make, train, test, (5, 10, 40), settings, seeded(0)) for make in makers)
    assert list(monotone) == [5, 10, 40]
    assert all(float(monotone[count].mean()) > float(plain[count].mean()) + 0.08 for count in (5, 10))
    assert float(monotone[10].mean()) > 0.75


@pytest.mark.parametrize("bad", [{}, {"": 1}, {"a": 2}, {"a": 1.0}, {"a": True}, {1: 1}])
def test_bad_directions_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="direction"):
        monotone_reward(bad, seeded(0))


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="named features"):
        effects(reward_ensemble(D, seeded(0)), [0.0] * D, [1.0] * D)
    with pytest.raises(ValueError, match="high"):
        effects(monotone_reward(DIRECTIONS, seeded(0)), [0.0] * D, [1.0] * 2)
    with pytest.raises(ValueError, match="count"):
        label_efficiency(
            lambda: reward_ensemble(D, seeded(0)), judged(5, 0), judged(5, 0), (6,), FitSettings(1), seeded(0)
        )
    with pytest.raises(ValueError, match="width"):
        monotone_reward(DIRECTIONS, seeded(0), width=0)
