"""People whose answers were recorded: for every history and century the probabilities of choosing each option of items.

Where they come from is no matter: language models (`studies/language/recorded_people.py` made those that are shipped),
a survey, or a population of numbers. They are a file, so that environments need no language model, give the same
numbers everywhere, and can be replayed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.coevolution import recorded
from valuegym.envs.language.item_bank import MOST, ItemBank

__all__ = ["SHIPPED", "People", "dump", "load"]

Floats = npt.NDArray[np.float64]

SHIPPED = Path(__file__).with_name("people.json")
SHA256 = "d56db828a96dac79ba4ab9a6ee0775474115140f78808de737097d82fcf13978"
TINY = "tiny-llama"  # the name of those that are shipped
UNIT = 10_000  # probabilities are stored as integers of this fraction
LARGEST = 64 * 2**20  # bytes of a file


@dataclass(frozen=True, eq=False)
class People:
    """Recorded people of H histories of C centuries.

    Attributes:
        bank: I items.
        training: (I,) true for items that an agent may ask, false for those on which it is evaluated.
        answers: (H, C, I, 4) probabilities of choosing each option, 0 for options that are not there.
        values: (H, C, D) of the populations that the people stand for, in nats; NaN-free, zeros if unknown.
        sha256: of the file, "" for none.

    Raises:
        ValueError: shapes differ, answers are no probabilities, or all items are of one kind.
    """

    bank: ItemBank
    training: npt.NDArray[np.bool_]
    answers: Floats
    values: Floats
    sha256: str = ""

    def __post_init__(self) -> None:
        """Check all fields, and make the answers to every item sum to 1."""
        count, D = len(self.bank), len(self.bank.names)
        answers = checks.reals("answers", self.answers, (None, None, count, MOST), 0, 1)
        H, C = answers.shape[:2]
        training = np.asarray(self.training)
        if training.shape != (count,) or training.dtype != np.bool_ or training.all() or not training.any():
            raise checks.refusal("training", training, f"{count} flags of which some are true and some false")
        there = np.arange(MOST) < self.bank.counts[:, None]
        total = answers.sum(-1, keepdims=True)
        if not H * C or answers[..., ~there].any() or (abs(total - 1) > 1e-3).any():
            raise ValueError("answers are no probabilities of the options of each item; expected sums of 1, and 0s "
                             "for options that are not there.")  # fmt: skip
        object.__setattr__(self, "training", training)
        for name, array in (("answers", answers / total), ("values", checks.reals("values", self.values, (H, C, D)))):
            array.flags.writeable = False
            object.__setattr__(self, name, array)


def dump(people: People) -> str:
    """Return the text of a file that `load` reads: probabilities in units of 1/10,000, without the last option's."""
    bank, counts = people.bank, people.bank.counts.tolist()
    items = [
        {
            "id": bank.ids[i],
            "context": bank.contexts[i],
            "options": list(bank.options[i]),
            "loadings": {
                name: bank.loadings[i, : counts[i], d].tolist()
                for d, name in enumerate(bank.names)
                if bank.loadings[i, :, d].any()
            },
        }
        for i in range(len(bank))
    ]
    kept = np.arange(MOST) < bank.counts[:, None] - 1
    stored = np.round(people.answers[..., kept] * UNIT).astype(int).tolist()
    content = {
        "names": list(bank.names),
        "items": items,
        "training": people.training.tolist(),
        "values": np.round(people.values, 4).tolist(),
        "answers": stored,
    }
    return json.dumps(content, separators=(",", ":")) + "\n"


def load(source: str) -> People:
    """Read recorded people: "tiny-llama", those that are shipped, or a file that `dump` made, which ends in .json.

    Raises:
        ValueError: the source is none of these, or the file has another form.
        FileNotFoundError: there is no such file.
    """
    source = checks.text("people", source, f"{TINY!r} or a file that ends in .json")
    if source != TINY and not source.endswith(".json"):
        raise checks.refusal("people", source, f"{TINY!r} or a file that ends in .json")
    return _shipped() if source == TINY else _parse(Path(source), recorded.content_of(source))


@cache
def _shipped() -> People:
    """Return the people that are shipped.

    Raises:
        ValueError: the file has been changed.
    """
    content = recorded.content_of(SHIPPED)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{SHIPPED} is not the file that was shipped: its SHA-256 differs; install valuegym again.")
    return _parse(SHIPPED, content)


def _parse(path: Path, content: bytes) -> People:
    """Return the people of a file's content.

    Raises:
        ValueError: the content has another form.
    """
    if len(content) > LARGEST:
        raise ValueError(f"{path} has {len(content)} bytes; expected at most {LARGEST}.")
    try:
        return _read(json.loads(content), hashlib.sha256(content).hexdigest())
    except (KeyError, TypeError, IndexError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} does not hold recorded people ({error!r}); write it with `people.dump`.") from None


def _read(content: dict[str, Any], sha256: str) -> People:
    """Return the people that a decoded file holds."""
    names, items = tuple(content["names"]), content["items"]
    loadings = np.zeros((len(items), MOST, len(names)))
    for i, item in enumerate(items):
        for name, given in item["loadings"].items():
            loadings[i, : len(given), names.index(name)] = given
    options = tuple(tuple(map(str, item["options"])) for item in items)
    ids, contexts = (tuple(str(item[name]) for item in items) for name in ("id", "context"))
    bank = ItemBank(ids, contexts, options, loadings, names)
    stored = checks.reals("answers", content["answers"], (None, None, None), 0, UNIT) / UNIT
    answers = np.zeros((*stored.shape[:2], len(items), MOST))
    kept = np.arange(MOST) < bank.counts[:, None] - 1
    if stored.shape[-1] != kept.sum():
        raise ValueError(f"answers hold {stored.shape[-1]} numbers a century; expected {int(kept.sum())}.")
    answers[..., kept] = stored
    answers[..., np.arange(len(items)), bank.counts - 1] = np.maximum(1 - answers.sum(-1), 0)
    return People(bank, np.array(content["training"]), answers, np.array(content["values"]), sha256)
