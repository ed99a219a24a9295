"""Bradley-Terry reward models: identities of the losses, independence of members, and what they learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from valuegym.agents.divergence import DivergenceError
from valuegym.agents.reward_models import bradley_terry
from valuegym.agents.reward_models.bradley_terry import (
    LOSSES,
    RewardEnsemble,
    StepReward,
    bt_loss,
    dynamic_scale,
    extrapolate,
    fit_pairs,
    fit_ratings,
    margin_loss,
    reward_ensemble,
    scaled_loss,
    segment_scores,
)
from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.metrics import accuracy, expected_calibration_error
from valuegym.agents.reward_models.pairs import Pairs, make_pairs

D = 5


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(n: int, seed: int, steps: int = 3, strength: bool = False) -> Pairs:
    """Pairs labelled without noise by a fixed linear reward."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2, steps, D))
    mask = np.arange(steps) < rng.integers(1, steps + 1, (n, 2, 1))
    scores = (x @ np.arange(1, D + 1) * mask).sum(-1)
    gap = scores[:, 1] - scores[:, 0]
    return make_pairs(
        x[:, 0],
        x[:, 1],
        (gap > 0) * 1.0,
        first_mask=mask[:, 0],
        second_mask=mask[:, 1],
        strength=np.clip(np.abs(gap) / 4, 1, 3).round() if strength else None,
        ratings=scores / 10,
    )


LOGIT = torch.linspace(-4, 4, 9, dtype=torch.float64)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", [0.0, 0.3, 0.5, 1.0])
def test_losses_do_not_know_first_from_second(name: str, label: float) -> None:
    y, strength = torch.tensor(label, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64)
    assert torch.allclose(LOSSES[name](LOGIT, y, strength), LOSSES[name](-LOGIT, 1 - y, strength), atol=1e-14)


def test_losses_have_their_closed_forms() -> None:
    one = torch.ones(9, dtype=torch.float64)
    assert torch.allclose(bt_loss(LOGIT, one), -torch.sigmoid(LOGIT).log())
    assert torch.allclose(bt_loss(LOGIT, 0 * one), -torch.sigmoid(-LOGIT).log())
    assert torch.allclose(bt_loss(LOGIT, one / 2).argmin(), torch.tensor(4))
    assert torch.allclose(margin_loss(LOGIT, one, 2 * one), -torch.sigmoid(LOGIT - 2).log())
    assert torch.allclose(margin_loss(LOGIT, 0 * one, 2 * one), -torch.sigmoid(-LOGIT - 2).log())
    assert torch.equal(margin_loss(LOGIT, one / 2, 2 * one), bt_loss(LOGIT, one / 2))
    assert torch.allclose(scaled_loss(LOGIT, one, 3 * one), 3 * bt_loss(LOGIT, one))
    assert torch.allclose(dynamic_scale(torch.tensor([0.0, 1e9]), 2.0, 0.5, 1.0), torch.tensor([2.0, 3.0]))


@pytest.mark.parametrize(("name", "strength"), [("margin", 0.0), ("scaled", 1.0), ("dynamic", 0.0), ("bt", 2.0)])
def test_neutral_strength_is_plain_bradley_terry(name: str, strength: float) -> None:
    for label in (0.0, 0.5, 1.0):
        y = torch.full_like(LOGIT, label)
        assert torch.equal(LOSSES[name](LOGIT, y, torch.full_like(LOGIT, strength)), bt_loss(LOGIT, y))


def gradient(model: RewardEnsemble, losses: Tensor) -> Tensor:
    parts = torch.autograd.grad(losses.sum(), list(model.parameters()))
    return torch.cat([part.reshape(-1) for part in parts])


def test_scaled_gradient_is_that_of_repeated_pairs() -> None:
    pairs = linear(40, 0, strength=True)
    assert pairs.strength is not None and set(pairs.strength.tolist()) == {1.0, 2.0, 3.0}
    model = reward_ensemble(D, seeded(1), members=2, width=8)
    repeated = pairs[torch.arange(40).repeat_interleave(pairs.strength.long())]
    one = gradient(model, scaled_loss(model(pairs), pairs.labels, pairs.strength))
    two = gradient(model, bt_loss(model(repeated), repeated.labels))
    assert float((one - two).abs().max()) < 1e-5 * float(two.abs().max())


def test_scores_are_discounted_sums_over_steps_that_count() -> None:
    rewards, mask = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert segment_scores(rewards, mask).item() == 3
    assert segment_scores(rewards, mask, 0.5).item() == 2


def test_padding_is_nothing_to_a_model() -> None:
    pairs, model = linear(30, 1), reward_ensemble(D, seeded(0))
    other = Pairs(torch.where(pairs.mask[..., None] > 0, pairs.inputs, 7.0), pairs.mask, pairs.labels)
    assert torch.allclose(model(pairs), model(other), atol=1e-6)
    model.network.standardise.fit(pairs.inputs, pairs.mask)
    shift = model.network.standardise.shift.clone()
    model.network.standardise.fit(other.inputs, other.mask)
    assert torch.equal(shift, model.network.standardise.shift)


def test_swapped_pairs_have_the_opposite_logit() -> None:
    pairs, model = linear(30, 1), reward_ensemble(D, seeded(0))
    assert torch.equal(model(Pairs(pairs.inputs.flip(1), pairs.mask.flip(1), 1 - pairs.labels)), -model(pairs))


def test_members_learn_alone() -> None:
    pairs, settings = linear(60, 2), FitSettings(20, None)
    together = reward_ensemble(D, seeded(3), members=3, width=6)
    alone = reward_ensemble(D, seeded(4), members=1, width=6)
    fitted = []
    for k in range(3):
        for one, all_ in zip(alone.parameters(), together.parameters(), strict=True):
            one.data = all_.data[k : k + 1].clone()
        fit_pairs(alone, pairs, settings, seeded(0))
        fitted.append(alone(pairs).detach()[0])
    fit_pairs(together, pairs, settings, seeded(0))
    assert torch.allclose(together(pairs), torch.stack(fitted), atol=1e-5)


def test_bagging_draws_a_sample_of_its_own_for_each_member() -> None:
    pairs = linear(50, 5)
    model = reward_ensemble(D, seeded(3), members=2, width=6)
    for parameter in model.parameters():
        parameter.data[1] = parameter.data[0]
    fit_pairs(model, pairs, FitSettings(5, None), seeded(0))
    assert torch.allclose(*model(pairs), atol=1e-5)
    fit_pairs(model, pairs, FitSettings(5, None, bagging=True), seeded(0))
    assert not torch.allclose(*model(pairs), atol=1e-3)


def test_same_seed_same_bits_and_the_global_state_stays() -> None:
    pairs, state, found = linear(50, 5), torch.random.get_rng_state(), []
    for seed in (0, 0, 1):
        model = reward_ensemble(D, seeded(seed), width=6)
        fit_pairs(model, pairs, FitSettings(5, 16, bagging=True), seeded(seed))
        found.append(model(pairs).detach())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_learns_a_linear_reward(loss: str) -> None:
    train, test = linear(400, 6, strength=True), linear(300, 7)
    model = reward_ensemble(D, seeded(0), members=2, width=16, depth=1)
    history = fit_pairs(model, train, FitSettings(100, 128, 0.03), seeded(1), loss)
    assert history.shape == (100, 2)
    assert float(accuracy(model(test).detach(), test.labels).min()) > 0.93


def test_constant_inputs_do_no_harm() -> None:
    pairs = linear(100, 8)
    constant = torch.full_like(pairs.inputs[..., :1], 3e3)
    pairs = Pairs(torch.cat([pairs.inputs, constant], -1), pairs.mask, pairs.labels)
    model = reward_ensemble(D + 1, seeded(0), members=1, width=16, depth=1)
    fit_pairs(model, pairs, FitSettings(100, None, 0.02), seeded(1))
    assert float(accuracy(model(pairs).detach(), pairs.labels)) > 0.95


def test_ratings_come_first_and_the_line_goes_on() -> None:
    train, test = linear(200, 9), linear(200, 10)
    start = reward_ensemble(D, seeded(0), members=2, width=16, depth=1)
    errors = fit_ratings(start, train, FitSettings(120, None, 0.03), seeded(1))
    assert float(errors[-1].max()) < 0.05
    assert float(accuracy(start(test).detach(), test.labels).min()) > 0.93
    end = reward_ensemble(D, seeded(0), members=2, width=16, depth=1)
    end.load_state_dict(start.state_dict())
    fit_pairs(end, train, FitSettings(20, None), seeded(1), standardise=False)
    for amount, model in ((0.0, end), (-1.0, start)):
        assert torch.allclose(extrapolate(start, end, amount)(test), model(test), atol=1e-4)
    fit_pairs(end, test, FitSettings(2, None), seeded(1))
    with pytest.raises(ValueError, match="standardise"):
        extrapolate(start, end, 0.5)
    with pytest.raises(ValueError, match="shapes"):
        extrapolate(start, reward_ensemble(D, seeded(0), members=1), 0.5)
    with pytest.raises(ValueError, match="ratings is None"):
        fit_ratings(start, Pairs(train.inputs, train.mask, train.labels), FitSettings(1), seeded(0))


def cycle(items: int) -> Pairs:
    """A round of comparisons in which each item loses to the next, as one-hot items."""
    eye = np.eye(items)
    return make_pairs(eye, np.roll(eye, -1, 0), np.ones(items))


@pytest.mark.parametrize("items", [3, 4, 7])
def test_a_cycle_stays_at_chance(items: int) -> None:
    pairs = cycle(items)
    model = reward_ensemble(items, seeded(0), members=3, width=16)
    history = fit_pairs(model, pairs, FitSettings(250, None, 0.02), seeded(0))
    assert float((history[-1] - math.log(2)).abs().max()) < 1e-3
    assert float(history.min()) > math.log(2) - 1e-6
    assert accuracy(model(pairs).detach().round(decimals=1), pairs.labels).tolist() == [0.5] * 3


def test_the_loss_that_leaves_the_numbers_is_an_error() -> None:
    pairs = linear(20, 0)
    model = reward_ensemble(D, seeded(0), members=2)
    with torch.no_grad():
        next(model.parameters())[1] = math.inf
    with pytest.raises(DivergenceError, match="loss of the reward model is"):
        fit_pairs(model, pairs, FitSettings(3), seeded(0))
    assert pairs.ratings is not None
    vast = Pairs(pairs.inputs, pairs.mask, pairs.labels, ratings=pairs.ratings * 1e30)
    with pytest.raises(DivergenceError, match="loss of the regression is"):
        fit_ratings(reward_ensemble(D, seeded(0)), vast, FitSettings(3), seeded(0))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "bt"])
def test_losses_of_strength_need_strength(name: str) -> None:
    with pytest.raises(ValueError, match="strength is None"):
        fit_pairs(reward_ensemble(D, seeded(0)), linear(20, 0), FitSettings(3), seeded(0), name)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 1.5},
        {"batch": 0},
        {"lr": 0.0},
        {"lr": math.nan},
        {"lr": 1e38},
        {"weight_decay": -1},
        {"bagging": 1},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        FitSettings(**settings)  # type: ignore[arg-type] - the point


@pytest.mark.parametrize("sizes", [{"members": 0}, {"width": 0}, {"depth": -1}, {"discount": 0.0}, {"discount": 1.1}])
def test_bad_sizes_are_refused(sizes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(sizes))):
        reward_ensemble(D, seeded(0), **sizes)  # type: ignore[arg-type] - the point


def test_another_number_of_inputs_or_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="inputs"):
        fit_pairs(reward_ensemble(D + 1, seeded(0)), linear(20, 0), FitSettings(3), seeded(0))
    with pytest.raises(ValueError, match="loss"):
        fit_pairs(reward_ensemble(D, seeded(0)), linear(20, 0), FitSettings(3), seeded(0), "hinge")


def test_rewards_of_steps_as_arrays() -> None:
    model = reward_ensemble(4, seeded(0), members=3)
    observations, actions = np.random.default_rng(0).standard_normal((7, 2)), np.arange(7) % 2
    found = StepReward(model, 2)(observations, actions, observations)
    inputs = torch.tensor(np.concatenate([observations, np.eye(2)[actions]], -1), dtype=torch.float32)
    assert found.shape == (3, 7) and found.dtype == np.float64
    assert np.array_equal(found, model.rewards(inputs[None]).detach().numpy().astype(float))


def test_accuracy_and_calibration_have_their_closed_forms() -> None:
    labels = torch.tensor([0.0, 1.0, 0.5, math.nan, 1.0, 1.0])
    logits = torch.tensor([[-1.0, 2, 3, 4, 0, -1], [1, -2, 0, 0, -1, -1]])
    assert accuracy(logits, labels).tolist() == [0.625, 0.0]
    assert accuracy(-logits, labels).tolist() == [0.375, 1.0]
    p = torch.tensor([[0.1, 0.9, 0.5, 0.2, 0.9, 1.0]])
    # Bins 0.1, 0.5, 0.9 and 1 hold 0 of 1, 0.5 of 0.5, 2 of 1.8, 1 of 1: |0.1| + 0 + |2.8 - 3| of five pairs.
    assert expected_calibration_error(p, labels).tolist() == pytest.approx([(0.1 + 0.2) / 5], abs=1e-6)
    assert expected_calibration_error(labels[:3], labels[:3]).item() == 0
    for broken in (torch.tensor([0.5]), torch.tensor([math.nan])):
        with pytest.raises(ValueError, match="labels"):
            accuracy(torch.ones(1), broken)
    with pytest.raises(ValueError, match="NaN"):
        accuracy(torch.tensor([math.nan]), torch.ones(1))
    with pytest.raises(ValueError, match="outside"):
        expected_calibration_error(torch.tensor([1.5]), torch.ones(1))


def test_steps_that_are_the_same_are_evaluated_once() -> None:
    """Logits and a fit of pairs of few distinct steps are those of all steps, up to rounding."""
    rng = np.random.default_rng(0)
    cells = np.eye(5)[rng.integers(0, 5, (2, 40, 9))]
    mask = np.arange(9) < rng.integers(1, 10, (2, 40, 1))
    pairs = make_pairs(*cells, rng.integers(0, 2, 40) * 1.0, first_mask=mask[0], second_mask=mask[1])
    rows = torch.as_tensor(rng.integers(0, 40, (3, 16)))
    fits = []
    for few in (10**6, 0):
        model = reward_ensemble(5, torch.Generator().manual_seed(0), 3, 8)
        logits = bradley_terry._logits(model, pairs, few)
        with torch.no_grad():
            fits.append(logits(rows))
            torch.testing.assert_close(fits[-1], model(pairs[rows]))
