"""Diagnostics in closed form."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.control import diagnostics


def test_the_gradient_ratio() -> None:
    gradient = torch.tensor([2.0, 2.0, 1.0, 1.0, 1.0]).expand(10, 3, 5)
    assert diagnostics.gradient_ratio(gradient, [0, 1], [2, 3, 4]) == pytest.approx(0.5)
    assert np.isnan(diagnostics.gradient_ratio(gradient, [0, 1], np.arange(0)))


def test_normalised_errors() -> None:
    actual = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1])
    mean = actual.mean(0).expand(2, 500, 3)
    assert diagnostics.normalised_error(mean, actual, [0, 1, 2]) == pytest.approx(1, rel=1e-5)
    assert diagnostics.normalised_error(
        actual + actual.std(0, correction=0) * torch.tensor([2.0, 0, 0]), actual, [0]
    ) == (pytest.approx(4, rel=1e-5))
    assert np.isnan(diagnostics.normalised_error(mean, actual, np.arange(0)))
    assert diagnostics.value_error(lambda s: s[..., 1] ** 2, actual, actual) == 0
    assert diagnostics.value_error(lambda s: s[..., 1], mean, actual) == pytest.approx(1, rel=1e-5)


def test_out_of_distribution_counts_rows_beyond_the_box() -> None:
    seen = torch.tensor([[0.0, 0.0], [1.0, 10.0]])
    predicted = torch.tensor([[0.5, 5.0], [1.05, 5.0], [1.2, 5.0], [0.5, -2.0]])
    assert diagnostics.out_of_distribution(predicted, seen) == 0.5
    assert diagnostics.out_of_distribution(predicted, seen, margin=0.0) == 0.75


def test_effective_samples_and_cosines() -> None:
    assert diagnostics.effective_sample_size(torch.ones(10, 3)) == pytest.approx(1)
    assert diagnostics.effective_sample_size(torch.eye(10)[:, :1] * 5) == pytest.approx(0.1)
    gradient = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).expand(4, 2, 2)
    assert diagnostics.error_alignment(gradient, torch.tensor([-3.0, 0.0]).expand(4, 2)) == pytest.approx(0.5)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert diagnostics.gradient_cosine(x[0] * 3, x.sum(), [x]) == pytest.approx(2**-0.5)
    assert diagnostics.gradient_cosine(x.sum(), -x.sum(), [x]) == pytest.approx(-1)
