"""Items that ask for values: a context and two or four options, with the values that each option serves.

Nineteen values: ten rules of common morality (options that keep or break them), five moral foundations (options that
serve one or do not) and four world views (one option each). Items come from a folder of one's own, checked by SHA-256
(MoralChoice, Scherrer et al. 2023, and generated items, as collected in ProgressGym, Qiu et al. 2024, CC-BY 4.0), or
from `generate`, which needs no download. No data are shipped.

In the published files the first option is the good one in nearly all items, so that whoever always takes the first
looks moral: `balanced` puts the good option first as often as second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys
from valuegym.envs.coevolution import items, recorded

__all__ = ["FOUNDATIONS", "NAMES", "RULES", "VIEWS", "ItemBank", "balanced", "generate", "load", "rotations", "split"]

Floats = npt.NDArray[np.float64]

RULES = items.RULES
FOUNDATIONS = ("harm_care", "fairness_reciprocity", "ingroup_loyalty", "authority_respect", "purity_sanctity")
VIEWS = ("traditional", "modern", "post_modern", "integrated")
NAMES = RULES + FOUNDATIONS + VIEWS
MOST = 4  # options of an item

# Files and SHA-256 of the published items; those of rules are the same as for `items.load`.
PUBLISHED = {
    "rules": items.PUBLISHED["moralchoice"],
    "foundations": (
        "foundation/final.csv",
        "44b6d6881735c1159731f338a926d7a940682992e8bdf8172a774ede6f243d58",
    ),
    "views": ("views/final.csv", "ab41941a595d82918864f5cfa151c55750fc2bccfc7046ee384b6d0d3e755a9a"),
}
THEMES = ("Harm_Care", "Fairness_Reciprocity", "InGroup_Loyalty", "Authority_Respect", "Purity_Sancity")  # as spelt
TEMPLATES = Path(__file__).with_name("items.json")


@dataclass(frozen=True, eq=False, repr=False)
class ItemBank:
    """I items.

    Attributes:
        ids: a text for each item, all different.
        contexts: what an item is about.
        options: two to four texts for each item.
        loadings: (I, 4, D) what an option serves, 0 for options that are not there; the loadings of an item's options
            sum to 0 in every value, so that who takes all alike scores 0. With two options 1 and -1, with four 1 and
            -1/3.
        names: of the D values.

    Raises:
        ValueError: lengths differ, an id occurs twice, an item has fewer than two or more than four options, a text is
            empty, or the loadings are not as stated.
    """

    ids: tuple[str, ...]
    contexts: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    loadings: Floats
    names: tuple[str, ...] = NAMES

    def __post_init__(self) -> None:
        """Check all fields."""
        object.__setattr__(
            self, "loadings", checks.reals("loadings", self.loadings, (len(self.ids), MOST, len(self.names)), -1, 1)
        )
        if not len(self.ids) == len(self.contexts) == len(self.options):
            raise ValueError(
                f"There are {len(self.ids)} ids, {len(self.contexts)} contexts and {len(self.options)} lists of "
                "options; expected one of each for every item."
            )
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("ids holds a text twice; expected another one for every item.")
        for id, context, options in zip(self.ids, self.contexts, self.options, strict=True):
            if not 2 <= len(options) <= MOST or not all(map(str.strip, (context, *options))):
                raise ValueError(f"Item {id!r} has {len(options)} options; expected two to four, and no empty text.")
        absent = np.arange(MOST) >= self.counts[:, None]
        if self.loadings[absent].any() or not np.allclose(self.loadings.sum(1), 0):
            raise ValueError("loadings of the options of an item do not sum to 0 in every value; centre them.")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<{len(self)} items about {int(self.loadings.any((0, 1)).sum())} values>"

    def __getitem__(self, rows: Any) -> ItemBank:
        """Return some items: an index array, a mask or a slice; a single index gives a bank of one."""
        if isinstance(rows, (int, np.integer)):
            rows = [rows]
        chosen = np.arange(len(self))[rows].tolist()
        return ItemBank(
            tuple(self.ids[i] for i in chosen),
            tuple(self.contexts[i] for i in chosen),
            tuple(self.options[i] for i in chosen),
            self.loadings[rows],
            self.names,
        )

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of options of each item (I,)."""
        return np.array([len(options) for options in self.options], np.int64)

    @property
    def bears(self) -> npt.NDArray[np.bool_]:
        """True where an item tells something about a value (I, D)."""
        return np.asarray(self.loadings.any(1))

    def reordered(self, orders: Sequence[Sequence[int]]) -> ItemBank:
        """Return the bank with the options of each item in another order, given by their present places.

        Raises:
            ValueError: an order does not name each option once.
        """
        loadings, options = self.loadings.copy(), []
        for i, (order, texts) in enumerate(zip(orders, self.options, strict=True)):
            if sorted(order) != list(range(len(texts))):
                raise ValueError(f"The order {list(order)} does not name each of {len(texts)} options once.")
            loadings[i, : len(texts)] = self.loadings[i, list(order)]
            options.append(tuple(texts[place] for place in order))
        return replace(self, options=tuple(options), loadings=loadings)


def rotations(count: int) -> list[tuple[int, ...]]:
    """Return orders of so many options in which each comes once in every place."""
    return [tuple((place + shift) % count for place in range(count)) for shift in range(count)]


def balanced(bank: ItemBank) -> ItemBank:
    """Return the bank with the good option first as often as elsewhere, as nearly as that is possible for all values.

    In turn each item gets the rotation of its options after which the loadings of first options sum to the least.
    """
    total, orders = np.zeros(len(bank.names)), []
    for loadings, options in zip(bank.loadings, bank.options, strict=True):
        order = min(rotations(len(options)), key=lambda order: float(((total + loadings[order[0]]) ** 2).sum()))
        total += loadings[order[0]]
        orders.append(order)
    return bank.reordered(orders)


def split(bank: ItemBank, share: float = 0.5, seed: int = 0) -> tuple[ItemBank, ItemBank]:
    """Return items to train on, about this share, and the others to evaluate on.

    Which side an item is on depends on seed and context alone, so that no context is on both.

    Raises:
        ValueError: the share is outside [0, 1], or the seed no integer of at least 0.
    """
    share, seed = checks.real("share", share, 0, 1), checks.integer("seed", seed, 0)
    draws = [hashlib.sha256(f"{seed}\n{context.strip()}".encode()).digest()[:7] for context in bank.contexts]
    train = np.array([int.from_bytes(draw, "big") / 2**56 < share for draw in draws], bool)
    return bank[train], bank[~train]


# --- where items come from ---


def _two(index: int, sign: float = 1.0) -> Floats:
    """Return the loadings of two options of which the first serves a value, or keeps a rule (sign 1), or the second."""
    found = np.zeros((MOST, len(NAMES)))
    found[:2, index] = sign, -sign
    return found


def _four() -> Floats:
    """Return the loadings of four options, one for each world view."""
    found = np.zeros((MOST, len(NAMES)))
    found[:, -MOST:] = np.eye(MOST) - (1 - np.eye(MOST)) / (MOST - 1)
    return found


def _plain(text: str) -> str:
    """Return a text without the blanks and quotation marks around it."""
    return text.strip(' "\u201c\u201d\n')


def _options(row: dict[str, str]) -> tuple[str, ...]:
    """Return the options of a published item; where fields are empty, others hold two options that belong there."""
    fields = [_plain(row[name]) for name in (f"action{k}" for k in range(1, MOST + 1)) if name in row]
    if not all(fields):
        fields = [part for field in fields for part in field.split("\u201d,\u201c") if part]
    return tuple(fields)


def _loadings(kind: str, row: dict[str, str]) -> Floats:
    """Return the loadings (4, D) of a published item."""
    if kind == "views":
        return _four()
    if kind == "foundations":
        return _two(len(RULES) + THEMES.index(row["generation_theme"]))
    return np.sum([_two(k, sign) for k, sign in enumerate(items.moralchoice([row])[0])], 0)


def load(data: str | None = None, kinds: Sequence[str] = ("rules", "foundations", "views")) -> ItemBank:
    """Read the published items from the folder `data`, or that of the variable VALUEGYM_DATA.

    As in the published evaluation, of the items that share an id only the last one counts (583 of 680 are left of
    rules, although the others have texts of their own), and a line of names among the items of views is left out.
    Blanks and quotation marks around a text are dropped; three items of views whose options had run together in two or
    three fields get four again. There are 583 items of rules, 600 of foundations and 538 of views. Two of them (H_530,
    F_1534) have two options of one text, and say nothing.

    Raises:
        ValueError: a kind is unknown, there is none, or a file is not the published one.
        FileNotFoundError: the folder or a file is missing.
    """
    found: dict[str, tuple[str, tuple[str, ...], Floats]] = {}
    if not len(kinds):
        raise checks.refusal("kinds", kinds, f"at least one of {', '.join(PUBLISHED)}")
    for kind in kinds:
        checks.choice("kind", kind, PUBLISHED)
        path, content, _ = recorded.published(kind, *PUBLISHED[kind], data)
        for row in recorded.rows_of(content, path):
            if row["context"] == "context":
                continue
            found[row["scenario_id"]] = (_plain(row["context"]), _options(row), _loadings(kind, row))
    return _bank(found)


def _bank(found: dict[str, tuple[str, tuple[str, ...], Floats]]) -> ItemBank:
    contexts, options, loadings = zip(*found.values(), strict=True)
    return ItemBank(tuple(found), contexts, options, np.stack(loadings))


@cache
def _templates() -> dict[str, Any]:
    """Return the phrases of generated items."""
    content: dict[str, Any] = json.loads(TEMPLATES.read_text(encoding="utf-8"))
    return content


def generate(each: int = 20, seed: int = 0) -> ItemBank:
    """Return generated items of the same form: `each` of every rule and foundation, and of world views together.

    Contexts combine people, places and situations; the first option is the good one, as in the published items.

    Raises:
        ValueError: `each` is no integer from 1 to 128, or the seed none of at least 0.
    """
    each, seed = checks.integer("each", each, 1, 128), checks.integer("seed", seed, 0)
    content = _templates()
    key, found = keys.mix(np.array([seed], np.uint64)), {}
    for index, name in enumerate((*RULES, *FOUNDATIONS, "views")):
        four = name == "views"
        every = list(product(content["four"] if four else content["two"][name], content["people"], content["places"]))
        for number, chosen in enumerate(keys.permutation(key, len(every), index)[0, :each].tolist()):
            (context, *options), person, place = every[chosen]
            text = context.format(person=person, place=place)
            loadings = _four() if four else _two(index)
            found[f"{name}_{number}"] = (f"{text[0].upper()}{text[1:]}.", tuple(f"{o}." for o in options), loadings)
    return _bank(found)
