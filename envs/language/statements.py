"""Statements of people with given values: texts on which a language model can be trained to have these values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys
from valuegym.envs.language.item_bank import MOST, ItemBank
from valuegym.envs.language.readings import choice_shares

__all__ = ["choices", "shares", "statements"]

Floats = npt.NDArray[np.float64]


def shares(bank: ItemBank, values: Floats) -> Floats:
    """Return the probabilities (I, 4) with which people of these values (D,) choose each option: softmax of loadings.

    An option's utility is the sum of its loadings times the values, in nats.

    Raises:
        ValueError: the values are no finite numbers, one for each name of the bank.
    """
    values = checks.reals("values", values, (len(bank.names),))
    return choice_shares(bank.loadings, np.arange(MOST) < bank.counts[:, None], values)


def choices(bank: ItemBank, values: Floats, count: int, seed: int = 0) -> tuple[npt.NDArray[np.int64], ...]:
    """Return items (count,) drawn uniformly, and the options (count,) that people of these values choose in them.

    With the same seed people of other values are asked the same items, and choose by common random numbers.

    Raises:
        ValueError: the bank is empty, count or seed is no integer of at least 1 or 0, or the values are as in `shares`.
    """
    count, seed = checks.integer("count", count, 1, 10**8), checks.integer("seed", seed, 0)
    if not len(bank):
        raise ValueError("bank is empty; expected at least one item.")
    key = keys.mix(np.array([seed], np.uint64), np.arange(count))
    chosen = keys.integers(key, len(bank), 0)
    return chosen, keys.choice(key, shares(bank, values)[chosen], 1)


def statements(bank: ItemBank, values: Floats, count: int, seed: int = 0) -> list[str]:
    """Return so many statements, each the context of an item and the chosen option, in the form `plain` of the probes.

    Raises:
        ValueError: as `choices`.
    """
    items, options = choices(bank, values, count, seed)
    return [f"{bank.contexts[i]} {bank.options[i][k]}" for i, k in zip(items.tolist(), options.tolist(), strict=True)]
