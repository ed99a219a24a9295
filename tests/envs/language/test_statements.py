"""Statements of people with given values."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from valuegym.envs.language.item_bank import balanced, generate
from valuegym.envs.language.statements import choices, shares, statements

BANK = balanced(generate(10))
VALUES = np.linspace(-1, 1, 19)


def test_shares_are_a_softmax_of_what_options_serve() -> None:
    found = shares(BANK, VALUES)
    assert np.allclose(found.sum(-1), 1) and (found[BANK.counts == 2, 2:] == 0).all()
    two = BANK.counts == 2
    sign = BANK.loadings[two, 0].sum(1)
    value = VALUES[BANK.bears[two].argmax(1)]
    assert np.allclose(found[two, 0], 1 / (1 + np.exp(-2 * sign * value)))
    assert np.allclose(shares(BANK, np.zeros(19)), (np.arange(4) < BANK.counts[:, None]) / BANK.counts[:, None])


def test_choices_follow_their_shares_and_share_random_numbers() -> None:
    items, options = choices(BANK, VALUES, 20_000)
    expected = shares(BANK, VALUES)[items, 0].mean()
    assert abs((options == 0).mean() - expected) < 0.02
    others = choices(BANK, -VALUES, 20_000)
    assert (others[0] == items).all() and (others[1] != options).any()
    assert all((a == b).all() for a, b in zip(choices(BANK, VALUES, 100), (items[:100], options[:100]), strict=True))


def test_statements_are_contexts_with_choices() -> None:
    items, options = choices(BANK, VALUES, 30, seed=3)
    assert statements(BANK, VALUES, 30, seed=3) == [
        f"{BANK.contexts[i]} {BANK.options[i][k]}" for i, k in zip(items, options, strict=True)
    ]
    pinned = "\n".join(statements(BANK, VALUES, 200)).encode()
    assert hashlib.sha256(pinned).hexdigest()[:16] == "291817e8a3806997"
    for values in (np.full(19, np.nan), np.zeros(3)):
        with pytest.raises(ValueError, match="values"):
            statements(BANK, values, 1)
    with pytest.raises(ValueError, match="count is 0"):
        statements(BANK, VALUES, 0)
    with pytest.raises(ValueError, match="bank is empty"):
        statements(BANK[:0], VALUES, 1)
