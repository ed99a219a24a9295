"""Answers of a model to a bank of items, which can be kept: by what was asked and who was asked.

They are named by the SHA-256 of the model and of the items, the form and the precision, so that a model is asked once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.agents.language import model_files
from valuegym.envs import checks
from valuegym.envs.language.item_bank import ItemBank
from valuegym.envs.language.value_probes import FORMS, Answers, answer

__all__ = ["Cache", "ModelAnswers", "collect_answers", "items_digest", "plain"]

Floats = npt.NDArray[np.float64]
VERSION = 1  # of the texts that are kept


class ModelAnswers(NamedTuple):
    """Answers with the model's name and SHA-256, and whether they were kept from an earlier call."""

    answers: Answers
    name: str
    digest: str
    kept: bool


class Cache(Protocol):
    """Place where answers are kept as texts, by names that are SHA-256s."""

    def read(self, name: str) -> str | None:
        """Return a text; None where there is none."""

    def write(self, name: str, text: str) -> None:
        """Keep a text."""


class _Listener:
    """A scorer that writes down what it is asked."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, str], None] = {}

    def score(self, context: str, continuations: Sequence[str]) -> list[Floats]:
        """Return -1 for each continuation."""
        self.pairs |= {(context, text): None for text in continuations}
        return [np.full(1, -1.0) for _ in continuations]


class _Prepared(dict[tuple[str, str], Floats]):
    """A scorer whose scores are there already."""

    def score(self, context: str, continuations: Sequence[str]) -> list[Floats]:
        """Return the scores of the continuations."""
        return [self[context, text] for text in continuations]


def items_digest(bank: ItemBank) -> str:
    """Return the SHA-256 of what a bank asks and counts."""
    content = [bank.ids, bank.contexts, bank.options, bank.loadings.tolist(), bank.names]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def collect_answers(
    source: str | Path,
    bank: ItemBank,
    form: str = "plain",
    *,
    batch: int = 8,
    dtype: str = "float32",
    device: str = "cpu",
    revision: str | None = None,
    progress: bool = False,
    cache: Cache | None = None,
) -> ModelAnswers:
    """Ask a model all items of a bank, or return the answers that it has given before.

    Args:
        source: folder or GGUF file of the model; with a revision its id on the hub.
        bank: the items.
        form: of the questions, one of `FORMS`.
        batch: texts that the model reads at a time.
        dtype: of the weights in memory.
        device: in torch's words.
        revision: commit of a model on the hub, which is asked for it; by default nothing reaches the network.
        progress: whether a bar shows how far it is.
        cache: where answers are kept; by default nowhere.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it is refused, or an argument is none of its kind.
        ImportError: transformers, or gguf for a GGUF file, is not installed.
    """
    checks.choice("form", form, FORMS)
    checks.integer("batch", batch, 1)
    if not len(bank):
        raise ValueError("bank is empty; expected at least one item.")
    hub = revision is not None and not Path(source).exists()
    if hub:
        if len(str(revision)) != 40 or set(str(revision)) - set("0123456789abcdef"):
            raise checks.refusal("revision", revision, "a commit of 40 digits, so that the model stays the same")
        name = str(source)
        digest = hashlib.sha256(json.dumps(["hub", name, revision]).encode()).hexdigest()
    else:
        files = model_files.find(source)
        name, digest = files.name, model_files.digest(files)
    key = hashlib.sha256(json.dumps([VERSION, digest, items_digest(bank), form, dtype]).encode()).hexdigest()
    if found := _decoded(cache.read(key) if cache else None, bank):
        return ModelAnswers(found, name, digest, True)
    from valuegym.agents.language import causal_lm

    if hub:
        model = causal_lm.load(source, revision=revision, hub=True, dtype=dtype, device=device)
    else:
        model = causal_lm.load(files.folder, files.gguf, dtype=dtype, device=device)
    listener = _Listener()
    answer(bank, listener, form)
    pairs = list(listener.pairs)
    with _bar(len(pairs), name, progress) as update:
        scores = causal_lm.score_many(model, pairs, batch, update)
    found = answer(bank, _Prepared(zip(pairs, scores, strict=True)), form)
    if cache:
        cache.write(key, _encoded(found))
    return ModelAnswers(found, name, digest, False)


@contextmanager
def _bar(total: int, name: str, visible: bool) -> Iterator[Any]:
    """Give a function that moves a bar by so many texts."""
    from tqdm import tqdm

    with tqdm(total=total, desc=name, unit="text", disable=None if visible else True, delay=2) as bar:
        yield bar.update


def plain(values: Any) -> Any:
    """Return numbers as JSON has them: nested lists of floats, None for NaN."""
    found = np.asarray(values, np.float64).astype(object)
    found[np.isnan(found.astype(np.float64))] = None
    return found.tolist()


def _encoded(answers: Answers) -> str:
    """Return answers as JSON."""
    return json.dumps({"displayed": plain(answers.displayed), "orders": answers.orders.tolist()})


def _decoded(text: str | None, bank: ItemBank) -> Answers | None:
    """Return answers from JSON; None where there is none, or they are damaged."""
    try:
        kept = json.loads(text or "")
        found = Answers(np.array(kept["displayed"], np.float64), np.array(kept["orders"], np.int64))
        there = found.orders >= 0
        good = found.displayed.shape == found.orders.shape and found.orders.shape[::2] == bank.loadings.shape[:2]
        good = good and np.array_equal(there, ~np.isnan(found.displayed)) and bool((found.displayed[there] <= 0).all())
        good = good and np.array_equal(there[:, 0].sum(-1), bank.counts) and found.orders.max() < there.shape[-1]
        return found if good and np.isfinite(found.displayed[there]).all() else None
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None
