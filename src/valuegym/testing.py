"""Checks that every environment of valuegym passes, to run on your own environments; see `check`."""

from __future__ import annotations

from valuegym.envs.testing import (
    HEADINGS,
    check,
    check_arguments,
    check_determinism,
    check_documentation,
    check_gymnasium,
    check_rendering,
    check_secret_seeds,
    check_spec,
    check_stable_baselines3,
    check_vector,
)

# pylint: disable=duplicate-code  # the names of valuegym.envs.testing
__all__ = [
    "HEADINGS",
    "check",
    "check_arguments",
    "check_determinism",
    "check_documentation",
    "check_gymnasium",
    "check_rendering",
    "check_secret_seeds",
    "check_spec",
    "check_stable_baselines3",
    "check_vector",
]
