"""Random boards keep their bits, for every key and size: those of the former generators in `benchmarks`."""

from __future__ import annotations

import importlib.util
import itertools
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from valuegym.envs import functional, keys
from valuegym.envs.preference import random_delivery
from valuegym.envs.preference.delivery import BRICK, OUTSIDE
from valuegym.envs.preference.random_delivery import PUBLISHED, SPLITS, Boards, Generator, RandomDelivery, RandomTask
from valuegym.envs.preference.risky_delivery import RiskyDelivery

GENERATORS = {"random": PUBLISHED, "risky": RiskyDelivery.generator}
# Of the published sizes, the smallest, the narrowest, the largest that lots of 64 bits order, and some larger.
SIZES = (
    None, *itertools.product((3, 6, 10, 15), (5, 6, 10)), (2, 2), (2, 128), (128, 2), (7, 4), (16, 128), (46, 45),
    (128, 128),
)  # fmt: skip


@pytest.fixture(scope="module")
def former() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "_former_boards.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(new: RandomTask, old: RandomTask) -> bool:
    return (new.boards == old.boards).all() and (new.weights == old.weights).all() and new.boards.dtype == np.int8


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", GENERATORS)
def test_draws_are_those_of_the_former_generator(name: str, size: tuple[int, int] | None, former: ModuleType) -> None:
    new, old = GENERATORS[name].draw, former.DRAW[name]
    S = np.prod(size or PUBLISHED.shape)
    key = keys.mix(17, np.arange(min(2000, 2**18 // S)))
    kwargs = {"size": size} if size else {}
    drawn, known = new(key, **kwargs), old(key, **kwargs)
    assert same(drawn, known)
    digests = random_delivery.digest(drawn)
    assert (digests == former.digest(known)).all() and digests.dtype == np.uint64
    for rows in (key[:1], key[3:1:-1]):
        assert same(new(rows, **kwargs), old(rows, **kwargs))


def test_equal_lots_are_ordered_as_before(former: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lots of one bit nearly all are equal, and the order of the cells decides."""
    mix = keys.mix

    def coarse(key: Any, *counters: Any) -> Any:
        drawn = mix(key, *counters)
        return drawn & np.uint64(2**63 + 2**11 - 1) if np.size(counters[-1]) > 12 else drawn  # cells, not choices

    monkeypatch.setattr(keys, "mix", coarse)
    for size in (None, (3, 5), (15, 10), (46, 45)):
        key = mix(23, np.arange(200 if size != (46, 45) else 20))
        assert same(random_delivery.draw(key, size), former.draw(key, size))


def test_digests_hold_whatever_the_codes_and_weights(former: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 5), (15, 10)):
        for low, high in ((OUTSIDE, 2 * BRICK), (OUTSIDE, 1), (0, 2), (BRICK, 2 * BRICK)):
            task = RandomTask(rng.integers(low, high, (300, *shape)), rng.normal(size=(300, 6)) * 100)
            assert (random_delivery.digest(task) == former.digest(task)).all()


@pytest.mark.parametrize(("name", "split"), list(itertools.product(GENERATORS, SPLITS)))
def test_tasks_of_a_split_are_the_former_ones(name: str, split: str, former: ModuleType) -> None:
    """At any batch size: from one row to more than are drawn at once."""
    key = keys.mix(29, np.arange(3000))
    generator = GENERATORS[name]
    new = Boards(generator, split)
    known = former.FormerBoards(generator._replace(draw=former.DRAW[name]), split).draw(key)
    for rows in (slice(1), slice(5, 8), slice(200, 300), slice(3000)):
        assert same(new.draw(key[rows]), functional.take_rows(known, rows))


@pytest.mark.parametrize("env", [RandomDelivery, RiskyDelivery])
@pytest.mark.parametrize("kwargs", [{}, {"split": "train"}, {"size": (4, 9), "split": "dev"}], ids=str)
def test_episodes_begin_as_before(env: Any, kwargs: dict[str, Any], former: ModuleType) -> None:
    key = keys.mix(31, np.arange(500))
    core, reference = env(**kwargs), env(**kwargs)
    reference.boards = former.FormerBoards.of(core.boards)
    for new, old in zip(core.initial(key), reference.initial(key), strict=True):
        for field, known in zip(new, old, strict=True):
            np.testing.assert_array_equal(field, known, strict=True)


def test_a_generator_of_ones_own_is_asked_for_whole_tasks() -> None:
    """`Boards` needs no more of a generator than its `draw`, with any keys, and its shape."""

    def draw(key: keys.Key) -> RandomTask:
        boards = np.zeros((len(key), 2, 2), np.int64)
        boards[:, 1, 1] = 1
        boards[np.arange(len(key)), 0, 0] = keys.integers(key, 2, 0) * 4
        return RandomTask(boards, keys.integers(key[:, None], 9, np.arange(1, 7)).astype(np.float64))

    generator, key = Generator(draw, (2, 2), 9.0), keys.mix(1, np.arange(500))
    drawn = {split: Boards(generator, split).draw(key) for split in SPLITS}
    for split, quarters in SPLITS.items():
        assert np.isin(random_delivery.digest(drawn[split]) % np.uint64(4), quarters).all()


@pytest.mark.parametrize(
    ("env", "kwargs", "rows", "bytes_each"),
    [
        (RandomDelivery, {}, 1024, 8 * 1024),
        (RiskyDelivery, {}, 1024, 8 * 1024),
        (RandomDelivery, {"size": (128, 128)}, 64, 2**18),
    ],
)
def test_resets_need_little_memory(env: Any, kwargs: dict[str, Any], rows: int, bytes_each: int) -> None:
    key, core = keys.mix(37, np.arange(rows)), env(**kwargs)
    core.initial(key[:1])
    tracemalloc.start()
    core.initial(key)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < rows * bytes_each, peak
