"""People as the asynchronous annotator of a run that trains meanwhile."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import numpy as np

from valuegym.envs import checks
from valuegym.envs.feedback.answers import Feedback
from valuegym.envs.feedback.segments import Segments
from valuegym.labelling import store
from valuegym.labelling.films import Draw
from valuegym.labelling.pool import Numbers, drawn_pairs
from valuegym.labelling.server import child
from valuegym.labelling.store import DatabaseFile
from valuegym.labelling.study import FILE, Study

__all__ = ["LabelAnnotator"]


class LabelAnnotator:
    """People at the pages of `valuegym label`, who answer while a run goes on.

    It takes the place of a `FileAnnotator`: `submit` stores pairs with their films, `collect` fetches answers that have
    come. All runs that share a folder share its pairs and answers. Serve the folder by `valuegym label serve FOLDER`,
    or give a port:

        env = gym.make("CartPole-v1", render_mode="rgb_array")
        env = gym.wrappers.AddRenderObservation(env, render_only=False)
        env = PreferenceFeedback(env, LabelAnnotator("study", port=8000), budget=100)

    Args:
        folder: of the study; where there is none, one is made.
        study: of a folder that has none; None for the default, without a game.
        draw: returns the pictures of a segment (N = 1, without rewards); None takes those among its observations.
        numbers: functions of segments that conditions show, of `pool.numbers_of`; None where they show nothing.
        port: where to serve, in a process of its own that ends with this one; None serves nowhere.
        seed: of the order in which pairs are given out.

    Raises:
        ValueError: an argument is not as stated, or the folder's files are not.
    """

    def __init__(
        self,
        folder: str | Path,
        study: Study | None = None,
        draw: Draw | None = None,
        numbers: tuple[Numbers, Numbers | None] | None = None,
        port: int | None = None,
        seed: int = 0,
    ) -> None:
        if draw is not None and not callable(draw):
            raise checks.refusal("draw", draw, "a function that returns the pictures of a segment, or None")
        self.database = DatabaseFile(folder, create=True)
        if not (self.database.folder / FILE).is_file():
            (Study(play_steps=0) if study is None else study).write(self.database.folder)
        self.study = Study.read(self.database.folder)
        self._draw, self._numbers = draw, numbers
        self._rng = np.random.default_rng(checks.integer("seed", seed, 0))
        self._known: set[int] = set()
        self._stack = contextlib.ExitStack()
        self.process: subprocess.Popen[bytes] | None = None
        if port is not None:
            checks.integer("port", port, 1, 65535)
            words = ("valuegym.labelling.server", str(self.database.folder), str(port))
            self.process = self._stack.enter_context(child(*words))

    def submit(self, first: Segments, second: Segments) -> list[str]:
        """Ask about N pairs, and return their ids; a pair that was asked about before is not stored again.

        Raises:
            ValueError: nothing draws such segments, or a condition shows what is not known of them.
        """
        films, pairs = drawn_pairs(first, second, self.study, self._draw, self._numbers, keep_rewards=False)
        with self.database.change() as connection:
            store.add_films(connection, films)
            store.add_pairs(connection, pairs, self._rng)
        return [pair.id for pair in pairs]

    def collect(self) -> Feedback | None:
        """Return the answered pairs that this object has not returned yet; a new object returns all again."""
        with self.database.look() as connection:
            return store.collect(connection, self._known)

    def close(self) -> None:
        """Stop serving, if a port was given; pairs and answers stay in the folder."""
        self._stack.close()
