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

__all__ = ["FILES", "TRAITS", "Choices", "Questionnaire", "choices13k", "hopper", "papi"]

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
    "papi": {
        "items.csv": "fc334a972fd3a8a6052d6643837893248bb7979a1d88adea6f28b729daab2a8d",
        "responses_300x300.csv": "81b4d2f6116d57bd0e926dcc6862a9d8e64c9c3656761117a0f11b438d6b07a4",
    },
}
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

    Args:
        data: the folder, or that in which `papi` lies; None is the one that VALUEGYM_DATA names.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file is not the published one.
    """
    _, (items, responses) = _contents("papi", data)
    rows = list(csv.DictReader(io.StringIO(items.decode())))
    numbers = np.array([line[1:] for line in csv.reader(io.StringIO(responses.decode()))][1:], np.float64)
    return Questionnaire(
        np.where(numbers == 0, np.nan, numbers),
        np.array([row["Key"][0] for row in rows]),
        np.array([row["Sign"].startswith("-") for row in rows]),
        np.array([row["split"] == "train" for row in rows]),
        tuple(row["Item"] for row in rows),
    )
