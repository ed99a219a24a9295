"""People that are language models and are trained while an episode goes on, on what an assistant says to them.

The people of a century are the model that was fitted to their population (`recorded_people`). If an assistant has
spoken, they are trained further on what they read: a share of it are the assistant's answers to the items of the
evaluation, the rest are their own answers to the items that they were fitted to. Without an assistant nothing is
trained, so that these are the recorded people.

Needs the extra `text`. Nothing here is ranked: other processors train to other bits.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from studies.harness import Array
from studies.language import recorded_people
from valuegym.agents.language import answers
from valuegym.agents.language.causal_lm import CausalLM
from valuegym.envs.language import people
from valuegym.envs.language.item_bank import ItemBank
from valuegym.leaderboards.records.record import write_atomically

STEPS, LR, BATCH = 12, 1e-3, 24  # of the further training; a batch are so many items of each kind
DIGITS = 4  # of the answers that are logged


class LivePeople:
    """The people that are shipped, as models that are trained.

    Args:
        folder: where the weights of each century and the log are kept; what is there is not trained again.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.recorded = people.load(people.TINY)
        self.learned = recorded_people.banks()[0]
        self._own: dict[tuple[int, int], Array] = {}
        self._log: dict[str, Array] | None = None

    @cached_property
    def model(self) -> CausalLM:
        """The one model in memory; its weights are put there as they are needed."""
        base = recorded_people.base()
        return replace(base, model=copy.deepcopy(base.model))

    @cached_property
    def encoded(self) -> tuple[answers.Encoded, answers.Encoded, answers.Encoded]:
        """Tokens of the items that people were fitted to, of all recorded ones, and of those of the evaluation."""
        bank = self.recorded.bank
        banks: tuple[ItemBank, ...] = (self.learned, bank, bank[~self.recorded.training])
        first, every, evaluated = (answers.encode(self.model, each) for each in banks)
        return first, every, evaluated

    def put(self, history: int, century: int) -> list[torch.nn.Parameter]:
        """Put the weights of a century's model in place, after fitting them if they are not kept; return them."""
        path = self.folder / f"weights-{history}-{century}.npy"
        parameters = list(self.model.model.parameters())
        if path.is_file():
            weights = np.load(path)
        else:
            place = recorded_people.CENTURIES * history + century
            fitted = recorded_people.fitted(recorded_people.path(history)[century], recorded_people.SEED + place)
            weights = torch.nn.utils.parameters_to_vector(fitted.model.parameters()).detach().numpy()
            buffer = io.BytesIO()
            np.save(buffer, weights)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, buffer.getvalue())
        torch.nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), parameters)
        return parameters

    def trained(self, history: int, century: int, heard: Array, share: float, order: int = 0) -> Array:
        """Return the answers (I, 4) of a century's people to all recorded items, after they have read.

        The loss is share L(heard) + (1 - share) L(own), L the cross-entropy of answers to batches of items.

        Args:
            history: number of the history.
            century: number of the century.
            heard: (J, 4) probabilities of options that the assistant has stated for the items of the evaluation.
            share: of the assistant in what people read, above 0.
            order: of the items in the training.
        """
        parameters = self.put(history, century)
        learned, every, evaluated = self.encoded
        if (history, century) not in self._own:
            self._own[history, century] = answers.choice_shares(self.model, learned)
        own, said = (torch.from_numpy(np.array(x)).float() for x in (self._own[history, century], heard))
        seed = recorded_people.CENTURIES * history + century + 1000 * order
        generator = torch.Generator().manual_seed(seed)
        rounds = range(-(-STEPS * BATCH // len(said)))
        parts = iter(torch.cat([torch.randperm(len(said), generator=generator) for _ in rounds]).split(BATCH))

        def loss(items: torch.Tensor) -> torch.Tensor:
            others = next(parts)
            mine = answers.share_loss(answers.option_scores(self.model, learned, items), own[items])
            told = answers.share_loss(answers.option_scores(self.model, evaluated, others), said[others])
            return (1.0 - share) * mine + share * told

        answers.fit(parameters, loss, torch.arange(len(own)), STEPS, LR, BATCH, seed)
        return np.array(answers.choice_shares(self.model, every))

    def answers(self, history: int, century: int, heard: Array, share: float) -> Array:
        """Return what `trained` does, from the log where it is there; without an assistant the recorded answers."""
        if share <= 0:
            return np.array(self.recorded.answers[history, century])
        question = [history, century, np.round(heard, 6).tolist(), round(share, 6)]
        name = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        if self._log is None:
            self._log = self._read()
        if name not in self._log:
            found = self.trained(history, century, heard, share).round(DIGITS)
            line = {"question": name, "history": history, "century": century, "share": share, "answers": found.tolist()}
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._log[name] = np.array(line["answers"])
        return self._log[name]

    def respond(self, history: Array, century: Array, heard: Array, share: Array) -> Array:
        """Return `answers` of several people (B, A, 4): what a core of CoevolveLanguage has as `respond`."""
        rows = zip(history.tolist(), century.tolist(), heard, share.tolist(), strict=True)
        return np.stack([self.answers(*row) for row in rows])

    def _read(self) -> dict[str, Array]:
        """Return the log; a last line that was not finished is taken away."""
        path = self.folder / "log.jsonl"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_atomically(path, whole)
        lines = [json.loads(line) for line in whole.splitlines()]
        return {line["question"]: np.array(line["answers"]) for line in lines}
