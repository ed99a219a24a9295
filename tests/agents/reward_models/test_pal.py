"""Ideal points: one prototype is a global model, the true number recovers users, new users fit weights alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.metrics import accuracy
from valuegym.agents.reward_models.pairs import Pairs, make_pairs
from valuegym.agents.reward_models.pal import IdealPoints, distance_logit, fit_ideal_points, fit_new_users

D = 8


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def answered(ideals: np.ndarray, pairs_each: int, rng: np.random.Generator) -> Pairs:
    """Pairs of random points, each user preferring the one closer to its ideal point."""
    group = np.repeat(np.arange(len(ideals)), pairs_each)
    x = rng.standard_normal((len(group), 2, D))
    distance = np.linalg.norm(x - ideals[group][:, None], axis=-1)
    return make_pairs(x[:, 0], x[:, 1], (distance[:, 1] < distance[:, 0]) * 1.0, group=group)


class Population:
    """100 users seen in training and 50 who are not, each with one of three ideal points."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        points = 1.5 * rng.standard_normal((3, D))
        seen, unseen = points[rng.integers(3, size=100)], points[rng.integers(3, size=50)]
        self.train, self.context, self.test = (
            answered(seen, 20, rng),
            answered(unseen, 20, rng),
            answered(unseen, 50, rng),
        )

    def fitted(self, K: int, steps: int = 400) -> IdealPoints:
        model = IdealPoints(D, 100, seeded(0), prototypes=K)
        fit_ideal_points(model, self.train, FitSettings(steps, None, 0.03), seeded(0))
        return model

    def unseen(self, model: IdealPoints, pairs_each: int) -> float:
        kept = torch.arange(len(self.context)) % 20 < pairs_each
        logits = fit_new_users(model, self.context[kept], 50)
        return float(accuracy(model(self.test, logits).detach(), self.test.labels))


def test_closer_is_better() -> None:
    points = torch.tensor([[[0.0, 0], [3, 4]], [[3, 4], [0, 0]], [[1, 0], [0, 1]]])
    assert torch.allclose(distance_logit(points, torch.zeros(3, 2)), torch.tensor([-5.0, 5, 0]), atol=1e-5)
    same = torch.zeros(1, 2, 2, requires_grad=True)
    distance_logit(same, torch.zeros(1, 2)).sum().backward()
    assert same.grad is not None and same.grad.isfinite().all()


def test_the_true_number_of_prototypes_recovers_users_who_are_not_seen() -> None:
    population = Population(0)
    model = population.fitted(3, 300)
    rising = [population.unseen(model, n) for n in (2, 5, 20)]
    assert rising == sorted(rising) and rising[-1] >= 0.94
    single = population.fitted(1, 100)
    assert population.unseen(single, 2) == population.unseen(single, 20) < rising[-1] - 0.08


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_numbers_of_prototypes_compared(seed: int) -> None:
    population = Population(seed)
    found = {K: population.unseen(population.fitted(K), 20) for K in (1, 2, 3, 5)}
    print(seed, found)
    assert found[3] >= 0.94 and found[3] > found[1] + 0.08 and found[3] > found[5] - 0.03


def test_new_users_change_nothing_else_and_do_not_learn_from_each_other() -> None:
    rng = np.random.default_rng(1)
    model = IdealPoints(D, 4, seeded(0), members=2, prototypes=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pairs = answered(rng.standard_normal((5, D)), 6, rng)
    logits = fit_new_users(model, pairs, 6, steps=30)
    assert logits.shape == (2, 6, 3) and not logits[:, 5].any()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert pairs.group is not None
    for user in range(5):
        alone = pairs[pairs.group == user]
        assert torch.allclose(fit_new_users(model, alone, 6, steps=30)[:, user], logits[:, user], atol=1e-4)


def test_one_prototype_is_one_ideal_point_for_all() -> None:
    rng = np.random.default_rng(2)
    pairs = answered(rng.standard_normal((4, D)), 5, rng)
    model = IdealPoints(D, 4, seeded(0), prototypes=1)
    assert pairs.group is not None
    other = Pairs(pairs.inputs, pairs.mask, pairs.labels, group=pairs.group.flip(0))
    assert torch.equal(model(pairs), model(other))


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(3)
    pairs = answered(rng.standard_normal((4, D)), 5, rng)
    model = IdealPoints(D, 3, seeded(0))
    for call in (lambda: model(pairs), lambda: fit_ideal_points(model, pairs, FitSettings(1), seeded(0))):
        with pytest.raises(ValueError, match="group holds 3"):
            call()
    with pytest.raises(ValueError, match="group is None"):
        fit_new_users(model, Pairs(pairs.inputs, pairs.mask, pairs.labels), 4)
    with pytest.raises(ValueError, match="group holds 3"):
        fit_new_users(model, pairs, 2)
    for options in ({"prototypes": 0}, {"dimensions": 0}, {"depth": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            IdealPoints(D, 3, seeded(0), **options)
    with pytest.raises(ValueError, match="user_lr"):
        fit_ideal_points(IdealPoints(D, 4, seeded(0)), pairs, FitSettings(1), seeded(0), user_lr=0.0)
