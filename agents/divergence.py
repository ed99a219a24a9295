"""The one error of learning that diverged."""

from __future__ import annotations

__all__ = ["DivergenceError"]


class DivergenceError(FloatingPointError):
    """Error of learning that diverged: a model, critic, actor, posterior or policy is no longer finite."""
