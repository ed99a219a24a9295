"""Critics: batched, by squared error or HL-Gauss, whose targets are read back as themselves."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.control.critics import (
    PADDING,
    SIGMA,
    CriticParameters,
    Critics,
    bin_edges,
    hl_gauss,
    mean_of_bins,
    value_range,
)

D, A, B = 3, 2, 40


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("low", "high", "bins"), [(-60.0, 10.0, 51), (0.0, 1.0, 8), (-1e4, -5.0, 151)])
def test_values_survive_the_round_trip(low: float, high: float, bins: int) -> None:
    edges = bin_edges(low, high, bins)
    width = float(edges[1] - edges[0])
    y = torch.linspace(low, high, 997, dtype=torch.float64)
    mass = hl_gauss(y, edges)
    assert mass.shape == (997, bins) and (mass >= 0).all()
    torch.testing.assert_close(mass.sum(-1), torch.ones(997, dtype=torch.float64))
    assert (mean_of_bins(mass, edges) - y).abs().max() < 2e-5 * width  # also at both ends
    beyond = torch.tensor([low - 100 * width, high + 100 * width], dtype=torch.float64)
    torch.testing.assert_close(hl_gauss(beyond, edges), hl_gauss(y[[0, -1]], edges))


def test_masses_are_those_of_a_normal_distribution() -> None:
    edges = bin_edges(-5.0, 5.0, 21)
    assert len(edges) == 22
    width = float(edges[1] - edges[0])
    centres = (edges[:-1] + edges[1:]) / 2
    torch.testing.assert_close(centres[[PADDING, -1 - PADDING]], torch.tensor([-5.0, 5.0], dtype=torch.float64))
    y = torch.tensor(1.234, dtype=torch.float64)
    phi = [0.5 * (1 + math.erf(float(e - y) / (SIGMA * width) / math.sqrt(2))) for e in edges]
    exact = torch.tensor([b - a for a, b in pairwise(phi)], dtype=torch.float64)
    torch.testing.assert_close(hl_gauss(y, edges), exact / (phi[-1] - phi[0]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kwargs", [{}, {"bins": 31}, {"layer_norm": True}, {"bins": 31, "layer_norm": True}])
def test_values_of_many_inputs_are_those_of_each(kwargs: dict[str, int]) -> None:
    critics = Critics(D, A, CriticParameters(critics=3, width=8, **kwargs), seeded(0))  # type: ignore[arg-type]
    s, a = torch.randn(2, B, D, generator=seeded(1)), torch.randn(2, B, A, generator=seeded(2))
    values = critics(s, a)
    assert values.shape == (2, B, 3)
    torch.testing.assert_close(critics(s[1, 5], a[1, 5]), values[1, 5], rtol=1e-4, atol=1e-4)
    assert (values.std(-1) > 0).all()


def test_squared_error_in_closed_form() -> None:
    critics = Critics(D, A, CriticParameters(width=8), seeded(0))
    s, a = torch.randn(B, D, generator=seeded(1)), torch.randn(B, A, generator=seeded(2))
    y = torch.randn(B, generator=seeded(3))
    torch.testing.assert_close(critics.loss(s, a, y), 0.5 * (critics(s, a) - y[:, None]).square().mean())


def test_cross_entropy_is_least_at_the_target() -> None:
    critics = Critics(D, A, CriticParameters(bins=31, low=-3, high=3, width=8), seeded(0))
    s, a, y = torch.zeros(1, D), torch.zeros(1, A), torch.tensor([0.7])
    optimiser = torch.optim.Adam(critics.parameters(), 0.02)
    for _ in range(400):
        optimiser.zero_grad()
        critics.loss(s, a, y).backward()
        optimiser.step()
    torch.testing.assert_close(critics(s, a), y.expand(1, 2), rtol=0, atol=0.01)
    mass = hl_gauss(y, critics.edges)
    entropy = -(mass * mass.clamp_min(1e-30).log()).sum()
    assert entropy <= critics.loss(s, a, y) < entropy + 0.01


@pytest.mark.parametrize("bins", [0, 41])
def test_a_function_is_learnt(bins: int) -> None:
    critics = Critics(D, A, CriticParameters(bins=bins, low=-4, high=4, width=32), seeded(0))
    s, a = torch.randn(256, D, generator=seeded(1)), torch.randn(256, A, generator=seeded(2))
    y = torch.tanh(s[:, 0] - a[:, 1]) * 3
    optimiser = torch.optim.Adam(critics.parameters(), 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        critics.loss(s, a, y).backward()
        optimiser.step()
    assert (critics(s, a) - y[:, None]).square().mean() < 0.1


def test_ranges() -> None:
    assert value_range(-16.0, 0.0, 0.99) == pytest.approx((-1600, 0))
    with pytest.raises(ValueError, match="expected low < high"):
        bin_edges(1.0, 1.0, 51)
    with pytest.raises(ValueError, match="8 bins"):
        bin_edges(0.0, 1.0, 7)
