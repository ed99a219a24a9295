"""Banks of items: generated ones, published ones where the data is, order and separation."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from valuegym.envs.language import item_bank
from valuegym.envs.language.item_bank import FOUNDATIONS, NAMES, RULES, ItemBank, balanced, generate, load, split

DATA = os.environ.get("VALUEGYM_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="needs the published items: set VALUEGYM_DATA to their folder")
BANKS = [pytest.param(generate, id="generated"), pytest.param(load, id="published", marks=needs_data)]


def first_options(bank: ItemBank) -> Any:
    """Return the sums (D,) of the loadings of first options."""
    return bank.loadings[:, 0].sum(0)


def test_generated_items_have_the_published_form() -> None:
    bank = generate(20)
    assert len(bank) == 16 * 20 and bank.names == NAMES and len(NAMES) == 19
    assert bank.bears.sum(0).tolist() == [20] * 19
    assert len({(c, o) for c, o in zip(bank.contexts, bank.options, strict=True)}) == len(bank)
    assert (bank.counts[:-20] == 2).all() and (bank.counts[-20:] == 4).all()
    assert generate(20).contexts == bank.contexts != generate(20, seed=1).contexts
    assert hashlib.sha256("\n".join(bank.contexts).encode()).hexdigest()[:16] == "a72ca370b9ac3043"
    assert bank[3].ids == bank[[3]].ids == bank[3:4].ids
    assert generate(30).contexts[:20] == bank.contexts[:20]
    for bad in (0, 129, 2.0):
        with pytest.raises(ValueError, match="each"):
            generate(bad)  # type: ignore[arg-type]


@needs_data
def test_published_items() -> None:
    banks = [load(DATA, (kind,)) for kind in ("rules", "foundations", "views")]
    assert [len(bank) for bank in banks] == [583, 600, 538] and len(load(DATA)) == 1721
    signs = banks[0].loadings[:, 0]
    counts = {name: ((signs[:, k] > 0).sum(), (signs[:, k] < 0).sum()) for k, name in enumerate(RULES)}
    assert counts["pain"] == (252, 100) and counts["cheat"] == (118, 3) and counts["duty"] == (279, 103)
    assert banks[1].bears[:, 10:15].sum(0).tolist() == [120, 128, 130, 112, 110]
    assert (banks[2].counts == 4).all()
    assert not any(
        "scenario" in id or text == "context" for b in banks for id, text in zip(b.ids, b.contexts, strict=True)
    )


@needs_data
def test_the_first_published_option_is_nearly_always_the_good_one() -> None:
    bank = load(DATA)
    good = (bank.loadings[:, 0] > 0).sum(0) / np.maximum(bank.bears.sum(0), 1)
    assert (good[len(RULES) : len(RULES) + len(FOUNDATIONS)] == 1).all() and good[15] == 1  # traditional: always first
    assert good[: len(RULES)].min() > 0.6 and good[: len(RULES)].max() > 0.97


@pytest.mark.parametrize("make", BANKS)
def test_balanced_banks_put_the_good_option_first_as_often_as_elsewhere(make: Any) -> None:
    bank = make()
    even = balanced(bank)
    assert np.abs(first_options(bank)).max() > 10
    assert np.abs(first_options(even)).max() <= 2
    assert even.ids == bank.ids and all(sorted(a) == sorted(b) for a, b in zip(even.options, bank.options, strict=True))
    for i in range(0, len(bank), 37):  # loadings went with their options
        for text, loading in zip(even.options[i], even.loadings[i], strict=False):
            assert loading.tolist() in [
                other.tolist() for o, other in zip(bank.options[i], bank.loadings[i], strict=False) if o == text
            ]


@pytest.mark.parametrize("make", BANKS)
def test_no_context_is_on_both_sides(make: Any) -> None:
    bank = make()
    train, held_out = split(bank, 0.3, seed=4)
    assert not set(train.contexts) & set(held_out.contexts)
    assert sorted(train.ids + held_out.ids) == sorted(bank.ids)
    assert 0.2 < len(train) / len(bank) < 0.4
    fewer, _ = split(bank[::2], 0.3, seed=4)  # a side does not depend on the other items
    assert set(fewer.ids) <= set(train.ids)
    assert split(bank, 0.3, seed=5)[0].ids != train.ids
    assert len(split(bank, 0.0)[0]) == 0 and len(split(bank, 1.0)[1]) == 0


def test_bad_banks_are_refused() -> None:
    bank = generate(1)
    changes: dict[str, tuple[Any, str]] = {
        "ids": (("x",) * len(bank), "twice"),
        "contexts": (bank.contexts[:-1], "one of each"),
        "options": ((("a",), *bank.options[1:]), "1 options; expected two to four"),
        "loadings": (np.abs(bank.loadings), "sum to 0"),
        "names": (("a",), "loadings has shape"),
    }
    for name, (value, message) in changes.items():
        with pytest.raises(ValueError, match=message):
            replace(bank, **{name: value})
    with pytest.raises(ValueError, match="no empty text"):
        replace(bank, contexts=(" ", *bank.contexts[1:]))
    with pytest.raises(ValueError, match="does not name each of 2 options"):
        bank.reordered([(0, 0)] * len(bank))
    with pytest.raises(ValueError, match="share"):
        split(bank, 1.5)


def test_files_that_are_missing_or_others_are_refused(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"final\.csv is missing"):
        load(str(tmp_path))
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "final.csv").write_text("context\nx\n")
    with pytest.raises(ValueError, match="SHA-256 differs"):
        load(str(tmp_path), ("views",))
    with pytest.raises(ValueError, match="expected at least one of rules"):
        load(str(tmp_path), ())
    with pytest.raises(ValueError, match="kind is 'other'"):
        load(str(tmp_path), ("other",))
    assert item_bank.PUBLISHED.keys() == {"rules", "foundations", "views"}
