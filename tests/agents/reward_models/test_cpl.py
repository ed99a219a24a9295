"""Contrastive preference learning: Bradley-Terry without bias, its gradient, and policies that it recovers."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.preference.cpl import log_softmax
from valuegym.agents.reward_models.bradley_terry import bt_loss, segment_scores
from valuegym.agents.reward_models.cpl import CategoricalPolicy, GaussianPolicy, cpl_loss, fit_policy
from valuegym.agents.reward_models.fitting import FitSettings

N, L, S, A = 300, 5, 4, 3


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((S, A))
STATES, ACTIONS = RNG.integers(S, size=(N, 2, L)), RNG.integers(A, size=(N, 2, L))
MASK = torch.tensor(np.arange(L) < RNG.integers(1, L + 1, (N, 2, 1)), dtype=torch.float64)


def logs(table: torch.Tensor) -> torch.Tensor:
    return table.log_softmax(-1)[STATES, ACTIONS]


@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
def test_without_bias_it_is_bradley_terry_of_log_probabilities(label: float) -> None:
    p, y = logs(torch.tensor(LOGITS)), torch.full((N,), label, dtype=torch.float64)
    score = 0.7 * segment_scores(p, MASK, 0.9)
    assert torch.allclose(cpl_loss(p, MASK, y, 0.7, 1.0, 0.9), bt_loss(score[:, 1] - score[:, 0], y))
    swapped = cpl_loss(p.flip(1), MASK.flip(1), 1 - y, 0.7, 0.3)
    assert torch.allclose(swapped, cpl_loss(p, MASK, y, 0.7, 0.3))


def test_gradient_is_that_of_the_learner_of_tables() -> None:
    alpha, discount = 0.8, 0.9
    labels = torch.tensor(RNG.integers(0, 3, N) / 2)
    table = torch.tensor(LOGITS, requires_grad=True)
    cpl_loss(logs(table), MASK, labels, alpha, 1.0, discount).sum().backward()
    # The tabular form: counts @ log softmax, and the slope through the softmax.
    counts = np.zeros((N, S, A))
    weight = np.array([-1.0, 1.0])[:, None] * discount ** np.arange(L) * MASK.numpy()
    np.add.at(counts, (np.arange(N)[:, None, None], STATES, ACTIONS), alpha * weight)
    x = (counts * log_softmax(LOGITS)).sum((1, 2))
    slope = np.einsum("nsa,n->sa", counts, 1 / (1 + np.exp(-x)) - labels.numpy())
    slope -= np.exp(log_softmax(LOGITS)) * slope.sum(-1, keepdims=True)
    assert table.grad is not None and np.allclose(table.grad.numpy(), slope, atol=1e-9)


def test_bias_draws_the_policy_to_what_was_preferred() -> None:
    """One state, actions 0 over 1, and 2 in no pair: without bias nothing says that 2 is worse than 0."""
    observations = torch.zeros(8, 2, 1, 1)
    actions = torch.tensor([[[1], [0]]]).expand(8, 2, 1)
    share = {}
    for bias in (1.0, 0.5):
        policy = CategoricalPolicy(1, 3, seeded(0), width=8, depth=1)
        settings = FitSettings(100, None, 0.02)
        fit_policy(
            policy, observations, actions, torch.ones(8, 2, 1), torch.ones(8), settings, seeded(0), alpha=1.0, bias=bias
        )
        every = policy.log_probabilities(torch.zeros(1, 3, 1), torch.arange(3)[None])[0].exp().detach()
        assert float(every.sum()) == pytest.approx(1, abs=1e-5) and float(every[0]) > float(every[1])
        share[bias] = float(every[0])
    assert share[0.5] > share[1.0] + 0.02


def test_a_discrete_policy_is_recovered_from_advantages() -> None:
    true = torch.tensor(log_softmax(2 * LOGITS))
    advantage = (true[STATES, ACTIONS] * MASK).sum(-1)
    labels = (advantage[:, 1] > advantage[:, 0]).float()
    observations = torch.eye(S)[torch.tensor(STATES)]
    policy = CategoricalPolicy(S, A, seeded(0), members=2, width=16, depth=1)
    history = fit_policy(
        policy, observations, torch.tensor(ACTIONS), MASK, labels, FitSettings(150, 100, 0.03), seeded(0), 1.0, 0.9
    )
    assert history.shape == (150, 2)
    probability = policy.network(torch.eye(S)[None]).softmax(-1)
    assert torch.equal(probability.argmax(-1), true.argmax(-1).expand(2, S))


def test_a_gaussian_policy_is_recovered_from_preferences() -> None:
    g = seeded(1)
    observations, actions = torch.randn(N, 2, L, 2, generator=g), 2 * torch.randn(N, 2, L, 1, generator=g)
    best = observations[..., :1] - 0.5 * observations[..., 1:]
    cost = (actions - best).square().sum((-1, -2))
    labels = (cost[:, 1] < cost[:, 0]).float()
    labels[::10] = math.nan
    policy = GaussianPolicy(2, 1, seeded(0), width=16, depth=1)
    fit_policy(policy, observations, actions, torch.ones(N, 2, L), labels, FitSettings(200, 64, 0.015), seeded(0), 1.0)
    mean, deviation = (x.detach() for x in policy.moments(observations[None]))
    assert float((mean - best).square().mean().sqrt()) < 0.5 < float(best.square().mean().sqrt())
    want = torch.distributions.Normal(mean, deviation).log_prob(actions).sum(-1)
    assert torch.allclose(policy.log_probabilities(observations[None], actions[None]).detach(), want)


def test_bad_input_is_refused() -> None:
    observations, actions = torch.zeros(4, 2, L, 2), torch.zeros(4, 2, L, dtype=torch.int64)
    good = {"observations": observations, "actions": actions, "mask": torch.ones(4, 2, L), "labels": torch.ones(4)}
    policy = CategoricalPolicy(2, 3, seeded(0))
    changes = [
        ("observations", observations[..., 0]),
        ("observations", observations + math.nan),
        ("actions", actions[:, :1]),
        ("actions", actions + 3),
        ("actions", actions - 1),
        ("actions", actions.float()),
        ("mask", torch.zeros(4, 2, L)),
        ("mask", torch.ones(4, 2)),
        ("labels", torch.ones(3)),
        ("labels", torch.full((4,), 2.0)),
        ("labels", torch.full((4,), math.nan)),
    ]
    for name, value in changes:
        with pytest.raises(ValueError, match=name):
            fit_policy(policy, **(good | {name: value}), settings=FitSettings(1), generator=seeded(0))
    for option in ({"alpha": 0.0}, {"bias": 0.0}, {"bias": 1.5}, {"discount": 0.0}):
        with pytest.raises(ValueError, match=next(iter(option))):
            fit_policy(policy, **good, settings=FitSettings(1), generator=seeded(0), **option)
    continuous = GaussianPolicy(2, 2, seeded(0))
    with pytest.raises(ValueError, match="actions have 1"):
        fit_policy(
            continuous, **(good | {"actions": torch.zeros(4, 2, L, 1)}), settings=FitSettings(1), generator=seeded(0)
        )
