"""Checks that what networks learn stays finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from valuegym.agents.divergence import DivergenceError

__all__ = ["LARGEST", "all_finite", "all_sound", "diverged"]

LARGEST = 1e12  # weights of networks beyond it are lost, although single precision still holds them


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all numbers in some tensors are finite; they are on one device, which is asked once."""
    return bool(_magnitudes(tensors).isfinite().all())


def all_sound(weights: Iterable[Tensor]) -> bool:
    """Return whether all weights are finite and no larger than LARGEST."""
    return bool((_magnitudes(weights) <= LARGEST).all())


@torch.no_grad()
def _magnitudes(tensors: Iterable[Tensor]) -> Tensor:
    largest = [tensor.abs().amax() for tensor in tensors if tensor.numel()]
    return torch.stack(largest).cpu() if largest else torch.zeros(0)


def diverged(agent: Any, seed: Any, steps: int, what: Iterable[str]) -> DivergenceError:
    """Return the error that names an agent, when it diverged, and what did."""
    parts = " and ".join(what)
    return DivergenceError(
        f"{type(agent).__name__} with seed {seed} diverged after {steps} training steps: its {parts} left the finite "
        "numbers."
    )
