"""A surrogate of people that are language models: how their answers move when they are trained on an assistant's.

A model that is trained further on the answers that an assistant states moves towards them; a few numbers say how far,
fitted beforehand to such trainings (`studies/language/surrogate.py`), so that environments need no language model.

Shapes: B rows, A recorded items of which J are of the evaluation, 4 options, D values.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.coevolution import dynamics, recorded
from valuegym.envs.language import readings
from valuegym.envs.language.item_bank import MOST
from valuegym.envs.language.people import TINY, People

__all__ = ["SHIPPED", "Features", "Surrogate", "dump", "load"]

Floats = npt.NDArray[np.float64]

SHIPPED = Path(__file__).with_name("surrogate.json")
SHA256 = "468e3fc2f3aa61ec6ea2db8d6ad5ead8f24022dbbfa6591887cf2720632c52db"
LARGEST = 2**20  # bytes of a file
STRONGEST = 1e3  # of any number in it


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A log-linear response of people's answers to the gap between what they hear and what they answer.

    With p the people's probabilities and q those that they hear, r = q - p, and l the centred logarithms of p, the new
    probabilities are proportional to p exp(shift), and

        shift = share / (share + half) * (direct r + sum_d loading_d transfer_d v_d + sharpness s l).

    The first term holds for the items heard alone; v_d is the mean of loading * r over the items heard that are about
    value d; s = sum(r l) / sum(l l) over the items heard is positive where the assistant is more decided than they are.

    Attributes:
        names: D names of values.
        half: share of the assistant in what is read at which half of the largest response is reached.
        direct: response to the gap in an item itself.
        transfer: (D,) response to gaps in other items about a value.
        sharpness: response to how decided the answers are.
        largest: share up to which it was fitted.
        about: what it was fitted to, for people.
        sha256: of the file, "" for none.

    Raises:
        ValueError: a number is not finite or outside its range, or there is not one transfer for each name.
    """

    names: tuple[str, ...]
    half: float
    direct: float
    transfer: Floats
    sharpness: float
    largest: float
    about: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def __post_init__(self) -> None:
        """Check all fields."""
        for name in ("direct", "sharpness"):
            object.__setattr__(self, name, checks.real(name, getattr(self, name), -STRONGEST, STRONGEST))
        object.__setattr__(self, "half", checks.real("half", self.half, high=STRONGEST, above=0))
        object.__setattr__(self, "largest", checks.real("largest", self.largest, high=1, above=0))
        transfer = checks.reals("transfer", self.transfer, (len(self.names),), -STRONGEST, STRONGEST)
        transfer.flags.writeable = False
        object.__setattr__(self, "transfer", transfer)

    def answers(self, features: Features, before: Floats, heard: Floats, share: Floats) -> Floats:
        """Return the answers (B, A, 4) of people who have heard an assistant; those before where its share is 0.

        Args:
            features: of the items.
            before: (B, A, 4) probabilities of options without the assistant.
            heard: (B, J, 4) probabilities that it has stated.
            share: (B,) of the assistant in what people have read.
        """
        direct, values, sharpness = features(before, heard)
        shift = self.direct * direct + features.by_option(self.transfer * values) + self.sharpness * sharpness
        shift = np.where(features.there, (share / (share + self.half))[:, None, None] * shift, -np.inf)
        weights = before * np.exp(shift - shift.max(-1, keepdims=True))
        total = ((weights[..., 0] + weights[..., 1]) + (weights[..., 2] + weights[..., 3]))[..., None]
        return np.where((share > 0)[:, None, None], weights / total, before)


class Features:
    """The quantities to which people respond, for one set of recorded items.

    Attributes:
        there: (A, 4) true for options that are there.
    """

    def __init__(self, people: People) -> None:
        bank = people.bank
        self.there = np.arange(MOST) < bank.counts[:, None]
        self._evaluated = ~people.training
        self._there = self.there[self._evaluated]
        heard = bank.loadings[self._evaluated]
        # of each value, the places (item, option) of the evaluation that load on it, and how many items these are
        self._places = [np.nonzero(heard[..., d]) for d in range(len(bank.names))]
        self._weights = [heard[(*place, d)] for d, place in enumerate(self._places)]
        self._bears = [max(len(set(place[0].tolist())), 1) for place in self._places]
        # the values on which each option loads, most options on one
        self._most = max(int((bank.loadings != 0).sum(-1).max()), 1)
        self._which = np.argsort(bank.loadings == 0, axis=-1, kind="stable")[..., : self._most]
        self._loadings = np.take_along_axis(bank.loadings, self._which, -1)

    def __call__(self, before: Floats, heard: Floats) -> tuple[Floats, Floats, Floats]:
        """Return r (B, A, 4) with 0 for items that are not heard, v (B, D), and s l (B, A, 4)."""
        here = before[:, self._evaluated]
        gap = np.where(self._there, heard - here, 0.0)
        direct = np.zeros_like(before)
        direct[:, self._evaluated] = gap
        sums = [
            dynamics.total(gap[:, place[0], place[1]] * weight, -1) / bears
            for place, weight, bears in zip(self._places, self._weights, self._bears, strict=True)
        ]
        logs = readings.centred_logs(self.there, before)
        own = logs[:, self._evaluated]
        along, size = (dynamics.total((x * own).reshape(len(own), -1), -1) for x in (gap, own))
        decided = along / np.where(size > 0, size, 1.0)
        return direct, np.stack(sums, -1), decided[:, None, None] * logs

    def by_option(self, values: Floats) -> Floats:
        """Return sum_d loading_d value_d of every option (B, A, 4), for values (B, D)."""
        found = np.zeros((len(values), *self.there.shape))
        for k in range(self._most):
            found += self._loadings[..., k] * values[:, self._which[..., k]]
        return found


def dump(surrogate: Surrogate) -> str:
    """Return the text of a file that `load` reads."""
    content = {
        "names": list(surrogate.names),
        "half": surrogate.half,
        "direct": surrogate.direct,
        "transfer": surrogate.transfer.tolist(),
        "sharpness": surrogate.sharpness,
        "largest": surrogate.largest,
        "about": surrogate.about,
    }
    return json.dumps(content, indent=1) + "\n"


def load(source: str) -> Surrogate:
    """Read a surrogate: "tiny-llama", the one that is shipped, or a file that `dump` made, which ends in .json.

    Raises:
        ValueError: the source is none of these, or the file has another form.
        FileNotFoundError: there is no such file.
    """
    source = checks.text("surrogate", source, f"{TINY!r} or a file that ends in .json")
    if source != TINY and not source.endswith(".json"):
        raise checks.refusal("surrogate", source, f"{TINY!r} or a file that ends in .json")
    path = SHIPPED if source == TINY else Path(source)
    content = recorded.content_of(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if source == TINY and sha256 != SHA256:
        raise ValueError(f"{path} is not the file that was shipped: its SHA-256 differs; install valuegym again.")
    if len(content) > LARGEST:
        raise ValueError(f"{path} has {len(content)} bytes; expected at most {LARGEST}.")
    try:
        found = json.loads(content)
        numbers = {name: found[name] for name in ("half", "direct", "sharpness", "largest")}
        transfer = np.array(found["transfer"], np.float64)
        return Surrogate(tuple(map(str, found["names"])), transfer=transfer, about=dict(found["about"]),
                         sha256=sha256, **numbers)  # fmt: skip
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} does not hold a surrogate ({error!r}); write it with `surrogate.dump`.") from None
