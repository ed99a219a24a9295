"""A language model as an agent: words for what it sees, and the action whose text the model finds likeliest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from valuegym.agents.base import BatchAgent, Mask, rules, unstack
from valuegym.envs import checks, plugins
from valuegym.envs.language.value_probes import Scorer, mean_scores
from valuegym.envs.language.words import Words, choices, words_for

__all__ = ["LanguageAgent", "model_for"]

KEPT = 10_000  # contexts whose answers are kept at most


def model_for(model: Any) -> Scorer:
    """Return a model with `score`: the object itself, one from a folder, or that which a text names.

    Raises:
        ValueError: it has no method `score`, or the text names no object.
        FileNotFoundError: there is no such folder.
        ImportError: a folder is to be read, and transformers is not installed.
    """
    found = model
    if isinstance(model, str) and plugins.is_reference(model):
        found = plugins.load_reference(model)
    elif isinstance(model, (str, Path)) and str(model):
        from valuegym.agents.language.causal_lm import load

        return load(model)
    if isinstance(found, type) or not callable(getattr(found, "score", None)):
        raise checks.refusal("model", model, "a folder, FILE.py:NAME, or an object with score(context, continuations)")
    return found


class LanguageAgent(BatchAgent):
    """Agent that lets a language model choose between the texts of the actions, by their log-probabilities.

    Nothing is sampled and no text is parsed, so that every answer is an action. Equal contexts get equal answers, and
    are asked once.

    Args:
        env: an environment whose rules are known and have words, or any with `words` of one's own.
        seed: not used: nothing is drawn.
        model: a folder with a causal model of transformers, "FILE.py:NAME", or an object with
            `score(context, continuations)`, which returns log-probabilities of tokens.
        words: those of the environment by default; else a function words(observation) -> (context, options), or the
            text that names one (`valuegym.envs.language.words`).

    Raises:
        ValueError: there are no words for the environment, or the model has no `score`.
        FileNotFoundError: there is no such folder.
        PermissionError: a file of the model cannot be read by this user.
        ImportError: a folder is to be read, and the extra `text` is not installed.
    """

    def __init__(self, env: Any, seed: int = 0, model: Any = "", words: Words | str = "") -> None:
        super().__init__(env, seed)
        self.words = words_for(rules(env) if words == "" else None, words)
        self.model = model_for(model)
        self._kept: dict[tuple[str, tuple[str, ...]], int] = {}

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return the chosen action of every row."""
        if isinstance(observation, dict):
            each: list[Any] = unstack(observation)
        else:
            each = list(observation)
        return np.stack([self._choose(row) for row in each]).astype(self.action_space.dtype), memory

    def _choose(self, observation: Any) -> Any:
        context, texts, actions = choices(self.words, observation)
        asked = (context, tuple(texts))
        if asked not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            scores = mean_scores(self.model, context, texts, f"the options after {context[-60:]!r}")
            self._kept[asked] = int(scores.argmax())
        return np.asarray(actions[self._kept[asked]])
