"""The batched ensemble: equal to a loop over members, standardised, as capable as its settings say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.control import losses
from valuegym.agents.control.batched_mlp import MLP
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.ensemble import LOG_STD, Architecture, Ensemble, ModelFit, evaluate, fit, scale_of
from valuegym.agents.control.losses import LOSSES

D, A, N = 3, 1, 200
SMALL = Architecture(members=2, width=8, depth=2, reward_width=4)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transitions(seed: int = 0, n: int = N) -> Transitions:
    """Linear dynamics on very different scales, and a constant dimension."""
    g = seeded(seed)
    scale = torch.tensor([1.0, 100.0, 1.0])
    s, a = torch.randn(n, D, generator=g) * scale, torch.rand(n, A, generator=g) * 2 - 1
    s[:, 2] = 7.0
    after = s.clone()
    after[:, 0] = 0.5 * s[:, 0] + a[:, 0] + 3
    after[:, 1] = 0.9 * s[:, 1] + 20 * s[:, 0]
    reward = 0.01 * s[:, 0] - 0.02 * a[:, 0]
    return Transitions(s, a, reward, after, torch.zeros(n, dtype=torch.bool))


def train(model: Ensemble, data: Transitions, steps: int, seed: int = 1, lr: float = 3e-3, loss: str = "mse") -> float:
    model.standardise(data)
    units = model.error_units(0.99)
    weights = LOSSES[loss].prepare(None, units, None)  # type: ignore[arg-type] - neither mse nor nll uses statistics
    optimiser = torch.optim.Adam(model.parameters(), lr)
    return fit(model, optimiser, ModelFit(data, torch.arange(N), LOSSES[loss].loss, weights, seeded(seed)), steps)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_all_members_at_once_equal_one_after_another(layer_norm: bool) -> None:
    mlp = MLP(3, 4, 2, 5, 2, rank=2, layer_norm=layer_norm, generator=seeded(0))
    x = torch.randn(3, 7, 4, generator=seeded(1))
    found = mlp(x)
    for k in range(3):
        h = x[k]
        for layer in mlp.hidden:
            h = h @ layer.weight[k] + layer.bias[k]
            if layer_norm:
                h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
            h = h * torch.sigmoid(h)
        h = h @ mlp.bottleneck.weight[k] + mlp.bottleneck.bias[k]
        torch.testing.assert_close(found[k], h @ mlp.output.weight[k] + mlp.output.bias[k], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("residual", [False, True])
def test_a_network_that_says_nothing_predicts_the_mean(residual: bool) -> None:
    data = transitions()
    model = Ensemble(D, A, replace(SMALL, residual=residual), seeded(0))
    model.standardise(data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    out = model(data.observation, data.action)
    assert out.observation.shape == (2, N, D) and out.reward.shape == (2, N) and out.log_std is None
    if residual:
        change = (data.next_observation - data.observation).mean(0)
        expected = data.observation + change
    else:
        expected = data.next_observation.mean(0).expand(N, D)
    torch.testing.assert_close(out.observation[1], expected)
    torch.testing.assert_close(out.reward[0], data.reward.mean().expand(N))


def test_constant_columns_have_scale_one() -> None:
    x = torch.tensor([[1.0, 7.1, 0.0], [3.0, 7.1, 0.0]])
    torch.testing.assert_close(scale_of(x), torch.ones(3))
    model = Ensemble(D, A, SMALL, seeded(0))
    model.standardise(transitions())
    assert model.input_scale[2] == 1 and model.target_scale[2] == 1
    assert model.input_scale[1] > 50 and model.reward_scale < 0.1


@pytest.mark.parametrize("residual", [False, True])
def test_a_linear_system_is_learnt_by_a_linear_model(residual: bool) -> None:
    data = transitions()
    model = Ensemble(D, A, Architecture(members=2, depth=0, reward_width=8, residual=residual), seeded(0))
    train(model, data, 1500, lr=1e-2)
    error = (model(data.observation, data.action).observation - data.next_observation) / model.target_scale
    assert error.abs().max() < 0.01


def test_rank_limits_the_map() -> None:
    model = Ensemble(D, A, Architecture(members=2, depth=0, rank=1, reward_width=4), seeded(0))
    data = transitions()
    model.standardise(data)
    zero = model(torch.zeros(1, D), torch.zeros(1, A)).observation
    basis = torch.eye(D + A) * model.input_scale
    out = model(basis[:, :D], basis[:, D:]).observation - zero
    for member in out:
        assert torch.linalg.svdvals(member / model.target_scale)[1] < 1e-5


def test_reward_and_states_do_not_disturb_each_other() -> None:
    model, data = Ensemble(D, A, SMALL, seeded(0)), transitions()
    out = model(data.observation, data.action)
    out.observation.square().mean().backward()
    assert all(parameter.grad is None for parameter in model.rewards.parameters())
    shared = Ensemble(D, A, replace(SMALL, reward_width=0), seeded(0))
    assert shared.rewards is None and shared(data.observation, data.action).reward.shape == (2, N)


def test_members_are_fitted_independently() -> None:
    """The parameters of member 1 do not depend on member 0."""
    one, two = (Ensemble(D, A, SMALL, seeded(0)) for _ in range(2))
    with torch.no_grad():
        for parameter in two.parameters():
            parameter[0] += 0.1
    data = transitions()
    for model in (one, two):
        train(model, data, 20)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])
        assert not torch.equal(a[0], a[1])


def test_the_same_seed_gives_the_same_model_and_global_randomness_is_left_alone() -> None:
    before = torch.get_rng_state()
    models = []
    for _ in range(2):
        model = Ensemble(D, A, replace(SMALL, gaussian=True), seeded(3))
        train(model, transitions(), 10)
        model.step(torch.zeros(4, D), torch.zeros(4, A), seeded(4))
        models.append(model)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())


def test_a_gaussian_model_learns_the_noise() -> None:
    g = seeded(5)
    s, a = torch.randn(N, D, generator=g), torch.rand(N, A, generator=g)
    after = 0.5 * s + 0.3 * torch.randn(N, D, generator=g)
    data = Transitions(s, a, s[:, 0], after, torch.zeros(N, dtype=torch.bool))
    model = Ensemble(D, A, Architecture(members=2, width=4, depth=1, gaussian=True), seeded(0))
    train(model, data, 800, loss="nll", lr=1e-2)
    out = model(s, a, torch.randn(500, 2, len(s), D, generator=seeded(6)))
    assert out.samples.shape == (500, 2, N, D) and out.log_std.shape == (2, N, D + 1)
    assert out.log_std.min() >= LOG_STD[0] and out.log_std.max() <= LOG_STD[1]
    sd = torch.exp(out.log_std[..., :D]) * model.target_scale
    assert 0.2 < sd.mean() < 0.35
    torch.testing.assert_close(out.samples.std(0).mean(), sd.mean(), rtol=0.02, atol=0)
    torch.testing.assert_close(out.samples.mean(0).mean(), out.observation.mean(), rtol=0, atol=0.01)


def test_steps_come_from_members_drawn_at_random() -> None:
    model, data = Ensemble(D, A, SMALL, seeded(0)), transitions()
    out = model(data.observation, data.action)
    after, reward = model.step(data.observation, data.action, seeded(2))
    first = (after == out.observation[0]).all(-1)
    second = (after == out.observation[1]).all(-1)
    assert (first ^ second).all() and 60 < first.sum() < 140
    assert torch.equal(reward[first], out.reward[0][first]) and torch.equal(reward[second], out.reward[1][second])


def test_validation_rows_keep_their_own_weights() -> None:
    data, model = transitions(), Ensemble(D, A, SMALL, seeded(0))
    model.standardise(data)
    values = lambda s: torch.stack([torch.sin(s[..., 0]), 0.01 * s[..., 1] ** 2], -1)  # noqa: E731
    training = torch.arange(N) < 150
    _, weights = LOSSES["vagram"].weigh(values, data, model.error_units(0.99), training)
    found = evaluate(model, data, torch.arange(150, N), losses.vagram, weights)
    direct = losses.vagram(model(data.observation, data.action), data, weights)
    torch.testing.assert_close(found, direct[:, 150:].mean(-1))


def test_sizes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Ensemble(D, A, replace(SMALL, width=0))
    with pytest.raises(ValueError, match="depth = -1"):
        Ensemble(D, A, replace(SMALL, depth=-1))


def test_every_deterministic_loss_fits() -> None:
    data: Any = transitions()
    values = lambda s: torch.tanh(s * torch.tensor([1.0, 0.01, 0.0])) @ torch.ones(D, 2)  # noqa: E731
    for name, entry in LOSSES.items():
        model = Ensemble(D, A, replace(SMALL, gaussian="gaussian" in entry.needs), seeded(0))
        model.standardise(data)
        _, weights = entry.weigh(values, data, model.error_units(0.99), generator=seeded(0))
        assert (weights.values is not None) == ("values" in entry.needs)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        own = ModelFit(data, torch.arange(N), entry.loss, weights, seeded(1))
        ends = [fit(model, optimiser, own._replace(generator=seeded(1)), 40) for _ in "abc"]
        assert ends[2] < ends[0], name
