"""Paths of values: the laws of their families, and the facts about extrapolating them."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.coevolution import recorded, trajectories
from valuegym.envs.coevolution.trajectories import FAMILIES, extrapolate

Array = np.ndarray[Any, Any]
NAMES = [*FAMILIES, "mixed"]


def paths(name: str, B: int, steps: int = 9, D: int = 5, seed: int = 0) -> Array:
    return trajectories.by_name(name).draw(keys.mix(seed, np.arange(B)), steps, D)


@pytest.mark.parametrize("name", NAMES)
def test_paths_are_a_function_of_their_key(name: str) -> None:
    whole = paths(name, 1000)
    assert whole.shape == (1000, 9, 5) and np.isfinite(whole).all()
    for B in (1, 3, 8):
        assert paths(name, B).tobytes() == whole[:B].tobytes()
    assert (np.abs(whole) < 2).mean() > 0.95 and abs(whole.mean()) < 0.05
    assert (whole[0] != whole[1]).any() and paths(name, 2, steps=1, D=1).shape == (2, 1, 1)


def test_laws() -> None:
    assert np.allclose(np.diff(paths("linear", 4), n=2, axis=1), 0, atol=1e-14)
    logistic = paths("logistic", 100, steps=41)
    assert np.allclose(np.abs(logistic[:, [0, -1]]), 0.5, atol=1e-5)
    assert (np.abs(np.diff(np.sign(logistic), axis=1)).sum(1) == 2).all()  # one turn, monotone
    assert (np.diff(logistic, axis=1) * np.sign(logistic[:, -1:]) >= 0).all()
    steps = np.diff(paths("random-walk", 400, steps=20), axis=1)
    assert abs(steps.std() - 0.3) < 0.01 and abs((steps[:, 1:] * steps[:, :-1]).mean()) < 0.005
    long = paths("ornstein-uhlenbeck", 400, steps=60)[:, 30:]
    assert abs(long.var() - 0.2**2 / (1 - 0.75**2)) < 0.01
    assert abs((long[:, 1:] * long[:, :-1]).mean() / (long[:, :-1] ** 2).mean() - 0.75) < 0.02
    jumps = np.abs(np.diff(paths("regime-switch", 400, steps=40, D=1), axis=1)) > 0.3
    assert 0.1 < jumps.mean() < 0.2  # a fifth, less those too small to be seen
    people = np.diff(paths("population", 200, steps=60, D=2), axis=1)
    assert np.allclose(people[:, 40:].mean(1).std(), 0.15, atol=0.02)  # in the end the mean moves as the anchors do


def rmse(path: Array, seen: Array, order: int) -> Array:
    """Root mean squared error of one-step forecasts with the whole order, for every path (B,)."""
    errors = [extrapolate(seen[:, : t + 1], order) - path[:, t + 1] for t in range(order, path.shape[1] - 1)]
    return np.sqrt((np.array(errors) ** 2).mean((0, 2)))


def interval(values: Array, size: int = 64) -> tuple[float, float]:
    """95% interval of a root mean square over `size` paths, by bootstrap."""
    rows = np.random.default_rng(0).integers(len(values), size=(2000, size))
    low, high = np.quantile(np.sqrt((values[rows] ** 2).mean(1)), [0.025, 0.975])
    return float(low), float(high)


# One-step errors of a pilot with these families, for K = 0, 1, 2.
CLEAN = {
    "linear": (0.147, 0.0, 0.0),
    "logistic": (0.144, 0.067, 0.058),
    "random-walk": (0.297, 0.420, 0.730),
    "ornstein-uhlenbeck": (0.240, 0.328, 0.564),
}


@pytest.mark.parametrize("name", CLEAN)
def test_extrapolation_on_clean_paths(name: str) -> None:
    path = paths(name, 640)
    for order, expected in enumerate(CLEAN[name]):
        low, high = interval(rmse(path, path, order))
        assert low - 5e-4 <= expected <= high + 5e-4, (order, low, high)


@pytest.mark.parametrize("name", CLEAN)
def test_extrapolation_on_noisy_paths(name: str) -> None:
    """With noise of 0.3 on what is seen, naive extrapolation loses everywhere, clean trends included."""
    path = paths(name, 640)
    seen = path + 0.3 * keys.normal(keys.mix(9, np.arange(640))[:, None], np.arange(45)).reshape(path.shape)
    errors = [np.sqrt((rmse(path, seen, order) ** 2).mean()) for order in range(3)]
    for order, (low, high) in enumerate([(0.33, 0.43), (0.66, 0.80), (1.3, 1.53)]):
        # the noise alone gives 0.3 sqrt(C(2K+2, K+1) - 1), the path itself adds its clean error
        clean = np.sqrt((rmse(path, path, order) ** 2).mean())
        assert low - 0.005 <= errors[order] <= high, (order, errors)
        assert abs(errors[order] - np.hypot(0.3 * np.sqrt([1, 5, 19][order]), clean)) < 0.03


def test_extrapolation_is_exact_on_polynomials() -> None:
    t = np.arange(8.0)[:, None]
    for order in range(4):
        values = np.concatenate([t**k for k in range(order + 1)], axis=1)
        for ahead in (0, 1, 3):
            expected = (4.0 + ahead) ** np.arange(order + 1)
            assert np.allclose(extrapolate(values[:5], order, ahead), expected)
    assert extrapolate(np.ones((1, 2)), 2).tolist() == [1, 1]  # the order is cut to what is known
    assert extrapolate(np.array([[1.0], [3.0]]), 2).tolist() == [5]
    for order, ahead, message in (
        (-1, 1, "order is -1"), (1.5, 1, "order is 1.5"), (1, -1, "ahead is -1"), (1, 10**9, "ahead is 1000000000")
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            extrapolate(np.ones((1, 2)), order, ahead)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no values"):
        extrapolate(np.ones((0, 2)), 1)
    assert np.isfinite(extrapolate(np.ones((3, 2)), 10**9)).all()


@pytest.mark.parametrize("family", trajectories.FAMILIES.values(), ids=list(trajectories.FAMILIES))
def test_parameters_of_families_are_checked(family: Any) -> None:
    for field in fields(family):
        for value in (np.nan, np.inf, -1.0, 1e300, "1", None, True):
            wrong = (value if value is not True else 0.0, 1.0) if field.name == "widths" else value
            with pytest.raises(ValueError, match=field.name):
                replace(family, **{field.name: wrong})


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="'linear', 'logistic'"):
        trajectories.by_name("quadratic")


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("year,trust,care\n1990,0.5,0.25\n2000,1,0\n2020,0.5,0.5\n")
    mine = trajectories.by_name(str(path))
    assert isinstance(mine, recorded.Recorded) and mine.names == ("trust", "care") and mine.time[-1] == 2020
    assert mine.draw(keys.mix(0), 3, 2)[0].tolist() == [[0.5, 0.25], [1, 0], [0.5, 0.5]]
    drawn = mine.draw(keys.mix(0, np.arange(50)), 2, 2)
    assert {row[0, 0] for row in drawn} == {0.5, 1.0}  # stretches begin anywhere
    for steps, dimensions in ((4, 2), (3, 1)):
        with pytest.raises(ValueError, match="3 times and 2 values"):
            mine.draw(keys.mix(0), steps, dimensions)
    for text, message in (
        ("", "no rows"),
        ("year\n1990\n", "at least one of values"),
        ("year,a\n1990,x\n", "'x'"),
        ("year,a\n1990,nan\n", "'nan'"),
        ("year,a\n1990,1,2\n", "no longer lines"),
        ("year,a\n1990,1\n1980,2\n", "rising"),
        ("year,a\n1990,1e300\n", "from -1000000 to 1000000"),
        ("year,a,a\n1990,1,2\n", "names a column twice"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            recorded.read_csv(path)


def test_recorded_files_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALUEGYM_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="VALUEGYM_DATA"):
        trajectories.by_name("history")
    with pytest.raises(FileNotFoundError, match="missing"):
        trajectories.by_name("gss", str(tmp_path))
    (tmp_path / "gss_trends.csv").write_text("variable,year,percent\n")
    with pytest.raises(ValueError, match="SHA-256"):
        trajectories.by_name("gss", str(tmp_path))
    with pytest.raises(ValueError, match="gss"):
        recorded.load("future")


def published(name: str) -> recorded.Recorded:
    try:
        return recorded.load(name)
    except FileNotFoundError:
        where = os.environ.get("VALUEGYM_DATA")
        pytest.skip(
            f"needs the file {recorded.PUBLISHED[name][0]}: " + (f"not in {where}" if where else "set VALUEGYM_DATA")
        )


def test_history() -> None:
    """Raw cosines of extrapolation, from two known centuries on; they hardly tell it from a constant."""
    history = published("history")
    assert history.values.shape == (9, 5) and history.time.tolist() == list(range(13, 22))
    assert history.names[0] == "religion"

    def cosine(order: int, ahead: int) -> float:
        x, found = history.values, []
        for t in range(1, 9 - ahead):
            forecast, truth = extrapolate(x[: t + 1], order, ahead), x[t + ahead]
            found.append(forecast @ truth / np.linalg.norm(forecast) / np.linalg.norm(truth))
        return float(np.mean(found))

    assert np.allclose([cosine(K, 1) for K in range(3)], [0.976, 0.944, 0.890], atol=1e-3)
    assert np.allclose([cosine(K, 2) for K in range(3)], [0.947, 0.808, 0.690], atol=1e-3)


def test_gss() -> None:
    survey = published("gss")
    assert survey.values.shape == (45, 5) and survey.names[0] == "HOMOSEX"
    assert (survey.values > 0).all() and (survey.values < 1).all()
    assert survey.draw(keys.mix(1, np.arange(3)), 9, 5).shape == (3, 9, 5)
