"""Search spaces: which settings of an agent a search tries, and between which bounds.

A space is a plain table of settings by name. A value is a list of choices, or bounds {"low": 1, "high": 9}: whole
numbers where both are, and on a logarithmic scale with "log": true. Agents of one's own declare theirs as an attribute
`search_space` of the class or function that makes them:

    class Shy(BatchAgent):
        search_space = {"gain": {"low": 0.01, "high": 1.0, "log": True}, "steps": [1, 2, 4]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from valuegym.envs import checks

__all__ = ["SPACES", "Space", "check_space"]

Space = dict[str, Any]

_MODEL_BASED: Space = {
    "updates_per_step": [1, 2, 5, 10],
    "model_rate": {"low": 3e-4, "high": 1e-2, "log": True},
    "model_steps": [100, 200, 400, 800],
    "width": [32, 64, 128],
    "members": [2, 4, 7],
    "refresh": [125, 250, 500],
    "rollouts": [20, 40, 80, 160],
    "ramp": [1000, 2500, 5000],
    "model_fraction": {"low": 0.0, "high": 0.95},
}
SPACES: dict[str, Space] = {
    "ppo": {
        "learning_rate": {"low": 3e-5, "high": 3e-3, "log": True},
        "n_steps": [256, 512, 1024, 2048],
        "batch_size": [32, 64, 128, 256],
        "n_epochs": [3, 5, 10, 20],
        "gamma": [0.9, 0.95, 0.98, 0.99, 0.995],
        "gae_lambda": {"low": 0.8, "high": 1.0},
        "clip_range": [0.1, 0.2, 0.3, 0.4],
        "ent_coef": {"low": 1e-6, "high": 0.1, "log": True},
    },
    "sac": {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "gradient_steps": [1, 2, 5, 10],
        "batch_size": [64, 128, 256],
        "tau": {"low": 1e-3, "high": 5e-2, "log": True},
        "gamma": [0.95, 0.98, 0.99, 0.995],
        "learning_starts": [100, 250, 500],
    },
    "vagram": _MODEL_BASED | {"warm_refreshes": [0, 2, 4, 8], "mse_weight": [0.0, 0.1, 1.0]},
    "mbpo": _MODEL_BASED,
    "mpc": _MODEL_BASED | {"horizon": [2, 4, 8, 12], "candidates": [64, 128, 256]},
    "lqr_model_based": {"rank": [1, 2]},
    "lqr_regret": {
        "rank": [1, 2, 3],
        "rounds": [1, 2, 4, 8],
        "loss": ["mse", "vagram", "vagram_mean", "vagram_matrix"],
    },
    "moving_average": {"gain": {"low": 0.02, "high": 1.0, "log": True}},
}


def check_space(space: Any) -> Space:
    """Return a space whose entries are all as the module says.

    Raises:
        ValueError: one is not; the message names it.
    """
    if not isinstance(space, Mapping) or not space:
        raise checks.refusal("search_space", space, "a dictionary of settings by name, at least one")
    for name, value in space.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"search_space holds {name!r}; expected names of settings.")
        if isinstance(value, Mapping):
            _check_bounds(name, value)
        elif not _are_choices(value):
            raise ValueError(
                f"search_space[{name!r}] is {value!r}; expected a list of two or more different values of JSON, or "
                "bounds such as {'low': 0.1, 'high': 1.0, 'log': True}."
            )
    return {name: dict(value) if isinstance(value, Mapping) else list(value) for name, value in space.items()}


def _are_choices(value: Any) -> bool:
    """Return whether a value is a list of choices."""
    if not isinstance(value, list | tuple) or not all(
        one is None or isinstance(one, bool | int | float | str) for one in value
    ):
        return False
    try:
        return len({json.dumps(one, allow_nan=False) for one in value}) == len(value) >= 2
    except ValueError:
        return False


def _check_bounds(name: str, value: Mapping[str, Any]) -> None:
    where = f"search_space[{name!r}]"
    if not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise ValueError(f"{where} has the names {sorted(map(str, value))}; expected low, high and perhaps log.")
    logarithmic = checks.flag(f"{where}['log']", value.get("log", False))
    low, high = (checks.real(f"{where}[{end!r}]", value[end]) for end in ("low", "high"))
    if not low < high or (logarithmic and low <= 0):
        least = "above 0 " if logarithmic else ""
        raise ValueError(f"{where} reaches from {low:g} to {high:g}; expected a low bound {least}below the high one.")
