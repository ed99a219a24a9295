"""A learner that fits the answers of a study in a process of its own, so that nobody who answers has to wait for it.

`python -m valuegym.labelling.worker FOLDER` fits whenever there are new answers, and puts the priority of pairs and
what was learnt into the store. It ends with the process that started it, when its standard input is closed.
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import sys
import threading
import time
from typing import Any

import numpy as np

from valuegym.agents.divergence import DivergenceError
from valuegym.envs.feedback import data
from valuegym.envs.feedback.answers import Feedback, join
from valuegym.envs.feedback.segments import concatenate
from valuegym.labelling import store
from valuegym.labelling.learner import learner_of
from valuegym.labelling.store import DatabaseFile
from valuegym.labelling.study import Study

__all__ = ["Fitting", "end_with_input", "main"]

CANDIDATES = 500  # rated at each fit
PAUSE = 0.2  # seconds at least between two looks at the store


class Fitting:
    """The fits of one learner to the answers of a study, one after another.

    Raises:
        FileNotFoundError: there is no study in the folder.
        ValueError: the learner does not suit the environment.
        ImportError: the learner needs torch, which is not installed.
    """

    def __init__(self, folder: str) -> None:
        self.database = DatabaseFile(folder)
        self.learner = learner_of(Study.read(self.database.folder))
        self._answers: dict[int, Feedback] = {}  # by the number of the item
        self._right: list[float] = []

    def step(self) -> bool:
        """Fit all answers if they have changed since the last fit; return whether they had."""
        if self.learner is None:
            return False
        with self.database.look() as connection:
            found = store.answered_pairs(connection)
            numbers = {one.id for one in found}
            if numbers == set(self._answers):
                return False
            rated = store.candidates(connection, CANDIDATES)
        new = [one for one in found if one.id not in self._answers]
        kept = {number: self._answers[number] for number in numbers & set(self._answers)}
        self._answers = kept | {one.id: one.feedback() for one in new}
        if new:
            self._score(join([self._answers[one.id] for one in new]))
        parts = [one for one in self._answers.values() if not one.answers.skipped[0]]
        if not parts:
            return True
        unpacked = [data.unpack(content)[:2] for _, content in rated]
        feedback = join(parts)
        sides: Any = (feedback.first[:0], feedback.second[:0])
        if unpacked:
            sides = tuple(concatenate([pair[side] for pair in unpacked]) for side in (0, 1))
        fitted = self.learner.fit(feedback, sides)
        about: dict[str, Any] = {"predicted": float(np.mean(self._right[-50:])) if self._right else None}
        about["score"] = None if math.isnan(fitted.score) else fitted.score
        priority = dict(zip([name for name, _ in rated], fitted.priority.tolist(), strict=True))
        with self.database.change() as connection:
            store.save_fit(connection, len(feedback), about, fitted.film, priority)
        return True

    def _score(self, new: Feedback) -> None:
        """Note which of new answers the last fit had predicted."""
        assert self.learner is not None
        chances = self.learner.predict(new.first, new.second)
        if chances is not None:
            for chance, label in zip(chances.tolist(), new.answers.labels.tolist(), strict=True):
                if label in (0.0, 1.0):
                    self._right.append(float((chance > 0.5) == (label == 1.0)))


def end_with_input() -> None:
    """End this process as soon as its standard input is closed, which happens when its parent ends."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while sys.stdin.buffer.read(4096):
                pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: list[str] | None = None) -> int:
    """Fit the answers of the study in a folder until the standard input is closed."""
    [folder] = sys.argv[1:] if arguments is None else arguments
    end_with_input()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    fitting = Fitting(folder)
    while fitting.learner is not None:
        begun = time.monotonic()
        try:
            fitting.step()
        except DivergenceError as error:  # of these answers; the next ones may be better
            print(f"valuegym label: the learner cannot fit these answers: {error}", file=sys.stderr)
        except (sqlite3.Error, OSError) as error:  # another process writes, or the disk is full: it is tried again
            print(f"valuegym label: the learner could not read or store: {error}", file=sys.stderr)
        time.sleep(max(PAUSE, time.monotonic() - begun))  # half the time at most, so that the server has the other
    return 0


if __name__ == "__main__":
    sys.exit(main())
