"""Choice of pairs: every selection returns different rows, closed forms, ties, and fewer answers needed."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from valuegym.agents.reward_models.queries import (
    SELECTIONS,
    binary_entropy,
    disagreement,
    expected_entropy,
    information_gain,
    k_center,
    select,
)

E, N, F = 3, 40, 2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LOGITS = 2 * torch.randn(E, N, generator=seeded(0))
FEATURES = torch.randn(N, F, generator=seeded(1))


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("count", [1, 7, N])
def test_rows_are_different_and_the_seed_decides(name: str, count: int) -> None:
    rows = [select(name, count, seeded(seed), LOGITS, FEATURES) for seed in (0, 0, 1)]
    assert rows[0].shape == (count,) and len(set(rows[0].tolist())) == count
    assert set(rows[0].tolist()) <= set(range(N)) and torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("name", SELECTIONS)
def test_bad_input_is_refused(name: str) -> None:
    for count in (0, N + 1, 1.5):
        with pytest.raises(ValueError, match="count"):
            select(name, count, seeded(0), LOGITS, FEATURES)  # type: ignore[arg-type] - the point
    with pytest.raises(ValueError, match="is None"):
        select(name, 2, seeded(0))
    bad = LOGITS.clone(), FEATURES.clone()
    bad[0][0, 0] = bad[1][0, 0] = math.nan
    if name != "uniform":
        with pytest.raises(ValueError, match="finite"):
            select(name, 2, seeded(0), *bad)
    if "k_center" in name:
        with pytest.raises(ValueError, match="answered has 3 features"):
            select(name, 2, seeded(0), LOGITS, FEATURES, torch.zeros(4, 3))
        with pytest.raises(ValueError, match="features"):
            select(name, 2, seeded(0), LOGITS)
    with pytest.raises(ValueError, match="name"):
        select(name + "s", 2, seeded(0), LOGITS, FEATURES)


@pytest.mark.parametrize("name", ["uniform", "disagreement", "information_gain"])
@pytest.mark.parametrize("rounding", [0.0, 1e-7])
def test_members_that_are_one_choose_uniformly(name: str, rounding: float) -> None:
    logits = LOGITS[:1].expand(E, N) + rounding * torch.randn(E, N, generator=seeded(5))
    generator = seeded(0)
    rounds = 400
    chosen = torch.cat([select(name, 4, generator, logits) for _ in range(rounds)])
    counts = torch.bincount(chosen, minlength=N).double()
    mean = rounds * 4 / N
    chi = float(((counts - mean) ** 2 / mean).sum() / (1 - 4 / N))  # drawn without replacement: less variance
    assert chi < 39 + 4 * math.sqrt(2 * 39)


def test_closed_forms() -> None:
    p = torch.tensor([0.0, 0.5, 1.0, 0.25])
    assert binary_entropy(p).tolist() == pytest.approx([0, 1, 0, 0.8112781])
    same = LOGITS[:1].expand(E, N)
    assert not disagreement(same).any() and not information_gain(same).any()
    assert torch.allclose(expected_entropy(same), binary_entropy(same[0].sigmoid()))
    split = torch.tensor([[-40.0, 0.0], [40.0, 0.0]])  # two sure members who differ; two who do not know
    assert disagreement(split).tolist() == pytest.approx([0.5, 0])
    assert information_gain(split).tolist() == pytest.approx([1, 0])
    assert expected_entropy(split).tolist() == pytest.approx([0, 1])
    assert (information_gain(LOGITS) <= binary_entropy(LOGITS.sigmoid().mean(0)) + 1e-6).all()


@pytest.mark.parametrize(
    ("name", "score"),
    [("disagreement", disagreement), ("entropy", expected_entropy), ("information_gain", information_gain)],
)
def test_the_highest_scores_are_chosen_and_order_of_segments_does_not_matter(name: str, score: object) -> None:
    values: Tensor = score(LOGITS)  # type: ignore[operator]
    chosen = select(name, 8, seeded(0), LOGITS)
    assert set(chosen.tolist()) == set(values.argsort(descending=True)[:8].tolist())
    assert torch.allclose(score(-LOGITS), values, atol=1e-6)  # type: ignore[operator]


def test_k_center_takes_the_farthest() -> None:
    line = torch.tensor([[0.0], [1.0], [4.0], [10.0], [9.0]])
    assert k_center(line, 3, seeded(0), torch.zeros(1, 1)).tolist() == [3, 2, 1]
    for seed in range(20):
        first, second = k_center(line, 2, seeded(seed)).tolist()
        assert abs(line - line[first]).argmax() == second
    # At each step the largest distance to the nearest chosen row is the next row's own.
    rows = k_center(FEATURES, 10, seeded(0)).tolist()
    for k in range(1, 10):
        nearest = torch.cdist(FEATURES, FEATURES[rows[:k]]).amin(1)
        assert nearest[rows[k]] == pytest.approx(float(nearest.max()), abs=1e-5)
    assert sorted(k_center(torch.zeros(5, 2), 5, seeded(0)).tolist()) == list(range(5))


def test_combinations_look_among_the_highest_half() -> None:
    for name, score in (("disagreement", disagreement), ("entropy", expected_entropy)):
        half = set(score(LOGITS).argsort(descending=True)[: N // 2].tolist())
        rows = select(f"{name}_k_center", 6, seeded(0), LOGITS, FEATURES).tolist()
        assert set(rows) <= half
        kept = torch.tensor([k in half for k in range(N)])
        nearest = torch.cdist(FEATURES, FEATURES[rows[:5]]).amin(1)
        assert float(nearest[kept].max()) == pytest.approx(float(nearest[rows[5]]), abs=1e-5)


def test_informed_choice_needs_fewer_answers() -> None:
    """Thresholds on a line: members are the consistent ones, and answers to chosen pairs leave fewer of them."""
    left = {}
    for name in ("uniform", "disagreement", "information_gain"):
        generator, rest = seeded(0), []
        for _ in range(20):
            thresholds = torch.rand(200, generator=generator)
            true, pool = thresholds[0], torch.rand(100, generator=generator)
            for _ in range(5):
                logits = 30 * (pool - thresholds[:, None]).sign()
                row = select(name, 1, generator, logits)
                thresholds = thresholds[((pool[row] - thresholds) * (pool[row] - true)) > 0]
            rest.append(len(thresholds))
        left[name] = float(np.mean(rest))
    assert left["disagreement"] < 10 < left["uniform"] / 2
    assert left["information_gain"] < 10
