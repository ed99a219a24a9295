"""Policy discrimination: policies held out are distinguished without labels, and a few labels are enough after that."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.metrics import accuracy
from valuegym.agents.reward_models.pairs import Pairs, make_pairs
from valuegym.agents.reward_models.polar import (
    PolicyDiscriminator,
    fit_policies,
    fit_with_references,
    policy_accuracy,
)

L = 10


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def behaviour(gains: np.ndarray, segments: int, rng: np.random.Generator) -> np.ndarray:
    """Segments (P, M, L, 3) of policies a = gain * s + bias + noise of one state: state, action and their product."""
    s = rng.standard_normal((len(gains), segments, L))
    a = gains[:, :1, None] * s + gains[:, 1:, None] + 0.3 * rng.standard_normal(s.shape)
    return np.stack([s, a, s * a], -1)


def random_gains(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-2, 2, (count, 2))


@pytest.fixture(scope="module")
def trained() -> PolicyDiscriminator:
    rng = np.random.default_rng(0)
    model = PolicyDiscriminator(3, seeded(0), members=2, width=32, dimensions=16)
    fit_policies(model, behaviour(random_gains(40, rng), 20, rng), FitSettings(200, 96, 6e-3), seeded(0))
    return model


def test_policies_that_were_not_seen_are_distinguished(trained: PolicyDiscriminator) -> None:
    rng = np.random.default_rng(1)
    held_out = behaviour(random_gains(30, rng), 10, rng)
    assert float(policy_accuracy(trained, held_out, seeded(0)).min()) > 0.9
    untrained = PolicyDiscriminator(3, seeded(3), members=2)
    assert float(policy_accuracy(untrained, held_out, seeded(0)).max()) < 0.8


def test_checkpoints_are_ranked_by_a_demonstration(trained: PolicyDiscriminator) -> None:
    """Checkpoints on the way from a random policy to an expert, without a label: closer ones have more reward."""
    rng = np.random.default_rng(2)
    start, expert = np.array([[-1.5, 1.0]]), np.array([[1.5, -1.0]])
    way = start + np.linspace(0, 1, 6)[:, None] * (expert - start)
    x = torch.tensor(behaviour(way, 10, rng), dtype=torch.float32).flatten(0, 1)
    demonstration = torch.tensor(behaviour(expert, 5, rng)[0], dtype=torch.float32)
    rewards = trained.rewards(demonstration, torch.ones(5, L), x, torch.ones(60, L)).reshape(2, 6, 10).mean(-1)
    # Far policies are far alike; from the middle on, the order is that of training.
    assert (rewards[:, 3:].diff(dim=1) > 0).all() and (rewards[:, 5] > rewards[:, :5].amax(1)).all()


def labelled(n: int, care: tuple[float, float], rng: np.random.Generator) -> tuple[Pairs, Tensor]:
    """Answers of people who want the gain and the bias of the reference, as far as they care for each."""
    gains = random_gains(3 * n, rng).reshape(3, n, 2)
    reference, first, second = (behaviour(g, 1, rng)[:, 0] for g in gains)
    distance = (np.abs(gains[1:] - gains[0]) * care).sum(-1)
    pairs = make_pairs(first, second, (distance[1] < distance[0]) * 1.0)
    return pairs, torch.tensor(reference, dtype=torch.float32)


@torch.no_grad()
def predicted(model: PolicyDiscriminator, pairs: Pairs, references: Tensor) -> float:
    """Return the mean accuracy of members."""
    seen = model.embed(references[None], torch.ones(1, len(references), L))[..., None, :]
    r = model(seen, model.embed(pairs.inputs[None], pairs.mask[None]))
    return float(accuracy(r[..., 1] - r[..., 0], pairs.labels).mean())


@pytest.mark.parametrize(("care", "labels"), [((1.0, 1.0), 10), ((1.0, 0.0), 40)])
def test_few_labels_are_enough_after_pre_training(
    trained: PolicyDiscriminator, care: tuple[float, float], labels: int
) -> None:
    rng = np.random.default_rng(3)
    few, test, found = labelled(labels, care, rng), labelled(400, care, rng), {}
    for start in ("pre-trained", "from nothing"):
        model = PolicyDiscriminator(3, seeded(0), members=2, width=32, dimensions=16)
        model.network.standardise.fit(few[0].inputs, few[0].mask)
        if start == "pre-trained":
            model.load_state_dict(trained.state_dict())
        before = predicted(model, *test)
        fit_with_references(model, *few, FitSettings(60, None, 3e-3), seeded(0))
        found[start] = before, predicted(model, *test)
    assert found["pre-trained"][1] > found["from nothing"][1] + 0.03
    if care[1]:
        assert found["pre-trained"][0] > 0.75  # before the first label
    else:
        assert found["pre-trained"][1] > found["pre-trained"][0] + 0.05  # other wishes than those it was trained for


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(4)
    segments = behaviour(random_gains(3, rng), 4, rng)
    model = PolicyDiscriminator(3, seeded(0))
    for bad in (segments[:1], segments[:, :1], segments[0], np.where(segments > 1, np.nan, segments)):
        with pytest.raises(ValueError, match="segments"):
            fit_policies(model, bad, FitSettings(1), seeded(0))
    for mask in (np.zeros((3, 4, L)), np.ones((3, 4)), np.full((3, 4, L), 0.5)):
        with pytest.raises(ValueError, match="mask"):
            fit_policies(model, segments, FitSettings(1), seeded(0), mask)
    pairs = make_pairs(segments[0], segments[1], np.ones(4))
    with pytest.raises(ValueError, match="references"):
        fit_with_references(model, pairs, segments[2][:3], FitSettings(1), seeded(0))
    with pytest.raises(ValueError, match="references_mask"):
        fit_with_references(model, pairs, segments[2], FitSettings(1), seeded(0), np.ones((4, 3)))


def test_padding_is_nothing() -> None:
    rng = np.random.default_rng(5)
    model = PolicyDiscriminator(3, seeded(0))
    x = torch.tensor(behaviour(random_gains(2, rng), 4, rng), dtype=torch.float32).flatten(0, 1)
    mask = torch.ones(8, L)
    mask[:, 6:] = 0
    whole, short = model.embed(x[None], mask[None]), model.embed(x[None, :, :6], mask[None, :, :6])
    assert torch.allclose(whole, short, atol=1e-6)
