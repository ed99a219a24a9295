"""Answers of a study in the suite's formats.

`write_preferences` writes a data set of `valuegym.envs.feedback.data`, for any environment; `write_delivery` the format
of the published delivery preferences, one condition for each of the study, which `valuegym data check` and
`valuegym likelihood` read. People are numbers in both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from valuegym.envs.feedback import data
from valuegym.envs.feedback.answers import Feedback, join
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import delivery, human_data
from valuegym.labelling import store
from valuegym.labelling.films import DELIVERY
from valuegym.labelling.learner import delivery_pairs
from valuegym.labelling.store import Answered, DatabaseFile
from valuegym.labelling.study import Study

__all__ = ["answers_of", "collected", "write_delivery", "write_preferences"]


def collected(database: DatabaseFile, least_passed: float = 0.0) -> list[Answered]:
    """Return all answers of a study.

    Args:
        database: of the study.
        least_passed: share of attention checks that a person must have passed, from 0 to 1.

    Raises:
        ValueError: there is no answer.
    """
    with database.look() as connection:
        found = store.answered_pairs(connection, least_passed=least_passed)
    if not found:
        least = f" of people who passed {least_passed:.0%} of the attention checks" if least_passed else ""
        raise ValueError(f"The study in {database.folder} has no answer{least} yet.")
    return found


def answers_of(found: list[Answered], rewards: bool = False) -> Feedback:
    """Return answers as one batch, with columns that say how each came about.

    The columns of both sides are `condition` (a text), `seconds` from showing to answering, and `on_left`, whether the
    segment stood on the left. True rewards are hidden unless `rewards` is True.
    """
    feedback = join([one.feedback() for one in found])
    if not rewards:
        feedback = feedback.hidden(terminated=True)
    columns = {
        "condition": np.array([one.condition for one in found]),
        "seconds": np.array([one.seconds for one in found]),
    }
    flipped = np.array([one.flipped for one in found])

    def side(segments: Segments, on_left: np.ndarray) -> Segments:
        return segments.with_info(**columns, on_left=on_left)

    return Feedback(side(feedback.first, ~flipped), side(feedback.second, flipped), feedback.answers)


def write_preferences(
    database: DatabaseFile,
    output: str | Path,
    source: str,
    licence: str,
    least_passed: float = 0.0,
    rewards: bool = False,
) -> str:
    """Write all answers as a data set of preferences; return a sentence.

    Raises:
        ValueError: there is no answer, or a text is empty.
        OSError: the folder cannot be written.
    """
    study, found = Study.read(database.folder), collected(database, least_passed)
    feedback = answers_of(found, rewards)
    about = (
        f"Study {study.title!r}, consent {study.consent_hash()}; people asked: {len({one.person for one in found})}."
    )
    card = data.write(output, feedback, source=source, licence=licence, environment=study.environment, about=about)
    people = len({one.person for one in found})
    return f"{card} written: {len(feedback)} answers of {people} {'person' if people == 1 else 'people'}."


def write_delivery(
    database: DatabaseFile, output: str | Path, source: str, licence: str, least_passed: float = 0.0
) -> str:
    """Write the answers about the delivery task, a condition for each of the study; return a sentence for each.

    Raises:
        ValueError: the study is about another environment, there is no answer, or a text is empty.
        OSError: the folder cannot be written.
    """
    study = Study.read(database.folder)
    if study.environment != DELIVERY:
        raise ValueError(f"The study is about {study.environment}; expected {DELIVERY}, or --to preferences.")
    found = collected(database, least_passed)
    sentences = []
    for condition, words in study.conditions.items():
        part = [one for one in found if one.condition == condition]
        if not part:
            continue
        feedback = answers_of(part)
        pairs = delivery_pairs(feedback.first, feedback.second)
        width = len(delivery.BOARD[0])
        starts = np.stack(np.divmod(pairs.states[..., 0], width), -1)
        actions = np.where(pairs.mask, pairs.actions, -1)
        about = f"Study {study.title!r}; the question was {words.question!r}, shown was {words.shows}."
        name = f"label-{condition.replace('_', '-')}"
        labels = feedback.answers.labels
        path = human_data.write(output, name, starts, actions, labels, source=source, licence=licence, about=about)
        sentences.append(f"{path} written: {len(part)} answers.")
    return "\n".join(sentences)
