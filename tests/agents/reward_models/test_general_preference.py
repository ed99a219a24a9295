"""The general preference model: exact skew symmetry, Bradley-Terry as a special case, cycles."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.general_preference import (
    GeneralPreference,
    fit_general_preference,
    preference_matrix,
    skew_score,
)
from valuegym.agents.reward_models.metrics import accuracy
from valuegym.agents.reward_models.pairs import Pairs, make_pairs


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def compared(wins: np.ndarray) -> Pairs:
    """One-hot items, each pair of a tournament once: wins[i, j] if j beats i."""
    i, j = np.nonzero(np.triu(np.ones_like(wins), 1) * (wins + wins.T > 0))
    eye = np.eye(len(wins))
    return make_pairs(eye[i], eye[j], wins[i, j] * 1.0)


def cycle(items: int) -> np.ndarray:
    return np.roll(np.eye(items), 1, 1)


def tournament(items: int) -> np.ndarray:
    """Each item loses to the next (items - 1) / 2, in a round: rock, paper, scissors and more."""
    return sum((np.roll(np.eye(items), k, 1) for k in range(1, (items + 1) // 2)), np.zeros((items, items)))


@pytest.mark.parametrize("dimensions", [2, 4, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_skew_symmetric_to_the_bit(dimensions: int, dtype: torch.dtype) -> None:
    a, b = torch.randn(2, 500, dimensions, generator=seeded(0), dtype=dtype)
    assert torch.equal(skew_score(a, b), -skew_score(b, a))
    assert not skew_score(a, a).any()
    matrix = preference_matrix(a[:20], 0.3)
    assert torch.allclose(matrix + matrix.T, torch.ones(20, 20, dtype=dtype))
    assert torch.equal(matrix.diagonal(), torch.full((20,), 0.5, dtype=dtype))


def test_a_reward_beside_one_is_bradley_terry() -> None:
    r = torch.randn(50, generator=seeded(0), dtype=torch.float64)
    v = torch.stack([r, torch.ones_like(r)], -1)
    assert torch.equal(skew_score(v[:, None], v[None]), r[:, None] - r[None])
    assert torch.equal(preference_matrix(v, 2.0), torch.sigmoid((r[:, None] - r[None]) / 2))


def test_swapped_segments_have_the_opposite_logit() -> None:
    x = np.random.default_rng(0).standard_normal((2, 30, 4, 3))
    model = GeneralPreference(3, seeded(0), members=2)
    one, two = (model(make_pairs(*segments, np.ones(30))) for segments in (x, x[::-1]))
    assert torch.allclose(one, -two, atol=1e-5)
    assert not model(make_pairs(x[0], x[0], np.ones(30))).any()


@pytest.mark.parametrize("items", [3, 4, 7])
@pytest.mark.parametrize("dimensions", [4, 6])
def test_cycles_are_learned(items: int, dimensions: int) -> None:
    pairs = compared(cycle(items))
    model = GeneralPreference(items, seeded(0), members=3, dimensions=dimensions, width=16, depth=1)
    fit_general_preference(model, pairs, FitSettings(120, None, 0.03), seeded(0))
    assert accuracy(model(pairs).detach(), pairs.labels).tolist() == [1.0] * 3


@pytest.mark.parametrize(("items", "normalise", "dimensions"), [(5, True, 4), (11, True, 4), (5, False, 2)])
def test_tournaments_are_learned(items: int, normalise: bool, dimensions: int) -> None:
    pairs = compared(tournament(items))
    assert len(pairs) == items * (items - 1) // 2
    model = GeneralPreference(
        items,
        seeded(1),
        members=3,
        dimensions=dimensions,
        width=32,
        depth=1,
        normalise=normalise,
        temperature=0.1 if normalise else 1.0,
    )
    fit_general_preference(model, pairs, FitSettings(200, None, 0.03), seeded(0))
    assert accuracy(model(pairs).detach(), pairs.labels).tolist() == [1.0] * 3


def test_a_total_order_is_learned_too() -> None:
    pairs = compared(np.triu(np.ones((8, 8)), 1))
    model = GeneralPreference(8, seeded(0), members=2, width=16, depth=1)
    fit_general_preference(model, pairs, FitSettings(200, None, 0.03), seeded(0))
    assert accuracy(model(pairs).detach(), pairs.labels).tolist() == [1.0] * 2


def test_bad_sizes_are_refused() -> None:
    for options in ({"dimensions": 3}, {"dimensions": 0}, {"temperature": 0.0}, {"normalise": 1}, {"members": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            GeneralPreference(3, seeded(0), **options)  # type: ignore[arg-type] - the point
    with pytest.raises(ValueError, match="even"):
        skew_score(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="even"):
        skew_score(torch.ones(2), torch.ones(4))
    with pytest.raises(ValueError, match="temperature"):
        preference_matrix(torch.ones(3, 2), -1.0)
