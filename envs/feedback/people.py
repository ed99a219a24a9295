"""Published answers of people, read from a folder that the user has and known by their SHA-256; nothing is shipped.

| function | what people answered | how many | source | licence |
| --- | --- | --- | --- | --- |
| `hopper` | which of two stretches of Hopper is better | 100 pairs | Kim et al. (2023), by Hejna, Sadigh (2023) | MIT |
| `choices13k` | which of two gambles they take | 14,568 problems | Peterson et al. (2021) | not stated |
| `papi` | how well 300 sentences describe them, from 1 to 5 | 300 people | Zhu et al. (2024) | items: public domain |
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import array_files, checks
from valuegym.envs.feedback import importers
from valuegym.envs.feedback.answers import Answers, Feedback
from valuegym.envs.feedback.segments import Segments

__all__ = ["FILES", "TRAITS", "Choices", "Questionnaire", "choices13k", "digest", "hopper", "papi"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# The files of each data set with their SHA-256.
FILES: dict[str, dict[str, str]] = {
    "hopper_human_prefs": {
        "hopper-medium-expert-v2_num100_human_train.npz": (
            "bc1a5e4d9390f573fd90b4f69a9b03b43976ac13e44cbda7a78fb281680ece65"
        ),
        "hopper-medium-expert-v2_num100_human_eval.npz": (
            "b0214548fe111fa37b87431316076d745b71145972c17bc2da605fe74cfa649e"
        ),
    },
    "choices13k": {
        "c13k_problems.json": "c6bdb0ae7e0d0ca127b649b4996a7a49b3d0c4c43e5f9a851677fe4527276632",
        "c13k_selections.csv": "e21941718b83fd97a5997545489a66ce27bec3b3f62700a0774fb5f997fea5c7",
    },
}
# SHA-256 of the items and of the answers of the questionnaire (`digest`).
_PAPI = (
    "ed7284903b1c33cc42a374cfbaa4545739d1232c40fb9a56e2927d7dc71ebee0",
    "911842ee54e30d41f41cf4d26a1badc1c2bf30063bebecdd0e203719ee4a96cb",
)
TRAITS = "ACENO"  # agreeableness, conscientiousness, extraversion, neuroticism, openness


def _contents(name: str, data: str | Path | None, files: tuple[str, ...] | None = None) -> tuple[Path, list[bytes]]:
    """Return the folder of a data set and the contents of its files, checked by their SHA-256."""
    chosen = {file: sha256 for file, sha256 in FILES[name].items() if files is None or file in files}
    folder = array_files.find_folder(data, name, next(iter(chosen)))
    return folder, array_files.read_contents(folder, list(chosen), tuple(chosen.values()), "the published file")


def hopper(data: str | Path | None = None, part: str = "train") -> Feedback:
    """Return people's answers about pairs of 100 steps of D4RL's hopper-medium-expert-v2; what follows is not known.

    Label 1 is the second: the 100 labels are those of Preference Transformer, one for one, where 1 is the right clip.
    The 10 pairs of the part "eval" are all in "train", too: nothing is held out.

    Args:
        data: the folder, or that in which `hopper_human_prefs` lies; None is the one that VALUEGYM_DATA names.
        part: "train", 100 pairs, or "eval", 10 of them.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: the part is unknown, or a file is not the published one.
    """
    checks.choice("part", part, ("train", "eval"))
    file = next(file for file in FILES["hopper_human_prefs"] if file.endswith(f"_{part}.npz"))
    folder, _ = _contents("hopper_human_prefs", data, (file,))
    return importers.read_cpl(folder / file)


class Choices(NamedTuple):
    """Choices between two gambles.

    Attributes:
        first: N gambles, option A, as segments whose columns are `outcomes` (N, K) and `chances` (N, K), as
            `utilities.RiskyChoice` reads them; options of fewer outcomes than K are padded by chances of 0.
        second: N gambles, option B.
        share: (N,) of choices of the second, the mean over people.
        people: (N,) how many were asked.
        problem: (N,) the number of the problem as published.
    """

    first: Segments
    second: Segments
    share: Floats
    people: npt.NDArray[np.int64]
    problem: npt.NDArray[np.int64]

    def feedback(self) -> Feedback:
        """Return the answer of the majority to each problem, with the share as its probability."""
        labels = np.where(self.share == 0.5, 0.5, (self.share > 0.5).astype(np.float64))
        return Feedback(self.first, self.second, Answers(labels, probability=self.share))


def choices13k(data: str | Path | None = None, standard: bool = True) -> Choices:
    """Return people's choices between gambles, in the order of the publication.

    Args:
        data: the folder, or that in which `choices13k` lies; None is the one that VALUEGYM_DATA names.
        standard: only the 9,831 problems with feedback and without ambiguity, to which models are fitted; else all
            14,568.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file is not the published one.
    """
    checks.flag("standard", standard)
    _, (problems, selections) = _contents("choices13k", data)
    gambles = json.loads(problems)
    rows = list(csv.DictReader(io.StringIO(selections.decode())))
    chosen = [i for i, row in enumerate(rows) if not standard or (row["Feedback"], row["Amb"]) == ("True", "False")]
    size = max(len(gambles[str(i)][option]) for i in chosen for option in "AB")

    def side(option: str) -> Segments:
        both = np.zeros((len(chosen), size, 2))
        for place, i in enumerate(chosen):
            both[place, : len(gambles[str(i)][option])] = gambles[str(i)][option]
        nothing = np.zeros((len(chosen), 2)), np.zeros((len(chosen), 1))  # a gamble is one step without observations
        return Segments(*nothing, info={"chances": both[..., 0], "outcomes": both[..., 1]})

    return Choices(
        side("A"),
        side("B"),
        np.array([float(rows[i]["bRate"]) for i in chosen]),
        np.array([int(rows[i]["n"]) for i in chosen]),
        np.array([int(rows[i]["Problem"]) for i in chosen]),
    )


class Questionnaire(NamedTuple):
    """Answers of people to the items of a questionnaire.

    Attributes:
        answers: (people, items) from 1 to 5, NaN where there is none. More is more of the trait: answers to items that
            speak against it were reversed before publication, as their correlations with the other items show.
        trait: (items,) one of TRAITS.
        reverse: (items,) whether the item speaks against the trait; nothing is left to be reversed.
        given: (items,) whether the answer is given to a model; it predicts the others.
        items: the sentences.
    """

    answers: Floats
    trait: npt.NDArray[np.str_]
    reverse: Bools
    given: Bools
    items: tuple[str, ...]


def papi(data: str | Path | None = None) -> Questionnaire:
    """Return the answers of 300 people to the 300 items of the IPIP-NEO, 120 of which are given.

    Read are `items.csv` and `responses_300x300.csv`; docs/data.md says how to make them of the published files. They
    are known by the SHA-256 of what is in them (`digest`), so that line ends and quotation marks do not matter.

    Args:
        data: the folder, or that in which `papi` lies; None is the one that VALUEGYM_DATA names.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file does not hold what was published.
    """
    names = ["items.csv", "responses_300x300.csv"]
    folder = array_files.find_folder(data, "papi", names[0])
    contents = array_files.read_contents(folder, names, None, "")
    with array_files.naming(folder / names[0]):
        head, *rows = _table(contents[0])
        places = [head.index(name) if name in head else -1 for name in ("Key", "Sign", "split", "Item")]
        if min(places) < 0 or any(len(row) != len(head) for row in rows) or len(rows) != 300:
            raise ValueError("expected the columns Key, Sign, split and Item, and 300 rows.")
    with array_files.naming(folder / names[1]):
        lines = [line[1:] for line in _table(contents[1])[1:]]
        if [len(line) for line in lines] != [300] * 300 or not all(set(line) <= set("012345") for line in lines):
            raise ValueError("expected 300 rows, of a number and 300 answers from 0 to 5 each.")
        numbers = np.array(lines, np.float64)
    key, sign, split, item = ([row[place] for row in rows] for place in places)
    found = Questionnaire(
        np.where(numbers == 0, np.nan, numbers),
        np.array([text[:1] for text in key]),
        np.array([text.startswith("-") for text in sign]),
        np.array(split) == "train",
        tuple(item),
    )
    for name, (part, wanted) in zip(names, zip(digest(found), _PAPI, strict=True), strict=True):
        if part != wanted:
            raise ValueError(f"{folder / name}: it does not hold what was published; make it again.")
    return found


def _table(content: bytes) -> list[list[str]]:
    """Return the lines of a CSV file, at least one."""
    try:
        return list(csv.reader(io.StringIO(content.decode()), strict=True)) or [[]]
    except (ValueError, csv.Error):
        raise ValueError(
            f"it is no table in CSV{', for ' if (said := array_files.unlike(content)) else ''}{said}."
        ) from None


def digest(found: Questionnaire) -> tuple[str, str]:
    """Return the SHA-256 of the items, with traits, signs and split, and that of the answers of a questionnaire."""
    items = zip(found.trait, found.reverse, found.given, found.items, strict=True)
    text = json.dumps([[str(t), bool(r), bool(g), item] for t, r, g, item in items])
    return array_files.sha256(text.encode()), array_files.sha256(np.nan_to_num(found.answers).astype(np.int8).tobytes())
