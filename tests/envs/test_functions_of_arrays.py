"""Public functions of arrays: whatever is not finite is refused by name, or seen in what comes out.

A mean, a share or an index that leaves NaN out is a number like any other, and nobody notices.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from valuegym.envs import mdp
from valuegym.envs.coevolution import dynamics, metrics, networks, trajectories
from valuegym.envs.preference import models

B, T, N, D = 2, 5, 6, 3
rng = np.random.default_rng(0)
people, estimates = rng.normal(size=(2, B, N, D)), rng.normal(size=(3, B, T, D))
u, half, table = rng.uniform(size=(B, N)), rng.uniform(0, 0.5, (B, N)), rng.uniform(size=(3, B, 4))
runs, truths = rng.normal(size=(2, B, T + 1, N, D)), rng.uniform(size=(2, B, T))
RING = networks.from_edges([(i, (i + 1) % N) for i in range(N)])
CHAIN = mdp.TabularMDP(
    rng.normal(size=(1, 4, 2, 2)),
    np.array([[False, False, False, True]]),
    np.array([[0.5, 0.5, 0, 0]]),
    0.9,
    next_state=np.array([[[1, 2], [2, 3], [0, 3], [3, 3]]]),
)
REWARD, POLICY = mdp.reward(CHAIN, np.ones((1, 2))), np.array([[0, 1, 0, 1]])
VALUES, ACTION_VALUES = mdp.optimal_values(CHAIN, REWARD)
MIXED = np.full((1, 4, 2), 0.5)
COEVOLVE = (people[0], networks.partners(u), people[1][:, 0], people[1], people[0], 1.0, 0.1, 0.1, 0.2, 0.05)
HEARD = dynamics.hear_star(dynamics.belief(u, half), 0.2, 0.3)

CALLS: dict[ModuleType, dict[str, tuple[Any, ...]]] = {
    metrics: {
        **dict.fromkeys(("after_adaptation", "on_arrival", "distance", "centred_skill", "lag"), tuple(estimates[:2])),
        **dict.fromkeys(("skill", "centred_similarity", "direction_accuracy"), tuple(estimates)),
        "running_centre": (estimates[0],),
        "of_estimates": (*estimates, estimates[0]),
        **dict.fromkeys(("influence", "diversity_ratio", "squared_distances"), tuple(people)),
        "diversity": (people[0],),
        "effective_opinions": (people[0], 0.5),
        "minority_survival": (*people, 1.0, 0.25),
        "lock_in_index": tuple(estimates[:2]),
        **dict.fromkeys(("martingale_slope", "overconfidence"), tuple(truths)),
        "benefit": (people[0][:, 0], people[1], 1.0),
        "objectives": (estimates[0], estimates[0][..., 0] < 0, *runs, 1.0, 0.5),
    },
    dynamics: {
        **dict.fromkeys(("total", "mean", "length", "listen"), (people[0],)),
        "distance": tuple(people),
        "bounded_pull": (*people, 1.0),
        "deffuant": (people[0], np.array([[0, 1], [2, 3]]), np.array([[1, 2], [3, 4]]), 5.0, 0.5),
        "hegselmann_krause": (people[0], 1.0),
        "biased_partner": (people[0], np.array([0, 1]), u[:, 0], 1.0),
        "media": (people[0], people[1][:, :2], u, u, 1.0, 0.5, 1.0, 0.5),
        "friedkin_johnsen": (*people, 0.5),
        "friedkin_johnsen_limit": (people[0], u[0], networks.dense(RING)),
        "coevolve": COEVOLVE,
        "replicator": (*table[:2], 1.0),
        "recommended": (u, half, np.sign(half - 0.2), u, 0.2, 0.5, 0.3),
        "recommend": (np.ones((B, N, 2)), np.full((B, N, 2), 3.0), u, u, 0.1),
        "interest": (table[0], table[1] < 0.5, table[2], table[0]),
        "belief": (u, half),
        "hear": (dynamics.belief(u, half), RING),
        "hear_star": (dynamics.belief(u, half), 0.2, 0.3),
        "exchange": (dynamics.belief(u, half), u, half, HEARD),
        "observe": (u, half, u),
    },
    networks: {"neighbour": (np.arange(N), u[0], N), "partners": (u,)},
    trajectories: {"extrapolate": (estimates[0], 1, 2)},
    mdp: {
        "reward": (CHAIN, np.ones((1, 2))),
        "q_values": (CHAIN, REWARD, VALUES),
        "expected_next": (CHAIN, VALUES),
        "expected_features": (CHAIN, VALUES[..., None]),
        "probabilities": (POLICY, 2),
        "discounted_sum": (CHAIN, POLICY, REWARD[..., None]),
        **dict.fromkeys(("evaluate", "occupancy", "successor_features"), (CHAIN, MIXED)),
        "evaluate": (CHAIN, MIXED, REWARD),
        **dict.fromkeys(("optimal_actions", "optimal_values", "optimal_policy"), (CHAIN, REWARD)),
        "soft_maximum": (REWARD, 0.5),
        "soft_values": (CHAIN, REWARD, 0.5),
        "advantages": (VALUES, ACTION_VALUES),
        "greedy_policy": (ACTION_VALUES, 1.0),
        "reward_scale": (REWARD,),
        "mean_return": (CHAIN, VALUES),
        "between": (truths[0], truths[0] - 1, truths[0] + 1),
        "normalised_return": (CHAIN, REWARD, MIXED),
    },
    models: {
        "discounted_sum": (table[0], 0.9),
        "partial_return": (table[0], np.ones(4), 0.9),
        "regret": (*table[:2], 0.9),
        "three_weights": tuple(table),
        "solve": (CHAIN, np.ones((1, 2)), 0.1),
        "log_normal_cdf": (truths[0],),
    },
}
ELSEWHERE = {  # what makes networks and paths, with tests of its own, and labels: test_boundaries.py
    *("barabasi_albert", "by_name", "columns", "complete", "dense", "edges_of", "from_edges", "from_networkx"),
    *("listening", "numbered", "read_edges", "to_networkx", "watts_strogatz", "uniform_policy"),
    *("check_choice", "check_labels", "fit_temperature", "cross_validate_temperature"),
}
MEANT = {  # limits that are right: of no probability at all, of a certain one, and of a person without an observation
    *(("soft_maximum", "values", -np.inf), ("log_normal_cdf", "x", np.inf), ("observe", "count", np.inf)),
    ("observe", "count", -np.inf),
}
CASES = [(module, name) for module, calls in CALLS.items() for name in calls]


def flat(value: Any) -> np.ndarray[Any, Any]:
    """Return all numbers of a result."""
    if isinstance(value, dict):
        value = tuple(value.values())
    return np.concatenate([flat(v) for v in value]) if isinstance(value, tuple) else np.ravel(value).astype(np.float64)


def test_all_public_functions_are_tried() -> None:
    for module, calls in CALLS.items():
        public = {name for name in module.__all__ if inspect.isfunction(getattr(module, name))}
        assert public - ELSEWHERE == set(calls), module.__name__


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("module", "name"), CASES, ids=[f"{m.__name__.rpartition('.')[2]}-{n}" for m, n in CASES])
def test_nothing_that_is_not_finite_goes_unnoticed(module: ModuleType, name: str) -> None:
    function, arguments = getattr(module, name), CALLS[module][name]
    names = list(inspect.signature(function).parameters)
    keywords = names[5:] if name == "coevolve" else []

    def call(values: list[Any]) -> Any:
        split = len(values) - len(keywords)
        return function(*values[:split], **dict(zip(keywords, values[split:], strict=True)))

    assert np.isfinite(flat(call(list(arguments)))).all()
    for place, (argument, value) in enumerate(zip(names, arguments, strict=False)):
        if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
            spots = {0, value.size // 2, value.size - 1}
        elif isinstance(value, float):
            spots = {0}
        else:
            continue
        for bad in (np.nan, np.inf, -np.inf):
            for spot in spots:
                changed: Any = np.array(value, np.float64)
                changed.reshape(-1)[spot] = bad
                given = list(arguments)
                given[place] = changed if changed.ndim else bad
                if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and name in ("deffuant", "coevolve"):
                    continue  # numbers of people
                try:
                    seen = flat(call(given))
                except ValueError as error:
                    assert str(error).startswith(argument) and str(error).endswith("."), (argument, bad, str(error))
                else:
                    assert not np.isfinite(seen).all() or (name, argument, bad) in MEANT, (argument, bad, spot)
