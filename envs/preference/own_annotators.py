"""Annotators of one's own in the query environments: a function, or the text that names one.

The argument `annotator` of a query environment is a name in `annotators.ANNOTATORS`, or

    better                        a function of first and second segments, or any annotator of `valuegym.envs.feedback`
    my_annotators.py:better       the name of one in a file, or package.module:better in a module
    my_package.better             the plug-in `better` of the installed distribution my-package (group
                                  `valuegym.annotators`)

A function gets batches of first and second segments (`valuegym.envs.feedback.segments.Segments`) with true rewards, and
returns a label for each pair: 0, 1, 0.5 or NaN. Each row has to be answered by itself, because scalar and vector
environments ask about different batches. A function with a third argument, and every annotator of
`valuegym.envs.feedback`, is called for one pair at a time, with a numpy generator that is seeded from the episode's
key. Every pair is asked about once; the answer is kept.

Columns of `Segments.info`: `advantages` (N, L), Q* - V* of each step, `discount` (N,), that of the task, and where
there are finitely many states `values` (N, L+1), V* of each, and `features` (N, L, d) of each step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from valuegym.envs import keys, plugins
from valuegym.envs.feedback.annotators import Custom, as_annotator
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import annotators
from valuegym.envs.preference.segments import Array

__all__ = ["GROUP", "OwnAnnotator", "resolve"]

GROUP = "valuegym.annotators"
KEPT = 100_000  # answers kept at most, so that no pair is asked about twice
_STREAM = -2  # the number of a draw that no source of pairs makes


@dataclass(frozen=True, eq=False)
class OwnAnnotator:
    """An annotator of one's own, as the sources of query environments call it.

    Attributes:
        annotator: of `valuegym.envs.feedback.annotators`.
        hashes: SHA-256 of the file it was read from.
    """

    annotator: Any
    hashes: tuple[str, ...] = ()
    _kept: dict[int, int] = field(default_factory=dict)

    def codes(self, key: keys.Key, segments: Callable[[Array], tuple[Segments, Segments]]) -> Array:
        """Return answers as codes, in the shape of the keys, of which each pair has one.

        Args:
            key: one for each pair.
            segments: returns the first and second segments of some pairs, by their numbers in the flattened keys.
        """
        flat = key.reshape(-1).tolist()
        new = np.array([i for i, k in enumerate(flat) if k not in self._kept], np.int64)
        if new.size:
            if len(self._kept) + len(new) > KEPT:
                self._kept.clear()
                new = np.arange(len(flat))
            codes = annotators.answer_codes(self._labels(key.reshape(-1)[new], *segments(new)))
            self._kept.update(zip((flat[i] for i in new), codes.tolist(), strict=True))
        return np.array([self._kept[k] for k in flat], np.int64).reshape(key.shape)

    def _labels(self, key: keys.Key, first: Segments, second: Segments) -> Array:
        """Return labels (N,)."""
        if isinstance(self.annotator, Custom) and not self.annotator.takes_rng:
            return self.annotator(first, second, np.random.default_rng(0)).labels
        streams = keys.generator_seeds(key, _STREAM)
        each = [self.annotator(first[i], second[i], np.random.default_rng(s)).labels for i, s in enumerate(streams)]
        return np.concatenate(each)


def resolve(annotator: Any) -> annotators.Simulated | OwnAnnotator:
    """Return the annotator that the argument of a query environment means.

    Raises:
        ValueError: it is no annotator, and names none; the message says what was expected.
    """
    if isinstance(annotator, (annotators.Simulated, OwnAnnotator)):
        return annotator
    if not isinstance(annotator, str):
        return OwnAnnotator(as_annotator(annotator))
    if annotator in annotators.ANNOTATORS:
        return annotators.by_name(annotator)
    if plugins.is_reference(annotator) and not annotator.startswith("human:"):
        found, where = plugins.load_reference(annotator), annotator
    elif annotator in (points := plugins.installed(GROUP)):
        found, where = plugins.load_plugin(GROUP, annotator), points[annotator].value
    else:
        return annotators.by_name(annotator)  # which says what is known
    if isinstance(found, annotators.Simulated):
        return found
    return OwnAnnotator(as_annotator(found, annotator), (plugins.source_digest(where),))
