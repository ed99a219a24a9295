"""Values that are no sensible ones at the doors of statistics, experiments and runs: one sentence that names them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym
from valuegym.leaderboards import evaluation, experiments
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.stats import bootstrap, pareto, ranks, summary

BAD: tuple[Any, ...] = (
    *(None, np.nan, np.inf, -1, 0, 0.5, 1.0, True, "x", "a\0b", b"x", [], [1, 2], {}, {"a": 1}, object(), 1j, 10**30),
    *(np.int64(1), np.float32(0.5), np.ma.masked, [np.nan], (1,), len, [None], np.zeros((2, 2)), np.array(["1"])),
)
TRACK = "coevolution/follow-linear"
SCORES = np.random.default_rng(0).normal(size=(3, 2, 4))


def rng() -> np.random.Generator:
    """A generator that is always the same."""
    return np.random.default_rng(0)


STATISTICS: dict[str, dict[str, Any]] = {
    "mean": {"scores": SCORES, "axis": 0},
    "interquartile_mean": {"scores": SCORES, "axis": 0},
    "resampled_interquartile_means": {"values": SCORES[0], "counts": np.ones((1, 2), int)},
    "stratified_bootstrap": {"scores": SCORES, "rng": rng(), "repeats": 9, "confidence": 0.9},
    "check_rng": {"rng": rng()},
    "estimates": {"values": SCORES, "seed": 0, "repeats": 9, "confidence": 0.9},
    "holm": {"p": [0.1, 0.2]},
    "sign_flip": {"scores": SCORES[0], "rng": rng(), "repeats": 9},
    "units_needed": {"agents": 3, "confidence": 0.9},
    "ranked_values": {"values": SCORES, "units": "tasks"},
    "summarise": {"values": SCORES, "units": "seeds", "seed": 0},
    "rank_intervals": {"scores": SCORES[0], "rng": rng(), "repeats": 9, "confidence": 0.9},
    "dominates": {"points": SCORES[0]},
    "pareto_front": {"points": SCORES[0]},
    "hypervolume": {"points": SCORES[0], "reference": SCORES[0, 0]},
}
OF_MODULES = {
    name: getattr(module, name)
    for module in (bootstrap, ranks, pareto, summary)
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
}
INSIDE = {"mean": {"axis"}, "resampled_interquartile_means": {"values", "counts"}}  # numpy's own, and no door


def refused(call: Callable[[], Any], name: str) -> bool:
    """Return whether a value is refused, by one sentence that names it; any other error is raised."""
    try:
        call()
    except (ValueError, FileExistsError) as error:
        said = str(error)
        assert re.search(rf"\b{name}\b", said) and said.endswith(".") and "\n" not in said and len(said) < 700, said
        return True
    return False


def test_all_statistics_are_tried() -> None:
    assert set(STATISTICS) == set(OF_MODULES)


@pytest.mark.parametrize("function", STATISTICS)
def test_statistics_refuse_by_name_or_give_numbers(function: str) -> None:
    good = STATISTICS[function]
    for name in set(good) - INSIDE.get(function, set()):
        for value in BAD:
            given = {**good, "statistic": bootstrap.mean} if function == "stratified_bootstrap" else good
            if function == "rank_intervals" and name == "repeats" and value is None:
                continue  # as many as it takes
            if name == "axis" and value is None:
                continue  # all
            call = partial(OF_MODULES[function], **{**given, name: value})
            refused(call, f"({'|'.join(good)})")  # where shapes do not fit, either of two
            if isinstance(value, (str, bytes, dict)) or value is None:
                with pytest.raises(ValueError):
                    OF_MODULES[function](**{**given, name: value})


def test_p_values_lie_between_0_and_1() -> None:
    for bad in (np.nan, -0.1, 1.1, np.inf):
        with pytest.raises(ValueError, match=r"^p\[1\] is .* from 0\.0 to 1\.0"):
            ranks.holm([0.5, bad])


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Experiment)])
def test_fields_of_experiments(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "EXPERIMENTS", dict(experiments.EXPERIMENTS))
    mine = Experiment("mine/one", "One.", "CartPole-v1", references=(0.0, 1.0), deterministic=True)
    accepted = []
    for value in BAD:
        experiments.EXPERIMENTS.pop(mine.id, None)
        if not refused(partial(experiments.register, dataclasses.replace(mine, **{field: value})), field):
            accepted.append(value)
    assert not any(isinstance(value, (bytes, dict, float, complex)) or value is np.ma.masked for value in accepted)


def test_runs_evaluations_and_records(tmp_path: Path) -> None:
    doors: dict[str, Callable[[Any], Any]] = {
        "model": lambda value: valuegym.evaluate(value, TRACK, seeds=[0]),
        "experiment": lambda value: valuegym.evaluate("uniform", value, seeds=[0]),
        "seeds": lambda value: valuegym.evaluate("persistence", TRACK, seeds=value),
        "name": lambda value: valuegym.record(None, TRACK, value, folder=tmp_path),
        "seed": lambda value: valuegym.record(None, TRACK, "me", seed=value, folder=tmp_path),
        "folder": lambda value: valuegym.record(None, TRACK, "me", folder=value),
        "about": lambda value: valuegym.record(None, TRACK, "me", folder=tmp_path, about=value),
        "overwrite": lambda value: valuegym.record(None, TRACK, "me", folder=tmp_path, overwrite=value),
        "agent": lambda value: valuegym.run(value, TRACK, 0, tmp_path),
        "settings": lambda value: valuegym.run("persistence", TRACK, 0, tmp_path, settings=value),
        "evaluation": lambda value: valuegym.run("persistence", TRACK, 0, tmp_path, evaluation=value),
    }
    model = r"(model|predict|agent)"  # of what plays, if all else is right
    for name, door in doors.items():
        for value in BAD:
            fine = refused(lambda door=door, value=value: door(value), f"({name}|{model})")
            assert fine or name in ("seeds", "evaluation", "settings"), (name, value)
    for value in BAD:
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            with pytest.raises(ValueError, match=r"^seed is .*; expected an integer"):
                valuegym.run("persistence", TRACK, value, tmp_path)
            with pytest.raises(ValueError, match=r"^experiment is .*; expected|^There is no experiment"):
                valuegym.run("persistence", value, 0, tmp_path)
    for about in ({"a": np.nan}, {"a": object()}, {"a": [np.inf]}, {1j: 2}):
        with pytest.raises(ValueError, match=r"^about is "):
            valuegym.record(None, TRACK, "me", folder=tmp_path, about=about)


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("observation_space", gym.spaces.MultiDiscrete([2, 3])),
        ("observation_space", gym.spaces.Dict(a=gym.spaces.Discrete(2))),
        ("observation_space", gym.spaces.Tuple((gym.spaces.Discrete(2),))),
        ("action_space", gym.spaces.Discrete(3)),
        ("action_space", gym.spaces.Box(-1, 1, (7, 7))),
    ],
)
def test_models_of_other_spaces_are_refused(name: str, space: gym.Space[Any]) -> None:
    class Model:
        def predict(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("it is not asked")

    model = Model()
    setattr(model, name, space)
    with pytest.raises(ValueError, match=f"The model was trained with the {name} "):
        valuegym.evaluate(model, TRACK, seeds=[0])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (gym.spaces.MultiDiscrete([2, 3]), gym.spaces.MultiDiscrete([3, 2]), False),
        (gym.spaces.Box(0, 1, (2, 4)), gym.spaces.Box(0, 1, (4, 2)), False),
        (gym.spaces.Box(0, 255, (3, 8, 8)), gym.spaces.Box(0, 255, (8, 8, 3)), True),
        (gym.spaces.Tuple([gym.spaces.Discrete(2)]), gym.spaces.Tuple([gym.spaces.Discrete(3)]), False),
        (gym.spaces.Discrete(2), gym.spaces.Discrete(2), True),
    ],
)
def test_sizes_of_spaces_are_compared(one: gym.Space[Any], other: gym.Space[Any], same: bool) -> None:
    assert (evaluation._kind(one) == evaluation._kind(other)) == same
