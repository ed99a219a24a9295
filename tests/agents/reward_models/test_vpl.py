"""Variational preference learning: the KL term, swapped pairs, collapse, and users of two kinds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from valuegym.agents.reward_models.bradley_terry import fit_pairs, reward_ensemble
from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.metrics import accuracy, active_units
from valuegym.agents.reward_models.pairs import Pairs, UserSets, by_user, make_pairs
from valuegym.agents.reward_models.vpl import (
    VariationalPreference,
    draw_context,
    fit_variational,
    kl_to_standard_normal,
    user_active_units,
)

GOALS = np.array([[0.0, 0.5], [1.0, 0.5]])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Data(NamedTuple):
    pairs: Pairs
    sets: UserSets
    minority: Tensor  # (U,)
    contested: Tensor  # (U, n), pairs on which the two kinds of users disagree


def answered(users: int, share: float, pairs_each: int, rng: np.random.Generator) -> Data:
    """Users who want to be near the one goal or, a share of them, the other; points of the unit square."""
    kind = (rng.random(users) < share).astype(int)
    x = rng.random((users * pairs_each, 2, 2))
    nearer = np.linalg.norm(x[:, :, None] - GOALS, axis=-1)
    wants = (nearer[:, 1] < nearer[:, 0]) * 1.0
    group = np.repeat(np.arange(users), pairs_each)
    pairs = make_pairs(x[:, 0], x[:, 1], wants[np.arange(len(x)), kind[group]], group=group)
    contested = torch.tensor(wants[:, 0] != wants[:, 1]).reshape(users, pairs_each)
    return Data(pairs, by_user(pairs, users), torch.tensor(kind == 1), contested)


def predicted(model: VariationalPreference, data: Data, context: int) -> Tensor:
    """Return logits (U, n) given the first pairs of each user."""
    known = torch.zeros_like(data.sets.labels)
    known[:, :context] = 1
    with torch.no_grad():
        return model(data.sets, model.posterior(data.sets, known)[0])[0]


def shares(logits: Tensor, data: Data) -> tuple[float, float, float]:
    """Return accuracy on all pairs after the first 8, on contested ones, and on those of the minority."""
    later = torch.zeros_like(data.contested)
    later[:, 8:] = True
    masks = later, later & data.contested, later & data.contested & data.minority[:, None]
    return tuple(float(accuracy(logits[m], data.sets.labels[m])) for m in masks)  # type: ignore[return-value]


def bradley_terry(train: Data, test: Data) -> Tensor:
    model = reward_ensemble(2, seeded(0), members=1)
    fit_pairs(model, train.pairs, FitSettings(120, 256, 5e-3), seeded(0))
    with torch.no_grad():
        return model(test.pairs)[0].reshape(test.sets.labels.shape)


def test_kl_has_the_factor_one_half() -> None:
    mean, log_variance = torch.randn(2, 7, 3, generator=seeded(0), dtype=torch.float64)
    reference = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    assert torch.allclose(kl_to_standard_normal(mean, log_variance), reference, atol=1e-12)
    assert not kl_to_standard_normal(torch.zeros(3), torch.zeros(3)).any()


def test_the_order_of_segments_and_pairs_and_padding_are_nothing_to_the_encoder() -> None:
    data = answered(6, 0.5, 5, np.random.default_rng(0))
    model, context = VariationalPreference(2, seeded(0), members=2), torch.ones(6, 5)
    context[:, 3:] = 0
    want = model.posterior(data.sets, context)
    sets = data.sets
    swapped = UserSets(sets.inputs.flip(2), sets.mask.flip(2), 1 - sets.labels, sets.present)
    order = torch.tensor([2, 0, 1, 4, 3])
    shuffled = UserSets(*(x[:, order] for x in (sets.inputs, sets.mask, sets.labels, sets.present)))
    shorter = UserSets(*(x[:, :3] for x in (sets.inputs, sets.mask, sets.labels, sets.present)))
    absent = UserSets(sets.inputs, sets.mask, sets.labels, context)
    for found in (
        model.posterior(swapped, context),
        model.posterior(shuffled, context),
        model.posterior(shorter, context[:, :3]),
        model.posterior(absent, torch.ones(6, 5)),
    ):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, want, strict=True))
    latents = want[0]
    assert torch.allclose(model(swapped, latents), -model(sets, latents), atol=1e-5)


def test_active_units_are_those_that_vary() -> None:
    means = torch.tensor([[0.0, 1.0, 5.0], [0.1, -1.0, 5.0]])
    assert active_units(means).item() == pytest.approx(1 / 3)
    assert active_units(torch.stack([means, 0 * means])).tolist() == pytest.approx([1 / 3, 0])
    with pytest.raises(ValueError, match="two users"):
        active_units(means[:1])


def test_minority_of_one_in_five_is_served() -> None:
    rng = np.random.default_rng(0)
    train, test = answered(600, 0.2, 8, rng), answered(150, 0.2, 16, rng)
    assert shares(bradley_terry(train, test), test)[2] < 0.15
    model = VariationalPreference(2, seeded(0))
    fit_variational(model, train.sets, FitSettings(200, 100, 5e-3), seeded(0))
    every, contested, minority = shares(predicted(model, test, 8), test)
    assert every > 0.95 and contested > 0.95 and minority >= 0.95
    assert float(user_active_units(model, test.sets)) > 0


def test_a_large_beta_collapses_to_bradley_terry() -> None:
    rng = np.random.default_rng(1)
    train, test = answered(400, 0.5, 8, rng), answered(200, 0.5, 16, rng)
    model = VariationalPreference(2, seeded(0), width=32)
    fit_variational(model, train.sets, FitSettings(150, 64, 3e-3), seeded(0), beta=30.0)
    assert float(user_active_units(model, test.sets)) == 0
    one, eight = predicted(model, test, 1), predicted(model, test, 8)
    assert float((one - eight).abs().max()) < 0.1
    assert abs(shares(eight, test)[0] - shares(bradley_terry(train, test), test)[0]) < 0.04


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_users_of_two_kinds_compared(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    train, test = answered(2000, share, 8, rng), answered(500, share, 16, rng)
    plain = shares(bradley_terry(train, test), test)
    found = {}
    for beta in (1.0, 10.0):
        model = VariationalPreference(2, seeded(seed))
        fit_variational(model, train.sets, FitSettings(480, 256, 3e-3), seeded(seed), beta)
        found[beta] = (shares(predicted(model, test, 8), test), float(user_active_units(model, test.sets)))
    print(seed, share, plain, found)
    assert found[1.0][0][1] > 0.95 and found[1.0][0][2] >= 0.95 and found[1.0][1] > 0
    assert found[10.0][1] == 0 and abs(found[10.0][0][0] - plain[0]) < 0.02
    assert plain[2] < 0.1 if share < 0.5 else 0.45 < plain[1] < 0.55


def test_same_seed_same_bits_and_bad_numbers_are_refused() -> None:
    data = answered(20, 0.5, 4, np.random.default_rng(0))
    losses = []
    for _ in range(2):
        model = VariationalPreference(2, seeded(0), members=2, width=8)
        losses.append(fit_variational(model, data.sets, FitSettings(5, 10), seeded(0)))
    assert losses[0].shape == (5, 2) and torch.equal(*losses)
    for options in ({"beta": -1.0}, {"beta": float("nan")}, {"warm_up": 2.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            fit_variational(model, data.sets, FitSettings(5), seeded(0), **options)
    with pytest.raises(ValueError, match="latents"):
        VariationalPreference(2, seeded(0), latents=0)


def test_contexts_are_one_to_all_of_the_pairs_of_a_user() -> None:
    """Those of the lowest draws, none that is absent."""
    present = torch.tensor([[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
    order = torch.tensor([[0.9, 0.2, 0.0, 0.5], [0.1, 0.9, 0.2, 0.3]])
    one, two, every = (draw_context(present, order, torch.full((2,), size)) for size in (0.0, 0.4, 0.99))
    assert one.tolist() == [[0, 1, 0, 0], [0, 1, 0, 0]]
    assert two.tolist() == [[0, 1, 0, 1], [0, 1, 0, 0]]
    assert every.tolist() == present.tolist()
